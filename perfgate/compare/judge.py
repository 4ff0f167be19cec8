"""From recordings and limits to verdicts: what may be judged, which comparison each case gets, and the suite as a whole. Pure.

With a baseline, the kernel is held against the baseline's kernel: re-anchored where the baseline's code was measured
again beside it (kind ``baseline-commit``), else by the stored number and the wider limit of days and cards, for which
another side in the same launches is the arbiter. Without a baseline, the kernel is held against that other side.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

from perfgate.compare import comparability, comparisons, drift
from perfgate.compare.comparisons import Frame
from perfgate.compare.estimators import t_quantile
from perfgate.compare.interleaved import mean_shift, pairs
from perfgate.records import Status, Verdict
from perfgate.text import UPDATE, measure_again, percent

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from perfgate.config import Limits
    from perfgate.records import Recording, Samples

_CALLED = frozenset({Status.SLOWER, Status.FASTER})


def judge(  # noqa: PLR0913 - two sides, and options by name
    baseline: Recording | None,
    current: Recording,
    limits: Limits,
    *,
    selected: Collection[str] | None = None,
    suite: int | None = None,
    anchor: Recording | None = None,
    fail_on_drift: bool = False,
) -> tuple[Verdict, ...]:
    """Judge every case of either recording.

    Args:
        baseline: What to compare with; None compares with the ``other`` arm of the current recording.
        current: What was measured.
        limits: What counts as a change.
        selected: Cases that the user asked for on purpose; a case outside gets no verdict, and one of them that is
            missing is INVALID. None judges all.
        suite: Cases judged together, where that is more than are given: these are some of a suite.
        anchor: The card's first baseline, against which small steps add up; None leaves drift unjudged.
        fail_on_drift: Call too much drift SLOWER, rather than report it.

    Returns:
        One verdict a case, in the current recording's order, then what only the baseline has, then one for the suite
        as a whole (case ``*``) where it moved as a whole.
    """
    known = [
        *current.samples,
        *(case for case in (baseline.samples if baseline else {}) if case not in current.samples),
    ]
    if selected is not None:
        known = [case for case in known if case in selected]
        known += sorted(set(selected) - set(known))
    frame = Frame(limits=limits, cases=max(len(known), suite or 0), pairs=pairs(current, known, limits))
    found = _step_down(known, baseline, current, frame)
    anchored = any(samples.is_anchored for samples in current.samples.values())
    whole = suite_verdict(found, frame) if baseline is None or anchored else ()
    if anchor is not None:
        found = drift.judge_drift(found, anchor, baseline, current, frame, fail=fail_on_drift)
    return (*found, *whole)


def _step_down(known: list[str], baseline: Recording | None, current: Recording, frame: Frame) -> tuple[Verdict, ...]:
    """Every case's verdict, by Holm's step-down (Scand. J. Stat. 1979).

    The false alarms that the suite may have are divided among its cases; once some are called changed, among the rest.
    """
    called = -1
    found: tuple[Verdict, ...] = ()
    while (now := sum(verdict.status in _CALLED for verdict in found)) > called:
        called = now
        stepped = dataclasses.replace(frame, cases=max(1, frame.cases - called))
        found = tuple(_judge_case(case, baseline, current, stepped) for case in known)
    return found


def _judge_case(case: str, baseline: Recording | None, current: Recording, frame: Frame) -> Verdict:
    now, then = current.samples.get(case), baseline.samples.get(case) if baseline else None
    if now is None:
        why = "the baseline has it" if then else "it was selected"
        return _invalid(
            case,
            "case-not-measured",
            f"was not measured, expected it as {why}; measure it ({measure_again(case)}) or, if it was removed or renamed, {UPDATE}",
        )
    if invalid := _fault_of_run(now, baseline, current):
        return invalid
    if baseline is not None:
        return _judge_baseline(now, frame, baseline=baseline, current=current)
    if now.other is None:
        return _invalid(
            case,
            "no-baseline",
            "has neither a baseline nor another side in the same launches, expected one of them; "
            f"give --baseline FILE, measure with nox -s perf -- --against REF, or record one: {UPDATE}",
        )
    return comparisons.beside(now, frame)


def _judge_baseline(now: Samples, frame: Frame, *, baseline: Recording, current: Recording) -> Verdict:
    case, then = now.case, baseline.samples.get(now.case)
    if then is None:
        source = f" {baseline.source}" if baseline.source else ""
        found = f"is not in the baseline{source}, expected every measured case there; record it: {UPDATE}"
        return _invalid(case, "case-not-in-baseline", found)
    if invalid := _fault_of_pair(now, then):
        return invalid
    if now.other and now.is_anchored:
        if comparability.other_anchor(now, baseline.commit):
            found = f"was measured beside commit {now.other['name']}, expected the baseline's {baseline.commit}; measure again: {measure_again(case)}"
            return _invalid(case, "other-anchor", found)
        return comparisons.anchored(now, then, frame, baseline=baseline, current=current)
    return comparisons.stored(now, then, frame, baseline=baseline, current=current)


def _fault_of_run(now: Samples, baseline: Recording | None, current: Recording) -> Verdict | None:
    """What forbids a number for this case whatever it is compared with; a wrong result comes first."""
    case = now.case
    if comparability.is_wrong(now):
        text = (
            f"{case}: its result is wrong, expected one within tolerance; a wrong kernel gets no speed number, "
            f"mend it and run {measure_again(case)}."
        )
        return Verdict(case=case, status=Status.INVALID, reason="wrong-result", text=text, wrong=True)
    if baseline is not None and (refused := comparability.refusal(baseline, current)):
        return _invalid(case, *refused)
    if copied := comparability.repeated(now, baseline.samples.get(case) if baseline else None):
        text = f"has samples twice: {copied}, number for number; expected two measurements, so measure again"
        return _invalid(case, "equal-samples", f"{text}: {measure_again(case)}")
    if found := comparability.disturbance(now):
        return _invalid(case, found[0], f"{found[1]}; measure again on a free, cool card: {measure_again(case)}")
    return None


def _fault_of_pair(now: Samples, then: Samples) -> Verdict | None:
    """What forbids comparing a case with its baseline."""
    if changed := comparability.contract_change(then.contract, now.contract):
        found = f"stands for other work than its baseline: {changed}; give it a new id or record anew: {UPDATE}"
        return _invalid(now.case, "contract-changed", found)
    if found_then := comparability.disturbance(then):
        return _invalid(
            now.case, f"baseline-{found_then[0]}", f"in its baseline {found_then[1]}; record it anew: {UPDATE}"
        )
    return None


def _invalid(case: str, reason: str, text: str) -> Verdict:
    return Verdict(case=case, status=Status.INVALID, reason=reason, text=f"{case}: {text}.")


_UNCHANGED = frozenset({Status.SAME, Status.UNSURE})


def suite_verdict(verdicts: Sequence[Verdict], frame: Frame) -> tuple[Verdict, ...]:
    """A verdict on the mean change of the cases that are not called changed themselves; empty where it is small.

    Only for sides of the same launches: a stored number moves with the day and the card, for all cases alike.
    """
    limits = frame.limits
    alone = [frame.pairs[v.case] for v in verdicts if v.status in _UNCHANGED and v.case in frame.pairs]
    effect = mean_shift(pair for pair in alone if not pair.equal_code)
    if effect is None:
        return ()
    sure = 1 - limits.false_alarms_case / 2
    limit = math.log1p(limits.suite_tolerance)
    if abs(effect.shift) <= max(limit, t_quantile(sure, effect.df) * effect.error):
        return ()
    estimate = effect.estimate(sure)
    slower = effect.shift > 0
    text = (
        f"the whole suite: {round(effect.df) + 1} cases that show no change alone are "
        f"{percent(estimate.ratio).lstrip('+-')} {'slower' if slower else 'faster'} on average ({100 * (2 * sure - 1):.4g} % "
        f"interval {percent(estimate.low)} to {percent(estimate.high)}, limit {limits.suite_tolerance * 100:.2g} %); "
        + ("find what they share, or if it is meant, record it anew." if slower else "nothing to do.")
    )
    return (
        Verdict(
            case="*",
            status=Status.SLOWER if slower else Status.FASTER,
            reason="suite-slower" if slower else "suite-faster",
            text=text,
            ratio=estimate.ratio,
            low=estimate.low,
            high=estimate.high,
            limit=1 + limits.suite_tolerance,
        ),
    )


def old_against_new(stored: Recording | None, recording: Recording, limits: Limits) -> tuple[Verdict, ...]:
    """What the change did; by the old code alone where the old numbers were measured with other settings.

    Args:
        stored: The baseline before; None where this is the card's first.
        recording: The new launches, with the old baseline's code beside them where it could be measured.
        limits: What counts as a change.

    Returns:
        One verdict a case, or none where there is nothing to compare with.
    """
    if stored is None:
        return ()
    if comparability.refusal(stored, recording) is None:
        return judge(stored, recording, limits)
    beside = any(samples.other for samples in recording.samples.values())
    return judge(None, recording, limits) if beside else ()
