"""The rule, for any effect: what it may never say, that both ways are mirror images, and that more noise never calls."""

from __future__ import annotations

import dataclasses
import math

from hypothesis import given
from hypothesis import strategies as st

from perfgate.compare.decision import Decision, decide, look
from perfgate.compare.estimators import Effect
from perfgate.config import Limits
from perfgate.records import Status

LIMITS = Limits()
MIRRORED = {Status.SLOWER: Status.FASTER, Status.FASTER: Status.SLOWER}
EFFECTS = st.builds(
    Effect,
    shift=st.floats(-3, 3),
    error=st.floats(1e-6, 1),
    df=st.integers(1, 200),
    disagreeing=st.booleans(),
)
TOLERANCES = st.sampled_from([0.002, 0.005, 0.016, 0.02])


def decided(effect: Effect, tolerance: float, launches: int = 8, *, cases: int = 7, tick: float = 0.0) -> Decision:
    return decide(
        effect,
        tolerance=tolerance,
        tick_share=tick,
        launches=launches,
        cases=cases,
        this_look=look(launches, LIMITS),
        limits=LIMITS,
    )


@given(EFFECTS, TOLERANCES, st.integers(1, 16), st.floats(0, 0.1))
def test_what_each_status_says_is_so(effect: Effect, tolerance: float, launches: int, tick: float) -> None:
    found = decided(effect, tolerance, launches, tick=tick)
    limit, estimate = found.limit, found.estimate
    assert estimate.low <= estimate.ratio <= estimate.high
    assert 1 + tolerance <= limit * (1 + 1e-12)
    assert limit <= 1 + tolerance * LIMITS.widest_floor + 1e-12
    assert (limit > 1 + tolerance * (1 + 1e-9)) <= bool(found.widened)
    if found.status is Status.SLOWER:
        assert estimate.ratio > limit
        assert estimate.low > 1
    elif found.status is Status.FASTER:
        assert estimate.ratio < 1 / limit
        assert estimate.high < 1
    elif found.status is Status.SAME:
        assert abs(effect.shift) <= math.log(limit) * (1 + 1e-9)
        assert abs(effect.shift) + effect.error * 1.5 < math.log(1 + 2 * (limit - 1)) * (1 + 1e-9)


@given(EFFECTS, TOLERANCES, st.integers(1, 16))
def test_slower_and_faster_are_mirror_images(effect: Effect, tolerance: float, launches: int) -> None:
    there = decided(effect, tolerance, launches)
    back = decided(dataclasses.replace(effect, shift=-effect.shift), tolerance, launches)
    assert back.status is MIRRORED.get(there.status, there.status)
    assert (back.limit, back.widened, back.confidence) == (there.limit, there.widened, there.confidence)


@given(EFFECTS, TOLERANCES, st.floats(1, 100))
def test_more_noise_never_calls_what_less_noise_did_not(effect: Effect, tolerance: float, factor: float) -> None:
    exact = decided(effect, tolerance)
    noisy = decided(dataclasses.replace(effect, error=effect.error * factor), tolerance)
    if exact.status not in MIRRORED:
        assert noisy.status not in MIRRORED


@given(EFFECTS, TOLERANCES, st.integers(1, 1000))
def test_more_cases_never_call_what_fewer_did_not(effect: Effect, tolerance: float, cases: int) -> None:
    if decided(effect, tolerance, cases=1).status not in MIRRORED:
        assert decided(effect, tolerance, cases=cases).status not in MIRRORED


@given(EFFECTS, TOLERANCES)
def test_an_early_look_never_calls_what_the_final_one_does_not(effect: Effect, tolerance: float) -> None:
    early, final = decided(effect, tolerance, 4), decided(effect, tolerance, 8)
    if early.status in MIRRORED:
        assert final.status is early.status
