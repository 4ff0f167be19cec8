"""Looks at GitHub's runner application in its folder, for the doctor. Reads, never sets."""

from __future__ import annotations

import json
import os
from pathlib import Path

from perfgate.doctor.records import Owned, Runner

_HOOK = "ACTIONS_RUNNER_HOOK_JOB_STARTED"
_MARKS = (".runner", "run.sh", "config.sh")
"""Files of which a runner's folder has at least one."""


def find_runner(given: Path | None, home: Path, homes: Path = Path("/home")) -> Path | None:
    """The runner's folder: the one given, or else the first of the usual ones."""
    usual = [home / "actions-runner", *sorted(homes.glob("*/actions-runner"))]
    return next((folder for folder in ([given] if given else usual) if is_runner(folder)), None)


def is_runner(folder: Path) -> bool:
    """Whether the runner application is there; False also where this user may not look."""
    return any(os.path.exists(folder / name) for name in _MARKS)  # noqa: PTH110 - Path.exists raises where it may not look


def look_at_runner(folder: Path) -> Runner:
    """What the folder says of its runner."""
    state = folder.stat()
    settings = _settings(folder / ".runner")
    hook = _hook(folder / ".env")
    exists = bool(hook) and os.path.isfile(hook)  # noqa: PTH113 - as above
    return Runner(
        folder=str(folder),
        user=_user(state.st_uid),
        uid=state.st_uid,
        gids=_groups(state.st_uid, state.st_gid),
        registered=settings is not None,
        ephemeral=_truth((settings or {}).get("ephemeral")),
        agent=str((settings or {}).get("agentname") or ""),
        hook=hook,
        hook_exists=exists,
        hook_executable=exists and bool(Path(hook).stat().st_mode & 0o111),
        hook_paths=_chain(Path(hook)) if exists else (),
    )


def _settings(path: Path) -> dict[str, object] | None:
    """The registration, its keys in small letters: their case differs from one way of registering to another."""
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))  # written with a byte-order mark
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return {str(key).lower(): value for key, value in document.items()} if isinstance(document, dict) else {}


def _truth(value: object) -> bool | None:
    """True and false as JSON or as a word. A registration that says nothing keeps what it has, but did not say so."""
    if isinstance(value, bool):
        return value
    return {"true": True, "false": False}.get(str(value).lower())


def _hook(path: Path) -> str:
    """What the runner's environment file names as its hook; the last line wins."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError):
        return ""
    values = [
        value.strip() for key, sign, value in (line.partition("=") for line in lines) if sign and key.strip() == _HOOK
    ]
    return values[-1] if values else ""


def _chain(script: Path) -> tuple[Owned, ...]:
    """The script, the Python code of its clone, and every folder above, by the names given and as links resolve."""
    real = script.resolve()
    named = [script.absolute(), *script.absolute().parents, real, *real.parents]
    # .github/runner/job-started.sh runs the package beside .github.
    package = next(
        (parent / "perfgate" for parent in real.parents if (parent / "perfgate/__init__.py").is_file()), None
    )
    code = [package, *sorted(package.rglob("*"))] if package else []
    return tuple(owned for path in dict.fromkeys([*named, *code]) if (owned := _owned(path)))


def _owned(path: Path) -> Owned | None:
    """Who owns what a path leads to; None for a link that leads nowhere, which runs nothing."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    return Owned(path=str(path), uid=state.st_uid, gid=state.st_gid, mode=state.st_mode)


def _user(uid: int) -> str:
    import pwd  # not on Windows, where nothing is measured

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _groups(uid: int, gid: int) -> frozenset[int]:
    import pwd

    try:
        user = pwd.getpwuid(uid)
    except KeyError:
        return frozenset({gid})
    return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
