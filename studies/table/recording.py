"""What the launches of the table left, as one JSON file a code path; written after each launch, read strictly. Pure.

A file holds ``about`` (card, versions, settings, date, command, commit), ``cases`` (contracts by id), ``launches`` (each
with ``cases`` by id: ``seconds``, the median of each arm, ``rounds``, ``errors``, ``config``, ``state``) and ``failed``.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from perfgate.records import SCHEMA, GateError
from studies.table.cases import ARMS

if TYPE_CHECKING:
    from pathlib import Path

_AGAIN = "measure again (nox -s table)"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An arm of a case that has no number, and why."""

    case: str
    arm: str
    why: str
    """One line."""
    wrong: bool = False
    """It ran or was to be built and the result is wrong or there is none; else it could not be measured."""


@dataclass(kw_only=True)
class Recording:
    """The launches of one code path."""

    about: dict[str, Any]
    cases: dict[str, dict[str, Any]]
    """Contracts of the cases that were to be measured, by id, in the order of the table."""
    launches: list[dict[str, dict[str, Any]]] = field(default_factory=list)
    """Of each launch, by case id, what it measured."""
    failed: list[Failure] = field(default_factory=list)

    @property
    def path(self) -> str:
        """The code path: ``native``, or the architecture that Triton lowered for."""
        return str(self.about["environment"]["code_path"])

    def write(self, path: Path) -> None:
        """Write it whole: a run that is cut short while it writes keeps what was there before."""
        document = {
            "schema": SCHEMA,
            "about": self.about,
            "cases": self.cases,
            "launches": [{"cases": launch} for launch in self.launches],
            "failed": [dataclasses.asdict(failure) for failure in self.failed],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        part.replace(path)


def read(path: Path) -> Recording:
    """Read a recording.

    Raises:
        GateError: ``unreadable`` or ``malformed``, with what was found and expected.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError(
            "unreadable", f"{path} cannot be read as JSON ({error}), expected a table's recording; {_AGAIN}."
        ) from None
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        found = document.get("schema") if isinstance(document, Mapping) else type(document).__name__
        raise GateError("malformed", f"{path} has schema {found!r}, expected {SCHEMA}; {_AGAIN}.")
    try:
        recording = Recording(
            about=dict(document["about"]),
            cases={str(case): dict(contract) for case, contract in document["cases"].items()},
            launches=[dict(launch["cases"]) for launch in document["launches"]],
            failed=[Failure(**failure) for failure in document["failed"]],
        )
        _check(recording)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise GateError(
            "malformed",
            f"{path} is no table's recording ({type(error).__name__}: {error}), expected about, cases, launches and "
            f"failed as this version writes them; {_AGAIN}.",
        ) from None
    return recording


def _check(recording: Recording) -> None:
    for key in ("environment", "settings", "recorded_at", "command", "commit", "launches"):
        recording.about[key]
    for contract in recording.cases.values():
        if not (int(contract["flops"]) > 0 and int(contract["min_bytes"]) > 0):
            raise ValueError("a case without work")
    for launch in recording.launches:
        for case, entry in launch.items():
            recording.cases[case]
            int(entry["rounds"]), dict(entry["state"]), dict(entry["errors"])
            for arm, seconds in entry["seconds"].items():
                if arm not in ARMS or type(seconds) is not float or not (isfinite(seconds) and seconds > 0):
                    raise ValueError(f"{case} has {arm} = {seconds!r}")
