"""Verdicts of all stages and samples, brought together case by case. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from perfgate.records import Status
from perfgate.report import markdown
from perfgate.report.inputs import TIMED
from perfgate.report.times import speed
from perfgate.report.view import CaseView, Cell, Sentence
from perfgate.text import allowed, duration, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.records import Samples, Verdict
    from perfgate.report.extras import Extras, Step
    from perfgate.report.inputs import Inputs, Measured
    from perfgate.store.run import StageRecord

_PLAIN_ANCHOR = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_OWN = "page-"
"""Begins every anchor that is no case's."""
_ORDER = (Status.SLOWER, Status.INVALID, Status.UNSURE, Status.FASTER, Status.SAME)
_PASSED = "right"
_NONE = "-"
_WORDS = {"correctness": "result", "compiled": "machine code", TIMED: "speed"}
"""What a stage's column is called."""
_RATES = markdown.HEAD[4:]


def own_anchor(name: str) -> str:
    """The anchor of a part of the page."""
    return f"{_OWN}{name}"


def anchors(cases: Sequence[str]) -> dict[str, str]:
    """An anchor for each case: its id, where that can be one, so that a link to it can be written by hand."""
    found: dict[str, str] = {}
    for number, case in enumerate(cases, 1):
        plain = _PLAIN_ANCHOR.fullmatch(case) and not case.startswith(_OWN)
        found[case] = case if plain else f"{_OWN}case-{number}"
    return found


def sentence(stage: str, verdict: Verdict, anchor: str = "") -> Sentence:
    """A verdict as the terminal says it; with an anchor, where its case is to be found."""
    return Sentence(
        stage=stage,
        status=str(verdict.status),
        text=markdown.said(verdict),
        asides=tuple(aside.text for aside in verdict.asides),
        name=verdict.case if anchor else "",
        anchor=anchor,
    )


def names(inputs: Inputs) -> list[str]:
    """Every case: those that were timed first, then those that were compiled or checked only."""
    order = sorted(inputs.stages, key=lambda stage: (stage.name != TIMED, stage.name))
    found = [verdict.case for stage in order for verdict in stage.verdicts if verdict.case != "*"]
    return list(dict.fromkeys([*found, *(case for stage in order for case in stage.passed)]))


def head(inputs: Inputs) -> tuple[str, ...]:
    """Names of the columns, as the terminal has them, with a column for each stage."""
    times = ("change", "interval", "limit", "time", *_RATES) if _timed(inputs) else ()
    first = tuple(_WORDS[TIMED] for stage in inputs.stages if stage.name == TIMED and _timed(inputs))
    rest = tuple(_WORDS.get(stage.name, stage.name) for stage in inputs.stages if _is_column(stage, inputs))
    return ("case", *first, *times, *rest)


def _timed(inputs: Inputs) -> bool:
    return any(stage.name == TIMED and stage.verdicts for stage in inputs.stages)


def _is_column(stage: StageRecord, inputs: Inputs) -> bool:
    return bool(stage.verdicts or stage.passed) and not (stage.name == TIMED and _timed(inputs))


def case_views(inputs: Inputs, extras: Extras) -> tuple[CaseView, ...]:
    """All cases, in the order of `names`."""
    cases = names(inputs)
    by_name = anchors(cases)
    samples = {one.shown(case): (one, found) for one in inputs.measured for case, found in one.current.samples.items()}
    numbers = {case: found for one in inputs.measured for case, found in one.metrics.items()}
    return tuple(_case(case, by_name[case], inputs, samples.get(case), numbers.get(case), extras) for case in cases)


