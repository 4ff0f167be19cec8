"""The comment of a finished run: whose it is, on which pull request, and when it is left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from github_support import (
    ARTIFACTS,
    ATTEMPT,
    COMMENTS,
    DOWNLOAD,
    FILES,
    HEAD,
    JOBS,
    MARKER,
    NUMBER,
    OUR_USER,
    REPOSITORY,
    RUN,
    RUN_URL,
    Answer,
    Server,
    environment,
    fork,
    has_jobs,
    jobs,
    listed,
    offer,
    prepare,
    pull_in_event,
    pull_in_list,
    report,
    run_comment,
    same_repository,
    serving,
    verdict,
    written_body,
    zipped,
)
from perfgate.github import comment
from perfgate.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PULLS = f"/repos/{REPOSITORY}/pulls"
BRANCHES = [same_repository, fork]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        prepare(running)
        yield running


def _ours(first_line: str = MARKER, **changes: Any) -> dict[str, Any]:
    return {"id": 31, "user": OUR_USER, "body": f"{first_line}\nold"} | changes


@pytest.mark.parametrize("payload", BRANCHES)
def test_the_report_is_posted_once_on_the_pull_request_of_therun_comment(
    server: Server, tmp_path: Path, payload: Any
) -> None:
    offer(server, zipped(report(verdict("m1024 lost 5 % since the baseline."))))
    assert run_comment(server, tmp_path, payload()) == 0
    text = written_body(server)
    assert server.written()[0].path == COMMENTS
    assert text.startswith(f"{MARKER}\n")
    assert "m1024 lost 5 % since the baseline." in text
    assert RUN_URL in text
    assert "elsewhere.example" not in text
    assert server.asked[-1].headers["Authorization"] == "Bearer ghs_secret"


def test_a_fork_is_found_by_the_branch_and_the_commit_that_github_names(server: Server, tmp_path: Path) -> None:
    offer(server, zipped(report()))
    run_comment(server, tmp_path, fork())
    asked = next(a for a in server.asked if a.path == PULLS)
    assert (asked.query["state"], asked.query["head"]) == ("open", "eve:faster")


@pytest.mark.parametrize(
    "pulls",
    [
        [],
        [pull_in_list(head="c" * 40)],
        [pull_in_list(base="eve/matmul")],
        [{"number": NUMBER, "head": None, "base": {"repo": None}}],
        [pull_in_list(), pull_in_list(number=13)],
    ],
    ids=["closed", "moved on", "of another repository", "without anything", "two"],
)
def test_without_one_open_pull_request_of_that_commit_nothing_is_written(
    server: Server, tmp_path: Path, pulls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, zipped(report()))
    server.answers[f"GET {PULLS}"] = Answer(body=pulls)
    assert run_comment(server, tmp_path, fork()) == 0
    assert server.written() == []
    assert "no one open pull request has the commit aaaaaaaaaaaa" in capsys.readouterr().out


@pytest.mark.parametrize("entry", [pull_in_event(number=99, head="c" * 40), pull_in_event(number=99, base_id=77)])
def test_an_entry_of_the_event_that_is_not_of_this_commit_and_repository_does_not_count(
    server: Server, tmp_path: Path, entry: dict[str, Any]
) -> None:
    offer(server, zipped(report()))
    assert run_comment(server, tmp_path, same_repository(pull_requests=[entry])) == 0
    assert server.written()[0].path == COMMENTS  # of the one that the list of open ones names


@pytest.mark.parametrize("source", [{"head_repository": None}, {"head_branch": None}])
def test_a_fork_that_is_gone_has_no_pull_request_any_more(
    server: Server, tmp_path: Path, source: dict[str, None]
) -> None:
    assert run_comment(server, tmp_path, fork(**source)) == 0
    assert server.asked == []


def test_a_run_of_anything_but_a_pull_request_is_none_of_its_business(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for event in ("push", "schedule", "merge_group", "workflow_dispatch", "pull_request_target", None):
        assert run_comment(server, tmp_path, same_repository(event=event, head_branch="main")) == 0
    assert server.asked == []
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("end", ["cancelled", "skipped", "stale", "action_required", None])
def test_a_run_that_judged_nothing_leaves_the_comment_alone(server: Server, tmp_path: Path, end: str | None) -> None:
    offer(server, zipped(report()))
    assert run_comment(server, tmp_path, fork(conclusion=end)) == 0
    assert server.asked == []


def test_our_own_comment_is_updated(server: Server, tmp_path: Path) -> None:
    others = [{"id": k, "user": {"login": "kim", "type": "User"}, "body": "Nice."} for k in range(100)]
    server.answers[f"GET {COMMENTS}"] = [
        Answer(body=others),
        Answer(body=[_ours("<!-- perfgate run=6999 attempt=9 -->")]),
    ]
    offer(server, zipped(report()))
    assert run_comment(server, tmp_path, fork()) == 0
    (asked,) = server.written()
    assert (asked.method, asked.path) == ("PATCH", f"/repos/{REPOSITORY}/issues/comments/31")


@pytest.mark.parametrize("line", [MARKER, f"<!-- perfgate run={RUN} attempt=1 -->", "<!-- perfgate -->"])
def test_the_same_run_or_an_older_one_is_overwritten(server: Server, tmp_path: Path, line: str) -> None:
    prepare(server, [_ours(line)])
    assert run_comment(server, tmp_path, fork()) == 0
    assert server.written()[0].method == "PATCH"


@pytest.mark.parametrize(
    "newer", [f"run={RUN + 1} attempt=1", f"run={RUN} attempt={ATTEMPT + 1}", "run=10000 attempt=1"]
)
def test_a_later_run_is_never_overwritten(
    server: Server, tmp_path: Path, newer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(server, [_ours(f"<!-- perfgate {newer} -->")])
    offer(server, zipped(report()))
    assert run_comment(server, tmp_path, fork()) == 0
    assert server.written() == []
    assert "already shows a later run" in capsys.readouterr().out


@pytest.mark.parametrize(
    "spoof",
    [
        {"user": {"login": "eve", "type": "User"}},
        {"user": {"login": "github-actions[bot]", "type": "User"}},
        {"user": {"login": "github-actions", "type": "Bot"}},
        {"user": None},
        {"body": f"hello\n{MARKER}"},
        {"body": f" {MARKER}"},
        {"body": "<!-- perfgate-side-by-side -->"},
        {"body": None},
    ],
)
def test_a_comment_of_anybody_else_is_neither_changed_nor_believed(
    server: Server, tmp_path: Path, spoof: dict[str, Any]
) -> None:
    prepare(server, [_ours("<!-- perfgate run=999999 attempt=9 -->", **spoof)])
    offer(server, zipped(report()))
    assert run_comment(server, tmp_path, fork()) == 0
    assert server.written()[0].method == "POST"


@pytest.mark.parametrize(
    ("end", "verdicts", "changes"),
    [
        ("success", [verdict()], {}),
        ("failure", [verdict(status=Status.SAME)], {}),
        ("timed_out", [verdict(status=Status.SAME)], {}),
        ("failure", [verdict()], {"head": "c" * 40}),
        ("success", [verdict(status=Status.SAME)], {"head": "c" * 40}),
    ],
)
def test_a_report_that_contradicts_githubs_word_on_the_run_is_not_shown(
    server: Server, tmp_path: Path, end: str, verdicts: list[Any], changes: dict[str, str]
) -> None:
    offer(server, zipped(report(*verdicts, **changes)))
    has_jobs(server, jobs(end))
    assert run_comment(server, tmp_path, fork(conclusion=end)) == 0
    text = written_body(server)
    assert f"contradicts its job perf, which ended as `{end}`" in text
    assert f"ended as `{end}`" in text
    assert RUN_URL in text
    assert "m1024" not in text


@pytest.mark.parametrize(("end", "status"), [("success", Status.SAME), ("failure", Status.SLOWER)])
def test_a_report_that_agrees_with_the_run_is_shown(server: Server, tmp_path: Path, end: str, status: Status) -> None:
    offer(server, zipped(report(verdict(status=status))))
    has_jobs(server, jobs(end))
    assert run_comment(server, tmp_path, fork(conclusion=end)) == 0
    assert "m1024" in written_body(server)


@pytest.mark.parametrize(
    "changes",
    [
        {"expired": True},
        {"name": "report-for-comment-2"},
        {"created_at": "2026-03-01T09:59:59Z"},
    ],
    ids=["expired", "of another name", "of an earlier attempt"],
)
def test_a_run_without_a_report_of_its_own_says_so(server: Server, tmp_path: Path, changes: dict[str, Any]) -> None:
    offer(server, zipped(report()), **changes)
    assert run_comment(server, tmp_path, fork()) == 0
    text = written_body(server)
    assert "ended as `failure`, but it left no report" in text
    assert HEAD[:12] in text
    assert RUN_URL in text


def test_the_newest_of_several_reports_is_read(server: Server, tmp_path: Path) -> None:
    data = zipped(report())
    offer(server, data)
    entries = [listed(data, id=k) for k in (899, 900, 88)]
    server.answers[f"GET {ARTIFACTS}"] = Answer(body={"artifacts": entries})
    assert run_comment(server, tmp_path, fork()) == 0
    assert "m1024" in written_body(server)


@pytest.mark.parametrize(
    "where", ["GET " + path for path in (PULLS, JOBS, FILES, ARTIFACTS, COMMENTS)] + [f"POST {COMMENTS}"]
)
def test_where_github_refuses_the_job_fails_with_one_line(
    server: Server, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, zipped(report()))
    server.answers[where] = Answer(status=403, body={"message": "Resource not accessible\n::error::x"})
    assert run_comment(server, tmp_path, fork()) == 2
    said = capsys.readouterr()
    assert said.err.startswith("comment: INVALID github-api: ")
    assert said.err.count("\n") == 1
    assert "ghs_secret" not in said.err + said.out


def test_a_download_that_github_refuses_is_a_failure_and_no_verdict(server: Server, tmp_path: Path) -> None:
    offer(server, zipped(report()))
    server.answers[f"GET {DOWNLOAD}"] = Answer(status=403, body={})
    assert run_comment(server, tmp_path, fork()) == 2
    assert server.written() == []


def _elsewhere() -> dict[str, Any]:
    return fork() | {"repository": {"id": 1, "full_name": "eve/matmul"}}


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"workflow_run": None, "repository": {"full_name": REPOSITORY}},
        _elsewhere(),
        fork(head_sha="main"),
        fork(head_sha=None),
        fork(id="7000/../../x"),
        fork(id=True),
        fork(run_attempt=0),
        same_repository(pull_requests=[pull_in_event() | {"number": "12/x"}]),
    ],
)
def test_an_event_of_another_kind_is_refused_in_one_line(
    server: Server, tmp_path: Path, payload: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_comment(server, tmp_path, payload) == 2
    assert capsys.readouterr().err.startswith("comment: INVALID bad-event: ")
    assert server.asked == []


def test_an_address_of_the_server_that_is_not_safe_is_refused(server: Server, tmp_path: Path) -> None:
    variables = environment(server, tmp_path, fork()) | {"GITHUB_SERVER_URL": "javascript:alert(1)//"}
    assert comment.main(variables) == 2
    assert server.asked == []
