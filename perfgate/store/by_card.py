"""Judges saved files, such as a job matrix leaves: which belong together, and which baseline is whose.

A group is what one card measured on one code path: launches of one measurement. Two cards of a model are two groups,
each held against the model's baseline. A group is judged as if it had come alone, so its false alarms are divided
among its own cases, and a matrix of N cards may cry wolf N times as often as one card.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.compare.judge import judge
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card, slug
from perfgate.records import GateError, Status, Verdict
from perfgate.store.locate import BASELINE_FILE
from perfgate.store.recording import merge, read_each, read_recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.config import Limits
    from perfgate.records import Recording

_NOT_RECORDED = "card-not-recorded"
_UUID_CHARACTERS = 8


@dataclass(frozen=True, kw_only=True)
class Group:
    """All files of one card."""

    label: str
    """What tells it from the other groups in a report; empty where it is the only one."""
    folder: str
    """Its card's folder among the baselines; empty where the card is not recorded."""
    gpu: str
    recordings: tuple[Recording, ...]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be judged, and by what."""

    current: Sequence[str]
    """Files; several of one card are several launches."""
    baselines: Sequence[str] = ()
    """Files, or folders of baselines; none compares with the other side in the files."""
    anchor: str | None = None
    """The card's first baseline, for small steps that add up."""
    fail_on_drift: bool = False
    cases: Sequence[str] | None = None
    """Judge only these."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of one card's files."""

    group: Group
    verdicts: tuple[Verdict, ...] = ()
    metrics: dict[str, Metrics] = field(default_factory=dict)
    current: Recording | None = None
    """All of the card's files; None where they could not be judged together."""
    baseline: Recording | None = None
    chosen: int = 0
    known: int = 0


def judge_files(asked: Asked, limits: Limits) -> list[Judged]:
    """Judge each card's files by the baseline of that card; what spoils one card's files spoils no other's.

    Raises:
        GateError: A file cannot be read, or the only card's files cannot be judged.
    """
    cards = groups(read_each(asked.current))
    if len(cards) == 1:
        return [_judge_group(cards[0], asked, limits)]
    found = []
    for group in cards:
        try:
            found.append(_judge_group(group, asked, limits))
        except GateError as error:
            found.append(Judged(group=group, verdicts=_labelled([about_files(error)], group)))
    return found


def _judge_group(group: Group, asked: Asked, limits: Limits) -> Judged:
    """Judge one card's files; their number of cases alone decides how its false alarms are divided."""
    current = merge(group.recordings)
    baseline = _baseline_of(group, asked.baselines)
    verdicts = judge(
        baseline,
        current,
        limits,
        selected=asked.cases,
        anchor=read_recording(asked.anchor) if asked.anchor and baseline else None,
        fail_on_drift=asked.fail_on_drift,
    )
    if asked.baselines and baseline is None:
        verdicts = _without_baseline(group, verdicts, asked.baselines)
    found = recording_metrics(current, card(group.gpu))
    return Judged(
        group=group,
        verdicts=_labelled(verdicts, group),
        metrics={named(case, group): numbers for case, numbers in found.items()},
        current=current,
        baseline=baseline,
        chosen=len(verdicts),
        known=len({*current.samples, *(baseline.samples if baseline else {}), *(asked.cases or ())}),
    )


def _baseline_of(group: Group, given: Sequence[str]) -> Recording | None:
    """The baseline that judges a card's files; None where none is given, or none of those given is of that card."""
    files = [read_recording(path) for path in given if not Path(path).is_dir()]
    if len(given) == len(files) == 1 and not group.label:
        return files[0]  # of another card or not: `judge` refuses it and says what differs
    stored = [Path(folder) / group.folder / BASELINE_FILE for folder in given if group.folder and Path(folder).is_dir()]
    held = [read_recording(path) for path in stored if path.is_file()]
    return _of_its_card(group, [*files, *held]) or next(iter(held), None)


def about_files(error: GateError) -> Verdict:
    """The verdict on files that cannot be judged."""
    return Verdict(case="*", status=Status.INVALID, reason=error.reason, text=error.text)


