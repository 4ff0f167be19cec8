"""Charts as they stand in the page: no style of their own, nothing that runs, short, and names that cover none."""

from __future__ import annotations

import math
import re

import pytest

import page_support
from perfgate.report import charts, overview
from perfgate.report.build import view
from perfgate.report.extras import Extras
from perfgate.report.inputs import of_run
from perfgate.report.placing import Box, placed
from perfgate.report.svg import COLOURS, compact, inline
from perfgate.report.view import Curve, View


@pytest.fixture(scope="module")
def found() -> View:
    recording, then = page_support.measured(), page_support.baseline()
    return view(of_run(page_support.run_of(recording, then), recording, then), Extras(), ())


@pytest.fixture(scope="module")
def drawn(found: View) -> list[str]:
    curve = Curve(
        gpu="a card",
        name="x",
        limit=0.5,
        cases=(((0.0, 0.0), (1.0, 100.0)),),
        whole=((0.0, 0.0, 0.0, 9.0), (1.0, 99.0, 90.0, 100.0)),
        head=(),
        rows=(),
        facts=(),
    )
    one = next(case for case in found.cases if case.speed)
    assert one.speed
    return [
        charts.case_chart(one.speed, name=one.name),
        overview.roofline(found.cards[0]),
        overview.beside_vendor(found.cards[0]),
        overview.detection(curve),
    ]


def test_a_chart_has_no_style_id_link_or_colour_of_its_own(drawn: list[str]) -> None:
    for chart in drawn:
        assert re.search(r"style=|\sid=|href|url\(|#0000|<style|<use|<image", chart) is None
        assert set(re.findall(r"<(\w+)", chart)) <= {"svg", "g", "path", "text", "title"}


def test_a_chart_says_in_words_what_it_shows(drawn: list[str]) -> None:
    for chart in drawn:
        assert re.search(r'role="img" aria-label="[^"]{40,}"', chart)


def test_every_sample_is_a_dot(found: View) -> None:
    for one in found.cases:
        if one.speed is None or one.speed.recorded is None:
            continue
        chart = charts.case_chart(one.speed, name=one.name)
        launches = [launch for side in (*one.speed.sides, one.speed.recorded) for launch in side.launches]
        of_the_change = 1 + len(one.speed.interval.shifts if one.speed.interval else ())
        assert chart.count("h0") == sum(map(len, launches)) + of_the_change


def test_a_case_with_a_strange_name_is_drawn_as_it_is_called(found: View) -> None:
    name = '<b>&"$x^2$'
    recording = page_support.renamed(page_support.measured(), {"k7_small_k": name})
    card = view(of_run(page_support.run_of(recording), recording, None), Extras(), ()).cards[0]
    chart = overview.beside_vendor(card)
    assert "<b>" not in chart
    assert "&lt;b&gt;&amp;&quot;$x^2$</text>" in chart
    assert found.cards[0].gpu == card.gpu


def test_dots_are_said_one_from_the_other_to_a_tenth() -> None:
    path = "M 64.8 74.669608 \nL 64.8 74.669608 \nM 65.02 74.1 \nL 65.02 74.1 \n"
    assert compact(path) == "m64.8 74.7h0m.2-.6h0".replace(".2-", ".2 -")
    assert compact("M 1.04 2 \nL 3.06 -0.04 \nz \n") == "M 1 2 L 3.1 0 z"


def test_rounding_does_not_add_up_along_many_dots() -> None:
    points = [(n * 0.333, math.sin(n)) for n in range(500)]
    made = compact("".join(f"M {x:.6f} {y:.6f} \nL {x:.6f} {y:.6f} \n" for x, y in points))
    x = y = 0.0
    for (dx, dy), (at_x, at_y) in zip(re.findall(r"m(\S+) (\S+?)h0", made), points, strict=True):
        x, y = x + float(dx), y + float(dy)
        assert [x, y] == pytest.approx([at_x, at_y], abs=0.051)


@pytest.mark.parametrize("inner", ["<script>1</script>", "<image/>", '<path d="M 0 0" style="cursor: url(x)"/>'])
def test_what_no_chart_draws_is_refused(inner: str) -> None:
    with pytest.raises(ValueError, match="no chart"):
        inline(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">{inner}</svg>', label="x")


def test_a_colour_without_a_role_is_refused() -> None:
    assert len(set(COLOURS.values())) == len(COLOURS)
    with pytest.raises(KeyError):
        inline('<svg viewBox="0 0 1 1"><path d="M 0 0" style="fill: #ff0000"/></svg>', label="x")


def test_no_name_covers_another_a_dot_or_the_frame() -> None:
    at = [(50.0 + 3 * n % 40, 50.0 + 7 * n % 60) for n in range(30)]
    inside = Box(x=0, y=0, width=300, height=200)
    taken = [Box(x=60, y=100, width=80, height=20)]
    spots = [spot for spot in placed(at, [60.0] * 30, taken=taken, inside=inside) if spot]
    dots = [Box(x=x - 5, y=y - 5, width=10, height=10) for x, y in at]
    assert 2 <= len(spots) < 30
    assert not any(a.meets(b) for n, a in enumerate(spots) for b in (*spots[:n], *dots, *taken))
    assert all(map(inside.holds, spots))


def test_a_card_that_is_not_listed_has_no_roofline(found: View) -> None:
    from dataclasses import replace

    assert overview.roofline(replace(found.cards[0], dram_bytes_per_s=None, peaks={})) == ""
    assert overview.roofline(found.cards[0])
