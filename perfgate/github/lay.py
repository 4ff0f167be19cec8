"""Lays a candidate's kernels over the base, so that the base's gate, cases, baselines and limits judge them.

Owns which files of a change are put to the test: the folder of the kernel, and nothing that could judge.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.files import write_whole
from perfgate.records import GateError
from perfgate.store.evidence import LAID_FILE, laid_to_json

if TYPE_CHECKING:
    from perfgate.settings import Settings


def lay(settings: Settings, candidate: Path) -> str:
    """Replace the base's folder of kernels by the candidate's, and leave word of its commit; returns the folder's name.

    Args:
        settings: Of the base, whose checkout is changed.
        candidate: Root of the candidate's checkout.

    Raises:
        GateError: ``no-kernel-file`` when the candidate has none where the base has it, or there is no such folder;
            ``same-folder`` when the candidate's checkout is the base's; ``cannot-lay`` when the copy fails.
    """
    folder = settings.kernel.rpartition("/")[0]
    theirs, ours = candidate / folder, settings.root / folder
    if folder and theirs.exists() and theirs.resolve() == ours.resolve():
        raise GateError(
            "same-folder", f"{candidate} is the checkout that its kernels go into, expected another; name the change's."
        )
    if not folder or not (candidate / settings.kernel).is_file():
        raise GateError(
            "no-kernel-file",
            f"{candidate} has no {settings.kernel}, expected the kernel under test in a folder of its own, where the base has it.",
        )
    if linked := [path for path in (theirs, *theirs.rglob("*")) if path.is_symlink()]:
        raise GateError(
            "no-kernel-file", f"{linked[0]} is a link, expected a file: what is judged must be in the change."
        )
    try:
        _swap(theirs, ours)
    except OSError as error:
        raise GateError(
            "cannot-lay",
            f"{folder}/ of {candidate} cannot be copied ({error}), expected a copy; the base is as it was.",
        ) from None
    if commit := _commit_of(candidate, folder):
        write_whole(settings.root / ".perfgate" / LAID_FILE, laid_to_json(commit, ours))
    return folder


def _commit_of(candidate: Path, folder: str) -> str:
    """The commit whose kernels these are; empty where that is not the checkout's own, or they are changed."""
    top = (git.ask(candidate, "rev-parse", "--show-toplevel") or "").strip()
    own = bool(top) and Path(top).resolve() == candidate.resolve()
    return git.commit_of(candidate, "HEAD") if own and not git.is_changed(candidate, folder) else ""


def _swap(theirs: Path, ours: Path) -> None:
    """Copy beside first: what cannot be copied whole replaces nothing."""
    with tempfile.TemporaryDirectory(dir=ours.parent, prefix=".lay-") as scratch:
        shutil.copytree(theirs, Path(scratch, "new"))
        ours.rename(Path(scratch, "old"))
        Path(scratch, "new").rename(ours)
