"""The comparisons that a case can get, each with its one sentence: beside another side, re-anchored, stored. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate import comparable
from perfgate.decision import Decision, Look, decide
from perfgate.modes import two_modes
from perfgate.paired import tick_share
from perfgate.records import Aside, Status, Verdict
from perfgate.statistics import stored_effect, typical_seconds
from perfgate.wording import UPDATE, change, duration, held_to, measure_again, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.limits import Limits
    from perfgate.paired import Pair
    from perfgate.records import Recording, Samples

_WHOLE = Look()


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What all cases of one judgement share."""

    limits: Limits
    cases: int
    """Cases among which the false alarms of the suite are divided."""
    pairs: Mapping[str, Pair]
    """By case id, for the cases that have another side."""


def beside(now: Samples, frame: Frame, *, other: str = "") -> Verdict:
    """Kernel against the other side of the same launches."""
    pair = frame.pairs[now.case]
    decision = pair.decide(frame.limits, cases=frame.cases)
    notes, reason = [], ""
    if pair.equal_code:
        if decision.status is Status.UNSURE:
            decision, reason = dataclasses.replace(decision, status=Status.SAME), "same-code"
        changed = decision.status in {Status.SLOWER, Status.FASTER}
        notes.append(
            "the machine code of both sides is equal"
            + (", so look at what is around the kernel (copies, other launches)" if changed else "")
        )
    if pair.widened > 1:
        notes.append(f"errors times {pair.widened:.2g}, as cases with equal code strayed that far in this run")
    if pair.effect.disagreeing:
        notes.append("the launches disagree among themselves")
    notes += _modes(now)
    count = pair.launches
    said = f"{_now(now)} in {count} {'launch' if count == 1 else 'launches'},"
    other = other or (f"{now.other['kind']} {now.other['name']}" if now.other else "the other side")
    return _verdict(now.case, decision, said, other, notes=tuple(notes), reason=reason)


def anchored(now: Samples, then: Samples, frame: Frame, *, baseline: Recording, current: Recording) -> Verdict:
    """New code against old code, now; and old code now against then, which is the machine's or the toolchain's doing."""
    code = beside(now, frame, other="the baseline's code measured beside it")
    decision = _stored(now, then, frame, arm="other")
    versions = comparable.other_versions(baseline, current)
    said = (
        f"that code itself is {change(decision.estimate.ratio, 'when it was recorded')} {held_to(decision)}"
        f"{_over_control(now, then, arm='other')}"
    )
    moved = decision.status in {Status.SLOWER, Status.FASTER}
    cause = "within other days and cards"
    if moved:
        cause = "more than days and cards explain, so the toolchain" if versions else "more than days and cards explain"
    notes = (cause, *_clock(now, then, frame.limits), *comparable.notes(baseline, current))
    aside = Aside(
        text=f"{'toolchain' if moved and versions else 'machine'}: {'; '.join((said, *notes))}.",
        ratio=decision.estimate.ratio,
        matters=moved,
    )
    if versions and decision.status is Status.SLOWER and code.exit_code in {0, 3}:
        found = _verdict(
            now.case,
            decision,
            "the toolchain changed and the old code, measured again, is",
            "its baseline",
            notes=versions,
            reason="slower-toolchain",
        )
        return dataclasses.replace(found, asides=(aside,))
    return dataclasses.replace(code, asides=(aside,))


def stored(now: Samples, then: Samples, frame: Frame, *, baseline: Recording, current: Recording) -> Verdict:
    """The number of now against that of another day, with the limit of days and cards."""
    before = duration(typical_seconds(launch.arms["kernel"] for launch in then.launches))
    decision = _stored(now, then, frame)
    clock = _clock(now, then, frame.limits)
    notes = (
        "the limit is that of other days and cards",
        *(part for part in (_over_control(now, then).removeprefix("; "),) if part),
        *clock,
        *_modes(now),
        *comparable.notes(baseline, current),
    )
    verdict = _verdict(now.case, decision, f"{_now(now)} now,", f"the stored {before}", notes=notes)
    if verdict.status is not Status.SLOWER:
        return verdict
    if now.case in frame.pairs:
        return _arbitrated(now, verdict, frame)
    if clock and math.log(decision.estimate.ratio) - _clock_drop(now, then) <= math.log(decision.limit):
        return dataclasses.replace(
            verdict,
            status=Status.INVALID,
            reason="clock-below-baseline",
            text=f"{now.case}: {percent(decision.estimate.ratio)} against the stored {before}, but {clock[0]}, expected the "
            f"baseline's, which explains it; measure again on a cool card with its clocks free: {measure_again(now.case)}.",
        )
    return verdict


