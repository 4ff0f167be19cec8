"""The bias of rounding to TF32: kernels that round wrongly are found, those that do not are left alone."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

import kernel_support
from perfgate.harness.correctness import round_to_tf32
from perfgate.settings import load_kernel
from studies.accuracy import arms
from studies.accuracy.arms import FULL, INPUTS, KERNEL, KERNEL_SUMS, NEAREST, TRUNCATED, Arm, Problem
from studies.accuracy.bias import FLOOR, Finding, rounding_bias
from studies.accuracy.errors import truncate_to_tf32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from studies.accuracy.bias import Bias

pytestmark = pytest.mark.usefixtures("one_thread")
KERNEL_FILE = Path(__file__).parents[2] / "kernels/matmul.py"
DEVICE = kernel_support.DEVICE
ROUNDING, NO_ROUNDING = "_round_by_bits(x, 0x1000, 0xFFFFE000)", "_round_by_bits(x, 0, 0xFFFFE000)"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small products on a busy machine wait for threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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


def to_nearest_even(x: torch.Tensor) -> torch.Tensor:
    bits = x.view(torch.int32)
    return ((bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF).view(torch.float32)


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
        (to_nearest_even, Finding.NONE),
        (lambda x: x, Finding.NONE),
    ],
    ids=[
        "truncation",
        "rounding late",
        "too large by an eighth of a step",
        "nearest, ties away",
        "nearest even",
        "none",
    ],
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


def test_too_few_draws_are_not_called_free_of_bias() -> None:
    found = found_of(stand_in(round_to_tf32), Problem("normal", 16, 16, 16), draws=2)
    assert found.finding is Finding.UNSURE


def test_a_shift_of_one_fp32_rounding_is_no_bias_and_more_is() -> None:
    truncated = [-6e-4, -6.1e-4, -5.9e-4]
    for shift, expected in ((0.9 * FLOOR, Finding.NONE), (1.1 * FLOOR, Finding.BIASED), (-1.1 * FLOOR, Finding.BIASED)):
        errors = [shift, shift, shift]
        assert rounding_bias(errors, [0.0] * 3, truncated).finding is expected


def test_the_more_is_judged_together_the_wider_each_interval() -> None:
    errors, none, truncated = [1e-7, 3e-7, 2e-7], [0.0] * 3, [-6e-4] * 3
    alone, among = (rounding_bias(errors, none, truncated, judged=judged) for judged in (1, 8))
    assert among.reach > alone.reach


def test_simulated_truncation_has_the_bias_that_theory_gives_and_rounding_none() -> None:
    problem = Problem("uniform [0, 1)", 128, 128, 128)
    drawn = arms.draw_all(stand_in(round_to_tf32), [problem], device="cpu", draws=4, seed=1)[problem]
    # Half a step of 2⁻¹⁰ in the mean, over a mean of 1.5 within a binade, for each of two operands.
    theory = -2 * 2.0**-11 / 1.5
    assert drawn[Arm("tf32", TRUNCATED)][0].mean == pytest.approx(theory, rel=0.02)
    assert abs(drawn[Arm("tf32", NEAREST)][0].mean) < abs(theory) / 20
    assert drawn[Arm("tf32", KERNEL)][0].mean == pytest.approx(drawn[Arm("tf32", NEAREST)][0].mean, abs=1e-7)
