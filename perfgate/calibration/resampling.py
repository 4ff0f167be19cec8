"""The gate's own error rates: recorded launches drawn again and again, and judged as the gate judges them. Pure.

Owns how a file of recorded launches is read, how runs of the gate are drawn from it, and how sure the shares are that
come out. Knows no rule of its own: every run goes through `perfgate.compare.judge.judge`.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.compare.judge import judge
from perfgate.records import GateError, Launch, Recording, Samples, Status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.limits import Limits

SUITE = 25
"""Cases that are judged together in this project, among which the suite's share of false alarms is divided."""
FIRST_LAUNCHES, ALL_LAUNCHES = 4, 8
"""Launches of a comparison in the same launches: at the first look, and after an undecided one."""
TWINS = {"A": "A2"}
"""Arms that ran the same code: the baseline takes the first and now the second, so no sample meets itself."""
_CONFIDENCE = 0.95


@dataclass(frozen=True)
class RecordedLaunch:
    """One recorded process: where it belongs, and seconds of every run by case and arm."""

    occasion: str
    """Launches of one occasion ran on one card within one sitting."""
    samples: Mapping[str, Mapping[str, tuple[float, ...]]]


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


def rate(found: Counter[Status], *statuses: Status, independent: int) -> Rate:
    """How often a run ended in one of these statuses.

    Args:
        found: What `against` or `stored` returned.
        statuses: Those to count.
        independent: What `disjoint_against` or `disjoint_stored` says of the same launches.
    """
    return Rate(flagged=sum(found[status] for status in statuses), runs=found.total(), independent=independent)


def read_launches_file(path: str | Path) -> tuple[RecordedLaunch, ...]:
    """Read recorded launches from JSON, gzipped where the name ends in ``.gz``.

    Raises:
        GateError: ``unreadable`` or ``malformed``, in one sentence.
    """
    source = Path(path)
    try:
        data = source.read_bytes()
        document = json.loads(gzip.decompress(data) if source.suffix == ".gz" else data)
    except (OSError, EOFError, ValueError) as error:  # BadGzipFile is an OSError, JSONDecodeError a ValueError
        raise GateError(
            "unreadable", f"{path} cannot be read ({error}), expected JSON of recorded launches; record it anew."
        ) from None
    launches = document.get("launches") if isinstance(document, dict) else None
    if not isinstance(launches, list) or not launches:
        _refuse(source, "has no list of launches", 'one or more under "launches"')
    return tuple(_launch(entry, source, f"launches[{number}]") for number, entry in enumerate(launches))


