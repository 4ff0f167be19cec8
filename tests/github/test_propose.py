"""The command ``propose``: what it sends and in which order, and what a dry run writes."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from github_support import Answer, serving
from perfgate.github import api, propose
from perfgate.github.proposal_files import collect
from proposal_support import ANCHOR, CARD, COMPILED, REASON, TIMES, World, begin
from propose_support import ENVIRONMENT, URL, GitHub, refused, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = begin(tmp_path)
    made.update(scale={"sq2048": 1.05})
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    made = GitHub()
    monkeypatch.setattr(api, "from_environment", lambda _: made)
    return made


# What is sent.


def test_commit_branch_pull_request_label_and_judging_follow_each_other(world: World, github: GitHub) -> None:
    assert run(world) == 0
    assert [step for step, _ in github.sent] == [
        "git/blobs",
        "git/blobs",
        "git/blobs",
        "git/trees",
        "git/commits",
        "git/refs",
        "pulls",
        "issues/7/labels",
        "actions/workflows/perf.yml/dispatches",
    ]


def test_the_commit_holds_the_files_on_top_of_the_checkout(world: World, github: GitHub) -> None:
    run(world)
    blobs = [base64.b64decode(body["content"]) for step, body in github.sent if step == "git/blobs"]
    names = [ANCHOR, TIMES, COMPILED]
    assert blobs == [(world.artifact / name).read_bytes() for name in names]
    tree = github.body("git/trees")
    assert tree["base_tree"] == world.checkout.git("rev-parse", "HEAD^{tree}")
    assert tree["tree"] == [
        {"path": f"baselines/{name}", "mode": "100644", "type": "blob", "sha": f"sha{number}"}
        for number, name in enumerate(names, 1)
    ]
    commit = github.body("git/commits")
    assert (commit["tree"], commit["parents"]) == ("sha4", [world.head])
    assert commit["message"].endswith(f"\n\n{REASON}\n")


def test_the_branch_is_proposed_for_the_one_that_the_update_was_started_on(world: World, github: GitHub) -> None:
    run(world)
    reference = github.body("git/refs")
    branch = reference["ref"].removeprefix("refs/heads/")
    assert reference["sha"] == "sha5"
    assert branch.startswith(f"baselines/{CARD}-2")
    assert branch.endswith("-4711")
    pull = github.body("pulls")
    assert (pull["head"], pull["base"]) == (branch, "trunk")
    assert pull["title"] == f"Baselines of NVIDIA H100 80GB HBM3: {REASON}"
    assert "in the same launches" in pull["body"]
    assert github.body("issues/7/labels") == {"labels": ["baseline-change"]}
    assert github.body("actions/workflows/perf.yml/dispatches") == {"ref": branch}


def test_the_address_is_printed_and_stands_in_the_summary(
    world: World, github: GitHub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    assert run(world, GITHUB_STEP_SUMMARY=str(summary)) == 0
    assert capsys.readouterr().out == f"propose: {URL}\n"
    assert summary.read_text(encoding="utf-8") == f"before\nProposed: {URL}\n"
    assert github.sent


def test_without_samples_it_is_proposed_by_the_stored_numbers(world: World, github: GitHub) -> None:
    assert propose.main(["--from", str(world.artifact), "--card", CARD], ENVIRONMENT) == 0
    assert "by the stored numbers alone" in github.body("pulls")["body"]


def test_the_reason_of_the_command_line_comes_before_the_variable(world: World, github: GitHub) -> None:
    assert run(world, "--reason", REASON, REASON="another") == 0
    assert github.sent


def test_it_goes_over_the_wire_as_it_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("git/blobs", "git/trees", "git/commits", "git/refs", "pulls", "issues/7/labels")
    with serving() as server:
        for step in steps:
            body = {"sha": "a" * 40, "number": 7, "html_url": URL}
            server.answers[f"POST /repos/someone/kernels/{step}"] = Answer(status=201, body=body)
        start = "/repos/someone/kernels/actions/workflows/perf.yml/dispatches"
        server.answers[f"POST {start}"] = Answer(status=204)
        assert run(world, GITHUB_API_URL=server.url) == 0
        assert [asked.path.removeprefix("/repos/someone/kernels/") for asked in server.asked[2:8]] == list(steps)
        assert server.asked[-1].path == start
        assert server.asked[-1].json["ref"].startswith(f"baselines/{CARD}-")
    assert capsys.readouterr().out == f"propose: {URL}\n"


# A dry run.


def test_a_dry_run_writes_what_would_be_sent_and_needs_no_github(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "from_environment", lambda _: pytest.fail("a dry run asks for no API"))
    before = subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True).stdout  # noqa: S607
    out = tmp_path / "some" / "out"
    argv = ["--from", str(world.artifact), "--card", CARD, "--dry-run", str(out)]
    assert propose.main(argv, {"REASON": REASON}) == 0
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    kept = sorted(f"baselines/{name}" for name in (TIMES, ANCHOR, COMPILED))
    assert files == ["body.md", *(f"branch/{name}" for name in kept), "pull-request.json"]
    for name in (TIMES, ANCHOR, COMPILED):
        assert (out / "branch/baselines" / name).read_bytes() == (world.artifact / name).read_bytes()
    request = json.loads((out / "pull-request.json").read_text(encoding="utf-8"))
    assert set(request) == {"branch", "base", "title", "message", "label", "files"}
    assert (request["base"], request["files"]) == ("main", kept)
    assert request["branch"].endswith("-local")
    assert (out / "body.md").read_text(encoding="utf-8").startswith("## Baselines of ")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True).stdout == before  # noqa: S607


def test_a_dry_run_says_the_same_as_what_is_sent(world: World, github: GitHub, tmp_path: Path) -> None:
    assert run(world) == 0
    assert run(world, "--dry-run", str(tmp_path / "out")) == 0
    assert (tmp_path / "out/body.md").read_text(encoding="utf-8") == github.body("pulls")["body"]
    request = json.loads((tmp_path / "out/pull-request.json").read_text(encoding="utf-8"))
    assert request["message"] == github.body("git/commits")["message"]
    assert request["branch"] == github.body("pulls")["head"]


def test_a_dry_run_writes_over_nothing(
    world: World, github: GitHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x", encoding="utf-8")
    assert "exists and is not empty" in refused(world, capsys, "--dry-run", str(out))
    assert [path.name for path in out.iterdir()] == ["mine"]
    (out / "mine").unlink()
    assert run(world, "--dry-run", str(out)) == 0
    assert github.sent == []


def test_a_dry_run_that_fails_halfway_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(world.artifact, world.baselines, world.asked)
    monkeypatch.setattr(propose, "collect", lambda *_: found)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(world, "--dry-run", str(tmp_path / "elsewhere/out"))
    assert list((tmp_path / "elsewhere").iterdir()) == []
