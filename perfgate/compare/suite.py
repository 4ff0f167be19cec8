"""The suite as a whole: a small change that many cases share, though none of them shows it alone. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perfgate.compare.estimators import t_quantile
from perfgate.compare.interleaved import mean_shift
from perfgate.records import Status, Verdict
from perfgate.text import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.compare.comparisons import Frame

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
