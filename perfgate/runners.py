"""Which cards are measured, on which runners: ``[tool.perfgate.cards]`` of a project file, one line a card. Pure."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from typing import Any

from perfgate.records import GateError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TABLE = "[tool.perfgate.cards]"
_FILE = "pyproject.toml"


@dataclass(frozen=True, kw_only=True)
class Runner:
    """One line of `_TABLE`: where a card is measured."""

    label: str
    slug: str


def runners(project_file: str) -> tuple[Runner, ...]:
    """The cards that are measured, from the text of a project file.

    Raises:
        GateError: ``no-cards`` where none is listed or a line is not a label and a slug.
    """
    try:
        table: Any = tomllib.loads(project_file)
    except tomllib.TOMLDecodeError as error:
        raise GateError("no-cards", f"{_FILE} is not valid TOML ({error}), expected {_TABLE} in it; mend it.") from None
    for key in ("tool", "perfgate", "cards"):
        table = table.get(key, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict) or not table:
        raise GateError("no-cards", f"{_FILE} lists no card in {_TABLE}, expected one line a card; add it.")
    for label, slug in table.items():
        for name in (label, slug):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise GateError(
                    "no-cards", f"{_TABLE} has {name!r}, expected a runner's label and a slug in lower case; mend it."
                )
    if len(set(table.values())) < len(table):
        raise GateError("no-cards", f"{_TABLE} names a slug twice, expected each card once; mend it.")
    return tuple(Runner(label=label, slug=slug) for label, slug in table.items())


def picked(label: str, project_file: str) -> Runner:
    """The runner of that label.

    Raises:
        GateError: ``no-cards`` when it is not listed.
    """
    every = {runner.label: runner for runner in runners(project_file)}
    if label not in every:
        raise GateError("no-cards", f"The card {label[:64]!r} is not in {_TABLE}, expected one of {', '.join(every)}.")
    return every[label]
