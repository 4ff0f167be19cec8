"""What is printed to a terminal: it fits, and colour and rewriting are there only where they are wanted."""

from __future__ import annotations

import dataclasses
import io
import json
import re
import sys
from typing import TYPE_CHECKING

import pytest

from perfgate import console
from perfgate.console import PLAIN, Look
from perfgate.records import Status, Verdict
from perfgate.report.text import summary
from perfgate.store.run import StageResult
from pty_support import on_terminal, visible, widest
from recorded import document, recording

if TYPE_CHECKING:
    from pathlib import Path


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def look(**environment: str) -> Look:
    return console.look(Terminal(), {"TERM": "xterm", **environment})


# When there is colour, and when a line is rewritten.


def test_a_terminal_has_colour_and_rewrites() -> None:
    found = look()
    assert (found.colour, found.rewrites, found.folds) == (True, True, True)


@pytest.mark.parametrize("environment", [{"CI": "true"}, {"CI": "1"}, {"CI": "woodpecker"}])
def test_a_ci_job_gets_plain_lines_even_on_a_terminal(environment: dict[str, str]) -> None:
    assert look(**environment) == PLAIN


@pytest.mark.parametrize("said", ["", "0", "false", "False"])
def test_a_ci_variable_that_says_no_is_no_ci(said: str) -> None:
    assert look(CI=said).rewrites


def test_what_is_no_terminal_gets_plain_lines() -> None:
    assert console.look(io.StringIO(), {"TERM": "xterm"}) == PLAIN


def test_no_color_takes_the_colour_alone_and_counts_only_where_it_is_not_empty() -> None:
    assert (look(NO_COLOR="1").colour, look(NO_COLOR="1").rewrites) == (False, True)
    assert look(NO_COLOR="").colour


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_dumb_terminal_gets_neither(term: str) -> None:
    found = look(TERM=term)
    assert (found.colour, found.rewrites, found.folds) == (False, False, True)


@pytest.mark.parametrize(("columns", "taken"), [("80", 80), ("97", 97), ("300", 120), ("5", 40)])
def test_the_width_is_the_terminals_within_reason(columns: str, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert look().width == taken
    assert console.look(io.StringIO(), {}).width == 80


# A real program on a real terminal.


@pytest.fixture
def judging(tmp_path: Path) -> list[str]:
    """A command that judges slower, faster and unsure cases, one of them with a long name."""
    made = json.dumps(document(range(2), kernel="B1", other="A")).replace("tiny512", "a_case_of_a_very_long_name_512")
    (tmp_path / "now.json").write_text(made, encoding="utf-8")
    return [sys.executable, "-m", "perfgate", "judge", "--current", str(tmp_path / "now.json")]


@pytest.mark.parametrize("columns", [60, 80, 100, 200])
def test_what_is_judged_fits_the_terminal_and_colours_the_status_alone(judging: list[str], columns: int) -> None:
    text = on_terminal(judging, columns=columns)
    assert widest(text) <= min(columns, 120)
    assert "\x1b[31mSLOWER" in text
    assert "\x1b[33mUNSURE" in text
    coloured = {found.strip() for found in re.findall("\x1b\\[3[0-9]m(.*?)\x1b\\[0m", text)}
    assert coloured == {"SLOWER", "UNSURE"}
    assert "6 SLOWER, 1 UNSURE; regression or wrong result, exit 1" in " ".join(visible(text).split())


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"CI": "true"}, {"TERM": "dumb"}], ids=["no-color", "ci", "dumb"]
)
def test_no_escape_is_printed_where_none_is_wanted(judging: list[str], environment: dict[str, str]) -> None:
    text = on_terminal(judging, environment=environment)
    assert "\x1b" not in text
    assert "\r" not in text
    assert "SLOWER" in text


def test_json_and_markdown_have_no_colour_on_a_terminal(judging: list[str]) -> None:
    for form in ("json", "markdown"):
        assert "\x1b" not in on_terminal([*judging, "--format", form])


@pytest.mark.parametrize("look", [PLAIN, Look(folds=True, rewrites=True)], ids=["plain", "terminal"])
@pytest.mark.parametrize("long", ["k14_upper_triangular", "k9_tall_skinny"])
def test_the_indented_table_of_a_run_fits_80_columns(look: Look, long: str) -> None:
    found = recording(range(4), cases=("sq2048",))
    samples = dataclasses.replace(
        found.samples["sq2048"], case=long, contract={"flops": 10**10, "min_bytes": 10**8, "unit": "tf32"}
    )
    slower = Verdict(
        case=long, status=Status.SLOWER, reason="slower", text="x", ratio=1.0, low=0.8, high=1.1, limit=1.016
    )
    stage = StageResult(
        name="throughput",
        verdicts=(slower,),
        recording=dataclasses.replace(found, samples={long: samples}),
    )
    said = summary([stage], partial=False, code=0, total_s=1.0, look=look)
    head, row = (line for line in said.splitlines() if line.startswith(("  case", f"  {long} ")))
    assert head.split() == ["case", "status", "change", "interval", "limit", "time", "roof", "vs", "ctl"]
    assert max(len(head), len(row)) <= 80
