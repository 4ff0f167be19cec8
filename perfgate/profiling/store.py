"""The store of counters: ``baselines/<card>/counters.json``, strict, versioned, written whole or not at all.

Owns the records and the format, which `brief_counters` reads too; judges nothing. Shares are in percent, all else in SI.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.files import write_whole
from perfgate.profiling.brief_counters import counters_from_text
from perfgate.profiling.metrics import METRICS
from perfgate.records import SCHEMA, GateError
from perfgate.store.recording import render

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class KernelCounters:
    """One kernel that a case launches, over several profiled calls."""

    name: str
    grid: tuple[int, int, int]
    metrics: Mapping[str, float]
    """By ncu's name, the median of the calls."""
    spread: Mapping[str, float]
    """The largest of the calls less the smallest."""


@dataclass(frozen=True, kw_only=True)
class CaseCounters:
    """Every kernel that a case launches, in launch order; one that is launched twice is here twice."""

    kernels: tuple[KernelCounters, ...]
    code: str
    """Hash of the code that was launched, as in the recordings of times; empty where it is not known."""
    calls: int
    """How many were profiled, over all processes."""
    commit: str = ""
    recorded_at: str = ""

    def titled(self) -> tuple[tuple[str, KernelCounters], ...]:
        """The kernels by a name of their own: one that is launched again is numbered (``name#2``)."""
        names = [kernel.name for kernel in self.kernels]
        numbers = [names[: at + 1].count(name) for at, name in enumerate(names)]
        titles = (name if number == 1 else f"{name}#{number}" for name, number in zip(names, numbers, strict=True))
        return tuple(zip(titles, self.kernels, strict=True))


@dataclass(frozen=True, kw_only=True)
class Store:
    """One file: the counters of some cases on one card."""

    card: str
    """The card's own name."""
    cases: Mapping[str, CaseCounters]
    environment: Mapping[str, str] = field(default_factory=dict)
    recorded_at: str = ""
    """ISO 8601, UTC."""
    commit: str = ""
    reason: str = ""
    source: str = ""
    """The file it was read from, for sentences."""


def read_store(path: Path, *, source: str = "") -> Store | None:
    """The store in a file, or None where there is no such file.

    Args:
        path: The file.
        source: What sentences call it; its path where that is empty.

    Raises:
        GateError: ``bad-counters`` or ``other-schema``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        _refuse(source or str(path), f"cannot be read ({type(error).__name__})")
    return store_from_text(text, source=source or str(path))


def store_from_text(text: str, *, source: str) -> Store:
    """A store from its JSON.

    Raises:
        GateError: ``bad-counters`` or ``other-schema``.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        _refuse(source, f"is not whole JSON ({error})")
    if not isinstance(document, dict) or not isinstance(document.get("cases"), dict):
        _refuse(source, "holds no object of cases")
    environment = document.get("environment")
    if not isinstance(environment, dict) or not all(isinstance(value, str) for value in environment.values()):
        _refuse(source, "has no usable environment")
    for case in document["cases"]:
        counters_from_text(text, case, source=source)  # refuses what is no store at all, and numbers that are none
    texts = {key: _text(document, key, source) for key in ("card", "recorded_at", "commit", "reason")}
    cases = {case: _case(entry, f"{source} of {case}") for case, entry in document["cases"].items()}
    return Store(cases=cases, environment=environment, source=source, **texts)


def _case(entry: dict[str, Any], source: str) -> CaseCounters:
    texts = {key: _text(entry, key, source) for key in ("code", "commit", "recorded_at")}
    calls = entry.get("calls")
    if type(calls) is not int or calls < 1:
        _refuse(source, f"has {calls!r} as calls")
    return CaseCounters(kernels=tuple(_kernel(one, source) for one in entry["kernels"]), calls=calls, **texts)


def _kernel(entry: dict[str, Any], source: str) -> KernelCounters:
    grid, spread = entry.get("grid"), entry.get("spread")
    if not isinstance(grid, list) or len(grid) != 3 or not all(type(size) is int for size in grid):  # noqa: PLR2004 - its axes
        _refuse(source, f"has {grid!r} as a grid")
    if not isinstance(spread, dict) or spread.keys() != entry["metrics"].keys():
        _refuse(source, "has no spread for each of its metrics")
    for name, value in spread.items():
        if type(value) not in {int, float} or not 0 <= value < float("inf"):
            _refuse(source, f"has {value!r} as the spread of {name}")
    if missing := next((metric.name for metric in METRICS if metric.name not in entry["metrics"]), None):
        _refuse(source, f"lacks {missing}")
    return KernelCounters(name=entry["name"], grid=(grid[0], grid[1], grid[2]), metrics=entry["metrics"], spread=spread)


def to_json(store: Store) -> dict[str, Any]:
    """The object that `store_from_text` reads back."""
    return {
        "schema": SCHEMA,
        "card": store.card,
        "recorded_at": store.recorded_at,
        "commit": store.commit,
        "reason": store.reason,
        "environment": dict(store.environment),
        "cases": {
            case: {
                "code": found.code,
                "calls": found.calls,
                "commit": found.commit,
                "recorded_at": found.recorded_at,
                "kernels": [
                    {
                        "name": kernel.name,
                        "grid": list(kernel.grid),
                        "metrics": dict(kernel.metrics),
                        "spread": dict(kernel.spread),
                    }
                    for kernel in found.kernels
                ],
            }
            for case, found in store.cases.items()
        },
    }


def write_store(path: Path, store: Store) -> None:
    """Write a store whole or not at all; the same counters give the same bytes.

    Raises:
        GateError: What would be written could not be read back.
    """
    text = render(to_json(store)) + "\n"
    store_from_text(text, source=str(path))
    write_whole(path, text)


def _text(parent: Mapping[str, Any], key: str, source: str) -> str:
    value = parent.get(key)
    if not isinstance(value, str):
        _refuse(source, f"has {value!r} as {key}")
    return value


def _refuse(source: str, found: str) -> NoReturn:
    raise GateError(
        "bad-counters", f"{source} {found}, expected counters as `nox -s counters` stores them; record them anew."
    )
