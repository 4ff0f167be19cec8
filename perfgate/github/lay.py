"""Lays a candidate's kernels over the base, so that the base's gate, cases, baselines and limits judge them.

Owns which files of a change are put to the test: the folder of the kernel, and nothing that could judge.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.settings import Settings


def lay(settings: Settings, candidate: Path) -> str:
    """Replace the base's folder of kernels by the candidate's; returns the folder's name.

    Args:
        settings: Of the base, whose checkout is changed.
        candidate: Root of the candidate's checkout.

    Raises:
        GateError: ``no-kernel-file`` when the candidate has none where the base has it, or there is no such folder.
    """
    folder = settings.kernel.rpartition("/")[0]
    theirs, ours = candidate / folder, settings.root / folder
    if not folder or not (candidate / settings.kernel).is_file():
        raise GateError(
            "no-kernel-file",
            f"{candidate} has no {settings.kernel}, expected the kernel under test in a folder of its own, where the base has it.",
        )
    if linked := [path for path in (theirs, *theirs.rglob("*")) if path.is_symlink()]:
        raise GateError(
            "no-kernel-file", f"{linked[0]} is a link, expected a file: what is judged must be in the change."
        )
    shutil.rmtree(ours)
    shutil.copytree(theirs, ours)
    return folder
