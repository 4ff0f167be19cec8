"""What GitHub itself tells of a pull request: the runs that judged it and how they ended, its label, its files.

Owns the questions and their bounds, and what follows from the answers: whether the label that excuses a change counts,
whether the verdict that stands may be repeated, and which check is run again. Nothing here comes from a run's artifacts,
which anybody may have made. Decides no verdict of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from perfgate.github import api
from perfgate.github.conclusion import LABEL, WORKFLOW
from perfgate.github.event import DISPATCH, MERGE_GROUP, PULL_REQUEST, arguments_of, commit, pull_at, read_event, say
from perfgate.records import GateError
from perfgate.text import plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.github.event import Event


MOST_FILES = 3000
"""GitHub lists no more files of a pull request; one with more cannot be looked through."""
PLAN = "plan"
"""Name of the gate's first job, which is skipped where a run only repeats a verdict."""
CHECK = "perf"
"""Name of the job that is the required check."""
_MOST_EVENTS = 5000
_MOST_JOBS = 1000
_MOST_RUNS = 50
"""Newest runs of a commit that are looked through; each costs a question."""
_MOVED = ("base_ref_changed", "automatic_base_change_succeeded")
_SUCCESS = "success"
_WHAT_TO_DO = "push, or close and reopen it, and it is judged for this one"
_SHOWN = 40
_MOST_PUSHES = 1000
_TOLD_TO = timedelta(seconds=1)
"""GitHub tells times to the second, and a workflow labels what it proposes within that of its push."""


def events(client: api.Api, number: int, *kinds: str) -> list[dict[str, Any]]:
    """What happened to a pull request, of some kinds, in GitHub's order: the oldest first."""
    every = client.pages(f"/repos/{client.repository}/issues/{number}/events", most=_MOST_EVENTS)
    return [event for event in every if event.get("event") in kinds]


def files(client: api.Api, number: int) -> tuple[list[str], bool]:
    """Paths that a pull request adds, edits, removes or renames (both names), and whether these are all."""
    every = list(client.pages(f"/repos/{client.repository}/pulls/{number}/files", most=MOST_FILES))
    names = [
        name for file in every for key in ("filename", "previous_filename") if isinstance(name := file.get(key), str)
    ]
    return names, len(every) < MOST_FILES


