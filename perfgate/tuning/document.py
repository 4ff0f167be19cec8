"""What tuning found, as one document: written after every step, read again to go on. Pure.

Owns the format of ``tune.json`` and what its numbers say together. By case id: ``note`` (why it is not tuned), ``failed``
(why it could not be measured), ``allowed``, ``left_out`` (counts by reason), ``current``, ``start``, ``kept``, ``screen``
(the first pass) and ``launches``, each ``{"seconds": {id: [s, …]}, "state": {…}}``, ``finalists``, and ``candidates`` by id:
``config``, ``kernels`` (facts), ``error``, ``pruned`` (the reason) and ``failed``, ``wrong`` where it gave no result.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from perfgate.compare.estimators import typical_seconds
from perfgate.records import SCHEMA, GateError
from perfgate.tuning.pruning import prune

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

_CASE = {"note": str, "candidates": dict, "left_out": dict}
_CANDIDATE = {"config": dict, "kernels": list, "error": str, "pruned": str}


class Timed(NamedTuple):
    """How long one candidate takes in one case."""

    seconds: float
    launches: int
    """How many that is of; 0 where it is of the first pass alone."""


def begin(about: Mapping[str, Any]) -> dict[str, Any]:
    """A document without cases."""
    return {"schema": SCHEMA, "about": dict(about), "cases": {}}


def add_cases(document: dict[str, Any], compiled: Mapping[str, dict[str, Any]]) -> None:
    """Take in what was compiled, with what its facts rule out."""
    for case, found in compiled.items():
        reasons = prune(found["candidates"], tuple(found.get("kept", ())))
        for name, one in found["candidates"].items():
            one["pruned"] = reasons.get(name, "")
        for why in reasons.values():
            found["left_out"][why] = found["left_out"].get(why, 0) + 1
        document["cases"][case] = {**found, "launches": []}


def read(path: Path, *, same: Mapping[str, Any]) -> dict[str, Any]:
    """Read a document to go on with.

    Args:
        path: The file.
        same: What of ``about`` has to be what it is now.

    Raises:
        GateError: ``unreadable``, or ``other-recording`` where it was made of or with something else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        sound = document["schema"] == SCHEMA and all(
            _has(case, _CASE) and all(_has(one, _CANDIDATE) for one in case["candidates"].values())
            for case in document["cases"].values()
        )
        about = dict(document["about"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GateError("unreadable", f"{path} cannot be gone on with ({error}); tune anew without --resume.") from None
    if not sound:
        raise GateError(
            "unreadable", f"{path} is not what tuning of schema {SCHEMA} wrote; tune anew without --resume."
        )
    for key, value in same.items():
        if about.get(key) != value:
            raise GateError(
                "other-recording",
                f"{path} was made with {key} {about.get(key)!r}, expected the {value!r} of now; tune anew without --resume.",
            )
    found: dict[str, Any] = document
    found["cases"] = {name: case for name, case in found["cases"].items() if case["candidates"] or case["note"]}
    for case in found["cases"].values():  # what could not be asked or measured then, perhaps can be now
        case.pop("failed", None)
    return found


def as_text(document: Mapping[str, Any]) -> str:
    """The document as JSON; candidates stay in order of promise."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def tuned(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The cases that run the tuned kernel and could be measured so far."""
    return {name: case for name, case in document["cases"].items() if not case["note"] and not case.get("failed")}


def running(case: Mapping[str, Any]) -> list[str]:
    """Ids of the candidates that nothing rules out so far."""
    return [name for name, one in case["candidates"].items() if not one["pruned"] and not one.get("failed")]


def screened(case: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each candidate in the first pass."""
    seconds = case.get("screen", {}).get("seconds", {})
    return {name: statistics.median(seconds[name]) for name in running(case) if seconds.get(name)}


def times(case: Mapping[str, Any]) -> dict[str, Timed]:
    """Seconds of every candidate: of the launches where it was in them, else of the first pass.

    The first pass is one process, whose clock and card were as they were; so its times are moved by as much as those of
    the candidates that are in both.
    """
    first, launches = screened(case), [launch["seconds"] for launch in case["launches"]]
    final = {}
    for name in running(case):
        if samples := [seconds[name] for seconds in launches if seconds.get(name)]:
            final[name] = Timed(typical_seconds(samples), len(samples))
    both = [final[name].seconds / first[name] for name in final if name in first]
    moved = statistics.median(both) if both else 1.0
    return {**{name: Timed(seconds * moved, 0) for name, seconds in first.items()}, **final}


def set_finalists(document: Mapping[str, Any], *, top: int, also: Collection[str]) -> None:
    """Choose what the launches time: the fastest of the first pass, the present choice, the starting tile, and others.

    Args:
        document: Whose screened cases get their finalists, where they have none.
        top: How many of the fastest.
        also: Ids to time wherever they run, so that lists can be compared on the same launches.
    """
    for case in tuned(document).values():
        first = screened(case)
        if first and "finalists" not in case:
            fastest = sorted(first, key=lambda name: (first[name], name))[:top]
            wanted = dict.fromkeys((*fastest, case["current"], case["start"], *also))
            case["finalists"] = [name for name in wanted if name in first]


def _has(entry: Mapping[str, Any], keys: Mapping[str, type]) -> bool:
    return all(isinstance(entry[key], kind) for key, kind in keys.items())
