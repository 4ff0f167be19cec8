"""From samples to numbers: shifts between two arms, their errors, quantiles, two modes. Pure; standard library only.

Times are compared as logarithms, so that a shift of 0.01 is 1 % and two shifts add. Decides nothing.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from perfgate.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WINDOW_ROUNDS = 10
"""Samples are compared with the other arm's at most this many rounds away, so that slow drift of clock or temperature
cancels; wide enough to lose nothing where there is no drift."""
_ROUNDING_S, _WIDEST_TICK_S = 1e-11, 1.1e-6
"""Readings of one step differ in their last digits only; no GPU's event clock steps wider than the second."""
_FEW_SAMPLES = 5
_FEW_SAMPLES_NOISE = 0.005
"""Least deviation taken for a single sample where there are too few to tell; about the median recorded case's."""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """A shift of log time (0.01 is 1 % slower), its standard error, and what that error is worth."""

    shift: float
    error: float
    df: float
    """Degrees of freedom of ``error``."""
    disagreeing: bool = False
    """The launches scatter more than the noise inside them explains."""

    def estimate(self, quantile: float) -> Estimate:
        """The ratio with the interval that reaches ``quantile`` of the t distribution (0.9995 for 99.9 % two-sided)."""
        reach = t_quantile(quantile, self.df) * self.error
        # Beyond e^700 there is no float; such an interval says nothing either way.
        low, high = max(-700.0, self.shift - reach), min(700.0, self.shift + reach)
        return Estimate(ratio=math.exp(self.shift), low=math.exp(low), high=math.exp(high))


@dataclass(frozen=True, kw_only=True)
class LaunchShift:
    """A shift of log time seen inside one launch, and its standard error."""

    shift: float
    error: float


def shift_within_launch(now: Sequence[float], before: Sequence[float]) -> LaunchShift:
    """Log shift between two arms of one launch and its standard error.

    The shift is the median of pairwise differences (Hodges and Lehmann, Ann. Math. Stat. 1963) over pairs of nearby
    rounds: robust to stray samples, and more exact than a difference of medians. Its error is read off the same
    differences at the ranks that bound a Mann-Whitney interval of 1.5 standard errors (Hollander and Wolfe,
    *Nonparametric Statistical Methods*, section 4.3), so it supposes no distribution.

    Args:
        now: Seconds of one arm, in order of rounds.
        before: Seconds of the other.
    """
    n, m = len(now), len(before)
    logs_now, logs_before = [math.log(x) for x in now], [math.log(x) for x in before]
    differences = []
    for i, x in enumerate(logs_now):
        centre = i * m // n
        nearby = logs_before[max(0, centre - WINDOW_ROUNDS) : centre + WINDOW_ROUNDS + 1]
        differences += [x - y for y in nearby]
    differences.sort()
    reach = 1.5
    share = min(0.5, reach * math.sqrt((n + m + 1) / (12 * n * m)))
    error = (quantile(differences, 0.5 + share) - quantile(differences, 0.5 - share)) / (2 * reach)
    if min(n, m) < _FEW_SAMPLES:
        error = max(error, _FEW_SAMPLES_NOISE * math.sqrt(1 / n + 1 / m))
    return LaunchShift(shift=quantile(differences, 0.5), error=error)


def paired_effect(
    launches: Sequence[LaunchShift], *, launch_df: int, least_scatter: float, disagreement: float
) -> Effect:
    """Shift between two arms that ran side by side, over launches.

    The mean of the launches' shifts. Its variance pools what the noise inside the launches predicts with what the
    launches show among themselves, each by its degrees of freedom (the moderated t of Smyth, Stat. Appl. Genet. Mol.
    Biol. 2004): four launches alone would make any bound several times too wide. Where the launches disagree beyond
    that noise, the prediction is dropped and their scatter alone counts.

    Args:
        launches: Each launch's shift.
        launch_df: Degrees of freedom of one launch's own error.
        least_scatter: Least deviation of a launch's shift, added to its noise.
        disagreement: Level of the test for disagreement.
    """
    count = len(launches)
    mean = statistics.fmean(launch.shift for launch in launches)
    predicted = sum(launch.error**2 for launch in launches) / count + least_scatter**2
    if count == 1:
        return Effect(shift=mean, error=math.sqrt(predicted), df=launch_df)
    seen = statistics.variance([launch.shift for launch in launches])
    if seen * (count - 1) > predicted * chi2_quantile(1 - disagreement, count - 1):
        return Effect(shift=mean, error=math.sqrt(seen / count), df=count - 1, disagreeing=True)
    df = launch_df * count + count - 1
    pooled = (launch_df * count * predicted + (count - 1) * seen) / df
    return Effect(shift=mean, error=math.sqrt(pooled / count), df=df)


def stored_effect(
    now: Iterable[Sequence[float]], before: Iterable[Sequence[float]], *, prior_scatter: float, prior_df: int
) -> Effect:
    """Shift between launches of now and launches of another time, each summed up by its median.

    The launch-to-launch variance is common to both sides and pooled with a prior, as in `paired_effect`.
    """
    a = [math.log(statistics.median(samples)) for samples in now]
    b = [math.log(statistics.median(samples)) for samples in before]
    squares = sum((len(side) - 1) * statistics.variance(side) for side in (a, b) if len(side) > 1)
    df = prior_df + len(a) + len(b) - 2
    variance = (prior_df * prior_scatter**2 + squares) / df
    shift = statistics.fmean(a) - statistics.fmean(b)
    return Effect(shift=shift, error=math.sqrt(variance * (1 / len(a) + 1 / len(b))), df=df)


