"""Which run a measurement is of: the commits, the times, GitHub's number, and a random number that its files share."""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.measurement import processes
from perfgate.measurement.session import output_folder
from perfgate.store import evidence

if TYPE_CHECKING:
    from perfgate.settings import Settings


def of_run(settings: Settings) -> dict[str, str]:
    """What both files of a run carry; made before any process starts that could touch what it is made of.

    The candidate is the commit whose kernels were laid over this one's (see ``github.lay``), where just those lie here;
    else the commit at hand, with ``-dirty`` where its kernel is changed.
    """
    kernels = settings.root / Path(settings.kernel).parent
    return {
        "nonce": secrets.token_hex(16),
        "base": git.commit_of(settings.root, "HEAD"),
        "candidate": evidence.laid_commit(output_folder(settings), kernels) or processes.commit(settings),
        "began_at": now(),
        "run_id": os.environ.get("GITHUB_RUN_ID", ""),
        "attempt": os.environ.get("GITHUB_RUN_ATTEMPT", ""),
    }


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def leave(hashes: dict[str, str]) -> None:
    """Set the step's output, where this is a step of GitHub's: the digest of what was written, by file."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(f"{evidence.OUTPUT}={evidence.digest(hashes)}\n")
