"""Checks of GitHub's runner on this machine: one job a registration, and a hook that its user cannot change."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.doctor.probe import GUIDE, Line, Probe, fault, note, ok, unchecked

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

_HOOK = "ACTIONS_RUNNER_HOOK_JOB_STARTED"
_MARKS = (".runner", "run.sh", "config.sh")
"""Files of which a runner's folder has at least one."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where GitHub's runner application is, and whose."""

    folder: Path
    uid: int
    gid: int


def examine(probe: Probe) -> dict[str, Line]:
    """Every check of the runner, by name; one note where there is none."""
    runner = find_runner(probe)
    if runner is None:
        remedy = f"on a machine for CI see {GUIDE}, or name it: --runner DIR"
        return {"runner": note("no runner folder found", "", remedy)}
    return {name: check(probe, runner) for name, check in _CHECKS.items()}


def find_runner(probe: Probe) -> Runner | None:
    """The runner in the folder given, or else in the first of the usual ones that has one."""
    usual = [probe.home / "actions-runner", *probe.glob("/home", "*/actions-runner")]
    for folder in usual if probe.runner is None else [probe.runner]:
        if any(probe.is_file(folder / name) for name in _MARKS) and (state := probe.stat(folder)):
            return Runner(folder=folder, uid=state.st_uid, gid=state.st_gid)
    return None


def _runner(probe: Probe, runner: Runner) -> Line:
    who = f"{runner.folder}, user {probe.user(runner.uid)}"
    settings = _registration(probe, runner.folder)
    if settings is None:
        return note(
            f"{who}, not registered now", "a registration while it waits for a job", "systemctl status perf-runner"
        )
    return ok(f"{who}, registered as {settings.get('agentname') or 'a name not told'}")


def _ephemeral(probe: Probe, runner: Runner) -> Line:
    settings = _registration(probe, runner.folder)
    if settings is None:  # one that takes a single job has none between two jobs
        return note("not told: not registered now")
    said = str(settings.get("ephemeral")).lower()  # true and false as JSON or as a word
    if said == "true":
        return ok("one job a registration")
    return fault(
        "it keeps its registration" if said == "false" else "its file .runner does not say so",
        "one job a registration, so that no job finds what another left",
        f"./config.sh remove, then run it by .github/runner/run-one-job.sh ({GUIDE}, The runner)",
    )


def _hook(probe: Probe, runner: Runner) -> Line:
    hook = _named_hook(probe, runner.folder)
    remedy = f"{_HOOK}=/opt/perfgate/.github/runner/job-started.sh in {runner.folder}/.env ({GUIDE}, The hook)"
    if not hook:
        return fault(f"{_HOOK} is not set", "the script that refuses jobs of others", remedy)
    if not probe.is_file(Path(hook)):
        return fault(f"{hook} does not exist, or not for this user", "a script: without it every job fails", remedy)
    if (state := probe.stat(Path(hook))) and not state.st_mode & 0o111:
        return fault(f"{hook} is not executable", "an executable script", f"sudo chmod 755 {hook}")
    return ok(hook)


def _hooks_owner(probe: Probe, runner: Runner) -> Line:
    hook = _named_hook(probe, runner.folder)
    if not (hook and probe.is_file(Path(hook))):
        return unchecked("no hook")
    user, gids = probe.user(runner.uid), probe.gids(runner.uid, runner.gid)
    for path in _code_of(probe, Path(hook)):
        state = probe.stat(path)
        if state and (why := _changeable(state, runner.uid, gids, user)):
            return fault(
                f"{path} {why}",
                "the script, its code and every folder above to be root's alone to change",
                f"sudo chown root:root {path} && sudo chmod go-w {path}",
            )
    return ok("the script, its code and every folder above")


_CHECKS: Mapping[str, Callable[[Probe, Runner], Line]] = {
    "runner": _runner,
    "runner is ephemeral": _ephemeral,
    "job-started hook": _hook,
    "hook is root's": _hooks_owner,
}


def _registration(probe: Probe, folder: Path) -> dict[str, object] | None:
    """What the runner registered with, its keys in small letters: ways of registering differ in case."""
    if not probe.is_file(folder / ".runner"):
        return None
    try:
        document = json.loads(probe.text(folder / ".runner") or "")
    except ValueError:
        return {}
    return {str(key).lower(): value for key, value in document.items()} if isinstance(document, dict) else {}


def _named_hook(probe: Probe, folder: Path) -> str:
    """What the runner's environment file names as its hook; the last line wins, and empty is none."""
    lines = [line.partition("=") for line in (probe.text(folder / ".env") or "").splitlines()]
    return next((value.strip() for key, sign, value in reversed(lines) if sign and key.strip() == _HOOK), "")


def _code_of(probe: Probe, script: Path) -> Iterator[Path]:
    """The script, every folder above by the names given and as links resolve, and the Python code of its clone."""
    real = probe.resolve(script)
    named = [script.absolute(), *script.absolute().parents, real, *real.parents]
    # .github/runner/job-started.sh runs the package beside .github.
    packages = [parent / "perfgate" for parent in real.parents if probe.is_file(parent / "perfgate/__init__.py")]
    code = [packages[0], *probe.glob(packages[0], "**/*")] if packages else []
    yield from dict.fromkeys([*named, *code])


def _changeable(state: os.stat_result, uid: int, gids: frozenset[int], user: str) -> str:
    """How someone but root could change it; empty where nobody can."""
    if state.st_uid == uid != 0:
        return f"belongs to {user}"
    if state.st_uid != 0:
        return f"belongs to user {state.st_uid}, not to root"
    if state.st_mode & stat.S_IWOTH:
        return "can be written by anyone"
    if state.st_mode & stat.S_IWGRP and state.st_gid in gids:
        return f"can be written by a group of {user}"
    return ""
