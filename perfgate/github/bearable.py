"""What a record from elsewhere may hold where its format leaves room: bounded, printable, of kinds to compute with. Pure.

The readers check what the gate knows. Contracts, configurations, the machine's state and the environment are open to
what later versions add; here they are kept from being a way to bring in anything else.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, NoReturn

from perfgate.records import GateError, Recording
from perfgate.report.markdown import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perfgate.store.compiled import CompiledBaseline

MOST_TEXT = 500
"""Characters: as many as a reason may have; every other text is shorter."""
MOST_ITEMS = 100
"""Of a list or an object: shapes, switches of a kernel, classes of instructions."""
MOST_CASES = 1000
_MOST_DEPTH = 4
_MOST_NUMBER = 1 << 63
_SHOWN = 60
_CONTRACT_NUMBERS = ("flops", "min_bytes")
_STATE_LISTS = frozenset({"throttle_reasons", "not_told"})


def check(record: Recording | CompiledBaseline, name: str) -> None:
    """Refuse a record that holds what no baseline does.

    Args:
        record: As a strict reader read it.
        name: Of its file, for the sentence.

    Raises:
        GateError: ``malformed``, naming the place.
    """
    count = len(record.samples if isinstance(record, Recording) else record.cases)
    if count > MOST_CASES:
        _refuse(name, "its list of cases", f"{count} of them", f"at most {MOST_CASES}")
    for where, value in _of_recording(record, name) if isinstance(record, Recording) else _of_compiled(record):
        _check(value, name, where, _MOST_DEPTH)


def _of_recording(recording: Recording, name: str) -> Iterator[tuple[str, object]]:
    """The open places of a recording; those that are computed with have to be numbers."""
    yield "its date", recording.recorded_at
    yield "its environment", recording.environment
    yield "its settings", recording.settings
    for case, samples in recording.samples.items():
        yield "a case id", case
        yield f"the contract of {case}", samples.contract
        yield f"the configuration of {case}", samples.config
        yield f"the code of {case}", samples.code
        for key in _CONTRACT_NUMBERS:
            if type(found := samples.contract.get(key, 0)) is not int or found < 0:
                _refuse(name, f"{key} of {case}", repr(found), "a whole number")
        for launch in samples.launches:
            yield f"the state of {case}", launch.state
            for key, value in launch.state.items():
                if not isinstance(value, list if key in _STATE_LISTS else int | float):
                    _refuse(name, f"{key} in the state of {case}", repr(value), "what the gate's monitor writes")


def _of_compiled(facts: CompiledBaseline) -> Iterator[tuple[str, object]]:
    yield "its date", facts.recorded_at
    yield "its versions", facts.versions
    for case, one in facts.cases.items():
        yield "a case id", case
        yield f"the contract of {case}", one.contract
        for kernel in one.kernels:
            yield f"a kernel of {case}", dataclasses.asdict(kernel)


def _check(value: object, name: str, where: str, depth: int) -> None:
    """A JSON value that a person could read: short texts without control characters, numbers, few of each."""
    if isinstance(value, str):
        if len(value) > MOST_TEXT or not value.isprintable():
            _refuse(name, where, repr(value), f"printable text of at most {MOST_TEXT} characters")
    elif isinstance(value, int | float):
        if not abs(value) < _MOST_NUMBER:  # NaN compares false
            _refuse(name, where, str(value), "a number of bearable size")
    elif value is not None:
        if depth == 0 or not isinstance(value, list | dict) or len(value) > MOST_ITEMS:
            _refuse(name, where, f"a {type(value).__name__} that is deep or long", f"at most {MOST_ITEMS} plain values")
        for item in value if isinstance(value, list) else (*value, *value.values()):
            _check(item, name, where, depth - 1)


def _refuse(name: str, where: str, found: str, expected: str) -> NoReturn:
    shown = plain(found if len(found) <= _SHOWN else f"{found[:_SHOWN]}…")
    raise GateError("malformed", f"{name} has {shown} as {plain(where[:200])}, expected {expected}; measure again.")
