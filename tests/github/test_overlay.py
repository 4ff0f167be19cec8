"""The candidate's kernels laid over the base's, and the gate's files kept with the digest of its end: these, and nothing else."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from github_world import KERNEL, PROJECT_FILE, SLUG, World
from perfgate.config import read_settings
from perfgate.github import overlay
from perfgate.github.overlay import lay
from perfgate.records import GateError
from perfgate.store import evidence

if TYPE_CHECKING:
    from pathlib import Path

FASTER = KERNEL.replace("pass", "return")
NAME = f"perf-{SLUG}"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _proposed(world: World, **files: str | None) -> None:
    """A pull request's checkout beside the base's."""
    world.pull_request({f"kernels/{name}.py": text for name, text in files.items()})
    world.checked_out()


# Laid


def test_the_candidates_kernels_and_nothing_else_are_laid_over_the_base(world: World) -> None:
    world.base = world.commit({"kernels/old.py": "x"})
    world.pull_request(
        {
            "kernels/matmul.py": FASTER,
            "kernels/help.py": "x",
            "kernels/old.py": None,
            "perfgate.py": "bad",
            "pyproject.toml": "bad",
        }
    )
    world.checked_out()
    ended = world.run("lay", "candidate")
    assert (ended.code, ended.said) == (0, "lay: kernels/ is now that of candidate.\n")
    assert (world.root / "kernels/matmul.py").read_text(encoding="utf-8") == FASTER
    assert sorted(path.name for path in (world.root / "kernels").iterdir()) == ["help.py", "matmul.py"]
    assert not (world.root / "perfgate.py").exists()
    assert (world.root / "pyproject.toml").read_text(encoding="utf-8") == PROJECT_FILE


def test_a_candidate_without_the_kernel_is_refused_and_the_base_left_alone(world: World) -> None:
    _proposed(world, matmul=None, other="x")
    assert world.run("lay", "candidate").errors.startswith("INVALID no-kernel-file: ")
    assert (world.root / "kernels/matmul.py").exists()


def test_a_kernel_in_no_folder_of_its_own_is_refused_and_nothing_removed(world: World) -> None:
    bare = dataclasses.replace(read_settings(world.root), kernel="matmul.py")
    (world.root / "candidate").mkdir()
    (world.root / "candidate/matmul.py").write_text(FASTER, encoding="utf-8")
    with pytest.raises(GateError) as caught:
        lay(bare, world.root / "candidate")
    assert (caught.value.reason, (world.root / "pyproject.toml").exists()) == ("no-kernel-file", True)


@pytest.mark.parametrize("name", ["kernels", "kernels/limits.py"])
def test_a_link_in_place_of_the_candidates_kernels_or_among_them_is_refused(world: World, name: str) -> None:
    world.checked_out()
    linked = world.root / "candidate" / name
    if name == "kernels":
        linked.rename(world.root / "elsewhere")
    linked.symlink_to(world.root / "elsewhere" if name == "kernels" else "/etc/passwd")
    ended = world.run("lay", "candidate")
    assert (ended.errors[:23], "is a link" in ended.errors) == ("INVALID no-kernel-file:", True)


@pytest.mark.parametrize("name", [".", "candidate/..", "linked"])
def test_a_checkout_laid_over_itself_is_refused_and_keeps_its_kernels(world: World, name: str) -> None:
    (world.root / "candidate").mkdir()
    (world.root / "linked").symlink_to(".")
    assert world.run("lay", name).errors.startswith("INVALID same-folder: ")
    assert (world.root / "kernels/matmul.py").read_text(encoding="utf-8") == KERNEL


def test_kernels_that_cannot_be_copied_leave_the_base_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _proposed(world, matmul=FASTER)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    assert world.run("lay", "candidate").errors.startswith("INVALID cannot-lay: ")
    assert (world.root / "kernels/matmul.py").read_text(encoding="utf-8") == KERNEL
    assert [path.name for path in world.root.iterdir() if path.name.startswith(".lay")] == []


@pytest.mark.parametrize("committed", [True, False])
def test_the_commit_whose_kernels_were_laid_is_known_until_they_are_changed(world: World, *, committed: bool) -> None:
    _proposed(world, matmul="x = 1\n")
    if not committed:
        (world.root / "candidate/kernels/matmul.py").write_text("x = 3\n", encoding="utf-8")
    assert world.run("lay", "candidate").code == 0
    kernels, results = world.root / "kernels", world.root / ".perfgate"
    (kernels / "__pycache__").mkdir()
    (kernels / "__pycache__/x.pyc").write_bytes(b"")
    assert evidence.laid_commit(results, kernels) == (world.candidate if committed else "")
    (kernels / "matmul.py").write_text("x = 2\n", encoding="utf-8")
    assert evidence.laid_commit(results, kernels) == ""


# Kept


@pytest.fixture
def left(world: World) -> World:
    """A run's results, as the gate left them."""
    world.event("push")
    world.leave(world.measured()).rename(world.root / ".perfgate")
    world.environment |= {"EVIDENCE": evidence.of_results(world.root / ".perfgate")}
    return world


