"""What a reader sees of verdicts, on 80 columns, in Markdown, in JSON and in JUnit; nothing is decided here."""

from __future__ import annotations

import dataclasses
import json
from xml.etree import ElementTree as ET

import pytest

from perfgate.compare.roofline import metrics
from perfgate.console import Look
from perfgate.hardware.gpus import card
from perfgate.records import Aside, Status, Verdict
from perfgate.report import verdicts as shown
from perfgate.report.text import format_text, summary
from perfgate.report.verdicts import format_json, format_markdown, junit
from perfgate.store.run import RunRecord, StageResult
from pty_support import visible

CONTRACT = {"flops": 2 * 4096**3, "min_bytes": 3 * 4096**2 * 4, "unit": "tf32"}
METRICS = metrics(CONTRACT, 1.652e-3, control_seconds=0.345e-3, card=card("NVIDIA H100 80GB HBM3"))
NOTHING_KNOWN = metrics({}, 1.0)


def verdict(case: str, status: Status, **known: object) -> Verdict:
    made = Verdict(case=case, status=status, reason=status.lower(), text=f"{case}: said.", ratio=1.0052, low=0.8766)
    return dataclasses.replace(made, **{"high": 1.1234, "limit": 1.016, **known})  # type: ignore[arg-type]


SAME = verdict("k1_sq4096", Status.SAME, ratio=1.0, low=0.99, high=1.01, limit=1.005)
SLOWER = verdict("k" * 40, Status.SLOWER, text=f"{'k' * 40}: {'slow ' * 40}.")
INVALID = Verdict(case="x", status=Status.INVALID, reason="busy", text="x: busy.")
WRONG = Verdict(case="w", status=Status.INVALID, reason="wrong-result", text="w: wrong.", wrong=True)
EVIL = Verdict(case="a|b\n# c", status=Status.INVALID, reason="x", text="<img src=x> @everyone [l](u) \x1b[31m.")


# Order, counts and words.


def test_what_matters_most_is_first_and_counted_first() -> None:
    every = [SAME, verdict("f", Status.FASTER), verdict("u", Status.UNSURE), INVALID, SLOWER, WRONG, SAME]
    assert [shown.word(one) for one in shown.worst_first(every)][:2] == ["SLOWER", "WRONG"]  # the same exit code
    assert [shown.word(one) for one in sorted(every, key=shown.rank)] == [*shown.ORDER, "SAME"]
    assert shown.counted(every) == "1 FASTER, 1 INVALID, 2 SAME, 1 SLOWER, 1 UNSURE, 1 WRONG"
    assert shown.counted_worst_first(every) == "1 wrong, 1 slower, 1 invalid, 1 unsure, 1 faster, 2 same"
    assert [shown.matters(one) for one in every] == [False, *[True] * 5, False]


def test_an_exit_code_means_one_thing_in_a_terminals_words_and_in_githubs() -> None:
    assert shown.MEANING.keys() == shown.MEANING_ON_GITHUB.keys() == {0, 1, 2, 3}
    assert (shown.MEANING[2], shown.MEANING_ON_GITHUB[2]) == ("could not compare", "could not be judged")


def test_nothing_judged_is_never_a_pass() -> None:
    assert "nothing was judged; could not compare, exit 2" in format_text([])
    assert json.loads(format_json([]))["exit"] == 2


@pytest.mark.parametrize("form", [format_text, format_markdown])
def test_text_from_a_file_cannot_break_out_of_the_report(form: object) -> None:
    text = form([EVIL], metrics={"k": METRICS})  # type: ignore[operator]
    assert "\n# c" not in text
    assert "\x1b" not in text
    assert [part for part in ("<img", "@everyone", "[l](u)") if form is format_markdown and part in text] == []


# The terminal.


def test_a_wrong_kernel_shows_no_speed() -> None:
    text = format_text([WRONG], metrics={"w": METRICS})
    assert "1.652" not in text
    assert "1 WRONG" in text
    assert shown.cells(WRONG, METRICS)["time"] == "-"


def test_a_brief_report_names_every_case_and_explains_a_few() -> None:
    aside = Aside(text="small steps.", matters=True)
    same = verdict("fine", Status.SAME, text="fine: unchanged.", asides=(aside,))
    wrong = [dataclasses.replace(WRONG, case=f"case{i}", text=f"case{i}: off.") for i in range(8)]
    said = format_text([same, *wrong], brief=True)
    assert all(f"case{i} " in said for i in range(8))
    assert said.count("off.") == 5
    assert "… and 3 more of wrong-result" in said
    assert "unchanged" not in said
    assert "\nfine: small steps.\n" in said
    assert format_text([same, *wrong]).count("off.") == 8


def test_a_change_is_as_fine_as_its_column_has_room_for() -> None:
    odd = verdict("odd", Status.SLOWER, ratio=1e9, low=13.0, high=1e300, limit=2.0)
    text = format_text([verdict("k", Status.SAME), odd], metrics={"k": NOTHING_KNOWN})
    rows = {line.split()[0]: line.split()[2:] for line in text.splitlines() if line.startswith(("k ", "odd "))}
    assert rows["k"] == ["+0.52", "%", "-12.3", "to", "+12.3", "1.6", "1.000", "s"]
    assert rows["odd"] == [">9999", "%", "+1200", "to", ">9999", "1e+02", "-"]


def test_a_column_that_knows_nothing_is_left_out_and_so_is_what_is_said_of_it() -> None:
    text = format_text([verdict("k", Status.SAME)], metrics={"k": NOTHING_KNOWN})
    assert "roof" not in text
    assert "vs ctl" not in text
    assert "interval, limit in %" in text