def against(  # noqa: PLR0913 - each is one independent choice, all by name
    launches: Sequence[RecordedLaunch],
    *,
    case: str,
    now: str,
    before: str,
    limits: Limits,
    runs: int,
    cases: int = SUITE,
    scale: float = 1.0,
    seed: int | str = 0,
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
        seed: Another seed, other draws.
    """
    groups = _by_occasion(launches, case, {now, before})
    drawn = [group for group in groups.values() if len(group) >= ALL_LAUNCHES]
    drawn = drawn or [[one for group in groups.values() for one in group]]
    if len(drawn[0]) < ALL_LAUNCHES:
        _too_few(case, groups, f"{ALL_LAUNCHES} or more")
    # Each launch is made once, so that what is computed of it can be kept from run to run.
    pools = [[_as_launch(one, case, now, scale, before=before) for one in group] for group in drawn]
    chooser = random.Random(f"against {seed} {case} {now} {before} {scale}")  # noqa: S311 - repeatable, no secret
    found: Counter[Status] = Counter()
    for run in range(runs):
        chosen = chooser.sample(pools[run % len(pools)], ALL_LAUNCHES)
        status = _status(None, _recording(case, chosen[:FIRST_LAUNCHES], beside=True), limits, cases)
        if status is Status.UNSURE:
            status = _status(None, _recording(case, chosen, beside=True), limits, cases)
        found[status] += 1
    return found


def stored(  # noqa: PLR0913 - each is one independent choice, all by name
    launches: Sequence[RecordedLaunch],
    *,
    case: str,
    arm: str,
    limits: Limits,
    runs: int,
    cases: int = SUITE,
    scale: float = 1.0,
    each: int = 5,
    seed: int | str = 0,
    before: str | None = None,
) -> Counter[Status]:
    """Statuses of runs against a number stored on another occasion, all ordered pairs of occasions in turn.

    Args:
        launches: Where runs are drawn from.
        case: Which case.
        arm: The arm judged; where it has a twin of equal code, the twin is what is judged.
        limits: What counts as a change.
        runs: How many runs to draw.
        cases: How many cases are judged together.
        scale: Factor on the seconds of now.
        each: Launches a side, drawn without replacement.
        seed: Another seed, other draws.
        before: The arm of the baseline; ``arm`` itself where not given.
    """
    then_arm, now_arm = before or arm, arm if before else TWINS.get(arm, arm)
    if before is None and not any(now_arm in launch.samples.get(case, {}) for launch in launches):
        now_arm = arm
    groups = _by_occasion(launches, case, {then_arm, now_arm})
    enough = {name: group for name, group in groups.items() if len(group) >= each}
    pairs = [(then, now) for then in enough for now in enough if then != now]
    if not pairs:
        _too_few(case, groups, f"two occasions of {each} or more")
    then_side = {name: [_as_launch(one, case, then_arm) for one in group] for name, group in enough.items()}
    now_side = {name: [_as_launch(one, case, now_arm, scale) for one in group] for name, group in enough.items()}
    chooser = random.Random(f"stored {seed} {case} {then_arm} {now_arm} {scale}")  # noqa: S311 - repeatable, no secret
    found: Counter[Status] = Counter()
    for run in range(runs):
        then, now = pairs[run % len(pairs)]
        baseline = _recording(case, chooser.sample(then_side[then], each))
        found[_status(baseline, _recording(case, chooser.sample(now_side[now], each)), limits, cases)] += 1
    return found


def disjoint_against(launches: Sequence[RecordedLaunch], *, case: str) -> int:
    """How many runs of `against` these launches allow without using one twice."""
    sizes = [len(group) for group in _by_occasion(launches, case, set()).values()]
    return sum(size // ALL_LAUNCHES for size in sizes) or sum(sizes) // ALL_LAUNCHES


def disjoint_stored(launches: Sequence[RecordedLaunch], *, case: str, each: int = 5) -> int:
    """How many runs of `stored` these launches allow without using one twice."""
    sides = [len(group) // each for group in _by_occasion(launches, case, set()).values()]
    return min(sum(sides) // 2, sum(sides) - max(sides, default=0))


def _by_occasion(launches: Sequence[RecordedLaunch], case: str, arms: set[str]) -> dict[str, list[RecordedLaunch]]:
    """Launches that hold these arms of the case, in the file's order."""
    groups: dict[str, list[RecordedLaunch]] = {}
    for launch in launches:
        if case in launch.samples and arms <= set(launch.samples[case]):
            groups.setdefault(launch.occasion, []).append(launch)
    return groups


def _as_launch(launch: RecordedLaunch, case: str, arm: str, scale: float = 1.0, *, before: str | None = None) -> Launch:
    """One launch as the gate would have recorded it."""
    arms = launch.samples[case]
    kernel = arms[arm] if scale == 1 else tuple(seconds * scale for seconds in arms[arm])
    made = {"kernel": kernel}
    if "control" in arms:
        made["control"] = arms["control"]
    if before is not None:
        made["other"] = arms[before]
    return Launch(arms=made)


def _recording(case: str, launches: Sequence[Launch], *, beside: bool = False) -> Recording:
    other = {"kind": "ref", "name": "recorded"} if beside else None
    return Recording(
        samples={case: Samples(case=case, launches=tuple(launches), other=other)}, environment={}, settings={}
    )


def _status(baseline: Recording | None, current: Recording, limits: Limits, cases: int) -> Status:
    return judge(baseline, current, limits, suite=cases)[0].status


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


def _launch(entry: object, source: Path, where: str) -> RecordedLaunch:
    cases = entry.get("samples") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(cases, dict) or not cases:
        _refuse(source, f"has no samples in {where}", "seconds by case and arm")
    occasion = entry.get("occasion")
    if isinstance(occasion, bool) or not isinstance(occasion, int | str) or occasion == "":
        _refuse(source, f"has {occasion!r} as the occasion of {where}", "a number or a name")
    samples: dict[str, dict[str, tuple[float, ...]]] = {}
    for case, arms in cases.items():
        if not isinstance(arms, dict) or not arms:
            _refuse(source, f"has no arms of {case} in {where}", "seconds by arm")
        samples[case] = {arm: _seconds(values, source, f"{arm} of {case} in {where}") for arm, values in arms.items()}
    return RecordedLaunch(occasion=str(occasion), samples=samples)


def _seconds(values: object, source: Path, where: str) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        _refuse(source, f"has no samples of {where}", "a list of seconds")
    for value in values:
        if type(value) not in {int, float} or not 0 < value < math.inf:  # NaN compares false
            _refuse(source, f"has {value!r} as a sample of {where}", "seconds above zero")
    return tuple(map(float, values))


def _refuse(source: Path, found: str, expected: str) -> NoReturn:
    raise GateError("malformed", f"{source} {found}, expected {expected}; record it anew.")


def _too_few(case: str, groups: Mapping[str, Sequence[Any]], expected: str) -> NoReturn:
    found = ", ".join(f"{len(group)} of occasion {name}" for name, group in groups.items()) or "none"
    raise GateError(
        "too-few-launches", f"{case}: found launches with its arms: {found}, expected {expected}; record more."
    )
