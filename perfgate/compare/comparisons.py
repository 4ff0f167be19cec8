"""The comparisons that a case can get, each with its one sentence: beside another side, re-anchored, stored. Pure."""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.compare import comparability
from perfgate.compare.decision import Decision, Look, decide
from perfgate.compare.estimators import stored_effect, two_modes, typical_seconds
from perfgate.compare.interleaved import tick_share
from perfgate.records import Aside, Status, Verdict
from perfgate.text import UPDATE, allowed, change, duration, measure_again, percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.compare.estimators import Effect
    from perfgate.compare.interleaved import Pair
    from perfgate.config import Limits
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
    versions = comparability.other_versions(baseline, current)
    said = (
        f"that code itself is {change(decision.estimate.ratio, 'when it was recorded')} {held_to(decision)}",
        *_over_control(now, then, frame.limits, ratio=decision.estimate.ratio),
    )
    moved = decision.status in {Status.SLOWER, Status.FASTER}
    cause = "more than days and cards explain" if moved else "within other days and cards"
    toolchain = bool(moved and versions and not _clock_explains(now, then, decision, frame.limits))
    notes = (cause, *_clock(now, then, frame.limits), *comparability.notes(baseline, current))
    aside = Aside(
        text=f"{'toolchain' if toolchain else 'machine'}: {'; '.join((*said, *notes))}.",
        ratio=decision.estimate.ratio,
        matters=moved,
    )
    if toolchain and decision.status is Status.SLOWER and code.exit_code in {0, 3}:
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
        *_over_control(now, then, frame.limits, ratio=decision.estimate.ratio),
        *clock,
        *_modes(now),
        *comparability.notes(baseline, current),
    )
    verdict = _verdict(now.case, decision, f"{_now(now)} now,", f"the stored {before}", notes=notes)
    if now.case in frame.pairs:
        return _arbitrated(now, verdict, frame)
    if verdict.status is Status.SLOWER and _clock_explains(now, then, decision, frame.limits):
        return dataclasses.replace(
            verdict,
            status=Status.INVALID,
            reason="clock-below-baseline",
            text=f"{now.case}: {percent(decision.estimate.ratio)} against the stored {before}, but {clock[0]}, expected the "
            f"baseline's, which explains it; measure again on a cool card with its clocks free: {measure_again(now.case)}.",
        )
    return verdict


def _arbitrated(now: Samples, found: Verdict, frame: Frame) -> Verdict:
    """The stored comparison with the other side of the same launches as arbiter, which sees far less of a change.

    What that side shows to be slower is slower; what the stored number calls slower, or cannot tell, is not this change's
    doing where that side says so.
    """
    here = beside(now, frame)
    if here.status is Status.SLOWER:
        first, second = (found, here) if found.status is Status.SLOWER else (here, found)
        said = "in the same launches" if second is here else "stored"
        return dataclasses.replace(first, asides=(Aside(text=f"{said}: {second.text}", matters=True),))
    if found.status not in {Status.SLOWER, Status.UNSURE}:
        return found
    moved = f"stored: the number of now is {percent(found.ratio or 1.0)} from the baseline's"
    if here.status is Status.UNSURE:
        aside = Aside(text=f"{moved}; whether this change did it is too close to tell.", matters=True)
        return dataclasses.replace(here, asides=(aside,))
    text = f"{moved}, but not from the other side's: that is the machine, or a change before this one."
    reason = f"{here.status.lower()}-not-this-change"
    return dataclasses.replace(here, reason=reason, asides=(Aside(text=text, matters=True),))


def since_first(now: Samples, then: Samples | None, first: Samples, frame: Frame) -> Decision | None:
    """How far a case has moved since its card's first baseline; None where the clock alone explains that it is slower.

    Where the baseline's code was measured beside today's, it is the way from the first baseline to the last, by their
    stored numbers, and from there the step that was measured: what the machine does today has no part in it. Elsewhere
    it is the number of now against the first.
    """
    limits = frame.limits
    if then and now.is_anchored:
        way, step = _stored_effect(then, first, limits), frame.pairs[now.case].effect
        effect = dataclasses.replace(way, shift=way.shift + step.shift, error=math.hypot(way.error, step.error))
        return _decide_stored(effect, now, frame, tolerance=limits.drift_tolerance)
    decision = _decide_stored(_stored_effect(now, first, limits), now, frame, tolerance=limits.drift_tolerance)
    return None if _clock_explains(now, first, decision, limits) else decision


def _stored(now: Samples, then: Samples, frame: Frame, *, arm: str = "kernel") -> Decision:
    """An arm of now against the kernel of then, held to the limit of days and cards."""
    effect = _stored_effect(now, then, frame.limits, arm=arm)
    return _decide_stored(effect, now, frame, tolerance=frame.limits.stored_tolerance)


def _stored_effect(
    now: Samples, then: Samples, limits: Limits, *, arm: str = "kernel", before: str = "kernel"
) -> Effect:
    return stored_effect(
        (launch.arms[arm] for launch in now.launches),
        (launch.arms[before] for launch in then.launches),
        prior_scatter=limits.stored_scatter,
        prior_df=limits.stored_df,
    )


def _decide_stored(effect: Effect, now: Samples, frame: Frame, *, tolerance: float) -> Decision:
    """One look, which spends all."""
    return decide(
        effect,
        tolerance=tolerance,
        tick_share=tick_share(now),
        launches=len(now.launches),
        cases=frame.cases,
        this_look=_WHOLE,
        limits=frame.limits,
        errors_in_floor=frame.limits.stored_errors,
    )


def _over_control(now: Samples, then: Samples, limits: Limits, *, ratio: float) -> tuple[str, ...]:
    """The control's own change and the change over it, where both sides have it; the raw one stands before."""
    if not all("control" in launch.arms for side in (now, then) for launch in side.launches):
        return ()
    control = math.exp(_stored_effect(now, then, limits, arm="control", before="control").shift)
    return (f"its control moved by {percent(control)}, over it that is {percent(ratio / control)}",)


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


def _clock_explains(now: Samples, then: Samples, decision: Decision, limits: Limits) -> bool:
    """Whether a lower SM clock is enough for a slowdown to be within its limit."""
    drop = _clock_drop(now, then)
    slower = math.log(decision.estimate.ratio)
    return drop > limits.clock_tolerance and slower > 0 and slower - drop <= math.log(decision.limit)


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


def held_to(decision: Decision) -> str:
    """The interval and the limit of a decision, in brackets."""
    estimate = decision.estimate
    why = {"": "", "clock": ", as fine as its clock allows", "noise": ", as fine as its noise allows"}[decision.widened]
    return (
        f"({decision.confidence * 100:.5g} % interval {percent(estimate.low)} to {percent(estimate.high)}, "
        f"limit {allowed(decision.limit)}{why})"
    )
