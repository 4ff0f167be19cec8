"""The label that excuses a change: it counts for the commit that it was set for, by GitHub's times, and says who set it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, Server, serving
from perfgate.github.api import Api
from perfgate.github.conclusion import LABEL
from perfgate.github.event import Event
from perfgate.github.labels import Label, label_of
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator

_AT = "/repos/team/matmul"
_EVENTS = f"GET {_AT}/issues/7/events"
_RUNS = f"GET {_AT}/actions/workflows/perf.yml/runs"
_HEAD, _GROUP = "a" * 40, "b" * 40
_PULL = Event(
    kind="pull_request",
    repository="team/matmul",
    candidate=_GROUP,
    head=_HEAD,
    base="c" * 40,
    default_branch="main",
    branch="change",
    target="main",
    number=7,
    labels=(LABEL,),
)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        found.answers[_RUNS] = Answer(body={"workflow_runs": [_run(10)]})
        for second in (10, 20, 30):
            plan = {"name": "plan", "conclusion": "skipped" if second == 30 else "success"}
            found.answers[f"GET {_AT}/actions/runs/{second}/jobs"] = Answer(body={"jobs": [plan]})
        yield found


def _at(second: int) -> str:
    return f"2026-03-01T10:00:{second:02}Z"


def _run(second: int, head: str = _HEAD) -> dict[str, Any]:
    times = {"created_at": _at(second), "run_started_at": _at(1)}
    return {"id": second, "head_sha": head, "event": "pull_request", **times}


def _happened(second: int, event: str = "labeled", name: str = LABEL, who: object = None) -> dict[str, Any]:
    actor = {"login": "kim"} if who is None else who
    return {"event": event, "created_at": _at(second), "actor": actor, "label": {"name": name}}


def _label(server: Server, *events: dict[str, Any], event: Event = _PULL) -> Label:
    server.answers[_EVENTS] = Answer(body=list(events))
    return label_of(event, Api(url=server.url, repository="team/matmul"))


def test_a_label_that_was_set_after_the_commit_came_counts_and_says_who_set_it_and_when(server: Server) -> None:
    found = _label(server, _happened(11))
    assert found == Label(counts=True, text=f"The label {LABEL} was set by kim at 2026-03-01 10:00:11 UTC.")


@pytest.mark.parametrize("second", [3, 10])
def test_a_label_that_outlived_the_commit_it_was_set_for_does_not_count_and_says_what_to_do(
    server: Server, second: int
) -> None:
    found = _label(server, _happened(second))
    assert not found.counts
    assert found.text == (
        f"The label {LABEL} was set by kim at 2026-03-01 10:00:{second:02} UTC, before this commit was there to be judged "
        "(2026-03-01 10:00:10 UTC), so it does not count: set it again if it is meant."
    )


def test_a_label_that_was_set_again_counts(server: Server) -> None:
    again = (_happened(3), _happened(12, "unlabeled"), _happened(13, who={"login": "ada"}))
    assert _label(server, *again).text.startswith(f"The label {LABEL} was set by ada at 2026-03-01 10:00:13")


@pytest.mark.parametrize(
    "events",
    [(), (_happened(11), _happened(12, "unlabeled")), (_happened(11, name="docs"),), (_happened(11, "renamed"),)],
)
def test_a_label_that_is_not_set_now_counts_for_nothing_whatever_the_event_held(
    server: Server, events: tuple[dict[str, Any], ...]
) -> None:
    assert _label(server, *events) == Label(counts=False)


def test_the_newest_start_of_the_gate_for_that_commit_counts_and_no_other_commits(server: Server) -> None:
    server.answers[_RUNS] = Answer(body={"workflow_runs": [_run(10), _run(20), _run(50, "d" * 40)]})
    assert (_label(server, _happened(15)).counts, _label(server, _happened(21)).counts) == (False, True)


def test_an_edited_title_between_the_commit_and_the_label_leaves_the_label_as_it_is(server: Server) -> None:
    server.answers[_RUNS] = Answer(body={"workflow_runs": [_run(10), _run(30)]})
    assert _label(server, _happened(15)).counts


def test_a_commit_whose_coming_cannot_be_told_has_no_label_that_counts(server: Server) -> None:
    server.answers[_RUNS] = Answer(body={"workflow_runs": []})
    found = _label(server, _happened(11))
    assert (found.counts, "cannot be told" in found.text) == (False, True)


@pytest.mark.parametrize(
    ("who", "shown"),
    [({"login": "::error::x\n"}, "::error::x?"), ({}, "somebody whom GitHub does not name"), (3, "somebody whom")],
)
def test_whoever_set_it_is_shown_on_one_line(server: Server, who: object, shown: str) -> None:
    assert f"was set by {shown}" in _label(server, _happened(11, who=who)).text


def test_a_merge_groups_label_has_to_be_set_after_its_pull_requests_own_commit_came(server: Server) -> None:
    group = dataclasses.replace(_PULL, kind="merge_group", head=_GROUP)
    server.answers[f"GET {_AT}/pulls/7"] = Answer(body={"number": 7, "head": {"sha": _HEAD}})
    assert (_label(server, _happened(11), event=group).counts, _label(server, _happened(9), event=group).counts) == (
        True,
        False,
    )
    server.answers[f"GET {_AT}/pulls/7"] = Answer(body={"number": 7})
    with pytest.raises(GateError):
        _label(server, _happened(11), event=group)


_PROPOSED = dataclasses.replace(
    _PULL, kind="workflow_dispatch", number=None, branch="baselines/h100-1", target="baselines/h100-1", labels=()
)


def _pushed(server: Server, second: int, after: str = _HEAD) -> None:
    pull = {"number": 7, "head": {"sha": _HEAD}}
    server.answers[f"GET {_AT}/pulls"] = Answer(body=[pull])
    push = {"after": after, "timestamp": _at(second), "activity_type": "branch_creation"}
    server.answers[f"GET {_AT}/activity"] = Answer(body=[push, push | {"timestamp": _at(1)}])


def test_a_branch_that_was_started_by_hand_has_its_label_held_against_its_push(server: Server) -> None:
    for pushed, counts in ((5, True), (11, True), (12, False)):  # a workflow labels within the second of its push
        _pushed(server, pushed)
        assert _label(server, _happened(11), event=_PROPOSED).counts is counts
    asked = next(asked for asked in server.asked if asked.path.endswith("/activity"))
    assert asked.query["ref"] == "refs/heads/baselines/h100-1"
    _pushed(server, 5, after="d" * 40)
    assert not _label(server, _happened(11), event=_PROPOSED).counts


def test_what_has_no_pull_request_has_no_label(server: Server) -> None:
    server.answers[f"GET {_AT}/pulls"] = Answer(body=[])
    assert _label(server, event=_PROPOSED) == Label(counts=False)
    push = dataclasses.replace(_PULL, kind="push", number=None, branch="main")
    assert _label(server, event=push) == Label(counts=False)


@pytest.mark.parametrize("path", [_EVENTS, _RUNS])
def test_a_question_that_github_does_not_answer_is_an_error_and_no_label(server: Server, path: str) -> None:
    server.answers[_EVENTS] = Answer(body=[_happened(11)])
    server.answers[path] = Answer(status=403, body={"message": "no"})
    with pytest.raises(GateError, match="403"):
        label_of(_PULL, Api(url=server.url, repository="team/matmul"))
