"""The page in a real browser: it renders, sorts, searches, links, prints, asks for nothing, and is accessible."""

from __future__ import annotations

import contextlib
import io
import re
from typing import TYPE_CHECKING, Any

import pytest

import page_support
from browser_support import DESKTOP, PHONE, browser, opened
from perfgate.cli import judge, report
from perfgate.store.recording import write_recording

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.browser
HOSTILE = {
    "k7_small_k": "<img src=https://evil.example/x onerror=window.hacked=1>",
    "sq1024_fp32": "</script><script>window.hacked=1</script>",
    "sq1024_fp16": "\"'><svg onload=window.hacked=1>",
    "sq1024_bf16": "$\\frac{1}{2}$ javascript:window.hacked=1 " + "long" * 60,
}
WAYS = [(size, scheme) for size in ("phone", "desktop") for scheme in ("light", "dark")]


def _page(path: Path, *words: str) -> Path:
    with contextlib.redirect_stdout(io.StringIO()):
        assert report.main([*words, "--output", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def started() -> Iterator[Any]:
    with browser() as one:
        yield one


@pytest.fixture(scope="module")
def run_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of five cases, one of them slower by real work, beside its baseline."""
    folder = tmp_path_factory.mktemp("run")
    files = page_support.write_run(folder, page_support.measured(), page_support.baseline())
    return _page(folder / "report.html", *files, "--baseline", str(page_support.BASELINE))


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    write_recording(folder / "current.json", page_support.renamed(page_support.measured(), HOSTILE))
    return _page(folder / "report.html", str(folder / "current.json"))


def _shape(size: str, scheme: str) -> dict[str, Any]:
    return {"viewport": PHONE if size == "phone" else DESKTOP, "color_scheme": scheme}


def _column(page: Any, number: int) -> list[str]:
    found: list[str] = page.locator(f"#page-table tbody tr:visible > :nth-child({number})").all_inner_texts()
    return found


@pytest.mark.parametrize(("size", "scheme"), WAYS)
def test_it_renders_without_an_error_a_request_or_a_sideways_scroll(
    started: Any, run_page: Path, size: str, scheme: str
) -> None:
    with opened(started, run_page, **_shape(size, scheme)) as (page, seen):
        assert page.locator("h1").inner_text() == "perfgate on NVIDIA H100 80GB HBM3"
        assert page.locator("svg.chart:visible").count() == 3  # the roofline, the vendor's, and the slower case's
        assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
        assert (seen.console, seen.errors, seen.requests) == ([], [], [])


@pytest.mark.parametrize(("size", "scheme"), WAYS)
def test_it_passes_axe_with_every_case_open(started: Any, run_page: Path, size: str, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    # The page's policy forbids scripts that are not its own, axe's too.
    with opened(started, run_page, **_shape(size, scheme), bypass_csp=True) as (page, _):
        page.click("#page-open")
        found = Axe().run(page).response
        assert [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        assert len(found["passes"]) > 20


def test_axe_would_notice(started: Any, run_page: Path) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with opened(started, run_page, bypass_csp=True) as (page, _):
        page.evaluate("document.querySelector('svg.wide').removeAttribute('aria-label')")
        assert [one["id"] for one in Axe().run(page).response["violations"]] == ["svg-img-alt"]


def test_a_column_sorts_both_ways_by_its_numbers_and_what_has_none_stays_last(started: Any, run_page: Path) -> None:
    with opened(started, run_page, viewport=DESKTOP) as (page, _):
        time = page.locator("#page-table thead th", has_text="time")
        for way, first in (("ascending", "14.90 µs"), ("descending", "2.269 ms")):
            time.locator("button").click()
            assert time.get_attribute("aria-sort") == way
            shown = _column(page, 6)
            assert (shown[0], shown[-2:]) == (first, ["-", "-"])
        assert page.locator("#page-table [aria-sort]").count() == 1
        assert page.locator("details.case h3").first.inner_text().split()[1] == "k7_small_k"


def test_it_sorts_by_keyboard(started: Any, run_page: Path) -> None:
    with opened(started, run_page, viewport=DESKTOP) as (page, _):
        page.focus("#page-close")
        page.keyboard.press("Tab")  # the table, which scrolls
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert page.locator("#page-table thead th").first.get_attribute("aria-sort") == "ascending"
        names = _column(page, 1)
        assert names == sorted(names)


def test_a_search_and_a_verdict_choose_rows_and_cases_and_say_how_many(started: Any, run_page: Path) -> None:
    with opened(started, run_page, viewport=DESKTOP) as (page, _):
        count = page.locator("#page-count[role=status]")
        assert count.inner_text() == "7 of 7 cases shown"
        page.fill("#page-search", "SQ1024")
        assert _column(page, 1) == ["sq1024_fp32", "sq1024_fp16", "sq1024_bf16"]
        assert count.inner_text() == "3 of 7 cases shown"
        assert page.locator("details.case:visible").count() == 3
        page.fill("#page-search", "")
        page.select_option("#page-status", "look")
        assert _column(page, 1) == ["k1_square"]


def test_a_link_opens_its_case_also_where_a_search_hides_it(started: Any, run_page: Path) -> None:
    with opened(started, run_page, "#k7_small_k", viewport=PHONE) as (page, seen):
        folded = page.locator("details.case", has=page.locator("#k7_small_k"))
        assert folded.get_attribute("open") is not None
        page.wait_for_function("document.activeElement.innerText.split(/\\s+/).join() === 'SAME,k7_small_k,+0.43,%'")
        assert 0 <= folded.bounding_box()["y"] < PHONE["height"]
        page.fill("#page-search", "k7")
        page.evaluate("location.hash = 'sq1024_fp32'")
        page.wait_for_function("document.activeElement.innerText.includes('sq1024_fp32')")
        assert page.locator("#sq1024_fp32").is_visible()
        assert seen.errors == []


def test_a_dot_leads_to_its_case(started: Any, run_page: Path) -> None:
    with opened(started, run_page, viewport=DESKTOP) as (page, _):
        dot = page.locator("svg.wide .dot[data-case=k7_small_k]").first
        assert dot.locator("title").text_content().startswith("k7_small_k: 2.269 ms; TFLOPS 60.6; ")
        dot.dispatch_event("click")
        page.wait_for_function("location.hash === '#k7_small_k'")
        assert page.locator("#k7_small_k").is_visible()


def test_everything_is_there_without_scripts(started: Any, run_page: Path) -> None:
    with opened(started, run_page, java_script_enabled=False) as (page, _):
        assert page.locator("#page-table tbody tr").count() == 7
        assert not page.locator("#page-controls").is_visible()
        assert page.locator("#page-table thead button").count() == 0
        assert page.locator("details.case").count() == 7


def test_print_leaves_out_what_is_folded_and_what_cannot_be_pressed(started: Any, run_page: Path) -> None:
    with opened(started, run_page, viewport=DESKTOP, color_scheme="dark") as (page, _):
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator("details.case:visible").count() == 1
        assert not page.locator("#page-controls").is_visible()
        assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"


def test_names_that_attack_are_only_read(started: Any, hostile_page: Path) -> None:
    with opened(started, hostile_page, viewport=PHONE) as (page, seen):
        page.click("#page-open")
        shown = _column(page, 1)
        assert [name for name in HOSTILE.values() if name not in shown] == []
        assert page.evaluate("window.hacked") is None
        assert (seen.console, seen.errors, seen.requests) == ([], [], [])
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


@pytest.mark.parametrize(
    "attack",
    [
        "document.body.insertAdjacentHTML('beforeend', '<img src=https://evil.example/x>')",
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))",
        "fetch('https://evil.example/x').catch(() => 0)",
        "document.body.insertAdjacentHTML('beforeend', '<p style=\"background: url(https://evil.example/x)\">')",
    ],
)
def test_the_policy_would_stop_what_got_through(started: Any, run_page: Path, attack: str) -> None:
    with opened(started, run_page) as (page, seen):
        page.evaluate(attack)
        page.wait_for_timeout(50)
        assert page.evaluate("window.hacked") is None
        assert any("Content Security Policy" in said for said in seen.console)


def test_the_page_and_the_terminal_agree_number_for_number(
    started: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, last = page_support.halves()
    write_recording(tmp_path / "then.json", first)
    write_recording(tmp_path / "now.json", last)
    sides = ["--baseline", str(tmp_path / "then.json")]
    made = _page(tmp_path / "report.html", str(tmp_path / "now.json"), *sides)
    assert judge.main([*sides, "--current", str(tmp_path / "now.json")]) == 0
    said = capsys.readouterr().out
    with opened(started, made, viewport=DESKTOP) as (page, _):
        page.click("#page-open")
        rows = [re.split(r"\s{1,}", line) for line in page.locator("#page-table tbody").inner_text().splitlines()]
        text = " ".join(page.locator("main").inner_text().split())
        outcome = page.locator(".outcome").inner_text()
    terminal = [line.split() for line in said.split("\n\n")[0].splitlines()[1:]]
    shown = {row[0]: row for row in rows}
    assert len(terminal) == 25
    for case, status, change, _, low, _, high, limit, *time, roof, beside in terminal:
        # the page says the unit of every number, and has two rates between time and roof
        row = shown[case]
        assert row[1:11] == [status, change, "%", low, "%", "to", high, "%", limit, "%"]
        assert (row[11:13], row[-2:]) == (time, [roof, beside])
    sentences = re.split(r"\n(?=[A-Z]+: )", said.split("\n\n")[2].strip().rpartition("\n")[0])
    assert len(sentences) == 25
    assert [one for one in sentences if " ".join(one.split()).partition(": ")[2] not in text] == []
    assert said.strip().endswith(outcome)
