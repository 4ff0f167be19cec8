"""The vocabulary of the gate: frozen records that the stages hand to each other.

Owns the names. Imports nothing but the standard library, computes nothing that needs another stage.
Seconds, bytes, FLOP: SI inside, formatting only in the report.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - msgspec reads the annotations
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

BASELINE_COMMIT = "baseline-commit"
"""The kind of other side that is the kernel as it was when the baseline was recorded."""
SCHEMA = 1
"""Version of every JSON file this gate writes. A file of another version is refused."""


class Status(StrEnum):
    """What the gate can say of one case."""

    SAME = "SAME"
    FASTER = "FASTER"
    SLOWER = "SLOWER"
    UNSURE = "UNSURE"
    INVALID = "INVALID"


class GateError(Exception):
    """The gate cannot judge; carries the one sentence for the user and the stable reason code.

    Raised for what a person can mend: a malformed file, a wrong option, a missing baseline.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that is checked and timed: shapes, layouts, dtype, precision and the work it stands for."""

    id: str
    shapes: tuple[tuple[int, ...], ...]
    """Shape of each operand as the kernel is given it."""
    layouts: tuple[str, ...]
    """Memory order of each operand: ``row`` (last dimension contiguous) or ``column`` (last two swapped)."""
    dtype: str
    precision: str
    """The kernel's precision option, or ``native`` where the dtype leaves no choice."""
    flops: int
    min_bytes: int
    """Least DRAM traffic: each operand read once, the result written once."""
    device_bytes: int
    """Device memory that the check of this case needs at its peak."""
    unit: str
    """Which peak of a card bounds the arithmetic: ``tf32``, ``fp16``, ``bf16`` or ``fp32``."""
    quick: bool = False

    def contract(self) -> dict[str, Any]:
        """What must be equal on both sides for times to be comparable, as JSON types."""
        return {
            "shapes": [list(shape) for shape in self.shapes],
            "layouts": list(self.layouts),
            "dtype": self.dtype,
            "precision": self.precision,
            "flops": self.flops,
            "min_bytes": self.min_bytes,
            "unit": self.unit,
        }


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One process's samples of one case: seconds of every timed run, by arm.

    Arms: ``kernel`` (what is judged), ``control`` (the vendor library at the same precision) and
    ``other`` (the other side of a comparison), interleaved in random order within each round.
    """

    arms: Mapping[str, tuple[float, ...]]
    state: Mapping[str, Any] = field(default_factory=dict)
    """What the machine looked like meanwhile (clocks, throttle reasons, other processes); may be empty."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """All launches of one case, and what the ``other`` arm was, if there was one."""

    case: str
    launches: tuple[Launch, ...]
    other: Mapping[str, str] | None = None
    """``{"kind": "baseline-commit" | "ref" | "file", "name": …}``"""
    contract: Mapping[str, Any] = field(default_factory=dict)
    """``Case.contract()`` of the case as measured; empty in a file that does not record it."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """The kernel configuration that ran (tile, warps, stages); empty where not recorded."""
    code: Mapping[str, str] = field(default_factory=dict)
    """By arm (``kernel``, ``other``), a hash of the machine code that it launched; empty where not recorded."""

    @property
    def equal_code(self) -> bool:
        """Both sides launched the same machine code; False also where that is not recorded."""
        return bool(self.code.get("kernel")) and self.code.get("kernel") == self.code.get("other")

    @property
    def is_anchored(self) -> bool:
        """The baseline's own kernel was measured as the other side."""
        return self.other is not None and self.other["kind"] == BASELINE_COMMIT


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One file of measurements: a baseline or a run."""

    samples: Mapping[str, Samples]
    """By case id, in the file's order."""
    environment: Mapping[str, str]
    """Card, UUID, driver and versions (see ``machine.environment``); empty where not recorded."""
    settings: Mapping[str, Any]
    """The measurement's own settings; two recordings with different settings are not comparable."""
    reason: str = ""
    commit: str = ""
    recorded_at: str = ""
    """ISO 8601, UTC."""
    source: str = ""
    """The path it was read from, for sentences."""
    selected: tuple[str, ...] = ()
    """Cases that were measured on purpose without the rest; empty where all were to be measured."""
    run: Mapping[str, str] = field(default_factory=dict)
    """The run that measured it (see `measurement.session`); empty in a baseline and where not recorded."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Time now over time before, with its interval. 1.01 is 1 % slower."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Aside:
    """A line of its own beside a verdict's sentence: what the machine did, or what many small steps did."""

    text: str
    """One sentence."""
    ratio: float | None = None
    """Of the machine: the old code's time now over its time then."""
    matters: bool = False
    """Worth showing where the verdict itself needs no sentence."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate says of one case, why, and in one sentence."""

    case: str
    status: Status
    reason: str
    """Stable code, lower-case words joined by hyphens."""
    text: str
    """One sentence: case, found, expected, limit, and the command to run next."""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    asides: tuple[Aside, ...] = ()
    wrong: bool = False
    """The result itself is wrong (or the kernel does not build): INVALID as a speed, but exit code 1."""

    @property
    def exit_code(self) -> int:
        """0 pass, 1 regression or wrong result, 2 could not compare, 3 unsure."""
        if self.wrong or self.status is Status.SLOWER:
            return 1
        return {Status.INVALID: 2, Status.UNSURE: 3}.get(self.status, 0)


def exit_code(verdicts: tuple[Verdict, ...] | list[Verdict]) -> int:
    """The lowest non-zero code present wins; no verdict at all is 2, never 0."""
    if not verdicts:
        return 2
    return min((v.exit_code for v in verdicts if v.exit_code), default=0)
