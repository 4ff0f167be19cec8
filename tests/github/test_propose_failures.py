"""The command ``propose`` where something fails: what it leaves, and what it tells a person to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perfgate.github import api
from proposal_support import TIMES, World, begin
from propose_support import URL, GitHub, refused

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


@pytest.mark.parametrize("step", ["git/blobs", "git/trees", "git/commits", "git/refs"])
def test_a_failure_before_the_branch_leaves_nothing_and_says_so(
    step: str, world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.failing = step
    said = refused(world, capsys)
    assert said.startswith("INVALID not-proposed: ")
    assert "422 (no)" in said
    assert "done: nothing; by hand: " in said
    assert "start the update again." in said
    assert "pulls" not in [sent for sent, _ in github.sent]


@pytest.mark.parametrize(
    ("step", "done", "by_hand"),
    [
        ("pulls", "done: branch baselines/", "let Actions open pull requests"),
        ("issues/7/labels", f"pull request {URL}", "set the label baseline-change, then start perf.yml on"),
        ("actions/workflows/perf.yml/dispatches", "label baseline-change", "by hand: start perf.yml on baselines/"),
    ],
)
def test_a_failure_after_the_branch_says_what_is_done_and_what_to_do(  # noqa: PLR0913, PLR0917 - a table of three columns
    step: str, done: str, by_hand: str, world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.failing = step
    said = refused(world, capsys)
    assert said.startswith("INVALID half-proposed: ")
    assert done in said
    assert by_hand in said


@pytest.mark.parametrize("step", ["git/blobs", "git/trees", "git/commits", "pulls"])
def test_an_answer_without_what_the_next_step_needs_is_a_failure(
    step: str, world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.silent = step
    assert "the answer has no " in refused(world, capsys)
    assert github.sent[-1][0] == step


@pytest.mark.parametrize(
    ("more", "environment", "words"),
    [
        ([], {"REASON": ""}, "no-reason"),
        ([], {"REASON": "a\nb"}, "bad-reason"),
        (["--reason", ""], {}, "no-reason"),
        ([], {"REASON": "another"}, "other-reason"),
        (["--card", "../evil"], {}, "--card is '../evil'"),
        (["--card", "Card"], {}, "--card is 'Card'"),
        (["--card", "nvidia-geforce-rtx-4090"], {}, "not-a-baseline"),
        (["--carp", "x"], {}, "bad-usage"),
        ([], {"GITHUB_REF_NAME": ""}, "GITHUB_REF_NAME is not set"),
        ([], {"GITHUB_RUN_ID": ""}, "GITHUB_RUN_ID is not set"),
        ([], {"GITHUB_RUN_ID": "1/../2"}, "expected GitHub's number"),
        ([], {"GITHUB_REF_TYPE": "tag"}, "not-a-branch"),
        (["--from", "none"], {}, "no-artifact"),
    ],
)
def test_bad_usage_sends_nothing_and_says_what_is_wrong(  # noqa: PLR0913, PLR0917 - a table of three columns
    more: list[str],
    environment: dict[str, str],
    words: str,
    world: World,
    github: GitHub,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert words in refused(world, capsys, *more, **environment)
    assert github.sent == []


def test_what_is_refused_of_the_artifact_sends_nothing(
    world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.artifact / "extra").write_text("x", encoding="utf-8")
    assert "not-a-baseline" in refused(world, capsys)
    (world.artifact / "extra").unlink()
    (world.samples / "current.json").write_bytes((world.baselines / TIMES).read_bytes())
    assert "other-measurement" in refused(world, capsys)
    assert github.sent == []


def test_a_checkout_whose_baselines_are_not_as_committed_is_refused(
    world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.baselines / "new.json").write_text("{}", encoding="utf-8")
    assert "changed-baselines" in refused(world, capsys)
    assert github.sent == []


def test_a_folder_that_is_no_checkout_is_refused(
    world: World, github: GitHub, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare/pyproject.toml").write_text("", encoding="utf-8")
    monkeypatch.chdir(tmp_path / "bare")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert "no-commit" in refused(world, capsys)
    assert github.sent == []
