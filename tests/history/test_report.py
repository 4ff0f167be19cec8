"""A history as text, Markdown and JSON: 80 columns, every reason, and nothing hostile gets through."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from history_support import CARD, Past, facts
from perfgate.history import session
from perfgate.history.report import format_json, format_markdown, format_text, sparkline
from perfgate.settings import Settings

if TYPE_CHECKING:
    from perfgate.history.record import History

ROOT = Path(__file__).parents[2]
EVIL = "\x1b[31m <img src=x> @everyone | [l](u) \x9b" + "long " * 40


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> History:
    past = Past(tmp_path_factory.mktemp("history") / "project")
    past.compiled(facts(162), reason="the first machine code")
    past.baseline(1.0, "the first times", anchor=True)
    past.compiled(facts(162), reason="recorded again")
    past.baseline(1.05, "a step that hurts")
    past.baseline(12.0, EVIL, settings={"rounds": 7})
    past.spoil(f"{CARD}/matmul.json", b"{")
    past.compiled(facts(255, spills=12345, name=f"k{EVIL}"), facts(94))
    return session.history(Settings(root=past.root))


@pytest.mark.parametrize("details", [False, True])
def test_the_text_fits_80_columns_and_shows_every_reason_and_what_is_left_out(found: History, *, details: bool) -> None:
    text = format_text(found, details=details)
    assert max(map(len, text.splitlines())) <= 80
    for said in ("the first machine code", "the first times", "a step that hurts", "left out: ", "not-json"):
        assert said in text
    assert "\x1b" not in text
    assert "\x9b" not in text


def test_the_overview_has_a_line_a_case_with_change_drift_and_machine_code(found: History) -> None:
    row = next(line for line in format_text(found, details=False).splitlines() if line.startswith("sq2048"))
    assert "~+1100.00 %" in row
    assert row.split()[-3:] == ["255", "12345", "2"]


def test_the_details_have_a_line_a_point_with_its_step(found: History) -> None:
    text = format_text(found, details=True)
    part = text.split("sq2048  ")[1].split("\n\n")[0]
    steps = [line.split()[0] for line in part.splitlines()[2:5]]
    assert steps == ["2", "4", "5"]
    assert "+5.00 % +5.00 %!" in " ".join(part.split())
    assert "no drift of 5: the first baseline cannot be compared (other-settings)" in " ".join(part.split())
    assert "as in 1" in text


def test_markdown_lets_nothing_through(found: History) -> None:
    for details in (False, True):
        text = format_markdown(found, details=details)
        assert "<img" not in text
        assert "@everyone" not in text
        assert "[l](u)" not in text
        assert "a step that hurts" in text


def test_json_has_everything(found: History) -> None:
    document = json.loads(format_json(found))
    assert document.keys() == {"schema", "card", "target", "updates", "cases", "left_out", "notes"}
    assert document == json.loads(json.dumps({"schema": 1, **dataclasses.asdict(found)}))
    case = document["cases"][0]
    assert case["times"][1]["drift"]["exceeded"] is True
    assert document["updates"][case["times"][1]["update"]]["reasons"] == ["a step that hurts"]


def test_bars_grow_with_the_time_and_noise_stays_flat() -> None:
    assert sparkline([1.0, 2.0, 1.5]) == "▁█▅"
    assert set(sparkline([1.0, 1.001, 0.999])) == {"▁"}
    assert len(sparkline([1.0] * 50)) == 10


@pytest.mark.parametrize("form", ["text", "markdown", "json"])
def test_the_command_prints_each_form_without_torch(form: str, tmp_path: Path) -> None:
    past = Past(tmp_path / "project")
    past.baseline(1.0)
    code = (
        "import sys; sys.modules['torch'] = None; from perfgate import history; "
        f"sys.exit(history.main(['--format', {form!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=past.root,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "sq2048" in done.stdout
