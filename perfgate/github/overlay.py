"""What is put in place before the gate runs on the machine with the GPU, and what is kept of it afterwards.

Before: a candidate's kernels over the base's, so that the base's gate, cases, baselines and limits judge them; the folder of
the kernel is put to the test, and nothing that could judge. After: what the gate left, in a folder of its own, so that an
artifact holds that folder whatever its number is: download-artifact unpacks a single artifact straight into its path and
several into folders of their names. What is copied is bounded: plain files of the gate's own folder, no links, nothing that
was cached.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.config import read_settings
from perfgate.files import write_whole
from perfgate.github.event import arguments_of, say
from perfgate.records import GateError
from perfgate.store import evidence
from perfgate.store.evidence import LAID_FILE, laid_to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perfgate.config import Settings


KEPT = "kept"
_LEFT = ".perfgate"
_CACHES = ("cache", "triton-cache")
"""How the names of folders begin that hold no results."""
_MOST_FILES = 500
_MOST_BYTES = 256 * 1024**2
"""Of all files together; a run with eight processes leaves 15 MB."""


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


def keep(name: str, source: Path, *, left: str) -> str:
    """Copy what the gate left in ``source`` to ``kept/NAME``; returns the digest that the gate left of it.

    Args:
        name: Of the artifact, and of the folder in it.
        source: Root of the checkout in which the gate ran.
        left: The digest that the gate set as its step's output.

    Raises:
        GateError: ``nothing-left``, ``no-digest``, ``too-much`` or ``changed-results``; what could be copied is there, for
            a person to look at.
    """
    shutil.rmtree(KEPT, ignore_errors=True)
    into = Path(KEPT) / name
    into.mkdir(parents=True)
    copied = _copy(source / _LEFT, into)
    if not copied:
        raise GateError(
            "nothing-left", f"{source / _LEFT} holds no file, expected a run's results; see the gate's log."
        )
    if not left:
        raise GateError("no-digest", "The gate left no digest, so it did not come to its end; see its log.")
    if (found := evidence.of_results(into)) != left:
        raise GateError(
            "changed-results",
            f"The results have the digest {found[:12] or 'of nothing'}, expected {left[:12]}, which the gate left: "
            "something changed them after its end; run all jobs again, and see what the kernel starts.",
        )
    return left


def _copy(source: Path, into: Path) -> int:
    """Copy every plain file; returns how many."""
    count = size = 0
    for path, found in _plain_files(source):
        count, size = count + 1, size + found.st_size
        if count > _MOST_FILES or size > _MOST_BYTES:
            raise GateError(
                "too-much", f"{source} holds more than {_MOST_FILES} files or {_MOST_BYTES} bytes, expected results."
            )
        target = into / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        # A file that became a link since it was looked at is refused by the system.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            target.write_bytes(stream.read(_MOST_BYTES))
    return count


def _plain_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files that are neither links nor anything but files, those that judge first."""
    every = (
        sorted(os.scandir(folder), key=lambda entry: (entry.name not in evidence.JUDGING, entry.name))
        if folder.is_dir()
        else []
    )
    for entry in every:
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(found.st_mode) and not entry.name.startswith("."):
            yield Path(entry.path), found
        elif stat.S_ISDIR(found.st_mode) and not entry.name.startswith(_CACHES):
            yield from _plain_files(Path(entry.path))


def lay_command(arguments: list[str], _: Mapping[str, str]) -> int:
    """Lay the kernels of a checkout over those here."""
    (folder,) = arguments_of(arguments, 1)
    say(f"lay: {lay(read_settings(Path.cwd()), Path(folder))}/ is now that of {folder}.")
    return 0


def keep_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Keep what the gate left in a checkout; its digest has to be the one that the gate's own step gave."""
    folder, name = arguments_of(arguments, 2)
    found = keep(name, Path(folder), left=environment.get("EVIDENCE", ""))
    say(f"keep: the results are in {KEPT}/{name}; their digest is {found}.")
    return 0


def output_name(index: int, *, own: bool = False) -> str:
    """Name of the output of ``measure`` that holds one job's digest: each job of the matrix sets one of its own."""
    return f"{evidence.OUTPUT}_{'own_' if own else ''}{index}"
