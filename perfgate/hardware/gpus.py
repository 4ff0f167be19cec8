"""Cards as data: names, slugs and published peaks. Pure.

Peaks are dense, at boost clock, FP32 accumulation where it matters. Sources: RTX 4090 from the project's brief
(Ada architecture whitepaper figures); H100 SXM from NVIDIA's H100 datasheet, dense rates without sparsity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Card:
    """Published limits of one card model."""

    dram_bytes_per_s: float
    flops_per_s: Mapping[str, float]
    """By arithmetic unit: ``tf32``, ``fp16``, ``bf16``, ``fp32``."""
    l2_bytes: int
    architecture: str
    """Whose limits `occupancy` states, such as ``sm_89``."""


CARDS: Mapping[str, Card] = {
    "nvidia-geforce-rtx-4090": Card(
        dram_bytes_per_s=1008e9,
        flops_per_s={"tf32": 82.6e12, "fp16": 165.2e12, "bf16": 165.2e12, "fp32": 82.6e12},
        l2_bytes=72 * 1024**2,
        architecture="sm_89",
    ),
    "nvidia-h100-80gb-hbm3": Card(
        dram_bytes_per_s=3350e9,
        flops_per_s={"tf32": 494.7e12, "fp16": 989.4e12, "bf16": 989.4e12, "fp32": 66.9e12},
        l2_bytes=50 * 1024**2,
        architecture="sm_90",
    ),
}


def slug(gpu: str, code_path: str = "native") -> str:
    """Folder name of a card's baselines: ``NVIDIA H100 80GB HBM3`` → ``nvidia-h100-80gb-hbm3``.

    A card that runs another architecture's code path (``sm89``) has baselines of its own.
    """
    name = re.sub(r"[^a-z0-9]+", "-", gpu.lower()).strip("-")
    return name if code_path == "native" else f"{name}-as-{code_path}"


def card(gpu: str) -> Card | None:
    """The published limits of a card by its driver name, or None for a card that is not listed."""
    return CARDS.get(slug(gpu))
