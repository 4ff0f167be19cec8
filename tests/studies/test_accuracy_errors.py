"""The error measures, by numbers that are known beforehand; and the bias of rounding to TF32, of kernels that round wrongly."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

import kernel_support
from perfgate.harness.correctness import WrongResultError, round_to_tf32
from perfgate.project import load_kernel
from studies.accuracy import arms
from studies.accuracy.arms import FULL, INPUTS, KERNEL, KERNEL_SUMS, NEAREST, TRUNCATED, Arm, Problem
from studies.accuracy.errors import FLOOR, Finding, distribution, errors_of, mean_of, rounding_bias, truncate_to_tf32

if TYPE_CHECKING:
    from collections.abc import Callable

    from studies.accuracy.errors import Bias

pytestmark = pytest.mark.usefixtures("one_thread")
KERNEL_FILE = Path(__file__).parents[2] / "kernels/matmul.py"
DEVICE = kernel_support.DEVICE
ROUNDING, NO_ROUNDING = "_round_by_bits(x, 0x1000, 0xFFFFE000)", "_round_by_bits(x, 0, 0xFFFFE000)"


def stand_in(prepare: Callable[[torch.Tensor], torch.Tensor]) -> ModuleType:
    """A kernel that treats the operands of ``tf32`` like that and sums in FP32, and is right at everything else."""

    def triton_matmul(a: torch.Tensor, b: torch.Tensor, *, out: Any = None, precision: str | None = None) -> Any:
        assert out is None
        if precision in FULL or a.dtype != torch.float32:
            return (a.double() @ b.double()).to(a.dtype)
        return prepare(a) @ prepare(b)

    module: Any = ModuleType("stand_in")
    module.triton_matmul = triton_matmul
    return module  # type: ignore[no-any-return]


def nearly_to_nearest(x: torch.Tensor) -> torch.Tensor:
    """Rounds up from 17/32 of a TF32 step on in place of a half: a 16th of truncation's bias."""
    return ((x.view(torch.int32) + 0x0F00) & ~0x1FFF).view(torch.float32)


def nearly_an_eighth_too_large(x: torch.Tensor) -> torch.Tensor:
    """Adds an eighth of a TF32 step or less to what TF32 does not hold, and leaves the rest alone."""
    return torch.where(x == round_to_tf32(x), x, x * (1 + 2.0**-14))


def found_of(kernel: ModuleType, problem: Problem, *, device: str = "cpu", draws: int = 8) -> Bias:
    drawn = arms.draw_all(kernel, [problem], device=device, draws=draws, seed=1)
    return arms.biases(drawn)[problem]


@pytest.mark.parametrize("inputs", INPUTS)
def test_this_kernel_has_no_bias(inputs: str) -> None:
    kernel = load_kernel(KERNEL_FILE, "kernel_of_test_accuracy")
    found = found_of(kernel, Problem(inputs, 64, 64, 64), device=DEVICE)
    assert found.finding is Finding.NONE
    assert abs(found.shift.value) < abs(found.truncation) / 20


@pytest.mark.skipif(DEVICE == "cuda", reason="edits the interpreter's rounding; the card's is an instruction")
def test_this_kernel_without_its_rounding_is_found_biased(tmp_path: Path) -> None:
    source = KERNEL_FILE.read_text(encoding="utf-8")
    assert source.count(ROUNDING) == 1, "the kernel rounds to TF32 in other words now: state them here"
    path = tmp_path / "truncating.py"
    path.write_text(source.replace(ROUNDING, NO_ROUNDING), encoding="utf-8")
    found = found_of(load_kernel(path, "kernel_truncating"), Problem("uniform [0, 1)", 64, 64, 64))
    assert found.finding is Finding.BIASED
    assert found.shift.value == pytest.approx(found.truncation, rel=1e-3)


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (truncate_to_tf32, Finding.BIASED),
        (nearly_to_nearest, Finding.BIASED),
        (nearly_an_eighth_too_large, Finding.BIASED),
        (round_to_tf32, Finding.NONE),
        (lambda x: x, Finding.NONE),
    ],
    ids=["truncation", "rounding late", "too large by an eighth of a step", "nearest", "none"],
)
def test_roundings_are_told_apart(
    inputs: str, prepare: Callable[[torch.Tensor], torch.Tensor], expected: Finding
) -> None:
    found = found_of(stand_in(prepare), Problem(inputs, 128, 128, 128))
    assert found.finding is expected, found


