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

HEAD, MERGE, BASE = "a" * 40, "b" * 40, "c" * 40
HERE = {"full_name": "team/matmul", "default_branch": "main"}
QUEUE = f"gh-readonly-queue/main/pr-31-{BASE}"
KNOWN: dict[str, Any] = {"repository": "team/matmul", "candidate": MERGE, "default_branch": "main", "target": "main"}


def _pull(**changes: Any) -> dict[str, Any]:
    made = pull_payload(HEAD, BASE, labels=["docs", "baseline-change"])
    made["pull_request"] |= changes
    return made


def _group(**changes: Any) -> dict[str, Any]:
    group = {"head_sha": MERGE, "base_sha": BASE, "head_ref": f"refs/heads/{QUEUE}", "base_ref": "refs/heads/main"}
    return {"repository": HERE, "merge_group": group | changes}


def _read(kind: str, payload: dict[str, Any], *, branch: str = "7/merge", sha: str = MERGE) -> Event:
    return event_of(kind, payload, {"GITHUB_SHA": sha, "GITHUB_REF_NAME": branch})


PULL = Event(
    kind="pull_request", head=HEAD, base=BASE, branch="change", number=7, labels=("docs", "baseline-change"), **KNOWN
)
GROUP = Event(kind="merge_group", head=MERGE, base=BASE, branch=QUEUE, number=31, **KNOWN)


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (_pull(), PULL),
        (_group(), GROUP),
        *(
            ({"repository": HERE}, Event(kind=kind, head=MERGE, base="", branch="topic", **KNOWN | {"target": "topic"}))
            for kind in ("push", "schedule", "workflow_dispatch")
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else "",
)
def test_an_event_is_read_as_it_is(payload: dict[str, Any], event: Event) -> None:
    assert _read(event.kind, payload, branch="topic") == event


@pytest.mark.parametrize(
    ("action", "changes", "repeats", "retargeted"),
    [
        *(("edited", changes, True, False) for changes in ({"title": {"from": "x"}}, {}, None, {"base": None})),
        ("edited", {"base": {"ref": {"from": "old"}}}, False, True),
        *((action, None, False, False) for action in ("synchronize", "reopened", None)),
    ],
)
def test_only_an_edit_that_leaves_the_branch_repeats_a_verdict(
    action: str | None, changes: object, *, repeats: bool, retargeted: bool
) -> None:
    found = _read("pull_request", _pull() | {"action": action, "changes": changes})
    assert (found.repeats, found.retargeted) == (repeats, retargeted)
    assert not _read("merge_group", _group() | {"action": action, "changes": changes}).repeats


@pytest.mark.parametrize("kind", ["push", "schedule", "workflow_dispatch"])
def test_the_default_branch_is_that_of_the_repository_by_its_whole_name(kind: str) -> None:
    assert _read(kind, {"repository": HERE}, branch="main").on_default_branch
    assert not _read(kind, {"repository": HERE}, branch="main-2").on_default_branch
    ours = {"sha": HEAD, "ref": "main", "repo": {"full_name": "stranger/matmul"}}
    assert not _read("pull_request", _pull(head=ours)).on_default_branch
    assert not _read("merge_group", _group(head_ref="refs/heads/main")).on_default_branch


@pytest.mark.parametrize("repo", [None, {"full_name": "x/matmul"}, {}])
def test_a_pull_request_from_elsewhere_or_whose_fork_was_deleted_is_a_forks(repo: object) -> None:
    assert _read("pull_request", _pull(head={"sha": HEAD, "ref": "change", "repo": repo})).from_fork
    assert not _read("pull_request", _pull()).from_fork


@pytest.mark.parametrize(
    "text", ["", "main", "a" * 39, "a" * 41, "A" * 40, f"{HEAD}\n", f" {HEAD}", f"{HEAD}..x", f"--{HEAD}", "x" * 500]
)
def test_a_commit_is_a_full_hash_and_nothing_else(text: str) -> None:
    with pytest.raises(GateError) as caught:
        commit(text)
    said = f"The event names the commit {text[:80]!r}, expected a full hash; run again."
    assert (caught.value.reason, caught.value.text) == ("bad-event", said)
    assert [commit(known) for known in (HEAD, "0" * 64)] == [HEAD, "0" * 64]


