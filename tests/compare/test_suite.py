"""The suite as a whole: a small change that many cases share, though none of them shows it alone."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import pytest

from perfgate.compare.judge import judge
from perfgate.config import Limits
from perfgate.records import Status, exit_code
from perfgate.report.text import format_text
from perfgate.report.verdicts import format_json
from recorded import CASES, FIRST_CARD, changed, recording

if TYPE_CHECKING:
    from collections.abc import Collection

    from perfgate.records import Recording, Verdict

LIMITS = Limits()
QUIET = tuple(case for case in CASES if case != "k9_8k")
"""Six cases, none of which is called for 0.4 %."""
ANCHOR = "baseline-commit"


def shifted(scale: float, *, cases: tuple[str, ...] = QUIET, kind: str = "ref") -> Recording:
    return recording(range(8), kernel="A2", other="A", other_kind=kind, scale=scale, cases=cases)


def with_code(found: Recording, equal: Collection[str]) -> Recording:
    coded = changed(found, code={"kernel": "a", "other": "b"})
    same = changed(found, code={"kernel": "a", "other": "a"})
    samples = {case: (same if case in equal else coded).samples[case] for case in found.samples}
    return dataclasses.replace(found, samples=samples)


def whole(verdicts: tuple[Verdict, ...]) -> list[Verdict]:
    """The verdicts on the suite as a whole; those of its cases come before."""
    found = [verdict for verdict in verdicts if verdict.case == "*"]
    assert list(verdicts[len(verdicts) - len(found) :]) == found
    return found


def test_a_small_slowdown_that_all_cases_share_is_slower_though_none_is_called_alone() -> None:
    found = judge(None, shifted(1.004), LIMITS)
    assert {verdict.status for verdict in found[:-1]} == {Status.SAME}
    (suite,) = whole(found)
    assert (suite.status, suite.reason, suite.exit_code) == (Status.SLOWER, "suite-slower", 1)
    assert suite.ratio == pytest.approx(1.004, abs=0.0005)
    assert suite.low is not None
    assert suite.low > 1
    assert suite.limit == 1.002
    assert exit_code(found) == 1
    assert suite.text.startswith(
        "the whole suite: 6 cases that show no change alone are 0.40 % slower on average (99.9 % "
    )


def test_a_small_speedup_that_all_cases_share_is_faster_and_passes() -> None:
    found = judge(None, shifted(0.996), LIMITS)
    (suite,) = whole(found)
    assert (suite.status, suite.reason, exit_code(found)) == (Status.FASTER, "suite-faster", 0)
    assert suite.ratio == pytest.approx(0.996, abs=0.0005)
    assert "0.40 % faster on average" in suite.text
    assert "nothing to do" in suite.text


def test_both_directions_are_told_at_the_same_size() -> None:
    for scale, reasons in ((1.0015, []), (0.9985, []), (1.0035, ["suite-slower"]), (0.9965, ["suite-faster"])):
        assert [verdict.reason for verdict in whole(judge(None, shifted(scale), LIMITS))] == reasons


def test_the_same_code_never_moves_the_suite_on_recorded_launches() -> None:
    chooser = random.Random(1)  # noqa: S311 - repeatable choices, no secret
    for _ in range(120):
        chosen = chooser.sample(range(20), 4)
        for kernel, other in (("A2", "A"), ("A", "A2")):
            assert not whole(judge(None, recording(chosen, kernel=kernel, other=other), LIMITS))


def test_cases_that_are_called_themselves_do_not_count_for_the_rest() -> None:
    found = judge(None, shifted(1.0, cases=CASES), LIMITS)
    assert not whole(found)
    one = recording(range(8), kernel="A2", other="A", scale={"sq2048": 1.1}, cases=CASES)
    found = judge(None, one, LIMITS)
    assert [verdict.case for verdict in found if verdict.status is Status.SLOWER] == ["sq2048"]
    assert not whole(found)


def test_cases_with_equal_code_do_not_count() -> None:
    slower = shifted(1.004)
    assert whole(judge(None, with_code(slower, ()), LIMITS))
    assert "5 cases" in whole(judge(None, with_code(slower, QUIET[5:]), LIMITS))[0].text
    assert not whole(judge(None, with_code(slower, QUIET[4:]), LIMITS))


@pytest.mark.parametrize(("count", "told"), [(6, True), (5, True), (4, False), (1, False)])
def test_fewer_than_five_cases_are_no_suite(count: int, *, told: bool) -> None:
    assert bool(whole(judge(None, shifted(1.004, cases=QUIET[:count]), LIMITS))) is told


def test_a_stored_comparison_has_no_view_of_the_suite() -> None:
    then = recording(FIRST_CARD[:8], cases=QUIET)
    assert not whole(judge(then, recording(FIRST_CARD[:8], kernel="A2", scale=1.004, cases=QUIET), LIMITS))
    assert not whole(judge(then, shifted(1.004), LIMITS))  # the other side is only the arbiter


def test_a_re_anchored_comparison_has_one() -> None:
    then = recording(FIRST_CARD[:8], cases=QUIET, scale=1.0001)
    (suite,) = whole(judge(then, shifted(1.004, kind=ANCHOR), LIMITS))
    assert suite.reason == "suite-slower"


def test_a_case_that_is_invalid_does_not_count() -> None:
    slower = shifted(1.004)
    samples = dict(slower.samples)
    for case in QUIET[:2]:
        launches = tuple(
            dataclasses.replace(launch, state={"foreign_processes": 1}) for launch in samples[case].launches
        )
        samples[case] = dataclasses.replace(samples[case], launches=launches)
    found = judge(None, dataclasses.replace(slower, samples=samples), LIMITS)
    assert sum(verdict.reason == "busy" for verdict in found) == 2
    assert not whole(found)


def test_the_limit_is_the_projects_own() -> None:
    assert not whole(judge(None, shifted(1.004), Limits(suite_tolerance=0.01)))
    assert whole(judge(None, shifted(1.0035), Limits(suite_tolerance=0.003)))


def test_cases_that_moved_apart_have_not_moved_as_a_whole() -> None:
    scales = dict(zip(QUIET, (1.004, 0.999, 1.004, 0.999, 1.004, 1.004), strict=True))
    now = recording(range(8), kernel="A2", other="A", scale=scales, cases=QUIET)
    assert not whole(judge(None, now, LIMITS))


def test_reports_show_the_suite_in_a_sentence_and_not_as_a_case() -> None:
    found = judge(None, shifted(1.004), LIMITS)
    shown = format_text(found, brief=True)
    assert "SLOWER: the whole suite: 6 cases" in " ".join(shown.split())
    assert shown.endswith("perfgate: 6 SAME, 1 SLOWER; regression or wrong result, exit 1")
    assert '"case": "*"' in format_json(found)
