"""Other gates' rules, each at its threshold, on made-up times; Mann-Whitney against published and hand-counted values."""

from __future__ import annotations

import math

import pytest

from studies.gates.rules import RULES, Rule, asv_p, go_p, gpucheck_p, stretches

NAMED = {rule.name: rule for rule in RULES}
FLAT = (1.0,) * 40
RISING = tuple(1 + i / 1000 for i in range(40))
"""Forty different times from 1 to 1.039: the third quartile is 1.029, the median 1.0195."""


def _times(launch: tuple[float, ...], factor: float) -> tuple[float, ...]:
    return tuple(seconds * factor for seconds in launch)


def _history(*medians: float) -> list[tuple[float, ...]]:
    return [(median,) * 3 for median in medians]


STEADY = _history(*(1 + (i % 5 - 2) / 1000 for i in range(20)))
"""A history whose median is 1 and whose deviation from it is 0.1 %."""
NOISY = _history(*(1 + (i % 5 - 2) / 20 for i in range(20)))
"""The same with 5 %."""
WILD = _history(*(1, 2) * 10)


@pytest.mark.parametrize(
    ("name", "before", "now", "flagged"),
    [
        ("pytest-benchmark mean:5%", [FLAT], [_times(FLAT, 1.0501)], True),
        ("pytest-benchmark mean:5%", [FLAT], [_times(FLAT, 1.0499)], False),
        ("pytest-benchmark mean:5%", [FLAT], [(*FLAT, 4.0)], True),  # one stray sample of 41 moves the mean by 7 %
        ("pytest-benchmark median:1%", [FLAT], [_times(FLAT, 1.0101)], True),
        ("pytest-benchmark median:1%", [FLAT], [_times(FLAT, 1.0099)], False),
        ("pytest-benchmark median:1%", [FLAT], [(*FLAT, 4.0)], False),
        ("SGLang ±5 %", [FLAT], [_times(FLAT, 1.0501)], True),
        ("SGLang ±5 %", [FLAT], [_times(FLAT, 1.0499)], False),
        ("SGLang ±5 %", [FLAT[:6]], [(2.0, 2.0, 2.0, 2.0, 1.0, 1.0)], False),  # the best repeat counts
        ("SGLang ±5 %", [FLAT[:6]], [(2.0, 2.0, 2.0, 2.0, 1.0, 1.2)], True),
        ("vllm-xpu-kernels 10 %", [FLAT], [_times(FLAT, 1.1001)], True),
        ("vllm-xpu-kernels 10 %", [FLAT], [_times(FLAT, 1.0999)], False),
        ("Intel XPU Triton z < −3", STEADY, [_times(FLAT, 1.054)], True),  # a drop of throughput by 5.1 %
        ("Intel XPU Triton z < −3", STEADY, [_times(FLAT, 1.052)], False),  # by 4.9 %
        ("Intel XPU Triton z < −3", NOISY, [_times(FLAT, 1.2)], False),  # z is -2.2
        ("Intel XPU Triton z < −3", NOISY, [_times(FLAT, 1.4)], True),  # z is -3.9
        ("Intel XPU Triton z < −3", WILD, [_times(FLAT, 9.0)], False),  # varies by a third: left out
        ("Intel XPU Triton z < −3", _history(*[1] * 8), [_times(FLAT, 1.054)], True),  # 1 % stands for no deviation
        ("asv continuous", [RISING] * 2, [_times(RISING, 1.101)] * 2, True),
        ("asv continuous", [RISING] * 2, [_times(RISING, 1.099)] * 2, False),
        ("asv continuous", [(1.0, 1.3) * 5] * 2, [(1.1, 1.4) * 5] * 2, False),
        ("benchstat, one process", [RISING], [_times(RISING, 1.02)], True),
        ("benchstat, one process", [RISING], [_times(RISING, 1.005)], False),
        ("benchstat, one process", [_times(RISING, 1.02)], [RISING], False),  # faster, not slower
        ("benchstat, ten processes", _history(1, 2, 3, 4), _history(5, 6, 7, 8), True),  # p = 2/70
        ("benchstat, ten processes", _history(1, 2, 3), _history(4, 5, 6), False),  # p = 2/20
        ("nvbench-compare-robust", [RISING], [_times(FLAT, 1.029 * 1.0051)], True),
        ("nvbench-compare-robust", [RISING], [_times(FLAT, 1.029 * 1.0049)], False),
        ("nvbench-compare-robust", [RISING], [(1.0, *_times(FLAT, 2.0))], False),  # the least sample counts: AMBG
        ("gpucheck", [RISING], [_times(RISING, 1.1001)], True),
        ("gpucheck", [RISING], [_times(RISING, 1.0999)], False),
        ("gpucheck", [(1.0, 2.0, 3.0)], [(1.5, 2.5, 3.5)], False),
    ],
)
def test_each_rule_flags_above_its_threshold_and_not_below(
    name: str, before: list[tuple[float, ...]], now: list[tuple[float, ...]], *, flagged: bool
) -> None:
    assert NAMED[name].flags(before, now) is flagged


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_flags_twice_the_time_and_neither_equal_times_nor_an_improvement(rule: Rule) -> None:
    before = [RISING] * rule.before
    assert [rule.flags(before, [_times(RISING, factor)] * rule.now) for factor in (2, 1, 0.5)] == [True, False, False]
    repository, *files = rule.source.split(", ")  # it names the file that states it
    assert repository.count("/") == 1
    assert any(kind in file for file in files for kind in (".py", ".go", ".md"))


