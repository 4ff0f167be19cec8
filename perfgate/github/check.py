"""The one required check: every card's results, the state of the jobs before it, and the label, brought to one conclusion.

Owns what makes it red although no verdict is: a job that was skipped, cancelled, or whose end does not go with what it
says. Reads files and the jobs' results; decides no verdict. Where nothing that is judged was edited, the verdict that
stands is repeated.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.config import Settings, read_settings
from perfgate.files import write_whole
from perfgate.github import api, page, pulls
from perfgate.github.conclusion import LABEL, REPORT, CardReport, Conclusion, conclude, to_json
from perfgate.github.event import append, arguments_of, read_event, run_number, say
from perfgate.github.plan import Plan, from_outputs
from perfgate.github.results import ThisRun, card_report
from perfgate.records import GateError
from perfgate.store.run import read_run
from perfgate.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perfgate.github.event import Event

_COULD_NOT = 2
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
    made: Plan | None = None
    cards: tuple[CardReport, ...] = ()
    problems = (moved,) if moved else _stopped(needs)
    intended, said = False, ""
    try:
        made = None if problems else from_outputs(needs["plan"].get("outputs") or {})
    except GateError as error:
        problems = (error.text,)
    if made:
        outputs = needs[_MEASURE].get("outputs") or {}
        this_run = ThisRun(plan=made, id=run[0], attempt=run[1], outputs=outputs, now=datetime.now(UTC))
        judge = partial(card_report, results=results, project=project, this_run=this_run, own=bool(made.edits))
        cards = tuple(judge(n, on_default_branch=event.on_default_branch) for n in range(len(made.runners)))
        problems = _hidden(needs, cards)
    edits = made.edits if made else ()
    if edits:
        try:
            intended, said = label()
        except GateError as error:
            problems += (f"Whether the label {LABEL} is set could not be asked: {error.text}",)
    return Conclusion(
        exit=conclude(cards, edits=edits, intended=intended, problems=problems),
        base=made.base if made else event.base,
        head=event.head,
        target=event.target,
        edits=edits,
        intended=intended,
        label=said,
        problems=problems,
        cards=cards,
    )


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


def check_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Judge every card together, or repeat the verdict that stands; returns the exit code of the whole."""
    (results,) = arguments_of(arguments, 1)
    event, project = read_event(environment), read_settings(Path.cwd())
    if event.repeats:
        passed, text = pulls.repeat(event, api.from_environment(environment))
        append(environment, "GITHUB_STEP_SUMMARY", f"{plain(text)}\n")
        say(f"check: {text}")
        return 0 if passed else _COULD_NOT
    needs = read_needs(environment.get("NEEDS", ""))
    attempt, run = environment.get("GITHUB_RUN_ATTEMPT", "1"), environment.get("GITHUB_RUN_ID", "")
    attempt_number = int(attempt) if attempt.isdecimal() else 1
    conclusion = check(
        event,
        needs,
        Path(results),
        project,
        run=(run, attempt_number),
        label=lambda: _label(event, environment),
        moved=_moved(event, environment) if attempt_number > 1 else "",
    )
    run_url = f"{environment.get('GITHUB_SERVER_URL', '')}/{event.repository}/actions/runs/{run}"
    write_whole(Path(REPORT), json.dumps(to_json(conclusion), indent=1) + "\n")
    append(environment, "GITHUB_STEP_SUMMARY", page.summary(conclusion, run_url=run_url) + "\n")
    kernel = (project.root / project.kernel).read_text(encoding="utf-8", errors="replace")
    for command in page.as_annotations(conclusion, kernel=project.kernel, line=page.kernel_line(kernel)):
        print(command)
    for problem in (*conclusion.problems, *(said for card in conclusion.cards for said in card.problems)):
        say(f"check: not judged: {problem}")
    for card in conclusion.cards:
        for verdict in card.verdicts:
            say(f"check: {card.slug}: {verdict.status} {verdict.text}")
    say(f"check: exit {conclusion.exit}")
    return conclusion.exit


def _moved(event: Event, environment: Mapping[str, str]) -> str:
    """Asked of a run that is run again: one that is overtaken by another branch the first time is replaced."""
    try:
        return pulls.other_target(event, api.from_environment(environment), run_number(environment))
    except GateError as error:
        return f"Whether this run is for the branch of now could not be asked: {error.text}"


def _label(event: Event, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the label counts, and what is said of it, as GitHub has it now: a job run again has the event of then."""
    if not environment.get("GITHUB_TOKEN"):
        return LABEL in event.labels, ""
    found = pulls.label_of(event, api.from_environment(environment))
    return found.counts, found.text


def show_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Show one run by itself."""
    (folder,) = arguments_of(arguments, 1)
    try:
        text = (Path(folder) / "run.json").read_bytes()
    except OSError as error:
        raise GateError(
            "no-results", f"{folder} has no run.json ({error.strerror}), expected a run; see its log."
        ) from None
    run = read_run(text, source=f"{folder}/run.json")
    append(environment, "GITHUB_STEP_SUMMARY", page.of_run(run) + "\n")
    say(f"show: exit {run.exit}; the page is the summary of the job.")
    return 0


def all_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Whether every job before this one succeeded."""
    arguments_of(arguments, 0)
    needs = read_needs(environment.get("NEEDS", ""))
    if missing := unfinished(needs):
        raise GateError("unfinished", f"Not every job succeeded ({', '.join(missing)}); look at their logs.")
    say(f"all: {', '.join(needs)} succeeded.")
    return 0 if needs else _COULD_NOT
