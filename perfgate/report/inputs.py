"""Which files are given and what they hold together: a run with its samples, or samples that are judged here.

A run's verdicts are shown as the run made them. Samples without a run are judged by ``judge``, through the same door as
``python -m perfgate judge``. Files that do not belong together are refused.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.cli.judge import Asked, judge_files
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.records import GateError, exit_code
from perfgate.report import markdown
from perfgate.report.extras import file_bytes
from perfgate.store import by_card
from perfgate.store.recording import merge, read_each, read_recording
from perfgate.store.run import RunRecord, StageRecord, read_run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.limits import Limits
    from perfgate.records import Recording

TIMED = "throughput"
_SAME_MACHINE = ("gpu", "uuid", "driver", "torch", "triton")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One card's samples."""

    label: str
    """What tells the card from others; empty where it is the only one."""
    current: Recording
    baseline: Recording | None
    metrics: Mapping[str, Metrics]
    """By case id, with the label."""

    def shown(self, case: str) -> str:
        """A case's id as verdicts name it."""
        return f"{case}@{self.label}" if self.label else case


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the page is made of, less what others found beside it."""

    stages: tuple[StageRecord, ...]
    outcome: str
    """As the terminal says it."""
    exit: int
    environment: Mapping[str, str]
    """Of the run; empty where there is none, and then that of the samples counts."""
    measured: tuple[Measured, ...]


def of_run(run: RunRecord, current: Recording | None, baseline: Recording | None) -> Inputs:
    """A run with the samples that it judged.

    Raises:
        GateError: ``files-disagree`` where the samples are not those of the run.
    """
    if current is not None:
        _check_together(run, current)
    done = {stage.name: stage.done for stage in run.stages}
    return Inputs(
        stages=run.stages,
        outcome=markdown.ending(done, partial=run.partial, code=run.exit),
        exit=run.exit,
        environment=run.environment,
        measured=(_measured(current, baseline),) if current else (),
    )


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
    run = read_run(file_bytes(runs[0]), source=runs[0])
    current = merge(read_each(recordings)) if recordings else None
    return of_run(run, current, read_recording(asked.baselines[0]) if asked.baselines else None)


def _is_run(path: str) -> bool:
    """Whether a file has stages, as a run's has; what is no JSON is left to the reader of recordings to refuse."""
    try:
        root: object = json.loads(file_bytes(path))
    except (ValueError, RecursionError):
        return False
    return isinstance(root, dict) and "stages" in root


def _judged(asked: Asked, limits: Limits) -> Inputs:
    judged = judge_files(asked, limits)
    verdicts = tuple(verdict for one in judged for verdict in one.verdicts)
    partial = (sum(one.chosen for one in judged), sum(one.known for one in judged)) if asked.cases else None
    gpus = ", ".join(dict.fromkeys(one.group.gpu or "a card that is not recorded" for one in judged))
    stage = StageRecord(name=TIMED, done=f"samples of {gpus}", verdicts=verdicts)
    return Inputs(
        stages=(stage,),
        outcome=markdown.outcome(verdicts, partial),
        exit=exit_code(verdicts),
        environment={},
        measured=tuple(
            Measured(label=one.group.label, current=one.current, baseline=one.baseline, metrics=one.metrics)
            for one in judged
            if one.current
        ),
    )


def _measured(current: Recording, baseline: Recording | None) -> Measured:
    (group,) = by_card.groups([current])
    return Measured(label="", current=current, baseline=baseline, metrics=recording_metrics(current, card(group.gpu)))


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
