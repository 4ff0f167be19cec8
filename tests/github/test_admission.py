"""Who may use the card, by event; everything that is not known to be safe is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from github_world import REPOSITORY, World, pull_payload
from perfgate.github.admission import ENVIRONMENT, admission, approvers
from perfgate.github.event import KINDS, Event, event_of, labels_of, pull_at
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

_HEAD, _MERGE, _BASE = "a" * 40, "b" * 40, "c" * 40


def _event(kind: str = "pull_request", *, fork: bool = False) -> Event:
    return Event(
        kind=kind,
        repository=REPOSITORY,
        candidate=_MERGE,
        head=_HEAD,
        base=_BASE,
        default_branch="main",
        branch="change",
        target="main",
        number=7,
        from_fork=fork,
    )


def _payload(**head: Any) -> dict[str, Any]:
    made = pull_payload(_HEAD, _BASE, labels=["baseline-change"])
    made["pull_request"]["head"] |= head
    return made


def _review(state: str = "approved", environment: str = ENVIRONMENT) -> dict[str, Any]:
    return {"state": state, "environments": [{"name": environment}], "user": {"login": "maintainer"}}


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("pull_request", "branch change of this repository."),
        ("merge_group", "a merge group, which a maintainer queued."),
        ("push", "a push to change."),
        ("schedule", "the schedule of change."),
        ("workflow_dispatch", "started by hand on change."),
    ],
)
def test_code_of_the_repositorys_own_people_is_admitted_and_why_is_said(kind: str, why: str) -> None:
    answer = admission(_event(kind), ())
    assert (answer.admitted, answer.text) == (True, why)
    assert kind in KINDS


def test_a_forks_commit_is_refused_until_a_reviewer_lets_that_commit_in() -> None:
    answer = admission(_event(fork=True), ())
    assert not answer.admitted
    assert answer.text == (
        "Commit aaaaaaaaaaaa of #7 comes from a fork and nobody has let it onto the card; a maintainer reads that commit "
        "and approves this run for the environment fork-on-card (Review deployments)."
    )


def test_a_forks_commit_that_reviewers_approved_is_admitted_and_they_are_named() -> None:
    other = _review() | {"user": {"login": "ada"}}
    answer = admission(_event(fork=True), approvers([_review(), other, _review(environment="docs")]))
    assert (answer.admitted, answer.text) == (True, "fork commit aaaaaaaaaaaa of #7, approved by maintainer, ada.")


def test_only_a_pull_request_can_come_from_a_fork() -> None:
    assert admission(_event("merge_group", fork=True), ()).text == "a merge group, which a maintainer queued."


@pytest.mark.parametrize(
    "reviews",
    [
        [],
        [_review("rejected")],
        [_review(), _review("rejected")],
        [_review(environment="docs")],
        [{"state": "approved"}],
        [{"state": "approved", "environments": None, "user": None}],
        [_review() | {"user": None}],
        [_review() | {"user": {"login": ""}}],
        [_review() | {"user": {"login": 7}}],
        [_review() | {"environments": [ENVIRONMENT, 7, None, {}]}],
        [_review() | {"environments": {"name": ENVIRONMENT}}],
        [_review() | {"state": None}],
    ],
    ids=[
        "none",
        "rejected",
        "rejected as well",
        "another environment",
        "no environment",
        "environments that are none",
        "by nobody",
        "by a user without a name",
        "by a number",
        "environments without a name",
        "environments that are one",
        "no state",
    ],
)
def test_what_is_no_approval_for_the_card_admits_nobody(reviews: list[dict[str, Any]]) -> None:
    assert approvers(reviews) == ()


def test_a_pull_request_whose_fork_was_deleted_counts_as_a_forks() -> None:
    assert event_of("pull_request", _payload(repo=None), {"GITHUB_SHA": _MERGE}).from_fork


def test_a_repository_of_the_same_name_elsewhere_is_a_fork() -> None:
    assert event_of("pull_request", _payload(repo={"full_name": "x/matmul"}), {"GITHUB_SHA": _MERGE}).from_fork
    assert not event_of("pull_request", _payload(), {"GITHUB_SHA": _MERGE}).from_fork


@pytest.mark.parametrize(
    "kind", ["pull_request_target", "pull_request_review", "issue_comment", "workflow_run", "repository_dispatch", ""]
)
def test_an_event_that_the_gate_does_not_run_for_is_refused(kind: str) -> None:
    with pytest.raises(GateError) as caught:
        event_of(kind, _payload(), {"GITHUB_SHA": _MERGE})
    assert caught.value.reason == "unknown-event"


@pytest.mark.parametrize(
    "spoiled",
    [
        {"sha": "main; rm -rf /"},
        {"sha": None},
        {"ref": ""},
    ],
)
def test_a_payload_that_is_not_as_it_should_be_is_refused(spoiled: dict[str, Any]) -> None:
    with pytest.raises(GateError) as caught:
        event_of("pull_request", _payload(**spoiled), {"GITHUB_SHA": _MERGE})
    assert caught.value.reason == "bad-event"


def test_a_merge_group_names_its_pull_request_in_its_branch() -> None:
    payload = _payload() | {
        "merge_group": {
            "head_sha": _MERGE,
            "base_sha": _BASE,
            "head_ref": f"refs/heads/gh-readonly-queue/main/pr-31-{_BASE}",
            "base_ref": "refs/heads/main",
        }
    }
    event = event_of("merge_group", payload, {"GITHUB_SHA": _MERGE})
    assert (event.number, event.base, event.candidate, event.target) == (31, _BASE, _MERGE, "main")


def test_labels_that_are_no_list_of_names_are_none() -> None:
    assert labels_of([{"name": "a"}, {"name": 3}, "b", {}]) == ("a",)
    assert labels_of({"message": "not found"}) == ()


def test_a_pull_request_is_found_by_its_own_head_alone() -> None:
    pulls = [{"number": 1, "head": {"sha": _BASE}}, {"number": 2, "head": {"sha": _HEAD}}, {"number": 3}]
    assert pull_at(pulls, _HEAD) == 2
    assert pull_at(pulls, _MERGE) is None


def test_the_command_refuses_with_its_exit_code_and_says_why_in_its_output(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.event("pull_request", fork=True)
    world.environment |= {"GITHUB_API_URL": "http://127.0.0.1:1", "GITHUB_TOKEN": ""}  # nobody answers there
    refused = world.run("admit")
    assert refused.code == 2
    assert refused.outputs["said"]
    world.event("pull_request")
    assert world.run("admit").code == 0


def test_the_command_refuses_an_event_that_it_does_not_know(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.event("pull_request")
    world.environment["GITHUB_EVENT_NAME"] = "pull_request_target"
    assert world.run("admit").code == 2


def test_the_command_refuses_where_the_payload_is_broken(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.event("pull_request")
    (tmp_path / "event.json").write_text(json.dumps([1]), encoding="utf-8")
    assert world.run("admit").code == 2
