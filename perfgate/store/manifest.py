"""The ids of the suite's cases, as a file: what has to be in each stage of a run, for a reader without torch. Pure.

``python -m perfgate cases`` writes it into the folder of baselines. A test holds it to the suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfgate.records import SCHEMA
from perfgate.store.run import Reader

if TYPE_CHECKING:
    from types import ModuleType

FILE = "cases.json"


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Ids by stage."""

    checked: tuple[str, ...]
    compiled: tuple[str, ...]
    timed: tuple[str, ...]
    whole: bool = True
    """These are all there are; ids that were taken from a baseline may lack a new case."""


def of_suite(suite: ModuleType) -> Cases:
    """The ids of a suite's module: all are checked, and those to be timed are compiled as well."""
    timed = tuple(case.id for case in suite.CASES)
    return Cases(checked=tuple(case.id for case in suite.CHECKED), compiled=timed, timed=timed)


def cases_to_json(cases: Cases) -> dict[str, Any]:
    """The object that `read_cases` reads back."""
    lists = {"checked": list(cases.checked), "compiled": list(cases.compiled), "timed": list(cases.timed)}
    return {"schema": SCHEMA} | lists


def read_cases(text: str | bytes, *, source: str) -> Cases:
    """Read the file.

    Raises:
        GateError: ``not-json``, ``other-schema`` or ``malformed``; also for a list that is empty or names a case twice.
    """
    read = Reader(source)
    root = read.document(text)
    checked, compiled, timed = (read.texts(root, stage) for stage in ("checked", "compiled", "timed"))
    found = Cases(checked=checked, compiled=compiled, timed=timed)
    for stage in (found.checked, found.compiled, found.timed):
        if not stage or len(set(stage)) < len(stage):
            read.refuse("has a list that is empty or names a case twice", "every case once, in each stage")
    return found
