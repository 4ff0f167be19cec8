"""What the comment says before any report: workflows that were edited, a run that is not the gate's, how its check ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from github_support import (
    FILES,
    HEAD,
    MARKER,
    NUMBER,
    REPOSITORY,
    Answer,
    Server,
    fork,
    has_jobs,
    jobs,
    offer,
    prepare,
    pull_in_list,
    report,
    run_comment,
    same_repository,
    serving,
    verdict,
    written_body,
    zipped,
)
from perfgate.github.conclusion import CardReport, Conclusion, conclude, to_json
from perfgate.records import Status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PULLS = f"GET /repos/{REPOSITORY}/pulls"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        prepare(running)
        yield running


def _edits(server: Server, *names: str, old: str = "") -> None:
    entries: list[dict[str, Any]] = [{"filename": name} for name in names]
    entries += [{"filename": "moved.yml", "previous_filename": old}] if old else []
    server.answers[f"GET {FILES}"] = Answer(body=entries)


def _said(server: Server, folder: Path, **changes: Any) -> list[str]:
    assert run_comment(server, folder, fork(**changes)) == 0
    return written_body(server).splitlines()


@pytest.mark.parametrize(
    ("names", "old", "shown"),
    [
        ((".github/workflows/perf.yml", "kernels/a.py"), "", "`.github/workflows/perf.yml`"),
        (("kernels/a.py",), ".github/workflows/label.yml", "`.github/workflows/label.yml`"),
        (
            (".github/runner/job-started.sh", ".github/CODEOWNERS"),
            "",
            "`.github/CODEOWNERS`, `.github/runner/job-started.sh`",
        ),
    ],
)
def test_a_change_of_what_runs_on_github_is_said_before_a_report_that_passes(
    server: Server, tmp_path: Path, names: tuple[str, ...], old: str, shown: str
) -> None:
    offer(server, zipped(report(verdict(status=Status.SAME))))
    has_jobs(server, jobs("success"))
    _edits(server, *names, old=old)
    said = _said(server, tmp_path, conclusion="success")
    assert said[:2] == [MARKER, "> [!CAUTION]"]
    assert said[2].startswith(
        f"> **This pull request edits what runs on GitHub:** {shown}. Its runs are those of its own"
    )
    assert said[4] == "## perf: pass (1 same; 1 card)"


def test_a_name_of_a_workflow_is_shown_as_text_whatever_it_holds(server: Server, tmp_path: Path) -> None:
    names = [f".github/z{k}{'x' * 4000}" for k in range(40)]
    _edits(server, ".github/`\n# Approved", ".github/A\u202eno", ".github/a|<b>", *names)
    said = _said(server, tmp_path)
    assert "\\`?#\u200b Approved" in said[2]
    assert "`.github/A?no`" in said[2]
    assert "a\\|&lt;b&gt;" in said[2]
    assert said[2].count("and 28 more") == 1
    assert len(said[2]) < 3000


def test_a_pull_request_of_more_files_than_github_lists_is_not_taken_for_one_without_workflows(
    server: Server, tmp_path: Path
) -> None:
    page = Answer(body=[{"filename": f"{k}.txt"} for k in range(100)])
    server.answers[f"GET {FILES}"] = [*[page] * 30, Answer(body=[])]
    assert "edits what runs on GitHub:** more than 3000 files, perhaps workflows too." in _said(server, tmp_path)[2]


@pytest.mark.parametrize("lacking", ["plan", "approve", "admit", "measure", "perf"])
@pytest.mark.parametrize("end", ["success", "failure"])
def test_a_run_that_lacks_a_job_of_the_gate_is_never_shown_as_one(
    server: Server, tmp_path: Path, lacking: str, end: str
) -> None:
    offer(server, zipped(report(verdict(status=Status.SAME))))
    has_jobs(server, jobs(end, but=lacking))
    said = _said(server, tmp_path, conclusion=end)
    assert said[1:3] == [
        "> [!CAUTION]",
        f"> **This run is not the gate's:** it had no `{lacking}`. Whatever colour its checks have, nothing was judged.",
    ]
    assert said[4].startswith(
        f"**perfgate**: the run for commit {HEAD[:12]} ended as `{end}`, but it is not a run of the gate's"
    )
    assert "## perf" not in "\n".join(said)


def test_a_workflow_of_one_green_job_named_perf_is_told_for_what_it_is(server: Server, tmp_path: Path) -> None:
    offer(server, zipped(report(verdict(status=Status.SAME))))
    has_jobs(server, [{"id": 1, "name": "perf", "conclusion": "success", "run_attempt": 1}])
    _edits(server, ".github/workflows/perf.yml")
    said = _said(server, tmp_path, conclusion="success")
    assert "it had no `plan`, `approve`, `admit`, `measure`." in said[2]
    assert "edits what runs on GitHub:** `.github/workflows/perf.yml`" in said[5]


def test_two_jobs_named_like_the_check_are_none(server: Server, tmp_path: Path) -> None:
    has_jobs(server, [*jobs("success"), *jobs("success")])
    assert "it had no `perf`." in _said(server, tmp_path, conclusion="success")[2]


def test_a_change_that_the_label_excuses_is_shown_although_the_run_failed(server: Server, tmp_path: Path) -> None:
    card = CardReport(label="h100", slug="h100", verdicts=(verdict(),), proposed=(verdict(status=Status.SAME),))
    edited = ("baselines/x.json",)
    assert conclude((card,), edits=edited, intended=True, problems=()) == 0
    excused = Conclusion(exit=0, base="b" * 40, head=HEAD, target="main", edits=edited, intended=True, cards=(card,))
    offer(server, zipped(to_json(excused)))
    has_jobs(server, jobs("success"))  # the job measure failed, and with it the run
    assert "## perf: pass, as intended" in "\n".join(_said(server, tmp_path, conclusion="failure"))


def test_the_newest_attempt_up_to_the_one_that_ended_says_how_the_check_ended(server: Server, tmp_path: Path) -> None:
    offer(server, zipped(report(verdict(status=Status.SAME))))
    again = [job for job in jobs(None, attempt=3) if job["name"] == "perf"]
    has_jobs(server, [*jobs("failure", attempt=1), *jobs("success", attempt=2)[-1:], *again])
    assert "## perf: pass (1 same; 1 card)" in _said(server, tmp_path, conclusion="failure")


# A branch that was started by hand, such as one that a workflow proposes


def _by_hand(**changes: Any) -> dict[str, Any]:
    return same_repository(event="workflow_dispatch", pull_requests=[], **changes)


def test_a_branch_that_was_started_by_hand_has_its_one_pull_request_told(server: Server, tmp_path: Path) -> None:
    offer(server, zipped(report(verdict())))
    assert run_comment(server, tmp_path, _by_hand()) == 0
    asked = next(a for a in server.asked if f"{a.method} {a.path}" == _PULLS)
    assert (asked.query["state"], asked.query["head"]) == ("open", "acme:faster")
    assert "m1024" in written_body(server)


@pytest.mark.parametrize(
    "pulls",
    [
        [],
        [pull_in_list(), pull_in_list(number=NUMBER + 1)],
        [pull_in_list(source="eve/matmul")],
        [pull_in_list(head="c" * 40)],
    ],
    ids=["none", "two", "of a fork", "moved on"],
)
def test_a_branch_without_one_open_pull_request_of_this_repository_at_that_commit_has_none_told(
    server: Server, tmp_path: Path, pulls: list[Any]
) -> None:
    server.answers[_PULLS] = Answer(body=pulls)
    assert run_comment(server, tmp_path, _by_hand()) == 0
    assert server.written() == []


def test_a_run_of_a_forks_own_repository_or_of_the_default_branch_is_none_of_its_business(
    server: Server, tmp_path: Path
) -> None:
    theirs = {"id": 77, "full_name": "eve/matmul", "owner": {"login": "eve"}}
    for payload in (_by_hand(head_branch="main"), _by_hand(head_repository=theirs), _by_hand(head_repository=None)):
        assert run_comment(server, tmp_path, payload) == 0
    assert server.asked == []
