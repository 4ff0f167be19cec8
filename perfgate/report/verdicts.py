"""How verdicts are put before any reader: order, counts, words, columns, and the files for programs. Decides nothing.

The terminal (`text`), the page of a run (`view`) and the pages on GitHub say what is said here. What comes from files is
untrusted text: control characters are shown as ``?``, Markdown's own are escaped.
"""

from __future__ import annotations

import json
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from perfgate.records import SCHEMA, Status, exit_code
from perfgate.text import NONE, allowed, duration, escaped, number, percent, pipes, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.records import Verdict
    from perfgate.store.run import RunRecord, StageResult

_MEANINGS = {
    0: ("pass", "pass"),
    1: ("regression or wrong result", "regression"),
    2: ("could not compare", "could not be judged"),
    3: ("unsure", "undecided"),
}
MEANING = {code: here for code, (here, _) in _MEANINGS.items()}
"""Of an exit code, in a terminal and on the page of a run."""
MEANING_ON_GITHUB = {code: there for code, (_, there) in _MEANINGS.items()}
"""The same in a comment, which says of a wrong result that it is one."""
WRONG = "WRONG"
"""In place of the status of a case whose result is wrong."""
ORDER = (WRONG, *map(str, (Status.SLOWER, Status.INVALID, Status.UNSURE, Status.FASTER, Status.SAME)))
"""Of importance: what a reader has to see first."""
TIMED = "throughput"
"""The stage whose verdicts are on times."""
RATES = ("TFLOPS", "GB/s", "roof", "vs ctl")
"""Columns of what a time means."""
_HEAD = ("case", "status", "time", "change", *RATES)
_FAILED = 1
"""The exit code of what is wrong or slower; other non-zero codes are of what could not be judged."""
_POINTS = 5
"""Characters of a change in percent, where room is short."""


def word(verdict: Verdict) -> str:
    """A status, and of a wrong result that it is one."""
    return WRONG if verdict.wrong else str(verdict.status)


def rank(verdict: Verdict) -> int:
    """Place in `ORDER`."""
    return ORDER.index(word(verdict))


def matters(verdict: Verdict) -> bool:
    """Whether something was found that is not as it was."""
    return word(verdict) != Status.SAME


def worst_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """In order of exit code, which is that of importance; what passes last."""
    return sorted(verdicts, key=lambda verdict: verdict.exit_code or 4)


def first_of_each(verdicts: Sequence[Verdict], most: int) -> tuple[list[Verdict], dict[str, int]]:
    """Of each reason so many, the worst first; and by reason, how many more there are."""
    spoken = Counter[str]()
    first = []
    for verdict in worst_first(verdicts):
        spoken[verdict.reason] += 1
        first += [verdict] if spoken[verdict.reason] <= most else []
    return first, {reason: count - most for reason, count in spoken.items() if count > most}


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many there are of each status, by name; empty where there are none."""
    counts = Counter(map(word, verdicts))
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))


def counted_worst_first(verdicts: Sequence[Verdict]) -> str:
    """The same, the worst first and in lower case, as a headline has it."""
    counts = Counter(map(word, verdicts))
    return ", ".join(f"{counts[status]} {status.lower()}" for status in ORDER if counts[status])


def outcome(verdicts: Sequence[Verdict], partial: tuple[int, int] | None) -> str:
    """How many of each status, and what that means, in a line."""
    code = exit_code(list(verdicts))
    chosen = f"partial: {partial[0]} of {partial[1]} cases, as selected; " if partial else ""
    return f"{chosen}{counted(verdicts) or 'nothing was judged'}; {MEANING[code]}, exit {code}"


def ending(stages: Mapping[str, str], *, partial: bool, code: int) -> str:
    """How a whole run ended, and which stages (name: what was judged) were judged."""
    judged = ", ".join(name for name, done in stages.items() if done) or "nothing"
    not_judged = ", ".join(name for name, done in stages.items() if not done)
    chosen, rest = "partial on purpose; " if partial else "", f"; NOT judged: {not_judged}" if not_judged else ""
    return f"{chosen}{MEANING[code]}, exit {code}; judged: {judged}{rest}"


def machine_ratios(verdicts: Sequence[Verdict]) -> list[float]:
    """Of the cases whose old code was measured again: its time now over its time then, in rising order."""
    return sorted(aside.ratio for verdict in verdicts for aside in verdict.asides if aside.ratio is not None)


def machine(verdicts: Sequence[Verdict]) -> str:
    """What the machine did, over all cases: the old code now against then; empty where none was measured again."""
    ratios = machine_ratios(verdicts)
    if not ratios:
        return ""
    return (
        f"machine: the baseline's own code, measured again, is {percent(median(ratios))} from when it was recorded (median "
        f"of {len(ratios)} cases, {percent(ratios[0])} to {percent(ratios[-1])})"
    )


def said(verdict: Verdict) -> str:
    """A verdict's sentence with its status, and its reason where the sentence is about something else than times."""
    reason = f" {verdict.reason}" if verdict.status is Status.INVALID else ""
    return f"{verdict.status}{reason}: {verdict.text}"


def whole_text(verdict: Verdict) -> str:
    """A verdict's sentence and the lines beside it, as one."""
    return " ".join((verdict.text, *(aside.text for aside in verdict.asides)))


