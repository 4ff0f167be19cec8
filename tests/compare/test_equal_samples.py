"""Two measurements are two: samples that stand twice are no measurement, unless a coarse clock may give them again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from perfgate.compare.judge import judge
from perfgate.config import Limits
from perfgate.records import Launch, Status
from recorded import FIRST_CARD, recording

if TYPE_CHECKING:
    from perfgate.records import Recording, Verdict

ONE = ("k1_sq4096",)
THEN = recording(FIRST_CARD[:4], cases=ONE)
NOW = recording(FIRST_CARD[4:8], cases=ONE, other="A2")


def _with(found: Recording, *launches: Launch) -> Recording:
    one = found.samples[ONE[0]]
    other = one.other if all("other" in launch.arms for launch in launches) else None
    return dataclasses.replace(found, samples={ONE[0]: dataclasses.replace(one, launches=launches, other=other)})


def _of(found: Recording) -> tuple[Launch, ...]:
    return found.samples[ONE[0]].launches


def _judged(now: Recording, then: Recording | None = THEN) -> Verdict:
    (found,) = judge(then, now, Limits())
    return found


SLOWER = _of(recording(FIRST_CARD[4:8], cases=ONE, scale=1.05))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (THEN, "those of kernel in launch 1 are those of kernel in launch 1 of the baseline"),
        (
            _with(THEN, *SLOWER, *_of(THEN)),
            "those of kernel in launch 5 are those of kernel in launch 1 of the baseline",
        ),
        (_with(NOW, *SLOWER, SLOWER[1]), "those of kernel in launch 5 are those of kernel in launch 2,"),
        (
            _with(NOW, *(Launch(arms={**one.arms, "other": one.arms["kernel"]}) for one in _of(NOW))),
            "those of other in launch 1 are those of kernel in launch 1,",
        ),
        (
            _with(NOW, *_of(NOW)[:3], Launch(arms={**_of(NOW)[3].arms, "other": _of(THEN)[2].arms["kernel"]})),
            "those of other in launch 4 are those of kernel in launch 3 of the baseline",
        ),
    ],
    ids=["the baseline itself", "diluted by the baseline", "a process twice", "both sides", "the reference"],
)
def test_samples_that_stand_twice_are_refused(now: Recording, said: str) -> None:
    found = _judged(now)
    assert (found.status, found.reason, found.exit_code) == (Status.INVALID, "equal-samples", 2)
    assert said in found.text


def test_both_sides_alike_are_refused_without_a_baseline_too() -> None:
    alike = _with(NOW, *(Launch(arms={**one.arms, "other": one.arms["kernel"]}) for one in _of(NOW)))
    assert _judged(alike, None).reason == "equal-samples"


def test_samples_of_its_own_are_judged_and_the_controls_may_be_the_baselines() -> None:
    control = _of(THEN)[0].arms["control"]
    assert (
        _judged(_with(NOW, *(Launch(arms={**one.arms, "control": control}) for one in _of(NOW)))).status is Status.SAME
    )


@pytest.mark.parametrize(
    ("times", "copied"),
    [
        ((3e-6,) * 40, False),
        ((3e-6, 4e-6) * 20, False),
        ((3e-6, 4e-6, 5e-6), False),
        ((3e-6,) * 38 + (4e-6, 5e-6), False),
        ((3e-6, 4e-6, 5e-6) * 10, True),
        (tuple(3e-6 + n * 1e-9 for n in range(10)), True),
    ],
    ids=["one number", "two", "three samples", "hardly any other", "three again and again", "ten numbers"],
)
def test_equal_lists_count_where_chance_would_hardly_give_them_again(times: tuple[float, ...], *, copied: bool) -> None:
    then = _with(THEN, Launch(arms={"kernel": times}))
    assert (_judged(then, then).reason == "equal-samples") == copied


def test_short_lists_count_together() -> None:
    five = [tuple(3e-6 + (n * 5 + m) * 1e-9 for m in range(5)) for n in range(4)]
    once, twice = (_with(THEN, *(Launch(arms={"kernel": times}) for times in some)) for some in (five[:1], five[:2]))
    assert _judged(once, _with(THEN, *(Launch(arms={"kernel": times}) for times in five))).reason != "equal-samples"
    assert _judged(twice, _with(THEN, *(Launch(arms={"kernel": times}) for times in five))).reason == "equal-samples"
