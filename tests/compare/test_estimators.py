"""Numbers from samples: shifts, errors, quantiles, and pytest-benchmark's own statistics."""

from __future__ import annotations

import math
import random
import statistics
from typing import TYPE_CHECKING

import pytest

from perfgate.compare.estimators import (
    Effect,
    LaunchShift,
    benchmark_stats,
    chi2_quantile,
    clock_tick,
    paired_effect,
    shift_within_launch,
    stored_effect,
    t_quantile,
    two_modes,
)
from recorded import CASES, arm

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("probability", "df", "expected"),
    [  # printed tables of Student's t
        (0.975, 1, 12.706),
        (0.975, 4, 2.776),
        (0.9995, 3, 12.924),
        (0.999, 10, 4.144),
        (0.9995, 30, 3.646),
        (0.95, 1000, 1.646),
        (0.5, 7, 0.0),
    ],
)
def test_t_quantiles_agree_with_printed_tables(probability: float, df: float, expected: float) -> None:
    assert t_quantile(probability, df) == pytest.approx(expected, abs=6e-4)


@pytest.mark.parametrize(("probability", "df"), [(1.0, 4), (0.2, 4), (0.9, 0)])
def test_a_t_quantile_that_does_not_exist_is_an_error(probability: float, df: float) -> None:
    with pytest.raises(ValueError, match="no t quantile"):
        t_quantile(probability, df)


@pytest.mark.parametrize(("df", "expected"), [(3, 16.27), (7, 24.32), (19, 43.82)])
def test_chi_squared_quantiles_are_within_two_percent_of_printed_tables(df: int, expected: float) -> None:
    assert chi2_quantile(0.999, df) == pytest.approx(expected, rel=0.02)


def _seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable noise, no secret


def _noisy(generator: random.Random, count: int = 40, scale: float = 1.0) -> list[float]:
    return [scale * 1e-3 * math.exp(generator.gauss(0, 0.01)) for _ in range(count)]


def test_a_shift_is_found_whatever_the_unit() -> None:
    before = _noisy(_seeded(1))
    found = shift_within_launch([1.02 * s for s in before], before)
    assert found.shift == pytest.approx(math.log(1.02), abs=0.004)


def test_swapping_the_sides_turns_the_sign() -> None:
    generator = _seeded(2)
    a, b = _noisy(generator), _noisy(generator, scale=1.01)
    assert shift_within_launch(a, b).shift == pytest.approx(-shift_within_launch(b, a).shift)


def test_the_error_read_off_one_launch_is_the_scatter_over_many() -> None:
    generator = _seeded(3)
    found = [shift_within_launch(_noisy(generator), _noisy(generator)) for _ in range(300)]
    predicted = math.sqrt(statistics.fmean(one.error**2 for one in found))
    assert predicted == pytest.approx(statistics.stdev(one.shift for one in found), rel=0.15)


@pytest.mark.parametrize("case", CASES)
def test_the_noise_inside_recorded_launches_explains_how_they_scatter(case: str) -> None:
    found = [shift_within_launch(arm(case, "A2", n), arm(case, "A", n)) for n in range(20)]
    predicted = math.sqrt(statistics.fmean(one.error**2 for one in found))
    assert statistics.stdev(one.shift for one in found) <= 1.4 * predicted


def test_a_clock_that_drifts_through_a_launch_cancels() -> None:
    generator = _seeded(4)
    drift = [1 + 0.05 * i / 200 for i in range(200)]
    a = [s * d for s, d in zip(_noisy(generator, 200), drift, strict=True)]
    b = [s * d for s, d in zip(_noisy(generator, 200), drift, strict=True)]
    found = shift_within_launch(a, b)
    assert abs(found.shift) < 0.004
    assert found.error < 0.002


def test_a_few_stray_samples_change_nothing_that_matters() -> None:
    generator = _seeded(5)
    a, b = _noisy(generator), _noisy(generator)
    strayed = [*a[:37], 1.0, 1.0, 1.0]
    assert shift_within_launch(strayed, b).shift == pytest.approx(shift_within_launch(a, b).shift, abs=0.002)


def test_single_samples_do_not_pretend_to_be_exact() -> None:
    assert shift_within_launch([1e-3], [1e-3]).error >= 0.005


def test_arms_of_different_length_can_be_compared() -> None:
    generator = _seeded(6)
    found = shift_within_launch(_noisy(generator, 60, scale=1.03), _noisy(generator, 20))
    assert found.shift == pytest.approx(0.03, abs=0.01)


def _pool(*shifts: float, error: float = 0.001) -> Effect:
    launches = [LaunchShift(shift=shift, error=error) for shift in shifts]
    return paired_effect(launches, launch_df=15, least_scatter=0.0, disagreement=0.001)


def test_launches_that_agree_are_pooled_with_their_own_noise() -> None:
    found = _pool(0.01, 0.011, 0.009, 0.01)
    assert found.shift == pytest.approx(0.01)
    assert not found.disagreeing
    assert found.df == 15 * 4 + 3


def test_launches_that_disagree_are_judged_on_their_scatter_alone() -> None:
    found = _pool(0.02, 0.0, 0.02, 0.0)
    assert found.disagreeing
    assert found.df == 3
    assert found.error == pytest.approx(statistics.stdev([0.02, 0.0, 0.02, 0.0]) / 2)


def test_one_launch_has_its_own_noise_only() -> None:
    found = _pool(0.01)
    assert (found.error, found.df) == (0.001, 15)


def test_a_stored_shift_rests_on_the_medians_of_launches() -> None:
    now, before = [[1.02e-3, 1.02e-3, 9.0]] * 3, [[1e-3, 1e-3, 1e-3]] * 3
    found = stored_effect(now, before, prior_scatter=0.004, prior_df=8)
    assert found.shift == pytest.approx(math.log(1.02))
    assert found.df == 12
    assert found.error == pytest.approx(0.004 * math.sqrt(8 / 12 * 2 / 3))


