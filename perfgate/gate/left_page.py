"""The page that a run leaves, made by a process of its own: whatever becomes of it, the run's exit code stays what it is."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from perfgate import workers
from perfgate.hardware.gpus import slug
from perfgate.profiling.evidence import MOVED_FILE

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.measurement.session import Session, Stage

PAGE = "report.html"
_TIMEOUT_S = 600
"""A calibration's rates take a quarter of a minute, 500 cases half of one."""


def leave_page(session: Session, run: Path, timed: Stage | None) -> str:
    """Make the page; returns the line that names it, or says why there is none.

    Args:
        session: Of the run.
        run: Its file, ``run.json``.
        timed: The stage with samples, if there is one.
    """
    path = session.output / PAGE
    words = [sys.executable, "-m", "perfgate", "report", f"--output={path}", f"--keep={session.output}", str(run)]
    if timed:
        words += [str(session.output / "current.json")]
        words += [f"--baseline={timed.baseline}"] if timed.baseline else []
        words += [f"--calibration={recorded}" for recorded in _calibrations(session)]
        words += [f"--history={past}" for past in _history(session)]
        moved = session.output / MOVED_FILE
        words += [f"--counters={moved}"] if moved.is_file() else []
    try:
        done = _run(session, words)
    except subprocess.TimeoutExpired:
        return f"page: none, as it was not made within {_TIMEOUT_S} s; make it with python -m perfgate report {run}"
    if done.returncode:
        return f"page: none ({(done.stderr.strip().splitlines() or ['no message'])[-1]})"
    return done.stdout.strip().replace("report:", "page:", 1)


def _run(session: Session, words: list[str]) -> subprocess.CompletedProcess[str]:
    """It imports no kernel and gets the whole environment; it ends with the run."""
    return workers.run(words, cwd=session.settings.root, environment=os.environ, timeout_s=_TIMEOUT_S)


def _calibrations(session: Session) -> list[Path]:
    """Those of the card present."""
    environment = session.environment
    folder = slug(environment["gpu"], environment.get("code_path") or "native")
    return sorted((session.settings.root / session.settings.baselines / folder).glob("calibration*.json.gz"))


def _history(session: Session) -> list[Path]:
    """The past of the card's baselines, where git knows any."""
    environment, path = session.environment, session.output / "history.json"
    card = slug(environment["gpu"], environment.get("code_path") or "native")
    words = [sys.executable, "-m", "perfgate", "history", f"--gpu={card}", "--format=json"]
    done = _run(session, words)
    if done.returncode:
        return []
    path.write_text(done.stdout, encoding="utf-8")
    return [path]
