"""The other side of a comparison in the same launches: which kernel file that is, taken out of git where it must be.

A kernel is one self-contained file, so the file of another commit is all that its side needs. Reads git; writes
only into the folder it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.records import BASELINE_COMMIT, GateError

if TYPE_CHECKING:
    from types import ModuleType

    from perfgate.config import Settings


@dataclass(frozen=True, kw_only=True)
class Side:
    """A kernel to measure beside the one under test."""

    kind: str
    """``baseline-commit``, ``ref`` or ``file``."""
    name: str
    """The commit, the ref or file as the user named it, for the record."""
    path: Path
    """Where the kernel file lies."""

    @property
    def said(self) -> str:
        """For sentences: ``the baseline's commit 3c6eff0``."""
        return f"the baseline's commit {self.name[:12]}" if self.kind == BASELINE_COMMIT else f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True)
class LoadedSide:
    """A kernel that is imported, to run beside the one under test."""

    kind: str
    name: str
    kernel: ModuleType
    cache: str
    """Folder for what Triton compiles of it: its own, so that neither side can be given the other's."""


def named(settings: Settings, against: str, scratch: Path) -> Side:
    """The side that the user asked for: a kernel file, or a git ref whose kernel file is taken.

    Raises:
        GateError: ``no-other-side`` for what is neither, or a ref without the kernel file.
    """
    path = Path(against)
    path = path if path.is_absolute() else settings.root / path
    if path.is_file():
        return Side(kind="file", name=against, path=path)
    commit = git.commit_of(settings.root, against)
    if not commit:
        raise GateError(
            "no-other-side",
            f"--against {against} is neither a file nor a commit that git knows here, expected one; check the name, or fetch "
            "it (a shallow clone may lack it).",
        )
    found = _taken(settings, commit, scratch)
    if found is None:
        raise GateError(
            "no-other-side", f"--against {against} has no {settings.kernel}, expected one; name a ref that has it."
        )
    return Side(kind="ref", name=against, path=found)


def of_baseline(settings: Settings, commit: str, scratch: Path) -> Side | None:
    """The kernel as it was when a baseline was recorded; None where git does not have it (or it was never committed)."""
    full = git.commit_of(settings.root, commit) if commit and not commit.endswith("-dirty") else ""
    found = _taken(settings, full, scratch) if full else None
    return Side(kind=BASELINE_COMMIT, name=commit, path=found) if found else None


def of_history(settings: Settings, scratch: Path, *, laid: bool = False) -> Side | None:
    """What this change started from: the merge base with the default branch, or else the commit before.

    On the default branch itself the merge base is the commit at hand; then it is that one if the kernel has changes
    that are not committed, and its parent if it has none. Where another commit's kernels were laid over the commit at
    hand, it is that one in any case: the base that judges.
    """
    head = git.commit_of(settings.root, "HEAD")
    refs = ("origin/HEAD", f"origin/{settings.default_branch}", settings.default_branch)
    default = next((ref for ref in refs if git.commit_of(settings.root, ref)), "")
    base = (git.ask(settings.root, "merge-base", "HEAD", default) or "").strip() if default else ""
    if laid:
        base = head
    elif not base or base == head:
        edited = git.is_changed(settings.root, settings.kernel)
        base = head if edited else git.commit_of(settings.root, "HEAD~1")
    found = _taken(settings, base, scratch) if base else None
    return Side(kind="ref", name=base, path=found) if found else None


def _taken(settings: Settings, commit: str, scratch: Path) -> Path | None:
    """The kernel file of a commit, written to a folder of its own; None where that commit has none."""
    text = git.file_at(settings.root, commit, settings.kernel)
    if not text:
        return None
    path = scratch / "other" / commit[:12] / Path(settings.kernel).name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path