NOT_WHOLE: list[tuple[str, dict[str, Any], str]] = [
    ("pull_request", {}, "repository, expected an object"),
    ("pull_request", {"repository": "team/matmul"}, "repository, expected an object"),
    ("push", {"repository": HERE | {"full_name": 7}}, "repository.full_name, expected text"),
    ("push", {"repository": HERE | {"default_branch": ""}}, "repository.default_branch, expected text"),
    ("pull_request", {"repository": HERE}, "pull_request, expected an object"),
    ("pull_request", {"repository": HERE, "pull_request": []}, "pull_request, expected an object"),
    ("pull_request", _pull(head=None), "head, expected an object"),
    ("pull_request", _pull(head={"sha": HEAD, "ref": ""}), "ref, expected text"),
    ("pull_request", _pull(base="main"), "base, expected an object"),
    ("pull_request", _pull(base={"sha": BASE}), "base.ref, expected text"),
    *(("pull_request", _pull(number=number), "number, expected one") for number in (0, -1, True, "7", 7.0, None)),
    *(("pull_request", _pull(head={"sha": sha, "ref": "x"}), "the commit 'main;") for sha in ("main; rm -rf /",)),
    ("pull_request", _pull(base={"sha": "x", "ref": "main"}), "the commit 'x'"),
    ("merge_group", _group(head_sha="x"), "the commit 'x'"),
    ("merge_group", _group(base_sha="x"), "the commit 'x'"),
]


@pytest.mark.parametrize(("kind", "payload", "said"), NOT_WHOLE)
def test_what_a_payload_lacks_is_named(kind: str, payload: dict[str, Any], said: str) -> None:
    with pytest.raises(GateError) as caught:
        _read(kind, payload)
    assert (caught.value.reason, said in caught.value.text) == ("bad-event", True), caught.value.text


@pytest.mark.parametrize("kind", ["push", "pull_request"])
def test_the_commit_that_github_names_for_the_job_has_to_be_one(kind: str) -> None:
    with pytest.raises(GateError, match="the commit 'x'"):
        _read(kind, _pull(), sha="x")


@pytest.mark.parametrize(
    "kind", ["pull_request_target", "pull_request_review", "issue_comment", "workflow_run", "repository_dispatch", ""]
)
def test_an_event_that_the_gate_does_not_run_for_is_refused(kind: str) -> None:
    with pytest.raises(GateError) as caught:
        _read(kind, _pull())
    assert caught.value.reason == "unknown-event"


def test_what_is_no_list_of_labels_or_pull_requests_holds_none() -> None:
    assert _read("merge_group", _group(head_ref="refs/heads/queue")).number is None
    assert _read("pull_request", _pull(labels=None)).labels == ()
    assert [labels_of(found) for found in (7, {"message": "x"}, [{"name": "a"}, {"name": 3}, "b", {}])] == [
        (),
        (),
        ("a",),
    ]
    pulls = [7, None, {"number": 1, "head": None}, {"number": 2, "head": {"sha": HEAD}}, {"number": 3}]
    assert [pull_at(found, HEAD) for found in (7, {"message": "gone"}, pulls)] == [None, None, 2]
    assert pull_at(pulls, MERGE) is None


@pytest.mark.parametrize("name", ["GITHUB_EVENT_NAME", "GITHUB_EVENT_PATH", "GITHUB_SHA"])
@pytest.mark.parametrize("value", ["", None])
def test_a_variable_that_is_missing_or_empty_is_named(tmp_path: Path, name: str, value: str | None) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"repository": HERE}), encoding="utf-8")
    variables = {"GITHUB_EVENT_NAME": "push", "GITHUB_EVENT_PATH": str(path), "GITHUB_SHA": MERGE}
    assert read_event(variables).candidate == MERGE
    del variables[name]
    with pytest.raises(GateError, match=f"{name} is not set") as caught:
        read_event(variables | ({} if value is None else {name: value}))
    assert caught.value.reason == "not-on-github"


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff", b"[1]", b"null"])
def test_a_payload_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "event.json"
    if content is not None:
        path.write_bytes(content)
    for variables in ({"GITHUB_EVENT_PATH": str(path)}, {}):
        with pytest.raises(GateError) as caught:
            read_payload(variables)
        assert caught.value.reason == "bad-event"
