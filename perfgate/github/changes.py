"""What a change edits of the things that judge it: baselines, settings, requirements, the gate's code, workflows. Pure."""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from perfgate.github.pins import is_pinned
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable

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
