"""KernelBench's check of FP32 results: how many elements of a product of [0, 1) inputs fail it, at each precision.

Owns that check: ``torch.allclose(reference, result, atol=1e-4, rtol=1e-4)`` against torch's own FP32 product, which
allows no TF32 (``get_tolerance_for_precision`` and ``run_and_check_correctness`` in kernelbench/eval.py of
ScalingIntelligence/KernelBench); one element that fails is a wrong result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from perf_tests import cases
from perfgate.harness.correctness import round_to_tf32
from studies.accuracy.arms import FULL, KERNEL, TORCH, kernel_product, torch_has, torch_product
from studies.accuracy.errors import truncate_to_tf32

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

TOLERANCE = 1e-4
STORE_BOUND = ("k7_small_k", "k9_tall_skinny")
PLAIN = ("k1_square", "k2_standard", "k6_large_k", *STORE_BOUND, "k8_irregular")
"""Cases of two row-major matrices that the check can be asked for."""
_BLOCK_ELEMENTS = 2**26


@dataclass(frozen=True, kw_only=True)
class Check:
    """One result under KernelBench's check."""

    case: str
    shape: tuple[int, int, int]
    """M, N and K that were computed, smaller than the case where the whole has no room."""
    whole: bool
    precision: str
    by: str
    failing: int
    """Elements that fail; NaN and infinity do."""
    elements: int
    worst: float
    """Largest error as a share of what is allowed for its element."""

    @property
    def promised(self) -> bool:
        """Whether it has to pass: the kernel's modes of full accuracy do."""
        return self.by == KERNEL and self.precision in FULL


def check_case(
    kernel: ModuleType, case_id: str, *, device: str, seed: int, most_rows: int | None = None
) -> list[Check]:
    """Check every FP32 mode of the kernel, and torch's TF32 or its simulation, on one case.

    Args:
        kernel: Module with ``triton_matmul``.
        case_id: One of `PLAIN`.
        device: ``cuda``, or ``cpu`` through the interpreter.
        seed: Of the inputs.
        most_rows: M and N are cut to this many; K, which the errors depend on, is not. A card whose free memory the case
            does not fit takes the most rows that do.
    """
    (case,) = (case for case in cases.CASES if case.id == case_id)
    m, n, k = case.shapes[0][0], case.shapes[1][1], case.shapes[0][1]
    whole = m, n
    m, n = (min(size, most_rows or size) for size in whole)
    while device == "cuda" and m > 1 and _needed_bytes(m, n, k) > torch.cuda.mem_get_info()[0]:
        m //= 2
    generator = torch.Generator(device).manual_seed(seed)
    a, b = (torch.empty(shape, device=device).uniform_(0, 1, generator=generator) for shape in ((m, k), (k, n)))
    reference = torch_product(a, b, "ieee")
    products: dict[tuple[str, str], Callable[[], torch.Tensor]] = {
        (precision, KERNEL): partial(kernel_product, kernel, a, b, precision) for precision in ("tf32", *FULL)
    }
    if torch_has("tf32", device):
        products["tf32", TORCH] = partial(torch_product, a, b, "tf32")
    for how, cut in (("to nearest", round_to_tf32), ("truncated", truncate_to_tf32)):
        products["tf32", f"operands {how}, FP32 sums"] = partial(torch_product, cut(a), cut(b), "ieee")
    checks = []
    for (precision, by), product in products.items():
        failing, worst = compare(reference, product())
        checks.append(
            Check(
                case=case_id,
                shape=(m, n, k),
                whole=(m, n) == whole,
                precision=precision,
                by=by,
                failing=failing,
                elements=m * n,
                worst=worst,
            )
        )
    return checks


def compare(reference: torch.Tensor, result: torch.Tensor) -> tuple[int, float]:
    """Elements of an (M, N) result that fail the check, and the largest error as a share of what is allowed."""
    failing, worst = 0, 0.0
    rows = max(1, _BLOCK_ELEMENTS // max(1, reference.shape[1]))
    for start in range(0, reference.shape[0], rows):
        expected, got = reference[start : start + rows], result[start : start + rows]
        failing += int((~torch.isclose(expected, got, atol=TOLERANCE, rtol=TOLERANCE)).sum())
        share = (expected - got).abs() / (TOLERANCE + TOLERANCE * got.abs())
        worst = max(worst, float(torch.nan_to_num(share, nan=torch.inf).max()))
    return failing, worst


def _needed_bytes(m: int, n: int, k: int) -> int:
    return cases.matmul_case("accuracy", (m, k), (k, n)).device_bytes
