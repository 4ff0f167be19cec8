"""One case set up on a device: operands and result, shared by every copy of the kernel that is to compute it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from perfgate.harness import correctness, guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from perfgate.project import Suite
    from perfgate.records import Case

_CHECKED_ROWS = 16


@dataclass(kw_only=True)
class Workload:
    """A case's operands and result on a device, for any number of copies of the kernel to compute."""

    suite: Suite
    case: Case
    device: str
    seed: int
    _tensors: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.device == "cuda":
            guarded.require_room(self.case)
        a, b = self.suite.operands(self.case, device=self.device, seed=self.seed)
        out = guarded.guarded(self.suite.result_shape(self.case), dtype=a.dtype, device=self.device)
        rows = torch.randperm(a.shape[-2], generator=torch.Generator().manual_seed(self.seed))[:_CHECKED_ROWS]
        self._tensors = (a, b, out, rows.to(a.device))

    def launch(self, module: ModuleType) -> Callable[[], object]:
        """One launch of this copy; all write to the same result, so that none has the luckier address."""
        a, b, out, _ = self._tensors
        return partial(self.suite.call(module, self.case, a, b), out=out.tensor)

    def check(self, launch: Callable[[], object]) -> None:
        """Launch, and hold some rows against float64, all elements against NaN, and what lies around against its canary.

        Raises:
            WrongResultError: The result is wrong.
        """
        a, b, out, rows = self._tensors
        out.poison()
        launch()
        if bool(torch.isnan(out.tensor).any()):
            raise correctness.WrongResultError("the result holds NaN (elements never written, or computed from NaN)")
        if not out.intact():
            raise correctness.WrongResultError("memory around the result was written to")
        torch.backends.cuda.matmul.allow_tf32 = False
        case = self.case
        correctness.check_close(case.id, a[..., rows, :], b, out.tensor[..., rows, :], precision=case.precision)
