"""Times in two modes: told from every shape of one mode, and from a few strays."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from perfgate.compare.bimodality import two_modes

if TYPE_CHECKING:
    from collections.abc import Callable

SEEDS = range(200)
TYPICAL_S = 1e-3


def drawn(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable choices, no secret


def two(seed: int, *, gap: float, share: float, noise: float = 0.001, count: int = 80) -> list[float]:
    """Times of which a share are slower by the gap."""
    chance = drawn(seed)
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
        chance = drawn(seed)
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