def typical_seconds(launches: Iterable[Sequence[float]]) -> float:
    """One number for a table: the median of the launches' medians, in seconds."""
    return statistics.median(statistics.median(samples) for samples in launches)


def clock_tick(samples: Iterable[float]) -> float:
    """The clock's step in seconds: the smallest gap between two different readings; 0 where that is no clock's step.

    CUDA events count in steps between 32 ns and about 1 µs (the runtime's manual says about 0.5 µs); a wider gap is
    between times, not between steps.
    """
    readings = sorted(set(samples))
    gap = min((b - a for a, b in pairwise(readings) if b - a > _ROUNDING_S), default=0.0)
    return gap if gap <= _WIDEST_TICK_S else 0.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """Quantile of sorted numbers, linear between ranks."""
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])


def chi2_quantile(probability: float, df: float) -> float:
    """Quantile of chi-squared by the cube-root approximation (Wilson and Hilferty, PNAS 1931); 2 % off at df 3."""
    spread = 2 / (9 * df)
    return df * float(1 - spread + statistics.NormalDist().inv_cdf(probability) * math.sqrt(spread)) ** 3


@lru_cache(maxsize=256)
def t_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t above the median, by bisection of its distribution function.

    Raises:
        ValueError: ``probability`` is not in [0.5, 1) or ``df`` is not positive.
    """
    if not 0.5 <= probability < 1 or df <= 0:  # noqa: PLR2004
        raise ValueError(f"no t quantile for probability {probability} with {df} degrees of freedom")
    low, high = 0.0, 1.0
    while _t_upper_tail(high, df) > 1 - probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_upper_tail(middle, df) > 1 - probability else (low, middle)
    return (low + high) / 2


def _t_upper_tail(t: float, df: float) -> float:
    """P(T > t) = I_x(df/2, 1/2) / 2 at x = df / (df + t^2) (Abramowitz and Stegun 26.7.1)."""
    x = df / (df + t * t)
    a, b = df / 2, 0.5
    if x >= 1:
        return 0.5
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _beta_fraction(x, a, b) / a / 2
    return (1 - front * _beta_fraction(1 - x, b, a) / b) / 2


def _beta_fraction(x: float, a: float, b: float) -> float:
    """Continued fraction of the incomplete beta function by Lentz's method (Abramowitz and Stegun 26.5.8)."""
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    result = d
    for m in range(1, 300):
        for term in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            result *= c * d
        if abs(c * d - 1) < 1e-14:  # noqa: PLR2004
            break
    return result


def benchmark_stats(data: Sequence[float]) -> dict[str, Any]:
    """The ``stats`` of pytest-benchmark's JSON for these seconds, as that project defines them.

    Quartiles are Tukey's hinges for an even count and the interpolation "method 3" for an odd one; outliers lie
    outside one standard deviation of the mean, or 1.5 interquartile ranges outside the quartiles.
    """
    ordered = sorted(data)
    count = len(ordered)
    mean = statistics.mean(ordered)
    deviation = statistics.stdev(ordered) if count > 1 else 0.0
    q1, q3 = _quartiles(ordered)
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    beyond_deviation = sum(x < mean - deviation or x > mean + deviation for x in ordered)
    beyond_quartiles = sum(x < low or x > high for x in ordered)
    total = sum(data)
    return {
        "min": ordered[0],
        "max": ordered[-1],
        "mean": mean,
        "stddev": deviation,
        "rounds": count,
        "median": statistics.median(ordered),
        "iqr": q3 - q1,
        "q1": q1,
        "q3": q3,
        "iqr_outliers": beyond_quartiles,
        "stddev_outliers": beyond_deviation,
        "outliers": f"{beyond_deviation};{beyond_quartiles}",
        "ld15iqr": ordered[bisect_left(ordered, low)] if count > 1 else ordered[0],
        "hd15iqr": ordered[bisect_right(ordered, high) - 1] if count > 1 else ordered[0],
        "ops": count / total,
        "total": total,
        "iterations": 1,
        "data": list(data),
    }


def _quartiles(ordered: Sequence[float]) -> tuple[float, float]:
    count = len(ordered)
    if count == 1:
        return ordered[0], ordered[0]
    if count % 2 == 0:
        return statistics.median(ordered[: count // 2]), statistics.median(ordered[count // 2 :])
    n = count // 4
    if count % 4 == 1:
        return (
            0.25 * ordered[n - 1] + 0.75 * ordered[n],
            0.75 * ordered[3 * n] + 0.25 * ordered[3 * n + 1],
        )
    return (
        0.75 * ordered[n] + 0.25 * ordered[n + 1],
        0.25 * ordered[3 * n + 1] + 0.75 * ordered[3 * n + 2],
    )


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
    spread = math.sqrt(_variance(fast) + _variance(slow))
    middle_fast, middle_slow = statistics.median(fast), statistics.median(slow)
    if middle_slow - middle_fast < _LEAST_GAP or gap * math.sqrt(2) < _APART * spread:
        return None
    return Modes(fast_s=math.exp(middle_fast), slow_s=math.exp(middle_slow), slow_share=len(slow) / count)


def _variance(values: Sequence[float]) -> float:
    """As `statistics.variance`, but for the last digits, in a tenth of the time."""
    mean = statistics.fmean(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


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