def _case(  # noqa: PLR0913, PLR0917 - what one case is made of
    case: str,
    anchor: str,
    inputs: Inputs,
    measured: tuple[Measured, Samples] | None,
    numbers: Metrics | None,
    extras: Extras,
) -> CaseView:
    said = [(stage.name, one) for stage in inputs.stages for one in stage.verdicts if one.case == case]
    timed = next((verdict for stage, verdict in said if stage == TIMED), None)
    worst = min((verdict for _, verdict in said), key=_rank, default=None)
    one, now = measured or (None, None)
    then = one.baseline.samples.get(now.case) if one and now and one.baseline else None
    plain_id = now.case if now else case
    return CaseView(
        name=case,
        anchor=anchor,
        cells=(*_cells(timed, numbers, inputs), *_stage_cells(case, inputs)),
        status=_word(worst) if worst else _PASSED,
        change=percent(timed.ratio) if timed and timed.ratio is not None and not timed.wrong else "",
        sentences=tuple(sentence(stage, verdict) for stage, verdict in said),
        attention=any(verdict.exit_code for _, verdict in said),
        facts=_facts(now),
        speed=speed(now, then, timed) if now else None,
        counters=extras.counters.get(plain_id, ()),
        moved_with_it=extras.moved_with_it.get(plain_id, ()),
        history=_history(extras.history.get(plain_id, ())),
    )


def _rank(verdict: Verdict) -> int:
    return -1 if verdict.wrong else _ORDER.index(verdict.status)


def _word(verdict: Verdict) -> str:
    return "WRONG" if verdict.wrong else str(verdict.status)


def _status_cell(verdict: Verdict) -> Cell:
    return Cell(text=str(verdict.status), key=_rank(verdict), status=_word(verdict).lower())


def _cells(verdict: Verdict | None, numbers: Metrics | None, inputs: Inputs) -> list[Cell]:
    """The terminal's row of a timed case, with the interval and the limit of its sentence."""
    if not _timed(inputs):
        return []
    if verdict is None:
        return [Cell(text=_NONE)] * (5 + len(_RATES))
    ((_, _, time, change, *rates),) = markdown.table_rows([verdict], {verdict.case: numbers} if numbers else {})
    known = numbers if time != _NONE else None
    keys = (known.tflops, known.gb_per_s, known.roofline_share, known.vs_control) if known else (None,) * len(_RATES)
    within = (
        Cell(text=f"{percent(verdict.low)} to {percent(verdict.high)}", key=verdict.high - verdict.low)
        if verdict.low is not None and verdict.high is not None
        else Cell(text=_NONE)
    )
    return [
        _status_cell(verdict),
        Cell(text=change, key=verdict.ratio),
        within,
        Cell(text=_NONE) if verdict.limit is None else Cell(text=allowed(verdict.limit), key=verdict.limit),
        Cell(text=time, key=known.seconds if known else None),
        *(Cell(text=text, key=key) for text, key in zip(rates, keys, strict=True)),
    ]


def _stage_cells(case: str, inputs: Inputs) -> list[Cell]:
    """What every other stage says of a case, in a word."""
    cells = []
    for stage in inputs.stages:
        if not _is_column(stage, inputs):
            continue
        verdict = min((one for one in stage.verdicts if one.case == case), key=_rank, default=None)
        if verdict:
            cells.append(_status_cell(verdict))
        elif case in stage.passed:
            cells.append(Cell(text=_PASSED, key=len(_ORDER), status="same"))
        else:
            cells.append(Cell(text=_NONE))
    return cells


def _facts(now: Samples | None) -> tuple[tuple[str, str], ...]:
    """What the case stands for, and what ran."""
    if now is None:
        return ()
    facts = [(str(key), _value(value)) for key, value in now.contract.items()]
    config = ", ".join(f"{key} {_value(value)}" for key, value in now.config.items())
    code = [(f"machine code of {arm}", text) for arm, text in now.code.items()]
    return (*facts, *([("configuration", config)] if config else []), *code)


def _value(value: object) -> str:
    if isinstance(value, list):
        between = "×" if all(isinstance(entry, int) for entry in value) else ", "
        return between.join(_value(entry) for entry in value)
    return str(value)


def _history(steps: Sequence[Step]) -> tuple[tuple[str, ...], ...]:
    rows, before = [], None
    for step in steps:
        moved = percent(step.time_s / before) if before else _NONE
        rows.append((step.date, step.commit, duration(step.time_s), moved, step.reason))
        before = step.time_s
    return tuple(rows)
