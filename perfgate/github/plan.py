"""What a workflow run is going to do: which commit judges which, on which cards, and what the change edits of what judges it.

Such are baselines, settings, requirements, the gate's code, workflows; then the change's own gate runs too. Reads git in the
checkout of the candidate and the project file of the base; writes nothing but the job's outputs.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from perfgate import git
from perfgate.config import Runner, runners
from perfgate.github.event import DISPATCH, PULL_REQUEST, arguments_of, read_event, say, set_outputs
from perfgate.github.pins import is_pinned, parse_project, with_pins
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from perfgate.github.event import Event

CANDIDATE = "candidate"
"""Folder in which the workflows check out what is judged, beside the base's own files."""
MOST_CARDS = 8
"""As many outputs the job ``measure`` names in perf.yml."""
_GATE = ("perfgate/", "perf_tests/")
_WORKFLOWS = (".github/workflows/", ".github/actions/", ".github/CODEOWNERS")
_NOXFILE = "noxfile.py"
PROJECT_FILE = "pyproject.toml"
_GROUPS = "dependency-groups"
_OWN = "perfgate"
_INSTALLS = ("dependencies", "optional-dependencies", "entry-points", "requires-python", "dynamic")
"""Keys of ``[project]`` that say what is installed, or what loads itself into pytest."""
_ONLY_READ = {"ruff", "mypy", "importlinter", "black", "isort", "pyright"}
"""Tools that look at code and neither install nor run any; a change of any other tool's table is named."""


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
    before = _file_at(candidate, base, PROJECT_FILE)
    changed = git.ask(candidate, "diff", "--name-only", "--no-renames", "-z", base, event.candidate, "--")
    if changed is None:
        raise GateError("no-commit", f"git cannot compare {base} with {event.candidate}; fetch the whole history.")
    paths = [path for path in changed.split("\0") if path]
    after = _file_at(candidate, event.candidate, PROJECT_FILE)
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


def _file_at(checkout: Path, commit: str, path: str) -> str:
    text = git.file_at(checkout, commit, path)
    if text is None:
        raise GateError(
            "no-project", f"Commit {commit} has no {path}, expected the project's settings; rebase on them."
        )
    return text


def edits(paths: Iterable[str], before: str, after: str) -> tuple[str, ...]:
    """Name what judges and was edited, for a reader; nothing where the change leaves all of that alone.

    Args:
        paths: Every file that the change adds, edits or removes, from the project's root.
        before: The project file of the base.
        after: The project file of the change.
    """
    was, will_be = _document(before, "base"), _document(after, "change")
    old, new = _table(was), _table(will_be)
    baselines = old.get("baselines", "baselines")
    every = sorted(set(paths))
    stored = [path for path in every if path.startswith(f"{baselines}/") and _judges(path)]
    code = [path for path in every if path.startswith(_GATE) or path == _NOXFILE]
    flows = [path for path in every if path.startswith(_WORKFLOWS)]
    return (*stored, *_settings(old, new), *_installed(was, will_be), *_summed(code, "the gate's code"), *flows)


def _judges(path: str) -> bool:
    """Whether the gate reads this file of the baselines folder: recordings and machine code, not plots and texts."""
    return PurePosixPath(path).suffix == ".json"


def _summed(paths: list[str], what: str) -> tuple[str, ...]:
    if not paths:
        return ()
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (f"{what} ({paths[0]}{more})",)


def _settings(old: dict[str, Any], new: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{key} ({old.get(key, 'default')} → {new.get(key, 'default')})"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def _installed(was: dict[str, Any], will_be: dict[str, Any]) -> tuple[str, ...]:
    """What is installed, and how pytest runs: all but exact pins of torch and Triton, which are judged as they are."""
    old, new = _installing(was), _installing(will_be)
    return tuple(
        f"{key}{_difference(old.get(key), new.get(key))}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key)
    )


def _installing(document: dict[str, Any]) -> dict[str, Any]:
    groups, project, tools = (_dict(document, key) for key in (_GROUPS, "project", "tool"))
    unpinned = {
        name: [item for item in group if not is_pinned(item)] if isinstance(group, list) else group
        for name, group in groups.items()
    }
    found = {f"{_GROUPS}.{name}": group for name, group in unpinned.items()}
    found |= {f"project.{key}": project[key] for key in _INSTALLS if key in project}
    found |= {f"tool.{name}": table for name, table in tools.items() if name not in {*_ONLY_READ, _OWN}}
    return found | {key: document[key] for key in ("build-system",) if key in document}


def _difference(old: object, new: object) -> str:
    """The requirements that went and came, where both are lists or missing; a reader looks at the rest in the change."""
    before, after = (value if isinstance(value, list) else [] for value in (old, new))
    gone, come = ([str(item) for item in one if item not in other] for one, other in ((before, after), (after, before)))
    return f" ({', '.join(gone) or 'nothing'} → {', '.join(come) or 'nothing'})" if gone or come else ""


def _document(text: str, whose: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GateError(
            "bad-settings", f"{PROJECT_FILE} of the {whose} is not valid TOML ({error}); mend it."
        ) from None


def _dict(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key, {})
    return found if isinstance(found, dict) else {}


def _table(document: dict[str, Any]) -> dict[str, Any]:
    """``[tool.perfgate]`` with its tables as dotted keys: ``limits.against_tolerance``."""
    table = _dict(document, "tool").get(_OWN, {})
    return _flat(table) if isinstance(table, dict) else {f"tool.{_OWN}": table}


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def plan_command(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Plan this run."""
    arguments_of(arguments, 0)
    made = plan(read_event(environment), candidate=Path(CANDIDATE))
    set_outputs(environment, made.outputs())
    judged_by = "itself" if made.base == made.candidate else made.base[:12]
    say(f"plan: {made.candidate[:12]} is judged by {judged_by} on {', '.join(r.slug for r in made.runners)}.")
    if made.edits:
        say(f"plan: it edits what judges it, so its own gate runs too: {', '.join(made.edits)}.")
    return 0
