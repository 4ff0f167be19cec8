"""What moved with a case's time: its machine code, its counters, its clocks; from what both sides recorded to sentences. Pure.

Owns the order, which is that of what explains most: a clock that accounts for at least half of the change (only where the
sides ran apart), machine code that is slower or faster beyond doubt, counters of the kernels whose time changed most,
any other machine code, the state of the machine. Judges nothing, and says so when nothing moved.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from enum import IntEnum
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from perfgate.codegen import diff
from perfgate.codegen.diff import pairs
from perfgate.profiling import report
from perfgate.profiling.compare import compare
from perfgate.text import arrow, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from perfgate.profiling.store import CaseCounters
    from perfgate.store.compiled import KernelFacts

_HALF = 0.5


@dataclass(frozen=True, kw_only=True)
class Code:
    """The machine code of both sides."""

    target: str
    """The architecture that both were compiled for."""
    before: tuple[KernelFacts, ...]
    after: tuple[KernelFacts, ...]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that is recorded of one case whose time moved."""

    case: str
    ratio: float
    """Time now over time before."""
    code: Code | None = None
    equal_code: bool = False
    """Both sides launched the very same code, as their launches say themselves."""
    counters: tuple[CaseCounters, CaseCounters] | None = None
    """Before and after."""
    states: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]] | None = None
    """Of the machine in every launch, as `machine.Monitor.state` records it, when the baseline was recorded and now."""
    same_launches: bool = False
    """Both sides were timed in the same launches, so that no clock can be why they differ."""
    against: str = ""
    """What the other side is on a command line, where it has a name there."""


class _Rank(IntEnum):
    """Of a sentence; the lower the more it explains."""

    CLOCK = 0
    DECISIVE_CODE = 1
    COUNTERS = 2
    CODE = 3
    MACHINE = 4


class _Said(NamedTuple):
    rank: _Rank
    text: str


def sentences(evidence: Evidence) -> tuple[str, ...]:
    """What moved with the time, what explains most first; one sentence where nothing did."""
    counters = report.sentences(compare(*evidence.counters)) if evidence.counters else ()
    said = [*_code(evidence), *(_Said(_Rank.COUNTERS, text) for text in counters), *_machine(evidence)]
    if not said:
        return (_nothing(evidence),)
    # A kernel that is launched twice is told once.
    return tuple(dict.fromkeys(one.text for one in sorted(said, key=lambda one: one.rank)))


def _code(evidence: Evidence) -> Iterator[_Said]:
    """One sentence for each kernel that is another one now, as it is compiled."""
    if evidence.code is None:
        return
    several = max(len(evidence.code.before), len(evidence.code.after)) > 1
    for before, after in pairs(evidence.code.before, evidence.code.after):
        which = f" of {plain((after or before).name)}" if several and (after or before) else ""  # type: ignore[union-attr]
        if before is None or after is None:
            verb = "is new" if before is None else "is no longer launched"
            yield _Said(_Rank.CODE, f"machine code for {evidence.code.target}{which}: the kernel {verb}")
            continue
        found = [part for part in diff.parts(before, after) if part not in {diff.SAME, diff.RENAMED}]
        if found:
            rank = _Rank.DECISIVE_CODE if _is_decisive(before, after) else _Rank.CODE
            yield _Said(rank, f"machine code for {evidence.code.target}{which}: {plain('; '.join(found))}")


def _is_decisive(before: KernelFacts, after: KernelFacts) -> bool:
    """Spills, resident blocks, or tensor cores: what is slower or faster whatever else holds."""
    sides = [
        (facts.spill_instructions, facts.blocks_per_sm, bool(facts.instructions.get("tensor_core")))
        for facts in (before, after)
    ]
    return sides[0] != sides[1]


class _Reading(NamedTuple):
    """One number of a machine's state."""

    said: str
    unit: str
    floor: float
    """A change of no more is none."""
    relative_floor: float
    is_clock: bool = False


