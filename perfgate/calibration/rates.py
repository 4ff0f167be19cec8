"""The gate's error rates on one card, from launches recorded for it: false alarms, and what is found of real slowdowns.

Owns what is counted. Draws runs by `perfgate.calibration.resampling`, judges by `perfgate.compare.judge`; pure.
"""

from __future__ import annotations

import math
import os
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import structs

from perfgate.calibration import RUNS, SIZES
from perfgate.calibration.resampling import (
    ALL_LAUNCHES,
    FIRST_LAUNCHES,
    Rate,
    RecordedLaunch,
    against,
    as_launch,
    by_occasion,
    read_recorded,
    run_of,
    verdicts,
)
from perfgate.compare import comparability
from perfgate.compare.estimators import shift_within_launch, typical_seconds
from perfgate.records import SCHEMA, GateError, Launch, Samples, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from perfgate.config import Limits

KERNEL, AGAIN, NOTHING_ADDED = "A", "A2", "+0"
"""Arms: the kernel; the same file imported again; the slowed kernel with no work added.

A slowdown is held against the last, not against the kernel: both are one compiled program, so the work added is the
only difference, and every size can be reached from exactly nothing.
"""
KNOBS_FILE = "PERFGATE_KNOBS"
"""Environment variable: file with the extra work of each size and case, so that all launches do the same work."""
SIZES_WANTED = "PERFGATE_SIZES"
"""Environment variable: names of `SIZES` with commas between them, where only some are wanted."""
CHANGED = frozenset({Status.SLOWER, Status.FASTER})


def sizes_wanted() -> Mapping[str, float]:
    """The sizes that this process is to inject."""
    names = os.environ.get(SIZES_WANTED, "")
    return {name: size for name, size in SIZES.items() if not names or name in names.split(",")}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A recording of launches whose arms are known to be equal, or slower by real work."""

    launches: tuple[RecordedLaunch, ...]
    """Without the cases that were disturbed, and those with too few launches left."""
    suite: int
    """Cases that the gate judges together on this card."""
    about: Mapping[str, str] = field(default_factory=dict)
    """Card, versions, date, commit and command."""
    left_out: tuple[str, ...] = ()
    """What is not in the rates and why, a sentence each."""

    def cases(self) -> tuple[str, ...]:
        """Every case that was recorded at all, in order."""
        return tuple(dict.fromkeys(case for launch in self.launches for case in launch.samples))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One arm held against another: the change that was measured, and what the gate said of it."""

    ratio: float
    """Median over the launches; 1.01 is 1 % slower."""
    drawn: Counter[Status]
    """Of resampled runs."""
    live: Counter[Status]
    """Of runs one after another that share no launch."""

    def rate(self, *statuses: Status) -> Rate:
        """How often the gate said one of these."""
        return rate_of([self], *statuses)


@dataclass(frozen=True, kw_only=True)
class CaseRates:
    """What the gate says of one case."""

    case: str
    seconds: float
    """Of the kernel."""
    knob: float
    """The slowed kernel with nothing added over the kernel; 1.01 is 1 % slower."""
    same: Compared
    """The kernel against itself."""
    slower: Mapping[str, Compared]
    """By name of the size; a size that the case could not be slowed to is not there."""


def read_calibration(path: Path) -> Calibration:
    """Read a recording of ``python -m perfgate calibrate``.

    Raises:
        GateError: As `read_recorded`, ``malformed`` or ``other-schema``.
    """
    document = read_recorded(path)
    about, launches = document.about, document.launches
    if document.schema != SCHEMA:
        raise GateError("other-schema", f"{path} has schema {document.schema!r}, expected {SCHEMA}; record it anew.")
    suite = about.get("suite")
    if type(suite) is not int or suite < 1:
        raise GateError("malformed", f"{path} has {suite!r} as about.suite, expected how many cases; record it anew.")
    left_out = [str(text) for text in about.get("failed", [])]
    sound = []
    for number, launch in enumerate(launches, 1):
        where = f"launch {number} of {len(launches)}"
        bad = {case: why for case in launch.samples if (why := _disturbance(case, launch))}
        left_out += [f"{case}: {why.replace('launch 1 of 1', where)}." for case, why in bad.items()]
        sound.append(_without(launch, bad))
    counts = Counter(case for launch in sound for case in launch.samples)
    few = {case: count for case, count in counts.items() if count < ALL_LAUNCHES}
    left_out += [
        f"{case}: {count} of {len(launches)} launches could be used, expected {ALL_LAUNCHES} or more."
        for case, count in few.items()
    ]
    # Sizes that no amount of extra work gave: the first launch searched, and the others took what it found.
    left_out += [
        f"{case}: no extra work was found that slows it by {size} %, the nearest gave {knob['slowdown'] * 100:+.2f} %."
        for case, state in launches[0].states.items()
        for size, knob in state.get("knobs", {}).items()
        if not knob["reached"]
    ]
    return Calibration(
        launches=tuple(_without(launch, few) for launch in sound),
        suite=suite,
        about={key: str(value) for key, value in about.items() if isinstance(value, str | int)},
        left_out=tuple(left_out),
    )


