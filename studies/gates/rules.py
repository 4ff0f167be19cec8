"""How other gates decide, each as its own source states it, on samples that this project recorded. Pure.

Owns the rules and what each is given. A rule takes the launches of both sides and says whether it would have reported
a slowdown. Everything is written here from the sources named; where a source leaves a choice, the one taken is that
which serves the other gate best.
"""

# ruff: noqa: PLR2004 - each number is the rule's own, as its source has it

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Launch = Sequence[float]
    Side = Sequence[Launch]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One gate's rule and how that gate is used."""

    name: str
    flags: Callable[[Side, Side], bool]
    """Whether it reports a slowdown, given the launches before and now."""
    before: int
    """Launches of the earlier code that it is given, where there are as many."""
    now: int
    least: int
    """Launches before without which it cannot be used."""
    given: str
    """What it is given, in words."""

    @property
    def source(self) -> str:
        """Where the rule is stated: the first paragraph of its docstring."""
        return " ".join((self.flags.__doc__ or "").split("\n\n")[0].split())


RULES: list[Rule] = []
_Flags = TypeVar("_Flags", bound="Callable[[Side, Side], bool]")


def _rule(
    name: str, *, before: int = 1, now: int = 1, least: int = 1, given: str = "all samples of one launch a side"
) -> Callable[[_Flags], _Flags]:
    def add(flags: _Flags) -> _Flags:
        RULES.append(Rule(name=name, flags=flags, before=before, now=now, least=least, given=given))
        return flags

    return add


@_rule("pytest-benchmark mean:5%")
def pytest_benchmark_mean(before: Side, now: Side) -> bool:
    """ionelmc/pytest-benchmark, src/pytest_benchmark/utils.py, ``--benchmark-compare-fail=mean:5%``.

    The current statistic over the stored one, in percent less 100, fails where it is above the whole percent given. A
    stored run and a current run are one process each.
    """
    return statistics.fmean(now[0]) / statistics.fmean(before[0]) * 100 - 100 > 5


@_rule("pytest-benchmark median:1%")
def pytest_benchmark_median(before: Side, now: Side) -> bool:
    """ionelmc/pytest-benchmark, src/pytest_benchmark/utils.py, ``--benchmark-compare-fail=median:1%``.

    The same rule with the finest whole percent that its option takes and the steadier statistic.
    """
    return statistics.median(now[0]) / statistics.median(before[0]) * 100 - 100 > 1


@_rule("SGLang ±5 %", given="one launch a side, cut in three repeats")
def sglang(before: Side, now: Side) -> bool:
    """sgl-project/sglang, sgl-kernel/benchmark/kernel_bench_regression/{runner,compare}.py, pull request #28012.

    The best of three repeats in one process, each the median of its runs, fails where it is more than 5 % above the
    nightly number, taken the same way.
    """
    return _best_of_three(now[0]) / _best_of_three(before[0]) - 1 > 0.05


@_rule("vllm-xpu-kernels 10 %")
def vllm_xpu_kernels(before: Side, now: Side) -> bool:
    """vllm-project/vllm-xpu-kernels, tools/benchmark_ci.py and .github/workflows/nightly-benchmark.yaml.

    Each metric of a run against that of the last nightly run, failing above 10 %; its GEMM benchmark reports the mean
    of its event pairs (benchmark/benchmark_gemm_onednn.py).
    """
    return statistics.fmean(now[0]) / statistics.fmean(before[0]) - 1 > 0.10


@_rule("Intel XPU Triton z < −3", before=20, least=8, given="one launch now, a history of up to 20 launches before")
def intel_xpu_triton(before: Side, now: Side) -> bool:
    """intel/intel-xpu-backend-for-triton, scripts/benchmark-monitor/{README.md,detect_regressions.py}, issue #6441.

    Throughput against a rolling history of up to 20 runs (8 at least): the modified z-score has to be below -3 and the
    drop above 5 %. A deviation of zero is taken as 1 % of the median; a history that varies by more than 15 % is left
    out. The baseline that locks in after a gain of 8 % is not needed here, where histories hold one code.
    """
    rates = [1 / statistics.median(launch) for launch in before]
    rate = 1 / statistics.median(now[0])
    middle = statistics.median(rates)
    if statistics.stdev(rates) / statistics.fmean(rates) > 0.15:
        return False
    spread = statistics.median(abs(one - middle) for one in rates) or 0.01 * middle
    return 0.6745 * (rate - middle) / spread < -3 and rate / middle - 1 < -0.05


