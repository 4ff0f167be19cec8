"""Two arms of the same launches: equal code, the noise that a run shows, and the mean shift over cases."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
from typing import TYPE_CHECKING

import pytest

from perfgate.compare.estimators import Effect
from perfgate.compare.interleaved import Pair, mean_shift, noise_factor, pairs
from perfgate.config import Limits
from recorded import CASES, recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.records import Recording

LIMITS = Limits()
EQUAL = {"kernel": "5ab1e", "other": "5ab1e"}


def pair(stray: float, *, equal_code: bool = True, error: float = 0.001) -> Pair:
    """A pair whose shift is so many of its own errors."""
    effect = Effect(shift=stray * error, error=error, df=20)
    return Pair(effect=effect, launches=4, tick_share=0.0, equal_code=equal_code)


def with_code(found: Recording, codes: Mapping[str, Mapping[str, str]]) -> Recording:
    samples = {case: dataclasses.replace(one, code=codes.get(case, {})) for case, one in found.samples.items()}
    return dataclasses.replace(found, samples=samples)


@pytest.mark.parametrize(
    ("code", "equal"),
    [
        (EQUAL, True),
        ({"kernel": "5ab1e", "other": "0dd"}, False),
        ({}, False),
        ({"kernel": "5ab1e"}, False),
        ({"other": "5ab1e"}, False),
        ({"kernel": "", "other": ""}, False),
    ],
)
def test_code_is_equal_only_where_both_sides_recorded_the_same(code: dict[str, str], *, equal: bool) -> None:
    found = with_code(recording([0], other="A2", cases=CASES[:1]), {CASES[0]: code})
    assert pairs(found, CASES[:1], LIMITS)[CASES[0]].equal_code is equal


def test_only_named_cases_that_have_another_side_are_paired() -> None:
    found = recording([0], other="A2", cases=CASES[:3])
    alone = dataclasses.replace(found.samples[CASES[1]], other=None)
    found = dataclasses.replace(found, samples={**found.samples, CASES[1]: alone})
    assert list(pairs(found, [*CASES[:2], "unknown"], LIMITS)) == [CASES[0]]


@pytest.mark.parametrize("strays", [(3, 3, 3, 3, 3), (-3, 3, -3, 3, -3), (0, 2.9, 3, 40, 50)])
def test_cases_with_equal_code_that_stray_beyond_their_errors_and_chance_widen_all(strays: Sequence[float]) -> None:
    found = noise_factor(pair(stray) for stray in strays)
    assert found == pytest.approx(1.4826 * 3 - 2.34 / math.sqrt(5), rel=1e-3)


@pytest.mark.parametrize(
    ("strays", "why"),
    [
        ((3, 3, 3, 3), "four cases are too few"),
        ((0, 0, 0, 0, 0), "never narrowed"),
        ((0.67,) * 1000, "as far as their errors say"),
        ((1.3, 1.3, 1.3, 1.3, 1.3), "further, but not beyond chance"),
        ((0, 0.5, 0.5, 1, 100), "one odd case"),
    ],
)
def test_errors_are_otherwise_left_as_they_are(strays: Sequence[float], why: str) -> None:
    assert noise_factor(pair(stray) for stray in strays) == 1, why


def test_more_cases_tell_from_a_smaller_stray() -> None:
    assert noise_factor([pair(1.3)] * 5) == 1
    assert noise_factor([pair(1.3)] * 25) > 1.4


def test_cases_whose_code_differs_say_nothing_of_the_noise() -> None:
    changed = [pair(30, equal_code=False) for _ in range(20)]
    assert noise_factor([*changed, *(pair(3) for _ in range(4))]) == 1
    assert noise_factor([*changed, *(pair(0.5) for _ in range(5))]) == 1


@pytest.mark.parametrize("count", [5, 7, 25])
def test_honest_errors_are_seldom_widened_and_errors_half_as_large_as_the_noise_often(count: int) -> None:
    drawn = random.Random(count)  # noqa: S311 - repeatable choices, no secret
    factors = {
        noise: [noise_factor(pair(drawn.gauss(0, noise)) for _ in range(count)) for _ in range(400)] for noise in (1, 2)
    }
    assert sum(factor > 1 for factor in factors[1]) < 0.05 * 400
    assert sum(factor > 1 for factor in factors[2]) > 0.35 * 400
    assert sorted(factors[2])[200] < 2


def test_a_run_that_strays_widens_every_pair_and_keeps_by_how_much() -> None:
    calm = recording(range(4), kernel="A2", other="A")
    stray = recording(range(4), kernel="A2", other="A", scale=1.01)
    apart = [case for case in CASES if case != "k9_8k"]
    before, after = (pairs(with_code(found, dict.fromkeys(apart, EQUAL)), CASES, LIMITS) for found in (calm, stray))
    factor = noise_factor(pairs(stray, CASES, LIMITS).values())
    assert factor == 1  # no code recorded
    assert {one.widened for one in before.values()} == {1.0}
    (widened,) = {one.widened for one in after.values()}
    assert widened > 5
    for case in CASES:  # also the one whose code is not recorded
        assert after[case].effect.error == pytest.approx(before[case].effect.error * widened)
        assert after[case].effect.shift == pytest.approx(before[case].effect.shift + math.log(1.01))


def test_the_same_code_beside_itself_is_not_widened_on_recorded_launches() -> None:
    for first in range(0, 20, 4):
        found = recording(range(first, first + 4), kernel="A2", other="A")
        assert pairs(with_code(found, dict.fromkeys(CASES, EQUAL)), CASES, LIMITS)[CASES[0]].widened == 1


def test_the_mean_of_fewer_than_five_cases_is_not_taken() -> None:
    assert mean_shift([pair(1)] * 4) is None
    assert mean_shift([pair(1)] * 5) is not None


def test_cases_that_moved_alike_have_the_error_of_their_own_errors() -> None:
    found = mean_shift([pair(4, error=0.001)] * 8 + [pair(2, error=0.002)] * 8)
    assert found is not None
    assert found.shift == pytest.approx(0.004)
    assert found.error == pytest.approx(math.sqrt(8 * 0.001**2 + 8 * 0.002**2) / 16)
    assert found.df == 15


def test_cases_that_moved_apart_have_the_error_of_their_scatter() -> None:
    found = mean_shift([pair(10), pair(-10), pair(10), pair(-10), pair(10), pair(-2)])
    assert found is not None
    assert found.shift == pytest.approx(0.008 / 6)
    assert found.error == pytest.approx(statistics.stdev([10, -10, 10, -10, 10, -2]) / 1000 / math.sqrt(6))
    assert found.df == 5
