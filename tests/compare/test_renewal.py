"""A baseline update as records: what the change did, and what is stored of the measurement."""

from __future__ import annotations

import dataclasses

from perfgate.compare.renewal import alone, old_against_new
from perfgate.limits import Limits
from perfgate.records import Recording, Status
from recorded import recording

CASES = ("sq2048", "k7_small_k")
LIMITS = Limits()


def measured(*, scale: float = 1.0, rounds: int = 40, other: str | None = "A2") -> Recording:
    return recording(
        range(4, 8),
        other=other,
        other_kind="baseline-commit",
        scale=scale,
        cases=CASES,
        settings={"rounds": rounds},
    )


def stored() -> Recording:
    return recording(range(4), cases=CASES)


def statuses(before: Recording | None, now: Recording) -> list[Status]:
    return [verdict.status for verdict in old_against_new(before, now, LIMITS)]


def test_a_change_shows_beside_the_old_code() -> None:
    assert statuses(stored(), measured(scale=1.02)) == [Status.SLOWER, Status.SLOWER]


def test_the_first_baseline_has_nothing_to_be_held_against() -> None:
    assert statuses(None, measured()) == []


def test_with_other_settings_the_old_code_beside_it_judges_alone() -> None:
    assert statuses(stored(), measured(scale=1.02, rounds=80)) == [Status.SLOWER, Status.SLOWER]


def test_with_other_settings_and_no_old_code_nothing_is_judged() -> None:
    assert statuses(stored(), measured(rounds=80, other=None)) == []


def test_without_the_old_code_beside_it_the_stored_number_judges() -> None:
    assert statuses(stored(), measured(scale=1.05, other=None)) == [Status.SLOWER, Status.SLOWER]


def test_with_other_settings_a_case_without_the_old_code_hides_no_other() -> None:
    found = measured(scale=1.02, rounds=80)
    first, second = found.samples.values()
    samples = {first.case: first, second.case: dataclasses.replace(second, other=None)}
    mixed = dataclasses.replace(found, samples=samples)
    assert statuses(stored(), mixed)[:2] == [Status.SLOWER, Status.INVALID]


def test_what_is_stored_has_no_other_side() -> None:
    found = measured()
    coded = {case: dataclasses.replace(one, code={"kernel": "a", "other": "b"}) for case, one in found.samples.items()}
    kept = alone(dataclasses.replace(found, samples=coded, reason="why"))
    assert kept.reason == "why"
    for case, samples in kept.samples.items():
        assert (samples.other, samples.code) == (None, {"kernel": "a"})
        for launch, before in zip(samples.launches, found.samples[case].launches, strict=True):
            assert launch.arms == {arm: before.arms[arm] for arm in ("kernel", "control")}
            assert launch.state == before.state
