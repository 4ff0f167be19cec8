"""Counters put before a reader in a terminal: what moved beside the time that it explains. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.profiling.compare import compare, seconds
from perfgate.profiling.metrics import BY_NAME, DURATION, METRICS
from perfgate.report.brief_stages import WARPS_ACTIVE, WARPS_GUIDELINE_PERCENT
from perfgate.report.markdown import plain
from perfgate.text import duration, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perfgate.profiling.compare import KernelChange
    from perfgate.profiling.store import CaseCounters

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
    kernels = compare(before, after)
    moved = [kernel for kernel in kernels if kernel.has_moved]
    lead = f"{plain(case)}: {duration(old_s)} → {duration(new_s)} under ncu ({percent(new_s / old_s)}), {whose}"
    yield lead if moved else f"{lead}; nothing moved beyond its noise"
    for kernel in moved:
        yield from _kernel(kernel)


def _kernel(kernel: KernelChange) -> Iterator[str]:
    title = plain(kernel.title)
    if kernel.only:
        took = duration(kernel.after_s or kernel.before_s)
        yield f"  {title}: {'new' if kernel.only == 'after' else 'no longer launched'}, {took}"
        return
    within = "" if kernel.time and kernel.time.moved else ", within noise"
    yield f"  {title}: time {duration(kernel.before_s)} → {duration(kernel.after_s)}{within}"
    for change in kernel.moved:
        yield f"    {change.said()} (noise ±{change.metric.worded(change.noise)})"
    if not kernel.moved:
        yield "    no counter moved with it"


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
