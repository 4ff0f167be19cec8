"""From what files hold to what the page shows: a reader's questions with their answers, then everything behind them. Pure.

Words as they are to be read, numbers only where a chart or a sort needs them.
"""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from perfgate.compare.estimators import quantile, shift_within_launch
from perfgate.hardware.gpus import card
from perfgate.records import Status
from perfgate.report.verdicts import (
    ORDER,
    RATES,
    TIMED,
    cells,
    first_of_each,
    machine,
    outcome,
    rank,
    word,
    worst_first,
)
from perfgate.store.by_card import named
from perfgate.text import NONE, duration, percent, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.hardware.gpus import Card
    from perfgate.records import Launch, Recording, Samples, Verdict
    from perfgate.report.inputs import Extras, Inputs, Step
    from perfgate.store.by_card import Judged
    from perfgate.store.run import StageResult

    Key = float | None
    """What a cell is sorted by; None sorts by its text, and last where that is a dash."""

_CHECKED = "correctness"
_MOST_NAMED = 5
"""Cases that an answer names, and sentences of one reason; the table has them all."""
_PLAIN_ANCHOR = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_OWN = "page-"
"""Begins every anchor that is no case's."""
_PASSED = "right"
_WORDS = {_CHECKED: "result", "compiled": "machine code", TIMED: "speed"}
"""What a stage's column is called."""
_COLUMNS = ("change", "interval", "limit", "time", *RATES)
_FACTS_FIRST = ("commit", "recorded at", "reason", "gpu", "uuid", "driver", "cuda", "torch", "triton")
_SHOWN = 0.98
"""Share of the samples that the axis is made for; stray ones beyond half as much again stand at its edge."""
_MARGIN = 0.06
_STATE = (("sm_clock_mhz", "SM clock", " MHz"), ("temperature_c", "temperature", " °C"))


def view(inputs: Inputs, extras: Extras) -> dict[str, Any]:
    """All that the template shows, by the names that it has there.

    Args:
        inputs: The run or the samples.
        extras: What others found beside it.
    """
    run = inputs.run
    order = sorted(run.stages, key=lambda stage: (stage.name != TIMED, stage.name))
    found = [verdict.case for stage in order for verdict in stage.verdicts if verdict.case != "*"]
    by_name = anchors(dict.fromkeys([*found, *(case for stage in order for case in stage.passed)]))
    stage_of = {id(verdict): stage.name for stage in run.stages for verdict in stage.verdicts}
    telling, unsaid = first_of_each([one for one in run.verdicts if one.exit_code or one.case == "*"], _MOST_NAMED)
    cards, cases = _cards(inputs, by_name), [_case(*one, inputs, extras) for one in by_name.items()]
    gpus = ", ".join(dict.fromkeys(one.gpu for one in cards if one.gpu))
    times = (_WORDS[TIMED], *_COLUMNS) if _timed(inputs) else ()
    return {
        "title": f"perfgate on {gpus}" if gpus else "perfgate without a CUDA card",
        "run": run,
        "outcome": inputs.outcome,
        # A question that a reader comes with, its answer, and the part of the page that says more.
        "answers": (
            ("Is it right?", _right(inputs), "cases"),
            ("Is it slower?", _slower(inputs), "cases"),
            ("By how much, and how sure?", _by_how_much(inputs, extras), "curves"),
            ("Why?", _why(inputs, cases), "verdicts"),
            ("How far from the card's limit?", _from_limit(inputs), "roofline"),
            ("How did we get here?", _here(inputs), "environment"),
        ),
        # What needs attention, each with its stage and its case's anchor; and how many more of which reason.
        "telling": [(stage_of[id(one)], one, by_name.get(one.case, "")) for one in telling],
        "unsaid": unsaid,
        "head": ("case", *times, *(_WORDS.get(stage.name, stage.name) for stage in _columns(inputs))),
        "cases": cases,
        "cards": cards,
        "calibrations": extras.calibrations,
    }


