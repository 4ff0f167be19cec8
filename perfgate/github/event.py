"""What a workflow run is about, read from GitHub's event; and what a job is given, says and leaves for later ones.

Owns the reading of payloads and of GitHub's variables. Decides nothing; needs the standard library alone.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.github.api import for_log
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_SAID = 2000
"""Characters of a line in a job's log."""
PULL_REQUEST = "pull_request"
MERGE_GROUP = "merge_group"
PUSH = "push"
SCHEDULE = "schedule"
DISPATCH = "workflow_dispatch"
KINDS = (PULL_REQUEST, MERGE_GROUP, PUSH, SCHEDULE, DISPATCH)
"""Events that the gate runs for."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_QUEUE = re.compile(r"gh-readonly-queue/.+/pr-(\d+)-[0-9a-f]+$")


@dataclass(frozen=True, kw_only=True)
class Event:
    """One run's cause, of the kinds that the gate knows."""

    kind: str
    """One of `KINDS`."""
    repository: str
    """``owner/name``."""
    candidate: str
    """Commit that is judged: a pull request's merge commit, a merge group's head, or what was pushed."""
    head: str
    """Commit that its author knows: the pull request's own head; elsewhere the candidate."""
    base: str
    """Commit that the event names as the one to judge by; empty where that is the candidate itself or for git to say."""
    default_branch: str
    branch: str
    """Branch that the run is of; of a pull request, the one that it comes from."""
    target: str
    """Branch that a pull request or a merge group goes into; elsewhere the branch itself."""
    number: int | None = None
    """Of the pull request."""
    from_fork: bool = False
    labels: tuple[str, ...] = ()
    """As they were when the event happened."""
    action: str = ""
    """What happened to the pull request: ``opened``, ``synchronize``, ``edited`` and so on; empty elsewhere."""
    retargeted: bool = False
    """This very event changed the branch that the pull request goes into."""

    @property
    def repeats(self) -> bool:
        """Whether nothing that is judged changed, but a title or a text: then the verdict that stands is repeated."""
        return self.kind == PULL_REQUEST and self.action == "edited" and not self.retargeted

    @property
    def on_default_branch(self) -> bool:
        """Whether the default branch itself is judged, where small steps that add up fail."""
        return self.kind in {PUSH, SCHEDULE, DISPATCH} and self.branch == self.default_branch


def read_event(environment: Mapping[str, str]) -> Event:
    """The event of this run, from the variables that GitHub sets for every job.

    Args:
        environment: ``GITHUB_EVENT_NAME``, ``GITHUB_EVENT_PATH``, ``GITHUB_SHA``, ``GITHUB_REF_NAME`` and
            ``GITHUB_REPOSITORY`` are used.

    Raises:
        GateError: ``not-on-github``, ``unknown-event`` or ``bad-event``.
    """
    missing = [name for name in ("GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_SHA") if not environment.get(name)]
    if missing:
        raise GateError(
            "not-on-github", f"{missing[0]} is not set, expected GitHub's variables; this command is for its workflows."
        )
    return event_of(environment["GITHUB_EVENT_NAME"], read_payload(environment), environment)


def read_payload(environment: Mapping[str, str]) -> dict[str, Any]:
    """The payload of this run's event.

    Raises:
        GateError: ``bad-event`` when there is none or it is no JSON object.
    """
    path = Path(environment.get("GITHUB_EVENT_PATH", ""))
    try:
        payload: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise GateError("bad-event", f"The event's payload {path} cannot be read ({error}); run again.") from None
    if not isinstance(payload, dict):
        raise GateError(
            "bad-event", f"The event's payload is a {type(payload).__name__}, expected an object; run again."
        )
    return payload


def event_of(kind: str, payload: Mapping[str, Any], environment: Mapping[str, str]) -> Event:
    """Read one event; see `read_event`."""
    if kind not in KINDS:
        raise GateError("unknown-event", f"The gate does not run for {kind!r}, expected one of {', '.join(KINDS)}.")
    repository = _text(payload, "repository", "full_name")
    default_branch = _text(payload, "repository", "default_branch")
    sha, branch = commit(environment["GITHUB_SHA"]), environment.get("GITHUB_REF_NAME", "")
    if kind == PULL_REQUEST:
        return _pull_request(payload, sha, repository=repository, default_branch=default_branch)
    if kind == MERGE_GROUP:
        queued = _text(payload, "merge_group", "head_ref").removeprefix("refs/heads/")
        found = _QUEUE.search(queued)
        head = commit(_text(payload, "merge_group", "head_sha"))
        return Event(
            kind=kind,
            repository=repository,
            candidate=head,
            head=head,
            base=commit(_text(payload, "merge_group", "base_sha")),
            default_branch=default_branch,
            branch=queued,
            target=_text(payload, "merge_group", "base_ref").removeprefix("refs/heads/"),
            number=int(found[1]) if found else None,
        )
    return Event(
        kind=kind,
        repository=repository,
        candidate=sha,
        head=sha,
        base="",
        default_branch=default_branch,
        branch=branch,
        target=branch,
    )


