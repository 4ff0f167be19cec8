"""Where baselines are read from: the working tree, or the branch that a change is to be judged by.

A change must not be judged by a baseline that it edited itself, so a pull request names its base and the files
come from there. Reads git; writes nothing to the repository.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.config import Settings

BASELINE_FILE, ANCHOR_FILE = "matmul.json", "anchor.json"
"""In a card's folder of baselines: its times, and those of its first baseline, for small steps that add up."""
COMPILED_FILE = "compiled.json"
"""In a compile target's folder: its machine code by the pinned Triton."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One baseline file, ready to be read."""

    path: Path
    """Where it can be read; the file may not exist, which means that there is no baseline."""
    name: str
    """Its path in the project, for sentences."""
    note: str = ""
    """What has to be said of it: that this change edits it, or that it is not committed."""


def compiled_name(settings: Settings, triton: str, *, beside: bool = False) -> str:
    """Path of the compiled baseline for a Triton version, below the baselines folder.

    Machine code differs between compilers. A machine that has another Triton than the project pins may have a file
    of its own beside the main one; where it has none, the main one judges, and the compiler is what changed.

    Args:
        settings: The project's.
        triton: The version that compiles here.
        beside: The file of its own, whether it exists or not.
    """
    own = f"{settings.target}/compiled-triton-{triton}.json"
    exists = (settings.root / settings.baselines / own).is_file()
    return own if beside or exists else f"{settings.target}/{COMPILED_FILE}"


def find(settings: Settings, relative: str, *, base: str | None, scratch: Path) -> Stored:
    """Locate a baseline file.

    Args:
        settings: The project's.
        relative: Path below the baselines folder.
        base: Git ref to judge by; None takes the working tree.
        scratch: Folder for what is read from git.

    Raises:
        GateError: ``no-base`` when the ref cannot be read.
    """
    name = f"{settings.baselines}/{relative}"
    here = settings.root / name
    if base is None:
        changed = git.is_changed(settings.root, name)
        return Stored(path=here, name=name, note=f"{name} has changes that are not committed" if changed else "")
    commit = git.commit_of(settings.root, base)
    if not commit:
        raise GateError(
            "no-base",
            f"--base {base} is no commit that git knows here; fetch it (a shallow clone may lack it) or name another.",
        )
    shown = git.file_at(settings.root, commit, name)
    path = scratch / "base" / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if shown is not None:
        path.write_text(shown, encoding="utf-8")
    now = here.read_text(encoding="utf-8", errors="replace") if here.is_file() else ""
    edited = now != (shown or "")
    return Stored(
        path=path,
        name=f"{name} of {base}",
        note=f"this change edits {name}; it is judged by the one of {base}" if edited else "",
    )
