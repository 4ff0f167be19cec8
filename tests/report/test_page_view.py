"""What the page shows, before it is HTML: the terminal's words, case by case, and nothing that was not judged."""

from __future__ import annotations

import dataclasses
import math
import statistics
from typing import TYPE_CHECKING

import pytest

import page_support
from perfgate.compare.judge import judge
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.limits import Limits
from perfgate.report import markdown
from perfgate.report.build import view
from perfgate.report.cases import anchors
from perfgate.report.extras import Counter, Extras, Step
from perfgate.report.inputs import of_run
from perfgate.report.times import speed

if TYPE_CHECKING:
    from perfgate.records import Recording, Verdict
    from perfgate.report.view import CaseView, View


def _view(recording: Recording, then: Recording | None = None, extras: Extras | None = None) -> View:
    return view(of_run(page_support.run_of(recording, then), recording, then), extras or Extras(), ())


def _case(found: View, name: str) -> CaseView:
    return next(one for one in found.cases if one.name == name)


def _verdicts(recording: Recording, then: Recording | None = None) -> dict[str, Verdict]:
    return {one.case: one for one in judge(then, recording, Limits(), selected=list(recording.samples))}


def test_every_row_has_the_words_of_the_terminals_row() -> None:
    recording, then = page_support.measured(), page_support.baseline()
    found = _view(recording, then)
    numbers = recording_metrics(recording, card(recording.environment["gpu"]))
    rows = markdown.table_rows(list(_verdicts(recording, then).values()), numbers)
    assert len(rows) == 5
    for case, status, time, change, *rates in rows:
        shown = dict(zip(found.head[1:], (cell.text for cell in _case(found, case).cells), strict=True))
        expected = dict(
            zip(("speed", "time", "change", *markdown.HEAD[4:]), (status, time, change, *rates), strict=True)
        )
        assert {key: shown[key] for key in expected} == expected


def test_an_interval_and_a_limit_are_those_of_the_sentence() -> None:
    recording = page_support.measured()
    found = _view(recording)
    for case, verdict in _verdicts(recording).items():
        shown = dict(zip(found.head[1:], (cell.text for cell in _case(found, case).cells), strict=True))
        assert f"interval {shown['interval']}, limit {shown['limit']}" in verdict.text


def test_a_verdicts_sentence_is_the_terminals() -> None:
    recording, then = page_support.measured(), page_support.baseline()
    found = _view(recording, then)
    for case, verdict in _verdicts(recording, then).items():
        (said,) = _case(found, case).sentences
        assert (said.text, said.asides) == (markdown.said(verdict), tuple(aside.text for aside in verdict.asides))


def test_what_needs_a_look_comes_first_and_of_one_reason_the_first_few() -> None:
    recording = page_support.many(7)
    slowed = page_support.measured(dict.fromkeys(page_support.QUICK, ("+5", "+0"))).samples
    spoilt = {
        case: dataclasses.replace(slowed[page_support.QUICK[number % 5]], case=case)
        for number, case in enumerate(recording.samples)
    }
    found = _view(dataclasses.replace(recording, samples=spoilt))
    assert [said.status for said in found.sentences] == ["SLOWER"] * 5
    assert found.unsaid == ("… and 2 more of slower",)
    assert all(one.attention for one in found.cases if one.speed)


def test_the_launches_ratios_are_shown_where_the_verdict_is_their_mean() -> None:
    recording = page_support.measured()
    verdict = _verdicts(recording)["k1_square"]
    shown = speed(recording.samples["k1_square"], None, verdict)
    assert shown is not None
    assert shown.interval is not None
    assert verdict.ratio is not None
    mean = math.exp(statistics.fmean(math.log(shift) for shift in shown.interval.shifts))
    assert mean == pytest.approx(verdict.ratio, rel=1e-9)
    assert len(shown.interval.shifts) == 4
    other = speed(recording.samples["k1_square"], None, dataclasses.replace(verdict, ratio=verdict.ratio * 1.0001))
    assert other is not None
    assert other.interval is not None
    assert other.interval.shifts == ()


