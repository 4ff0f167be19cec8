"""What is measured of accuracy: every product that is held against float64, and KernelBench's check.

Owns inputs, shapes and who multiplies what. ``tf32`` alone is also computed from operands that TF32 holds exactly, so that the tensor core's
additions can be told from the rounding of operands (see `errors`), and simulated in float64 with operands rounded
to nearest and truncated.

KernelBench's check is ``torch.allclose(reference, result, atol=1e-4, rtol=1e-4)`` against torch's own FP32 product, which
allows no TF32 (``get_tolerance_for_precision`` and ``run_and_check_correctness`` in kernelbench/eval.py of
ScalingIntelligence/KernelBench); one element that fails is a wrong result.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import torch

from perf_tests import cases
from perfgate.harness.correctness import round_to_tf32
from studies.accuracy.errors import Bias, Errors, errors_of, rounding_bias, truncate_to_tf32

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

INPUTS: dict[str, Callable[[torch.Tensor, torch.Generator], torch.Tensor]] = {
    "normal": lambda x, generator: x.normal_(generator=generator),
    "uniform [0, 1)": lambda x, generator: x.uniform_(0, 1, generator=generator),
}
"""Uniform inputs are KernelBench's."""
FULL = ("tf32x3", "bf16x3", "ieee")
"""The kernel's modes for FP32 that promise more than TF32."""
PRECISIONS = {"tf32": "float32", **dict.fromkeys(FULL, "float32"), "float16": "float16", "bfloat16": "bfloat16"}
"""Each precision and the dtype of its operands and result."""
KERNEL, TORCH = "kernel", "torch"
KERNEL_SUMS, TORCH_SUMS = "kernel, TF32 operands", "torch, TF32 operands"
NEAREST, TRUNCATED = "operands to nearest (simulated)", "operands truncated (simulated)"
TOLERANCE = 1e-4
STORE_BOUND = ("k7_small_k", "k9_tall_skinny")
PLAIN = ("k1_square", "k2_standard", "k6_large_k", *STORE_BOUND, "k8_irregular")
"""Cases of two row-major matrices that the check can be asked for."""
_BLOCK_ELEMENTS = 2**26


class Arm(NamedTuple):
    """One product: at which precision, by whom."""

    precision: str
    by: str

    def __str__(self) -> str:
        return f"{self.precision}, {self.by}"


class Problem(NamedTuple):
    """One kind of input and one shape."""

    inputs: str
    m: int
    n: int
    k: int

    def __str__(self) -> str:
        return f"{self.inputs}, {self.m}x{self.n}x{self.k}"


def problems(size: int) -> list[Problem]:
    """Square, the short sums of KernelBench's #7 and #9, and a long sum; M = N = K = ``size`` for the square."""
    shapes = ((size, size, size), (2 * size, 2 * size, 64), (2 * size, 2 * size, 32), (size // 2, size // 2, 16 * size))
    return [Problem(inputs, *shape) for inputs in INPUTS for shape in shapes]


def kernel_product(kernel: ModuleType, a: torch.Tensor, b: torch.Tensor, precision: str) -> torch.Tensor:
    """The kernel's product of (M, K) and (K, N) at one of `PRECISIONS`."""
    case = cases.matmul_case(
        "accuracy", tuple(a.shape), tuple(b.shape), dtype=PRECISIONS[precision], precision=precision
    )
    return cases.call(kernel, case, a, b)()


def torch_product(a: torch.Tensor, b: torch.Tensor, precision: str, *, out: torch.Tensor | None = None) -> torch.Tensor:
    """Torch's product at the same precision, TF32 allowed for ``tf32`` alone and torch's other settings as they are."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    try:
        return torch.matmul(a, b, out=out)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def torch_has(precision: str, device: str) -> bool:
    """Whether torch has that precision there: TF32 needs a card, and sums of three products it has none."""
    return precision in {"ieee", "float16", "bfloat16"} or (precision == "tf32" and device == "cuda")


def one_draw(kernel: ModuleType, problem: Problem, *, device: str, seed: int) -> dict[Arm, Errors]:
    """Errors of every product for one draw of operands.

    Args:
        kernel: Module with ``triton_matmul``.
        problem: Input and shape.
        device: ``cuda``, or ``cpu`` through the interpreter.
        seed: Of this draw; draws with different seeds are independent.

    Raises:
        WrongResultError: A result holds NaN or infinity.
    """
    generator = torch.Generator(device).manual_seed(seed)
    fill = INPUTS[problem.inputs]
    a, b = (
        fill(torch.empty(shape, device=device), generator) for shape in ((problem.m, problem.k), (problem.k, problem.n))
    )
    found: dict[Arm, Errors] = {}
    for dtype in dict.fromkeys(PRECISIONS.values()):
        x, y = a.to(getattr(torch, dtype)), b.to(getattr(torch, dtype))
        results = {}
        for precision in (name for name, of in PRECISIONS.items() if of == dtype):
            results[Arm(precision, KERNEL)] = kernel_product(kernel, x, y, precision)
            if torch_has(precision, device):
                results[Arm(precision, TORCH)] = torch_product(x, y, precision)
        if dtype == PRECISIONS["tf32"]:
            results[Arm("tf32", NEAREST)] = round_to_tf32(x).double() @ round_to_tf32(y).double()
            results[Arm("tf32", TRUNCATED)] = truncate_to_tf32(x).double() @ truncate_to_tf32(y).double()
        found |= errors_of(results, x, y)
    a, b = round_to_tf32(a), round_to_tf32(b)
    sums = {Arm("tf32", KERNEL_SUMS): kernel_product(kernel, a, b, "tf32")}
    if torch_has("tf32", device):
        sums[Arm("tf32", TORCH_SUMS)] = torch_product(a, b, "tf32")
    return found | errors_of(sums, a, b)


def draw_all(
    kernel: ModuleType, wanted: Sequence[Problem], *, device: str, draws: int, seed: int
) -> dict[Problem, dict[Arm, list[Errors]]]:
    """Errors of every product, problem and draw; every draw has a seed of its own, from ``seed`` on."""
    seeds = count(seed)
    found: dict[Problem, dict[Arm, list[Errors]]] = {}
    for problem in wanted:
        by_arm: dict[Arm, list[Errors]] = defaultdict(list)
        for _ in range(draws):
            for arm, errors in one_draw(kernel, problem, device=device, seed=next(seeds)).items():
                by_arm[arm].append(errors)
        found[problem] = dict(by_arm)
    return found


def biases(
    found: dict[Problem, dict[Arm, list[Errors]]], *, by: str = KERNEL, sums: str = KERNEL_SUMS
) -> dict[Problem, Bias]:
    """The verdict on the rounding of operands to TF32 for each problem: the kernel's, or torch's where it has one."""

    def means(problem: Problem, by: str) -> list[float]:
        return [errors.mean for errors in found[problem][Arm("tf32", by)]]

    judged = [problem for problem, by_arm in found.items() if Arm("tf32", by) in by_arm]
    return {
        problem: rounding_bias(means(problem, by), means(problem, sums), means(problem, TRUNCATED), judged=len(judged))
        for problem in judged
    }


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
    while (
        device == "cuda"
        and m > 1
        and cases.matmul_case(case_id, (m, k), (k, n)).device_bytes > torch.cuda.mem_get_info()[0]
    ):
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
        at = {"case": case_id, "precision": precision, "by": by}
        checks.append(Check(**at, shape=(m, n, k), whole=(m, n) == whole, failing=failing, elements=m * n, worst=worst))
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
