"""Who may use the machine with the card: code of this repository's own people, and what a reviewer approved.

Asked twice: in the workflow, and by the machine itself before a job's first step, since a pull request can edit the
workflow but not the machine. A fork's commit is let in by a reviewer's approval of that very run, which is of one
commit; without it, and for every event that is not known to be safe, the answer is no.

The machine asks with the system's Python and no package: what this imports needs the standard library alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfgate.github import api
from perfgate.github.event import (
    DISPATCH,
    MERGE_GROUP,
    PULL_REQUEST,
    PUSH,
    SCHEDULE,
    arguments_of,
    read_event,
    run_number,
    say,
    set_outputs,
)
from perfgate.records import GateError
from perfgate.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.github.event import Event

_COULD_NOT = 2
ENVIRONMENT = "fork-on-card"
"""Deployment environment whose required reviewers let a fork's commit onto the card."""


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Whether a run may use the card, and why in one sentence."""

    admitted: bool
    text: str


def admission(event: Event, approvals: Sequence[str]) -> Admission:
    """Decide on one run.

    Args:
        event: What the run is about.
        approvals: Logins of those who approved this run for `ENVIRONMENT` (see `approvers`).
    """
    if event.kind == PULL_REQUEST and event.from_fork:
        commit = event.head[:12]
        if approvals:
            who = ", ".join(approvals)
            return Admission(admitted=True, text=f"fork commit {commit} of #{event.number}, approved by {who}.")
        return Admission(
            admitted=False,
            text=f"Commit {commit} of #{event.number} comes from a fork and nobody has let it onto the card; a maintainer reads "
            f"that commit and approves this run for the environment {ENVIRONMENT} (Review deployments).",
        )
    why = {
        PULL_REQUEST: f"branch {event.branch} of this repository",
        MERGE_GROUP: "a merge group, which a maintainer queued",
        PUSH: f"a push to {event.branch}",
        SCHEDULE: f"the schedule of {event.branch}",
        DISPATCH: f"started by hand on {event.branch}",
    }
    return Admission(admitted=True, text=f"{why[event.kind]}.")


def approvers(reviews: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Logins of those who approved a run for `ENVIRONMENT`, and none where any of them rejected it.

    Args:
        reviews: A run's review history, as ``GET /repos/{owner}/{repo}/actions/runs/{run_id}/approvals`` answers.
    """
    ours = [review for review in reviews if ENVIRONMENT in _names(review.get("environments"))]
    if any(review.get("state") != "approved" for review in ours):
        return ()
    logins = [user.get("login") for review in ours if isinstance(user := review.get("user"), dict)]
    return tuple(login for login in logins if isinstance(login, str) and login)


def _names(environments: object) -> list[object]:
    every = environments if isinstance(environments, list) else []
    return [environment.get("name") for environment in every if isinstance(environment, dict)]


def admit_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Say whether this run may use the card; 0 where it may."""
    arguments_of(arguments, 0)
    try:
        event = read_event(environment)
        reviews = _reviews(environment) if event.from_fork else ()
        answer = admission(event, reviews)
    except GateError as error:  # nothing that cannot be told gets onto the card
        answer = Admission(admitted=False, text=error.text)
    set_outputs(environment, {"said": "" if answer.admitted else plain(answer.text)})
    say(f"admit: {'yes' if answer.admitted else 'NO'}: {answer.text}")
    return 0 if answer.admitted else _COULD_NOT


def _reviews(environment: Mapping[str, str]) -> tuple[str, ...]:
    client = api.from_environment(environment)
    found = client.get(f"/repos/{client.repository}/actions/runs/{run_number(environment)}/approvals")
    if not isinstance(found, list) or not all(isinstance(review, dict) for review in found):
        raise GateError("github-api", "GitHub's answer on this run's approvals is no list, expected one; run again.")
    return approvers(found)
