"""The comment after a run that only repeated a verdict: as the run that judged left it, or made from that run anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from github_support import (
    ARTIFACTS,
    DOWNLOAD,
    FILES,
    HEAD,
    OUR_USER,
    REPOSITORY,
    RUN,
    STARTED,
    Answer,
    Server,
    fork,
    has_jobs,
    jobs,
    listed,
    offer,
    prepare,
    report,
    run_comment,
    same_repository,
    serving,
    verdict,
    written_body,
    zipped,
)
from perfgate.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_JUDGED = RUN - 10
_AT = f"GET /repos/{REPOSITORY}/actions"
_OF_JUDGED = f"<!-- perfgate run={_JUDGED} attempt=3 -->"
_PASSED = zipped(report(verdict(status=Status.SAME)))


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        prepare(running)
        _repeated(running)
        _judged(running)
        yield running


def _repeated(server: Server, end: str = "success") -> None:
    """The run that ended: every job before the check was skipped, and it left nothing."""
    has_jobs(server, [job if job["name"] == "perf" else job | {"conclusion": "skipped"} for job in jobs(end)])


def _judged(server: Server, **changes: Any) -> None:
    """An earlier run that judged this commit, and its report."""
    entry = {"id": _JUDGED, "run_attempt": 3, "head_sha": HEAD, "event": "pull_request", "status": "completed"}
    entry |= {"conclusion": "success", "run_started_at": STARTED} | changes
    server.answers |= {
        f"{_AT}/workflows/perf.yml/runs": Answer(body={"workflow_runs": [entry | {"id": RUN}, entry]}),
        f"{_AT}/runs/{_JUDGED}/jobs": Answer(body={"jobs": jobs("success", attempt=3)}),
        f"{_AT}/runs/{_JUDGED}/artifacts": Answer(body={"artifacts": [listed(_PASSED)]}),
        f"GET {DOWNLOAD}": Answer(body=_PASSED),
    }


def _stands(server: Server, first_line: str) -> None:
    comment = {"id": 31, "user": OUR_USER, "body": f"{first_line}\nold"}
    server.answers[f"GET /repos/{REPOSITORY}/issues/12/comments"] = Answer(body=[comment])


@pytest.mark.parametrize("payload", [same_repository, fork])
@pytest.mark.parametrize("end", ["success", "failure"])
def test_the_comment_of_the_run_that_judged_stays_as_it_is(
    server: Server, tmp_path: Path, payload: Any, end: str
) -> None:
    _stands(server, _OF_JUDGED)
    _repeated(server, end)
    assert run_comment(server, tmp_path, payload(conclusion=end)) == 0
    assert server.written() == []


@pytest.mark.parametrize("first_line", [None, "<!-- perfgate run=6000 attempt=1 -->", "<!-- perfgate -->"])
def test_a_comment_on_another_commit_or_none_is_made_from_the_run_that_judged_this_one(
    server: Server, tmp_path: Path, first_line: str | None
) -> None:
    if first_line:
        _stands(server, first_line)
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    text = written_body(server)
    assert text.startswith(f"{_OF_JUDGED}\n## perf: pass (1 same; 1 card)")
    assert f"/actions/runs/{_JUDGED})" in text


def test_workflows_that_are_edited_are_said_whatever_the_run_has_for_jobs(server: Server, tmp_path: Path) -> None:
    _stands(server, _OF_JUDGED)
    server.answers[f"GET {FILES}"] = Answer(body=[{"filename": ".github/workflows/perf.yml"}])
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    said = written_body(server).splitlines()
    assert said[:2] == [_OF_JUDGED, "> [!CAUTION]"]
    assert said[4].startswith("## perf: pass")


def test_a_commit_that_no_run_judged_has_no_report_although_the_run_left_one(server: Server, tmp_path: Path) -> None:
    _judged(server, head_sha="c" * 40)
    offer(server, _PASSED)
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    text = written_body(server)
    assert "ended as `success`, but it repeats a verdict, and no run has judged this commit; [read the run]" in text
    assert not [asked for asked in server.asked if asked.path == ARTIFACTS]


@pytest.mark.parametrize("end", [None, "cancelled"])
def test_a_run_that_judged_nothing_in_the_end_leaves_the_comment_as_it_is(
    server: Server, tmp_path: Path, end: str | None
) -> None:
    _judged(server, conclusion=end)
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    assert server.written() == []


def test_a_later_comment_is_never_overwritten_by_a_run_of_before(server: Server, tmp_path: Path) -> None:
    _stands(server, f"<!-- perfgate run={RUN - 1} attempt=1 -->")
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    assert server.written() == []


def test_a_run_that_lacks_a_job_repeats_nothing(server: Server, tmp_path: Path) -> None:
    has_jobs(server, [job | {"conclusion": "skipped"} for job in jobs("success", but="measure")])
    assert run_comment(server, tmp_path, same_repository(conclusion="success")) == 0
    assert "**This run is not the gate's:** it had no `measure`." in written_body(server)
