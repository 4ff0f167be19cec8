"""The counters that are read of a kernel: names as ncu has them, words for people, and how much of a change is none. Data; pure.

The five metrics of a profile (given with the project), and what tells apart why they moved. The floors are what a counter may
differ by between two profiles of the same code on the same card beyond the spread that either of them shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from perfgate.text import duration

DURATION = "gpu__time_duration.sum"
DRAM_READ = "dram__bytes_read.sum"
DRAM_WRITTEN = "dram__bytes_write.sum"
L2_SECTORS_READ = "lts__t_sectors_op_read.sum"
INSTRUCTIONS = "smsp__inst_executed.sum"
SM_THROUGHPUT = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
GRID_SIZE = "launch__grid_size"
WARPS_ACTIVE = "sm__warps_active.avg.pct_of_peak_sustained_active"
DRAM_THROUGHPUT = "dram__throughput.avg.pct_of_peak_sustained_elapsed"
L2_HIT_RATE = "lts__t_sector_hit_rate.pct"
WARPS_GUIDELINE_PERCENT = 50
"""Of warps that should be active, as a rule of thumb (given)."""

_HUNDRED = 100
_KILO = 1000
_MANY = 1e6
"""A count from here on is shown with four digits."""


class Kind(StrEnum):
    """What a counter counts; stored in SI: bytes, seconds, and shares in percent."""

    SHARE = "share"
    BYTES = "bytes"
    SECONDS = "seconds"
    COUNT = "count"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One counter."""

    name: str
    """As ncu has it."""
    said: str
    kind: Kind
    floor: float
    """In its own unit (percent points for a share): a change of no more is none."""
    relative_floor: float
    """The same as a part of its value, added to it."""
    of_the_rest: bool = False
    """The value that the relative floor is of is what is left to 100 %: of a hit rate, the misses."""

    def allowance(self, before: float, after: float) -> float:
        """By how much two profiles of the same code may differ beyond what either shows within itself."""
        values = [_HUNDRED - value if self.of_the_rest else value for value in (before, after)]
        return self.floor + self.relative_floor * max(map(abs, values))

    def worded(self, value: float) -> str:
        """A value with its unit: ``99.22 %``, ``75.5 MB``, ``2.294 ms``, ``65536``."""
        if self.kind is Kind.SECONDS:
            return duration(value)
        if self.kind is Kind.SHARE:
            return f"{value:.2f} %"
        if self.kind is Kind.BYTES:
            return _scaled(value, ("bytes", "KB", "MB", "GB", "TB"))
        return f"{value:.0f}" if value < _MANY else _scaled(value, ("", "thousand", "million", "billion", "trillion"))


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Four digits and the largest unit that leaves one or more before the point."""
    at = 0
    while at + 1 < len(units) and abs(value) >= _KILO:
        value, at = value / _KILO, at + 1
    return f"{value:.4g} {units[at]}".rstrip()


# In the order in which they tell: what the code asks for, what the memory makes of it, and what share of the card's peaks that
# is. Counts of work do not vary; L2 and DRAM do with the addresses, by some percent of what misses, and with whatever
# dirty lines leave meanwhile (a quarter of a megabyte); shares of a peak by time are as coarse as the clock that is
# not held (3 %).
METRICS: tuple[Metric, ...] = (
    Metric(name=GRID_SIZE, said="programs", kind=Kind.COUNT, floor=0, relative_floor=0),
    Metric(name=INSTRUCTIONS, said="instructions", kind=Kind.COUNT, floor=0, relative_floor=0.005),
    Metric(name=L2_SECTORS_READ, said="L2 sectors read", kind=Kind.COUNT, floor=10_000, relative_floor=0.02),
    Metric(name=L2_HIT_RATE, said="L2 hit rate", kind=Kind.SHARE, floor=0.1, relative_floor=0.02, of_the_rest=True),
    Metric(name=DRAM_READ, said="DRAM reads", kind=Kind.BYTES, floor=262_144, relative_floor=0.03),
    Metric(name=DRAM_WRITTEN, said="DRAM writes", kind=Kind.BYTES, floor=262_144, relative_floor=0.03),
    Metric(name=WARPS_ACTIVE, said="active warps", kind=Kind.SHARE, floor=0.5, relative_floor=0.02),
    Metric(name=DRAM_THROUGHPUT, said="DRAM share", kind=Kind.SHARE, floor=1, relative_floor=0.03),
    Metric(name=SM_THROUGHPUT, said="SM share", kind=Kind.SHARE, floor=1, relative_floor=0.03),
    Metric(name=DURATION, said="time", kind=Kind.SECONDS, floor=2e-7, relative_floor=0.03),
)
BY_NAME = {metric.name: metric for metric in METRICS}
TIME = BY_NAME[DURATION]
"""Not a cause: what the others explain."""
