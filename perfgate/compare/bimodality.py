"""Times that come in two modes: recognised, so that it can be said. Pure; changes no verdict."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_APART = 5.0
"""Ashman's D (Ashman, Bird and Zepf, Astron. J. 1994) from which two modes are told: halves of a uniform distribution
reach 3.5 and of a normal one 2.7. A heavy tail gets there in 7 % of launches of 20 samples, in none of 80; so a case is
said to have two modes where half of its launches show them."""
_SMALLEST_SHARE = 0.1
_LEAST_GAP = 0.003
_FEWEST = 20


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Two groups of times."""

    fast_s: float
    slow_s: float
    slow_share: float


def two_modes(seconds: Iterable[float]) -> Modes | None:
    """The two modes of these times, if there are two.

    The times, as logarithms, are split where the variance within the two parts is least (Otsu, IEEE Trans. SMC 1979).
    They are two modes if each part holds a tenth of the times, the medians lie 0.3 % or more apart, and the parts are
    well separated (Ashman's D of 5).
    """
    logs = sorted(math.log(value) for value in seconds)
    count = len(logs)
    if count < _FEWEST:
        return None
    cut = _best_cut(logs)
    fast, slow = logs[:cut], logs[cut:]
    if min(len(fast), len(slow)) < max(2, _SMALLEST_SHARE * count):
        return None
    gap = statistics.fmean(slow) - statistics.fmean(fast)
    spread = math.sqrt(statistics.variance(fast) + statistics.variance(slow))
    middle_fast, middle_slow = statistics.median(fast), statistics.median(slow)
    if middle_slow - middle_fast < _LEAST_GAP or gap * math.sqrt(2) < _APART * spread:
        return None
    return Modes(fast_s=math.exp(middle_fast), slow_s=math.exp(middle_slow), slow_share=len(slow) / count)


def _best_cut(ordered: list[float]) -> int:
    """Where the variance between the two parts is greatest."""
    count, total = len(ordered), math.fsum(ordered)
    best, at, below = -1.0, 1, 0.0
    for i in range(1, count):
        below += ordered[i - 1]
        between = (below * count - total * i) ** 2 / (i * (count - i))
        if between > best:
            best, at = between, i
    return at