def cells(verdict: Verdict | None, numbers: Metrics | None, *, narrow: bool = False) -> dict[str, str]:
    """Every column of a case's row; a dash for what is not known, and no speed of a wrong kernel.

    Args:
        verdict: On the case; None where there is none.
        numbers: What its time means.
        narrow: In as few characters as will do.
    """
    low, high, limit, ratio = (getattr(verdict, name, None) for name in ("low", "high", "limit", "ratio"))
    known = None if verdict is None or verdict.wrong else numbers
    change = (lambda value: f"{_points(value)} %") if narrow else percent
    bound = _points if narrow else percent
    within = NONE if limit is None else allowed(limit)
    return {
        "case": verdict.case if verdict else NONE,
        "status": str(verdict.status) if verdict else NONE,
        "change": NONE if ratio is None else change(ratio),
        "interval": NONE if low is None or high is None else f"{bound(low)} to {bound(high)}",
        "limit": within.removesuffix(" %") if narrow else within,
        "time": duration(known.seconds) if known else NONE,
        "TFLOPS": number(known.tflops if known else None, ".1f"),
        "GB/s": number(known.gb_per_s if known else None, ".0f"),
        "roof": number(known.roofline_share if known else None, ".0%"),
        "vs ctl": number(known.vs_control if known else None, ".2f"),
    }


def _points(ratio: float) -> str:
    """A ratio as a signed change in percent, as fine as a narrow column has room for."""
    points = (ratio - 1) * 100
    texts = (format(points, form) for form in ("+.2f", "+.1f", "+.0f"))
    return next((text for text in texts if len(text) <= _POINTS), ">9999")


def format_markdown(
    verdicts: Sequence[Verdict],
    *,
    metrics: Mapping[str, Metrics] | None = None,
    partial: tuple[int, int] | None = None,
    title: str = "perfgate",
) -> str:
    """A table and sentences for a comment or a job summary; those of passing cases are folded away.

    Args:
        verdicts: In the order to show.
        metrics: By case id, what the times mean; a case without shows dashes.
        partial: Cases judged and cases known, where the user chose some on purpose.
        title: Begins the first line.
    """
    lines = [f"**{escaped(title)}: {escaped(outcome(verdicts, partial))}**", ""]
    shown = [cells(one, (metrics or {}).get(one.case)) for one in verdicts if one.case != "*"]
    rows = [[escaped(row[name]) for name in _HEAD] for row in shown]  # `*` is about a file, not a case
    lines += [*pipes(_HEAD, rows, align="ll" + "r" * (len(_HEAD) - 2)), ""] if rows else []
    for verdict in worst_first(verdicts):
        if verdict.exit_code:
            lines.append(f"- **{verdict.status}** ({escaped(verdict.reason)}) {escaped(whole_text(verdict))}")
    passed = [verdict for verdict in verdicts if not verdict.exit_code]
    if passed:
        lines += ["", f"<details><summary>{len(passed)} passed</summary>", ""]
        lines += [f"- **{verdict.status}** {escaped(whole_text(verdict))}" for verdict in passed]
        lines += ["", "</details>"]
    return "\n".join(lines)


def format_json(verdicts: Sequence[Verdict]) -> str:
    """One object with the fixed keys; the same verdicts give the same bytes, in ASCII."""
    document = {
        "schema": SCHEMA,
        "exit": exit_code(list(verdicts)),
        "verdicts": [
            {
                "case": verdict.case,
                "status": str(verdict.status),
                "reason": verdict.reason,
                "ratio": verdict.ratio,
                "low": verdict.low,
                "high": verdict.high,
                "limit": verdict.limit,
                "text": whole_text(verdict),
            }
            for verdict in verdicts
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False)


def junit(run: RunRecord) -> str:
    """A run as JUnit XML, which continuous integration and editors read: a suite a stage, a test a case.

    The format is that of the Jenkins xUnit schema: what failed is a ``failure``, what could not be judged an ``error``; a
    stage that judged nothing is a suite with one skipped test that says why. No times: these are seconds of the kernel.
    """
    root = ET.Element("testsuites", name="perfgate")
    root.extend(map(_suite, run.stages))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(stage: StageResult) -> ET.Element:
    suite = ET.Element("testsuite", name=stage.name)
    judged = {verdict.case for verdict in stage.verdicts}
    tests = [_test(stage.name, case) for case in stage.passed if case not in judged]
    tests += [_judged(stage.name, verdict) for verdict in stage.verdicts]
    if not tests:
        left_out = _test(stage.name, "*")
        ET.SubElement(left_out, "skipped", message=plain(stage.left_out or "nothing was judged"))
        tests = [left_out]
    suite.extend(tests)
    for what, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(count, str(sum(test.find(what) is not None for test in tests)))
    suite.set("tests", str(len(tests)))
    return suite


def _test(stage: str, case: str) -> ET.Element:
    return ET.Element("testcase", classname=f"perfgate.{stage}", name=plain(case))


def _judged(stage: str, verdict: Verdict) -> ET.Element:
    test, text = _test(stage, verdict.case), plain(whole_text(verdict))
    if verdict.exit_code:
        kind = "failure" if verdict.exit_code == _FAILED else "error"
        ET.SubElement(test, kind, type=plain(f"{verdict.status} {verdict.reason}"), message=text)
    else:
        ET.SubElement(test, "system-out").text = f"{verdict.status}: {text}"
    return test
