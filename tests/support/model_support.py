"""What the tests of the model share: a kernel's facts and a product in round numbers, and cards on which one thing binds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from msgspec import structs

import facts_support
from perfgate.hardware.cost_model import Prediction, Product
from perfgate.hardware.parameters import MODEL_CARDS, ModelCard

if TYPE_CHECKING:
    from perfgate.store.compiled import KernelFacts

CARD = MODEL_CARDS["sm89"]
SMS = CARD.limits.multiprocessors
TILE_BYTES = (128 + 128) * 32 * 2
"""One step along K of both operands."""

FACTS = facts_support.facts(
    config={"num_warps": 4},
    normal_hash="a" * 64,
    registers=120,
    shared_bytes=3 * TILE_BYTES,
    blocks_per_sm=4,
    limited_by="registers",
    occupancy_percent=33.33,
    instructions={"integer": 500, "tensor_core": 128},
    main_loop={
        "instructions": {"integer": 72, "tensor_core": 128},
        "total": 200,
        "tensor_flops": 2 * 128 * 128 * 32 // 4,
        "tensor_unit": "mma16",
        "shared_bytes": 8192,
    },
    grid=1,
    arguments={},
)
PRODUCT = Product(
    m=128,
    n=128,
    k=4096,
    batch=1,
    block_m=128,
    block_n=128,
    block_k=32,
    group=1,
    operand_bytes=2,
    result_bytes=4,
    stages=4,
)
"""One tile; with a batch of so many, so many tiles that share nothing."""


def facts(**changes: Any) -> KernelFacts:
    return structs.replace(FACTS, **changes)


def product(**changes: Any) -> Product:
    return replace(PRODUCT, **changes)


def card(**changes: Any) -> ModelCard:
    return replace(CARD, **changes)


def terms(found: Prediction) -> dict[str, float]:
    return dict(found.terms_s)


MEMORY_FREE = card(dram_bytes_per_s=1e30, launch_s=0.0)
"""A card on which only multiprocessors take time."""
