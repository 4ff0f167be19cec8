"""Counters put before a reader, in a terminal or on a page: what moved beside the time that it explains. Decides nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from perfgate.files import write_whole
from perfgate.profiling.compare import compare, seconds
from perfgate.profiling.metrics import BY_NAME, DURATION, METRICS, TIME, WARPS_ACTIVE, WARPS_GUIDELINE_PERCENT
from perfgate.text import arrow, duration, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from perfgate.profiling.compare import KernelChange
    from perfgate.profiling.store import CaseCounters

_LEAST_OF_TIME = 0.05
"""Of the case's time or of its change: a kernel with less explains nothing."""
WHAT_IS_KNOWN_OF_WARPS = (
    f"The guideline is over {WARPS_GUIDELINE_PERCENT} % active warps; it is a means, and what is known does not bear it out "
    "where storing the result is the limit: of four published profiles of case 7 on a 4090, 16.54 % went with a DRAM share of 87.43 %, "
    "16.35 % with 95.77 %, 24.35 % with 95.83 %. The order of the tiles looks like the lever there; no controlled comparison."
)
"""Source: Alisehen/LLMKernel, as `brief_stages` has it."""


def told(case: str, found: CaseCounters) -> Iterator[str]:
    """Every counter of a case, with how far its calls lay apart."""
    yield f"{plain(case)}: {duration(seconds(found))} under ncu, median of {found.calls} calls"
    for title, kernel in found.titled():
        took_s = kernel.metrics[DURATION]
        yield f"  {plain(title)}: {duration(took_s)}"
        for metric in METRICS:
            if metric.name != DURATION:
                value, spread = kernel.metrics[metric.name], kernel.spread[metric.name]
                apart = f" (calls {metric.worded(spread)} apart)" if spread else ""
                yield f"    {metric.said} {metric.worded(value)}{apart}"


def compared(case: str, before: CaseCounters, after: CaseCounters) -> Iterator[str]:
    """What moved beyond its noise, by kernel, and whose code it was."""
    old_s, new_s = seconds(before), seconds(after)
    same = before.code == after.code != ""
    whose = "the same machine code" if same else "other machine code"
    moved = [kernel for kernel in compare(before, after) if kernel.has_moved]
    lead = f"{plain(case)}: {duration(old_s)} → {duration(new_s)} under ncu ({percent(new_s / old_s)}), {whose}"
    yield lead if moved else f"{lead}; nothing moved beyond its noise"
    for kernel in moved:
        title = plain(kernel.title)
        if kernel.presence:
            yield f"  {title}: {kernel.presence}, {duration(kernel.after_s or kernel.before_s)}"
            continue
        within = "" if kernel.time_moved else ", within noise"
        yield f"  {title}: time {duration(kernel.before_s)} → {duration(kernel.after_s)}{within}"
        for change in kernel.moved:
            yield f"    {change.said()} (noise ±{change.metric.worded(change.noise)})"
        if not kernel.moved:
            yield "    no counter moved with it"


def sentences(kernels: Sequence[KernelChange]) -> Iterator[str]:
    """One for each kernel whose counters or time moved and that takes a part of the case's time worth a word."""
    most_s = max((max(one.before_s, one.after_s) for one in kernels), default=0.0)
    for one in kernels:
        if not one.has_moved or max(one.before_s, one.after_s) < _LEAST_OF_TIME * most_s:
            continue
        title = plain(one.title)
        if one.presence:
            yield f"{title} is {one.presence}, {duration(one.after_s or one.before_s)} under the profiler"
        else:
            named = ", ".join(change.said() for change in one.moved) or "none moved"
            took = arrow(duration(one.before_s), duration(one.after_s))
            yield f"counters of {title}: {named}; time under the profiler {took}"


def rows(kernels: Iterable[KernelChange]) -> Iterator[dict[str, str | bool]]:
    """Every counter of every kernel in words, for a page."""
    for kernel in kernels:
        for change in kernel.changes:
            name, worded = f"{kernel.title}: {change.metric.said}", change.metric.worded
            yield {"name": name, "before": worded(change.before), "after": worded(change.after), "moved": change.moved}
        if kernel.presence:
            before, after = (TIME.worded(took_s) if took_s else "" for took_s in (kernel.before_s, kernel.after_s))
            yield {"name": f"{kernel.title}: {TIME.said}", "moved": True, "before": before, "after": after}


def write_for_page(
    path: Path, sides: Mapping[str, tuple[CaseCounters, CaseCounters]], moved: Mapping[str, Sequence[str]]
) -> None:
    """Counters and the sentences on what moved with each case's time, as the page's ``--counters`` takes them."""
    document = {
        "schema": 1,
        "counters": {case: list(rows(compare(*both))) for case, both in sides.items()},
        "moved_with_it": {case: list(found) for case, found in moved.items()},
    }
    write_whole(path, json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def guideline(cases: Mapping[str, CaseCounters]) -> Iterator[str]:
    """Active warps of the kernel that takes most of each case's time, and what is known of the guideline."""
    below = []
    for case, found in cases.items():
        title, kernel = max(found.titled(), key=lambda one: one[1].metrics[DURATION])
        value = kernel.metrics[WARPS_ACTIVE]
        if value <= WARPS_GUIDELINE_PERCENT:
            below.append(f"{plain(case)} {BY_NAME[WARPS_ACTIVE].worded(value)} ({plain(title)})")
    if below:
        yield f"active warps at or below {WARPS_GUIDELINE_PERCENT} %: {', '.join(below)}. {WHAT_IS_KNOWN_OF_WARPS}"