@_rule("asv continuous", before=2, now=2, least=2, given="two launches a side, five samples from each")
def asv_continuous(before: Side, now: Side) -> bool:
    """airspeed-velocity/asv, asv/commands/compare.py and asv/_stats.py, ``asv continuous --interleave-rounds``.

    Different by Mann-Whitney at p < 0.002, and a median more than 1.1 times the earlier one. Two rounds (processes) a
    side with five samples each, every sample a mean of many runs (asv_runner/benchmarks/time.py). Ties are broken in
    the least significant way, and p is exact up to 20 samples.
    """
    a, b = ([mean for launch in side for mean in stretches(launch, 5)] for side in (before, now))
    return asv_p(a, b) < 0.002 and statistics.median(a) < statistics.median(b) / 1.1


@_rule("benchstat, one process", given="one launch a side, cut in ten results")
def benchstat_count(before: Side, now: Side) -> bool:
    """golang/perf, cmd/benchstat/main.go and benchmath/anone.go, as its example: one ``go test -count=10`` a side.

    A difference is reported where Mann-Whitney gives p of at most 0.05. Each of the ten results is a mean of many
    runs, here of a tenth of a launch. Only a difference towards slower counts.
    """
    a, b = stretches(before[0], 10), stretches(now[0], 10)
    return statistics.median(b) > statistics.median(a) and go_p(a, b) <= 0.05


@_rule(
    "benchstat, ten processes",
    before=10,
    now=10,
    least=6,
    given="ten launches a side where there are so many, six at least, one result from each",
)
def benchstat_processes(before: Side, now: Side) -> bool:
    """golang/perf, cmd/benchstat/main.go and benchmath/anone.go, as its tips: ten runs a side, interleaved.

    The same test on one result of each of ten processes: the median, which a GPU's harness would report and which
    serves it better than the mean.
    """
    a, b = ([statistics.median(launch) for launch in side] for side in (before, now))
    return statistics.median(b) > statistics.median(a) and go_p(a, b) <= 0.05


@_rule("nvbench-compare-robust")
def nvbench_compare_robust(before: Side, now: Side) -> bool:
    """NVIDIA/nvbench, python/scripts/nvbench_compare_robust.py, default thresholds.

    SLOW where the interval from the least to the third quartile lies above that of the reference by 0.5 % of the
    smaller time. The same has to hold in clock cycles; clocks were not recorded, so they are taken as equal, which is
    what confirms most gaps. What is neither SLOW nor the mirror image nor clearly the same is AMBG, not flagged.
    """
    least, most = min(now[0]), _third_quartile(before[0])
    return least > most and (least - most) / most >= 0.005


@_rule("gpucheck")
def gpucheck(before: Side, now: Side) -> bool:
    """Akasxh/gpucheck, src/gpucheck/analysis/regression.py, ``detect_regression`` with its defaults.

    Mann-Whitney (normal, ties corrected) at p < 0.05, and a median at least 1.1 times the earlier one.
    """
    a, b = before[0], now[0]
    return gpucheck_p(a, b) < 0.05 and statistics.median(b) / statistics.median(a) >= 1.1


def stretches(launch: Launch, count: int) -> list[float]:
    """Means of this many consecutive stretches of a launch, of equal length or nearly so."""
    return [statistics.fmean(part) for part in _cut(launch, count)]


def _best_of_three(launch: Launch) -> float:
    return min(statistics.median(part) for part in _cut(launch, 3))


