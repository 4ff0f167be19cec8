"""An edited title or text repeats the verdict that stands, and another branch is judged anew: never green by omission."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, Server, serving
from github_world import KERNEL, REPOSITORY, Ended, World, git

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RUNS = f"GET /repos/{REPOSITORY}/actions/workflows/perf.yml/runs"
_OWN = f"GET /repos/{REPOSITORY}/actions/runs/42"
_EVENTS = f"GET /repos/{REPOSITORY}/issues/7/events"
_TITLE, _BASE = {"title": {"from": "x"}}, {"base": {"ref": {"from": "old"}, "sha": {"from": "a" * 40}}}
_STARTED = 10


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _at(minute: int) -> str:
    return f"2026-03-01T10:{minute:02}:00Z"


def _run(world: World, server: Server, number: int, *ends: str | None, plan: str = "success", **more: Any) -> Any:
    """A run and its jobs: `perf` ended so, attempt by attempt; without an end it was replaced before it began."""
    jobs = [{"id": 1, "name": "plan", "conclusion": plan, "run_attempt": 1}] if ends else []
    jobs += [{"id": 1 + k, "name": "perf", "conclusion": end, "run_attempt": k} for k, end in enumerate(ends, 1)]
    server.answers[f"GET /repos/{REPOSITORY}/actions/runs/{number}/jobs"] = Answer(body={"jobs": jobs})
    run = {"id": number, "head_sha": world.head, "event": "pull_request", "status": "completed"}
    return run | {"created_at": _at(number % 60)} | more


def _edited(world: World, server: Server, *runs: Any, moved: int | None = None, **event: Any) -> Ended:
    """The job `perf` of an edited title: every job before it was skipped, and GitHub knows these runs."""
    world.event("pull_request", **({"action": "edited", "changes": _TITLE} | event))
    skipped = {name: {"result": "skipped", "outputs": {}} for name in ("plan", "approve", "admit", "measure")}
    world.environment |= {
        "GITHUB_API_URL": server.url,
        "GITHUB_TOKEN": "token",
        "NEEDS": str(skipped).replace("'", '"'),
    }
    own = _run(world, server, 42, None, plan="skipped", status="in_progress")
    happened = [{"event": "renamed", "created_at": _at(59)}]
    happened += [{"event": "base_ref_changed", "created_at": _at(moved)}] if moved is not None else []
    server.answers |= {_RUNS: Answer(body={"workflow_runs": [own, *runs]}), _EVENTS: Answer(body=happened)}
    return world.run("check", "results")


@pytest.mark.parametrize(("end", "code"), [("success", 0), ("failure", 2), ("cancelled", 2), ("skipped", 2), (None, 2)])
def test_an_edited_title_repeats_how_the_run_that_judged_this_commit_ended(
    world: World, server: Server, end: str | None, code: int
) -> None:
    ended = _edited(world, server, _run(world, server, _STARTED, end))
    assert (ended.code, ended.errors) == (code, "")
    said = f"Nothing that is judged was edited: the job perf of run {_STARTED} ended as {end}.\n"
    assert (ended.said, ended.summary) == (f"check: {said}", said)
    assert not (world.root / "report.json").exists()


def test_the_newest_attempt_of_the_newest_run_that_judged_counts(world: World, server: Server) -> None:
    old, new = _run(world, server, 10, "success"), _run(world, server, 20, "success", "failure")
    title = _run(world, server, 30, "success", plan="skipped")
    replaced = _run(world, server, 31, conclusion="cancelled")
    assert "run 20 ended as failure" in _edited(world, server, old, title, new, replaced).said


@pytest.mark.parametrize(
    "other",
    [
        {"head_sha": "f" * 40},
        {"event": "push"},
        {"event": "merge_group"},
        {"plan": "skipped"},
    ],
    ids=["of another commit", "of a push", "of a queue", "that repeated"],
)
def test_a_commit_that_no_run_judged_is_red(world: World, server: Server, other: dict[str, Any]) -> None:
    for runs in ([], [_run(world, server, _STARTED, "success", **other)], [_run(world, server, _STARTED)]):
        ended = _edited(world, server, *runs)
        assert ended.code == 2
        assert ended.summary == f"No run of perf.yml has judged {world.head[:12]}; push, or close and reopen #7.\n"


def test_a_run_that_was_started_by_hand_counts_where_the_default_branch_judges_it_too(
    world: World, server: Server
) -> None:
    by_hand = _run(world, server, _STARTED, "success", event="workflow_dispatch")
    assert _edited(world, server, by_hand).code == 0
    assert _edited(world, server, by_hand, fork=True).code == 2


@pytest.mark.parametrize(("moved", "code"), [(_STARTED - 1, 0), (_STARTED, 2), (_STARTED + 1, 2)])
def test_a_verdict_of_another_branch_is_not_repeated_and_the_same_second_is_taken_for_after(
    world: World, server: Server, moved: int, code: int
) -> None:
    ended = _edited(world, server, _run(world, server, _STARTED, "success"), moved=moved)
    assert ended.code == code
    assert ("#7 goes into another branch than run 10 judged it for; push, or close" in ended.summary) == bool(code)


def test_a_run_that_is_under_way_is_no_verdict_yet(world: World, server: Server) -> None:
    ended = _edited(world, server, _run(world, server, _STARTED, "success", None, status="queued"))
    assert (ended.code, "is not there yet; run this again after it" in ended.summary) == (2, True)


@pytest.mark.parametrize("broken", [_RUNS, _EVENTS, f"GET /repos/{REPOSITORY}/actions/runs/10/jobs"])
def test_what_github_does_not_answer_is_red(world: World, server: Server, broken: str) -> None:
    judged = _run(world, server, _STARTED, "success")
    assert _edited(world, server, judged).code == 0
    for answer in (Answer(status=403, body={"message": "no"}), Answer(body=7)):
        server.answers[broken] = answer
        ended = world.run("check", "results")
        assert (ended.code, ended.errors.startswith("INVALID github-api: ")) == (2, True)


# Another branch


@pytest.mark.parametrize(("action", "changes"), [("edited", _BASE), ("edited", _BASE | _TITLE), ("reopened", None)])
def test_another_branch_is_judged_whatever_an_earlier_run_said(
    world: World, server: Server, action: str, changes: dict[str, Any] | None
) -> None:
    world.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    world.leave(world.measured(scale={"k1_sq4096": 1.06}))
    judged = _run(world, server, _STARTED, "success")
    assert "job plan is skipped" in _edited(world, server, judged, action=action, changes=changes).summary
    assert world.check(measure="failure").code == 1


def test_a_merge_commit_with_the_old_branch_judges_nothing(world: World) -> None:
    world.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    git(world.root, "checkout", "-q", "-b", "release", "main")
    world.base = world.commit({"release.md": "x"})
    git(world.root, "checkout", "-q", "main")
    world.checked_out()
    world.event("pull_request", action="edited", changes=_BASE)
    ended = world.run("plan")
    assert (ended.code, "INVALID no-commit: " in ended.errors, "close and reopen it" in ended.errors) == (2, True, True)
    world.base = git(world.root, "rev-parse", "main")
    world.event("pull_request", action="edited", changes=_BASE)
    assert world.run("plan").outputs["base"] == world.base


@pytest.mark.parametrize("kind", ["base_ref_changed", "automatic_base_change_succeeded"])
@pytest.mark.parametrize(("moved", "code"), [(_STARTED - 1, 0), (_STARTED + 1, 2)])
def test_a_run_that_is_run_again_after_the_branch_changed_is_red(
    world: World, server: Server, kind: str, moved: int, code: int
) -> None:
    world.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    world.event("pull_request")
    world.environment |= {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": "token", "GITHUB_RUN_ATTEMPT": "2"}
    world.leave(world.measured())
    server.answers[_OWN] = Answer(body={"id": 42, "created_at": _at(_STARTED)})
    server.answers[_EVENTS] = Answer(body=[{"event": kind, "created_at": _at(moved)}])
    ended = world.check()
    assert ended.code == code, ended.said
    assert ("7 went into main when this run began and was sent into another" in ended.summary) == bool(code)
    server.answers[_EVENTS] = Answer(status=403, body={"message": "no"})
    assert world.check().code == 2
