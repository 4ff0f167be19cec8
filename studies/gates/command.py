"""``nox -s study -- gates``: other gates' rules and this one on the same recorded launches.

Owns which launches each rule is given: in the setting "same occasion" both sides ran on one card in one sitting, other
gates in different launches (base and head run as processes of their own), this one side by side as ``--against`` does;
in "other occasion" the earlier side is a number stored on another card or day. Flagged means: reported as slower.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.calibration.resampling import (
    ALL_LAUNCHES,
    Rate,
    RecordedLaunch,
    against,
    as_launch,
    by_occasion,
    read_recorded,
    too_few,
)
from perfgate.compare.judge import judge
from perfgate.config import read_limits
from perfgate.records import GateError, Recording, Samples, Status
from studies import shared
from studies.gates import report
from studies.gates.report import OTHER, OURS, SAME, Row
from studies.gates.rules import RULES

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from perfgate.config import Limits
    from perfgate.records import Launch
    from studies.gates.rules import Rule

SUITE = 25
"""Cases that are judged together in this project, among which the suite's share of false alarms is divided."""
EACH = 5
"""Launches a side of this gate's stored comparison."""
RECORDED = "tests/data/h100-launches.json.gz"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What is done to the code between both sides: which arm is held against which, and a factor on its times."""

    name: str
    pairs: tuple[tuple[str, str], ...]
    """Now and before; every pair gets its share of the runs."""
    scale: float = 1.0


_TWINS = (("A2", "A"), ("A", "A2"))
CHANGES = (
    Change(name="none", pairs=_TWINS),
    *(Change(name=f"+{percent} %", pairs=_TWINS, scale=1 + percent / 100) for percent in (1, 2, 3, 5)),
    *(Change(name=arm, pairs=((arm, "A"), (arm, "A2"))) for arm in ("B1", "B3")),
)


def compare(
    launches: Sequence[RecordedLaunch], *, limits: Limits, cases: int = SUITE, runs: int = 1000
) -> tuple[Row, ...]:
    """Every rule in both settings, for every case and every change that the launches hold the arms for.

    Args:
        launches: Recordings of one code.
        limits: This gate's.
        cases: How many cases this gate is taken to judge together.
        runs: How many runs to draw of each.

    Raises:
        GateError: A case lacks the arms ``A`` and ``A2``, or no launches at all can be compared.
    """
    rows: list[Row] = []
    for case in dict.fromkeys(case for launch in launches for case in launch.samples):
        arms = {arm for launch in launches for arm in launch.samples.get(case, {})}
        if not {"A", "A2"} <= arms:
            raise GateError(
                "malformed",
                f"{case} has the arms {', '.join(sorted(arms))}, expected A and A2 (the same code twice); record both.",
            )
        for change in CHANGES:
            if all({now, before} <= arms for now, before in change.pairs):
                rows += _ours(launches, case, change, limits=limits, cases=cases, runs=runs)
                for rule in RULES:
                    rows += _theirs(launches, case, change, rule=rule, runs=runs)
    if not rows:
        raise GateError("too-few-launches", "No rule could be given the launches that it needs; record more.")
    return tuple(rows)


def _ours(  # noqa: PLR0913 - what one row is about
    launches: Sequence[RecordedLaunch], case: str, change: Change, *, limits: Limits, cases: int, runs: int
) -> Iterator[Row]:
    for setting, draws, independent in (
        (SAME, against, disjoint_against(launches, case=case)),
        (OTHER, stored, disjoint_stored(launches, case=case)),
    ):
        if not independent:
            continue
        found: Counter[Status] = Counter()
        for now, before in change.pairs:
            found += draws(
                launches,
                case=case,
                now=now,
                before=before,
                limits=limits,
                cases=cases,
                runs=runs // len(change.pairs),
                scale=change.scale,
            )
        rate = Rate(flagged=found[Status.SLOWER], runs=found.total(), independent=independent)
        statuses = {str(status): found[status] for status in Status if found[status]}
        yield Row(setting=setting, rule=OURS, case=case, change=change.name, rate=rate, statuses=statuses)


def stored(  # noqa: PLR0913 - each is one independent choice, all by name
    launches: Sequence[RecordedLaunch],
    *,
    case: str,
    now: str,
    before: str,
    limits: Limits,
    runs: int,
    cases: int = SUITE,
    scale: float = 1.0,
) -> Counter[Status]:
    """Statuses of runs against a number stored on another occasion, all ordered pairs of occasions in turn.

    Arguments are those of `against`; `EACH` launches a side are drawn without replacement.
    """
    groups = by_occasion(launches, case, {now, before})
    enough = {name: group for name, group in groups.items() if len(group) >= EACH}
    pairs = [(then, later) for then in enough for later in enough if then != later]
    if not pairs:
        too_few(case, groups, f"two occasions of {EACH} or more")
    then_side = {name: [as_launch(one, case, before) for one in group] for name, group in enough.items()}
    now_side = {name: [as_launch(one, case, now, scale) for one in group] for name, group in enough.items()}
    chooser = random.Random(f"stored 0 {case} {before} {now} {scale}")  # noqa: S311 - repeatable, no secret
    found: Counter[Status] = Counter()
    for run in range(runs):
        then, later = pairs[run % len(pairs)]
        baseline = _recording(case, chooser.sample(then_side[then], EACH))
        current = _recording(case, chooser.sample(now_side[later], EACH))
        found[judge(baseline, current, limits, suite=cases)[0].status] += 1
    return found


def _recording(case: str, launches: Sequence[Launch]) -> Recording:
    return Recording(samples={case: Samples(case=case, launches=tuple(launches))}, environment={}, settings={})


def disjoint_against(launches: Sequence[RecordedLaunch], *, case: str) -> int:
    """How many runs of `against` these launches allow without using one twice."""
    sizes = [len(group) for group in by_occasion(launches, case).values()]
    return sum(size // ALL_LAUNCHES for size in sizes) or sum(sizes) // ALL_LAUNCHES


def disjoint_stored(launches: Sequence[RecordedLaunch], *, case: str, each: int = EACH) -> int:
    """How many runs of `stored` these launches allow without using one twice."""
    sides = [len(group) // each for group in by_occasion(launches, case).values()]
    return min(sum(sides) // 2, sum(sides) - max(sides, default=0))


def _theirs(launches: Sequence[RecordedLaunch], case: str, change: Change, *, rule: Rule, runs: int) -> Iterator[Row]:
    groups = by_occasion(launches, case)
    for setting in (SAME, OTHER):
        draws = [
            (groups[then], groups[now], sizes)
            for then in groups
            for now in groups
            if (then == now) is (setting == SAME)
            and (sizes := _sizes(rule, len(groups[then]), len(groups[now]), together=then == now))
        ]
        if not draws:
            continue
        if setting == SAME:
            independent = sum(len(then) // sum(sizes) for then, _, sizes in draws)
        else:
            independent = max(1, disjoint_stored(launches, case=case, each=min(max(sizes) for _, _, sizes in draws)))
        flagged = _flagged(draws, case, change, rule=rule, runs=runs)
        rate = Rate(flagged=flagged, runs=runs, independent=independent)
        yield Row(setting=setting, rule=rule.name, case=case, change=change.name, rate=rate)


def _sizes(rule: Rule, then: int, now: int, *, together: bool) -> tuple[int, int] | None:
    """Launches before and now that a rule is given where there are so many; None where those are too few for it."""
    if not together:
        before, after = min(rule.before, then), min(rule.now, now)
    elif rule.before == rule.now:  # two sides of one kind share what there is
        before = after = min(rule.before, then // 2)
    else:  # one run against a history
        before, after = min(rule.before, then - rule.now), rule.now
    return (before, after) if before >= rule.least and after >= min(rule.now, rule.least) else None


def _flagged(
    draws: Sequence[tuple[list[RecordedLaunch], list[RecordedLaunch], tuple[int, int]]],
    case: str,
    change: Change,
    *,
    rule: Rule,
    runs: int,
) -> int:
    """How many runs a rule flags: every pair of arms with every pair of occasions in turn, launches at random."""
    chooser = random.Random(f"{rule.name} {case} {change.name}")  # noqa: S311 - repeatable choices, no secret
    slowed: dict[tuple[int, str], tuple[float, ...]] = {}
    flagged = 0
    for run in range(runs):
        arm, arm_before = change.pairs[run % len(change.pairs)]
        then, now, (size_before, size_now) = draws[run // len(change.pairs) % len(draws)]
        if then is now:
            chosen = chooser.sample(then, size_before + size_now)
            before_launches, now_launches = chosen[:size_before], chosen[size_before:]
        else:
            before_launches, now_launches = chooser.sample(then, size_before), chooser.sample(now, size_now)
        after = []
        for launch in now_launches:
            if (id(launch), arm) not in slowed:
                slowed[id(launch), arm] = tuple(s * change.scale for s in launch.samples[case][arm])
            after.append(slowed[id(launch), arm])
        flagged += rule.flags([launch.samples[case][arm_before] for launch in before_launches], after)
    return flagged


def read_all(paths: Sequence[str]) -> tuple[RecordedLaunch, ...]:
    """Launches of several files of one code; occasions of different files are different occasions.

    Raises:
        GateError: ``malformed`` or ``unreadable``; ``same-launch-twice`` where two launches hold the same samples.
    """
    found: dict[int, RecordedLaunch] = {}
    for number, path in enumerate(paths, 1):
        for launch in read_recorded(path).launches:
            occasion = f"{number}: {launch.occasion}" if len(paths) > 1 else launch.occasion
            key = hash(tuple(arm for arms in launch.samples.values() for arm in arms.values()))
            if key in found:
                raise GateError(
                    "same-launch-twice",
                    f"{path} holds a launch that was read before, expected each once; name each recording once.",
                )
            found[key] = RecordedLaunch(occasion, launch.samples)
    return tuple(found.values())


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0 or 2."""
    made = shared.parser(
        "gates",
        "Run other gates' rules and this one over recorded launches; write side-by-side.md, .json and .svg.",
        output="tests/data",
    )
    made.add_argument("files", metavar="FILE", nargs="*", help=f"recorded launches of one code ({RECORDED})")
    made.add_argument("--runs", metavar="N", type=int, default=1000, help="runs drawn of each rule, case and change")
    made.add_argument("--cases", metavar="N", type=int, default=SUITE, help="cases this gate judges together")
    return command_line.run(made, argv, _work)


def _work(options: argparse.Namespace) -> int:
    command_line.at_least(options, runs=len(_TWINS), cases=len(_TWINS))
    output = shared.folder(options)
    launches = read_all(options.files or [RECORDED])
    rows = compare(launches, limits=read_limits(Path.cwd()), cases=options.cases, runs=options.runs)
    text = report.markdown(rows, launches)
    shared.keep(output, {"side-by-side.json": report.as_json(rows), "side-by-side.md": text})
    report.draw(rows, output / "side-by-side.svg")
    print(text)
    return 0
