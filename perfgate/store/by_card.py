"""Recordings of several cards, such as a job matrix leaves: which belong together, and which baseline is whose. Pure.

A group is what one card measured on one code path: launches of one measurement. Two cards of a model are two groups,
each held against the model's baseline. A group is judged as if it had come alone, so its false alarms are divided
among its own cases, and a matrix of N cards may cry wolf N times as often as one card.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.hardware.gpus import slug
from perfgate.records import GateError, Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def of_its_card(group: Group, baselines: Sequence[Recording]) -> Recording | None:
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


def without_baseline(group: Group, verdicts: Sequence[Verdict], given: Sequence[str]) -> tuple[Verdict, ...]:
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
            f"expected one of this card; give its file, or a folder that holds {folder}/matmul.json, or record one on it: "
            'nox -s update-baselines -- --reason "first baseline".',
        )
        for verdict in verdicts
        if verdict.case != "*"
    )


def labelled(verdicts: Sequence[Verdict], group: Group) -> tuple[Verdict, ...]:
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


def named(case: str, group: Group) -> str:
    """A case's id with the group's label, where there is one."""
    return f"{case}@{group.label}" if group.label else case
