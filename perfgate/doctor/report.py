"""Joins the checks of a machine and puts them into words: one line a check, or JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from perfgate.doctor import gpu, host, runner
from perfgate.doctor.probe import Line, Outcome, Probe
from perfgate.records import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

_WIDTH = max(len(outcome) for outcome in Outcome)
_FAULTY = 2


def examine(probe: Probe) -> tuple[Line, ...]:
    """Every check of a machine, always the same ones in the same order."""
    lines = {
        **{name: check(probe) for name, check in host.CHECKS.items()},
        **gpu.examine(probe),
        **runner.examine(probe),
    }
    return tuple(replace(line, name=name) for name, line in lines.items())


def exit_code(lines: Sequence[Line]) -> int:
    """2 where there is a fault, 0 otherwise; nothing checked is a fault."""
    return _FAULTY if not lines or any(line.outcome is Outcome.FAULT for line in lines) else 0


def format_text(lines: Sequence[Line]) -> str:
    """One line a check and one that counts them."""
    return "\n".join([*map(_text, lines), _count(lines)])


def format_json(lines: Sequence[Line]) -> str:
    """One object."""
    document = {"schema": SCHEMA, "exit": exit_code(lines), "checks": [asdict(line) for line in lines]}
    return json.dumps(document, ensure_ascii=False, indent=1)


def _text(line: Line) -> str:
    expected = f", expected {line.expected}" if line.expected else ""
    remedy = f"; {line.remedy}" if line.remedy else ""
    return " ".join(f"{line.outcome:<{_WIDTH}} {line.name}: {line.found}{expected}{remedy}".splitlines())


def _count(lines: Sequence[Line]) -> str:
    found = Counter(line.outcome for line in lines)
    faults, notes = found[Outcome.FAULT], found[Outcome.NOTE]
    left = f", {found[Outcome.UNCHECKED]} not checked" if found[Outcome.UNCHECKED] else ""
    return (
        f"doctor: {faults} fault{'' if faults == 1 else 's'}, {notes} note{'' if notes == 1 else 's'}, "
        f"{found[Outcome.OK]} ok{left}"
    )
