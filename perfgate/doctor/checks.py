"""Joins the checks of a machine and puts them into words: one line a check, or JSON. Pure."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from perfgate.doctor.card import card_checks, driver_checks
from perfgate.doctor.host import host_checks
from perfgate.doctor.records import Outcome
from perfgate.doctor.runner import runner_checks
from perfgate.records import SCHEMA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.doctor.records import Check, Facts

_WIDTH = max(len(outcome) for outcome in Outcome)
_FAULTY = 2


def examine(facts: Facts) -> tuple[Check, ...]:
    """Every check of a machine, always the same ones in the same order."""
    return (
        *host_checks(facts.host, facts.runner),
        *driver_checks(facts.driver),
        *card_checks(facts.card, facts.labels),
        *runner_checks(facts.runner),
    )


def exit_code(checks: Sequence[Check]) -> int:
    """2 where there is a fault, 0 otherwise; nothing checked is a fault."""
    return _FAULTY if not checks or any(check.outcome is Outcome.FAULT for check in checks) else 0


def format_text(checks: Sequence[Check]) -> str:
    """One line a check and one that counts them."""
    return "\n".join([*map(_line, checks), _count(checks)])


def format_json(checks: Sequence[Check]) -> str:
    """One object."""
    document = {
        "schema": SCHEMA,
        "exit": exit_code(checks),
        "checks": [
            {
                "name": check.name,
                "outcome": check.outcome.value,
                "found": check.found,
                "expected": check.expected,
                "remedy": check.remedy,
            }
            for check in checks
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=1)


def _line(check: Check) -> str:
    expected = f", expected {check.expected}" if check.expected else ""
    remedy = f"; {check.remedy}" if check.remedy else ""
    return " ".join(f"{check.outcome:<{_WIDTH}} {check.name}: {check.found}{expected}{remedy}".splitlines())


def _count(checks: Sequence[Check]) -> str:
    found = Counter(check.outcome for check in checks)
    faults, notes = found[Outcome.FAULT], found[Outcome.NOTE]
    left = f", {found[Outcome.UNCHECKED]} not checked" if found[Outcome.UNCHECKED] else ""
    return (
        f"doctor: {faults} fault{'' if faults == 1 else 's'}, {notes} note{'' if notes == 1 else 's'}, "
        f"{found[Outcome.OK]} ok{left}"
    )
