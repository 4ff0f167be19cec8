"""The comment of a finished run: whose it is, on which pull request, what is said first, and when it is left alone.

Whole comments are in ``tests/golden/expected/github-comment.txt``; what a fork can put into a report is in
``test_comment_report.py``.
"""

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
    STARTED,
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
PASSED = zipped(report(verdict(status=Status.SAME)))


@pytest.fixture
def server() -> Iterator[Server]:
    """A run that failed, and left a report of a case that is slower."""
    with serving() as running:
        prepare(running)
        offer(running, zipped(report()))
        yield running


def _passes(server: Server) -> None:
    offer(server, PASSED)
    has_jobs(server, jobs("success"))


def _ours(first_line: str = MARKER, **changes: Any) -> dict[str, Any]:
    return {"id": 31, "user": OUR_USER, "body": f"{first_line}\nold"} | changes


def _stands(server: Server, *comments: dict[str, Any]) -> None:
    server.answers[f"GET {COMMENTS}"] = Answer(body=list(comments))


def _by_hand(**changes: Any) -> dict[str, Any]:
    """A run of a branch that was started by hand, such as one that a workflow proposes."""
    return same_repository(event="workflow_dispatch", pull_requests=[], **changes)


# On which pull request


@pytest.mark.parametrize("payload", [same_repository, fork, _by_hand])
def test_the_report_is_posted_once_on_the_pull_request_of_the_run(server: Server, tmp_path: Path, payload: Any) -> None:
    assert run_comment(server, tmp_path, payload()) == 0
    text = written_body(server)
    assert (server.written()[0].path, text.startswith(f"{MARKER}\n")) == (COMMENTS, True)
    assert "m1024 is 5 % slower." in text
    assert RUN_URL in text
    assert "elsewhere.example" not in text
    assert server.asked[-1].headers["Authorization"] == "Bearer ghs_secret"


@pytest.mark.parametrize(("payload", "head"), [(fork, "eve:faster"), (_by_hand, "acme:faster")])
def test_it_is_found_by_the_branch_and_the_commit_that_github_names(
    server: Server, tmp_path: Path, payload: Any, head: str
) -> None:
    run_comment(server, tmp_path, payload())
    asked = next(a for a in server.asked if a.path == PULLS)
    assert (asked.query["state"], asked.query["head"]) == ("open", head)


NOT_ONE: dict[str, list[Any]] = {
    "closed": [],
    "moved on": [pull_in_list(head="c" * 40)],
    "of another repository": [pull_in_list(base="eve/matmul")],
    "without anything": [{"number": NUMBER, "head": None, "base": {"repo": None}}],
    "two": [pull_in_list(), pull_in_list(number=13)],
}


