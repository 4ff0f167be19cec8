"""Reports: what a reader sees, on 80 columns, in Markdown and in JSON; nothing is decided here."""

from __future__ import annotations

import json

import pytest

from perfgate.compare.roofline import Metrics, metrics
from perfgate.hardware.gpus import card
from perfgate.measurement.session import Stage
from perfgate.records import Status, Verdict
from perfgate.report.markdown import format_json, format_markdown
from perfgate.report.text import format_text, summary
from perfgate.text import change, duration, percent

CONTRACT = {"flops": 2 * 4096**3, "min_bytes": 3 * 4096**2 * 4, "unit": "tf32"}
METRICS = metrics(CONTRACT, 1.652e-3, control_seconds=0.345e-3, card=card("NVIDIA H100 80GB HBM3"))
SAME = Verdict(
    case="k1_sq4096",
    status=Status.SAME,
    reason="same",
    text="k1_sq4096: fine.",
    ratio=1.0,
    low=0.99,
    high=1.01,
    limit=1.005,
)
SLOWER = Verdict(
    case="k" * 40, status=Status.SLOWER, reason="slower", text=f"{'k' * 40}: {'slow ' * 40}.", ratio=1.0523
)
INVALID = Verdict(case="x", status=Status.INVALID, reason="busy", text="x: busy.")
WRONG = Verdict(case="w", status=Status.INVALID, reason="wrong-result", text="w: wrong.", wrong=True)


def test_metrics_follow_from_the_contract() -> None:
    assert METRICS.tflops == pytest.approx(83.19, abs=0.01)
    assert METRICS.gb_per_s == pytest.approx(121.9, abs=0.1)
    assert METRICS.roofline_share == pytest.approx(83.19 / 494.7, rel=1e-3)
    assert METRICS.vs_control == pytest.approx(0.345 / 1.652)


def test_a_memory_bound_case_is_held_against_the_memory() -> None:
    found = metrics({"flops": 1, "min_bytes": 3.35e9, "unit": "tf32"}, 2e-3, card=card("NVIDIA H100 80GB HBM3"))
    assert found.roofline_share == pytest.approx(0.5)


def test_what_is_not_known_is_none() -> None:
    expected = Metrics(
        seconds=1.0, control_seconds=None, tflops=None, gb_per_s=None, roofline_share=None, vs_control=None
    )
    assert metrics({}, 1.0) == expected
    assert metrics(CONTRACT, 1.0, card=card("unheard of")).roofline_share is None


def test_the_text_fits_80_columns_and_shows_every_number() -> None:
    text = format_text([SAME, SLOWER, INVALID], metrics={"k1_sq4096": METRICS})
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text.splitlines() if line.startswith("k1_sq4096 "))
    interval = ["-1.00", "to", "+1.00", "0.5"]
    assert row.split() == ["k1_sq4096", "SAME", "+0.00", "%", *interval, "1.652", "ms", "17%", "0.21"]


def test_the_worst_is_said_first_and_the_last_line_sums_up() -> None:
    lines = format_text([SAME, INVALID, SLOWER]).splitlines()
    sentences = [line for line in lines if line.startswith(("SAME:", "SLOWER:", "INVALID busy:"))]
    assert [line.split(":")[0] for line in sentences] == ["SLOWER", "INVALID busy", "SAME"]
    assert lines[-1] == "perfgate: 1 INVALID, 1 SAME, 1 SLOWER; regression or wrong result, exit 1"


def test_a_partial_run_says_so() -> None:
    assert "partial: 1 of 25 cases, as selected" in format_text([SAME], partial=(1, 25))
    assert "partial: 1 of 25 cases" in format_markdown([SAME], partial=(1, 25))


def test_nothing_judged_is_never_a_pass() -> None:
    assert "exit 2" in format_text([])
    assert json.loads(format_json([]))["exit"] == 2


def test_a_wrong_kernel_shows_no_speed() -> None:
    row = format_text([WRONG], metrics={"w": METRICS}).splitlines()[1]
    assert "1.652" not in row
    assert "1 WRONG" in format_text([WRONG])


def test_markdown_shows_failures_and_folds_passes() -> None:
    text = format_markdown([SAME, SLOWER], metrics={"k1_sq4096": METRICS})
    assert "- **SLOWER**" in text.split("<details>")[0]
    assert "fine" in text.split("<details>")[1]


def test_text_from_a_file_cannot_break_out_of_the_report() -> None:
    evil = Verdict(case="a|b\n# c", status=Status.INVALID, reason="x", text="<img src=x> @everyone [l](u) \x1b[31m.")
    shown = format_markdown([evil])
    assert "<img" not in shown
    assert "@everyone" not in shown
    assert "\n# c" not in shown
    assert "[l](u)" not in shown
    assert "\x1b" not in format_text([evil])


def test_json_is_one_object_with_the_fixed_keys() -> None:
    found = json.loads(format_json([SAME, INVALID]))
    assert found == {
        "schema": 1,
        "exit": 2,
        "verdicts": [
            {
                "case": "k1_sq4096",
                "status": "SAME",
                "reason": "same",
                "ratio": 1.0,
                "low": 0.99,
                "high": 1.01,
                "limit": 1.005,
                "text": "k1_sq4096: fine.",
            },
            {
                "case": "x",
                "status": "INVALID",
                "reason": "busy",
                "ratio": None,
                "low": None,
                "high": None,
                "limit": None,
                "text": "x: busy.",
            },
        ],
    }


def test_units_fit_the_time() -> None:
    assert [duration(s) for s in (2.5, 1.652e-3, 1.67e-5)] == ["2.500 s", "1.652 ms", "16.70 µs"]
    assert (percent(1.0123), percent(0.99)) == ("+1.23 %", "-1.00 %")
    assert change(1.0123, "it") == "1.23 % slower than it"
    assert change(0.9877, "it") == "1.23 % faster than it"
    assert change(1.00001, "it") == "unchanged from it"


def test_a_stage_that_could_not_be_judged_is_never_listed_as_judged() -> None:
    refused = Verdict(case="*", status=Status.INVALID, reason="refused", text="It turns every benchmark off.")
    stages = [
        Stage(name="correctness", verdicts=(refused,), spent="3 s"),
        Stage(name="compiled", done="2 cases", note="of main", spent="4 s"),
        Stage(name="throughput", left_out="no CUDA card"),
    ]
    said = summary(stages, partial=False, code=2, total_s=7.4)
    assert said.splitlines()[0] == "correctness: NOT judged"
    assert "  note: of main" in said
    assert "throughput: NOT judged (no CUDA card)" in said
    assert "time: 7 s in all; correctness 3 s; compiled 4 s" in said
    last = "perf: could not compare, exit 2; judged: compiled; NOT judged: correctness, throughput"
    assert said.splitlines()[-1] == last


def test_a_brief_report_names_every_case_and_explains_a_few() -> None:
    same = [Verdict(case="fine", status=Status.SAME, reason="same", text="fine: unchanged.")]
    wrong = [
        Verdict(case=f"case{i}", status=Status.INVALID, reason="wrong-result", text=f"case{i}: off.", wrong=True)
        for i in range(8)
    ]
    said = format_text([*same, *wrong], brief=True)
    assert all(f"case{i} " in said for i in range(8))
    assert said.count("off.") == 5
    assert "… and 3 more of wrong-result" in said
    assert "unchanged" not in said
    assert format_text([*same, *wrong]).count("off.") == 8
