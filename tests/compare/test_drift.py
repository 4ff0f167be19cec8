"""Small steps that each pass but add up: told against the card's first baseline, which starts anew only on purpose."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from perfgate.compare import drift
from perfgate.compare.judge import judge, old_against_new
from perfgate.config import Limits
from perfgate.records import Launch, Recording, Status, Verdict, exit_code
from recorded import CASES, ENVIRONMENT, FIRST_CARD, SETTINGS, changed, recording, with_launches

LIMITS = Limits()
STEP = 1.0045
STEPS = 5
PAIR = ("sq2048", "k8_irregular")


def after(steps: int, *, cases: tuple[str, ...] = CASES, **options: Any) -> Recording:
    """The kernel after so many small slowdowns, each measured in other launches of one card."""
    launches = [FIRST_CARD[(3 * steps + n) % len(FIRST_CARD)] for n in range(8)]
    made = recording(launches, scale=STEP**steps, cases=cases, **options)
    return dataclasses.replace(made, recorded_at=f"2026-11-0{steps + 1}T08:00:00+00:00")


def without(found: Recording, case: str) -> Recording:
    return dataclasses.replace(found, samples={k: v for k, v in found.samples.items() if k != case})


def drifted(verdicts: tuple[Verdict, ...]) -> list[str]:
    return [v.case for v in verdicts if any(aside.text.startswith("drift: ") for aside in v.asides)]


def beside(found: Recording, *, clock_mhz: int, scale: float) -> Recording:
    """The same launches on a slower machine, with the baseline's code measured beside them at the same speed."""

    def slowed(_: int, launch: Launch) -> Launch:
        kernel = tuple(s * scale for s in launch.arms["kernel"])
        again = tuple(s * (1 + 1e-7) for s in kernel)  # two measurements are never the same numbers
        return Launch(arms={**launch.arms, "kernel": kernel, "other": again}, state={"sm_clock_mhz": clock_mhz})

    return changed(with_launches(found, slowed), other={"kind": "baseline-commit", "name": "0123abc"})


# Judging.


def test_a_slow_machine_is_no_drift_where_the_baselines_code_is_as_slow_beside_it() -> None:
    now = beside(after(0), clock_mhz=1900, scale=1.05)
    found = judge(after(1), now, LIMITS, anchor=after(0), fail_on_drift=True)
    assert {verdict.status for verdict in found} == {Status.SAME}


def test_steps_that_were_stored_count_on_a_slow_machine_too() -> None:
    now = beside(after(0), clock_mhz=1900, scale=1.05)
    found = judge(after(STEPS + 1), now, LIMITS, anchor=after(0), fail_on_drift=True)
    assert {verdict.reason for verdict in found} == {"drift"}


def test_a_slowdown_since_the_first_baseline_that_the_clock_explains_is_no_drift() -> None:
    first = after(0, state={"sm_clock_mhz": 1980})
    now = after(STEPS, state={"sm_clock_mhz": 1900})
    assert not drifted(judge(after(STEPS - 1), now, LIMITS, anchor=first))


def test_steps_that_each_pass_and_add_up_are_told_against_the_first_baseline() -> None:
    for step in range(1, STEPS + 1):
        alone = judge(after(step - 1), after(step), LIMITS)
        assert {verdict.status for verdict in alone} == {Status.SAME}
    found = judge(after(STEPS - 1), after(STEPS), LIMITS, anchor=after(0))
    assert {verdict.status for verdict in found} == {Status.SAME}
    assert exit_code(found) == 0
    assert drifted(found) == list(CASES)
    aside = found[0].asides[-1]
    assert aside.matters
    assert "since its first baseline add up to +2." in aside.text
    assert "--new-anchor" in aside.text
    assert not drifted(judge(after(2), after(3), LIMITS, anchor=after(0)))


def test_where_drift_fails_it_is_slower_with_the_whole_way_and_the_last_step() -> None:
    found = judge(after(STEPS - 1), after(STEPS), LIMITS, anchor=after(0), fail_on_drift=True)
    assert {(verdict.status, verdict.reason) for verdict in found} == {(Status.SLOWER, "drift")}
    assert exit_code(found) == 1
    first = found[0]
    assert first.ratio == pytest.approx(STEP**STEPS, abs=0.004)
    assert first.low is not None
    assert first.low > 1
    assert first.limit == pytest.approx(1.021, abs=0.002)
    assert first.text.startswith("k7_small_k: small steps since its first baseline add up to +2.")
    assert first.asides[-1].text.startswith("the last step: k7_small_k: 3.04")
    assert first.asides[-1].matters
    early = judge(after(2), after(3), LIMITS, anchor=after(0), fail_on_drift=True)
    assert {verdict.status for verdict in early} == {Status.SAME}


