"""How much extra work makes a kernel slower by a given share: a search by timing, with few runs. Pure.

Owns the search. What it finds is where to look, no measurement: the true sizes are read off the launches afterwards.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_EXTRA = 2**31 - 1
"""A launch takes the knob as a 32-bit integer."""
_FIRST_EXTRA, _FIRST_PER_SECOND = 64, 640_000
"""The first try: one repetition, and as many more as the kernel is longer than 100 microseconds."""
_GROWTH, _OVERSHOOT, _MOST_GROWTHS = 16, 1.2, 10
_MOST_STEPS = 6
_CLOSE_SHARE, _CLOSE = 0.06, 0.0003
"""A slowdown that close to the wanted one ends the search for it."""
_REACHED_SHARE, _REACHED = 0.3, 0.001
"""One no closer than that has not been reached, and is not called by the wanted one's name."""
_LEAST_INSIDE = 0.1
"""A step stays that far inside its bracket, so that a wrong guess still narrows it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the search has for one wanted slowdown."""

    extra: int
    slowdown: float
    """As timed during the search, 0.01 being 1 %."""
    reached: bool
    """Whether that is near the wanted one; where not, this is the nearest there was."""


def search(wanted: Mapping[str, float], *, slowdown: Callable[[int], float], seconds: float) -> dict[str, Found]:
    """Find the extra work for each wanted slowdown.

    Extra work may hide at first, behind memory for example, and a single wave of programs slows down in steps; so no
    straight line is supposed, only that more work is not faster. Every step narrows a bracket, and the closest of all
    timed points is taken, after noise that made more work look faster is averaged out.

    Args:
        wanted: Slowdowns by name, 0.01 being 1 %.
        slowdown: Times the kernel with that much extra work against none; 0.01 is 1 % slower.
        seconds: About how long the kernel takes without extra work, to start from.
    """
    points = {0: 0.0}
    _grow(points, beyond=_OVERSHOOT * max(wanted.values()), slowdown=slowdown, seconds=seconds)
    for target in sorted(wanted.values(), reverse=True):
        _close_in(points, target, slowdown=slowdown)
    rising = _rising(points)
    return {name: _nearest(rising, target) for name, target in wanted.items()}


def typical(seconds: Sequence[float]) -> float:
    """The mean of the middle half: as robust as a median here, and finer than the clock's step."""
    ordered = sorted(seconds)
    quarter = len(ordered) // 4
    return statistics.fmean(ordered[quarter : len(ordered) - quarter])


def _grow(points: dict[int, float], *, beyond: float, slowdown: Callable[[int], float], seconds: float) -> None:
    """Add work until the slowdown is beyond what is wanted, or no more can be added."""
    extra = max(_FIRST_EXTRA, int(seconds * _FIRST_PER_SECOND))
    for _ in range(_MOST_GROWTHS):
        found = slowdown(extra)
        if (
            found >= beyond
        ):  # timed twice, as the search goes nowhere beyond it: one disturbed point must not end it here
            found = min(found, slowdown(extra))
        points[extra] = found
        if found >= beyond or extra == MOST_EXTRA:
            return
        factor = _OVERSHOOT * beyond / found if found > 0 else _GROWTH
        extra = min(MOST_EXTRA, int(extra * min(_GROWTH, max(2.0, factor))))


def _close_in(points: dict[int, float], target: float, *, slowdown: Callable[[int], float]) -> None:
    """Time points between the two nearest, until one is close to the target or nothing lies between."""
    for _ in range(_MOST_STEPS):
        rising = _rising(points)
        above = min((extra for extra, found in rising.items() if found >= target), default=None)
        if above is None or abs(_nearest(rising, target).slowdown - target) <= max(_CLOSE, _CLOSE_SHARE * target):
            return
        below = max(extra for extra, found in rising.items() if extra < above and found < target)
        if above - below <= 1:
            return
        share = (target - rising[below]) / (rising[above] - rising[below])
        share = min(1 - _LEAST_INSIDE, max(_LEAST_INSIDE, share))
        extra = min(above - 1, max(below + 1, round(below + share * (above - below))))
        points[extra] = slowdown(extra)


def _rising(points: Mapping[int, float]) -> dict[int, float]:
    """The points with noise averaged out where it made more work look faster: the nearest curve that never falls.

    Pools neighbours that are out of order (Ayer and others, Ann. Math. Stat. 1955); no work is no slowdown.
    """
    blocks: list[list[float]] = []
    for extra in sorted(points):
        blocks.append([points[extra]])
        while len(blocks) > 1 and statistics.fmean(blocks[-2]) > statistics.fmean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    values = [max(0.0, statistics.fmean(block)) for block in blocks for _ in block]
    return {**dict(zip(sorted(points), values, strict=True)), 0: 0.0}


def _nearest(rising: Mapping[int, float], target: float) -> Found:
    # No extra work never stands for a slowdown.
    extra = min((extra for extra in rising if extra), key=lambda extra: abs(rising[extra] - target))
    off = abs(rising[extra] - target)
    return Found(extra=extra, slowdown=rising[extra], reached=off <= max(_REACHED, _REACHED_SHARE * target))
