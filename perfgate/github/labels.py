"""Whether the label that excuses a change counts: only if it was set after this very commit was there to be looked at.

A label outlives the commit that it was set for. When a commit became the head of its pull request is told by GitHub's
own times, of the run that it started or of the push: those in the commit are its author's to choose. Decides no verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from perfgate.github.conclusion import LABEL
from perfgate.github.event import DISPATCH, MERGE_GROUP, commit
from perfgate.github.pulls import events, judging, moment, number_of
from perfgate.report.markdown import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from perfgate.github.event import Event
    from perfgate.github.pulls import Client

_SHOWN = 40
_MOST_PUSHES = 1000
_TOLD_TO = timedelta(seconds=1)
"""GitHub tells times to the second, and a workflow labels what it proposes within that of its push."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """What the label `LABEL` says of one run."""

    counts: bool
    text: str = ""
    """Who set it and when, and why it does not count; empty where it is not set."""


def label_of(event: Event, client: Client) -> Label:
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
    said = [happened for happened in events(client, number, "labeled", "unlabeled") if _of_label(happened)]
    if not said or said[-1]["event"] != "labeled":
        return Label(counts=False)
    when = moment(said[-1])
    who = f"The label {LABEL} was set by {_login(said[-1])} at {_shown(when)}"
    since = _head_since(event, number, client)
    if since is None:
        return Label(
            counts=False, text=f"{who}; when this commit was pushed cannot be told, so it does not count: set it again."
        )
    if when <= since:
        text = f"{who}, before this commit was there to be judged ({_shown(since)}), so it does not count: set it again if it is meant."
        return Label(counts=False, text=text)
    return Label(counts=True, text=f"{who}.")


def _head_since(event: Event, number: int, client: Client) -> datetime | None:
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


def _pushed(event: Event, client: Client) -> datetime | None:
    """When the branch came to this commit; for one that a workflow made, whose pull request starts no run by itself."""
    path = f"/repos/{client.repository}/activity"
    pushes = client.pages(path, most=_MOST_PUSHES, ref=f"refs/heads/{event.branch}")
    newest = next(pushes, None)
    if newest is None or newest.get("after") != event.head:
        return None
    return moment(newest, "timestamp") - _TOLD_TO


def _of_label(happened: Mapping[str, Any]) -> bool:
    label = happened.get("label")
    return isinstance(label, dict) and label.get("name") == LABEL


def _login(happened: Mapping[str, Any]) -> str:
    actor = happened.get("actor")
    login = actor.get("login") if isinstance(actor, dict) else None
    return plain(login[:_SHOWN]) if isinstance(login, str) and login else "somebody whom GitHub does not name"


def _shown(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
