"""How numbers are put into words: seconds, percent, intervals. Pure; the one place where units are chosen."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perfgate.compare.decision import Decision

UPDATE = 'nox -s update-baselines -- --reason "why"'
_MILLI, _SECOND = 1e-3, 1.0


def duration(seconds: float) -> str:
    """Four digits and a fitting unit: ``1.652 ms``."""
    if seconds >= _SECOND:
        return f"{seconds:#.4g} s"
    return f"{seconds * 1e3:#.4g} ms" if seconds >= _MILLI else f"{seconds * 1e6:#.4g} µs"


def size(count: int) -> str:
    """Four digits of bytes and a fitting unit, in steps of a thousand: ``134.2 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= factor:
            return f"{count / factor:#.4g} {unit}"
    return f"{count} bytes"


def percent(ratio: float) -> str:
    """A ratio as a signed change: 1.0123 is ``+1.23 %``."""
    return f"{(ratio - 1) * 100:+.2f} %"


def share(value: float) -> str:
    """A share of the roofline: 0.62 is ``62%``."""
    return f"{value:.0%}"


def allowed(limit: float) -> str:
    """A limit on a ratio as the change that it allows: 1.005 is ``0.5 %``."""
    return f"{(limit - 1) * 100:.2g} %"


def change(ratio: float, other: str) -> str:
    """A ratio as a person says it: 1.0123 is ``1.23 % slower than`` the other."""
    points = round(abs(ratio - 1) * 100, 2)
    if not points:
        return f"unchanged from {other}"
    return f"{points:.2f} % {'slower' if ratio > 1 else 'faster'} than {other}"


def held_to(decision: Decision) -> str:
    """The interval and the limit of a decision, in brackets."""
    estimate = decision.estimate
    why = {"": "", "clock": ", as fine as its clock allows", "noise": ", as fine as its noise allows"}[decision.widened]
    return (
        f"({decision.confidence * 100:.5g} % interval {percent(estimate.low)} to {percent(estimate.high)}, "
        f"limit {allowed(decision.limit)}{why})"
    )


def measure_again(case: str) -> str:
    """The command that measures one case."""
    return f"nox -s perf -- --case {shlex.quote(case)}"