def anchors(cases: Iterable[str]) -> dict[str, str]:
    """An anchor for each case: its id, where that can be one, so that a link to it can be written by hand."""
    found: dict[str, str] = {}
    for number, case in enumerate(cases, 1):
        plain = _PLAIN_ANCHOR.fullmatch(case) and not case.startswith(_OWN)
        found[case] = case if plain else f"{_OWN}case-{number}"
    return found


# The answers.


def _timed(inputs: Inputs) -> list[Verdict]:
    return [verdict for stage in inputs.run.stages if stage.name == TIMED for verdict in stage.verdicts]


def _right(inputs: Inputs) -> str:
    if wrong := [verdict.case for verdict in inputs.run.verdicts if verdict.wrong]:
        return f"No: {_named(wrong)}."
    checked = [stage for stage in inputs.run.stages if stage.name == _CHECKED]
    if not checked:
        return "NOT judged: these files hold times, and no checks of results."
    done = (f"{one.done or 'NOT judged'}{f' ({one.left_out})' if one.left_out else ''}" for one in checked)
    faults = [verdict.case for stage in checked for verdict in stage.verdicts if verdict.exit_code]
    could_not = f" Could not be checked: {_named(faults)}." if faults else ""
    return f"{'; '.join(done)}.{could_not}"


def _named(cases: Sequence[str]) -> str:
    unique = list(dict.fromkeys(cases))
    more = f" and {len(unique) - _MOST_NAMED} more" if len(unique) > _MOST_NAMED else ""
    return f"{', '.join(unique[:_MOST_NAMED])}{more}"


def _slower(inputs: Inputs) -> str:
    if verdicts := _timed(inputs):
        return f"{outcome(verdicts, None)}."
    left_out = next((stage.left_out for stage in inputs.run.stages if stage.name == TIMED), "")
    return f"NOT judged{f' ({left_out})' if left_out else ''}."


def _by_how_much(inputs: Inputs, extras: Extras) -> str:
    known = [verdict for verdict in _timed(inputs) if verdict.ratio is not None and not verdict.wrong]
    changed = [verdict for verdict in worst_first(known) if verdict.status is not Status.SAME]
    if changed:
        more = f"; and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        text = f"{'; '.join(map(_change, changed[:_MOST_NAMED]))}{more}."
    elif known:
        furthest = max(known, key=lambda verdict: abs((verdict.ratio or 1) - 1))
        text = f"No case beyond its limit; the furthest is {_change(furthest)}."
    else:
        text = "NOT judged."
    gpus = {one.group.gpu for one in inputs.measured}
    own = [one for one in extras.calibrations if one.facts.get("gpu") in gpus]
    return f"{text} Unchanged code on this card is called changed in {own[0].rows[0][2]} of runs." if own else text


def _change(verdict: Verdict) -> str:
    """A case's change with its interval and limit."""
    row = cells(verdict, None)
    beside = f" ({row['interval']}, limit {row['limit']})" if NONE not in {row["interval"], row["limit"]} else ""
    return f"{verdict.case} {row['change']}{beside}"


def _why(inputs: Inputs, cases: Sequence[Mapping[str, Any]]) -> str:
    first = sorted(cases, key=lambda case: not case["attention"])
    if moved := [text for case in first for text in case["moved_with_it"]]:
        return " ".join(moved[:_MOST_NAMED])
    said = f"{text}." if (text := machine(inputs.run.verdicts)) else ""
    if any(verdict.exit_code for verdict in inputs.run.verdicts):
        return f"Each line below says what was found. {said}".strip()
    return said or "Nothing needs a reason."


def _from_limit(inputs: Inputs) -> str:
    wrong = {verdict.case for verdict in _timed(inputs) if verdict.wrong}
    shares = sorted(
        (numbers.roofline_share, case)
        for one in inputs.measured
        for case, numbers in one.metrics.items()
        if numbers.roofline_share is not None and case not in wrong
    )
    if not shares:
        return "Not known: no times with their work, or a card whose published peaks are not listed."
    (least, lowest), (most, highest) = shares[0], shares[-1]
    return f"{share(least)} of the roofline ({lowest}) to {share(most)} ({highest})."


