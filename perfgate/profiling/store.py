"""Measured counters as files: ``baselines/<card>/counters.json``, and those of one profile that somebody brings.

Owns the records and both formats, strict and versioned; a store is written whole or not at all. Shares are in percent, all
else in SI. Judges nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct, json

from perfgate.files import write_whole
from perfgate.hardware.gpus import slug
from perfgate.harness.launches import numbered
from perfgate.profiling.metrics import METRICS
from perfgate.records import SCHEMA, GateError
from perfgate.store import codec
from perfgate.store.recording import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE, OTHER_FILE = "counters.json", "counters-other.json"
"""Of the kernel and of the other side, beside the samples; the first also below a card's baselines."""
_WRITE_SO = 'write {"case": …, "metrics": {name: number}} or a store of counters'
_RECORD = "record them anew with `nox -s counters`"


class Profile(Struct, frozen=True, kw_only=True):
    """Counters of one kernel."""

    name: str
    """As the profiler calls it; empty where the file does not say."""
    metrics: Annotated[Mapping[str, int | float], Meta(min_length=1)]
    """By the profiler's name; over several calls, their median."""


class KernelCounters(Profile, frozen=True, kw_only=True):
    """One kernel that a case launches, over several profiled calls."""

    grid: tuple[int, int, int]
    spread: Mapping[str, Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]]
    """The largest of the calls less the smallest, of each metric."""


class CaseCounters(Struct, frozen=True, kw_only=True):
    """Every kernel that a case launches, in launch order; one that is launched twice is here twice."""

    kernels: Annotated[tuple[KernelCounters, ...], Meta(min_length=1)]
    code: str
    """Hash of the code that was launched, as in the recordings of times; empty where it is not known."""
    calls: Annotated[int, Meta(ge=1)]
    """How many were profiled, over all processes."""
    commit: str
    recorded_at: str

    def titled(self) -> tuple[tuple[str, KernelCounters], ...]:
        """The kernels by a name of their own."""
        return tuple(zip(numbered([kernel.name for kernel in self.kernels]), self.kernels, strict=True))


class Store(Struct, frozen=True, kw_only=True):
    """One file: the counters of some cases on one card."""

    schema: int = SCHEMA
    card: str
    """The card's own name."""
    cases: Mapping[str, CaseCounters]
    environment: Mapping[str, str]
    recorded_at: str
    """ISO 8601, UTC."""
    commit: str
    reason: str

    @property
    def folder(self) -> str:
        """Of the card's baselines: a card that runs another code path has its own."""
        return slug(self.card, self.environment.get("code_path", "native"))


class Counters(Struct, frozen=True, kw_only=True):
    """Counters of every kernel that a case launches, and where they are from."""

    case: str
    card: str
    """Slug of the card that was profiled; empty where the file does not say."""
    source: str
    """Who published or when it was recorded, or the file's name."""
    kernels: tuple[Profile, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON types."""
        found: dict[str, Any] = codec.encode(self)
        return found


class _One(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of one profile."""

    case: str
    metrics: Annotated[Mapping[str, int | float], Meta(min_length=1)]
    source: str = ""
    card: str = ""


class _Of(Struct, frozen=True, kw_only=True):
    """A store as far as one case's counters need it; whatever else a later writer adds does not matter."""

    card: str
    recorded_at: str
    cases: Mapping[str, Any]
    source: str = ""


class _Profiles(Struct, frozen=True, kw_only=True):
    kernels: Annotated[tuple[Profile, ...], Meta(min_length=1)]


def read_store(path: Path, *, source: str = "") -> Store | None:
    """The store in a file, or None where there is no such file.

    Args:
        path: The file.
        source: What sentences call it; its path where that is empty.

    Raises:
        GateError: ``bad-counters`` or ``other-schema``.
    """
    with _as_counters():
        try:
            data = codec.read_bytes(path, what="counters")
        except GateError as error:
            if error.reason == "no-file":
                return None
            raise
        return _store(codec.parse(data, source=source or str(path), remedy=_RECORD), source=source or str(path))


def write_store(path: Path, store: Store) -> None:
    """Write a store whole or not at all; the same counters give the same bytes.

    Raises:
        GateError: What would be written could not be read back.
    """
    document = json.decode(json.encode(store))  # tuples as lists
    with _as_counters():
        _store(document, source=str(path))
    write_whole(path, render(document) + "\n")


def _store(document: object, *, source: str) -> Store:
    store = codec.convert(_versioned(document), Store, source=source, remedy=_RECORD)
    for case, counters in store.cases.items():
        for kernel in counters.kernels:
            missing = {
                metric.name for metric in METRICS
            } - kernel.metrics.keys() or kernel.metrics.keys() ^ kernel.spread.keys()
            if missing:
                text = f"{source} is malformed at cases.{case}.kernels: {kernel.name} lacks {min(missing)}, expected every metric and its spread; {_RECORD}."
                raise GateError("bad-counters", text)
    return store


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
    with _as_counters():
        document = codec.parse(text, source=source, remedy=_WRITE_SO)
        if not isinstance(document, dict) or not {"cases", "schema"} & document.keys():
            one = codec.convert(document, _One, source=source, remedy=_WRITE_SO)
            if one.case != case:
                text = f"{source} has counters of {one.case!r}, expected those of {case}; give that case's."
                raise GateError("other-case", text)
            kernels: tuple[Profile, ...] = (Profile(name="", metrics=one.metrics),)
            return Counters(case=case, kernels=kernels, card=slug(one.card), source=one.source or source)
        store = codec.convert(_versioned(document), _Of, source=source, remedy=_WRITE_SO)
        if case not in store.cases:
            held = ", ".join(store.cases) or "none"
            text = f"{source} has counters of {held}, expected those of {case}; profile that case."
            raise GateError("other-case", text)
        kernels = codec.convert(store.cases[case], _Profiles, source=f"{source} of {case}", remedy=_WRITE_SO).kernels
    recorded = f"{store.source or source}, recorded {store.recorded_at}"
    return Counters(case=case, kernels=kernels, card=slug(store.card), source=recorded)


def _versioned(document: object) -> object:
    """One without a version is of another."""
    return {"schema": None, **document} if isinstance(document, dict) else document


@contextmanager
def _as_counters() -> Iterator[None]:
    """What cannot be read of these formats has one reason."""
    try:
        yield
    except GateError as error:
        if error.reason in {"other-schema", "other-case"}:
            raise
        raise GateError("bad-counters", error.text) from None
