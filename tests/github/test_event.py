"""The event of a run, read from GitHub's variables and payload: each kind as it is, and nothing that is not whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from github_world import pull_payload
from perfgate.github.event import Event, commit, event_of, labels_of, pull_at, read_event, read_payload
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD, _MERGE, _BASE = "a" * 40, "b" * 40, "c" * 40
_HERE = {"full_name": "team/matmul", "default_branch": "main"}


def _pull(**changes: Any) -> dict[str, Any]:
    made = pull_payload(_HEAD, _BASE, labels=["docs", "baseline-change"])
    made["pull_request"] |= changes
    return made


def _group(**changes: Any) -> dict[str, Any]:
    group = {
        "head_sha": _MERGE,
        "base_sha": _BASE,
        "head_ref": f"refs/heads/gh-readonly-queue/main/pr-31-{_BASE}",
        "base_ref": "refs/heads/main",
    }
    return {"repository": _HERE, "merge_group": group | changes}


def _read(kind: str, payload: dict[str, Any], *, branch: str = "7/merge") -> Event:
    return event_of(kind, payload, {"GITHUB_SHA": _MERGE, "GITHUB_REF_NAME": branch})


def _refused(kind: str, payload: dict[str, Any], sha: str = _MERGE) -> str:
    with pytest.raises(GateError) as caught:
        event_of(kind, payload, {"GITHUB_SHA": sha, "GITHUB_REF_NAME": "main"})
    assert caught.value.reason == "bad-event"
    return caught.value.text


def test_a_pull_request_is_read_as_it_is() -> None:
    assert _read("pull_request", _pull()) == Event(
        kind="pull_request",
        repository="team/matmul",
        candidate=_MERGE,
        head=_HEAD,
        base=_BASE,
        default_branch="main",
        branch="change",
        target="main",
        number=7,
        from_fork=False,
        labels=("docs", "baseline-change"),
    )


@pytest.mark.parametrize(
    ("action", "changes", "repeats", "retargeted"),
    [
        ("edited", {"title": {"from": "x"}}, True, False),
        ("edited", {}, True, False),
        ("edited", None, True, False),
        ("edited", {"base": None}, True, False),
        ("edited", {"base": {"ref": {"from": "old"}}}, False, True),
        ("synchronize", None, False, False),
        ("reopened", None, False, False),
        (None, None, False, False),
    ],
)
def test_only_an_edit_that_leaves_the_branch_repeats_a_verdict(
    action: str | None, changes: object, *, repeats: bool, retargeted: bool
) -> None:
    found = _read("pull_request", _pull() | {"action": action, "changes": changes})
    assert (found.repeats, found.retargeted) == (repeats, retargeted)
    assert not _read("merge_group", _group() | {"action": action, "changes": changes}).repeats


def test_a_merge_group_is_read_as_it_is() -> None:
    assert _read("merge_group", _group()) == Event(
        kind="merge_group",
        repository="team/matmul",
        candidate=_MERGE,
        head=_MERGE,
        base=_BASE,
        default_branch="main",
        branch=f"gh-readonly-queue/main/pr-31-{_BASE}",
        target="main",
        number=31,
        from_fork=False,
        labels=(),
    )


def test_a_merge_group_whose_branch_names_no_pull_request_has_no_number() -> None:
    assert _read("merge_group", _group(head_ref="refs/heads/queue")).number is None


@pytest.mark.parametrize("kind", ["push", "schedule", "workflow_dispatch"])
def test_what_was_pushed_or_started_is_read_from_githubs_variables(kind: str) -> None:
    assert _read(kind, {"repository": _HERE}, branch="topic") == Event(
        kind=kind,
        repository="team/matmul",
        candidate=_MERGE,
        head=_MERGE,
        base="",
        default_branch="main",
        branch="topic",
        target="topic",
    )
    assert event_of(kind, {"repository": _HERE}, {"GITHUB_SHA": _MERGE}).branch == ""


@pytest.mark.parametrize("kind", ["push", "schedule", "workflow_dispatch"])
def test_the_default_branch_is_that_of_the_repository_by_its_whole_name(kind: str) -> None:
    assert _read(kind, {"repository": _HERE}, branch="main").on_default_branch
    assert not _read(kind, {"repository": _HERE}, branch="main-2").on_default_branch


def test_a_change_is_never_the_default_branch_whatever_its_own_is_called() -> None:
    ours = {"sha": _HEAD, "ref": "main", "repo": {"full_name": "stranger/matmul"}}
    assert not _read("pull_request", _pull(head=ours)).on_default_branch
    assert not _read("merge_group", _group(head_ref="refs/heads/main")).on_default_branch


@pytest.mark.parametrize(
    "text", ["", "main", "a" * 39, "a" * 41, "A" * 40, f"{_HEAD}\n", f" {_HEAD}", f"{_HEAD}..x", f"--{_HEAD}", "a" * 63]
)
def test_a_commit_is_a_full_hash_and_nothing_else(text: str) -> None:
    with pytest.raises(GateError, match="expected a full hash") as caught:
        commit(text)
    assert caught.value.reason == "bad-event"


def test_a_full_hash_of_either_length_is_a_commit_and_a_refusal_shows_no_more_than_80_characters() -> None:
    assert (commit(_HEAD), commit("0" * 64)) == (_HEAD, "0" * 64)
    with pytest.raises(GateError) as caught:
        commit("x" * 500)
    assert f"{'x' * 80!r}" in caught.value.text


def test_every_commit_of_an_event_has_to_be_one() -> None:
    assert "the commit 'x'" in _refused("pull_request", _pull(), sha="x")
    assert "the commit 'x'" in _refused("push", {"repository": _HERE}, sha="x")
    assert "the commit 'x'" in _refused("pull_request", _pull(base={"sha": "x", "ref": "main"}))
    assert "the commit 'x'" in _refused("merge_group", _group(head_sha="x"))
    assert "the commit 'x'" in _refused("merge_group", _group(base_sha="x"))


@pytest.mark.parametrize("number", [0, -1, True, "7", 7.0, None])
def test_a_pull_requests_number_is_a_whole_number_from_1(number: object) -> None:
    assert _refused("pull_request", _pull(number=number)) == (
        "The event has no pull request number, expected one; run again."
    )
    assert _read("pull_request", _pull(number=1)).number == 1


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({}, "repository, expected an object"),
        ({"repository": "team/matmul"}, "repository, expected an object"),
        ({"repository": _HERE | {"full_name": 7}}, "repository.full_name, expected text"),
        ({"repository": _HERE | {"default_branch": ""}}, "repository.default_branch, expected text"),
        ({"repository": _HERE}, "pull_request, expected an object"),
        ({"repository": _HERE, "pull_request": []}, "pull_request, expected an object"),
        (_pull(head=None), "head, expected an object"),
        (_pull(base="main"), "base, expected an object"),
        (_pull(base={"sha": _BASE}), "base.ref, expected text"),
    ],
)
def test_what_a_payload_lacks_is_named(payload: dict[str, Any], named: str) -> None:
    assert _refused("pull_request", payload) == f"The event's payload has no {named}; run again."


def test_labels_and_pull_requests_are_read_from_lists_alone() -> None:
    assert _read("pull_request", _pull(labels=None)).labels == ()
    assert labels_of(7) == ()
    assert pull_at(7, _HEAD) is None
    assert pull_at({"message": "gone"}, _HEAD) is None
    assert pull_at([7, None, {"number": 1, "head": None}, {"number": 2, "head": {"sha": _HEAD}}], _HEAD) == 2


@pytest.mark.parametrize("name", ["GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_SHA"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_variable_that_is_missing_or_empty_is_named(tmp_path: Path, name: str, *, empty: bool) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"repository": _HERE}), encoding="utf-8")
    variables = {"GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(path), "GITHUB_SHA": _MERGE}
    assert read_event(variables).candidate == _MERGE
    spoiled = {key: value for key, value in variables.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(GateError) as caught:
        read_event(spoiled)
    assert caught.value.reason == "not-on-github"
    assert caught.value.text.startswith(f"{name} is not set")


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[1]", b"null"])
def test_a_payload_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "event.json"
    if content is not None:
        path.write_bytes(content)
    for variables in ({"GITHUB_EVENT_PATH": str(path)}, {}):
        with pytest.raises(GateError) as caught:
            read_payload(variables)
        assert caught.value.reason == "bad-event"
