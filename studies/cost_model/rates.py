"""How well modelled times agree with measured ones: by rank, by size, and by what following the model would cost. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_CLOSE = 1.05


@dataclass(frozen=True, kw_only=True)
class Point:
    """One pair."""

    case: str
    id: str
    measured_s: float
    modelled_s: float
    current: bool
    bound: str
    share: float

    @property
    def error(self) -> float:
        """Modelled over measured, less one."""
        return self.modelled_s / self.measured_s - 1


@dataclass(frozen=True, kw_only=True)
class CaseRates:
    """One case's pairs."""

    case: str
    count: int
    spearman: float
    """NaN where there are fewer than three pairs."""
    pick: str
    """What the model says is fastest."""
    loss: float
    """By how much that is slower than the fastest measured; 0.05 is 5 %."""
    best: str
    median_error: float


@dataclass(frozen=True, kw_only=True)
class Rates:
    """All of a code path."""

    count: int
    spearman: float
    median_error: float
    """Of the absolute relative errors."""
    p90_error: float
    by_case: tuple[CaseRates, ...]
    steps: Mapping[float, tuple[int, int]]
    """Of pairs of one case that the model puts this much apart or more: how many there are, and how many it puts the wrong way round."""

    @property
    def close_picks(self) -> int:
        """Cases in which the model's pick is within 5 % of the best measured."""
        return sum(1 + case.loss <= _CLOSE for case in self.by_case)


def rates(points: Sequence[Point], *, apart: Sequence[float] = (0.02, 0.05, 0.1, 0.2, 0.25, 0.3)) -> Rates:
    """Rates of some pairs."""
    errors = sorted(abs(point.error) for point in points)
    return Rates(
        count=len(points),
        spearman=spearman([point.modelled_s for point in points], [point.measured_s for point in points]),
        median_error=statistics.median(errors),
        p90_error=errors[math.ceil(0.9 * len(errors)) - 1],
        by_case=tuple(_case(name, of) for name, of in _by_case(points).items()),
        steps={step: _misordered(points, step) for step in apart},
    )


def tolerance(found: Rates, *, chance: float) -> float:
    """The smallest step from which on the model puts at most ``chance`` of the pairs the wrong way round."""
    good = [
        step
        for step, (count, wrong) in sorted(found.steps.items())
        if all(w <= chance * c for s, (c, w) in found.steps.items() if s >= step and c)
        if count
    ]
    return min(good, default=math.inf)


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Rank correlation with mean ranks for ties (Spearman, 1904); NaN where it is not defined."""
    if len(left) < 3:  # noqa: PLR2004 - two points always agree or disagree
        return math.nan
    try:
        return statistics.correlation(_ranks(left), _ranks(right))
    except statistics.StatisticsError:  # all alike on one side
        return math.nan


def _ranks(values: Sequence[float]) -> list[float]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    ordered = sorted(values)
    return [(ordered.index(value) + 1 + len(ordered) - ordered[::-1].index(value)) / 2 for value in values]


def _case(name: str, points: Sequence[Point]) -> CaseRates:
    pick = min(points, key=lambda point: point.modelled_s)
    best = min(points, key=lambda point: point.measured_s)
    return CaseRates(
        case=name,
        count=len(points),
        spearman=spearman([point.modelled_s for point in points], [point.measured_s for point in points]),
        pick=pick.id,
        loss=pick.measured_s / best.measured_s - 1,
        best=best.id,
        median_error=statistics.median(point.error for point in points),
    )


def _by_case(points: Sequence[Point]) -> dict[str, list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.case, []).append(point)
    return found


def _misordered(points: Sequence[Point], step: float) -> tuple[int, int]:
    """Of pairs of one case that the model puts ``step`` or more apart, how many, and how many are the other way round."""
    count = wrong = 0
    for of in _by_case(points).values():
        for i, one in enumerate(of):
            for other in of[i + 1 :]:
                slow, fast = (one, other) if one.modelled_s > other.modelled_s else (other, one)
                if slow.modelled_s >= fast.modelled_s * (1 + step):
                    count += 1
                    wrong += slow.measured_s <= fast.measured_s
    return count, wrong
