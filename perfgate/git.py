"""Asks git; writes nothing to the repository."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def ask(folder: Path, *words: str) -> str | None:
    """Standard output of a git command run in ``folder``, as it is; None where it failed or there is no git."""
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603, S607 - git by name, our own words
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def commit_of(folder: Path, ref: str) -> str:
    """The full hash of the commit that a ref names; empty where git knows none."""
    return (ask(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}") or "").strip()


def is_changed(folder: Path, path: str) -> bool:
    """Whether a file differs from what is committed, or is not committed at all."""
    return bool((ask(folder, "status", "--porcelain", "--", path) or "").strip())


def file_at(folder: Path, commit: str, path: str) -> str | None:
    """A file's text as of a commit, its path seen from ``folder``; None where that commit has none."""
    return ask(folder, "show", f"{commit}:./{path}")


def bytes_at(folder: Path, commit: str, path: str) -> bytes | None:
    """A file as of a commit, whatever it holds; None where that commit has none, or there is no git."""
    try:
        done = subprocess.run(  # noqa: S603 - git by name, our own words
            ["git", "show", f"{commit}:./{path}"],  # noqa: S607
            cwd=folder,
            capture_output=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def is_shallow(folder: Path) -> bool:
    """Whether commits before some point are not here."""
    return (ask(folder, "rev-parse", "--is-shallow-repository") or "").strip() == "true"
