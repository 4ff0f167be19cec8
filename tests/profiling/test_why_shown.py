"""Where what moved with a time is shown: below the case's sentence in a run and on its page, and nowhere else."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from perfgate import workers
from perfgate.gate import left_page
from perfgate.measurement.session import Request, Session, Stage
from perfgate.records import Aside, Status, Verdict
from perfgate.report.console import Look
from perfgate.report.text import format_text, summary
from perfgate.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def verdict(case: str, status: Status) -> Verdict:
    aside = Aside(text=f"machine: {case}'s control.")
    return Verdict(case=case, status=status, reason=status.lower(), text=f"{case}: said.", asides=(aside,))


VERDICTS = tuple(verdict(str(status).lower(), status) for status in (Status.SLOWER, Status.SAME, Status.FASTER))
WHY = {
    "slower": ("counters of k: L2 hit rate 99.22 → 99.84 %", "machine code for sm_90: registers 90 → 100"),
    "faster": ("since the baseline\nthe clock went up",),
}


def test_it_stands_below_the_sentence_of_its_case_and_above_what_the_machine_did() -> None:
    lines = format_text(VERDICTS, brief=True, why=WHY).splitlines()
    at = lines.index("SLOWER: slower: said.")
    assert lines[at + 1 : at + 4] == [
        "  why: counters of k: L2 hit rate 99.22 → 99.84 %",
        "  why: machine code for sm_90: registers 90 → 100",
        "  machine: slower's control.",
    ]
    assert lines[lines.index("FASTER: faster: said.") + 1] == "  why: since the baseline?the clock went up"


def test_a_run_shows_it_in_a_terminal_that_it_fits_and_a_verdict_alone_has_none() -> None:
    stage = Stage(name="throughput", done="3 cases", verdicts=VERDICTS, why=WHY)
    said = summary([stage], partial=False, code=1, total_s=1.0, look=Look(width=50, folds=True))
    assert "    why: machine code for sm_90: registers 90 →\n" in said
    assert max(map(len, said.splitlines())) <= 50
    assert "why" not in summary([Stage(name="t", verdicts=VERDICTS)], partial=False, code=1, total_s=1.0)


def test_the_page_that_a_run_leaves_is_given_what_moved_where_anything_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: list[list[str]] = []

    def ran(command: list[str], **_: Any) -> SimpleNamespace:
        words.append(command)
        return SimpleNamespace(returncode=0, stdout="report: x")

    monkeypatch.setattr(workers, "run", ran)
    session = Session(
        settings=Settings(root=tmp_path),
        request=Request(),
        environment={"gpu": "NVIDIA L4"},
        output=tmp_path,
        checked=(),
        timed=(),
    )
    stage = Stage(name="throughput", verdicts=VERDICTS, why=WHY)
    left_page.leave_page(session, tmp_path / "run.json", stage)
    (tmp_path / "moved.json").touch()
    left_page.leave_page(session, tmp_path / "run.json", stage)
    left_page.leave_page(session, tmp_path / "run.json", None)
    given = [f"--counters={tmp_path}/moved.json" in command for command in words if "report" in command]
    assert given == [False, True, False]