def named(case: str, group: Group) -> str:
    """A case's id with the group's label, where there is one."""
    return f"{case}@{group.label}" if group.label else case


def groups(recordings: Sequence[Recording]) -> tuple[Group, ...]:
    """Sort files by card, in the order in which each card comes first."""
    found: dict[tuple[str, str, str], list[Recording]] = {}
    for recording in recordings:
        environment = recording.environment
        found.setdefault((*_model(environment), environment.get("uuid", "")), []).append(recording)
    folders = {(gpu, path): slug(gpu, path) if gpu else "" for gpu, path, _ in found}
    cards_of_a_model = Counter((gpu, path) for gpu, path, _ in found)
    made = []
    for number, ((gpu, path, uuid), files) in enumerate(found.items(), 1):
        label = folders[gpu, path] or _NOT_RECORDED
        if cards_of_a_model[gpu, path] > 1:
            label += f"#{_short(uuid, [other for *model, other in found if model == [gpu, path]]) or number}"
        made.append(
            Group(
                label=label if len(found) > 1 else "",
                folder=folders[gpu, path],
                gpu=gpu,
                recordings=tuple(files),
            )
        )
    return tuple(made)


def _model(environment: Mapping[str, str]) -> tuple[str, str]:
    """What a card and its baseline have in common: the model, and the code path it ran."""
    return environment.get("gpu", ""), environment.get("code_path") or "native"


def _short(uuid: str, of_the_model: Sequence[str]) -> str:
    """The begin of a UUID, where that tells it from those of the other cards of its model; else nothing."""
    begins = [found.partition("-")[2][:_UUID_CHARACTERS] for found in of_the_model]
    begin = uuid.partition("-")[2][:_UUID_CHARACTERS]
    return begin if begins.count(begin) == 1 else ""


def _of_its_card(group: Group, baselines: Sequence[Recording]) -> Recording | None:
    """The baseline that is of a group's model and code path; None where there is none.

    Raises:
        GateError: ``two-baselines`` where there is more than one.
    """
    model = _model(group.recordings[0].environment)
    fitting = [baseline for baseline in baselines if _model(baseline.environment) == model]
    if len(fitting) > 1:
        raise GateError(
            "two-baselines",
            f"{fitting[0].source} and {fitting[1].source} are both baselines of {group.gpu or 'a card not recorded'}, "
            "expected one; give one of them.",
        )
    return fitting[0] if fitting else None


def _without_baseline(group: Group, verdicts: Sequence[Verdict], given: Sequence[str]) -> tuple[Verdict, ...]:
    """Verdicts of a group whose card none of the given baselines is of: no speed, but a wrong result stays one.

    Args:
        group: What was measured.
        verdicts: Of the group judged without a baseline.
        given: The baselines as the user named them.
    """
    folder = group.folder or "CARD"
    return tuple(
        verdict
        if verdict.wrong
        else Verdict(
            case=verdict.case,
            status=Status.INVALID,
            reason="no-baseline",
            text=f"{verdict.case}: {group.gpu or 'a card that is not recorded'} has no baseline among {', '.join(given)}, "
            f"expected one of this card; give its file, or a folder that holds {folder}/{BASELINE_FILE}, or record one on it: "
            'nox -s update-baselines -- --reason "first baseline".',
        )
        for verdict in verdicts
        if verdict.case != "*"
    )


def _labelled(verdicts: Sequence[Verdict], group: Group) -> tuple[Verdict, ...]:
    """The verdicts with the group's label, in the case id and in the sentence; as they are where there is one group.

    What is about no single case (``*``) keeps that name and says the group in its sentence. The commands in a sentence
    keep the case's own id, which is the one that can be measured.
    """
    if not group.label:
        return tuple(verdicts)
    return tuple(
        dataclasses.replace(
            verdict,
            case=verdict.case if verdict.case == "*" else named(verdict.case, group),
            text=f"{group.label}: {verdict.text}"
            if not verdict.text.startswith(f"{verdict.case}: ")
            else f"{named(verdict.case, group)}{verdict.text.removeprefix(verdict.case)}",
        )
        for verdict in verdicts
    )