_READINGS: Mapping[str, _Reading] = {
    "sm_clock_mhz": _Reading("SM clock", "MHz", 0, 0.005, is_clock=True),
    "memory_clock_mhz": _Reading("memory clock", "MHz", 0, 0.005, is_clock=True),
    "temperature_c": _Reading("temperature", "°C", 5, 0),
    "foreign_processes": _Reading("other processes on the card", "", 0, 0),
}
"""Each moved when it differs by more than how far the launches of both sides lie apart, and these; a clock goes in steps of 15 MHz."""
_CAPPED = _Reading("looks at its power limit", "%", 10, 0)


def _machine(evidence: Evidence) -> Iterator[_Said]:
    """What changed of the machine since the baseline was recorded."""
    if evidence.states is None:
        return
    alike = "; both sides of this comparison ran at it" if evidence.same_launches else ""
    for key, reading in _READINGS.items():
        if (moved := _moved([_values(states, key) for states in evidence.states], reading)) is None:
            continue
        before, after = moved
        change = f" ({percent(after / before)})" if before and reading.is_clock else ""
        said = f"since the baseline the {reading.said} went {before:g} → {after:g} {reading.unit}".rstrip()
        explains = reading.is_clock and not evidence.same_launches and _explains(before / after, evidence.ratio)
        yield _Said(_Rank.CLOCK if explains else _Rank.MACHINE, f"{said}{change}{alike}")
    if (moved := _moved([_capped_percent(states) for states in evidence.states], _CAPPED)) is not None:
        said = f"since the baseline the card was at its power limit in {moved[0]:.0f} → {moved[1]:.0f} % of the looks"
        yield _Said(_Rank.MACHINE, f"{said}{alike}")
    reasons = [
        sorted({str(reason) for state in states for reason in state.get("throttle_reasons", ())})
        for states in evidence.states
    ]
    if reasons[0] != reasons[1]:
        said = arrow(*(plain(", ".join(found)) or "none" for found in reasons))
        yield _Said(_Rank.MACHINE, f"since the baseline the reasons to throttle went {said}{alike}")


def _values(states: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    """One number of each launch that has it; a clock of 0 was not told."""
    found = (_number(state.get(key)) for state in states)
    return [one for one in found if one is not None and (one or not _READINGS[key].is_clock)]


def _capped_percent(states: Sequence[Mapping[str, Any]]) -> list[float]:
    told = ((_number(state.get("power_capped")), _number(state.get("looks"))) for state in states)
    return [100 * capped / looks for capped, looks in told if capped is not None and looks]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _moved(sides: Sequence[Sequence[float]], reading: _Reading) -> tuple[float, float] | None:
    """Medians of both sides, where they differ beyond the launches of either and the floor."""
    if not all(sides):
        return None
    before, after = (median(values) for values in sides)
    apart = sum(max(values) - min(values) for values in sides)
    noise = apart + reading.floor + reading.relative_floor * max(abs(before), abs(after))
    return (before, after) if abs(after - before) > noise else None


def _explains(ratio: float, of: float) -> bool:
    """Whether a time that goes with a ratio accounts for at least half of a change."""
    return bool(math.log(of)) and math.log(ratio) / math.log(of) >= _HALF


def _nothing(evidence: Evidence) -> str:
    """That nothing moved, what was looked at, and what there is not."""
    looked, lacking = [], []
    if evidence.equal_code:
        looked.append("the code that both sides launched (equal)")
    elif evidence.code:
        looked.append(f"machine code for {evidence.code.target}")
    else:
        lacking.append("machine code of both sides")
    if evidence.counters:
        looked.append("counters")
    else:
        against = f" --against {shlex.quote(evidence.against)}" if evidence.against else ""
        lacking.append(f"counters of both sides (nox -s counters -- --case {shlex.quote(evidence.case)}{against})")
    if evidence.states:
        looked.append("clocks and state of the machine")
    elif not evidence.same_launches:
        lacking.append("clocks of both sides")
    said = f"nothing that is recorded moved with it: {', '.join(looked) or 'nothing could be looked at'}"
    return f"{said}; not recorded: {', '.join(lacking)}" if lacking else said
