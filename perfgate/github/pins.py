"""The versions of torch and Triton that a change may bring: exact pins, and nothing else of what it would install.

A requirement can name any file on any server, and what it installs runs inside the gate's own process. So a change is
judged with its base's requirements, in which these two versions alone are replaced. Standard library alone, as the
noxfile asks this before anything is installed.
"""

from __future__ import annotations

import copy
import re
import stat
import tomllib
from typing import TYPE_CHECKING, Any

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PINNED = ("torch", "triton")
_GROUPS = "dependency-groups"
_NAME = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")
_VERSION = r"[0-9]+(?:\.[0-9]+)*(?:(?:a|b|rc)[0-9]+)?(?:\.post[0-9]+)?(?:\.dev[0-9]+)?(?:\+[a-z0-9]+(?:\.[a-z0-9]+)*)?"
_EXACT = re.compile(rf"(?:{'|'.join(PINNED)})=={_VERSION}", re.ASCII)
_MOST_BYTES = 1 << 20
_SHOWN = 80


def read_project(path: Path, *, whose: str) -> dict[str, Any]:
    """A project file, which has to be a plain file of bearable size: a link would show what lies elsewhere.

    Raises:
        GateError: ``bad-pins``.
    """
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            raise GateError(
                "bad-pins",
                f"{path} is no plain file of at most {_MOST_BYTES} bytes, expected the {whose}'s project file.",
            )
        return parse_project(path.read_text(encoding="utf-8"), whose=whose)
    except (OSError, UnicodeDecodeError) as error:
        raise GateError("bad-pins", f"{path} cannot be read ({error}), expected the {whose}'s project file.") from None


def parse_project(text: str, *, whose: str) -> dict[str, Any]:
    """The text of a project file."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise GateError(
            "bad-pins", f"The {whose}'s project file is not valid TOML ({error}), expected one; mend it."
        ) from None


def is_pinned(requirement: object) -> bool:
    """Whether a requirement is an exact pin of one of `PINNED`."""
    return isinstance(requirement, str) and _EXACT.fullmatch(requirement) is not None


def with_pins(base: Mapping[str, Any], candidate: Mapping[str, Any]) -> dict[str, Any]:
    """The base's project with the candidate's versions of `PINNED`, wherever the base's groups name one.

    Raises:
        GateError: ``bad-pins`` where the candidate names one otherwise than by one exact version.
    """
    made = copy.deepcopy(dict(base))
    for group in _groups(made).values():
        for place, requirement in enumerate(group):
            name = named(requirement)
            if name in PINNED and (asked := _asked(candidate, name)) != _asked(base, name):
                group[place] = _pin(asked, name)
    return made


def named(requirement: object) -> str:
    """The package that a requirement asks for, spelt as an index compares names; empty where it is none."""
    found = _NAME.match(requirement) if isinstance(requirement, str) else None
    return re.sub(r"[-_.]+", "-", found[1]).lower() if found else ""


def _asked(project: Mapping[str, Any], name: str) -> set[str]:
    """Every way in which a project's groups ask for a package."""
    return {str(one) for group in _groups(project).values() for one in group if named(one) == name}


def _pin(found: set[str], name: str) -> str:
    if len(found) == 1 and is_pinned(pin := next(iter(found))):
        return pin
    said = " and ".join(sorted(found))[:_SHOWN] or "nothing"
    raise GateError(
        "bad-pins",
        f"The change asks for {said!r}, expected one exact pin such as {name}==1.2.3; pin it in [{_GROUPS}].",
    )


def _groups(project: Mapping[str, Any]) -> dict[str, list[Any]]:
    groups = project.get(_GROUPS, {})
    every = groups.items() if isinstance(groups, dict) else ()
    return {name: group for name, group in every if isinstance(group, list)}
