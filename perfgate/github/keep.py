"""Copies what a gate left into a folder of its own, so that an artifact holds that folder whatever its number is.

download-artifact unpacks a single artifact straight into its path and several into folders of their names. So every
artifact holds the folder itself, and all are unpacked into one place. What is copied is bounded: plain files of the
gate's own folder, no links, nothing that was cached.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.records import GateError
from perfgate.store import evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = "kept"
_LEFT = ".perfgate"
_CACHES = ("cache", "triton-cache")
"""How the names of folders begin that hold no results."""
_MOST_FILES = 500
_MOST_BYTES = 256 * 1024**2
"""Of all files together; a run with eight processes leaves 15 MB."""


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
