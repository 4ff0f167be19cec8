"""What others found beside the times of a case: counters before and after, what moved with it, its history. Strict to read.

Two files, each one object with ``schema`` 1. Counters: ``{"counters": {CASE: [{"name", "before", "after", "moved"}]},
"moved_with_it": {CASE: [sentence]}}``, values as text with their units. History: ``{"history": {CASE: [{"commit",
"date", "reason", "time_s"}]}}``, the oldest first, or what ``python -m perfgate history --format json`` prints. Either of the
first two may be left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from perfgate.records import GateError
from perfgate.store.run import Reader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


Entry = TypeVar("Entry")
_SHORT, _DAY = 8, 10
"""Characters of a commit that name it, and of a time that say its day."""


@dataclass(frozen=True, kw_only=True)
class Counter:
    """One fact of a kernel on both sides."""

    name: str
    before: str
    """In words, with its unit; empty where it is not known."""
    after: str
    moved: bool
    """Worth looking at."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """A time of a case as it was once recorded."""

    commit: str
    date: str
    reason: str
    time_s: float


@dataclass(frozen=True, kw_only=True)
class Extras:
    """All of it, by case id."""

    counters: Mapping[str, tuple[Counter, ...]] = field(default_factory=dict)
    moved_with_it: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sentences."""
    history: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)
    """The oldest first."""


def read_extras(*, counters: str | None = None, history: str | None = None) -> Extras:
    """Read what is given; nothing where nothing is.

    Raises:
        GateError: ``no-file``, ``unreadable``, ``not-json``, ``other-schema`` or ``malformed``.
    """
    found = Extras()
    if counters is not None:
        read, root = _opened(counters)
        found = Extras(
            counters=_by_case(read, root, "counters", lambda entry: _counter(read, entry)),
            moved_with_it={
                case: read.texts({"moved_with_it": texts}, "moved_with_it")
                for case, texts in (read.object(root, "moved_with_it") if "moved_with_it" in root else {}).items()
            },
        )
    if history is not None:
        read, root = _opened(history)
        steps = (
            _updates(read, root)
            if "updates" in root
            else _by_case(read, root, "history", lambda entry: _step(read, entry))
        )
        found = Extras(counters=found.counters, moved_with_it=found.moved_with_it, history=steps)
    return found


def _opened(source: str) -> tuple[Reader, dict[str, Any]]:
    read = Reader(source)
    return read, read.document(file_bytes(source))


def file_bytes(source: str) -> bytes:
    """A file that was named by the user.

    Raises:
        GateError: ``no-file`` or ``unreadable``.
    """
    try:
        return Path(source).read_bytes()
    except FileNotFoundError:
        raise GateError("no-file", f"{source} does not exist, expected a file; check the path.") from None
    except OSError as error:
        raise GateError("unreadable", f"{source} cannot be read ({error}), expected a file; check it.") from None


def _by_case(
    read: Reader, root: Mapping[str, Any], key: str, one: Callable[[dict[str, Any]], Entry]
) -> dict[str, tuple[Entry, ...]]:
    if key not in root and key == "counters":
        return {}
    return {case: tuple(map(one, read.objects({key: found}, key))) for case, found in read.object(root, key).items()}


def _updates(read: Reader, root: dict[str, Any]) -> dict[str, tuple[Step, ...]]:
    """The times of what the history command prints, each with the update that it is of."""
    updates = read.objects(root, "updates")
    found = {}
    for case in read.objects(root, "cases"):
        steps = []
        for point in read.objects(case, "times"):
            number = point.get("update")
            if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(updates):
                read.refuse(f"has {number!r} as update", f"one of its {len(updates)}, counted from 0")
            update = updates[number]
            commit, date = read.text(update, "commit")[:_SHORT], read.text(update, "date")[:_DAY]
            named = {"commit": commit, "date": date, "reason": point.get("reason")}
            steps.append(_step(read, {**named, "time_s": point.get("time_s")}))
        found[read.text(case, "case")] = tuple(steps)
    return found


def _counter(read: Reader, entry: Mapping[str, Any]) -> Counter:
    return Counter(
        name=read.text(entry, "name"),
        before=read.text(entry, "before"),
        after=read.text(entry, "after"),
        moved=read.truth(entry, "moved"),
    )


def _step(read: Reader, entry: Mapping[str, Any]) -> Step:
    time_s = read.number(entry, "time_s")
    if time_s is None or not time_s > 0:
        read.refuse(f"has {time_s!r} as time_s", "seconds above zero")
    return Step(
        commit=read.text(entry, "commit"),
        date=read.text(entry, "date"),
        reason=read.text(entry, "reason"),
        time_s=time_s,
    )
