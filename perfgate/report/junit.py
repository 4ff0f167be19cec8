"""A run as JUnit XML, which continuous integration and editors read: a suite a stage, a test a case. Pure.

The format is that of the Jenkins xUnit schema: what failed is a ``failure``, what could not be judged an ``error``.
No times: these are seconds of the kernel, not of the test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from perfgate.report.markdown import plain

if TYPE_CHECKING:
    from perfgate.records import Verdict
    from perfgate.store.run import RunRecord, StageRecord

_FAILED = 1
"""The exit code of what is wrong or slower; other non-zero codes are of what could not be judged."""


def junit(run: RunRecord) -> str:
    """The XML document; a stage that judged nothing is a suite with one skipped test that says why."""
    root = ET.Element("testsuites", name="perfgate")
    for stage in run.stages:
        root.append(_suite(stage))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(stage: StageRecord) -> ET.Element:
    suite = ET.Element("testsuite", name=stage.name)
    judged = {verdict.case for verdict in stage.verdicts}
    tests = [_test(stage.name, case) for case in stage.passed if case not in judged]
    tests += [_judged(stage.name, verdict) for verdict in stage.verdicts]
    if not tests:
        left_out = _test(stage.name, "*")
        ET.SubElement(left_out, "skipped", message=plain(stage.left_out or "nothing was judged"))
        tests = [left_out]
    suite.extend(tests)
    for what in ("failure", "error", "skipped"):
        count = sum(test.find(what) is not None for test in tests)
        suite.set({"failure": "failures", "error": "errors", "skipped": "skipped"}[what], str(count))
    suite.set("tests", str(len(tests)))
    return suite


def _test(stage: str, case: str) -> ET.Element:
    return ET.Element("testcase", classname=f"perfgate.{stage}", name=plain(case))


def _judged(stage: str, verdict: Verdict) -> ET.Element:
    test = _test(stage, verdict.case)
    said = plain(" ".join((verdict.text, *(aside.text for aside in verdict.asides))))
    if verdict.exit_code:
        kind = "failure" if verdict.exit_code == _FAILED else "error"
        ET.SubElement(test, kind, type=plain(f"{verdict.status} {verdict.reason}"), message=said)
    else:
        ET.SubElement(test, "system-out").text = f"{verdict.status}: {said}"
    return test