def test_results_lie_in_a_folder_of_the_artifacts_name_and_no_output_is_set_but_by_the_gate(left: World) -> None:
    (left.root / ".perfgate/base").mkdir()
    (left.root / ".perfgate/base/x.json").write_text("{}", encoding="utf-8")
    ended = left.run("keep", ".", NAME)
    assert (ended.code, ended.outputs) == (0, {})
    kept = left.root / "kept"
    found = sorted(path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file())
    assert found == [f"{NAME}/base/x.json", f"{NAME}/current.json", f"{NAME}/run.json"]
    assert evidence.of_results(kept / NAME) == left.environment["EVIDENCE"]
    (left.root / "candidate").mkdir()
    (left.root / ".perfgate").rename(left.root / "candidate/.perfgate")  # those of the change's own gate replace them
    ended = left.run("keep", "candidate", f"{NAME}-own")
    assert (ended.code, ended.outputs) == (0, {})
    assert [path.name for path in kept.iterdir()] == [f"{NAME}-own"]


@pytest.mark.parametrize("name", ["cache", "triton-cache-other", ".hidden", "link", "pipe"])
def test_nothing_but_plain_files_is_kept_and_nothing_that_was_cached(left: World, name: str) -> None:
    path = left.root / ".perfgate" / name
    if name == "link":
        path.symlink_to(left.root / "pyproject.toml")
    elif name == "pipe":
        os.mkfifo(path)
    elif name == ".hidden":
        path.write_text("x", encoding="utf-8")
    else:
        path.mkdir()
        (path / "file").write_text("x", encoding="utf-8")
    assert left.run("keep", ".", NAME).code == 0
    assert sorted(path.name for path in (left.root / "kept" / NAME).iterdir()) == ["current.json", "run.json"]


@pytest.mark.parametrize("change", ["run.json", "current.json", "no digest", "no files"])
def test_results_that_the_gate_did_not_leave_are_kept_for_people_and_refused(left: World, change: str) -> None:
    if change == "no digest":
        left.environment["EVIDENCE"] = ""
    elif change == "no files":
        (left.root / ".perfgate").rename(left.root / "gone")
    else:
        (left.root / ".perfgate" / change).write_text("{}", encoding="utf-8")
    ended = left.run("keep", ".", NAME)
    reason = {"no digest": "no-digest", "no files": "nothing-left"}.get(change, "changed-results")
    assert (ended.code, ended.outputs, ended.errors.split(":")[0]) == (2, {}, f"INVALID {reason}")
    assert (left.root / "kept" / NAME / "run.json").exists() == (change != "no files")


@pytest.mark.parametrize(("limit", "most"), [("_MOST_FILES", 1), ("_MOST_BYTES", 100)])
def test_more_than_a_run_leaves_is_refused(left: World, monkeypatch: pytest.MonkeyPatch, limit: str, most: int) -> None:
    monkeypatch.setattr(overlay, limit, most)
    assert left.run("keep", ".", NAME).errors.startswith("INVALID too-much: ")
