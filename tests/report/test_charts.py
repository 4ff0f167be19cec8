"""Charts as they stand in the page: no style of their own, nothing that runs, short, and names that cover none."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

import page_support
from perfgate.report import charts
from perfgate.report.charts import Box, placed
from perfgate.report.svg import Plot, Scale, drawing, short
from perfgate.report.view import Interval


@pytest.fixture(scope="module")
def found() -> Any:
    return page_support.shown(page_support.measured(), page_support.baseline())


def test_a_chart_has_words_for_who_cannot_see_it_and_no_style_id_link_or_colour_of_its_own(found: Any) -> None:
    speed = found.cases[0].speed
    assert speed
    drawn = [charts.case_chart(speed, "x"), charts.roofline(found.cards[0]), charts.beside_vendor(found.cards[0])]
    for chart in drawn:
        assert re.search(r"style=|\sid=|href|url\(|#[0-9a-f]{3}|<style|<use|<image", chart) is None
        assert set(re.findall(r"<(\w+)", chart)) <= {"svg", "g", "path", "text", "title"}
        assert re.search(r'role="img" aria-label="[^"]{40,}"', chart)
    assert [chart.count("<svg") for chart in drawn] == [1, 2, 2]  # narrow and wide


def test_every_sample_is_a_dot_within_the_chart(found: Any) -> None:
    for one in found.cases:
        if one.speed is None:
            continue
        chart = charts.case_chart(one.speed, one.name)
        of_the_change = 1 + len(one.speed.shifts)
        samples = sum(len(launch) for side in one.speed.sides for launch in side.launches)
        assert chart.count("h0") == samples + of_the_change
        for path in re.findall(r'd="(m[^"]+)"', chart):
            x = y = 0.0
            for step_x, step_y in re.findall(r"m(\S+) (\S+?)h0", path):
                x, y = x + float(step_x), y + float(step_y)
                assert 0 < x < 360
                assert 0 < y < 288


def test_a_change_of_nothing_has_an_axis_too(found: Any) -> None:
    speed = found.cases[0].speed
    assert speed
    still = dataclasses.replace(speed, interval=Interval(1.0, 1.0, 1.0, 1.0), shifts=())
    assert "nan" not in charts.case_chart(still, "x")


def test_a_case_with_a_strange_name_is_drawn_as_it_is_called() -> None:
    name = '<b>&"$x^2$\x1b'
    recording = page_support.renamed(page_support.measured(), {"k7_small_k": name})
    card = page_support.shown(recording).cards[0]
    chart = charts.beside_vendor(card)
    assert "<b>" not in chart
    assert "&lt;b&gt;&amp;&#34;$x^2$?</text>" in chart


def test_a_card_that_is_not_listed_has_no_roofline_and_cases_without_a_control_no_vendor(found: Any) -> None:
    card = found.cards[0]
    assert charts.roofline(dataclasses.replace(card, known=None)) == ""
    alone = [one._replace(numbers=dataclasses.replace(one.numbers, vs_control=None)) for one in card.points]
    assert charts.beside_vendor(dataclasses.replace(card, points=tuple(alone))) == ""


def test_many_cases_are_ranked_without_names(found: Any) -> None:
    card = found.cards[0]
    many = charts.beside_vendor(dataclasses.replace(card, points=card.points * 13))
    assert many.count("<g ") == 2 * 65
    assert "cases by rank" in many
    assert "k7_small_k</text>" not in many


@pytest.mark.parametrize(
    ("scale", "marks"),
    [
        (Scale(low=-0.6, high=1.3, start=0, end=1), [-0.5, 0, 0.5, 1]),
        (Scale(low=0, high=1000, start=0, end=1), [0, 200, 400, 600, 800, 1000]),
        (Scale(low=0.5, high=2000, start=0, end=1, log=True), [1, 10, 100, 1000]),
        (Scale(low=15, high=120, start=0, end=1, log=True), [20, 50, 100]),
    ],
)
def test_an_axis_is_marked_at_round_values(scale: Scale, marks: list[float]) -> None:
    assert scale.marks() == pytest.approx(marks)
    assert (scale(scale.low), scale(scale.high)) == (0, 1)


def test_numbers_are_short_and_rounding_does_not_add_up_along_many_dots() -> None:
    assert [short(value) for value in (64.8, 0.04, -0.21, 3.06)] == ["64.8", "0", "-.2", "3.1"]
    plot = Plot(x=Scale(low=0, high=1, start=0, end=1), y=Scale(low=0, high=1, start=0, end=1))
    points = [(n * 0.333, math.sin(n)) for n in range(500)]
    plot.dots(points, "kernel", size=2)
    x = y = 0.0
    made = re.findall(r"m(\S+) (\S+?)h0", drawing(plot, width=1, height=1, label="x"))
    for (dx, dy), (at_x, at_y) in zip(made, points, strict=True):
        x, y = x + float(dx), y + float(dy)
        assert [x, y] == pytest.approx([at_x, at_y], abs=0.051)


def test_no_name_covers_another_a_dot_or_the_frame() -> None:
    at = [(50.0 + 3 * n % 40, 50.0 + 7 * n % 60) for n in range(30)]
    inside = Box(x=0, y=0, width=300, height=200)
    taken = [Box(x=60, y=100, width=80, height=20)]
    spots = [spot for spot in placed(at, [60.0] * 30, taken=taken, inside=inside) if spot]
    dots = [Box(x=x - 5, y=y - 5, width=10, height=10) for x, y in at]
    assert 2 <= len(spots) < 30
    assert not any(a.meets(b) for n, a in enumerate(spots) for b in (*spots[:n], *dots, *taken))
    assert all(map(inside.holds, spots))
