"""The search for how much extra work makes a kernel slower by a given share."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest

from perfgate.calibration import SIZES
from perfgate.calibration.slowdown import MOST_EXTRA, Found, search, typical

if TYPE_CHECKING:
    from collections.abc import Callable

    Curve = Callable[[int], float]


def straight(extra: int) -> float:
    return extra * 1e-5


def hidden_at_first(extra: int) -> float:
    """Extra work that costs nothing until memory no longer hides it."""
    return max(0.0, (extra - 30_000) * 2e-6)


def waves(extra: int) -> float:
    """A single wave of programs: whole repetitions only, a fifth of a percent each."""
    return -(-extra // 64) * 0.002


def steep_at_first(extra: int) -> float:
    return math.sqrt(extra * 1e-8)


def found(curve: Curve, *, seconds: float = 1e-3, noise: float = 0.0, seed: int = 0) -> tuple[dict[str, Found], int]:
    """What the search finds on a curve, and how many points it timed."""
    timed = []
    chance = random.Random(seed)  # noqa: S311 - noise, no secret

    def slowdown(extra: int) -> float:
        assert 0 < extra <= MOST_EXTRA
        timed.append(extra)
        return curve(extra) + chance.gauss(0, noise)

    return search(SIZES, slowdown=slowdown, seconds=seconds), len(timed)


@pytest.mark.parametrize("curve", [straight, hidden_at_first, waves, steep_at_first])
@pytest.mark.parametrize("seconds", [1e-5, 1e-3, 1e-1])
def test_every_size_is_found_on_any_rising_curve_from_any_start(curve: Curve, seconds: float) -> None:
    sizes, timed = found(curve, seconds=seconds)
    for name, wanted in SIZES.items():
        assert sizes[name].reached
        assert curve(sizes[name].extra) == pytest.approx(wanted, rel=0.1, abs=0.0011)
    assert timed <= 30


@pytest.mark.parametrize("curve", [straight, hidden_at_first, steep_at_first])
def test_noise_of_half_the_smallest_size_misleads_by_little_and_the_sizes_stay_in_order(curve: Curve) -> None:
    off = []
    for seed in range(40):
        sizes, timed = found(curve, noise=0.0025, seed=seed)
        assert timed <= 40
        off += [abs(curve(sizes[name].extra) - wanted) for name, wanted in SIZES.items()]
        extras = [sizes[name].extra for name in SIZES]
        assert extras == sorted(extras)
    assert sum(off) / len(off) < 0.002


def test_a_size_between_two_steps_of_the_machine_is_said_not_to_be_reached() -> None:
    sizes, _ = found(lambda extra: -(-extra // 64) * 0.02)
    assert {name for name, one in sizes.items() if not one.reached} == {"+0.5", "+1", "+3"}
    assert sizes["+0.5"].slowdown == pytest.approx(0.02)


def test_work_that_never_shows_reaches_nothing_and_the_search_ends() -> None:
    sizes, timed = found(lambda _: 0.0)
    assert not any(one.reached for one in sizes.values())
    assert timed == 7  # 16 times more each time, to the most that a launch can be told


def test_noise_is_never_taken_for_a_slowdown_of_work_that_does_not_show() -> None:
    for seed in range(20):
        sizes, _ = found(lambda _: 0.0, noise=0.0005, seed=seed)
        assert not any(sizes[name].reached for name in ("+1", "+2", "+3", "+5"))


def test_a_first_try_far_too_slow_is_no_harm() -> None:
    sizes, timed = found(lambda extra: extra * 1e-3, seconds=5e-3)
    assert sizes["+5"].extra == pytest.approx(50, abs=2)
    assert sizes["+0.5"].extra == 5
    assert timed <= 30


def test_one_disturbed_point_does_not_end_the_search_at_its_beginning() -> None:
    stray = iter([0.3])
    sizes, _ = found(lambda extra: next(stray, straight(extra)))
    assert straight(sizes["+5"].extra) == pytest.approx(0.05, rel=0.1)


def test_stray_times_are_dropped_and_steps_of_the_clock_averaged() -> None:
    assert typical([1.0, 1.0, 1.1, 1.1, 90.0, 0.1, 1.0, 1.1]) == pytest.approx(1.05)
    assert typical([3.0]) == 3.0
    assert typical([1.0, 2.0]) == 1.5
