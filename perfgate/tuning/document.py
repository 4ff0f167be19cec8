"""What tuning found, as one document: written after every step, read again to go on. Pure.

Owns the format of ``tune.json`` and what its numbers say together. What is missing in a case is still to be done.
"""

from __future__ import annotations

import json
import statistics
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from perfgate.compare.estimators import typical_seconds
from perfgate.records import SCHEMA, GateError
from perfgate.store import codec
from perfgate.store.compiled import KernelFacts
from perfgate.tuning.choice import prune

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


class Time(NamedTuple):
    """How long one candidate takes in one case."""

    seconds: float
    launches: int
    """How many that is of; 0 where it is of the first pass alone."""


class Timed(Struct, kw_only=True):
    """What one process timed of a case."""

    seconds: dict[str, list[float]]
    """Of every run, by candidate."""
    state: dict[str, Any]
    """What the monitor saw meanwhile."""


class Modelled(Struct, kw_only=True):
    """What the model says of a candidate."""

    time_s: float
    bound: str
    terms_s: dict[str, float]


class Candidate(Struct, kw_only=True, omit_defaults=True):
    """A configuration of the kernel in one case."""

    config: dict[str, int]
    kernels: tuple[KernelFacts, ...]
    """Of the tuned kernel's launches; none where it did not compile."""
    error: str
    """Why it did not compile; empty where it did."""
    pruned: str
    """Why its facts rule it out; empty where they do not."""
    failed: str = ""
    """Why it gave no time."""
    wrong: bool | None = None
    """Of one that failed: whether its result is wrong."""
    modelled: Modelled | None = None


class Case(Struct, kw_only=True, omit_defaults=True):
    """What is known of one case."""

    candidates: dict[str, Candidate]
    """By id, the most promising first."""
    left_out: dict[str, int]
    """Configurations that are not measured, counted by reason."""
    note: str
    """Why it is not tuned; empty where it is."""
    kernel: str = ""
    current: str = ""
    """Id of the config that the kernel's own rule chooses."""
    start: str = ""
    """Id of the starting tile."""
    kept: tuple[str, ...] = ()
    """Ids that only what cannot run leaves out."""
    allowed: int | None = None
    """Configurations that the rules for tiles allow."""
    launches: list[Timed]
    screen: Timed | None = None
    """The first pass."""
    finalists: tuple[str, ...] = ()
    """Ids that the launches time."""
    failed: str = ""
    """Why it could not be asked or measured."""

    def running(self) -> dict[str, Candidate]:
        """The candidates that nothing rules out so far."""
        return {name: one for name, one in self.candidates.items() if not one.pruned and not one.failed}

    def screened(self) -> dict[str, float]:
        """Seconds of each candidate in the first pass."""
        seconds = self.screen.seconds if self.screen else {}
        return {name: statistics.median(seconds[name]) for name in self.running() if seconds.get(name)}

    def times(self) -> dict[str, Time]:
        """Seconds of every candidate: of the launches where it was in them, else of the first pass.

        The first pass is one process, whose clock and card were as they were; so its times are moved by as much as those of
        the candidates that are in both.
        """
        first, final = self.screened(), {}
        for name in self.running():
            if samples := [launch.seconds[name] for launch in self.launches if launch.seconds.get(name)]:
                final[name] = Time(typical_seconds(samples), len(samples))
        both = [final[name].seconds / first[name] for name in final if name in first]
        moved = statistics.median(both) if both else 1.0
        return {**{name: Time(seconds * moved, 0) for name, seconds in first.items()}, **final}

    def mark(self, name: str) -> str:
        """What stands behind a candidate's id where it is the present choice or the starting tile."""
        return " (present)" if name == self.current else " (start)" if name == self.start else ""


class About(Struct, kw_only=True):
    """What a document says of itself."""

    command: str
    recorded_at: str
    commit: str
    kernel_sha256: str
    target: str
    limit: int
    top: int
    launches: int
    settings: dict[str, Any]
    environment: dict[str, str]


SAME = ("target", "kernel_sha256", "settings", "environment", "limit")
"""What has to be now as it was then, where a document is gone on with."""


class Document(Struct, kw_only=True):
    """All that a tuning found so far."""

    schema: int = SCHEMA
    about: About
    cases: dict[str, Case]

    def add(self, compiled: Mapping[str, Case]) -> None:
        """Take in what was compiled, with what its facts rule out."""
        for name, case in compiled.items():
            for one, why in prune(case.candidates, case.kept).items():
                case.candidates[one].pruned = why
                case.left_out[why] = case.left_out.get(why, 0) + 1
            self.cases[name] = case

    def tuned(self) -> dict[str, Case]:
        """The cases that run the tuned kernel and could be measured so far."""
        return {name: case for name, case in self.cases.items() if not case.note and not case.failed}

    def choose_finalists(self, *, top: int, also: Collection[str]) -> None:
        """Choose what the launches time: the fastest of the first pass, the present choice, the starting tile, and others.

        Args:
            top: How many of the fastest.
            also: Ids to time wherever they run, so that lists can be compared on the same launches.
        """
        for case in self.tuned().values():
            first = case.screened()
            if first and not case.finalists:
                fastest = sorted(first, key=lambda name: (first[name], name))[:top]
                wanted = dict.fromkeys((*fastest, case.current, case.start, *also))
                case.finalists = tuple(name for name in wanted if name in first)

    def as_text(self) -> str:
        """The document as JSON; candidates stay in order of promise."""
        return json.dumps(codec.encode(self), indent=1, allow_nan=False) + "\n"


def read(path: Path, *, now: About) -> Document:
    """Read a document to go on with; the rest of what it says of itself is taken from now.

    Raises:
        GateError: As `codec.decode`, or ``other-recording`` where it was made of or with something else.
    """
    data = codec.read_bytes(path, what="what tuning wrote")
    document = codec.decode(data, Document, source=str(path), remedy="tune anew without --resume")
    for key in SAME:
        found, expected = getattr(document.about, key), getattr(now, key)
        if found != expected:
            raise GateError(
                "other-recording",
                f"{path} was made with {key} {found!r}, expected the {expected!r} of now; tune anew without --resume.",
            )
    for key in ("launches", "top", "command"):
        setattr(document.about, key, getattr(now, key))
    document.cases = {name: case for name, case in document.cases.items() if case.candidates or case.note}
    for case in document.cases.values():  # what could not be asked or measured then, perhaps can be now
        case.failed = ""
    return document