def _pull_request(payload: Mapping[str, Any], sha: str, *, repository: str, default_branch: str) -> Event:
    pull = _object(payload, "pull_request")
    head = _object(pull, "head")
    source = head.get("repo")  # null where the fork was deleted: then it was one
    name = source.get("full_name") if isinstance(source, dict) else None
    action, changes = payload.get("action"), payload.get("changes")
    return Event(
        kind=PULL_REQUEST,
        repository=repository,
        candidate=sha,
        head=commit(_text(head, "sha")),
        base=commit(_text(pull, "base", "sha")),
        default_branch=default_branch,
        branch=_text(head, "ref"),
        target=_text(pull, "base", "ref"),
        number=_number(pull),
        from_fork=name != repository,
        labels=labels_of(pull.get("labels") or []),
        action=action if isinstance(action, str) else "",
        retargeted=isinstance(changes, dict) and changes.get("base") is not None,
    )


def labels_of(answer: object) -> tuple[str, ...]:
    """Names from a list of labels, as an event or GitHub's answer holds it."""
    every = answer if isinstance(answer, list) else []
    return tuple(label["name"] for label in every if isinstance(label, dict) and isinstance(label.get("name"), str))


def pull_at(answer: object, head: str) -> int | None:
    """Number of the pull request in GitHub's list whose own head is that commit; None where there is none."""
    for pull in answer if isinstance(answer, list) else []:
        if isinstance(pull, dict) and isinstance(pull.get("head"), dict) and pull["head"].get("sha") == head:
            return _number(pull)
    return None


def commit(text: str) -> str:
    """A full commit hash, or a GateError ``bad-event``."""
    if not _COMMIT.fullmatch(text):
        raise GateError("bad-event", f"The event names the commit {text[:80]!r}, expected a full hash; run again.")
    return text


def _number(pull: Mapping[str, Any]) -> int:
    number = pull.get("number")
    if type(number) is not int or number < 1:
        raise GateError("bad-event", "The event has no pull request number, expected one; run again.")
    return number


def _object(parent: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    if not isinstance(value, dict):
        raise GateError("bad-event", f"The event's payload has no {key}, expected an object; run again.")
    return value


def _text(parent: Mapping[str, Any], *keys: str) -> str:
    for key in keys[:-1]:
        parent = _object(parent, key)
    value = parent.get(keys[-1])
    if not isinstance(value, str) or not value:
        raise GateError("bad-event", f"The event's payload has no {'.'.join(keys)}, expected text; run again.")
    return value


def arguments_of(given: list[str], count: int) -> list[str]:
    """A command's words, as many as it takes.

    Raises:
        GateError: ``bad-usage``.
    """
    if len(given) != count:
        raise GateError(
            "bad-usage", f"{len(given)} arguments were given, expected {count}; see python -m perfgate.github."
        )
    return given


def run_number(environment: Mapping[str, str]) -> int:
    """GitHub's number of this run."""
    run = environment.get("GITHUB_RUN_ID", "")
    if not (run.isascii() and run.isdecimal()):
        raise GateError(
            "not-on-github", f"GITHUB_RUN_ID is {run[:40]!r}, expected a number; this is for GitHub's jobs."
        )
    return int(run)


def set_outputs(environment: Mapping[str, str], values: Mapping[str, str]) -> None:
    """Set the job's outputs; a value is one line, so that none can begin another."""
    append(environment, "GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in values.items()))


def append(environment: Mapping[str, str], variable: str, text: str) -> None:
    """Add to the file that a variable names, where there is one."""
    if environment.get(variable):
        with Path(environment[variable]).open("a", encoding="utf-8") as stream:
            stream.write(text)


def say(text: str) -> None:
    """One line that GitHub's runner takes for no command."""
    print(for_log(text, most=MOST_SAID))
