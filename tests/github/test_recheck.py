"""What the commands ask GitHub: who approved, which labels there are now, and the required check run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, Server, serving
from github_world import REPOSITORY, Ended, World
from perfgate.github.admission import ENVIRONMENT
from perfgate.github.conclusion import LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RUNS = f"GET /repos/{REPOSITORY}/actions/workflows/perf.yml/runs"
_JOBS = f"GET /repos/{REPOSITORY}/actions/runs/8/jobs"
_REPEATED, _REPLACED = (f"GET /repos/{REPOSITORY}/actions/runs/{run}/jobs" for run in (10, 11))
"""Of a run that only repeated a verdict, and of one that was replaced before it began: both are newer and judge nothing."""
_RERUN = f"POST /repos/{REPOSITORY}/actions/jobs/31/rerun"
_APPROVALS = f"GET /repos/{REPOSITORY}/actions/runs/42/approvals"
_EVENTS = f"GET /repos/{REPOSITORY}/issues/7/events"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, server: Server) -> World:
    made = World.begin(tmp_path / "repository")
    made.event("pull_request", labels=[LABEL], action="labeled")
    _online(made, server)
    return made


def _online(world: World, server: Server) -> None:
    world.environment |= {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": "token"}


def _answers(
    world: World, server: Server, *, status: str = "completed", jobs: tuple[str, ...] = ("plan", "perf")
) -> None:
    runs = [
        {"id": 6, "head_sha": world.head, "status": "completed"},
        {"id": 8, "head_sha": world.head, "status": status},
        {"id": 9, "head_sha": "f" * 40, "status": "completed"},
        {"id": 10, "head_sha": world.head, "status": "completed"},
        {"id": 11, "head_sha": world.head, "status": "completed", "conclusion": "cancelled"},
        {"id": 12, "head_sha": world.head, "status": "completed", "event": "workflow_dispatch"},
    ]
    runs = [{"event": "pull_request"} | run for run in runs]
    server.answers[_RUNS] = Answer(body={"workflow_runs": runs})
    found = [{"id": 31 if name == "perf" else 30, "name": name} for name in jobs]
    server.answers[_JOBS] = Answer(body={"jobs": found})
    repeated = [{"id": 40, "name": "plan", "conclusion": "skipped"}, {"id": 41, "name": "perf"}]
    server.answers[_REPEATED] = Answer(body={"jobs": repeated})
    server.answers[_REPLACED] = Answer(body={"jobs": []})
    server.answers[_RERUN] = Answer(body={}, status=201)


def _asked(server: Server) -> list[str]:
    return [f"{asked.method} {asked.path}" for asked in server.asked]


def test_the_label_runs_the_required_check_of_the_newest_run_of_that_commit_again(world: World, server: Server) -> None:
    _answers(world, server)
    ended = world.run("recheck")
    assert ended.code == 0, ended.errors
    assert _asked(server) == [_RUNS, _REPLACED, _REPEATED, _JOBS, _RERUN]
    assert server.asked[0].query == {"head_sha": world.head, "per_page": "100", "page": "1"}
    assert server.asked[3].query == {"filter": "all", "per_page": "100", "page": "1"}
    assert ended.said == f"recheck: The job perf of {world.head[:12]} runs again and reads the label.\n"


def test_a_run_that_is_under_way_will_read_the_label_itself(world: World, server: Server) -> None:
    _answers(world, server, status="in_progress")
    ended = world.run("recheck")
    assert ended.code == 0
    assert ended.said == f"recheck: perf.yml is running for {world.head[:12]}; its job perf will read the label.\n"
    assert server.written() == []


def test_a_commit_that_was_not_judged_yet_needs_nothing(world: World, server: Server) -> None:
    server.answers[_RUNS] = Answer(body={"workflow_runs": []})
    ended = world.run("recheck")
    assert ended.code == 0
    assert ended.said == f"recheck: perf.yml has not run for {world.head[:12]} yet; its job perf will read the label.\n"
    assert _asked(server) == [_RUNS]


def test_a_forks_check_is_left_to_a_maintainer(world: World, server: Server) -> None:
    world.event("pull_request", fork=True, labels=[LABEL], action="labeled")
    _online(world, server)
    ended = world.run("recheck")
    assert ended.code == 0
    assert ended.said == "recheck: #7 comes from a fork: a maintainer runs the job perf again on its page.\n"
    assert server.asked == []


@pytest.mark.parametrize("jobs", [("plan",), ("plan", "perf", "perf")])
def test_a_run_whose_check_cannot_be_told_is_said(world: World, server: Server, jobs: tuple[str, ...]) -> None:
    _answers(world, server, jobs=jobs)
    ended = world.run("recheck")
    assert ended.code == 2
    assert ended.errors.startswith("INVALID github-api: The run 8 has not one job named perf, expected one;")


@pytest.mark.parametrize("answer", [7, {"workflow_runs": {}}, {"workflow_runs": [1]}, {"workflow_runs": None}])
def test_an_answer_that_is_none_is_refused(world: World, server: Server, answer: Any) -> None:
    server.answers[_RUNS] = Answer(body=answer)
    ended = world.run("recheck")
    assert ended.code == 2
    assert "perf.yml/runs was answered something else than a list of objects" in ended.errors


@pytest.mark.parametrize("number", [None, "8", True, 8.0])
def test_a_run_or_job_without_a_number_is_refused(world: World, server: Server, number: Any) -> None:
    _answers(world, server)
    server.answers[_JOBS] = Answer(body={"jobs": [{"id": 1, "name": "plan"}, {"id": number, "name": "perf"}]})
    ended = world.run("recheck")
    assert ended.code == 2
    assert ended.errors.startswith("INVALID github-api: GitHub's answer has an entry without an id, expected a number")
    assert server.written() == []


def test_the_check_of_the_newest_attempt_is_run_again(world: World, server: Server) -> None:
    _answers(world, server)
    attempts = [{"id": 30 + k, "name": "perf", "run_attempt": k} for k in (2, 3, 1)]
    server.answers[_JOBS] = Answer(body={"jobs": [{"id": 1, "name": "plan"}, *attempts]})
    server.answers[_RERUN.replace("31", "33")] = Answer(body={}, status=201)
    assert world.run("recheck").code == 0


def test_a_refusal_of_githubs_is_said(world: World, server: Server) -> None:
    _answers(world, server)
    server.answers[_RERUN] = Answer(body={"message": "Resource not accessible by integration"}, status=403)
    ended = world.run("recheck")
    assert (ended.code, "403" in ended.errors) == (2, True)


# Who approved


def _fork(world: World, server: Server) -> None:
    world.event("pull_request", fork=True)
    _online(world, server)


def test_a_fork_is_let_in_by_what_github_says_of_this_run(world: World, server: Server) -> None:
    _fork(world, server)
    review = {"state": "approved", "environments": [{"name": ENVIRONMENT}], "user": {"login": "ada"}}
    server.answers[_APPROVALS] = Answer(body=[review])
    ended = world.run("admit")
    assert ended.code == 0, ended.said
    assert "approved by ada" in ended.said
    assert ended.outputs == {"said": ""}


@pytest.mark.parametrize("answer", [[], {}, [1], {"message": "x"}, None, "approved"])
def test_a_fork_is_refused_whatever_else_github_answers(world: World, server: Server, answer: Any) -> None:
    _fork(world, server)
    server.answers[_APPROVALS] = Answer(body=answer)
    assert world.run("admit").code == 2


def test_a_fork_is_refused_where_the_runs_number_is_none(world: World, server: Server) -> None:
    _fork(world, server)
    world.environment["GITHUB_RUN_ID"] = "42/../43"
    assert world.run("admit").code == 2
    assert server.asked == []


def test_code_of_ones_own_is_let_in_without_a_question(world: World, server: Server) -> None:
    assert world.run("admit").code == 0
    assert server.asked == []


# Whether the label counts now


def _judged_with_edits(world: World, server: Server, *events: dict[str, Any]) -> Ended:
    if not (world.root / "candidate").exists():
        world.pull_request({"baselines/x/matmul.json": "{}"})
        world.leave(world.measured(scale={"k1_sq4096": 1.03}))
        world.leave(world.measured(), own=True)
    world.event("pull_request", labels=[LABEL])
    _online(world, server)
    server.answers[_EVENTS] = Answer(body=list(events))
    begun = {"id": 8, "head_sha": world.head, "event": "pull_request", "created_at": "2026-03-01T10:00:00Z"}
    server.answers[_RUNS] = Answer(body={"workflow_runs": [begun]})
    server.answers[_JOBS] = Answer(body={"jobs": [{"id": 30, "name": "plan", "conclusion": "success"}]})
    return world.check(measure="failure")


def _labelled(at: str, event: str = "labeled") -> dict[str, Any]:
    return {"event": event, "created_at": at, "actor": {"login": "kim"}, "label": {"name": LABEL}}


def test_the_label_counts_as_it_is_now_for_this_commit_and_the_report_says_who_set_it(
    world: World, server: Server
) -> None:
    before, after = _labelled("2026-03-01T09:59:59Z"), _labelled("2026-03-01T10:05:00Z")
    ended = _judged_with_edits(world, server, before, after)
    assert ended.code == 0, ended.said + ended.errors
    assert "was set by kim at 2026-03-01 10:05:00 UTC" in ended.summary
    ended = _judged_with_edits(world, server, before)
    assert ended.code == 1
    assert "before this commit was there to be judged" in ended.summary
    assert _judged_with_edits(world, server, after, _labelled("2026-03-01T10:06:00Z", "unlabeled")).code == 1