def test_an_interval_holds_its_ratio() -> None:
    found = Effect(shift=0.01, error=0.002, df=20).estimate(0.9995)
    assert found.low < found.ratio < found.high
    assert found.ratio == pytest.approx(1.01005, abs=1e-5)


def test_an_interval_without_bounds_is_still_numbers() -> None:
    found = Effect(shift=0.0, error=40.0, df=1).estimate(0.9999)
    assert 0 < found.low < 1 < found.high < math.inf


def test_the_tick_of_the_recorded_clock_is_32_nanoseconds() -> None:
    assert clock_tick(arm("tiny512", "A", 0)) == pytest.approx(32e-9, rel=1e-3)
    assert clock_tick([1e-3, 1e-3]) == 0
    assert clock_tick([1e-3, 1.01e-3]) == 0  # 10 µs apart: two times, not two ticks


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 41, 42, 43, 44])
def test_stats_are_those_of_pytest_benchmark(count: int) -> None:
    theirs = pytest.importorskip("pytest_benchmark.stats").Stats()
    data = [*_noisy(_seeded(count), count - 1), 5e-3]
    for value in data:
        theirs.update(value)
    assert benchmark_stats(data) == {**theirs.as_dict(), "iterations": 1, "data": data}


# Times in two modes: told from every shape of one mode, and from a few strays.

SEEDS = range(200)
TYPICAL_S = 1e-3


def two(seed: int, *, gap: float, share: float, noise: float = 0.001, count: int = 80) -> list[float]:
    """Times of which a share are slower by the gap."""
    chance = _seeded(seed)
    slow = round(share * count)
    found = [TYPICAL_S * (1 + gap * (i < slow)) * (1 + chance.gauss(0, noise)) for i in range(count)]
    chance.shuffle(found)
    return found


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
@pytest.mark.parametrize("gap", [0.01, 0.02, 0.5])
def test_two_modes_are_told_with_their_gap_and_the_share_of_the_slow_one(gap: float, share: float) -> None:
    for seed in SEEDS[:50]:
        found = two_modes(two(seed, gap=gap, share=share))
        assert found is not None
        assert found.fast_s == pytest.approx(TYPICAL_S, rel=0.001)
        assert found.slow_s / found.fast_s == pytest.approx(1 + gap, abs=0.002)
        assert found.slow_share == pytest.approx(share)


def test_two_exact_values_are_two_modes() -> None:
    found = two_modes([1e-3] * 30 + [1.01e-3] * 10)
    assert found is not None
    assert found.fast_s == pytest.approx(1e-3)
    assert found.slow_s == pytest.approx(1.01e-3)
    assert found.slow_share == 0.25


@pytest.mark.parametrize(
    ("shape", "draw"),
    [
        ("normal", lambda chance: chance.gauss(1, 0.01)),
        ("uniform", lambda chance: chance.uniform(0.98, 1.02)),
        ("a long tail", lambda chance: 1 + 0.01 * chance.expovariate(1)),
        ("heavy tails", lambda chance: 1 + 0.002 * chance.gauss(0, 1) / max(0.05, abs(chance.gauss(0, 1)))),
        ("log-normal", lambda chance: chance.lognormvariate(0, 0.05)),
        ("triangular", lambda chance: chance.triangular(0.98, 1.02)),
    ],
)
@pytest.mark.parametrize(("count", "most"), [(80, 0.0), (40, 0.02), (20, 0.1)])
def test_one_mode_of_any_shape_is_not_two(
    shape: str, draw: Callable[[random.Random], float], count: int, most: float
) -> None:
    """Few times of a long tail may look like two modes in one launch; half of the launches have to show them."""
    told = 0
    for seed in SEEDS:
        chance = _seeded(seed)
        told += two_modes([TYPICAL_S * draw(chance) for _ in range(count)]) is not None
    assert told <= most * len(SEEDS), shape


@pytest.mark.parametrize("strays", [1, 2, 3])
def test_a_few_strays_are_no_mode(strays: int) -> None:
    for seed in SEEDS[:50]:
        times = two(seed, gap=0, share=0, count=80 - strays)
        assert two_modes([*times, *([TYPICAL_S * 1.5] * strays)]) is None


def test_fewer_than_twenty_times_are_too_few_to_tell() -> None:
    assert two_modes([1e-3] * 10 + [1.02e-3] * 9) is None
    assert two_modes([1e-3] * 10 + [1.02e-3] * 10) is not None
    assert two_modes([]) is None


def test_a_tenth_of_the_times_is_the_least_that_makes_a_mode() -> None:
    assert two_modes([1e-3] * 93 + [1.02e-3] * 7) is None
    assert two_modes([1e-3] * 89 + [1.02e-3] * 11) is not None
    assert two_modes([1e-3] * 7 + [1.02e-3] * 93) is None


def test_a_gap_that_does_not_matter_is_not_told() -> None:
    assert two_modes([1e-3] * 40 + [1.002e-3] * 40) is None
    assert two_modes([1e-3] * 40 + [1.004e-3] * 40) is not None


def test_one_value_alone_is_one_mode() -> None:
    assert two_modes([1e-3] * 80) is None


def test_modes_that_touch_are_not_told_apart() -> None:
    assert not any(two_modes(two(seed, gap=0.01, share=0.5, noise=0.004)) for seed in SEEDS)


def test_the_order_of_the_times_does_not_matter() -> None:
    times = two(1, gap=0.01, share=0.5)
    assert two_modes(times) == two_modes(sorted(times)) == two_modes(reversed(times))
