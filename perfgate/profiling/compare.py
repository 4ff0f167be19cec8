"""Counters of two sides: from the calls of a case to its counters, and which of them moved beyond their noise. Pure.

A counter moved when it differs by more than the spread of the calls of one side, and that of the other, and what the
metric allows two profiles of the same code (`Metric.allowance`), all three added: a profile that is run again flags nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, zip_longest
from statistics import median
from typing import TYPE_CHECKING

from perfgate.profiling.metrics import DURATION, METRICS, TIME
from perfgate.profiling.store import CaseCounters, KernelCounters
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    changes: tuple[Change, ...] = ()
    """Every counter, in the order in which they tell; empty where one side alone launches the kernel."""
    before_s: float = 0.0
    after_s: float = 0.0
    """Time under the profiler; 0 where it is not launched."""
    only: str = ""
    """``before`` or ``after`` where one side alone launches it."""

    @property
    def moved(self) -> tuple[Change, ...]:
        """The counters that moved, time itself apart."""
        return tuple(change for change in self.changes if change.moved and change.metric is not TIME)

    @property
    def time(self) -> Change | None:
        """How its time changed."""
        return next((change for change in self.changes if change.metric is TIME), None)

    @property
    def has_moved(self) -> bool:
        """Whether there is anything to say of it."""
        return bool(self.only) or any(change.moved for change in self.changes)


def gathered(calls: Sequence[Sequence[Profiled]]) -> tuple[KernelCounters, ...]:
    """The counters of a case: of each kernel the median over the calls, and how far these lie apart.

    Args:
        calls: One or more; each the launches of one call, in order.

    Raises:
        GateError: ``counters-disagree`` where calls launch other kernels or grids.
    """
    for first, then in pairwise(calls):
        if [(one.name, one.grid) for one in first] != [(one.name, one.grid) for one in then]:
            raise GateError(
                "counters-disagree",
                f"Calls of one case launched {_launches(first)} and {_launches(then)}, expected the same kernels each time; a "
                "kernel that chooses anew each call cannot be compared.",
            )
    return tuple(_over_calls(launches) for launches in zip(*calls, strict=True))


def _launches(call: Sequence[Profiled]) -> str:
    return ", ".join(f"{one.name} {one.grid}" for one in call) or "nothing"


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
    found = [_kernel(*pair) for pair in _pairs(before, after)]
    return tuple(sorted(found, key=lambda one: -abs(one.after_s - one.before_s)))


_Titled = tuple[str, KernelCounters]


def _pairs(before: CaseCounters, after: CaseCounters) -> Iterator[tuple[_Titled | None, _Titled | None]]:
    """Kernels of equal names first; the rest in order, where there are as many (a kernel may be renamed)."""
    old, new = dict(before.titled()), dict(after.titled())
    yield from (((title, old[title]), (title, new[title])) for title in new if title in old)
    left = [(title, kernel) for title, kernel in old.items() if title not in new]
    added = [(title, kernel) for title, kernel in new.items() if title not in old]
    if len(left) == len(added):
        yield from zip(left, added, strict=True)
    else:
        yield from zip_longest(left, ())
        yield from ((None, one) for one in added)


def _kernel(before: _Titled | None, after: _Titled | None) -> KernelChange:
    if before is None or after is None:
        title, kernel = before or after or ("", None)
        took_s = kernel.metrics[DURATION] if kernel else 0.0
        return KernelChange(
            title=title,
            before_s=took_s if before else 0.0,
            after_s=took_s if after else 0.0,
            only="before" if before else "after",
        )
    title = after[0] if before[0] == after[0] else f"{before[0]} → {after[0]}"
    old, new = before[1], after[1]
    return KernelChange(
        title=title,
        changes=tuple(_change(metric, old, new) for metric in METRICS),
        before_s=old.metrics[DURATION],
        after_s=new.metrics[DURATION],
    )


def _change(metric: Metric, before: KernelCounters, after: KernelCounters) -> Change:
    old, new = before.metrics[metric.name], after.metrics[metric.name]
    spread = before.spread[metric.name] + after.spread[metric.name]
    return Change(metric=metric, before=old, after=new, noise=spread + metric.allowance(old, new))


def rows(before: CaseCounters, after: CaseCounters) -> list[dict[str, str | bool]]:
    """Every counter of every kernel in words, for a page: ``name``, ``before``, ``after``, ``moved``."""
    found: list[dict[str, str | bool]] = []
    for kernel in compare(before, after):
        for change in kernel.changes:
            worded = change.metric.worded
            name = f"{kernel.title}: {change.metric.said}"
            found.append(
                {"name": name, "before": worded(change.before), "after": worded(change.after), "moved": change.moved}
            )
        if kernel.only:
            took = {"before": kernel.before_s, "after": kernel.after_s}
            sides = {side: TIME.worded(spent_s) if side == kernel.only else "" for side, spent_s in took.items()}
            found.append({"name": f"{kernel.title}: {TIME.said}", "moved": True, **sides})
    return found


def page_document(
    sides: Mapping[str, tuple[CaseCounters, CaseCounters]], sentences: Mapping[str, Sequence[str]]
) -> dict[str, object]:
    """Counters and what moved with a case's time, as the page's ``--counters`` takes them."""
    return {
        "schema": 1,
        "counters": {case: rows(before, after) for case, (before, after) in sides.items()},
        "moved_with_it": {case: list(found) for case, found in sentences.items()},
    }
