"""A stored comparison and who is to blame for it: the arbiter in the same launches, the clock, the toolchain."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.compare.judge import judge
from perfgate.limits import Limits
from perfgate.records import Launch, Status
from recorded import FIRST_CARD, recording

if TYPE_CHECKING:
    from perfgate.records import Recording, Verdict

LIMITS = Limits()
THEN, NOW = FIRST_CARD[:5], FIRST_CARD[5:10]
ONE = ("k1_sq4096",)


def only(now: Recording, then: Recording | None = None, **options: Any) -> Verdict:
    (found,) = judge(then, now, LIMITS, **options)
    return found


# Stored, with another side in the same launches as the arbiter.


def test_a_stored_slowdown_that_the_side_in_the_same_launches_shares_is_not_this_changes() -> None:
    found = only(recording(NOW, kernel="A2", other="A", cases=ONE), recording(NOW, cases=ONE, scale=1 / 1.05))
    assert (found.status, found.reason, found.exit_code) == (Status.SAME, "same-not-this-change", 0)
    assert found.ratio == pytest.approx(1, abs=0.001)
    assert found.asides[0].matters
    assert "stored: the number of now is +5.0" in found.asides[0].text
    assert "not from the other side's: that is the machine, or a change before this one." in found.asides[0].text


def test_a_stored_slowdown_that_the_side_in_the_same_launches_does_not_share_is_this_changes() -> None:
    found = only(recording(NOW, scale=1.05, other="A2", cases=ONE), recording(NOW, cases=ONE))
    assert (found.status, found.reason, found.exit_code) == (Status.SLOWER, "slower", 1)
    assert "slower than the stored" in found.text
    assert found.asides[0].matters
    assert "in the same launches: k1_sq4096: " in found.asides[0].text
    assert "5.00 % slower than ref main" in found.asides[0].text


def test_the_arbiter_comes_before_the_clock_as_both_sides_had_the_same() -> None:
    then = recording(NOW, cases=ONE, state={"sm_clock_mhz": 1980})
    now = recording(NOW, scale=1.05, other="A2", cases=ONE, state={"sm_clock_mhz": 1900})
    assert only(now, then).status is Status.SLOWER


def test_what_the_stored_number_finds_the_same_needs_no_arbiter() -> None:
    found = only(recording(NOW, kernel="A2", other="A", cases=ONE), recording(THEN, cases=ONE))
    assert found.reason == "same"
    assert "the stored" in found.text


def test_one_percent_beside_the_other_side_is_found_though_the_stored_number_is_too_coarse_for_it() -> None:
    found = only(recording(NOW, scale=1.01, other="A2", cases=ONE), recording(THEN, cases=ONE))
    assert (found.status, found.reason, found.exit_code) == (Status.SLOWER, "slower", 1)
    assert "slower than ref main" in found.text
    assert found.asides[0].text.startswith("stored: k1_sq4096: ")


def test_an_arbiter_that_cannot_tell_blames_nothing() -> None:
    now = recording(NOW, other="A2", cases=ONE)
    one = now.samples["k1_sq4096"]
    launches = tuple(
        Launch(arms={**launch.arms, "kernel": tuple(s * (1.0 if n == 1 else 1.08) for s in launch.arms["kernel"])})
        for n, launch in enumerate(one.launches)
    )
    now = dataclasses.replace(now, samples={"k1_sq4096": dataclasses.replace(one, launches=launches)})
    found = only(now, recording(NOW, cases=ONE, scale=1.0001))
    assert found.status is Status.UNSURE
    assert "whether this change did it is too close to tell" in found.asides[0].text
    assert "machine" not in found.asides[0].text


def test_the_raw_change_and_the_change_over_the_control_add_up() -> None:
    found = only(recording(NOW, scale=1.05, cases=ONE), recording(THEN, cases=ONE))
    numbers = re.search(r"its control moved by ([+-][\d.]+) %, over it that is ([+-][\d.]+) %", found.text)
    assert numbers is not None
    control, over = (1 + float(number) / 100 for number in numbers.groups())
    assert found.ratio == pytest.approx(control * over, abs=2e-4)


def test_a_lower_clock_is_not_blamed_on_a_new_driver() -> None:
    old = dict(recording(NOW).environment)
    then = recording(NOW, cases=ONE, scale=1 / 1.04, state={"sm_clock_mhz": 1980}, environment=old)
    slow = {"sm_clock_mhz": 1900}
    now = recording(
        NOW, other="A2", other_kind="baseline-commit", cases=ONE, state=slow, environment={**old, "driver": "600"}
    )
    found = only(now, then)
    assert (found.status, found.asides[0].text.partition(":")[0]) == (Status.SAME, "machine")
    usual = recording(NOW, other="A2", other_kind="baseline-commit", cases=ONE, environment={**old, "driver": "600"})
    assert only(usual, then).reason == "slower-toolchain"
