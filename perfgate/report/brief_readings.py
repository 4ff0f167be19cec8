"""What each measured counter says of a case on a card, in words. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.report.brief_stages import (
    DRAM_THROUGHPUT,
    GRID_SIZE,
    L2_HIT_RATE,
    SM_THROUGHPUT,
    WARPS_ACTIVE,
    WARPS_GUIDELINE_PERCENT,
)
from perfgate.report.brief_work import Situation
from perfgate.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perfgate.hardware.occupancy import Architecture
    from perfgate.profiling.brief_counters import Counters, Profile
    from perfgate.report.brief_work import Work

_HUNDRED = 100


def readings(profile: Profile, arch: Architecture) -> Iterator[tuple[str, str, str]]:
    """Name, value and reading of every counter of a profile that is known here; of others nothing is said."""
    for name, value in profile.metrics.items():
        if said := _reading(name, value, arch):
            yield name, f"{value:g}", said


def least_seconds(counters: Counters, work: Work) -> float | None:
    """The least time that the profiled run can have taken; None where its counters do not say.

    A run that kept the memory busy for a share of its time moved that share of the peak, and at least the least traffic:
    time ≥ least bytes / (share × peak). Only where one kernel did all the work, so that the share is of all of the time.
    """
    if len(counters.kernels) != 1:
        return None
    percent = counters.kernels[0].metrics.get(DRAM_THROUGHPUT, 0.0)
    if not 0 < percent <= _HUNDRED:
        return None
    return work.min_bytes / (percent / _HUNDRED * work.bytes_per_s)


def said_of_time(counters: Counters, work: Work) -> str:
    """What the counters alone say of the time, where that is more than the limit itself says; empty otherwise."""
    least_s = least_seconds(counters, work)
    if least_s is None or least_s <= work.bound_s:
        return ""
    share = (1 - work.bound_s / least_s) * _HUNDRED
    return (
        f"The counters alone say that the profiled run took at least {duration(least_s)} (the least traffic at the share of the "
        f"memory's peak that was in use), of which {share:.1f} % was to be had at least; what it moved beyond the least "
        "traffic comes on top. It is worked out, not timed."
    )


def _reading(name: str, value: float, arch: Architecture) -> str:
    if name == GRID_SIZE:
        blocks = value / arch.multiprocessors
        return f"blocks in all, {blocks:,.1f} for each of the {arch.multiprocessors} multiprocessors"
    if name == WARPS_ACTIVE:
        held = value / _HUNDRED * arch.warps_per_sm
        where = "below" if value <= WARPS_GUIDELINE_PERCENT else "within"
        return (
            f"% of the warp slots in use, {held:.1f} of {arch.warps_per_sm}: {where} the guideline of over "
            f"{WARPS_GUIDELINE_PERCENT} %"
        )
    if name == DRAM_THROUGHPUT:
        return f"% of the memory's peak in use; the other {_HUNDRED - value:.2f} % is what a better order can win"
    if name == L2_HIT_RATE:
        return f"% of L2's sectors found there, {_HUNDRED - value:.2f} % missed; it counts stores as well as loads"
    if name == SM_THROUGHPUT:
        return "% of the multiprocessors' peak, by their busiest part; reads about half on the tensor cores of GeForce"
    return ""


WHAT_HOLDS = {
    Situation.STORES: "The memory is the limit, and of its traffic the result is the larger part.",
    Situation.READS: "The memory is the limit, and of its traffic the operands are the larger part.",
    Situation.ARITHMETIC: "Arithmetic is the limit; the memory has time to spare.",
}
"""In a sentence."""