def _cut(launch: Launch, count: int) -> list[Launch]:
    count = min(count, len(launch))
    ends = [len(launch) * part // count for part in range(count + 1)]
    return [launch[ends[part] : ends[part + 1]] for part in range(count)]


def _third_quartile(launch: Launch) -> float:
    """The sample at the nearest rank, halves rounded up."""
    return sorted(launch)[(75 * (len(launch) - 1) + 50) // 100]


def asv_p(before: Sequence[float], now: Sequence[float]) -> float:
    """Two-sided p of Mann-Whitney as asv takes it: ties broken towards no difference, exact up to 20 samples."""
    m, n = len(before), len(now)
    above, equal = _pairs(before, now)
    middle = m * n / 2
    u = min(max(above, math.floor(middle)), above + equal)  # the tie-breaking nearest to no difference
    if max(m, n) > 20:
        return _normal_p(u - middle, m, n)
    return _exact_p(u, m, n)


def go_p(before: Sequence[float], now: Sequence[float]) -> float:
    """Two-sided p of Mann-Whitney as benchstat takes it, from aclements/go-moremath, stats/utest.go.

    Exact up to 50 samples without ties and up to 9 with; beyond, normal with corrections for ties and continuity.
    """
    m, n = len(before), len(now)
    above, equal = _pairs(before, now)
    u, groups = above + equal / 2, list(Counter([*before, *now]).values())
    if len(groups) == 1:
        return 1.0
    tied = max(groups) > 1
    if tied and max(m, n) <= 9:
        return _exact_p_with_ties(u, before, now)
    if not tied and max(m, n) <= 50:
        return _exact_p(round(u), m, n)
    return _normal_p(max(abs(u - m * n / 2) - 0.5, 0.0), m, n, groups)


def gpucheck_p(before: Sequence[float], now: Sequence[float]) -> float:
    """Two-sided p of Mann-Whitney as gpucheck takes it: normal, corrected for ties only."""
    m, n = len(before), len(now)
    above, equal = _pairs(before, now)
    return _normal_p(above + equal / 2 - m * n / 2, m, n, list(Counter([*before, *now]).values()))


def _pairs(before: Sequence[float], now: Sequence[float]) -> tuple[int, int]:
    """Of all pairs, how many have now above before, and in how many they are equal."""
    ordered = sorted(before)
    below = [bisect_left(ordered, x) for x in now]
    not_above = [bisect_right(ordered, x) for x in now]
    return sum(below), sum(not_above) - sum(below)


def _normal_p(distance: float, m: int, n: int, groups: Sequence[int] = ()) -> float:
    """From how far U lies from its mean, with the variance corrected for groups of equal samples."""
    count = m + n
    ties = sum(size**3 - size for size in groups) / (count * (count - 1))
    variance = m * n / 12 * (count + 1 - ties)
    return math.erfc(abs(distance) / math.sqrt(2 * variance)) if variance > 0 else 1.0


def _exact_p(u: int, m: int, n: int) -> float:
    tail = sum(_orderings(m, n)[: min(u, m * n - u) + 1])
    return min(1.0, 2 * tail / math.comb(m + n, m))


@lru_cache(maxsize=64)
def _orderings(m: int, n: int) -> tuple[int, ...]:
    """How many orderings of m and n different samples give each value of U, from 0 to m n.

    The coefficients of the Gaussian binomial: the product of (1 - x^(n+i)) / (1 - x^i) over i from 1 to m.
    """
    counts = [1] + [0] * (m * n)
    for i in range(1, m + 1):
        counts = [count - (counts[u - n - i] if u >= n + i else 0) for u, count in enumerate(counts)]
        for u in range(i, len(counts)):
            counts[u] += counts[u - i]
    return tuple(counts)


def _exact_p_with_ties(u: float, before: Sequence[float], now: Sequence[float]) -> float:
    """Twice the share of all ways to deal the samples to both sides that give a U as small as the smaller one found."""
    values, m, n = sorted([*before, *now]), len(before), len(now)
    ranks = [(bisect_left(values, x) + bisect_right(values, x) + 1) / 2 for x in values]
    most = min(u, m * n - u) + n * (n + 1) / 2
    tail = sum(sum(dealt) <= most for dealt in combinations(ranks, n))
    return min(1.0, 2 * tail / math.comb(m + n, m))
