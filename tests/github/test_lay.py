"""The candidate's kernels laid over the base: all of them, nothing else, and none that is not in the change."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from github_world import KERNEL, PROJECT_FILE, World
from perfgate import settings
from perfgate.github.lay import lay
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

_FASTER = KERNEL.replace("pass", "return")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def test_the_candidates_kernels_and_nothing_else_are_laid_over_the_base(world: World) -> None:
    world.pull_request(
        {"kernels/matmul.py": _FASTER, "kernels/help.py": "x", "perfgate.py": "bad", "pyproject.toml": "bad"}
    )
    world.checked_out()
    ended = world.run("lay", "candidate")
    assert (ended.code, ended.said) == (0, "lay: kernels/ is now that of candidate.\n")
    assert (world.root / "kernels/matmul.py").read_text(encoding="utf-8") == _FASTER
    assert (world.root / "kernels/help.py").exists()
    assert not (world.root / "perfgate.py").exists()
    assert (world.root / "pyproject.toml").read_text(encoding="utf-8") == PROJECT_FILE


def test_a_kernel_file_that_the_candidate_removed_is_gone_from_what_is_judged(world: World) -> None:
    world.base = world.commit({"kernels/old.py": "x"})
    world.pull_request({"kernels/old.py": None})
    world.checked_out()
    world.run("lay", "candidate")
    assert not (world.root / "kernels/old.py").exists()


def test_a_candidate_without_the_kernel_is_refused_and_the_base_left_alone(world: World) -> None:
    world.pull_request({"kernels/matmul.py": None, "kernels/other.py": "x"})
    world.checked_out()
    with pytest.raises(GateError) as caught:
        lay(settings.load(world.root), world.root / "candidate")
    assert caught.value.reason == "no-kernel-file"
    assert (world.root / "kernels/matmul.py").exists()


def test_a_kernel_in_no_folder_of_its_own_is_refused_and_nothing_removed(world: World) -> None:
    bare = dataclasses.replace(settings.load(world.root), kernel="matmul.py")
    (world.root / "candidate").mkdir()
    (world.root / "candidate/matmul.py").write_text(_FASTER, encoding="utf-8")
    with pytest.raises(GateError) as caught:
        lay(bare, world.root / "candidate")
    assert caught.value.reason == "no-kernel-file"
    assert (world.root / "pyproject.toml").exists()


def test_a_folder_of_kernels_that_is_a_link_is_refused(world: World) -> None:
    world.checked_out()
    (world.root / "candidate/kernels").rename(world.root / "elsewhere")
    (world.root / "candidate/kernels").symlink_to(world.root / "elsewhere")
    with pytest.raises(GateError, match="is a link") as caught:
        lay(settings.load(world.root), world.root / "candidate")
    assert caught.value.reason == "no-kernel-file"


def test_a_link_among_the_candidates_kernels_is_refused(world: World) -> None:
    world.checked_out()
    (world.root / "candidate/kernels/limits.py").symlink_to("/etc/passwd")
    with pytest.raises(GateError) as caught:
        lay(settings.load(world.root), world.root / "candidate")
    assert "link" in caught.value.text


@pytest.mark.parametrize("name", [".", "candidate/..", "linked"])
def test_a_checkout_laid_over_itself_is_refused_and_keeps_its_kernels(world: World, name: str) -> None:
    (world.root / "candidate").mkdir()
    (world.root / "linked").symlink_to(".")
    ended = world.run("lay", name)
    assert (ended.code, ended.errors.startswith("INVALID same-folder: ")) == (2, True)
    assert (world.root / "kernels/matmul.py").read_text(encoding="utf-8") == KERNEL


def test_kernels_that_cannot_be_copied_leave_the_base_as_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.checked_out()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copytree", full)
    ended = world.run("lay", "candidate")
    assert (ended.code, ended.errors.startswith("INVALID cannot-lay: ")) == (2, True)
    assert (world.root / "kernels/matmul.py").read_text(encoding="utf-8") == KERNEL
    assert [path.name for path in world.root.iterdir() if path.name.startswith(".lay")] == []