def _here(inputs: Inputs) -> str:
    then = [one.baseline for one in inputs.measured if one.baseline]
    said = [f"baseline of {one.recorded_at[:10] or 'no date'}: {one.reason or 'no reason given'}" for one in then]
    return f"{'; '.join(said)}." if said else "No baseline's recording was given; see the environment."


# The table, and each case.


def _columns(inputs: Inputs) -> list[StageResult]:
    """Stages with a column of a word each; that of times has columns of its own."""
    return [stage for stage in inputs.run.stages if (stage.verdicts or stage.passed) and stage.name != TIMED]


def _samples(one: Judged) -> Mapping[str, Samples]:
    return one.current.samples if one.current else {}


def _case(case: str, anchor: str, inputs: Inputs, extras: Extras) -> dict[str, Any]:
    """What the template shows of a case."""
    said = [(stage.name, one) for stage in inputs.run.stages for one in stage.verdicts if one.case == case]
    timed = next((one for stage, one in said if stage == TIMED), None)
    worst = min((one for _, one in said), key=rank, default=None)
    own = ((one, found) for one in inputs.measured for found in _samples(one).values())
    one, now = next(((one, found) for one, found in own if named(found.case, one.group) == case), (None, None))
    then = one.baseline.samples.get(now.case) if one and now and one.baseline else None
    plain_id = now.case if now else case
    numbers = one.metrics.get(case) if one else None
    return {
        "name": case,
        "anchor": anchor,
        "cells": (*(_cells(timed, numbers) if _timed(inputs) else ()), *_stage_cells(case, inputs)),
        "status": word(worst) if worst else _PASSED,
        "change": percent(timed.ratio) if timed and timed.ratio is not None and not timed.wrong else "",
        "said": said,
        "attention": any(one.exit_code for _, one in said),
        "facts": _facts(now),
        "speed": speed(now, then, timed) if now else None,
        "counters": extras.counters.get(plain_id, ()),
        "moved_with_it": extras.moved_with_it.get(plain_id, ()),
        "history": _history(extras.history.get(plain_id, ())),
    }


def _cells(verdict: Verdict | None, numbers: Metrics | None) -> list[tuple[str, Key]]:
    """The terminal's row of a timed case."""
    if verdict is None:
        return [(NONE, None)] * (1 + len(_COLUMNS))
    row, known = cells(verdict, numbers), None if verdict.wrong else numbers
    low, high = verdict.low, verdict.high
    keys = {
        "change": verdict.ratio,
        "interval": high - low if low is not None and high is not None else None,
        "limit": verdict.limit,
    }
    if known:
        rates = (known.tflops, known.gb_per_s, known.roofline_share, known.vs_control)
        keys |= {"time": known.seconds, **dict(zip(RATES, rates, strict=True))}
    return [(str(verdict.status), rank(verdict)), *((row[name], keys.get(name)) for name in _COLUMNS)]


def _stage_cells(case: str, inputs: Inputs) -> Iterator[tuple[str, Key]]:
    """What every other stage says of a case, in a word."""
    for stage in _columns(inputs):
        verdict = min((one for one in stage.verdicts if one.case == case), key=rank, default=None)
        if verdict:
            yield str(verdict.status), rank(verdict)
        else:
            yield (_PASSED, len(ORDER)) if case in stage.passed else (NONE, None)


def _facts(now: Samples | None) -> list[tuple[str, str]]:
    """What the case stands for, and what ran."""
    if now is None:
        return []
    config = ", ".join(f"{key} {_value(value)}" for key, value in now.config.items())
    return [
        *((str(key), _value(value)) for key, value in now.contract.items()),
        *([("configuration", config)] if config else []),
        *((f"machine code of {arm}", text) for arm, text in now.code.items()),
    ]


def _value(value: object) -> str:
    if isinstance(value, list):
        between = "×" if all(isinstance(entry, int) for entry in value) else ", "
        return between.join(_value(entry) for entry in value)
    return str(value)


def _history(steps: Sequence[Step]) -> list[tuple[str, ...]]:
    """Rows of words: date, commit, time, change since the row before, reason."""
    moved = [NONE, *(percent(now.time_s / before.time_s) for before, now in pairwise(steps))]
    return [
        (step.date, step.commit, duration(step.time_s), change, step.reason)
        for step, change in zip(steps, moved, strict=False)
    ]


