"""Every JSON file that is read goes through here: bounded, strict, and checked by the type of its format.

Refused in one sentence: what is no regular file or too large, what is not JSON, keys that stand twice, numbers that are not
finite, and whatever the type does not allow, with the place where it stands. The bounds that several formats share are
types here, so that a file from elsewhere holds little, and nothing that a person could not read.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import msgspec
from msgspec import Meta

from perfgate.records import SCHEMA, GateError
from perfgate.text import cut

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_BYTES = 64 << 20
"""Of a file; a recording of 25 cases in 8 processes has 1 MB."""
_Kind = TypeVar("_Kind")
_PLACE = re.compile(r"(?P<what>.*?) - at `(?:key` in `)?(?P<place>.*)`$", re.DOTALL)
_LARGE = re.compile(r"(?:^|[\s:,\[])-?(?:\d{40}|\d[\d.]*[eE]\+?\d{3})")
"""In every number that a float cannot hold; hardly ever elsewhere."""

MOST_ITEMS = 100
"""Of an open list or object: shapes, switches of a kernel, classes of instructions."""
MOST_CASES = 1000
MOST_COUNT = (1 << 63) - 1
Text = Annotated[str, Meta(max_length=500)]
"""As long as a reason may be; every other text is shorter. No pattern: msgspec 0.22 corrupts its memory where one is in a union."""
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Sentence = Annotated[str, Meta(max_length=4000)]
"""For people, and to be escaped by whoever shows it; the longest that the gate writes has some hundred characters."""
Count = Annotated[int, Meta(ge=0, le=MOST_COUNT)]
Whole = Annotated[int, Meta(ge=-MOST_COUNT, le=MOST_COUNT)]
_Plain = Text | Whole | Annotated[float, Meta(ge=-MOST_COUNT, le=MOST_COUNT)] | bool | None
_Most = Meta(max_length=MOST_ITEMS)
_Inner = _Plain | Annotated[list[_Plain], _Most] | Annotated[dict[Text, _Plain], _Most]
_Middle = _Plain | Annotated[list[_Inner], _Most] | Annotated[dict[Text, _Inner], _Most]
if TYPE_CHECKING:
    Open = Mapping[str, Any]  # to type checkers: what is in it is for the reader to know
else:
    Open = Annotated[dict[Text, _Middle], _Most]
"""An object whose keys a later version may add to: bounded and not deep."""


class _RefusedError(ValueError):
    """JSON that could be parsed and must not be used."""


def read_bytes(path: Path | str, *, what: str, most_bytes: int = MOST_BYTES) -> bytes:
    """All of a regular file.

    Args:
        path: Where; named in the sentence as it is.
        what: What is expected there: ``a recording``.
        most_bytes: More is not read.

    Raises:
        GateError: ``no-file`` or ``unreadable``.
    """
    shown = cut(str(path))
    try:
        # Asked before it is opened: opening a pipe waits for somebody to write.
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode):
            raise GateError("unreadable", f"{shown} is no regular file, expected {what}; name another.")
        with Path(path).open("rb") as stream:
            data = stream.read(most_bytes + 1)
    except FileNotFoundError:
        raise GateError("no-file", f"{shown} does not exist, expected {what}; check the path.") from None
    except OSError as error:
        raise GateError(
            "unreadable", f"{shown} cannot be read ({error.strerror}), expected {what}; write it anew."
        ) from None
    if len(data) > most_bytes:
        raise GateError("unreadable", f"{shown} has more than {most_bytes} bytes, expected {what}; write it anew.")
    return data


def decode(
    data: bytes | str,
    kind: type[_Kind],
    *,
    source: str,
    remedy: str = "record it anew",
    versioned: bool = False,
) -> _Kind:
    """The record that JSON holds.

    Args:
        data: All of a file.
        kind: Type of the record: a ``msgspec.Struct`` whose fields carry their bounds.
        source: Where it came from, for the sentence.
        remedy: What to do where it is refused.
        versioned: It has to name its schema's version.

    Raises:
        GateError: ``not-json``, ``other-schema`` or ``malformed``.
    """
    document = parse(data, source=source, remedy=remedy)
    return convert(document, kind, source=source, remedy=remedy, versioned=versioned)


def parse(data: bytes | str, *, source: str, remedy: str = "record it anew") -> Any:  # noqa: ANN401 - any JSON
    """JSON as Python has it, with each key once and every number finite.

    Raises:
        GateError: ``not-json`` or ``malformed``.
    """
    shown = cut(source)
    try:
        text = data.decode() if isinstance(data, bytes) else data
        # Looking at each number in Python doubles the time, so that is done where one looks as if it were too large.
        large = _LARGE.search(text) is not None
        return json.loads(
            text,
            object_pairs_hook=_once,
            parse_constant=_no_number,
            parse_float=_finite if large else None,
            parse_int=_whole if large else None,
        )
    except _RefusedError as error:
        raise GateError("malformed", f"{shown} {error}; {remedy}.") from None
    except UnicodeDecodeError:
        raise GateError("not-json", f"{shown} is not UTF-8 text, expected JSON; {remedy}.") from None
    except (ValueError, RecursionError) as error:
        raise GateError(
            "not-json", f"{shown} is not valid JSON ({_why(data, error)}), expected JSON; {remedy}."
        ) from None


def convert(
    document: object,
    kind: type[_Kind],
    *,
    source: str,
    remedy: str = "record it anew",
    versioned: bool = False,
) -> _Kind:
    """The record of a parsed document; arguments and errors as `decode`."""
    check_version(document, source=source, remedy=remedy, versioned=versioned)
    try:
        return msgspec.convert(document, kind, strict=True)
    except msgspec.ValidationError as error:
        what, place = _told(error)
        at = place and f" at {cut(place)}"
        raise GateError("malformed", f"{cut(source)} is malformed{at}: {cut(what)}; {remedy}.") from None


def check_version(document: object, *, source: str, remedy: str = "record it anew", versioned: bool = False) -> None:
    """Refuse an object that names another version than this gate's; where it has to name one, also none.

    Raises:
        GateError: ``other-schema``.
    """
    schema = document.get("schema", None if versioned else SCHEMA) if isinstance(document, dict) else SCHEMA
    if type(schema) is not int or schema != SCHEMA:
        raise GateError(
            "other-schema",
            f"{cut(source)} has schema {cut(repr(schema))}, expected version {SCHEMA}; use the gate that wrote it, or {remedy}.",
        )


def check_printable(*values: object) -> None:
    """Refuse text that a person could not read, wherever it stands; for ``__post_init__`` of a format.

    Raises:
        ValueError: Which becomes the sentence of `convert`.
    """
    for value in values:
        if isinstance(value, str):
            if not value.isprintable():
                raise ValueError(f"{value!r} holds characters that do not show")
        elif isinstance(value, dict):
            check_printable(*value, *value.values())
        elif isinstance(value, list | tuple):
            check_printable(*value)


def check_known(value: object, kind: Any, *, name: str) -> None:  # noqa: ANN401 - a TypedDict is no type
    """Refuse an open object in which a key that is known is not of its type; for ``__post_init__`` of a format.

    Raises:
        ValueError: Which becomes the sentence of `convert`.
    """
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        what, place = _told(error)
        # A plain ValueError: to that, the place of the whole object is added.
        raise ValueError(f"{name}.{place}: {what}") from None


def as_record(stored: object, kind: type[_Kind], *, source: str = "the record") -> _Kind:
    """The gate's own record of what a file holds, or the other way: field by field, by name.

    Raises:
        GateError: ``malformed``: the record holds what its file must not.
    """
    try:
        return msgspec.convert(stored, kind, from_attributes=True)
    except msgspec.ValidationError as error:
        raise GateError("malformed", f"{cut(source)} cannot be stored: {cut(str(error))}.") from None


def encode(record: object) -> Any:  # noqa: ANN401 - any JSON
    """A record as JSON types, which `convert` reads back; its type says whether fields that hold their default are left out."""
    return msgspec.to_builtins(record)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise _RefusedError(f"has the key {cut(repr(twice))} twice in one object, expected each key once")
    return found


def _no_number(name: str) -> NoReturn:
    raise _RefusedError(f"holds {name}, expected finite numbers")


def _finite(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise _RefusedError(f"holds the number {cut(text)}, expected finite numbers")
    return value


def _whole(text: str) -> int:
    if len(text) > len(str(1 << 64)):
        raise _RefusedError(f"holds a whole number of {len(text)} digits, expected at most 64 bits")
    return int(text)


def _why(data: bytes | str, error: Exception) -> str:
    """What spoiled it, where that is known; else the parser's own words."""
    head = (data if isinstance(data, bytes) else data.encode())[:4096]
    if head.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS: git lfs pull"
    if b"<<<<<<< " in head:
        return "git's conflict markers are in it"
    return "nested too deeply" if isinstance(error, RecursionError) else cut(str(error))


def _told(error: msgspec.ValidationError) -> tuple[str, str]:
    """What is wrong, and the place where it stands."""
    found = _PLACE.match(str(error))
    what, place = (found["what"], found["place"]) if found else (str(error), "")
    return what[:1].lower() + what[1:], place.removeprefix("$").removeprefix(".")