def judging(
    client: api.Api, head: str, kinds: Sequence[str] = (PULL_REQUEST,)
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The newest run that judges this head commit of a pull request, and its jobs; None where there is none.

    A run that only repeats a verdict is none, nor is one that was replaced before it had a job. It may be under way.

    Args:
        client: With the right ``actions: read``.
        head: The commit.
        kinds: Events whose runs count.
    """
    path = f"/repos/{client.repository}/actions/workflows/{WORKFLOW}/runs"
    every = islice(client.pages(path, key="workflow_runs", head_sha=head), _MOST_RUNS)
    found = [run for run in every if run.get("head_sha") == head and run.get("event") in kinds]
    for run in sorted(found, key=identity, reverse=True):
        had = jobs(client, identity(run))
        if any(job.get("name") == PLAN for job in had) and not repeats(had):
            return run, had
    return None


def repeats(had: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run with these jobs judged nothing by itself: its plan was skipped, as for an edited title."""
    ends = [job.get("conclusion") for job in had if job.get("name") == PLAN]
    return bool(ends) and all(end == "skipped" for end in ends)


def moved_since(client: api.Api, number: int, run: Mapping[str, Any]) -> bool:
    """Whether a pull request was sent into another branch since a run was started, or within the same second.

    By GitHub's own times: a run keeps the branch of its event, also where it is run again.
    """
    began = moment(run)
    return any(moment(change) >= began for change in events(client, number, *_MOVED))


def jobs(client: api.Api, run: int) -> list[dict[str, Any]]:
    """The jobs of a run, of every attempt: one that is run again keeps the others as they were."""
    path = f"/repos/{client.repository}/actions/runs/{run}/jobs"
    return list(client.pages(path, key="jobs", most=_MOST_JOBS, filter="all"))


def number_of(event: Event, client: api.Api) -> int | None:
    """Number of the pull request that a run is about; None where there is none that is open at this commit."""
    if event.number is not None or event.kind != DISPATCH or event.on_default_branch:
        return event.number
    owner = client.repository.partition("/")[0]
    found = client.get(f"/repos/{client.repository}/pulls", state="open", head=f"{owner}:{event.branch}")
    return pull_at(found, event.head)


def moment(entry: Mapping[str, Any], key: str = "created_at") -> datetime:
    """When GitHub says that something happened.

    Raises:
        GateError: ``github-api`` where it does not say, or not with a time zone.
    """
    try:
        found = datetime.fromisoformat(str(entry.get(key)))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise GateError("github-api", f"GitHub's answer has an entry without {key}, expected a time; run again.")
    return found


def identity(entry: Mapping[str, Any]) -> int:
    """The number that GitHub gave an entry."""
    found = entry.get("id")
    if type(found) is not int:
        raise GateError("github-api", "GitHub's answer has an entry without an id, expected a number; run again.")
    return found


def attempt(job: Mapping[str, Any]) -> int:
    """Which attempt of its run a job is of, from 1."""
    found = job.get("run_attempt", 1)
    return found if type(found) is int else 0


def last_check(every: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The required check of a run's newest attempt that has it; None where that has none, or more than one."""
    named = [job for job in every if job.get("name") == CHECK]
    newest = max((attempt(job) for job in named), default=0)
    last = [job for job in named if attempt(job) == newest]
    return last[0] if len(last) == 1 else None


# The verdict that stands: an edit of a title or a text starts the gate's workflow, as one that sends the pull request into
# another branch does, and a check that is skipped would count as passed. So this is red wherever it cannot tell that the
# commit passed.


def repeat(event: Event, client: api.Api) -> tuple[bool, str]:
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


def other_target(event: Event, client: api.Api, run: int) -> str:
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


# The label that excuses a change: it outlives the commit that it was set for, so it counts only if it was set after this
# very commit was there to be looked at. When that became the head of its pull request is told by GitHub's own times, of the
# run that it started or of the push: those in the commit are its author's to choose.


@dataclass(frozen=True, kw_only=True)
class Label:
    """What the label `LABEL` says of one run."""

    counts: bool
    text: str = ""
    """Who set it and when, and why it does not count; empty where it is not set."""


def label_of(event: Event, client: api.Api) -> Label:
    """Ask GitHub as it is now: a job that is run again still has the event of then.

    Args:
        event: What the run is about.
        client: With the rights ``actions: read``, ``contents: read``, ``issues: read`` and ``pull-requests: read``.

    Raises:
        GateError: ``github-api`` for an answer that is none, or where GitHub refuses.
    """
    number = number_of(event, client)
    if number is None:
        return Label(counts=False)
    said = [happened for happened in events(client, number, "labeled", "unlabeled") if _names_label(happened)]
    if not said or said[-1]["event"] != "labeled":
        return Label(counts=False)
    when = moment(said[-1])
    who = f"The label {LABEL} was set by {_login(said[-1])} at {_minute(when)}"
    since = _head_since(event, number, client)
    if since is None:
        return Label(
            counts=False, text=f"{who}; when this commit was pushed cannot be told, so it does not count: set it again."
        )
    if when <= since:
        text = f"{who}, before this commit was there to be judged ({_minute(since)}), so it does not count: set it again if it is meant."
        return Label(counts=False, text=text)
    return Label(counts=True, text=f"{who}.")


def _head_since(event: Event, number: int, client: api.Api) -> datetime | None:
    """When the pull request's head came, or later: the start of the newest run that judges it.

    That is later than the push also where the pull request was reopened, and so may have got another base.
    """
    if event.kind == DISPATCH:
        return _pushed(event, client)
    head = event.head
    if event.kind == MERGE_GROUP:
        pull = client.get(f"/repos/{client.repository}/pulls/{number}")
        own = pull.get("head") if isinstance(pull, dict) else None
        head = commit(str(own.get("sha") if isinstance(own, dict) else None))
    found = judging(client, head)
    return moment(found[0]) if found else None


def _pushed(event: Event, client: api.Api) -> datetime | None:
    """When the branch came to this commit; for one that a workflow made, whose pull request starts no run by itself."""
    path = f"/repos/{client.repository}/activity"
    pushes = client.pages(path, most=_MOST_PUSHES, ref=f"refs/heads/{event.branch}")
    newest = next(pushes, None)
    if newest is None or newest.get("after") != event.head:
        return None
    return moment(newest, "timestamp") - _TOLD_TO


def _names_label(happened: Mapping[str, Any]) -> bool:
    label = happened.get("label")
    return isinstance(label, dict) and label.get("name") == LABEL


def _login(happened: Mapping[str, Any]) -> str:
    actor = happened.get("actor")
    login = actor.get("login") if isinstance(actor, dict) else None
    return plain(login[:_SHOWN]) if isinstance(login, str) and login else "somebody whom GitHub does not name"


def _minute(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"


# The check is run again when the label was set or taken away: it reads the label as it is then, and measures nothing again.


def recheck(event: Event, client: api.Api) -> str:
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


def recheck_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Run the required check again."""
    arguments_of(arguments, 0)
    say(f"recheck: {recheck(read_event(environment), api.from_environment(environment))}")
    return 0