# A case's times.


class Side(NamedTuple):
    """One side's samples."""

    role: str
    """``kernel``, ``other`` or ``recorded``: its colour."""
    name: str
    launches: tuple[tuple[float, ...], ...]
    """Seconds, launch by launch, in order of rounds."""


class Interval(NamedTuple):
    """A verdict's ratio with its interval and limit: 1.01 is 1 % slower."""

    ratio: float
    low: float
    high: float
    limit: float


@dataclass(frozen=True, kw_only=True)
class Speed:
    """A case's times."""

    sides: tuple[Side, ...]
    """This run's kernel, the other side where it ran beside it, and the baseline as recorded."""
    axis_s: tuple[float, float]
    """Lowest and highest time of the chart; samples beyond it are drawn at its edge."""
    interval: Interval | None
    shifts: tuple[float, ...]
    """The ratio in each launch, where the verdict's is their mean; else empty."""
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """Words for each launch."""
    caption: str
    """What the chart shows, in a sentence or two."""


def speed(now: Samples, then: Samples | None, verdict: Verdict | None) -> Speed | None:
    """What is shown of a case's times; nothing of a wrong kernel's.

    Args:
        now: What was measured.
        then: The baseline's samples of the case, where they are at hand.
        verdict: On its speed.
    """
    if verdict is None or verdict.wrong:
        return None
    beside = "the baseline's code, measured beside it"
    if now.other and not now.is_anchored:
        beside = f"{now.other['kind']} {now.other['name']}"
    sides = [_side("kernel", "this kernel", now, "kernel")]
    sides += [_side("other", f"other side: {beside}", now, "other")] if now.other is not None else []
    sides += [_side("recorded", "the baseline as recorded", then, "kernel")] if then else []
    every = sorted(chain.from_iterable(one for side in sides for one in side.launches))
    low, high = _axis(every)
    above = sum(seconds > high for seconds in every)
    interval, shifts = _interval(verdict), _shifts(now)
    mean = math.exp(statistics.fmean(map(math.log, shifts))) if shifts else 0.0
    rests_on_them = interval is not None and math.isclose(mean, interval.ratio, rel_tol=1e-9)
    head, rows = _launches(now, then, shifts)
    stray = f" {above} above the axis {'stands' if above == 1 else 'stand'} at its upper edge." if above else ""
    each = "; ".join(f"{side.name}: {_count(side)}" for side in sides)
    return Speed(
        sides=tuple(sides),
        axis_s=(low, high),
        interval=interval,
        shifts=shifts if rests_on_them else (),
        head=head,
        rows=rows,
        caption=f"Every sample in order of rounds, launch by launch; {each}. Bars are medians.{stray}",
    )


def _side(role: str, name: str, samples: Samples, arm: str) -> Side:
    return Side(role, name, tuple(launch.arms[arm] for launch in samples.launches))


def _count(side: Side) -> str:
    launches = len(side.launches)
    return f"{sum(map(len, side.launches))} in {launches} {'launch' if launches == 1 else 'launches'}"


def _shifts(now: Samples) -> tuple[float, ...]:
    """The ratio of both sides within each launch."""
    if now.other is None:
        return ()
    return tuple(math.exp(shift_within_launch(one.arms["kernel"], one.arms["other"]).shift) for one in now.launches)


def _interval(verdict: Verdict) -> Interval | None:
    """The verdict's own numbers, where all of them are known."""
    ratio, low, high, limit = verdict.ratio, verdict.low, verdict.high, verdict.limit
    if ratio is None or low is None or high is None or limit is None or limit <= 0:
        return None
    return Interval(ratio, low, high, limit)