def test_sums_that_lose_something_each_time_are_not_taken_for_biased_rounding() -> None:
    rounding: Any = stand_in(round_to_tf32)
    rounded = rounding.triton_matmul

    def summing_short(a: torch.Tensor, b: torch.Tensor, *, precision: str | None = None) -> torch.Tensor:
        result: torch.Tensor = rounded(a, b, precision=precision)
        return result * (1 - 2.0**-14)

    rounding.triton_matmul = summing_short
    problem = Problem("uniform [0, 1)", 128, 128, 128)
    drawn = arms.draw_all(rounding, [problem], device="cpu", draws=8, seed=1)
    assert arms.biases(drawn)[problem].finding is Finding.NONE
    assert drawn[problem][Arm("tf32", KERNEL_SUMS)][0].mean == pytest.approx(-(2.0**-14), rel=1e-2)


def test_a_shift_of_one_fp32_rounding_is_no_bias_and_more_is_but_of_few_draws_nothing_is_said() -> None:
    truncated = [-6e-4, -6.1e-4, -5.9e-4]
    for shift, expected in ((0.9 * FLOOR, Finding.NONE), (1.1 * FLOOR, Finding.BIASED), (-1.1 * FLOOR, Finding.BIASED)):
        assert rounding_bias([shift] * 3, [0.0] * 3, truncated).finding is expected
    assert found_of(stand_in(round_to_tf32), Problem("normal", 16, 16, 16), draws=2).finding is Finding.UNSURE


def test_simulated_truncation_has_the_bias_that_theory_gives_and_rounding_none() -> None:
    problem = Problem("uniform [0, 1)", 128, 128, 128)
    drawn = arms.draw_all(stand_in(round_to_tf32), [problem], device="cpu", draws=4, seed=1)[problem]
    # Half a step of 2⁻¹⁰ in the mean, over a mean of 1.5 within a binade, for each of two operands.
    theory = -2 * 2.0**-11 / 1.5
    assert drawn[Arm("tf32", TRUNCATED)][0].mean == pytest.approx(theory, rel=0.02)
    assert abs(drawn[Arm("tf32", NEAREST)][0].mean) < abs(theory) / 20
    assert drawn[Arm("tf32", KERNEL)][0].mean == pytest.approx(drawn[Arm("tf32", NEAREST)][0].mean, abs=1e-7)


# --- the error measures


def operands(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(37, 50, generator=generator), torch.randn(50, 41, generator=generator)


def exact(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.double() @ b.double()


def test_a_result_that_is_too_small_by_a_share_has_that_share_as_its_mean_and_as_its_rms() -> None:
    a, b = operands()
    found = errors_of({"small": exact(a, b) * (1 - 2.0**-10)}, a, b)["small"]
    assert found.mean == pytest.approx(-(2.0**-10), rel=1e-9)
    assert found.rms == pytest.approx(2.0**-10, rel=1e-9)


def test_errors_by_the_size_of_the_terms_do_not_grow_where_a_result_is_near_zero() -> None:
    a, b = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0], [1.0 + 2.0**-20]])
    found = errors_of({"off": exact(a, b) - 2.0**-20}, a, b)["off"]
    assert found.scaled_largest == pytest.approx(2.0**-21, rel=1e-5)
    assert found.scaled_mean == pytest.approx(2.0**-21, rel=1e-5)  # away from zero: the product is negative
    assert found.scaled_rms == found.scaled_largest


def test_blocks_change_nothing() -> None:
    a, b = operands()
    results = {"fp32": a @ b, "bf16": (a @ b).bfloat16()}
    whole, small = errors_of(results, a, b), errors_of(results, a, b, block=120)
    for name in results:
        for measure in ("mean", "rms", "scaled_mean", "scaled_rms", "scaled_largest"):
            assert getattr(small[name], measure) == pytest.approx(getattr(whole[name], measure), rel=1e-9)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_with_nan_or_infinity_is_wrong_and_gets_no_error(value: float) -> None:
    a, b = operands()
    result = a @ b
    result[3, 5] = value
    with pytest.raises(WrongResultError, match="kernel: the result holds NaN or infinity"):
        errors_of({"kernel": result}, a, b)


def test_draws_are_joined_by_mean_square_and_largest_and_a_mean_s_error_is_of_draws() -> None:
    mean = mean_of([1.0, 2.0, 3.0, 6.0])
    assert (mean.value, mean.draws) == (3.0, 4)
    assert mean.error == pytest.approx(math.sqrt(14 / 3) / 2)
    a, b = operands()
    draws = [errors_of({"x": exact(a, b) * (1 + share)}, a, b)["x"] for share in (3e-3, -4e-3)]
    found = distribution(draws)
    assert found.mean.value == pytest.approx(-0.5e-3)
    assert found.rms == pytest.approx(math.sqrt((9e-6 + 16e-6) / 2))
    assert found.scaled_largest == max(draw.scaled_largest for draw in draws)
