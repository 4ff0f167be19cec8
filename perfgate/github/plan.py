"""What a workflow run is going to do: which commit judges which, on which cards, and whether the change's own gate runs too.

Reads git in the checkout of the candidate and the project file of the base; writes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfgate import git
from perfgate.github.changes import PROJECT_FILE, edits
from perfgate.github.event import DISPATCH, PULL_REQUEST
from perfgate.github.pins import parse_project, with_pins
from perfgate.records import GateError
from perfgate.runners import Runner, runners

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from perfgate.github.event import Event


MOST_CARDS = 8
"""As many outputs the job ``measure`` names in perf.yml."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the jobs need to know."""

    base: str
    """Commit whose gate, baselines and limits judge; the candidate itself where the default branch is judged."""
    candidate: str
    edits: tuple[str, ...]
    """What the change edits of the things that judge it; then its own gate runs as well."""
    runners: tuple[Runner, ...]

    def outputs(self) -> dict[str, str]:
        """The plan as a job's outputs."""
        return {
            "base": self.base,
            "candidate": self.candidate,
            "own": "true" if self.edits else "false",
            "edits": json.dumps(self.edits),
            "cards": json.dumps(
                [{"label": one.label, "slug": one.slug, "index": n} for n, one in enumerate(self.runners)]
            ),
        }


def from_outputs(outputs: Mapping[str, Any]) -> Plan:
    """The plan that `Plan.outputs` wrote, in a later job.

    Raises:
        GateError: ``no-plan`` when it is not whole.
    """
    try:
        cards, changed = json.loads(outputs["cards"]), json.loads(outputs["edits"])
        return Plan(
            base=str(outputs["base"]),
            candidate=str(outputs["candidate"]),
            edits=tuple(str(edit) for edit in changed),
            runners=tuple(Runner(label=card["label"], slug=card["slug"]) for card in cards),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GateError("no-plan", f"The job `plan` left no whole plan ({error!r}); look at its log.") from None


def plan(event: Event, *, candidate: Path) -> Plan:
    """Work out the plan.

    Args:
        event: What the run is about.
        candidate: Checkout of the candidate's commit with its whole history.

    Raises:
        GateError: ``no-commit`` where git lacks a commit (a shallow clone), ``no-cards``, ``bad-settings`` or ``bad-pins``.
    """
    base = _base(event, candidate)
    before = _file(candidate, base, PROJECT_FILE)
    changed = git.ask(candidate, "diff", "--name-only", "--no-renames", "-z", base, event.candidate, "--")
    if changed is None:
        raise GateError("no-commit", f"git cannot compare {base} with {event.candidate}; fetch the whole history.")
    paths = [path for path in changed.split("\0") if path]
    after = _file(candidate, event.candidate, PROJECT_FILE)
    edited = edits(paths, before, after)
    # Before a card is asked for: what `nox -s perf` would refuse to install.
    with_pins(parse_project(before, whose="base"), parse_project(after, whose="change"))
    return Plan(base=base, candidate=event.candidate, edits=edited, runners=_few(runners(before)))


def _few(found: tuple[Runner, ...]) -> tuple[Runner, ...]:
    """Each card's job sets outputs of its own, and the workflow names them one by one."""
    if len(found) > MOST_CARDS:
        raise GateError(
            "too-many-cards",
            f"[tool.perfgate.cards] lists {len(found)} cards, expected at most {MOST_CARDS}; remove some.",
        )
    return found


def _base(event: Event, checkout: Path) -> str:
    """The commit that judges.

    A pull request's merge commit has the branch it was merged into as its first parent. What the event calls the base
    may be older: that branch goes on while the pull request waits.
    """
    if event.kind == PULL_REQUEST:
        parents = [git.commit_of(checkout, f"{event.candidate}^{number}") for number in (1, 2)]
        if all(parents):
            if parents[1] != event.head:
                raise GateError(
                    "no-commit",
                    f"{event.candidate} merges {parents[1]}, expected the pull request's {event.head}; run again.",
                )
            if event.retargeted and git.ask(checkout, "merge-base", "--is-ancestor", event.base, parents[0]) is None:
                raise GateError(
                    "no-commit",
                    f"{event.candidate} was made with {parents[0]}, expected {event.target} at {event.base} or later, into "
                    "which the pull request goes now; close and reopen it.",
                )
            return parents[0]
    if event.base:
        return _there(checkout, event.base)
    if event.on_default_branch or event.kind != DISPATCH:
        return event.candidate
    default = f"origin/{event.default_branch}"
    found = (git.ask(checkout, "merge-base", event.candidate, default) or "").strip()
    if not found:
        raise GateError("no-commit", f"{event.candidate} has no common commit with {default}; fetch the whole history.")
    return found


def _there(checkout: Path, commit: str) -> str:
    if git.commit_of(checkout, commit) != commit:
        raise GateError("no-commit", f"git does not have {commit} here, expected it; fetch the whole history.")
    return commit


def _file(checkout: Path, commit: str, path: str) -> str:
    text = git.file_at(checkout, commit, path)
    if text is None:
        raise GateError(
            "no-project", f"Commit {commit} has no {path}, expected the project's settings; rebase on them."
        )
    return text
