"""From the files of every update to the points of every case. Pure; knows no git.

Drift is counted by `comparisons.since_first`, the rule that the gate judges by, against the first baseline as of the same
update: so a past that was right then is right now.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.compare import comparability, comparisons
from perfgate.compare.comparisons import Frame
from perfgate.compare.estimators import typical_seconds
from perfgate.compare.interleaved import pairs
from perfgate.history.record import RUN, CaseHistory, CompiledPoint, Drift, KernelPoint, TimePoint, Update
from perfgate.records import Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from perfgate.limits import Limits
    from perfgate.records import KernelFacts, Recording, Samples
    from perfgate.store.compiled import CompiledBaseline


@dataclass(frozen=True, kw_only=True)
class Past:
    """One update with what its files held."""

    update: Update
    recording: Recording | None = None
    """The card's baseline as of it, or the run itself; None where it changed none, or none that could be read."""
    anchor: Recording | None = None
    """The card's first baseline as of it."""
    compiled: Mapping[str, CompiledBaseline]
    """By file, those that it changed."""


def case_histories(pasts: Sequence[Past], limits: Limits, *, selected: Collection[str] = ()) -> tuple[CaseHistory, ...]:
    """Every case's points, oldest first.

    Args:
        pasts: Oldest first.
        limits: The gate's, for drift.
        selected: Only these cases; empty means all.
    """
    known = dict.fromkeys(case for past in reversed(pasts) for case in _cases(past))
    measured = [_measured(n, past.recording, pasts, limits) for n, past in enumerate(pasts) if past.recording]
    return tuple(
        CaseHistory(
            case=case,
            times=_times(case, [one for one in measured if case in one.now.samples]),
            compiled=tuple(
                _compiled_point(number, name, file, case)
                for number, past in enumerate(pasts)
                for name, file in past.compiled.items()
                if case in file.cases
            ),
        )
        for case in known
        if not selected or case in selected
    )


def _times(case: str, measured: Sequence[_Measured]) -> tuple[TimePoint, ...]:
    befores = [None, *(one.now for one in measured[:-1])]
    return tuple(one.point(case, before) for one, before in zip(measured, befores, strict=True)) if measured else ()


def _cases(past: Past) -> list[str]:
    found = list(past.recording.samples) if past.recording else []
    return found + [case for file in past.compiled.values() for case in file.cases]


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """A recording with what its cases are held against."""

    number: int
    now: Recording
    then: Recording | None
    """Of a run, the baseline whose code was measured beside it."""
    anchor: Recording | None
    frame: Frame

    def point(self, case: str, before: Recording | None) -> TimePoint:
        """The case's point, which follows that of the recording before."""
        samples, now = self.now.samples[case], self.now
        medians = [statistics.median(launch.arms["kernel"]) for launch in samples.launches]
        controls = [launch.arms["control"] for launch in samples.launches if "control" in launch.arms]
        drift, left_out = self._drift(samples)
        return TimePoint(
            update=self.number,
            measured_commit=now.commit,
            recorded_at=now.recorded_at,
            reason=now.reason,
            time_s=statistics.median(medians),
            low_s=min(medians),
            high_s=max(medians),
            launches=len(medians),
            control_s=typical_seconds(controls) if len(controls) == len(medians) else None,
            break_before=_break(before, now, case) if before else "",
            drift=drift,
            drift_left_out=left_out,
            config=dict(samples.config),
            environment=dict(now.environment),
        )

    def _drift(self, now: Samples) -> tuple[Drift | None, str]:
        """Drift since the first baseline, or why it is not known."""
        first = self.anchor.samples.get(now.case) if self.anchor else None
        if self.anchor is None or first is None:
            return None, "there was no first baseline of it"
        if refused := comparability.refusal(self.anchor, self.now):
            return None, f"the first baseline cannot be compared ({refused[0]})"
        if change := comparability.contract_change(first.contract, now.contract):
            return None, f"it stands for other work than in the first baseline ({change})"
        then = self.then.samples.get(now.case) if self.then else None
        try:
            decision = comparisons.since_first(now, then, first, self.frame)
        except (TypeError, ValueError) as error:  # such as a clock that is no number: the format does not check it
            return None, f"it cannot be worked out ({error})"
        if decision is None:
            return None, "a lower clock explains that it is slower"
        estimate = decision.estimate
        exceeded = decision.status is Status.SLOWER
        return Drift(
            ratio=estimate.ratio, low=estimate.low, high=estimate.high, limit=decision.limit, exceeded=exceeded
        ), ""


def _break(before: Recording, now: Recording, case: str) -> str:
    """Why two points that follow each other cannot be compared; empty where they can."""
    if refused := comparability.refusal(before, now):
        return refused[0]
    changed = comparability.contract_change(before.samples[case].contract, now.samples[case].contract)
    return "contract-changed" if changed else ""


def _measured(number: int, now: Recording, pasts: Sequence[Past], limits: Limits) -> _Measured:
    then = _anchored_to(now, pasts[:number]) if pasts[number].update.kind == RUN else None
    frame = Frame(limits=limits, cases=len(now.samples), pairs=pairs(now, now.samples, limits))
    return _Measured(number=number, now=now, then=then, anchor=pasts[number].anchor, frame=frame)


def _anchored_to(run: Recording, pasts: Sequence[Past]) -> Recording | None:
    """The latest baseline whose code was measured beside the run's; None where there was none."""
    names = {samples.other["name"] for samples in run.samples.values() if samples.other and samples.is_anchored}
    baselines = (past.recording for past in reversed(pasts) if past.update.kind != RUN and past.recording)
    return next((one for one in baselines if one.commit in names), None)


def _compiled_point(number: int, name: str, file: CompiledBaseline, case: str) -> CompiledPoint:
    return CompiledPoint(
        update=number,
        file=name,
        target=file.target,
        triton=file.versions.get("triton", ""),
        recorded_at=file.recorded_at,
        reason=file.reason,
        kernels=tuple(map(_kernel_point, file.cases[case].kernels)),
    )


def _kernel_point(facts: KernelFacts) -> KernelPoint:
    return KernelPoint(
        name=facts.name,
        registers=facts.registers,
        spill_instructions=facts.spill_instructions,
        stack_bytes=facts.stack_bytes,
        shared_bytes=facts.shared_bytes,
        blocks_per_sm=facts.blocks_per_sm,
        occupancy_percent=facts.occupancy_percent,
        limited_by=facts.limited_by,
        instructions=sum(facts.instructions.values()),
        code_hash=facts.code_hash,
        config=dict(facts.config),
    )
