"""The gate's own error rates: recorded launches drawn again and again, and judged as the gate judges them. Pure.

Owns the form of recorded launches, how runs of the gate are drawn from them, and how sure the shares are that come out.
Knows no rule of its own: every run goes through `perfgate.compare.judge.judge`.
"""

from __future__ import annotations

import gzip
import math
import random
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

from msgspec import Meta, Struct, field

from perfgate.compare.judge import judge
from perfgate.records import GateError, Launch, Recording, Samples, Status
from perfgate.store import codec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from perfgate.config import Limits
    from perfgate.records import Verdict

FIRST_LAUNCHES, ALL_LAUNCHES = 4, 8
"""Launches of a comparison in the same launches: at the first look, and after an undecided one."""
_CONFIDENCE = 0.95

_Seconds = Annotated[tuple[Annotated[float, Meta(gt=0)], ...], Meta(min_length=1)]
_Arms = Annotated[Mapping[str, _Seconds], Meta(min_length=1)]


class RecordedLaunch(Struct, frozen=True):
    """One recorded process: where it belongs, and seconds of every run by case and arm."""

    occasion: int | Annotated[str, Meta(min_length=1)]
    """Launches of one occasion ran on one card within one sitting."""
    samples: Annotated[Mapping[str, _Arms], Meta(min_length=1)]
    states: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By case, what the monitor saw and the extra work that was done."""


class Recorded(Struct, kw_only=True):
    """A file of recorded launches."""

    schema: int | None = None
    about: dict[str, Any] = field(default_factory=dict)
    launches: Annotated[list[RecordedLaunch], Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How often something happened among resampled runs.

    Resampling draws the same launches again and again, so a thousand runs from 20 launches are not a thousand
    observations. The share is that of all resampled runs, which is the best estimate there is; the interval counts
    only as many runs as could have been made of these launches without using one twice.
    """

    flagged: int
    runs: int
    independent: int
    """Runs that share no launch."""

    @property
    def share(self) -> float:
        """Share of the resampled runs."""
        return self.flagged / self.runs

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Clopper and Pearson (Biometrika 1934) for the share seen in the independent runs.

        That share need not be a whole number of them; it is rounded outwards, which can only widen the interval.
        """
        expected = self.flagged * self.independent / self.runs
        return (
            _lower_bound(math.floor(expected), self.independent),
            1 - _lower_bound(self.independent - math.ceil(expected), self.independent),
        )


def read_recorded(path: str | Path, *, remedy: str = "record it anew") -> Recorded:
    """Read recorded launches from JSON, gzipped where the name ends in ``.gz``.

    Raises:
        GateError: As `codec.decode`, or ``unreadable``.
    """
    data = codec.read_bytes(path, what="recorded launches")
    if Path(path).suffix == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise GateError("unreadable", f"{path} is not whole gzip ({error}); {remedy}.") from None
    return codec.decode(data, Recorded, source=str(path), remedy=remedy)


def against(  # noqa: PLR0913 - each is one independent choice, all by name
    launches: Sequence[RecordedLaunch],
    *,
    case: str,
    now: str,
    before: str,
    limits: Limits,
    runs: int,
    cases: int,
    scale: float = 1.0,
) -> Counter[Status]:
    """Statuses of runs of both sides in the same launches: 4 launches, continued to 8 where undecided.

    The 8 are different launches of one occasion, of each occasion that has them in turn; of all occasions where none
    has.

    Args:
        launches: Where runs are drawn from.
        case: Which case.
        now: The arm judged.
        before: The arm it is held against.
        limits: What counts as a change.
        runs: How many runs to draw.
        cases: How many cases are judged together.
        scale: Factor on the seconds of ``now``; 1.01 slows it by 1 %.
    """
    groups = by_occasion(launches, case, {now, before})
    drawn = [group for group in groups.values() if len(group) >= ALL_LAUNCHES]
    drawn = drawn or [[one for group in groups.values() for one in group]]
    if len(drawn[0]) < ALL_LAUNCHES:
        too_few(case, groups, f"{ALL_LAUNCHES} or more")
    # Each launch is made once, so that what is computed of it can be kept from run to run.
    pools = [[as_launch(one, case, now, scale, before=before) for one in group] for group in drawn]
    chooser = random.Random(f"against 0 {case} {now} {before} {scale}")  # noqa: S311 - repeatable, no secret
    found: Counter[Status] = Counter()
    for run in range(runs):
        chosen = chooser.sample(pools[run % len(pools)], ALL_LAUNCHES)
        found[run_of(chosen, case=case, limits=limits, cases=cases)[0]] += 1
    return found


def run_of(launches: Sequence[Launch], *, case: str, limits: Limits, cases: int) -> tuple[Status, int]:
    """What the gate says of one run of a case, and of how many launches: the first 4, or where undecided all."""
    for count in (FIRST_LAUNCHES, len(launches)):
        status = verdicts({case: launches[:count]}, limits=limits, cases=cases)[0].status
        if status is not Status.UNSURE:
            break
    return status, count


def verdicts(launches: Mapping[str, Sequence[Launch]], *, limits: Limits, cases: int) -> tuple[Verdict, ...]:
    """What the gate says of launches, by case, that both sides are in."""
    other = {"kind": "ref", "name": "recorded"}
    samples = {case: Samples(case=case, launches=tuple(ones), other=other) for case, ones in launches.items()}
    return judge(None, Recording(samples=samples, environment={}, settings={}), limits, suite=cases)


def by_occasion(
    launches: Sequence[RecordedLaunch], case: str | None = None, arms: Collection[str] = ()
) -> dict[int | str, list[RecordedLaunch]]:
    """Launches that hold these arms of the case, where one is named, in the file's order."""
    groups: dict[int | str, list[RecordedLaunch]] = {}
    for launch in launches:
        if case is None or (case in launch.samples and launch.samples[case].keys() >= set(arms)):
            groups.setdefault(launch.occasion, []).append(launch)
    return groups


def as_launch(launch: RecordedLaunch, case: str, arm: str, scale: float = 1.0, *, before: str | None = None) -> Launch:
    """One launch as the gate would have recorded it."""
    arms = launch.samples[case]
    made = {"kernel": arms[arm] if scale == 1 else tuple(seconds * scale for seconds in arms[arm])}
    if "control" in arms:
        made["control"] = arms["control"]
    if before is not None:
        made["other"] = arms[before]
    return Launch(arms=made)


def too_few(case: str, groups: Mapping[int | str, Sequence[object]], expected: str) -> NoReturn:
    """Refuse to draw from so few launches.

    Raises:
        GateError: ``too-few-launches``.
    """
    found = ", ".join(f"{len(group)} of occasion {name}" for name, group in groups.items()) or "none"
    raise GateError(
        "too-few-launches", f"{case}: found launches with its arms: {found}, expected {expected}; record more."
    )


def _lower_bound(successes: int, trials: int) -> float:
    """The largest share for which this many successes or more would still be rarer than the interval allows."""
    if successes == 0:
        return 0.0
    low, high = 0.0, successes / trials
    for _ in range(60):
        middle = (low + high) / 2
        if _upper_tail(successes, trials, middle) < (1 - _CONFIDENCE) / 2:
            low = middle
        else:
            high = middle
    return low


def _upper_tail(successes: int, trials: int, share: float) -> float:
    """Probability of at least this many successes, term by term of the binomial distribution."""
    if not 0 < share < 1:
        return share
    a, b = math.log(share), math.log1p(-share)
    whole = math.lgamma(trials + 1)
    return math.fsum(
        math.exp(whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * a + (trials - k) * b)
        for k in range(successes, trials + 1)
    )