def _without(launch: RecordedLaunch, cases: Collection[str]) -> RecordedLaunch:
    kept = {case: arms for case, arms in launch.samples.items() if case not in cases}
    return structs.replace(launch, samples=kept)


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Everything that is published."""

    cases: tuple[CaseRates, ...]
    whole: Mapping[str, Rate]
    """By arm: whole runs that raised an alarm for `AGAIN`, and that failed for a size."""


def rates(calibration: Calibration, limits: Limits, *, runs: int = RUNS) -> Rates:
    """Work out the rates of every case and of whole runs.

    Args:
        calibration: What was recorded.
        limits: Those that the gate judges by.
        runs: How many runs to draw for each case and size.

    Raises:
        GateError: ``too-few-launches``.
    """
    if not calibration.cases():
        raise GateError(
            "too-few-launches",
            f"{len(calibration.launches)} launches are recorded and none of the cases has {ALL_LAUNCHES} that could be used, "
            f"expected {ALL_LAUNCHES} or more; record more.",
        )
    arms = {arm for launch in calibration.launches for one in launch.samples.values() for arm in one}
    slower = {size: (size, NOTHING_ADDED, {Status.SLOWER}) for size in SIZES if size in arms}
    compared = {AGAIN: (AGAIN, KERNEL, CHANGED), **slower}
    return Rates(
        cases=tuple(_case_rates(case, calibration, limits, runs=runs) for case in calibration.cases()),
        whole={
            name: whole_runs(calibration, limits, now=now, before=before, called=called)
            for name, (now, before, called) in compared.items()
        },
    )


def rate_of(compared: Sequence[Compared], *statuses: Status) -> Rate:
    """How often the gate said one of these of several comparisons together."""
    return Rate(
        flagged=sum(one.drawn[status] for one in compared for status in statuses),
        runs=sum(one.drawn.total() for one in compared),
        independent=sum(one.live.total() for one in compared),
    )


def _case_rates(case: str, calibration: Calibration, limits: Limits, *, runs: int) -> CaseRates:
    launches = [launch for launch in calibration.launches if case in launch.samples]

    def compared(now: str, before: str) -> Compared:
        arms: dict[str, Any] = {
            "case": case,
            "now": now,
            "before": before,
            "limits": limits,
            "cases": calibration.suite,
        }
        drawn, one_by_one = against(launches, runs=runs, **arms), live(launches, **arms)
        return Compared(ratio=_ratio(launches, case, now, before), drawn=drawn, live=one_by_one)

    recorded = [size for size in SIZES if all(size in launch.samples[case] for launch in launches)]
    return CaseRates(
        case=case,
        seconds=typical_seconds(launch.samples[case][KERNEL] for launch in launches),
        knob=_ratio(launches, case, NOTHING_ADDED, KERNEL),
        same=compared(AGAIN, KERNEL),
        slower={size: compared(size, NOTHING_ADDED) for size in recorded},
    )


def live(  # noqa: PLR0913 - each is one independent choice, all by name
    launches: Sequence[RecordedLaunch], *, case: str, now: str, before: str, limits: Limits, cases: int
) -> Counter[Status]:
    """Statuses of runs made one after another as a user would: 4 launches, 4 more where undecided, none used twice.

    A last run that is undecided and has no launches left counts as UNSURE.
    """
    found: Counter[Status] = Counter()
    for group in by_occasion(launches).values():
        left = [as_launch(one, case, now, before=before) for one in group]
        while len(left) >= FIRST_LAUNCHES:
            status, used = run_of(left[:ALL_LAUNCHES], case=case, limits=limits, cases=cases)
            found[status] += 1
            del left[:used]
    return found


def whole_runs(calibration: Calibration, limits: Limits, *, now: str, before: str, called: Collection[Status]) -> Rate:
    """Runs of all cases together, 4 launches each and none used twice: how many call anything, the suite as a whole included."""
    flagged = runs = 0
    for launches in by_occasion(calibration.launches).values():
        for first in range(0, len(launches) - FIRST_LAUNCHES + 1, FIRST_LAUNCHES):
            group = launches[first : first + FIRST_LAUNCHES]
            shared = [c for c in group[0].samples if all({now, before} <= set(one.samples.get(c, ())) for one in group)]
            made = {case: [as_launch(one, case, now, before=before) for one in group] for case in shared}
            runs += 1
            flagged += any(one.status in called for one in verdicts(made, limits=limits, cases=calibration.suite))
    return Rate(flagged=flagged, runs=runs, independent=runs)


def _ratio(launches: Sequence[RecordedLaunch], case: str, now: str, before: str) -> float:
    arms = [launch.samples[case] for launch in launches]
    return math.exp(statistics.median(shift_within_launch(one[now], one[before]).shift for one in arms))


def _disturbance(case: str, launch: RecordedLaunch) -> str:
    """Why the times of a case mean nothing in this launch; empty where they do."""
    seen = Launch(arms=launch.samples[case], state=launch.states.get(case, {}))
    found = comparability.disturbance(Samples(case=case, launches=(seen,)))
    return found[1] if found else ""
