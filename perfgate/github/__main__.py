"""``python -m perfgate.github``: what the workflows call. One command a job; options come from GitHub's own variables.

plan     what judges what, on which cards (sets the job's outputs)
admit    may this run use the card; the machine itself asks this too, before a job's first step
lay      put the candidate's kernels in place of the base's: ``lay FOLDER``
keep     copy what a gate left into a folder for the artifact: ``keep FOLDER NAME``
check    the one required check: summary, annotations, report.json, exit code: ``check FOLDER``; where nothing but a title
         or a text was edited, the verdict that stands
show     the summary of one run by itself: ``show FOLDER``
all      every job before this one has to have succeeded
pick     the runner of the card that was named, and whether the reason is one
recheck  the label was set or taken away: run the required check again
comment  post or update the pull request's comment from a finished run's report
propose  open a pull request with new baselines

Exit code: that of the gate; 2 for what could not be done.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import settings
from perfgate.github import api, comment, page, propose
from perfgate.github.admission import Admission, admission, approvers
from perfgate.github.annotations import as_annotations, kernel_line
from perfgate.github.changes import PROJECT_FILE
from perfgate.github.check import check, read_needs, unfinished
from perfgate.github.conclusion import LABEL, REPORT, Conclusion, to_json
from perfgate.github.event import Event, read_event
from perfgate.github.keep import KEPT, keep
from perfgate.github.labels import label_of
from perfgate.github.lay import lay
from perfgate.github.plan import plan
from perfgate.github.proposal import check_reason
from perfgate.github.recheck import recheck
from perfgate.github.repeat import other_target, repeat
from perfgate.github.run_page import run_page
from perfgate.records import GateError
from perfgate.report.markdown import plain
from perfgate.runners import picked
from perfgate.store.run import read_run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COULD_NOT = 2
_MOST_SAID = 2000
CANDIDATE = "candidate"
"""Folder in which the workflows check out what is judged, beside the base's own files."""


def _plan(arguments: list[str], environment: Mapping[str, str]) -> int:
    _expect(arguments, 0)
    made = plan(read_event(environment), candidate=Path(CANDIDATE))
    _output(environment, made.outputs())
    judged_by = "itself" if made.base == made.candidate else made.base[:12]
    _say(f"plan: {made.candidate[:12]} is judged by {judged_by} on {', '.join(r.slug for r in made.runners)}.")
    if made.edits:
        _say(f"plan: it edits what judges it, so its own gate runs too: {', '.join(made.edits)}.")
    return 0


def _admit(arguments: list[str], environment: Mapping[str, str]) -> int:
    _expect(arguments, 0)
    try:
        event = read_event(environment)
        reviews = _reviews(environment) if event.from_fork else ()
        answer = admission(event, reviews)
    except GateError as error:  # nothing that cannot be told gets onto the card
        answer = Admission(admitted=False, text=error.text)
    _output(environment, {"said": "" if answer.admitted else plain(answer.text)})
    _say(f"admit: {'yes' if answer.admitted else 'NO'}: {answer.text}")
    return 0 if answer.admitted else _COULD_NOT


def _reviews(environment: Mapping[str, str]) -> tuple[str, ...]:
    client = api.from_environment(environment)
    found = client.get(f"/repos/{client.repository}/actions/runs/{_run(environment)}/approvals")
    if not isinstance(found, list) or not all(isinstance(review, dict) for review in found):
        raise GateError("github-api", "GitHub's answer on this run's approvals is no list, expected one; run again.")
    return approvers(found)


def _run(environment: Mapping[str, str]) -> int:
    run = environment.get("GITHUB_RUN_ID", "")
    if not (run.isascii() and run.isdecimal()):
        raise GateError(
            "not-on-github", f"GITHUB_RUN_ID is {run[:40]!r}, expected a number; this is for GitHub's jobs."
        )
    return int(run)


def _lay(arguments: list[str], environment: Mapping[str, str]) -> int:
    del environment
    (folder,) = _expect(arguments, 1)
    _say(f"lay: {lay(settings.load(Path.cwd()), Path(folder))}/ is now that of {folder}.")
    return 0


def _check(arguments: list[str], environment: Mapping[str, str]) -> int:
    (results,) = _expect(arguments, 1)
    event, project = read_event(environment), settings.load(Path.cwd())
    if event.repeats:
        return _repeat(event, environment)
    needs = read_needs(environment.get("NEEDS", ""))
    attempt = environment.get("GITHUB_RUN_ATTEMPT", "1")
    attempt_number = int(attempt) if attempt.isdecimal() else 1
    conclusion = check(
        event,
        needs,
        Path(results),
        project,
        run=(environment.get("GITHUB_RUN_ID", ""), attempt_number),
        label=lambda: _label(event, environment),
        moved=_moved(event, environment) if attempt_number > 1 else "",
    )
    run_url = "/".join(
        (
            environment.get("GITHUB_SERVER_URL", ""),
            event.repository,
            "actions/runs",
            environment.get("GITHUB_RUN_ID", ""),
        )
    )
    Path(REPORT).write_text(json.dumps(to_json(conclusion), indent=1) + "\n", encoding="utf-8")
    _append(environment, "GITHUB_STEP_SUMMARY", page.summary(conclusion, run_url=run_url) + "\n")
    _annotate(conclusion, project)
    for problem in (*conclusion.problems, *(said for card in conclusion.cards for said in card.problems)):
        _say(f"check: not judged: {problem}")
    for card in conclusion.cards:
        for verdict in card.verdicts:
            _say(f"check: {card.slug}: {verdict.status} {verdict.text}")
    _say(f"check: exit {conclusion.exit}")
    return conclusion.exit