def test_steps_to_the_better_are_no_drift() -> None:
    found = judge(after(1), after(0), LIMITS, anchor=after(STEPS), fail_on_drift=True)
    assert {verdict.status for verdict in found} == {Status.SAME}
    assert not drifted(found)


def test_drift_is_judged_beside_the_baselines_code_measured_again() -> None:
    now = after(STEPS, cases=PAIR, other="A2", other_kind="baseline-commit", kernel="A")

    def slowed(_: int, launch: Launch) -> Launch:
        other = tuple(s * STEP ** (STEPS - 1) for s in launch.arms["other"])
        return dataclasses.replace(launch, arms={**launch.arms, "other": other})

    before, anchor = after(STEPS - 1, cases=PAIR), after(0, cases=PAIR)
    found = judge(before, with_launches(now, slowed), LIMITS, anchor=anchor)
    assert drifted(found) == list(PAIR)
    assert found[0].asides[0].text.startswith("machine: ")


def test_a_case_whose_baseline_is_its_anchor_is_not_judged_twice() -> None:
    first, far = after(0), after(6)
    loose = Limits(stored_tolerance=0.05)
    assert drifted(judge(after(5), far, loose, anchor=first)) == list(CASES)
    assert not drifted(judge(first, far, loose, anchor=first))
    mixed = dataclasses.replace(after(5), samples={**after(5).samples, "sq2048": first.samples["sq2048"]})
    assert set(CASES) - set(drifted(judge(mixed, far, loose, anchor=first))) == {"sq2048"}


def test_a_case_that_the_anchor_lacks_has_no_drift() -> None:
    found = judge(after(STEPS - 1), after(STEPS), LIMITS, anchor=without(after(0), "sq1024"))
    assert set(CASES) - set(drifted(found)) == {"sq1024"}


def test_a_case_that_stands_for_other_work_than_in_the_anchor_has_no_drift() -> None:
    before, now = changed(after(STEPS - 1), contract={"flops": 2}), changed(after(STEPS), contract={"flops": 2})
    assert drifted(judge(before, now, LIMITS, anchor=changed(after(0), contract={"flops": 2}))) == list(CASES)
    assert drifted(judge(before, now, LIMITS, anchor=changed(after(0), contract={"flops": 1}))) == []


def test_a_verdict_that_is_no_pass_is_left_as_it_is() -> None:
    slower = judge(after(STEPS - 1), after(STEPS + 6), LIMITS, anchor=after(0), fail_on_drift=True)
    assert {verdict.reason for verdict in slower} == {"slower"}
    busy = after(STEPS, state={"foreign_processes": 1})
    found = judge(after(STEPS - 1), busy, LIMITS, anchor=after(0), fail_on_drift=True)
    assert {verdict.reason for verdict in found} == {"busy"}
    found = judge(after(STEPS - 1), without(after(STEPS), "sq2048"), LIMITS, anchor=after(0), fail_on_drift=True)
    assert found[-1].reason == "case-not-measured"


OTHERS: dict[str, dict[str, Any]] = {
    "other-card": {"environment": {**ENVIRONMENT, "gpu": "NVIDIA H200"}},
    "other-settings": {"settings": {**SETTINGS, "rounds": 80}},
}


@pytest.mark.parametrize("reason", OTHERS)
def test_an_anchor_that_cannot_be_compared_is_said_and_where_drift_fails_invalid(reason: str) -> None:
    anchor = after(0, **OTHERS[reason])
    found = judge(after(STEPS - 1), after(STEPS), LIMITS, anchor=anchor)
    assert exit_code(found) == 0
    assert all("drift could not be judged: " in verdict.asides[-1].text for verdict in found)
    assert [verdict.asides[-1].matters for verdict in found] == [True, *[False] * (len(found) - 1)]  # said once
    failed = judge(after(STEPS - 1), after(STEPS), LIMITS, anchor=anchor, fail_on_drift=True)
    assert (failed[-1].case, failed[-1].status, failed[-1].reason) == ("*", Status.INVALID, f"drift-{reason}")
    assert exit_code(failed) == 2
    assert len(failed) == len(CASES) + 1


# The anchor that goes with a new baseline.


