"""Which files are given and what they hold together: a run or samples that are judged here, and what others found beside it.

A run's verdicts are shown as the run made them. Samples without a run are judged by ``judge``, through the same door as
``python -m perfgate judge``. Files that do not belong together are refused.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.records import GateError, exit_code
from perfgate.report.verdicts import TIMED, ending, outcome
from perfgate.store import by_card, codec
from perfgate.store.by_card import Asked, Judged, judge_files
from perfgate.store.recording import merge, read_each, read_recording
from perfgate.store.run import RunRecord, StageResult, read_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from perfgate.config import Limits
    from perfgate.records import Recording

_SAME_MACHINE = ("gpu", "uuid", "driver", "torch", "triton")
_SHORT, _DAY = 8, 10
"""Characters of a commit that name it, and of a time that say its day."""
_REMEDY = "run again"
_Text = Annotated[str, Meta(max_length=4000)]
_Seconds = Annotated[float, Meta(gt=0, le=1e9)]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the page is made of, less what others found beside it."""

    run: RunRecord
    """Of samples alone: one stage, and no environment, as that of the samples counts."""
    outcome: str
    """As the terminal says it."""
    measured: tuple[Judged, ...]
    """Each card's samples."""


def of_run(run: RunRecord, current: Recording | None, baseline: Recording | None) -> Inputs:
    """A run with the samples that it judged.

    Raises:
        GateError: ``files-disagree`` where the samples are not those of the run.
    """
    if current is not None:
        _check_together(run, current)
    measured = []
    for group in by_card.groups([current] if current else []):
        metrics = recording_metrics(group.recordings[0], card(group.gpu))
        measured.append(Judged(group=group, metrics=metrics, current=current, baseline=baseline))
    done = {stage.name: stage.done for stage in run.stages}
    return Inputs(run=run, outcome=ending(done, partial=run.partial, code=run.exit), measured=tuple(measured))


def read_inputs(files: Sequence[str], asked: Asked, limits: Limits) -> Inputs:
    """Read what the user named.

    Args:
        files: Runs (``run.json``) and recordings (``current.json``), in any order.
        asked: Baselines, anchor and chosen cases; its ``current`` is not used.
        limits: Those to judge by.

    Raises:
        GateError: A file cannot be read, ``two-runs``, or ``files-disagree``.
    """
    runs = [path for path in files if _is_run(path)]
    recordings = [path for path in files if path not in runs]
    if len(runs) > 1:
        raise GateError("two-runs", f"{runs[0]} and {runs[1]} are both runs, expected one a page; make a page of each.")
    if not runs:
        return _judged(dataclasses.replace(asked, current=recordings), limits)
    if len(asked.baselines) > 1 or asked.cases or asked.anchor or asked.fail_on_drift:
        raise GateError(
            "bad-usage",
            f"{runs[0]} is a run, which has its verdicts already, expected at most one --baseline with it, to show its samples; "
            "leave out the run to judge the samples by other options.",
        )
    run = read_run(codec.read_bytes(runs[0], what="a run"), source=runs[0])
    current = merge(read_each(recordings)) if recordings else None
    return of_run(run, current, read_recording(asked.baselines[0]) if asked.baselines else None)


def _is_run(path: str) -> bool:
    """Whether a file has stages, as a run's has; what is no JSON is left to the reader of recordings to refuse."""
    data = codec.read_bytes(path, what="a run or a recording")
    try:
        root = codec.parse(data, source=path)
    except GateError:
        return False
    return isinstance(root, dict) and "stages" in root


def _judged(asked: Asked, limits: Limits) -> Inputs:
    judged = judge_files(asked, limits)
    verdicts = tuple(verdict for one in judged for verdict in one.verdicts)
    partial = (sum(one.chosen for one in judged), sum(one.known for one in judged)) if asked.cases else None
    gpus = ", ".join(dict.fromkeys(one.group.gpu or "a card that is not recorded" for one in judged))
    stage = StageResult(name=TIMED, done=f"samples of {gpus}", verdicts=verdicts)
    return Inputs(
        run=RunRecord(environment={}, exit=exit_code(verdicts), stages=(stage,)),
        outcome=outcome(verdicts, partial),
        measured=tuple(one for one in judged if one.current),
    )


