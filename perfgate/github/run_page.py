"""The page of one run by itself, such as that without a card, which is all that a fork's author gets at first. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.github.page import MEANING, counted, lines_of, sentence
from perfgate.report.markdown import escaped

if TYPE_CHECKING:
    from perfgate.store.run import RunRecord

_REPRODUCE = "nox -s perf"


def run_page(run: RunRecord) -> str:
    """What each stage judged and what it could not, then one line a case that matters."""
    known = run.environment
    where = known.get("gpu") or "a machine without a card"
    versions = f"torch {known.get('torch', 'unknown')}, Triton {known.get('triton', 'unknown')}"
    lines = [f"## perf: {MEANING[run.exit]}", "", f"On {escaped(where)}, {escaped(versions)}.", ""]
    for stage in run.stages:
        left_out = f" ({escaped(stage.left_out)})" if stage.left_out else ""
        lines.append(f"- **{escaped(stage.name)}:** {escaped(stage.done or 'NOT judged')}{left_out}")
        lines += [f"  - Note: {sentence(stage.note)}"] if stage.note else []
    if run.verdicts:
        lines += ["", f"{counted(run.verdicts)}.", "", *lines_of(run.verdicts)]
    return "\n".join([*lines, "", f"`{_REPRODUCE}` gives the same on any machine."])
