"""What a change edits of the things that judge it: baselines, limits and settings, the gate's code, its workflows. Pure."""

from __future__ import annotations

import tomllib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable

_GATE = ("perfgate/", "perf_tests/")
_WORKFLOWS = ".github/workflows/"
_NOXFILE = "noxfile.py"
PROJECT_FILE = "pyproject.toml"


def edits(paths: Iterable[str], before: str, after: str) -> tuple[str, ...]:
    """Name what judges and was edited, for a reader; nothing where the change leaves all of that alone.

    Args:
        paths: Every file that the change adds, edits or removes, from the project's root.
        before: The project file of the base.
        after: The project file of the change.
    """
    old, new = _table(before, "base"), _table(after, "change")
    baselines = old.get("baselines", "baselines")
    every = sorted(set(paths))
    stored = [path for path in every if path.startswith(f"{baselines}/") and _judges(path)]
    code = [path for path in every if path.startswith(_GATE) or path == _NOXFILE]
    flows = [path for path in every if path.startswith(_WORKFLOWS)]
    return (*stored, *_settings(old, new), *_summed(code, "the gate's code"), *flows)


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


def _table(text: str, whose: str) -> dict[str, Any]:
    """``[tool.perfgate]`` with its tables as dotted keys: ``limits.against_tolerance``."""
    try:
        document: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GateError(
            "bad-settings", f"{PROJECT_FILE} of the {whose} is not valid TOML ({error}); mend it."
        ) from None
    for key in ("tool", "perfgate"):
        document = document.get(key, {}) if isinstance(document, dict) else {}
    return _flat(document) if isinstance(document, dict) else {"tool.perfgate": document}


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
