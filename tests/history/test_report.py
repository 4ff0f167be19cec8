"""A history as text and JSON: 80 columns, every reason, and nothing hostile gets through."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from history_support import CARD, Past, facts
from perfgate.cli.history import main
from perfgate.config import Settings
from perfgate.history import collect
from perfgate.history.report import format_text, sparkline

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.history.points import History

EVIL = "[31m <img src=x> @everyone | [l](u) " + "long " * 40


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
    return collect.history(Settings(root=past.root))


@pytest.mark.parametrize("details", [False, True])
def test_the_text_fits_80_columns_and_shows_every_reason_and_what_is_left_out(found: History, *, details: bool) -> None:
    text = format_text(found, details=details)
    assert max(map(len, text.splitlines())) <= 80
    for said in ("the first machine code", "the first times", "a step that hurts", "left out: ", "not-json"):
        assert said in text
    assert not {"\x1b", "\x9b"} & {*text}
    assert "~+1" in text  # measured otherwise


def test_bars_grow_with_the_time_and_noise_stays_flat() -> None:
    assert sparkline([1.0, 2.0, 1.5]) == "▁█▅"
    assert set(sparkline([1.0, 1.001, 0.999])) == {"▁"}
    assert len(sparkline([1.0] * 50)) == 10


@pytest.mark.parametrize("form", ["text", "json"])
def test_the_command_prints_each_form_without_torch(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past(tmp_path / "project")
    past.baseline(1.0)
    monkeypatch.chdir(past.root)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["--format", form]) == 0
    shown = capsys.readouterr()
    assert "sq2048" in shown.out
    assert shown.err == ""