def _arbitrated(now: Samples, found: Verdict, frame: Frame) -> Verdict:
    """A stored number says SLOWER; the other side, measured in the same launches, says whether this change did it."""
    here = beside(now, frame)
    if here.status is Status.SLOWER:
        return dataclasses.replace(found, asides=(Aside(text=f"in the same launches: {here.text}", matters=True),))
    name = now.other["name"] if now.other else "the other side"
    text = (
        f"{here.text.rstrip('.')}; the stored number says {percent(found.ratio or 1.0)}, which {name} shows as well, so it "
        "is the machine, or a change before this one."
    )
    return dataclasses.replace(here, text=text, reason=f"{here.status.lower()}-not-this-change")


def total_effect_decision(now: Samples, then: Samples, frame: Frame, *, arm: str = "kernel") -> Decision:
    """A stored comparison held to the limit of drift instead of that of one step."""
    return _stored(now, then, frame, arm=arm, tolerance=frame.limits.drift_tolerance)


def _stored(
    now: Samples, then: Samples, frame: Frame, *, arm: str = "kernel", tolerance: float | None = None
) -> Decision:
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
        tolerance=limits.stored_tolerance if tolerance is None else tolerance,
        tick_share=tick_share(now),
        launches=len(now.launches),
        cases=frame.cases,
        this_look=_WHOLE,
        limits=limits,
        errors_in_floor=limits.stored_errors,
    )


def _over_control(now: Samples, then: Samples, *, arm: str = "kernel") -> str:
    """The control's own change and the change over it; the raw one stands before."""
    if not all("control" in launch.arms for side in (now, then) for launch in side.launches):
        return ""
    control = _ratio(now, then, arm="control")
    return f"; its control moved by {percent(control)}, over it that is {percent(_ratio(now, then, arm=arm) / control)}"


def _ratio(now: Samples, then: Samples, *, arm: str) -> float:
    before = arm if arm == "control" else "kernel"
    return typical_seconds(launch.arms[arm] for launch in now.launches) / typical_seconds(
        launch.arms[before] for launch in then.launches
    )


def _now(now: Samples) -> str:
    return duration(typical_seconds(launch.arms["kernel"] for launch in now.launches))


def _clock_mhz(samples: Samples) -> float:
    """Median over launches; 0 where it is not recorded."""
    seen = [float(launch.state.get("sm_clock_mhz") or 0) for launch in samples.launches]
    return statistics.median(seen) if all(seen) else 0.0


def _clock_drop(now: Samples, then: Samples) -> float:
    """Log of the baseline's SM clock over today's; 0 where either is not recorded."""
    here, there = _clock_mhz(now), _clock_mhz(then)
    return math.log(there / here) if here and there else 0.0


def _clock(now: Samples, then: Samples, limits: Limits) -> tuple[str, ...]:
    if _clock_drop(now, then) <= limits.clock_tolerance:
        return ()
    return (f"the SM clock is {_clock_mhz(now):.0f} MHz (baseline {_clock_mhz(then):.0f} MHz)",)


def _modes(now: Samples) -> tuple[str, ...]:
    """That the times come in two modes, where half of the launches show it."""
    found = [modes for launch in now.launches if (modes := two_modes(launch.arms["kernel"]))]
    if 2 * len(found) < len(now.launches):
        return ()
    gap = statistics.median(modes.slow_s / modes.fast_s for modes in found)
    return (
        f"its times come in two modes {percent(gap).lstrip('+')} apart in {len(found)} of {len(now.launches)} launches",
    )


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
