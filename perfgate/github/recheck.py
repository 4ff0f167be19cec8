"""Runs the required check again when the label is set or taken away: the check reads the label as it is then.

Nothing is measured again: the job judges what the cards left. Talks to GitHub; decides no verdict.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfgate.github.conclusion import WORKFLOW
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
    run = _newest_run(event, client)
    if run is None:
        return f"{WORKFLOW} has not run for {event.head[:12]} yet; its job {CHECK} will read the label."
    if run.get("status") != "completed":
        return f"{WORKFLOW} is running for {event.head[:12]}; its job {CHECK} will read the label."
    job = _check_of(run, client)
    client.send("POST", f"/repos/{client.repository}/actions/jobs/{job}/rerun", {})
    return f"The job {CHECK} of {event.head[:12]} runs again and reads the label."


def _newest_run(event: Event, client: Api) -> dict[str, Any] | None:
    path = f"/repos/{client.repository}/actions/workflows/{WORKFLOW}/runs"
    answer = client.get(path, head_sha=event.head, event=event.kind)
    runs = [run for run in _list(answer, "workflow_runs") if run.get("head_sha") == event.head]
    return max(runs, key=_id, default=None)


def _check_of(run: dict[str, Any], client: Api) -> int:
    answer = client.get(f"/repos/{client.repository}/actions/runs/{_id(run)}/jobs", filter="latest", per_page=100)
    jobs = [job for job in _list(answer, "jobs") if job.get("name") == CHECK]
    if len(jobs) != 1:
        raise GateError(
            "github-api",
            f"The run {_id(run)} has {len(jobs)} jobs named {CHECK}, expected one; run it again on its page.",
        )
    return _id(jobs[0])


def _list(answer: object, key: str) -> list[dict[str, Any]]:
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise GateError("github-api", f"GitHub's answer has no list of {key}, expected one; run again.")
    return found


def _id(entry: dict[str, Any]) -> int:
    found = entry.get("id")
    if type(found) is not int:
        raise GateError("github-api", "GitHub's answer has an entry without an id, expected a number; run again.")
    return found
