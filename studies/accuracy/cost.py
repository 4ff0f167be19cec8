"""What full accuracy costs where stores are the limit: each FP32 mode of the kernel timed beside TF32, in a table's launches."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.records import GateError
from studies.table.cases import BY_ID, KERNEL, TORCH
from studies.table.command import begin
from studies.table.processes import Plan, Run

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from perfgate.measurement.session import Session
    from studies.table.cases import Launched, Recording

ARMS = {
    KERNEL: "tf32",
    "bf16x3": "bf16x3",
    "tf32x3": "tf32x3",
    "ieee": "ieee",
    TORCH: "torch TF32",
    "torch FP32": "torch FP32",
}
"""What an arm of the table is called here."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Times of one case and arm over several processes."""

    case: str
    arm: str
    medians_s: tuple[float, ...]
    """Median of each process."""
    ratios: tuple[float, ...]
    """The same over the kernel's TF32 in that process."""

    @property
    def seconds(self) -> float:
        """Median of the processes' medians."""
        return statistics.median(self.medians_s)

    @property
    def ratio(self) -> float:
        """Median of the processes' ratios; 1.01 is 1 % slower than TF32."""
        return statistics.median(self.ratios)


def measure(session: Session, case_ids: Sequence[str], *, path: str, processes: int, output: Path) -> Recording:
    """Time the cases in processes of their own, one after another.

    Raises:
        GateError: ``launch-failed``, an arm has no number.
    """
    chosen = tuple(BY_ID[case] for case in case_ids)
    recording = begin(session, path, chosen, launches=processes, command="")
    plan = Plan(cases=chosen, arms=dict.fromkeys(case_ids, tuple(ARMS)), launches=processes)
    Run(project=session.settings, plan=plan, recordings={path: recording}, output=output).launch()
    for failed in recording.failed:
        raise GateError(
            "launch-failed", f"Timing {failed.case} at {ARMS[failed.arm]} failed: {failed.why}; see nox -s perf."
        )
    return recording


def costs(launches: Sequence[Launched]) -> list[Cost]:
    """Medians and their ratios to the kernel's TF32 of each case and arm; ratios are within a process."""
    found = []
    for case in launches[0].cases if launches else ():
        seconds = [launch.cases[case].seconds for launch in launches]
        for arm in seconds[0]:
            medians = tuple(one[arm] for one in seconds)
            ratios = tuple(one[arm] / one[KERNEL] for one in seconds)
            found.append(Cost(case=case, arm=ARMS[arm], medians_s=medians, ratios=ratios))
    return found
