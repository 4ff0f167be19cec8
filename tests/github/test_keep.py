"""What is kept for an artifact: the gate's plain files, in a folder of the artifact's name, with the digest of its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from github_world import SLUG, World
from perfgate import settings
from perfgate.github import keep
from perfgate.store import evidence

if TYPE_CHECKING:
    from pathlib import Path

_NAME = f"perf-{SLUG}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.event("push")
    left = made.leave(made.measured())
    left.rename(made.root / ".perfgate")
    made.environment |= {"EVIDENCE": evidence.of_results(made.root / ".perfgate")}
    return made


def test_results_lie_in_a_folder_of_the_artifacts_name_and_no_output_is_set_but_by_the_gate(world: World) -> None:
    (world.root / ".perfgate/base").mkdir()
    (world.root / ".perfgate/base/x.json").write_text("{}", encoding="utf-8")
    ended = world.run("keep", ".", _NAME)
    assert (ended.code, ended.outputs) == (0, {})
    kept = world.root / "kept"
    found = sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file())
    assert found == [f"{_NAME}/base/x.json", f"{_NAME}/current.json", f"{_NAME}/run.json"]
    assert evidence.of_results(kept / _NAME) == world.environment["EVIDENCE"]


def test_those_of_the_changes_own_gate_replace_them(world: World) -> None:
    assert world.run("keep", ".", _NAME).code == 0
    (world.root / ".perfgate").rename(world.root / "own")
    (world.root / "candidate").mkdir()
    (world.root / "own").rename(world.root / "candidate/.perfgate")
    ended = world.run("keep", "candidate", f"{_NAME}-own")
    assert (ended.code, ended.outputs) == (0, {})
    assert [path.name for path in (world.root / "kept").iterdir()] == [f"{_NAME}-own"]


@pytest.mark.parametrize("name", ["cache", "triton-cache-other", ".hidden", "link", "pipe"])
def test_nothing_but_plain_files_is_kept_and_nothing_that_was_cached(world: World, name: str) -> None:
    path = world.root / ".perfgate" / name
    if name == "link":
        path.symlink_to(world.root / "pyproject.toml")
    elif name == "pipe":
        os.mkfifo(path)
    elif name == ".hidden":
        path.write_text("x", encoding="utf-8")
    else:
        path.mkdir()
        (path / "file").write_text("x", encoding="utf-8")
    assert world.run("keep", ".", _NAME).code == 0
    assert sorted(path.name for path in (world.root / "kept" / _NAME).iterdir()) == ["current.json", "run.json"]


@pytest.mark.parametrize("change", ["run.json", "current.json", "no digest", "no files"])
def test_results_that_the_gate_did_not_leave_are_kept_for_people_and_refused(world: World, change: str) -> None:
    if change == "no digest":
        world.environment["EVIDENCE"] = ""
    elif change == "no files":
        (world.root / ".perfgate").rename(world.root / "gone")
    else:
        (world.root / ".perfgate" / change).write_text("{}", encoding="utf-8")
    ended = world.run("keep", ".", _NAME)
    reason = {"no digest": "no-digest", "no files": "nothing-left"}.get(change, "changed-results")
    assert (ended.code, ended.outputs, ended.errors.split(":")[0]) == (2, {}, f"INVALID {reason}")
    assert (world.root / "kept" / _NAME / "run.json").exists() == (change != "no files")


@pytest.mark.parametrize(("limit", "most"), [("_MOST_FILES", 1), ("_MOST_BYTES", 100)])
def test_more_than_a_run_leaves_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch, limit: str, most: int
) -> None:
    monkeypatch.setattr(keep, limit, most)
    assert world.run("keep", ".", _NAME).errors.startswith("INVALID too-much: ")


def test_the_commit_whose_kernels_were_laid_is_known_until_they_are_changed(world: World) -> None:
    world.pull_request({"kernels/matmul.py": "x = 1\n"})
    world.checked_out()
    assert world.run("lay", "candidate").code == 0
    kernels = world.root / "kernels"
    assert evidence.laid_commit(world.root / ".perfgate", kernels) == world.candidate
    (kernels / "__pycache__").mkdir()
    (kernels / "__pycache__/x.pyc").write_bytes(b"")
    assert evidence.laid_commit(world.root / ".perfgate", kernels) == world.candidate
    (kernels / "matmul.py").write_text("x = 2\n", encoding="utf-8")
    assert evidence.laid_commit(world.root / ".perfgate", kernels) == ""


def test_kernels_of_no_commit_are_laid_without_a_word_of_one(world: World) -> None:
    world.pull_request({"kernels/matmul.py": "x = 1\n"})
    world.checked_out()
    (world.root / "candidate/kernels/matmul.py").write_text("x = 3\n", encoding="utf-8")
    assert world.run("lay", "candidate").code == 0
    assert not (settings.load(world.root).root / ".perfgate" / evidence.LAID_FILE).exists()
