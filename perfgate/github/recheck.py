"""Runs the required check again when the label was set or taken away: the check reads the label as it is then.

Nothing is measured again: the job judges what the cards left. Talks to GitHub; decides no verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfgate.github.conclusion import WORKFLOW
from perfgate.github.pulls import attempt, identity, judging
from perfgate.records import GateError

if TYPE_CHECKING:
    from perfgate.github.api import Api
    from perfgate.github.event import Event

CHECK = "perf"
"""Name of the job that is the required check."""


def recheck(event: Event, client: Api) -> str:
    """Run the check of a pull request's own commit again; returns what was done, in a sentence.

    Raises:
        GateError: ``github-api`` for an answer that is none, or where GitHub refuses.
    """
    if event.from_fork:  # GitHub gives such a run a token that may only read
        return f"#{event.number} comes from a fork: a maintainer runs the job {CHECK} again on its page."
    found = judging(client, event.head)
    if found is None:
        return f"{WORKFLOW} has not run for {event.head[:12]} yet; its job {CHECK} will read the label."
    run, had = found
    if run.get("status") != "completed":
        return f"{WORKFLOW} is running for {event.head[:12]}; its job {CHECK} will read the label."
    client.send("POST", f"/repos/{client.repository}/actions/jobs/{identity(_check_of(run, had))}/rerun", {})
    return f"The job {CHECK} of {event.head[:12]} runs again and reads the label."


def _check_of(run: dict[str, Any], had: list[dict[str, Any]]) -> dict[str, Any]:
    found = last_check(had)
    if found is None:
        raise GateError(
            "github-api",
            f"The run {identity(run)} has not one job named {CHECK}, expected one; run it again on its page.",
        )
    return found


def last_check(every: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The required check of a run's newest attempt that has it; None where that has none, or more than one."""
    named = [job for job in every if job.get("name") == CHECK]
    newest = max((attempt(job) for job in named), default=0)
    last = [job for job in named if attempt(job) == newest]
    return last[0] if len(last) == 1 else None
