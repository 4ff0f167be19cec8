"""Reads measured counters of a case: a file of one profile, or a store of many. Refuses what is neither. Pure."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.hardware.gpus import slug
from perfgate.records import SCHEMA, GateError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PROFILE, _PROFILE_MAY = frozenset({"case", "metrics"}), frozenset({"source", "card"})
_STORE = frozenset({"schema", "card", "recorded_at", "cases"})
"""What a store has; its version guards the meaning of anything else in it."""


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Counters of one kernel."""

    name: str
    """As the profiler calls it; empty where the file does not say."""
    metrics: Mapping[str, float]
    """By the profiler's name."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Counters of every kernel that a case launches, and where they are from."""

    case: str
    kernels: tuple[Profile, ...]
    card: str
    """Slug of the card that was profiled; empty where the file does not say."""
    source: str
    """Who published or when it was recorded, or the file's name."""

    def to_json(self) -> dict[str, Any]:
        """The same as JSON types."""
        kernels = [{"name": one.name, "metrics": dict(one.metrics)} for one in self.kernels]
        return {"case": self.case, "card": self.card, "source": self.source, "kernels": kernels}


def counters_from_text(text: str, case: str, *, source: str) -> Counters:
    """The counters of a case.

    Args:
        text: What the file held: ``{"case": …, "metrics": {name: number}}``, or a store
            ``{"schema": 1, "card": …, "recorded_at": …, "cases": {case: {"kernels": [{"name": …, "metrics": …}]}}}``.
        case: Whose counters are wanted.
        source: The file, for sentences.

    Raises:
        GateError: ``bad-counters``, ``other-schema`` or ``other-case``.
    """
    try:
        document: object = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        _refuse(source, f"is not whole JSON ({error})")
    if not isinstance(document, dict):
        _refuse(source, "holds no object")
    if "cases" in document or "schema" in document:
        return _of_store(document, case, source)
    _needed(document, _PROFILE, source)
    if unknown := sorted(document.keys() - _PROFILE - _PROFILE_MAY):
        _refuse(source, f"has the unknown key {unknown[0]!r}")
    if document["case"] != case:
        raise GateError(
            "other-case", f"{source} has counters of {document['case']!r}, expected those of {case}; give that case's."
        )
    return Counters(
        case=case,
        kernels=(Profile(name="", metrics=_metrics(document["metrics"], source)),),
        card=slug(_text(document, "card", source)),
        source=_text(document, "source", source) or source,
    )


def _of_store(document: dict[str, Any], case: str, source: str) -> Counters:
    if type(document.get("schema")) is not int or document["schema"] != SCHEMA:
        raise GateError(
            "other-schema",
            f"{source} has schema {document.get('schema')!r}, expected counters of version {SCHEMA}; record them anew.",
        )
    _needed(document, _STORE, source)
    cases = document["cases"]
    if not isinstance(cases, dict):
        _refuse(source, "has no object of cases")
    if case not in cases:
        held = ", ".join(map(str, cases)) or "none"
        raise GateError("other-case", f"{source} has counters of {held}, expected those of {case}; profile that case.")
    entry = cases[case]
    kernels = entry.get("kernels") if isinstance(entry, dict) else None
    if not isinstance(kernels, list) or not kernels:
        _refuse(source, f"has no kernels of {case}")
    return Counters(
        case=case,
        kernels=tuple(_profile(kernel, source) for kernel in kernels),
        card=slug(_text(document, "card", source)),
        source=f"{_text(document, 'source', source) or source}, recorded {_text(document, 'recorded_at', source)}",
    )


def _profile(kernel: object, source: str) -> Profile:
    if not isinstance(kernel, dict) or not isinstance(kernel.get("name"), str):
        _refuse(source, "has a kernel without a name")
    return Profile(name=kernel["name"], metrics=_metrics(kernel.get("metrics"), source))


def _metrics(value: object, source: str) -> dict[str, float]:
    if not isinstance(value, dict) or not value:
        _refuse(source, "has no metrics")
    for name, number in value.items():
        if type(number) not in {int, float} or not math.isfinite(number):
            _refuse(source, f"has {number!r} as {name}")
    return value


def _needed(document: dict[str, Any], keys: frozenset[str], source: str) -> None:
    if missing := sorted(keys - document.keys()):
        _refuse(source, f"lacks {missing[0]!r}")


def _text(document: dict[str, Any], key: str, source: str) -> str:
    value = document.get(key, "")
    if not isinstance(value, str):
        _refuse(source, f"has {value!r} as {key}")
    return value


def _refuse(source: str, found: str) -> NoReturn:
    raise GateError(
        "bad-counters",
        f'{source} {found}, expected {{"case": …, "metrics": {{name: number}}}} or a store of counters; write it so.',
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, refusing a key that is there twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found
