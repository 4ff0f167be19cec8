"""Small steps that each pass but add up: how far a case has moved since its card's first baseline. Pure.

Owns which of a measurement is stored as the next baseline and as the first one.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from perfgate.compare import comparability, comparisons
from perfgate.compare.comparisons import held_to
from perfgate.records import Aside, Status, Verdict
from perfgate.text import UPDATE, percent

if TYPE_CHECKING:
    from collections.abc import Collection

    from perfgate.compare.comparisons import Frame
    from perfgate.compare.decision import Decision
    from perfgate.records import Recording

_JUDGED = frozenset({Status.SAME, Status.FASTER, Status.UNSURE})


def judge_drift(  # noqa: PLR0913 - three recordings, and the rest by name
    verdicts: tuple[Verdict, ...],
    anchor: Recording,
    baseline: Recording | None,
    current: Recording,
    frame: Frame,
    *,
    fail: bool,
) -> tuple[Verdict, ...]:
    """Add what has drifted since the anchor to the verdicts of cases that pass.

    Args:
        verdicts: One a case.
        anchor: The card's first baseline; a case that it lacks has no past to drift from.
        baseline: What the verdicts are against. Where it is the anchor itself, its step is the whole way.
        current: What was measured.
        frame: What the cases share.
        fail: Make a case that drifted too far SLOWER; otherwise only say it.
    """
    if refused := comparability.refusal(anchor, current):
        text = f"drift could not be judged: the first baseline was {refused[1]}."
        if not fail:
            # Said with every case, but worth a line of a brief report only once.
            return tuple(
                dataclasses.replace(v, asides=(*v.asides, Aside(text=text, matters=not number)))
                for number, v in enumerate(verdicts)
            )
        return (*verdicts, Verdict(case="*", status=Status.INVALID, reason=f"drift-{refused[0]}", text=text))
    moved = {case for case in anchor.samples if not _one_step(case, anchor, baseline)}
    return tuple(
        _with_drift(verdict, anchor, baseline, current, frame, fail=fail) if verdict.case in moved else verdict
        for verdict in verdicts
    )


def renewed(
    anchor: Recording | None, new: Recording, *, meant: Collection[str] = (), whole: bool = False
) -> tuple[Recording, tuple[str, ...]]:
    """The anchor that goes with a new baseline, and the cases whose drift is counted anew from it.

    The anchor stays as it is but for cases that changed on purpose beyond the limit, that it lacks, or that stand for
    other work now: a step that was meant is no drift.

    Args:
        anchor: As it is; None where this is the card's first baseline.
        new: The baseline that is about to be stored.
        meant: Cases that are called FASTER or SLOWER than the baseline before.
        whole: Start anew with every case.
    """
    if anchor is None or whole or comparability.refusal(anchor, new):
        return new, tuple(new.samples)
    samples = {}
    for case, samples_now in new.samples.items():
        first = anchor.samples.get(case)
        stays = first and case not in meant and not comparability.contract_change(first.contract, samples_now.contract)
        samples[case] = first if first and stays else samples_now
    restarted = tuple(case for case in samples if samples[case] is new.samples[case])
    return dataclasses.replace(anchor, samples=samples), restarted


def _one_step(case: str, anchor: Recording, baseline: Recording | None) -> bool:
    """Whether the case's baseline is its anchor, so that its own verdict covers the whole way."""
    then = baseline.samples.get(case) if baseline else None
    return then is not None and then.launches == anchor.samples[case].launches


def _with_drift(  # noqa: PLR0913 - as `judge_drift`
    verdict: Verdict,
    anchor: Recording,
    baseline: Recording | None,
    current: Recording,
    frame: Frame,
    *,
    fail: bool,
) -> Verdict:
    now, first = current.samples.get(verdict.case), anchor.samples[verdict.case]
    if verdict.status not in _JUDGED or now is None or comparability.contract_change(first.contract, now.contract):
        return verdict
    then = baseline.samples.get(verdict.case) if baseline else None
    decision = comparisons.since_first(now, then, first, frame)
    if decision is None or decision.status is not Status.SLOWER:
        return verdict
    said = _said(decision)
    if not fail:
        return dataclasses.replace(verdict, asides=(*verdict.asides, Aside(text=f"drift: {said}", matters=True)))
    return dataclasses.replace(
        verdict,
        status=Status.SLOWER,
        reason="drift",
        text=f"{verdict.case}: {said}",
        ratio=decision.estimate.ratio,
        low=decision.estimate.low,
        high=decision.estimate.high,
        limit=decision.limit,
        asides=(*verdict.asides, Aside(text=f"the last step: {verdict.text}", matters=True)),
    )


def _said(decision: Decision) -> str:
    return (
        f"small steps since its first baseline add up to {percent(decision.estimate.ratio)} {held_to(decision)}; see which in "
        f"the history of the baseline (git log baselines), or if they are meant, {UPDATE} --new-anchor."
    )


def alone(recording: Recording) -> Recording:
    """A recording without its other side, which a baseline has no use for."""
    samples = {
        case: dataclasses.replace(
            one,
            other=None,
            code={side: code for side, code in one.code.items() if side != "other"},
            launches=tuple(
                dataclasses.replace(launch, arms={arm: s for arm, s in launch.arms.items() if arm != "other"})
                for launch in one.launches
            ),
        )
        for case, one in recording.samples.items()
    }
    return dataclasses.replace(recording, samples=samples)