def _check_together(run: RunRecord, current: Recording) -> None:
    """Samples belong to a run of the same machine that has a verdict on each of their cases."""
    name = current.source or "the recording"
    for key in _SAME_MACHINE:
        here, there = current.environment.get(key, ""), run.environment.get(key, "")
        if here and there and here != there:
            raise GateError(
                "files-disagree",
                f"{name} has {key} {here!r} and the run has {there!r}, expected samples of that run; give the files of one run.",
            )
    timed = {verdict.case for stage in run.stages if stage.name == TIMED for verdict in stage.verdicts}
    if strange := [case for case in current.samples if case not in timed]:
        raise GateError(
            "files-disagree",
            f"{name} has samples of {strange[0]}, on which the run has no verdict, expected samples of that run; give the files "
            "of one run, or the samples alone to have them judged.",
        )


class Counter(Struct, frozen=True):
    """One fact of a kernel on both sides, in words with its unit; empty where it is not known."""

    name: _Text
    before: _Text
    after: _Text
    moved: bool
    """Worth looking at."""


class Step(Struct, frozen=True):
    """A time of a case as it was once recorded."""

    commit: _Text
    date: _Text
    reason: _Text
    time_s: _Seconds


class Calibration(Struct, frozen=True):
    """How often the gate is right on a card, as the page says it that ``nox -s calibrate`` stored."""

    name: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    """All cases together, the false alarms first."""
    facts: dict[str, str]
    """What was measured on what."""


@dataclass(frozen=True, kw_only=True)
class Extras:
    """What others found beside the times of a case, by its id."""

    counters: Mapping[str, tuple[Counter, ...]] = field(default_factory=dict)
    moved_with_it: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Sentences."""
    history: Mapping[str, Sequence[Step]] = field(default_factory=dict)
    """The oldest first."""
    calibrations: tuple[Calibration, ...] = ()


class _Moved(Struct):
    """The file of counters before and after, and of what moved with a case's time."""

    schema: int
    counters: dict[str, tuple[Counter, ...]] = msgspec.field(default_factory=dict)
    moved_with_it: dict[str, tuple[_Text, ...]] = msgspec.field(default_factory=dict)


class _Steps(Struct):
    """A file of times of earlier commits, the oldest first."""

    schema: int
    history: dict[str, list[Step]]


class _Update(Struct):
    commit: _Text
    date: _Text


class _Time(Struct):
    update: int
    reason: _Text
    time_s: _Seconds


class _Case(Struct):
    case: _Text
    times: list[_Time]


class _Past(Struct):
    """What ``python -m perfgate history --format json`` prints, as far as it is shown."""

    schema: int
    updates: list[_Update]
    cases: list[_Case]


def read_counters(source: str) -> Extras:
    """Counters and what moved.

    Raises:
        GateError: ``no-file``, ``unreadable``, ``not-json``, ``other-schema`` or ``malformed``.
    """
    found = codec.decode(codec.read_bytes(source, what="counters"), _Moved, source=source, remedy=_REMEDY)
    return Extras(counters=found.counters, moved_with_it=found.moved_with_it)


def history(data: bytes | str, source: str) -> dict[str, list[Step]]:
    """Times of earlier commits in a file's content, by case id. Errors as `read_counters`."""
    document = codec.parse(data, source=source, remedy=_REMEDY)
    if isinstance(document, dict) and "updates" not in document:
        return codec.convert(document, _Steps, source=source, remedy=_REMEDY).history
    past = codec.convert(document, _Past, source=source, remedy=_REMEDY)
    count = len(past.updates)
    for number in (time.update for case in past.cases for time in case.times):
        if not 0 <= number < count:
            raise GateError(
                "malformed", f"{source} has {number} as update, expected one of its {count}, counted from 0; {_REMEDY}."
            )
    named = [(update.commit[:_SHORT], update.date[:_DAY]) for update in past.updates]
    return {case.case: [Step(*named[one.update], one.reason, one.time_s) for one in case.times] for case in past.cases}


def calibrations(folder: Path) -> tuple[Calibration, ...]:
    """Those that lie in a card's folder of baselines; a page without their tables is none."""
    found = []
    for path in sorted(folder.glob("calibration*.md")):
        page = codec.read_bytes(path, what="a calibration's page").decode("utf-8", "replace")
        (head, *rows), (_, *facts) = _table(page, "All cases"), _table(page, "Recorded")
        if rows and all(len(row) == len(head) for row in rows):
            found.append(Calibration(path.name, head, rows, {key: value for key, value, *_ in facts}))
    return tuple(found)


def _table(page: str, title: str) -> list[tuple[str, ...]]:
    """Head and rows of the first table below a heading of a Markdown page; an empty head where there is none."""
    part = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line.removeprefix("|").removesuffix("|").split("|") for line in part.splitlines() if line.startswith("|")]
    rows = [tuple(cell.strip() for cell in line) for line in lines]
    return [*rows[:1], *rows[2:]] or [()]
