"""What GitHub itself tells of a pull request and of the runs that judged it: events, files, runs, jobs, times.

Owns the questions and their bounds. Nothing here comes from a run's artifacts, which anybody may have made.
"""

from __future__ import annotations

from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from perfgate.github.conclusion import WORKFLOW
from perfgate.github.event import DISPATCH, PULL_REQUEST, pull_at
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from perfgate.github.event import Event

MOST_FILES = 3000
"""GitHub lists no more files of a pull request; one with more cannot be looked through."""
PLAN = "plan"
"""Name of the gate's first job, which is skipped where a run only repeats a verdict."""
_MOST_EVENTS = 5000
_MOST_JOBS = 1000
_MOST_RUNS = 50
"""Newest runs of a commit that are looked through; each costs a question."""
_MOVED = ("base_ref_changed", "automatic_base_change_succeeded")


class Client(Protocol):
    """What these questions need of `perfgate.github.api.Api`."""

    @property
    def repository(self) -> str:
        """``owner/name``."""

    def get(self, path: str, **query: str | int) -> Any:  # noqa: ANN401 - whatever GitHub answers
        """The JSON that a path answers."""

    def pages(
        self, path: str, *, key: str | None = None, most: int = 1000, **query: str | int
    ) -> Iterator[dict[str, Any]]:
        """Every entry of a list."""


def events(client: Client, number: int, *kinds: str) -> list[dict[str, Any]]:
    """What happened to a pull request, of some kinds, in GitHub's order: the oldest first."""
    every = client.pages(f"/repos/{client.repository}/issues/{number}/events", most=_MOST_EVENTS)
    return [event for event in every if event.get("event") in kinds]


def files(client: Client, number: int) -> tuple[list[str], bool]:
    """Paths that a pull request adds, edits, removes or renames (both names), and whether these are all."""
    every = list(client.pages(f"/repos/{client.repository}/pulls/{number}/files", most=MOST_FILES))
    names = [
        name for file in every for key in ("filename", "previous_filename") if isinstance(name := file.get(key), str)
    ]
    return names, len(every) < MOST_FILES


def judging(
    client: Client, head: str, kinds: Sequence[str] = (PULL_REQUEST,)
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


def moved_since(client: Client, number: int, run: Mapping[str, Any]) -> bool:
    """Whether a pull request was sent into another branch since a run was started, or within the same second.

    By GitHub's own times: a run keeps the branch of its event, also where it is run again.
    """
    began = moment(run)
    return any(moment(change) >= began for change in events(client, number, *_MOVED))


def jobs(client: Client, run: int) -> list[dict[str, Any]]:
    """The jobs of a run, of every attempt: one that is run again keeps the others as they were."""
    path = f"/repos/{client.repository}/actions/runs/{run}/jobs"
    return list(client.pages(path, key="jobs", most=_MOST_JOBS, filter="all"))


def number_of(event: Event, client: Client) -> int | None:
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