@pytest.mark.parametrize(
    ("before", "now", "p"),
    [
        ((1, 2, 3, 4), (5, 6, 7, 8), 2 / 70),
        ((1, 2, 3, 4, 5), (6, 7, 8, 9, 10), 2 / 252),
        ((1, 2, 3), (4, 5, 6), 0.1),
        ((1, 3, 5), (2, 4, 6), 0.7),  # U is 3: 7 of the 20 orderings lie as far out on one side
        ((1, 4), (2, 3), 1.0),
    ],
)
def test_small_samples_without_ties_get_the_exact_p(before: tuple[int, ...], now: tuple[int, ...], p: float) -> None:
    for rule in (go_p, asv_p):
        assert rule(before, now) == pytest.approx(p)
        assert rule(now, before) == pytest.approx(p)


def test_the_exact_p_of_ten_a_side_is_that_of_the_published_table() -> None:
    # Mann and Whitney's table: at 10 and 10 a U of 23 is the largest that is significant at 0.05, two-sided.
    ranks = list(range(1, 21))

    def with_u(u: int) -> tuple[list[int], list[int]]:
        now = ranks[:10]
        for place in reversed(range(10)):  # push the highest of now up, past as many of before as are left to pass
            step = min(10, u)
            now[place] += step
            u -= step
        return [rank for rank in ranks if rank not in now], now

    assert go_p(*with_u(23)) < 0.05 < go_p(*with_u(24))
    assert asv_p(*with_u(23)) == go_p(*with_u(23))


def test_ties_are_dealt_with_as_each_tool_deals_with_them() -> None:
    before, now = (1, 2, 2, 3), (2, 3, 4, 5)
    # Midranks 1, 3, 3, 3, 5.5, 5.5, 7, 8: seven of the 70 ways to choose four of them add up to at most 12.5.
    assert go_p(before, now) == pytest.approx(2 * 7 / 70)
    # Three ties; broken against a difference U is 12 of 16, and 12 of the 70 orderings lie as far out on one side.
    assert asv_p(before, now) == pytest.approx(2 * 12 / 70)
    # U is 13.5, its mean 8 and its variance 16 / 12 x (9 - (24 + 6) / 56).
    z = 5.5 / math.sqrt(16 / 12 * (9 - 30 / 56))
    assert gpucheck_p(before, now) == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_large_samples_get_the_normal_p_with_each_tools_corrections() -> None:
    before, now = list(range(60)), [x + 10.5 for x in range(60)]
    above = sum(b < a for b in before for a in now)
    deviation = math.sqrt(60 * 60 * 121 / 12)
    plain = math.erfc((above - 1800) / deviation / math.sqrt(2))
    assert asv_p(before, now) == gpucheck_p(before, now) == pytest.approx(plain)
    assert go_p(before, now) == pytest.approx(math.erfc((above - 1800.5) / deviation / math.sqrt(2)))


@pytest.mark.parametrize("test", [asv_p, go_p, gpucheck_p])
@pytest.mark.parametrize("size", [5, 9, 30, 60])
def test_samples_that_are_all_equal_are_not_different(test: object, size: int) -> None:
    assert callable(test)
    assert test([1.0] * size, [1.0] * size) == pytest.approx(1)


def test_a_launch_is_cut_in_consecutive_stretches_of_nearly_equal_length() -> None:
    assert stretches(range(40), 10) == [1.5 + 4 * i for i in range(10)]
    assert stretches((1, 2, 3, 4, 5), 2) == [1.5, 4]
    assert stretches((1, 2), 10) == [1, 2]
