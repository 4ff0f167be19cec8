"""Which baseline file judges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from git_support import Project
from perfgate.config import Settings
from perfgate.records import GateError
from perfgate.store.locate import compiled_name, find

if TYPE_CHECKING:
    from pathlib import Path

NAME = "card/matmul.json"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A repository whose main branch holds one baseline."""
    return with_a_baseline(Project.begin(tmp_path / "project"), ".").settings


def with_a_baseline(project: Project, folder: str) -> Project:
    """Commit a baseline of a project that lies in a folder of its repository."""
    root = project.root / folder
    (root / "baselines/card").mkdir(parents=True)
    (root / "baselines" / NAME).write_text("old", encoding="utf-8")
    project.git("add", ".")
    project.git("commit", "--quiet", "--message", "one")
    return Project(root)


def test_the_tree_judges_where_no_base_is_named(settings: Settings, tmp_path: Path) -> None:
    found = find(settings, NAME, base=None, scratch=tmp_path)
    assert (found.path.read_text(encoding="utf-8"), found.note) == ("old", "")


def test_a_file_with_changes_that_are_not_committed_is_said(settings: Settings, tmp_path: Path) -> None:
    (settings.root / "baselines" / NAME).write_text("new", encoding="utf-8")
    found = find(settings, NAME, base=None, scratch=tmp_path)
    assert found.note == "baselines/card/matmul.json has changes that are not committed"


def test_a_change_is_judged_by_its_base_and_told_that_it_edits_the_baseline(settings: Settings, tmp_path: Path) -> None:
    (settings.root / "baselines" / NAME).write_text("new", encoding="utf-8")
    found = find(settings, NAME, base="main", scratch=tmp_path)
    assert found.path.read_text(encoding="utf-8") == "old"
    assert found.note == "this change edits baselines/card/matmul.json; it is judged by the one of main"


def test_a_change_that_leaves_the_baseline_alone_is_told_nothing(settings: Settings, tmp_path: Path) -> None:
    assert find(settings, NAME, base="main", scratch=tmp_path).note == ""


def test_a_baseline_that_the_change_itself_adds_does_not_judge_it(settings: Settings, tmp_path: Path) -> None:
    (settings.root / "baselines/other.json").write_text("new", encoding="utf-8")
    found = find(settings, "other.json", base="main", scratch=tmp_path)
    assert not found.path.exists()
    assert "this change edits" in found.note


def test_a_baseline_that_the_change_removes_still_judges_it(settings: Settings, tmp_path: Path) -> None:
    (settings.root / "baselines" / NAME).unlink()
    assert find(settings, NAME, base="main", scratch=tmp_path).path.read_text(encoding="utf-8") == "old"


def test_what_an_earlier_run_read_from_git_is_not_read_again(settings: Settings, tmp_path: Path) -> None:
    stale = tmp_path / "base/none.json"
    stale.parent.mkdir()
    stale.write_text("stale", encoding="utf-8")
    assert not find(settings, "none.json", base="main", scratch=tmp_path).path.exists()


def test_a_base_that_git_does_not_know_is_refused(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="--base release is no commit that git knows here"):
        find(settings, NAME, base="release", scratch=tmp_path)


def test_outside_git_the_tree_judges(tmp_path: Path) -> None:
    found = find(Settings(root=tmp_path), NAME, base=None, scratch=tmp_path)
    assert (found.path, found.note) == (tmp_path / "baselines" / NAME, "")


def test_another_triton_has_its_own_facts_where_they_were_recorded_and_else_the_main_ones(settings: Settings) -> None:
    assert compiled_name(settings, "3.6.0") == "sm_89/compiled.json"
    assert compiled_name(settings, "3.6.0", beside=True) == "sm_89/compiled-triton-3.6.0.json"
    own = settings.root / "baselines/sm_89/compiled-triton-3.6.0.json"
    own.parent.mkdir()
    own.write_text("{}", encoding="utf-8")
    assert compiled_name(settings, "3.6.0") == "sm_89/compiled-triton-3.6.0.json"
    assert compiled_name(settings, "3.8.0") == "sm_89/compiled.json"


def test_a_project_in_a_subfolder_of_its_repository_finds_its_base(tmp_path: Path) -> None:
    project = with_a_baseline(Project.begin(tmp_path / "repository"), "kernels/project")
    found = find(project.settings, NAME, base="main", scratch=tmp_path)
    assert (found.path.read_text(encoding="utf-8"), found.note) == ("old", "")