def test_the_first_baseline_of_a_card_is_its_anchor() -> None:
    assert drift.renewed(None, after(0)) == (after(0), CASES)


def test_a_case_that_stayed_the_same_keeps_its_anchor_over_many_baselines() -> None:
    anchor = after(0)
    for step in range(1, STEPS + 1):
        anchor, restarted = drift.renewed(anchor, after(step))
        assert restarted == ()
    assert anchor == after(0)


def test_a_case_that_changed_on_purpose_starts_anew_alone() -> None:
    anchor, restarted = drift.renewed(after(0), after(3), meant=["sq1024"])
    assert restarted == ("sq1024",)
    assert anchor.samples["sq1024"] == after(3).samples["sq1024"]
    assert anchor.samples["sq2048"] == after(0).samples["sq2048"]
    found = judge(after(STEPS - 1), after(STEPS), LIMITS, anchor=anchor)
    assert set(CASES) - set(drifted(found)) == {"sq1024"}


def test_a_new_case_starts_and_one_that_is_gone_ends() -> None:
    anchor, restarted = drift.renewed(without(after(0), "sq1024"), without(after(3), "sq2048"))
    assert restarted == ("sq1024",)
    assert anchor.samples["sq1024"] == after(3).samples["sq1024"]
    assert "sq2048" not in anchor.samples


def test_a_case_that_stands_for_other_work_now_starts_anew() -> None:
    def worth(found: Recording, flops: int) -> Recording:
        one = dataclasses.replace(found.samples["sq1024"], contract={"flops": flops})
        return dataclasses.replace(found, samples={**found.samples, "sq1024": one})

    assert drift.renewed(worth(after(0), 1), worth(after(3), 2))[1] == ("sq1024",)
    assert drift.renewed(worth(after(0), 2), worth(after(3), 2))[1] == ()


@pytest.mark.parametrize("reason", OTHERS)
def test_another_card_or_other_settings_start_every_case_anew(reason: str) -> None:
    now = after(3, **OTHERS[reason])
    assert drift.renewed(after(0), now) == (now, CASES)


def test_every_case_starts_anew_where_that_was_asked_for() -> None:
    assert drift.renewed(after(0), after(3), whole=True) == (after(3), CASES)


# A baseline update: what the change did, and what is stored of the measurement.


def measured(*, scale: float = 1.0, rounds: int = 40, other: str | None = "A2") -> Recording:
    return recording(
        range(4, 8),
        other=other,
        other_kind="baseline-commit",
        scale=scale,
        cases=PAIR,
        settings={"rounds": rounds},
    )


STORED = recording(range(4), cases=PAIR)
BOTH_SLOWER = [Status.SLOWER, Status.SLOWER]


def statuses(before: Recording | None, now: Recording) -> list[Status]:
    return [verdict.status for verdict in old_against_new(before, now, LIMITS)]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (STORED, measured(scale=1.02), BOTH_SLOWER),
        (None, measured(), []),
        (STORED, measured(scale=1.02, rounds=80), BOTH_SLOWER),
        (STORED, measured(rounds=80, other=None), []),
        (STORED, measured(scale=1.05, other=None), BOTH_SLOWER),
    ],
    ids=["beside the old code", "the first baseline", "other settings", "other settings, no old code", "stored alone"],
)
def test_what_a_change_did_is_judged_by_the_old_code_and_else_by_the_old_numbers(
    before: Recording | None, now: Recording, expected: list[Status]
) -> None:
    assert statuses(before, now) == expected


def test_with_other_settings_a_case_without_the_old_code_hides_no_other() -> None:
    found = measured(scale=1.02, rounds=80)
    first, second = found.samples.values()
    samples = {first.case: first, second.case: dataclasses.replace(second, other=None)}
    mixed = dataclasses.replace(found, samples=samples)
    assert statuses(STORED, mixed)[:2] == [Status.SLOWER, Status.INVALID]


def test_what_is_stored_has_no_other_side() -> None:
    found = measured()
    kept = drift.alone(dataclasses.replace(changed(found, code={"kernel": "a", "other": "b"}), reason="why"))
    assert kept.reason == "why"
    for case, samples in kept.samples.items():
        assert (samples.other, samples.code) == (None, {"kernel": "a"})
        for launch, before in zip(samples.launches, found.samples[case].launches, strict=True):
            assert launch.arms == {arm: before.arms[arm] for arm in ("kernel", "control")}
            assert launch.state == before.state
