"""The kernel's result is right, whole, in bounds, and the same on every run.

On a card every case runs in its full size; without one, the same tests run small shapes through Triton's
interpreter, whose arithmetic is IEEE FP32 after the kernel's own rounding.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch

from perf_tests import cases
from perfgate.harness.correctness import WrongResultError, check_close, check_exact, same_bits
from perfgate.harness.guarded import Guarded, guarded, require_room

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from types import ModuleType

    from perfgate.records import Case

NAN = float("nan")

every_case = pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.id, marks=[pytest.mark.quick] if case.quick or case in cases.EDGE_CASES else [])
        for case in (*cases.CASES, *cases.EDGE_CASES)
    ],
)


class Problem:
    """One case's operands and result in guarded memory, and the kernel bound to them."""

    def __init__(self, case: Case, kernel: ModuleType, device: str, seed: int, *, exact: bool) -> None:
        self._chosen_as: Callable[[], AbstractContextManager[None]] = nullcontext
        if device == "cpu" and case in cases.CASES:
            self._chosen_as = partial(cases.chosen_as, kernel, case)
            case = cases.small(case)
        if device == "cuda":
            require_room(case)
        self.case = case
        dtype = getattr(torch, case.dtype)
        self.a, self.b = (
            guarded(shape, layout=layout, dtype=dtype, device=device, surroundings=NAN)
            for shape, layout in zip(case.shapes, case.layouts, strict=True)
        )
        generator = torch.Generator(device).manual_seed(seed)
        cases.fill(case, self.a.tensor, self.b.tensor, exact=exact, generator=generator)
        self._run = cases.call(kernel, case, self.a.tensor, self.b.tensor)
        self.dtype, self.device = dtype, device

    def call(self, **out: torch.Tensor) -> torch.Tensor:
        """Run the kernel once, in the configuration that the case has in its full size."""
        with self._chosen_as():
            return self._run(**out)

    def out(self, layout: str = "row") -> Guarded:
        """A NaN-filled result to write to, canaries around it."""
        return guarded(cases.result_shape(self.case), layout=layout, dtype=self.dtype, device=self.device)

    def run_into(self, out: Guarded) -> torch.Tensor:
        """Run the kernel and make sure that it wrote to ``out`` and nowhere else."""
        before = (self.a.checksum(), self.b.checksum())
        returned = self.call(out=out.tensor)
        name = self.case.id
        if returned is not out.tensor:
            raise WrongResultError(f"{name}: the call returned another tensor than the out= it was given.")
        if not out.intact():
            raise WrongResultError(f"{name}: the kernel wrote outside its result (the canaries around it changed).")
        if (self.a.checksum(), self.b.checksum()) != before:
            raise WrongResultError(f"{name}: the kernel changed its operands.")
        return out.tensor


@every_case
def test_agrees_with_float64(case: Case, kernel: ModuleType, device: str, seed: int) -> None:
    problem = Problem(case, kernel, device, seed, exact=False)
    out = problem.out()
    first = problem.run_into(out)
    check_close(case.id, problem.a.tensor, problem.b.tensor, first, precision=case.precision)
    kept = first.clone()
    out.poison()
    if not same_bits(problem.run_into(out), kept):
        raise WrongResultError(f"{case.id}: a second run on the same operands gave other bits; the kernel races.")


@every_case
def test_is_exact_on_small_integers(case: Case, kernel: ModuleType, device: str, seed: int) -> None:
    problem = Problem(case, kernel, device, seed + 1, exact=True)
    layout = "sliced" if case in cases.EDGE_CASES else "row"
    check_exact(case.id, problem.a.tensor, problem.b.tensor, problem.run_into(problem.out(layout)))


@every_case
def test_allocates_its_own_result_whole(
    case: Case, kernel: ModuleType, device: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = Problem(case, kernel, device, seed + 2, exact=True)
    # torch then fills every new tensor with NaN, so that a result that is right only because freed memory
    # still held an older one is seen.
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        result = problem.call()
    finally:
        torch.use_deterministic_algorithms(False)
    if result.shape != cases.result_shape(problem.case) or result.dtype != problem.dtype:
        raise WrongResultError(
            f"{case.id}: result is {tuple(result.shape)} {result.dtype}, expected {cases.result_shape(problem.case)} {problem.dtype}."
        )
    check_exact(case.id, problem.a.tensor, problem.b.tensor, result)


@pytest.mark.quick
@pytest.mark.parametrize("case", [pytest.param(cases.MODULE_CASE, id=cases.MODULE_CASE.id)])
def test_module_computes_the_product(case: Case, kernel: ModuleType, device: str, seed: int) -> None:
    problem = Problem(case, kernel, device, seed + 3, exact=True)
    result = kernel.ModelNew()(problem.a.tensor, problem.b.tensor)
    check_exact(case.id, problem.a.tensor, problem.b.tensor, result)
