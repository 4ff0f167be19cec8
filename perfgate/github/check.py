"""The one required check: every card's results, the state of the jobs before it, and the label, brought to one conclusion.

Owns what makes it red although no verdict is: a job that was skipped, cancelled, or whose end does not go with what it
says. Reads files and the jobs' results; decides no verdict.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perfgate.github.conclusion import LABEL, CardReport, Conclusion, conclude
from perfgate.github.judging import card_report
from perfgate.github.plan import Plan, from_outputs
from perfgate.github.this_run import ThisRun
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from perfgate.github.event import Event
    from perfgate.settings import Settings

_SUCCESS, _FAILURE = "success", "failure"
_BEFORE = ("plan", "admit")
_MEASURE = "measure"


def read_needs(text: str) -> dict[str, dict[str, Any]]:
    """The jobs before this one, from ``toJSON(needs)``.

    Raises:
        GateError: ``no-needs`` when that is not what the variable holds.
    """
    try:
        needs: object = json.loads(text)
    except ValueError:
        needs = None
    if not isinstance(needs, dict) or not all(isinstance(job, dict) for job in needs.values()):
        raise GateError("no-needs", "NEEDS holds no object of jobs, expected toJSON(needs); mend the workflow.")
    return needs


def unfinished(needs: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """The jobs that did not succeed, with how they ended; a skipped job is one of them."""
    return tuple(
        f"{name}: {job.get('result', 'missing')}" for name, job in needs.items() if job.get("result") != _SUCCESS
    )


def check(  # noqa: PLR0913 - what is judged, and what is known of it, all by name
    event: Event,
    needs: Mapping[str, Mapping[str, Any]],
    results: Path,
    project: Settings,
    *,
    run: tuple[str, int],
    label: Callable[[], tuple[bool, str]],
    moved: str = "",
) -> Conclusion:
    """Bring everything to one conclusion.

    Args:
        event: What the run is about.
        needs: The jobs ``plan``, ``approve``, ``admit`` and ``measure``: ``result`` and ``outputs`` of each.
        results: Folder with one folder an artifact.
        project: The base's, in whose checkout this runs.
        run: GitHub's number of this run, and of this attempt at it.
        label: Asks whether the label `LABEL` counts, and what is to be said of it; called where it could matter, last.
        moved: Why this run is not for the branch that the pull request goes into now; empty where it is.
    """
    problems = (moved,) if moved else _stopped(needs)
    if problems:
        return _conclusion(event, None, (), problems=problems)
    try:
        made = from_outputs(needs["plan"].get("outputs") or {})
    except GateError as error:
        return _conclusion(event, None, (), problems=(error.text,))
    outputs = needs[_MEASURE].get("outputs") or {}
    this_run = ThisRun(plan=made, id=run[0], attempt=run[1], outputs=outputs, now=datetime.now(UTC))
    cards = tuple(
        card_report(
            index,
            results,
            project,
            this_run=this_run,
            own=bool(made.edits),
            on_default_branch=event.on_default_branch,
        )
        for index in range(len(made.runners))
    )
    problems = _hidden(needs, cards)
    intended, said = False, ""
    if made.edits:
        try:
            intended, said = label()
        except GateError as error:
            problems += (f"Whether the label {LABEL} is set could not be asked: {error.text}",)
    return _conclusion(event, made, cards, problems=problems, intended=intended, label=said)


def _stopped(needs: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """Why the card was not reached; nothing where it was."""
    if needs.get("approve", {}).get("result") == _FAILURE:
        return ("A reviewer refused to let this run onto the card; nothing was judged.",)
    for name in _BEFORE:
        job = needs.get(name, {})
        if job.get("result") != _SUCCESS:
            outputs = job.get("outputs")
            said = outputs.get("said") if isinstance(outputs, dict) else ""
            said = said or f"The job {name} is {job.get('result', 'missing')}; look at its log."
            return (str(said),)
    result = needs.get(_MEASURE, {}).get("result", "missing")
    if result not in {_SUCCESS, _FAILURE}:
        return (f"The jobs with the cards are {result}, so nothing was judged; run them again.",)
    return ()


def _hidden(needs: Mapping[str, Mapping[str, Any]], cards: tuple[CardReport, ...]) -> tuple[str, ...]:
    """A job that ended otherwise than its files say: a failing step that something hid, or one that is no verdict."""
    if any(card.problems for card in cards):
        return ()  # said already
    ended_well = needs[_MEASURE]["result"] == _SUCCESS
    passed = not any(card.by_base or card.by_itself for card in cards)
    if ended_well == passed:
        return ()
    if ended_well:
        return ("The jobs with the cards succeeded although their verdicts fail: a step hid its exit code.",)
    return ("A job with a card failed although every verdict passes; look at its log.",)


def _conclusion(  # noqa: PLR0913 - the parts of a conclusion, all by name
    event: Event,
    made: Plan | None,
    cards: tuple[CardReport, ...],
    *,
    problems: tuple[str, ...],
    intended: bool = False,
    label: str = "",
) -> Conclusion:
    edits = made.edits if made else ()
    return Conclusion(
        exit=conclude(cards, edits=edits, intended=intended, problems=problems),
        base=made.base if made else event.base,
        head=event.head,
        target=event.target,
        edits=edits,
        intended=intended,
        label=label,
        problems=problems,
        cards=cards,
    )
