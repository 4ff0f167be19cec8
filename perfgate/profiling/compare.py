"""Counters of two sides: from the calls of a case to its counters, and which of them moved beyond their noise. Pure.

A counter moved when it differs by more than the spread of the calls of one side, and that of the other, and what the
metric allows two profiles of the same code (`Metric.allowance`), all three added: a profile that is run again flags nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter
from statistics import median
from typing import TYPE_CHECKING

from perfgate.codegen.diff import pairs
from perfgate.profiling.metrics import DURATION, METRICS, TIME
from perfgate.profiling.store import CaseCounters, KernelCounters
from perfgate.records import GateError
from perfgate.text import arrow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.profiling.metrics import Metric
    from perfgate.profiling.ncu import Profiled


@dataclass(frozen=True, kw_only=True)
class Change:
    """One counter of one kernel on both sides."""

    metric: Metric
    before: float
    after: float
    noise: float
    """What it may differ by without having moved."""

    @property
    def moved(self) -> bool:
        """Beyond its noise."""
        return abs(self.after - self.before) > self.noise

    def said(self) -> str:
        """``L2 hit rate 99.22 → 99.80 %``."""
        before, after = self.metric.worded(self.before), self.metric.worded(self.after)
        (old, _, unit), (new, _, other) = before.partition(" "), after.partition(" ")
        return f"{self.metric.said} {old if unit == other else before} → {after if unit else new}"


@dataclass(frozen=True, kw_only=True)
class KernelChange:
    """One kernel on both sides; a side that does not launch it has none of its counters."""

    title: str
    before: KernelCounters | None
    after: KernelCounters | None

    @property
    def before_s(self) -> float:
        """Time under the profiler; 0 where it is not launched."""
        return self.before.metrics[DURATION] if self.before else 0.0

    @property
    def after_s(self) -> float:
        """The same of the side after."""
        return self.after.metrics[DURATION] if self.after else 0.0

    @property
    def presence(self) -> str:
        """``new`` or ``no longer launched``; empty where both sides launch it."""
        return "" if self.before and self.after else "new" if self.after else "no longer launched"

    @property
    def changes(self) -> tuple[Change, ...]:
        """Every counter, in the order in which they tell; empty where one side alone launches the kernel."""
        before, after = self.before, self.after
        return tuple(_change(metric, before, after) for metric in METRICS) if before and after else ()

    @property
    def moved(self) -> tuple[Change, ...]:
        """The counters that moved, time itself apart."""
        return tuple(change for change in self.changes if change.moved and change.metric is not TIME)

    @property
    def time_moved(self) -> bool:
        """Whether its time did."""
        return any(change.moved for change in self.changes if change.metric is TIME)

    @property
    def has_moved(self) -> bool:
        """Whether there is anything to say of it."""
        return bool(self.presence) or any(change.moved for change in self.changes)


def gathered(calls: Sequence[Sequence[Profiled]]) -> tuple[KernelCounters, ...]:
    """The counters of a case: of each kernel the median over the calls, and how far these lie apart.

    Args:
        calls: One or more; each the launches of one call, in order.

    Raises:
        GateError: ``counters-disagree`` where calls launch other kernels or grids.
    """
    for first, then in pairwise(calls):
        if [(one.name, one.grid) for one in first] != [(one.name, one.grid) for one in then]:
            one, other = (", ".join(f"{one.name} {one.grid}" for one in call) or "nothing" for call in (first, then))
            raise GateError(
                "counters-disagree",
                f"Calls of one case launched {one} and {other}, expected the same kernels each time; a kernel that chooses "
                "anew each call cannot be compared.",
            )
    return tuple(_over_calls(launches) for launches in zip(*calls, strict=True))


def _over_calls(launches: Sequence[Profiled]) -> KernelCounters:
    values = {name: [one.metrics[name] for one in launches] for name in launches[0].metrics}
    return KernelCounters(
        name=launches[0].name,
        grid=launches[0].grid,
        metrics={name: median(found) for name, found in values.items()},
        spread={name: max(found) - min(found) for name, found in values.items()},
    )


def seconds(found: CaseCounters) -> float:
    """Time of all kernels of a case under the profiler, its gaps apart."""
    return sum(kernel.metrics[DURATION] for kernel in found.kernels)


def compare(before: CaseCounters, after: CaseCounters) -> tuple[KernelChange, ...]:
    """Every kernel of a case on both sides, the one whose time changed most first."""
    found = []
    for old, new in pairs(before.titled(), after.titled(), name=itemgetter(0), of_as_many=True):
        (title, one), (other_title, other) = old or ("", None), new or ("", None)
        title = arrow(title, other_title) if title and other_title else title or other_title
        found.append(KernelChange(title=title, before=one, after=other))
    return tuple(sorted(found, key=lambda one: -abs(one.after_s - one.before_s)))


def _change(metric: Metric, before: KernelCounters, after: KernelCounters) -> Change:
    old, new = before.metrics[metric.name], after.metrics[metric.name]
    spread = before.spread[metric.name] + after.spread[metric.name]
    return Change(metric=metric, before=old, after=new, noise=spread + metric.allowance(old, new))
