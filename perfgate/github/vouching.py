"""Whether a run is the gate's, by GitHub's own word: the jobs that it had, how its check ended, what its change edits.

A pull request runs the workflows that it brings. One that replaces them is green where it says so, and nothing of the
base runs; code of the default branch can still see that, and says it first. It cannot see what those jobs did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.github.page import code
from perfgate.github.pulls import MOST_FILES, PLAN, attempt, files, jobs, repeats
from perfgate.github.recheck import CHECK, last_check

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.github.pulls import Client

JOBS = (PLAN, "approve", "admit", "measure", CHECK)
"""Names that the jobs of the gate's workflow begin with; one that runs once a card has the card's behind it."""
_FOLDER = ".github/"
_MOST_NAMES = 15
_MOST_NAME = 120


@dataclass(frozen=True, kw_only=True)
class Vouched:
    """What GitHub tells of one run and its pull request."""

    check: str = ""
    """How the required check ended; empty where the run has not one."""
    lacking: tuple[str, ...] = ()
    """Jobs of the gate that it had not."""
    repeats: bool = False
    """It has them all and judged nothing by itself: it repeats the verdict of an earlier run."""
    edited: tuple[str, ...] = ()
    """Files below ``.github/`` that the pull request adds, edits, removes or renames."""
    listed: bool = True
    """GitHub lists every file of the pull request."""


def vouch(client: Client, number: int, *, run: int, until: int) -> Vouched:
    """Ask GitHub.

    Args:
        client: With the rights ``actions: read`` and ``pull-requests: read``.
        number: Of the pull request.
        run: Of the run.
        until: Number of the attempt that ended; one that began since tells nothing of it.
    """
    had = [job for job in jobs(client, run) if attempt(job) <= until]
    names = [str(job.get("name")).partition(" (")[0] for job in had]
    last = last_check(had)
    paths, listed = files(client, number)
    lacking = tuple(name for name in JOBS if name not in names or (name == CHECK and last is None))
    return Vouched(
        check=str((last or {}).get("conclusion") or ""),
        lacking=lacking,
        repeats=not lacking and repeats(had),
        edited=tuple(sorted({path for path in paths if path.startswith(_FOLDER)})),
        listed=listed,
    )


def notice(vouched: Vouched) -> str:
    """What the reader has to know first of all; empty where the run is the gate's and its workflows are the base's."""
    said = []
    if vouched.lacking:
        said.append(
            f"**This run is not the gate's:** it had no {_names(vouched.lacking)}. Whatever colour its checks have, nothing was judged."
        )
    if vouched.edited or not vouched.listed:
        what = _names(vouched.edited) if vouched.edited else f"more than {MOST_FILES} files, perhaps workflows too"
        said.append(
            f"**This pull request edits what runs on GitHub:** {what}. Its runs are those of its own workflows, and a green "
            "check is what they make of it: it tells nothing before a code owner has read them."
        )
    return "".join(f"> [!CAUTION]\n> {sentence}\n\n" for sentence in said)


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
    return ", ".join(code(name[:_MOST_NAME]) for name in names[:_MOST_NAMES]) + more
