"""The run as JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from perfgate.records import Aside, Status, Verdict
from perfgate.report.junit import junit
from perfgate.store.run import RunRecord, StageRecord


def _verdict(case: str, status: Status, *, wrong: bool = False) -> Verdict:
    return Verdict(case=case, status=status, reason="why", text=f"{case}: <so> & so.", wrong=wrong)


def _suites(*stages: StageRecord) -> list[ET.Element]:
    return list(ET.fromstring(junit(RunRecord(environment={}, exit=0, stages=stages))))  # noqa: S314 - our own text


def test_what_passed_failed_and_could_not_be_judged_are_told_apart() -> None:
    verdicts = (
        _verdict("a", Status.SAME),
        _verdict("b", Status.SLOWER),
        _verdict("c", Status.UNSURE),
        _verdict("d", Status.INVALID),
        _verdict("e", Status.INVALID, wrong=True),
        _verdict("f", Status.FASTER),
    )
    (suite,) = _suites(StageRecord(name="throughput", done="x", verdicts=verdicts))
    children = {test.get("name"): [child.tag for child in test] for test in suite}
    expected = {"a": "system-out", "b": "failure", "c": "error", "d": "error", "e": "failure", "f": "system-out"}
    assert children == {case: [tag] for case, tag in expected.items()}
    counts = {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "6", "failures": "2", "errors": "2", "skipped": "0"}


def test_cases_that_simply_passed_are_tests_too_and_none_is_there_twice() -> None:
    wrong = _verdict("b", Status.INVALID, wrong=True)
    (suite,) = _suites(StageRecord(name="correctness", done="x", passed=("a", "b"), verdicts=(wrong,)))
    assert [test.get("name") for test in suite] == ["a", "b"]


def test_a_stage_that_judged_nothing_is_skipped_and_says_why() -> None:
    (suite,) = _suites(StageRecord(name="throughput", left_out="no CUDA card"))
    (test,) = suite
    skipped = test.find("skipped")
    assert skipped is not None
    assert (suite.get("skipped"), skipped.get("message")) == ("1", "no CUDA card")


def test_the_whole_file_is_as_readers_of_junit_expect_it() -> None:
    aside = Aside(text="And this.", matters=True)
    slower = Verdict(case="a", status=Status.SLOWER, reason="slower", text="a: so.", asides=(aside,))
    same = Verdict(case="b", status=Status.SAME, reason="same", text="b: so.", asides=(aside,))
    stages = (
        StageRecord(name="compiled", done="x", passed=("c",), verdicts=(slower, same)),
        StageRecord(name="throughput"),
        StageRecord(name="other", left_out="line\nline"),
    )
    assert junit(RunRecord(environment={}, exit=1, stages=stages)) == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        """\
<testsuites name="perfgate">
  <testsuite name="compiled" failures="1" errors="0" skipped="0" tests="3">
    <testcase classname="perfgate.codegen.extract" name="c" />
    <testcase classname="perfgate.codegen.extract" name="a">
      <failure type="SLOWER slower" message="a: so. And this." />
    </testcase>
    <testcase classname="perfgate.codegen.extract" name="b">
      <system-out>SAME: b: so. And this.</system-out>
    </testcase>
  </testsuite>
  <testsuite name="throughput" failures="0" errors="0" skipped="1" tests="1">
    <testcase classname="perfgate.gate.throughput" name="*">
      <skipped message="nothing was judged" />
    </testcase>
  </testsuite>
  <testsuite name="other" failures="0" errors="0" skipped="1" tests="1">
    <testcase classname="perfgate.other" name="*">
      <skipped message="line?line" />
    </testcase>
  </testsuite>
</testsuites>
"""
    )


def test_text_that_is_no_xml_does_not_spoil_the_file() -> None:
    verdict = Verdict(case="a\x00]]>", status=Status.SLOWER, reason='"', text="x\x1b[31m</testsuite>")
    (suite,) = _suites(StageRecord(name="throughput", done="x", verdicts=(verdict,)))
    assert [test.get("name") for test in suite] == ["a?]]>"]
    verdict = Verdict(case="a", status=Status.SLOWER, reason="x\x00", text="x")
    (suite,) = _suites(StageRecord(name="throughput", done="x", verdicts=(verdict,)))
    assert [child.get("type") for test in suite for child in test] == ["SLOWER x?"]
