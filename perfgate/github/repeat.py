"""The verdict that stands, repeated where somebody edited a title or a text: that changes nothing which is judged.

Such an edit starts the gate's workflow, as one that sends the pull request into another branch does, and a check that is
skipped would count as passed. So this is red wherever it cannot tell that the commit passed. Decides no verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.github.conclusion import WORKFLOW
from perfgate.github.event import DISPATCH, PULL_REQUEST
from perfgate.github.pulls import identity, judging, moved_since
from perfgate.github.recheck import CHECK, last_check

if TYPE_CHECKING:
    from perfgate.github.event import Event
    from perfgate.github.pulls import Client

_SUCCESS = "success"
_WHAT_TO_DO = "push, or close and reopen it, and it is judged for this one"


def repeat(event: Event, client: Client) -> tuple[bool, str]:
    """Whether the newest run that judged this very commit passed, for the branch of now; and a sentence.

    Args:
        event: Of a pull request.
        client: With the rights ``actions: read``, ``issues: read`` and ``pull-requests: read``.

    Raises:
        GateError: ``github-api`` for an answer that is none, or where GitHub refuses.
    """
    commit = event.head[:12]
    by_default = not event.from_fork and event.target == event.default_branch  # as what is started by hand is judged
    found = judging(client, event.head, (PULL_REQUEST, DISPATCH) if by_default else (PULL_REQUEST,))
    if found is None or event.number is None:
        return False, f"No run of {WORKFLOW} has judged {commit}; push, or close and reopen #{event.number}."
    run, had = found
    name = f"run {identity(run)}"
    if moved_since(client, event.number, run):
        return False, f"#{event.number} goes into another branch than {name} judged it for; {_WHAT_TO_DO}."
    if run.get("status") != "completed":
        return False, f"The verdict of {name} on {commit} is not there yet; run this again after it."
    ended = (last_check(had) or {}).get("conclusion")
    return ended == _SUCCESS, f"Nothing that is judged was edited: the job {CHECK} of {name} ended as {ended}."


def other_target(event: Event, client: Client, run: int) -> str:
    """Why a run that is run again judges for the wrong branch, as it has the event of then; empty where it does not.

    Raises:
        GateError: ``github-api``.
    """
    if event.kind != PULL_REQUEST or event.number is None:
        return ""
    if not moved_since(client, event.number, client.get(f"/repos/{client.repository}/actions/runs/{run}")):
        return ""
    return (
        f"#{event.number} went into {event.target} when this run began and was sent into another branch; {_WHAT_TO_DO}."
    )