def test_every_sample_is_on_the_chart_or_counted_beyond_it() -> None:
    recording, then = page_support.measured(), page_support.baseline()
    for one in _view(recording, then).cases:
        if one.speed is None or one.speed.recorded is None:
            assert one.name.startswith("edge_")
            continue
        sides = [*one.speed.sides, one.speed.recorded]
        seconds = [sample for side in sides for launch in side.launches for sample in launch]
        low, high = one.speed.axis_s
        assert len(seconds) == 4 * 2 * len(seconds) // 16 * 2  # both sides in 4 launches, the baseline in 8
        assert min(seconds) > low
        assert sum(sample > high for sample in seconds) == one.speed.above <= 0.02 * len(seconds) + 1
        assert ("above the axis" in one.speed.caption) == bool(one.speed.above)


def test_a_stray_sample_does_not_flatten_the_rest() -> None:
    recording = page_support.measured()
    one = recording.samples["k1_square"]
    arms = dict(one.launches[0].arms)
    arms["kernel"] = (1.0, *arms["kernel"][1:])
    spoilt = dataclasses.replace(one, launches=(dataclasses.replace(one.launches[0], arms=arms), *one.launches[1:]))
    shown = speed(spoilt, None, _verdicts(recording)["k1_square"])
    assert shown is not None
    assert shown.axis_s[1] < 0.002
    assert shown.above >= 1


def test_a_wrong_kernel_shows_no_times() -> None:
    recording = page_support.measured()
    one = recording.samples["k7_small_k"]
    launches = tuple(dataclasses.replace(launch, state={"correct": False}) for launch in one.launches)
    wrong = dataclasses.replace(
        recording, samples={**recording.samples, "k7_small_k": dataclasses.replace(one, launches=launches)}
    )
    found = _view(wrong)
    shown = _case(found, "k7_small_k")
    assert (shown.status, shown.change, shown.speed) == ("WRONG", "", None)
    assert [cell.text for cell in shown.cells][:5] == ["INVALID", "-", "-", "-", "-"]
    assert "k7_small_k" not in {point.name for point in found.cards[0].points}
    assert found.answers[0].text == "No: k7_small_k."


def test_a_run_without_a_card_says_what_was_not_judged() -> None:
    run = page_support.wrong_run()
    found = view(of_run(run, None, None), Extras(), ())
    assert found.head == ("case", "result")
    assert [(one.name, one.status) for one in found.cases] == [("edge_odd", "WRONG"), ("k1_square", "right")]
    assert found.answers[1].text == "NOT judged (no CUDA card)."
    assert found.outcome.endswith("NOT judged: throughput")


def test_a_case_is_linked_by_its_id_and_a_strange_one_by_its_number() -> None:
    found = anchors(["k7_small_k", "k1@card#2", "page-cases", "", "ünï", "a b"])
    assert found["k7_small_k"] == "k7_small_k"
    assert [found[case] for case in list(found)[1:]] == [f"page-case-{number}" for number in range(2, 7)]


def test_what_others_found_stands_with_its_case() -> None:
    extras = Extras(
        counters={"k1_square": (Counter(name="L2 hits", before="81 %", after="64 %", moved=True),)},
        moved_with_it={"k1_square": ("L2 hits fell from 81 % to 64 %.",)},
        history={
            "k1_square": (
                Step(commit="abc", date="2026-01-01", reason="first", time_s=0.001),
                Step(commit="def", date="2026-02-01", reason="tiles", time_s=0.0011),
            )
        },
    )
    found = _view(page_support.measured(), extras=extras)
    shown = _case(found, "k1_square")
    assert shown.counters[0].moved
    assert shown.history == (
        ("2026-01-01", "abc", "1.000 ms", "-", "first"),
        ("2026-02-01", "def", "1.100 ms", "+10.00 %", "tiles"),
    )
    assert found.answers[3].text == "L2 hits fell from 81 % to 64 %."
    assert _case(found, "k7_small_k").history == ()