@pytest.mark.parametrize("width", [40, 60, 78, 80, 120])
def test_the_table_keeps_to_its_width(width: int) -> None:
    cases = [verdict("k" * length, Status.INVALID) for length in (4, 20, 60)]
    text = format_text(cases, metrics={"kkkk": NOTHING_KNOWN}, look=Look(width=width, folds=True))
    head = text.splitlines()[0].split()
    assert max(map(len, text.split("\n\n")[0].splitlines())) <= width
    assert head[:3] == ["case", "status", "change"]
    assert ("interval" in head) == (width >= 60)


# A whole run in the terminal.


def stages(again: str = "python -m perfgate judge --current x.json") -> list[StageResult]:
    same, slow = verdict("fine", Status.SAME), verdict("slow", Status.SLOWER)
    return [
        StageResult(name="correctness", done="54 cases right", spent="3 s"),
        StageResult(name="compiled", done="2 cases for sm_89", verdicts=(same,)),
        StageResult(name="throughput", done="2 cases in 4 launches", verdicts=(slow, same), again=again),
    ]


def test_a_stage_that_could_not_be_judged_is_never_listed_as_judged() -> None:
    refused = Verdict(case="*", status=Status.INVALID, reason="refused", text="It turns every benchmark off.")
    done = [
        StageResult(name="correctness", verdicts=(refused,), spent="3 s"),
        StageResult(name="compiled", done="2 cases", note="of main", spent="4 s"),
        StageResult(name="throughput", left_out="no CUDA card"),
    ]
    said = summary(done, partial=False, code=2, total_s=7.4)
    assert said.splitlines()[0] == "correctness: NOT judged"
    assert "  note: of main" in said
    assert "throughput: NOT judged (no CUDA card)" in said
    assert "time: 7 s in all; correctness 3 s; compiled 4 s" in said
    last = "perf: could not compare, exit 2; judged: compiled; NOT judged: correctness, throughput"
    assert said.splitlines()[-1] == last


def test_a_quiet_run_says_what_needs_attention_and_how_it_ended() -> None:
    said = summary(stages(), partial=False, code=1, total_s=7.4, quiet=True)
    assert "SLOWER: slow: said." in said
    assert "python -m perfgate judge --current x.json" in said
    last = "perf: regression or wrong result, exit 1; judged: correctness, compiled, throughput"
    assert said.splitlines()[-1] == last
    assert [word for word in ("54 cases", "sm_89", "fine", "time:") if word in said] == []


def test_a_quiet_run_that_passes_is_one_line_and_a_note_on_what_judged_it() -> None:
    good = [*stages()[:2], StageResult(name="throughput", left_out="no CUDA card")]
    last = "perf: pass, exit 0; judged: correctness, compiled; NOT judged: throughput"
    assert summary(good, partial=False, code=0, total_s=1, quiet=True) == last
    good[1].note = "this change edits it"
    said = summary(good, partial=False, code=0, total_s=1, quiet=True)
    assert said.splitlines() == ["compiled: 2 cases for sm_89", "  note: this change edits it", last]


def test_a_summary_fits_the_terminal_but_for_the_command_to_take() -> None:
    long = stages(again=f"python -m perfgate judge --current {'x' * 100}")
    said = summary(long, partial=True, code=1, total_s=7.4, look=Look(folds=True, colour=True))
    wide = [line for line in visible(said).splitlines() if len(line) > 80]
    assert [line.split()[:4] for line in wide] == [["python", "-m", "perfgate", "judge"]]
    assert "\x1b[31mregression or wrong result\x1b[0m, exit 1" in said
    assert "\x1b[31mSLOWER \x1b[0m" in said


# Files for programs and for pull requests.


def test_a_run_is_junit_as_its_readers_expect_it() -> None:
    aside = Aside(text="And this.", matters=True)
    slower = Verdict(case="a", status=Status.SLOWER, reason="slower", text="a: so.", asides=(aside,))
    same = Verdict(case="b", status=Status.SAME, reason="same", text="b: so.", asides=(aside,))
    wrong = dataclasses.replace(WRONG, case="c")
    done = (
        StageResult(name="compiled", done="x", passed=("c", "d"), verdicts=(slower, same, wrong, INVALID)),
        StageResult(name="throughput"),
        StageResult(name="other", left_out="line\nline"),
    )
    assert junit(RunRecord(environment={}, exit=1, stages=done)) == (
        "<?xml version='1.0' encoding='utf-8'?>\n"
        """\
<testsuites name="perfgate">
  <testsuite name="compiled" failures="2" errors="1" skipped="0" tests="5">
    <testcase classname="perfgate.compiled" name="d" />
    <testcase classname="perfgate.compiled" name="a">
      <failure type="SLOWER slower" message="a: so. And this." />
    </testcase>
    <testcase classname="perfgate.compiled" name="b">
      <system-out>SAME: b: so. And this.</system-out>
    </testcase>
    <testcase classname="perfgate.compiled" name="c">
      <failure type="INVALID wrong-result" message="w: wrong." />
    </testcase>
    <testcase classname="perfgate.compiled" name="x">
      <error type="INVALID busy" message="x: busy." />
    </testcase>
  </testsuite>
  <testsuite name="throughput" failures="0" errors="0" skipped="1" tests="1">
    <testcase classname="perfgate.throughput" name="*">
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
    evil = Verdict(case="a\x00]]>", status=Status.SLOWER, reason="x\x00", text="x\x1b[31m</testsuite>")
    stage = StageResult(name="throughput", done="x", verdicts=(evil,))
    (suite,) = ET.fromstring(junit(RunRecord(environment={}, exit=1, stages=(stage,))))  # noqa: S314 - our own text
    (test,) = suite
    assert [test.get("name"), *(child.get("type") for child in test)] == ["a?]]>", "SLOWER x?"]