def _repeat(event: Event, environment: Mapping[str, str]) -> int:
    passed, text = repeat(event, api.from_environment(environment))
    _append(environment, "GITHUB_STEP_SUMMARY", f"{plain(text)}\n")
    _say(f"check: {text}")
    return 0 if passed else _COULD_NOT


def _moved(event: Event, environment: Mapping[str, str]) -> str:
    """Asked of a run that is run again: one that is overtaken by another branch the first time is replaced."""
    try:
        return other_target(event, api.from_environment(environment), _run(environment))
    except GateError as error:
        return f"Whether this run is for the branch of now could not be asked: {error.text}"


def _show(arguments: list[str], environment: Mapping[str, str]) -> int:
    (folder,) = _expect(arguments, 1)
    try:
        text = (Path(folder) / "run.json").read_bytes()
    except OSError as error:
        raise GateError(
            "no-results", f"{folder} has no run.json ({error.strerror}), expected a run; see its log."
        ) from None
    run = read_run(text, source=f"{folder}/run.json")
    _append(environment, "GITHUB_STEP_SUMMARY", run_page(run) + "\n")
    _say(f"show: exit {run.exit}; the page is the summary of the job.")
    return 0


def _annotate(conclusion: Conclusion, project: settings.Settings) -> None:
    kernel = project.kernel
    line = kernel_line((project.root / kernel).read_text(encoding="utf-8", errors="replace"))
    for command in as_annotations(conclusion, kernel=kernel, line=line):
        print(command)


def _label(event: Event, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Whether the label counts, and what is said of it, as GitHub has it now: a job run again has the event of then."""
    if not environment.get("GITHUB_TOKEN"):
        return LABEL in event.labels, ""
    found = label_of(event, api.from_environment(environment))
    return found.counts, found.text


def _keep(arguments: list[str], environment: Mapping[str, str]) -> int:
    folder, name = _expect(arguments, 2)
    found = keep(name, Path(folder), left=environment.get("EVIDENCE", ""))
    _say(f"keep: the results are in {KEPT}/{name}; their digest is {found}.")
    return 0


def _recheck(arguments: list[str], environment: Mapping[str, str]) -> int:
    _expect(arguments, 0)
    _say(f"recheck: {recheck(read_event(environment), api.from_environment(environment))}")
    return 0


def _comment(arguments: list[str], environment: Mapping[str, str]) -> int:
    _expect(arguments, 0)
    return comment.main(environment)


def _all(arguments: list[str], environment: Mapping[str, str]) -> int:
    _expect(arguments, 0)
    needs = read_needs(environment.get("NEEDS", ""))
    if missing := unfinished(needs):
        raise GateError("unfinished", f"Not every job succeeded ({', '.join(missing)}); look at their logs.")
    _say(f"all: {', '.join(needs)} succeeded.")
    return 0 if needs else _COULD_NOT


def _pick(arguments: list[str], environment: Mapping[str, str]) -> int:
    _expect(arguments, 0)
    check_reason(environment.get("REASON", ""))
    runner = picked(environment.get("CARD", ""), Path(PROJECT_FILE).read_text(encoding="utf-8"))
    _output(environment, {"label": runner.label, "slug": runner.slug})
    _say(f"pick: {runner.slug} on the runner {runner.label}.")
    return 0


def _expect(arguments: list[str], count: int) -> list[str]:
    if len(arguments) != count:
        raise GateError(
            "bad-usage", f"{len(arguments)} arguments were given, expected {count}; see python -m perfgate.github."
        )
    return arguments


def _output(environment: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Set the job's outputs; a value is one line, so that none can begin another."""
    _append(environment, "GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in values.items()))


def _append(environment: Mapping[str, str], variable: str, text: str) -> None:
    if environment.get(variable):
        with Path(environment[variable]).open("a", encoding="utf-8") as stream:
            stream.write(text)


def _say(text: str) -> None:
    """One line that GitHub's runner takes for no command."""
    print(api.for_log(text, most=_MOST_SAID))


COMMANDS: Mapping[str, Callable[[list[str], Mapping[str, str]], int]] = {
    "plan": _plan,
    "admit": _admit,
    "lay": _lay,
    "keep": _keep,
    "check": _check,
    "show": _show,
    "all": _all,
    "pick": _pick,
    "recheck": _recheck,
    "comment": _comment,
    "propose": propose.main,
}


def main(argv: list[str], environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit code."""
    if not argv or argv[0] not in COMMANDS:
        print(f"INVALID bad-usage: expected one of {', '.join(COMMANDS)}.\n\n{__doc__}", file=sys.stderr)
        return _COULD_NOT
    try:
        return COMMANDS[argv[0]](argv[1:], environment)
    except GateError as error:
        print(f"INVALID {error.reason}: {api.for_log(error.text, most=_MOST_SAID)}", file=sys.stderr)
        return _COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
