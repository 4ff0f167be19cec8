"""What a comparison may say: equal code, the machine's line, the clock, the arbiter, two modes, the step-down."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.compare.judge import judge
from perfgate.config import Limits
from perfgate.records import Launch, Status, exit_code
from recorded import CASES, FIRST_CARD, SECOND_CARD, changed, recording, with_launches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perfgate.records import Recording, Verdict

LIMITS = Limits()
THEN, NOW = FIRST_CARD[:5], FIRST_CARD[5:10]
ONE = ("k1_sq4096",)
NOISY = ("k9_8k",)
ANCHOR = "baseline-commit"
EQUAL = {"kernel": "5ab1e", "other": "5ab1e"}


def only(now: Recording, then: Recording | None = None, **options: Any) -> Verdict:
    (found,) = judge(then, now, LIMITS, **options)
    return found


def with_code(found: Recording, code: Mapping[str, str]) -> Recording:
    return changed(found, code=code)


def with_arms(found: Recording, change: Callable[[int, str, tuple[float, ...]], tuple[float, ...]]) -> Recording:
    """Every arm of every launch changed, by the launch's number, the arm's name and its seconds."""

    def one(n: int, launch: Launch) -> Launch:
        return Launch(arms={name: change(n, name, s) for name, s in launch.arms.items()}, state=launch.state)

    return with_launches(found, one)


def with_last_state(found: Recording, state: Mapping[str, Any]) -> Recording:
    """Another state in the last launch of every case."""
    last = len(next(iter(found.samples.values())).launches) - 1
    return with_launches(found, lambda n, one: dataclasses.replace(one, state=state) if n == last else one)


# Equal machine code on both sides.


def test_equal_code_makes_too_close_to_tell_the_same() -> None:
    now = recording(range(2), kernel="B1", other="A", cases=NOISY)
    assert only(now).status is Status.UNSURE
    assert only(with_code(now, {**EQUAL, "other": "0dd"})).status is Status.UNSURE
    found = only(with_code(now, EQUAL))
    assert (found.status, found.reason, found.exit_code) == (Status.SAME, "same-code", 0)
    assert "the machine code of both sides is equal; nothing to do." in found.text
    assert only(with_code(recording(range(8), kernel="A2", other="A", cases=ONE), EQUAL)).reason == "same"


@pytest.mark.parametrize(("scale", "status"), [(1.05, Status.SLOWER), (0.95, Status.FASTER)])
def test_equal_code_never_hides_a_change_but_points_around_the_kernel(scale: float, status: Status) -> None:
    found = only(with_code(recording(range(4), kernel="A2", other="A", scale=scale, cases=ONE), EQUAL))
    assert (found.status, found.reason) == (status, status.lower())
    assert "equal, so look at what is around the kernel" in found.text


def test_a_run_in_which_equal_code_strays_widens_its_errors_and_says_so() -> None:
    quiet = tuple(case for case in CASES if case != "k9_8k")
    now = recording(range(8), kernel="A2", other="A", scale=1.006, cases=quiet)
    found = judge(None, with_code(now, EQUAL), LIMITS)
    assert Status.SLOWER in {verdict.status for verdict in judge(None, now, LIMITS)}
    assert {verdict.status for verdict in found} == {Status.SAME}
    assert all("as cases with equal code strayed that far in this run" in verdict.text for verdict in found)


# Re-anchored: what the machine did has a line of its own.


def machine(factor: float, control: float, **options: Any) -> Verdict:
    """Unchanged code beside itself on a machine that slowed by a factor, and its control by another."""
    then = recording(THEN, cases=ONE, scale=1 / factor)
    now = recording(THEN, kernel="A2", other="A", other_kind=ANCHOR, cases=ONE, **options)
    return only(with_arms(now, lambda _n, name, s: tuple(x * control for x in s) if name == "control" else s), then)


def test_the_machines_line_has_the_old_codes_own_change_and_the_one_over_its_control() -> None:
    found = machine(1.05, 1.02)
    (aside,) = found.asides
    assert found.status is Status.SAME
    assert found.ratio == pytest.approx(1, abs=0.001)
    assert aside.ratio == pytest.approx(1.05)
    assert aside.matters
    assert aside.text.startswith(
        "machine: that code itself is 5.00 % slower than when it was recorded (99.9 % interval "
    )
    assert "limit 1.8 %); its control moved by +2.00 %, over it that is +2.94 %; more than days and cards" in aside.text


def test_a_machine_that_stayed_as_it_was_is_not_worth_a_line_in_a_brief_report() -> None:
    (aside,) = machine(1.004, 1.0).asides
    assert not aside.matters
    assert "within other days and cards" in aside.text


def test_without_a_control_the_machines_line_has_no_word_of_one() -> None:
    then, now = recording(THEN, cases=ONE), recording(NOW, kernel="A2", other="A", other_kind=ANCHOR, cases=ONE)
    bare = with_launches(now, lambda _, one: Launch(arms={arm: one.arms[arm] for arm in ("kernel", "other")}))
    assert "control" not in only(bare, then).asides[0].text


def test_a_clock_below_the_baselines_is_said_on_the_machines_line_and_changes_no_verdict() -> None:
    then = recording(THEN, cases=ONE, scale=1 / 1.04, state={"sm_clock_mhz": 1980})
    now = recording(THEN, kernel="A2", other="A", other_kind=ANCHOR, cases=ONE, state={"sm_clock_mhz": 1900})
    found = only(now, then)
    assert found.status is Status.SAME
    assert "the SM clock is 1900 MHz (baseline 1980 MHz)" in found.asides[0].text


# Stored: a clock below the baseline's.


def stored(scale: float, *, then_mhz: float | None = 1980, now_mhz: float | None = 1900) -> Verdict:
    then = recording(THEN, cases=ONE, state={"sm_clock_mhz": then_mhz})
    return only(recording(THEN, kernel="A", scale=scale, cases=ONE, state={"sm_clock_mhz": now_mhz}), then)


def test_a_stored_slowdown_that_a_lower_clock_explains_could_not_be_compared() -> None:
    found = stored(1.05)
    assert (found.status, found.reason, found.exit_code) == (Status.INVALID, "clock-below-baseline", 2)
    assert "+5.00 % against the stored 1.65" in found.text
    assert "the SM clock is 1900 MHz (baseline 1980 MHz), expected the baseline's" in found.text
    assert "nox -s perf -- --case k1_sq4096" in found.text


def test_a_stored_slowdown_that_a_lower_clock_does_not_explain_stays_slower_and_says_the_clock() -> None:
    found = stored(1.07)
    assert (found.status, found.reason, found.exit_code) == (Status.SLOWER, "slower", 1)
    assert "the SM clock is 1900 MHz (baseline 1980 MHz)" in found.text


@pytest.mark.parametrize(
    ("then_mhz", "now_mhz"), [(1980, 1965), (1900, 1980), (None, 1500), (1980, None), (None, None)]
)
def test_a_clock_that_is_not_lower_or_not_known_explains_nothing(then_mhz: float | None, now_mhz: float | None) -> None:
    found = stored(1.05, then_mhz=then_mhz, now_mhz=now_mhz)
    assert found.status is Status.SLOWER
    assert "SM clock" not in found.text


def test_a_clock_little_lower_or_known_of_some_launches_only_explains_nothing() -> None:
    assert stored(1.022, now_mhz=1965).status is Status.SLOWER
    then = recording(THEN, cases=ONE, state={"sm_clock_mhz": 1980})
    now = recording(THEN, scale=1.05, cases=ONE, state={"sm_clock_mhz": 1900})
    assert only(now, then).status is Status.INVALID
    assert only(with_last_state(now, {}), then).status is Status.SLOWER


def test_a_lower_clock_is_no_hindrance_where_nothing_is_slower() -> None:
    for scale, status in ((1.0001, Status.SAME), (0.9, Status.FASTER)):
        found = stored(scale)
        assert found.status is status
        assert "the SM clock is 1900 MHz" in found.text


# Two modes.


def test_times_in_two_modes_are_said_where_half_of_the_launches_show_them() -> None:
    def split(modal: int) -> Recording:
        now = recording(range(4), kernel="A2", other="A", cases=("sq1024",))
        flat = with_arms(
            now,
            lambda n, name, s: tuple(
                1e-4 * (1 + 1e-5 * ((i + 2 * n + (name == "other")) % 11) + 1e-9 * modal) for i, _ in enumerate(s)
            ),
        )
        return with_arms(
            flat,
            lambda n, name, s: tuple(
                x * (1.02 if i % 4 == 0 and n < modal and name == "kernel" else 1) for i, x in enumerate(s)
            ),
        )

    assert "its times come in two modes 2.00 % apart in 2 of 4 launches" in only(split(2)).text
    assert "its times come in two modes 2.00 % apart in 4 of 4 launches" in only(split(4)).text
    assert "two modes" not in only(split(1)).text
    assert "two modes 2.00 % apart" in only(split(3), split(0)).text


# Many cases: the false alarms of the suite are divided among those that are not called (Holm).


def suite_of(calls: int, scale: float, *more: float) -> Recording:
    """Cases that are clearly slower, or unchanged, and noisy ones slowed by the given scales."""
    base = recording(range(8), kernel="A2", other="A", scale=scale, cases=("sq2048",)).samples["sq2048"]
    samples = {f"clear{n}": dataclasses.replace(base, case=f"clear{n}") for n in range(calls)}
    for n, factor in enumerate(more):
        noisy = recording(range(8), kernel="A2", other="A", scale=factor, cases=NOISY)
        samples[f"noisy{n}"] = dataclasses.replace(noisy.samples[NOISY[0]], case=f"noisy{n}")
    return dataclasses.replace(recording([0], cases=ONE), samples=samples)


STRICT = Limits(false_alarms_suite=0.001)
FIRST, SECOND = 1.0038, 1.003
"""Slowdowns of the noisy case: what the first can be called with, the second cannot."""


def noisy(found: tuple[Verdict, ...]) -> list[Status]:
    return [verdict.status for verdict in found if verdict.case.startswith("noisy")]


def test_a_case_too_close_among_many_is_called_once_the_others_are() -> None:
    assert noisy(judge(None, suite_of(29, 1.0, FIRST), STRICT)) == [Status.UNSURE]
    assert noisy(judge(None, suite_of(29, 1.05, FIRST), STRICT)) == [Status.SLOWER]
    assert noisy(judge(None, suite_of(29, 0.95, FIRST), STRICT)) == [Status.SLOWER]


def test_the_step_down_goes_on_until_nothing_more_is_called() -> None:
    assert noisy(judge(None, suite_of(0, 1.0, SECOND), STRICT, suite=3)) == [Status.UNSURE]
    assert noisy(judge(None, suite_of(0, 1.0, SECOND), STRICT)) == [Status.SLOWER]
    assert noisy(judge(None, suite_of(27, 1.05, FIRST, FIRST, SECOND), STRICT)) == [Status.SLOWER] * 3
    assert noisy(judge(None, suite_of(27, 1.05, SECOND, SECOND, SECOND), STRICT)) == [Status.UNSURE] * 3


def test_some_cases_of_a_suite_are_held_to_the_whole_suites_false_alarms() -> None:
    some = suite_of(0, 1.0, FIRST)
    assert noisy(judge(None, some, STRICT)) == [Status.SLOWER]
    assert noisy(judge(None, some, STRICT, suite=30)) == [Status.UNSURE]
    assert noisy(judge(None, suite_of(29, 1.0, FIRST), STRICT, suite=1)) == [Status.UNSURE]


def test_more_cases_widen_the_interval_of_a_stored_comparison_as_well() -> None:
    now, then = recording(NOW, cases=ONE), recording(THEN, cases=ONE)
    alone, among = (only(now, then, suite=suite) for suite in (None, 100))
    assert math.log((among.high or 0) / (among.low or 1)) > 1.2 * math.log((alone.high or 0) / (alone.low or 1)) > 0


# A card that was not itself says nothing of the code.


@pytest.mark.parametrize(
    ("state", "reason"),
    [({"throttle_reasons": ["thermal slowdown"]}, "throttled"), ({"foreign_processes": 2}, "busy")],
)
@pytest.mark.parametrize("kind", ["stored", "ref", ANCHOR, "beside"])
def test_one_disturbed_launch_never_makes_slower(kind: str, state: dict[str, Any], reason: str) -> None:
    other = None if kind == "stored" else "A2"
    now = recording(NOW, scale=1.3, other=other, other_kind=ANCHOR if kind == ANCHOR else "ref")
    then = None if kind == "beside" else recording(THEN)
    anchor = recording(SECOND_CARD[:5])
    assert {v.status for v in judge(then, now, LIMITS)} == {Status.SLOWER}
    found = judge(then, with_last_state(now, state), LIMITS, anchor=anchor, fail_on_drift=True)
    assert {(v.status, v.reason) for v in found} == {(Status.INVALID, reason)}
    assert exit_code(found) == 2


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
    now = with_arms(now, lambda n, arm, s: tuple(x * (1.08 if arm == "kernel" and n != 1 else 1.0) for x in s))
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
