"""From recordings and limits to verdicts: which comparison a case gets, and its one sentence. Pure.

With a baseline, the kernel is held against the baseline's kernel: re-anchored where the baseline's code was measured
again beside it (kind ``baseline-commit``), else by the stored number and the wider limit of days and cards. Without
one, the kernel is held against the other side of the same launches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate import comparable
from perfgate.decision import Decision, Look, decide, look
from perfgate.records import Status, Verdict
from perfgate.statistics import clock_tick, paired_effect, shift_within_launch, stored_effect, typical_seconds
from perfgate.wording import UPDATE, change, duration, held_to, measure_again, percent

if TYPE_CHECKING:
    from collections.abc import Collection

    from perfgate.limits import Limits
    from perfgate.records import Recording, Samples

ANCHOR = "baseline-commit"
_WHOLE = Look()


def judge(
    baseline: Recording | None, current: Recording, limits: Limits, *, selected: Collection[str] | None = None
) -> tuple[Verdict, ...]:
    """Judge every case of either recording.

    Args:
        baseline: What to compare with; None compares with the ``other`` arm of the current recording.
        current: What was measured.
        limits: What counts as a change.
        selected: Cases that the user asked for on purpose; a case outside gets no verdict, and one of them that is
            missing is INVALID. None judges all.

    Returns:
        One verdict a case, in the current recording's order, then what only the baseline has.
    """
    known = [
        *current.samples,
        *(case for case in (baseline.samples if baseline else {}) if case not in current.samples),
    ]
    if selected is not None:
        known = [case for case in known if case in selected]
        known += sorted(set(selected) - set(known))
    refused = comparable.refusal(baseline, current) if baseline else None
    return tuple(
        _judge_case(case, baseline, current, _Frame(limits=limits, cases=len(known), refused=refused)) for case in known
    )


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """What all cases of one judgement share."""

    limits: Limits
    cases: int
    refused: tuple[str, str] | None


def _judge_case(case: str, baseline: Recording | None, current: Recording, frame: _Frame) -> Verdict:
    now, then = current.samples.get(case), baseline.samples.get(case) if baseline else None
    if now is None:
        why = "the baseline has it" if then else "it was selected"
        return _invalid(
            case,
            "case-not-measured",
            f"was not measured, expected it as {why}; measure it ({measure_again(case)}) or, if it was removed or renamed, {UPDATE}",
        )
    if invalid := _fault_of_run(now, frame):
        return invalid
    return (
        _judge_against(now, frame)
        if baseline is None
        else _judge_baseline(now, frame, baseline=baseline, current=current)
    )


def _judge_baseline(now: Samples, frame: _Frame, *, baseline: Recording, current: Recording) -> Verdict:
    case, then = now.case, baseline.samples.get(now.case)
    if then is None:
        source = f" {baseline.source}" if baseline.source else ""
        found = f"is not in the baseline{source}, expected every measured case there; record it: {UPDATE}"
        return _invalid(case, "case-not-in-baseline", found)
    if invalid := _fault_of_pair(now, then):
        return invalid
    if now.other and now.other["kind"] == ANCHOR:
        if comparable.other_anchor(now, baseline.commit):
            found = f"was measured beside commit {now.other['name']}, expected the baseline's {baseline.commit}; measure again: {measure_again(case)}"
            return _invalid(case, "other-anchor", found)
        return _judge_anchored(now, then, frame, baseline=baseline, current=current)
    return _judge_stored(now, then, frame, notes=comparable.notes(baseline, current))


def _fault_of_run(now: Samples, frame: _Frame) -> Verdict | None:
    """What forbids a number for this case whatever it is compared with; a wrong result comes first."""
    case = now.case
    if comparable.is_wrong(now):
        text = (
            f"{case}: its result is wrong, expected one within tolerance; a wrong kernel gets no speed number, "
            f"mend it and run {measure_again(case)}."
        )
        return Verdict(case=case, status=Status.INVALID, reason="wrong-result", text=text, wrong=True)
    if frame.refused:
        return _invalid(case, *frame.refused)
    if found := comparable.disturbance(now):
        return _invalid(case, found[0], f"{found[1]}; measure again on a free, cool card: {measure_again(case)}")
    return None


def _fault_of_pair(now: Samples, then: Samples) -> Verdict | None:
    """What forbids comparing a case with its baseline."""
    if changed := comparable.contract_change(then.contract, now.contract):
        found = f"stands for other work than its baseline: {changed}; give it a new id or record anew: {UPDATE}"
        return _invalid(now.case, "contract-changed", found)
    if found_then := comparable.disturbance(then):
        return _invalid(
            now.case, f"baseline-{found_then[0]}", f"in its baseline {found_then[1]}; record it anew: {UPDATE}"
        )
    return None


def _judge_against(now: Samples, frame: _Frame) -> Verdict:
    if now.other is None:
        return _invalid(
            now.case,
            "no-baseline",
            "has neither a baseline nor another side in the same launches, expected one of them; "
            f"give --baseline FILE, measure with nox -s perf -- --against REF, or record one: {UPDATE}",
        )
    decision, said = _beside(now, frame)
    return _verdict(now.case, decision, said, f"{now.other['kind']} {now.other['name']}")


def _judge_anchored(now: Samples, then: Samples, frame: _Frame, *, baseline: Recording, current: Recording) -> Verdict:
    """New code against old code, now; and old code now against then, which is the machine's or the toolchain's doing."""
    decision, said = _beside(now, frame)
    drift = _stored(now, then, frame, arm="other")
    versions = comparable.other_versions(baseline, current)
    moved = drift.status in {Status.SLOWER, Status.FASTER}
    cause = "the toolchain" if versions else "the machine"
    aside = (
        f"the old code itself is {change(drift.estimate.ratio, 'when it was recorded')} "
        f"({f'beyond days and cards, so {cause}' if moved else 'within days and cards'})"
    )
    notes = (aside, *comparable.notes(baseline, current))
    if versions and drift.status is Status.SLOWER and decision.status is not Status.SLOWER:
        said, other = "the toolchain changed and the old code, measured again, is", "its baseline"
        return _verdict(now.case, drift, said, other, notes=notes, reason="slower-toolchain")
    return _verdict(now.case, decision, said, "the baseline's code measured beside it", notes=notes)


def _judge_stored(now: Samples, then: Samples, frame: _Frame, *, notes: tuple[str, ...]) -> Verdict:
    before = duration(typical_seconds(launch.arms["kernel"] for launch in then.launches))
    said = f"{duration(typical_seconds(launch.arms['kernel'] for launch in now.launches))} now,"
    if all("control" in launch.arms for side in (now, then) for launch in side.launches):
        notes = (f"its control moved by {percent(_ratio(now, then, arm='control'))}", *notes)
    notes = ("the limit is that of other days and cards", *notes)
    return _verdict(now.case, _stored(now, then, frame), said, f"the stored {before}", notes=notes)


def _beside(now: Samples, frame: _Frame) -> tuple[Decision, str]:
    """Kernel against other, launch by launch."""
    limits = frame.limits
    effect = paired_effect(
        [shift_within_launch(launch.arms["kernel"], launch.arms["other"]) for launch in now.launches],
        launch_df=limits.launch_df,
        least_scatter=limits.paired_scatter,
        disagreement=limits.disagreement,
    )
    count = len(now.launches)
    decision = decide(
        effect,
        tolerance=limits.against_tolerance,
        tick_share=_tick_share(now),
        launches=count,
        cases=frame.cases,
        this_look=look(count, limits),
        limits=limits,
    )
    seconds = duration(typical_seconds(launch.arms["kernel"] for launch in now.launches))
    odd = ", though the launches disagree among themselves" if effect.disagreeing else ""
    return decision, f"{seconds} in {count} {'launch' if count == 1 else 'launches'}{odd},"


def _stored(now: Samples, then: Samples, frame: _Frame, *, arm: str = "kernel") -> Decision:
    """An arm of now against the kernel of then, held to the limit of days and cards; one look, which spends all."""
    limits = frame.limits
    effect = stored_effect(
        (launch.arms[arm] for launch in now.launches),
        (launch.arms["kernel"] for launch in then.launches),
        prior_scatter=limits.stored_scatter,
        prior_df=limits.stored_df,
    )
    return decide(
        effect,
        tolerance=limits.stored_tolerance,
        tick_share=_tick_share(now),
        launches=len(now.launches),
        cases=frame.cases,
        this_look=_WHOLE,
        limits=limits,
        errors_in_floor=limits.stored_errors,
    )


def _ratio(now: Samples, then: Samples, *, arm: str) -> float:
    after, before = (typical_seconds(launch.arms[arm] for launch in side.launches) for side in (now, then))
    return after / before


def _tick_share(now: Samples) -> float:
    kernel = [launch.arms["kernel"] for launch in now.launches]
    return clock_tick(sample for samples in kernel for sample in samples) / typical_seconds(kernel)


_NEXT = {
    Status.SAME: "nothing to do",
    Status.FASTER: f"keep it with {UPDATE}",
    Status.SLOWER: f"find out why with {{again}}, or if it is meant, {UPDATE}",
    Status.UNSURE: "too close to tell from these launches, so take more with {again}",
}


def _verdict(  # noqa: PLR0913 - the parts of one sentence
    case: str, decision: Decision, said: str, other: str, *, notes: tuple[str, ...] = (), reason: str = ""
) -> Verdict:
    estimate = decision.estimate
    found = f"{said} {change(estimate.ratio, other)}"
    after = "".join(f"; {note}" for note in notes)
    then = _NEXT[decision.status].format(again=measure_again(case))
    return Verdict(
        case=case,
        status=decision.status,
        reason=reason or decision.status.lower(),
        text=f"{case}: {found} {held_to(decision)}{after}; {then}.",
        ratio=estimate.ratio,
        low=estimate.low,
        high=estimate.high,
        limit=decision.limit,
    )


def _invalid(case: str, reason: str, text: str) -> Verdict:
    return Verdict(case=case, status=Status.INVALID, reason=reason, text=f"{case}: {text}.")