def _axis(ordered: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest time of the chart: all samples, but for stray slow ones that would flatten the rest."""
    low, most = ordered[0], quantile(ordered, _SHOWN)
    high = min(ordered[-1], most + (most - low) / 2)
    room = max(high - low, low * 1e-3) * _MARGIN
    return low - room, high + room


def _launches(
    now: Samples, then: Samples | None, shifts: Sequence[float]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and rows of the table of launches: this run's, then the recorded ones; of the columns those that hold anything."""
    changes = [percent(shift) for shift in shifts] or [NONE] * len(now.launches)
    named = [(f"{n}", *one) for n, one in enumerate(zip(now.launches, changes, strict=True), 1)]
    named += [(f"recorded {n}", launch, NONE) for n, launch in enumerate(then.launches if then else (), 1)]
    columns: dict[str, Callable[[Launch, str], str]] = {"this kernel": lambda launch, _: _median(launch, "kernel")}
    if now.other is not None:
        columns |= {"other side": lambda launch, _: _median(launch, "other"), "change": lambda _, change: change}
    if any("control" in launch.arms for _, launch, _ in named):
        columns["control"] = lambda launch, _: _median(launch, "control")
    for key, name, unit in _STATE:
        if any(launch.state.get(key) for _, launch, _ in named):
            columns[name] = partial(_state, key=key, unit=unit)
    rows = [(name, *(cell(launch, change) for cell in columns.values())) for name, launch, change in named]
    return ("launch", *columns), rows


def _median(launch: Launch, arm: str) -> str:
    return duration(statistics.median(launch.arms[arm])) if arm in launch.arms else NONE


def _state(launch: Launch, _: str, *, key: str, unit: str) -> str:
    value = launch.state.get(key)
    return f"{value:g}{unit}" if isinstance(value, int | float) and not isinstance(value, bool) else NONE


# A card: its cases as points, its environment beside the baseline's.


class Point(NamedTuple):
    """A case on the roofline, and beside the vendor's library."""

    name: str
    anchor: str
    unit: str
    numbers: Metrics
    said: str
    """All of it in words."""


@dataclass(frozen=True, kw_only=True)
class CardView:
    """One card of the page."""

    label: str = ""
    """What tells it from others; empty where it is the only one."""
    gpu: str
    known: Card | None = None
    """Its published peaks; None of a card that is not listed."""
    points: tuple[Point, ...] = ()
    environment: list[tuple[str, str, str]]
    """Name, value of this run, value of the baseline."""
    has_baseline: bool = False


def _cards(inputs: Inputs, by_name: Mapping[str, str]) -> list[CardView]:
    """Every card that left samples; the run's machine alone where none did."""
    here = inputs.run.environment
    alone = CardView(gpu=here.get("gpu", ""), environment=_environment(here, {}))
    return [_card(one, inputs, by_name) for one in inputs.measured] or [alone]


def _card(one: Judged, inputs: Inputs, by_name: Mapping[str, str]) -> CardView:
    right = {verdict.case: verdict for verdict in _timed(inputs) if not verdict.wrong}
    units = {named(case, one.group): str(samples.contract.get("unit", "")) for case, samples in _samples(one).items()}
    points = []
    for name, unit in units.items():
        if name in right:
            row = cells(right[name], one.metrics[name])
            said = "; ".join([row["time"], *(f"{rate} {row[rate]}" for rate in RATES if row[rate] != NONE)])
            points.append(Point(name, by_name[name], unit, one.metrics[name], f"{name}: {said}"))
    now = _about(one.current) | {key: value for key, value in inputs.run.environment.items() if value}
    return CardView(
        label=one.group.label,
        gpu=one.group.gpu,
        known=card(one.group.gpu),
        points=tuple(points),
        environment=_environment(now, _about(one.baseline)),
        has_baseline=one.baseline is not None,
    )


def _about(side: Recording | None) -> dict[str, str]:
    """What has to be known of one side's samples."""
    if side is None:
        return {}
    about = {"commit": side.commit, "recorded at": side.recorded_at, "reason": side.reason}
    return {**about, **side.environment, **{f"setting {key}": f"{value}" for key, value in side.settings.items()}}


def _environment(here: Mapping[str, str], then: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Rows of name, now and then; what tells most comes first."""
    keys = dict.fromkeys([*(key for key in _FACTS_FIRST if key in here), *here, *then])
    rows = [(key, here.get(key, ""), then.get(key, "")) for key in keys]
    return [row for row in rows if row[1] or row[2]]
