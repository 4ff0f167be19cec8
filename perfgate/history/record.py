"""The records of a history: what every update of the baselines, and every saved run, said of each case. Pure.

Ready to be drawn or serialised: `History.to_json` gives plain JSON types. Seconds and ratios, nothing formatted.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
BASELINE, RUN = "baseline", "run"


@dataclass(frozen=True, kw_only=True)
class Update:
    """One commit that changed baselines, or one saved run."""

    kind: str
    """``baseline`` or ``run``."""
    commit: str
    """Of the baselines' change, its full hash; of a run, the commit that was measured (``-dirty`` where it was changed)."""
    date: str
    """ISO 8601: when it was committed; of a run, when it was recorded, empty where that is not in it."""
    subject: str
    """First line of the commit's message; of a run, its file."""
    files: tuple[str, ...]
    """The baseline files that it changed, below the baselines folder; of a run, its own."""
    reasons: tuple[str, ...]
    """As the files carry them, each once."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a case has moved since the card's first baseline of it, by the gate's own rule."""

    ratio: float
    """1.01 is 1 % slower than the first baseline."""
    low: float
    high: float
    limit: float
    exceeded: bool
    """Slower by more than the limit allows: small steps that add up."""


@dataclass(frozen=True, kw_only=True)
class TimePoint:
    """One case's time as of one update."""

    update: int
    """Index into `History.updates`."""
    measured_commit: str
    """The commit whose kernel was measured."""
    recorded_at: str
    reason: str
    time_s: float
    """The median of the launches' medians."""
    low_s: float
    """The lowest of the launches' medians."""
    high_s: float
    """The highest of them."""
    launches: int
    control_s: float | None
    """The vendor library's time in the same launches."""
    break_before: str
    """Why it cannot be compared with the point before it (other settings, other work); empty where it can, or is the first."""
    drift: Drift | None
    drift_left_out: str
    """Why drift is not known; empty where it is."""
    config: Mapping[str, Any]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class KernelPoint:
    """One compiled kernel of a case."""

    name: str
    registers: int
    """A thread."""
    spill_instructions: int
    stack_bytes: int
    """A thread."""
    shared_bytes: int
    """A block."""
    blocks_per_sm: int
    occupancy_percent: float
    limited_by: str
    instructions: int
    """In all, static."""
    code_hash: str
    config: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class CompiledPoint:
    """What a case compiled to as of one update."""

    update: int
    """Index into `History.updates`."""
    file: str
    """Below the baselines folder."""
    target: str
    triton: str
    recorded_at: str
    reason: str
    kernels: tuple[KernelPoint, ...]


@dataclass(frozen=True, kw_only=True)
class CaseHistory:
    """One case, oldest point first."""

    case: str
    times: tuple[TimePoint, ...]
    compiled: tuple[CompiledPoint, ...]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file of one commit, or a saved run, that could not be used."""

    where: str
    """The commit's short hash and date, or the run's file."""
    file: str
    reason: str
    """Stable code."""
    text: str
    """One sentence."""


@dataclass(frozen=True, kw_only=True)
class History:
    """All that the baselines' past says of a card and a compile target."""

    card: str
    """Slug of the card; empty where no card has a baseline."""
    target: str
    updates: tuple[Update, ...]
    """Oldest first, as git orders them; runs after all commits."""
    cases: tuple[CaseHistory, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    """What the reader has to know of the whole: that the clone is shallow, that the machine code is another card's."""

    def to_json(self) -> dict[str, Any]:
        """The whole history as JSON types."""
        return {"schema": SCHEMA, **_plain(asdict(self))}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Tuples as lists, and a number that JSON has not (a past file may hold one) as null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
