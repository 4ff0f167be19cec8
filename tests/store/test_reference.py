"""Which kernel a change is measured beside, in real git repositories of a few commits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from git_support import Project
from perfgate.records import GateError
from perfgate.store import reference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_git_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the user's settings nor a repository around the folder of tests are to be seen."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.begin(tmp_path / "project")


def text_of(side: reference.Side | None) -> str:
    assert side is not None
    assert side.path.name == "matmul.py"
    return side.path.read_text(encoding="utf-8")


# --against: what the user named.


@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_is_taken_as_it_lies(project: Project, *, absolute: bool) -> None:
    path = project.root / "tries/fast one.py"
    path.parent.mkdir()
    path.write_text("fast")
    name = str(path) if absolute else "tries/fast one.py"
    found = reference.named(project.settings, name, project.scratch)
    assert (found.kind, found.name, found.path) == ("file", name, path)
    assert found.said == f"file {name}"
    assert not project.scratch.exists()


def test_a_file_is_taken_relative_to_the_project_wherever_the_user_stands(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / "mine.py").write_text("mine")
    monkeypatch.chdir("/")
    assert reference.named(project.settings, "mine.py", project.scratch).kind == "file"


@pytest.mark.parametrize("ref", ["first", "HEAD~1", "{hash}", "{short}", "main~1"])
def test_a_ref_has_its_kernel_taken_out_of_git(project: Project, ref: str) -> None:
    first = project.commit("one")
    project.git("tag", "first")
    project.commit("two")
    project.write("three")
    ref = ref.format(hash=first, short=first[:8])
    found = reference.named(project.settings, ref, project.scratch)
    assert (found.kind, found.name, text_of(found)) == ("ref", ref, "one")
    assert found.path == project.scratch / "other" / first[:12] / "matmul.py"
    assert project.kernel.read_text() == "three"


def test_a_kernel_out_of_git_is_the_same_bytes(project: Project) -> None:
    text = "first\n\n  indented, unlauter Fluß \u2028\ttab\nno newline at the end  "
    project.commit(text)
    assert text_of(reference.named(project.settings, "HEAD", project.scratch)) == text


@pytest.mark.parametrize("typo", ["mian", "kernels/matmull.py", "", "--help", "-n", "HEAD~7", "no such"])
def test_what_is_neither_file_nor_ref_is_refused_with_what_to_do(project: Project, typo: str) -> None:
    project.commit("one")
    with pytest.raises(GateError, match="neither a file nor a commit") as caught:
        reference.named(project.settings, typo, project.scratch)
    assert caught.value.reason == "no-other-side"
    assert caught.value.text.startswith(f"--against {typo} is neither")
    assert "shallow clone" in caught.value.text


def test_a_folder_is_no_kernel(project: Project) -> None:
    project.commit("one")
    with pytest.raises(GateError, match="neither a file"):
        reference.named(project.settings, "kernels", project.scratch)


def test_a_ref_without_the_kernel_is_refused(project: Project) -> None:
    project.git("commit", "--quiet", "--allow-empty", "--message=empty")
    project.git("tag", "empty")
    project.commit("one")
    with pytest.raises(GateError, match=r"--against empty has no kernels/matmul\.py") as caught:
        reference.named(project.settings, "empty", project.scratch)
    assert caught.value.reason == "no-other-side"


def test_the_hash_of_a_file_or_tree_is_no_commit(project: Project) -> None:
    project.commit("one")
    blob = project.git("rev-parse", "HEAD:kernels/matmul.py")
    with pytest.raises(GateError, match="neither a file nor a commit"):
        reference.named(project.settings, blob, project.scratch)


# The code of a baseline.


def test_a_baselines_commit_is_taken_by_its_full_or_short_name(project: Project) -> None:
    first = project.commit("one")
    project.commit("two")
    for name in (first, first[:9]):
        found = reference.of_baseline(project.settings, name, project.scratch)
        assert text_of(found) == "one"
        assert found is not None
        assert (found.kind, found.name) == ("baseline-commit", name)
        assert found.said == f"the baseline's commit {name[:12]}"


def test_a_baseline_of_code_that_was_never_committed_has_none(project: Project) -> None:
    first = project.commit("one")
    for name in (f"{first}-dirty", "", "0" * 40, "unknown"):
        assert reference.of_baseline(project.settings, name, project.scratch) is None


def test_a_baselines_commit_without_the_kernel_has_none(project: Project) -> None:
    project.git("commit", "--quiet", "--allow-empty", "--message=empty")
    empty = project.git("rev-parse", "HEAD")
    project.commit("one")
    assert reference.of_baseline(project.settings, empty, project.scratch) is None


def test_a_shallow_clone_lacks_the_baselines_commit(project: Project, tmp_path: Path) -> None:
    first = project.commit("one")
    last = project.commit("two")
    project.git("clone", "--quiet", "--depth", "1", project.root.as_uri(), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    assert reference.of_baseline(clone.settings, first, clone.scratch) is None
    assert text_of(reference.of_baseline(clone.settings, last, clone.scratch)) == "two"
    assert reference.of_history(clone.settings, clone.scratch) is None  # its one commit has no parent here


# What a change started from, where there is no baseline.


def test_a_branch_is_compared_with_where_it_left_the_default_branch(project: Project) -> None:
    project.commit("zero")
    base = project.commit("base")
    project.git("switch", "--quiet", "--create", "change")
    project.commit("mine")
    project.commit("mine too")
    project.git("switch", "--quiet", "main")
    project.commit("of others")
    project.git("switch", "--quiet", "change")
    found = reference.of_history(project.settings, project.scratch)
    assert text_of(found) == "base"
    assert found is not None
    assert (found.kind, found.name) == ("ref", base)


def test_the_default_branch_without_changes_is_compared_with_the_commit_before(project: Project) -> None:
    first = project.commit("one")
    project.commit("two")
    (project.root / "notes").write_text("not the kernel")
    found = reference.of_history(project.settings, project.scratch)
    assert text_of(found) == "one"
    assert found is not None
    assert found.name == first


def test_the_default_branch_with_an_edited_kernel_is_compared_with_its_head(project: Project) -> None:
    project.commit("one")
    project.commit("two")
    project.write("three")
    assert text_of(reference.of_history(project.settings, project.scratch)) == "two"


def test_a_new_branch_without_commits_of_its_own_is_treated_as_the_default_branch(project: Project) -> None:
    project.commit("one")
    project.commit("two")
    project.git("switch", "--quiet", "--create", "change")
    assert text_of(reference.of_history(project.settings, project.scratch)) == "one"
    project.write("three")
    assert text_of(reference.of_history(project.settings, project.scratch)) == "two"


def test_the_default_branch_of_the_remote_is_asked_before_the_local_one(project: Project, tmp_path: Path) -> None:
    project.commit("one")
    project.commit("two")
    project.git("clone", "--quiet", project.root.as_uri(), str(tmp_path / "clone"))
    clone = Project(tmp_path / "clone")
    clone.commit("three, on the local main")
    clone.commit("four")
    assert text_of(reference.of_history(clone.settings, clone.scratch)) == "two"


def test_a_detached_head_is_compared_with_the_default_branch(project: Project) -> None:
    project.commit("base")
    project.git("switch", "--quiet", "--detach")
    project.commit("mine")
    assert text_of(reference.of_history(project.settings, project.scratch)) == "base"


def test_a_repository_whose_default_branch_has_another_name_falls_back_to_the_commit_before(project: Project) -> None:
    project.git("branch", "--move", "trunk")
    project.commit("one")
    project.commit("two")
    assert text_of(reference.of_history(project.settings, project.scratch)) == "one"


def test_a_default_branch_of_another_name_is_the_one_in_the_settings(project: Project) -> None:
    project.git("branch", "--move", "trunk")
    project.commit("base")
    project.git("switch", "--quiet", "--create", "change")
    project.commit("mine")
    project.commit("mine too")
    settings = dataclasses.replace(project.settings, default_branch="trunk")
    assert text_of(reference.of_history(settings, project.scratch)) == "base"


def test_a_history_of_one_commit_has_nothing_before_it_unless_the_kernel_is_edited(project: Project) -> None:
    assert reference.of_history(project.settings, project.scratch) is None
    project.commit("one")
    assert reference.of_history(project.settings, project.scratch) is None
    project.write("edited")
    assert text_of(reference.of_history(project.settings, project.scratch)) == "one"


def test_a_commit_before_that_has_no_kernel_is_nothing_to_compare_with(project: Project) -> None:
    project.git("commit", "--quiet", "--allow-empty", "--message=empty")
    project.commit("one")
    assert reference.of_history(project.settings, project.scratch) is None


def test_a_project_in_a_folder_of_a_larger_repository_has_its_own_kernel_taken(project: Project) -> None:
    inner = Project(project.root / "gpu")
    inner.write("inner")
    outer = project.commit("outer")
    project.git("add", "gpu")
    project.git("commit", "--quiet", "--message=inner")
    project.commit("outer too")
    inner.write("edited")
    assert text_of(reference.named(inner.settings, "HEAD", inner.scratch)) == "inner"
    assert text_of(reference.of_history(inner.settings, inner.scratch)) == "inner"
    assert reference.of_baseline(inner.settings, outer, inner.scratch) is None


def test_without_a_repository_there_is_no_other_side_but_a_file(tmp_path: Path) -> None:
    loose = Project(tmp_path)
    loose.write("one")
    assert reference.of_history(loose.settings, loose.scratch) is None
    assert reference.of_baseline(loose.settings, "a" * 40, loose.scratch) is None
    assert reference.named(loose.settings, "kernels/matmul.py", loose.scratch).kind == "file"
    with pytest.raises(GateError, match="neither a file nor a commit"):
        reference.named(loose.settings, "main", loose.scratch)


def test_without_git_itself_there_is_no_other_side_either(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = project.commit("one")
    monkeypatch.setenv("PATH", str(project.root))
    assert reference.of_history(project.settings, project.scratch) is None
    assert reference.of_baseline(project.settings, commit, project.scratch) is None


def test_what_was_laid_over_a_commit_is_measured_beside_that_commit_changed_or_not(project: Project) -> None:
    project.commit("one")
    judging = project.commit("two")
    for text in ("three", "two"):
        project.write(text)
        found = reference.of_history(project.settings, project.scratch, laid=True)
        assert (found and (found.kind, found.name), text_of(found)) == (("ref", judging), "two")