@pytest.mark.parametrize(
    ("payload", "pulls"),
    [
        *((payload, pulls) for payload in (fork, _by_hand) for pulls in NOT_ONE.values()),
        (_by_hand, [pull_in_list(source="eve/matmul")]),
    ],
)
def test_without_one_open_pull_request_of_that_commit_nothing_is_written(
    server: Server, tmp_path: Path, payload: Any, pulls: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[f"GET {PULLS}"] = Answer(body=pulls)
    assert (run_comment(server, tmp_path, payload()), server.written()) == (0, [])
    assert "no one open pull request has the commit aaaaaaaaaaaa" in capsys.readouterr().out


@pytest.mark.parametrize("entry", [pull_in_event(number=99, head="c" * 40), pull_in_event(number=99, base_id=77)])
def test_an_entry_of_the_event_that_is_not_of_this_commit_and_repository_does_not_count(
    server: Server, tmp_path: Path, entry: dict[str, Any]
) -> None:
    assert run_comment(server, tmp_path, same_repository(pull_requests=[entry])) == 0
    assert server.written()[0].path == COMMENTS  # of the one that the list of open ones names


THEIRS = {"id": 77, "full_name": "eve/matmul", "owner": {"login": "eve"}}
NOTHING_TO_DO = [
    *(same_repository(event=event, head_branch="main") for event in ("push", "schedule", "merge_group", None)),
    *(same_repository(event=event, head_branch="main") for event in ("workflow_dispatch", "pull_request_target")),
    _by_hand(head_repository=THEIRS),
    _by_hand(head_repository=None),
    fork(head_repository=None),
    fork(head_branch=None),
    *(fork(conclusion=end) for end in ("cancelled", "skipped", "stale", "action_required", None)),
]


@pytest.mark.parametrize("payload", NOTHING_TO_DO)
def test_a_run_of_nothing_that_was_judged_for_a_pull_request_asks_nothing(
    server: Server, tmp_path: Path, payload: dict[str, Any]
) -> None:
    assert (run_comment(server, tmp_path, payload), server.asked) == (0, [])


# Our own comment


def test_our_own_comment_is_updated_wherever_it_stands(server: Server, tmp_path: Path) -> None:
    others = [{"id": k, "user": {"login": "kim", "type": "User"}, "body": "Nice."} for k in range(100)]
    older = _ours("<!-- perfgate run=6999 attempt=9 -->")
    server.answers[f"GET {COMMENTS}"] = [Answer(body=others), Answer(body=[older])]
    assert run_comment(server, tmp_path, fork()) == 0
    (asked,) = server.written()
    assert (asked.method, asked.path) == ("PATCH", f"/repos/{REPOSITORY}/issues/comments/31")


@pytest.mark.parametrize(
    ("said", "later"),
    [
        (f" run={RUN} attempt={ATTEMPT}", False),
        (f" run={RUN} attempt=1", False),
        ("", False),
        (f" run={RUN + 1} attempt=1", True),
        (f" run={RUN} attempt={ATTEMPT + 1}", True),
        (" run=10000 attempt=1", True),
    ],
)
def test_the_same_run_or_an_older_one_is_overwritten_and_a_later_one_never(
    server: Server, tmp_path: Path, said: str, *, later: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    _stands(server, _ours(f"<!-- perfgate{said} -->"))
    assert run_comment(server, tmp_path, fork()) == 0
    assert [asked.method for asked in server.written()] == ([] if later else ["PATCH"])
    assert ("already shows a later run" in capsys.readouterr().out) == later


@pytest.mark.parametrize(
    "spoof",
    [
        *({"user": {"login": login, "type": kind}} for login, kind in (("eve", "User"), ("github-actions", "Bot"))),
        {"user": {"login": "github-actions[bot]", "type": "User"}},
        {"user": None},
        *({"body": text} for text in (f"hello\n{MARKER}", f" {MARKER}", "<!-- perfgate-side-by-side -->", None)),
    ],
)
def test_a_comment_of_anybody_else_is_neither_changed_nor_believed(
    server: Server, tmp_path: Path, spoof: dict[str, Any]
) -> None:
    _stands(server, _ours("<!-- perfgate run=999999 attempt=9 -->", **spoof))
    assert run_comment(server, tmp_path, fork()) == 0
    assert server.written()[0].method == "POST"


# What GitHub says of the run, before any report


@pytest.mark.parametrize(
    ("end", "status", "changes"),
    [
        ("success", Status.SLOWER, {}),
        ("failure", Status.SAME, {}),
        ("timed_out", Status.SAME, {}),
        ("failure", Status.SLOWER, {"head": "c" * 40}),
        ("success", Status.SAME, {"head": "c" * 40}),
    ],
)
def test_a_report_that_contradicts_githubs_word_on_the_run_is_not_shown(
    server: Server, tmp_path: Path, end: str, status: Status, changes: dict[str, str]
) -> None:
    offer(server, zipped(report(verdict(status=status), **changes)))
    has_jobs(server, jobs(end))
    assert run_comment(server, tmp_path, fork(conclusion=end)) == 0
    text = written_body(server)
    assert f"contradicts its job perf, which ended as `{end}`" in text
    assert (RUN_URL in text, "m1024" in text) == (True, False)


@pytest.mark.parametrize(
    "changes",
    [{"expired": True}, {"name": "report-for-comment-2"}, {"created_at": "2026-03-01T09:59:59Z"}],
    ids=["expired", "of another name", "of an earlier attempt"],
)
def test_a_run_without_a_report_of_its_own_says_so(server: Server, tmp_path: Path, changes: dict[str, Any]) -> None:
    offer(server, zipped(report()), **changes)
    assert run_comment(server, tmp_path, fork()) == 0
    said = f"the run for commit {HEAD[:12]} ended as `failure`, but it left no report; [read the run]({RUN_URL})."
    assert written_body(server).endswith(said)


def test_the_newest_of_several_reports_is_read(server: Server, tmp_path: Path) -> None:
    entries = [listed(zipped(report()), id=k) for k in (899, 900, 88)]
    server.answers[f"GET {ARTIFACTS}"] = Answer(body={"artifacts": entries})
    assert run_comment(server, tmp_path, fork()) == 0
    assert "m1024" in written_body(server)


@pytest.mark.parametrize(
    ("names", "old", "shown"),
    [
        ((".github/workflows/perf.yml", "kernels/a.py"), "", "`.github/workflows/perf.yml`"),
        (("kernels/a.py",), ".github/workflows/label.yml", "`.github/workflows/label.yml`"),
        ((".github/runner/x.sh", ".github/CODEOWNERS"), "", "`.github/CODEOWNERS`, `.github/runner/x.sh`"),
    ],
)
def test_a_change_of_what_runs_on_github_is_said_before_a_report_that_passes(
    server: Server, tmp_path: Path, names: tuple[str, ...], old: str, shown: str
) -> None:
    _passes(server)
    entries: list[dict[str, Any]] = [{"filename": name} for name in names]
    entries += [{"filename": "moved.yml", "previous_filename": old}] if old else []
    server.answers[f"GET {FILES}"] = Answer(body=entries)
    assert run_comment(server, tmp_path, fork(conclusion="success")) == 0
    said = written_body(server).splitlines()
    assert said[:2] == [MARKER, "> [!CAUTION]"]
    assert said[2].startswith(f"> **This pull request edits what runs on GitHub:** {shown}. Its runs are those of its")
    assert said[4] == "## perf: pass (1 same; 1 card)"


def test_a_name_of_a_workflow_is_shown_as_text_whatever_it_holds(server: Server, tmp_path: Path) -> None:
    names = [".github/`\n# Approved", ".github/A\u202eno", ".github/a|<b>"]
    names += [f".github/z{k}{'x' * 4000}" for k in range(40)]
    server.answers[f"GET {FILES}"] = Answer(body=[{"filename": name} for name in names])
    assert run_comment(server, tmp_path, fork()) == 0
    said = written_body(server).splitlines()[2]
    assert all(part in said for part in ("\\`?#\u200b Approved", "`.github/A?no`", "a\\|&lt;b&gt;", "and 28 more"))
    assert len(said) < 3000


def test_a_pull_request_of_more_files_than_github_lists_is_not_taken_for_one_without_workflows(
    server: Server, tmp_path: Path
) -> None:
    page = Answer(body=[{"filename": f"{k}.txt"} for k in range(100)])
    server.answers[f"GET {FILES}"] = [*[page] * 30, Answer(body=[])]
    assert run_comment(server, tmp_path, fork()) == 0
    assert "edits what runs on GitHub:** more than 3000 files, perhaps workflows too." in written_body(server)


ONE_GREEN_JOB = [{"id": 1, "name": "perf", "conclusion": "success", "run_attempt": 1}]
LACKING: dict[str, tuple[str, list[dict[str, Any]], str]] = {
    **{
        f"no {name}, {end}": (end, jobs(end, but=name), f"`{name}`")
        for name in ("plan", "approve", "admit", "measure", "perf")
        for end in ("success", "failure")
    },
    "one green job": ("success", ONE_GREEN_JOB, "`plan`, `approve`, `admit`, `measure`"),
    "two checks": ("success", [*jobs("success"), *jobs("success")], "`perf`"),
}


@pytest.mark.parametrize(("end", "found", "lacking"), LACKING.values(), ids=LACKING)
def test_a_run_that_lacks_a_job_of_the_gate_is_never_shown_as_one(
    server: Server, tmp_path: Path, end: str, found: list[dict[str, Any]], lacking: str
) -> None:
    offer(server, PASSED)
    has_jobs(server, found)
    assert run_comment(server, tmp_path, fork(conclusion=end)) == 0
    said = written_body(server).splitlines()
    assert said[1:3] == [
        "> [!CAUTION]",
        f"> **This run is not the gate's:** it had no {lacking}. Whatever colour its checks have, nothing was judged.",
    ]
    assert said[4].startswith(f"**perfgate**: the run for commit {HEAD[:12]} ended as `{end}`, but it is not a run of")
    assert "## perf" not in "\n".join(said)


def test_the_newest_attempt_up_to_the_one_that_ended_says_how_the_check_ended(server: Server, tmp_path: Path) -> None:
    offer(server, PASSED)
    again = [job for job in jobs(None, attempt=3) if job["name"] == "perf"]
    has_jobs(server, [*jobs("failure", attempt=1), *jobs("success", attempt=2)[-1:], *again])
    assert run_comment(server, tmp_path, fork(conclusion="failure")) == 0  # the job measure failed, and with it the run
    assert "## perf: pass (1 same; 1 card)" in written_body(server)


# A run that only repeated a verdict

JUDGED = RUN - 10
OF_JUDGED = f"<!-- perfgate run={JUDGED} attempt=3 -->"


def _repeated(server: Server, end: str = "success", **changes: Any) -> None:
    """The run that ended had every job before the check skipped and left nothing; an earlier one judged this commit."""
    has_jobs(server, [job if job["name"] == "perf" else job | {"conclusion": "skipped"} for job in jobs(end)])
    at = f"GET /repos/{REPOSITORY}/actions"
    entry = {"id": JUDGED, "run_attempt": 3, "head_sha": HEAD, "event": "pull_request", "status": "completed"}
    entry |= {"conclusion": "success", "run_started_at": STARTED} | changes
    server.answers |= {
        f"{at}/workflows/perf.yml/runs": Answer(body={"workflow_runs": [entry | {"id": RUN}, entry]}),
        f"{at}/runs/{JUDGED}/jobs": Answer(body={"jobs": jobs("success", attempt=3)}),
        f"{at}/runs/{JUDGED}/artifacts": Answer(body={"artifacts": [listed(PASSED)]}),
        f"GET {DOWNLOAD}": Answer(body=PASSED),
    }


@pytest.mark.parametrize("payload", [same_repository, fork])
@pytest.mark.parametrize(
    ("end", "judged", "first_line"),
    [
        ("success", "success", OF_JUDGED),
        ("failure", "success", OF_JUDGED),
        ("success", None, "<!-- perfgate -->"),
        ("success", "cancelled", "<!-- perfgate -->"),
        ("success", "success", f"<!-- perfgate run={RUN - 1} attempt=1 -->"),
    ],
    ids=["shown", "shown, and failed", "still running", "cancelled", "a later one"],
)
def test_the_comment_stays_as_it_is_where_there_is_nothing_newer_to_say(  # noqa: PLR0913, PLR0917 - a table of three columns
    server: Server, tmp_path: Path, payload: Any, end: str, judged: str | None, first_line: str
) -> None:
    _stands(server, _ours(first_line))
    _repeated(server, end, conclusion=judged)
    assert (run_comment(server, tmp_path, payload(conclusion=end)), server.written()) == (0, [])


@pytest.mark.parametrize("first_line", ["", "<!-- perfgate run=6000 attempt=1 -->", "<!-- perfgate -->"])
def test_a_comment_on_another_commit_or_none_is_made_from_the_run_that_judged_this_one(
    server: Server, tmp_path: Path, first_line: str
) -> None:
    _repeated(server)
    _stands(server, *([_ours(first_line)] if first_line else []))
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    text = written_body(server)
    assert text.startswith(f"{OF_JUDGED}\n## perf: pass (1 same; 1 card)")
    assert f"/actions/runs/{JUDGED})" in text


def test_workflows_that_are_edited_are_said_whatever_the_run_has_for_jobs(server: Server, tmp_path: Path) -> None:
    _repeated(server)
    _stands(server, _ours(OF_JUDGED))
    server.answers[f"GET {FILES}"] = Answer(body=[{"filename": ".github/workflows/perf.yml"}])
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    said = written_body(server).splitlines()
    assert (said[:2], said[4][:15]) == ([OF_JUDGED, "> [!CAUTION]"], "## perf: pass (")


def test_a_commit_that_no_run_judged_has_no_report_although_the_run_left_one(server: Server, tmp_path: Path) -> None:
    _repeated(server, head_sha="c" * 40)
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    said = "ended as `success`, but it repeats a verdict, and no run has judged this commit; [read the run]"
    assert said in written_body(server)
    assert not [asked for asked in server.asked if asked.path == ARTIFACTS]


def test_a_run_that_lacks_a_job_repeats_nothing(server: Server, tmp_path: Path) -> None:
    has_jobs(server, [job | {"conclusion": "skipped"} for job in jobs("success", but="measure")])
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    assert "**This run is not the gate's:** it had no `measure`." in written_body(server)


# What fails


@pytest.mark.parametrize(
    "where", [f"GET {path}" for path in (PULLS, JOBS, FILES, ARTIFACTS, COMMENTS, DOWNLOAD)] + [f"POST {COMMENTS}"]
)
def test_where_github_refuses_the_job_fails_with_one_line(
    server: Server, tmp_path: Path, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[where] = Answer(status=403, body={"message": "Resource not accessible\n::error::x"})
    assert run_comment(server, tmp_path, fork()) == 2
    said = capsys.readouterr()
    assert said.err.startswith(f"comment: INVALID github-api: {where.partition(' ')[0]} ")
    assert said.err.count("\n") == 1
    assert "ghs_secret" not in said.err + said.out


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"workflow_run": None, "repository": {"full_name": REPOSITORY}},
        fork() | {"repository": {"id": 1, "full_name": "eve/matmul"}},
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
    assert (comment.comment_command([], variables), server.asked) == (2, [])
