"""Checks of GitHub's runner on this machine: one job a registration, and a hook that its user cannot change. Pure."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from perfgate.doctor.host import GUIDE, fault, named, note, ok, unchecked

if TYPE_CHECKING:
    from perfgate.doctor.records import Check, Finding, Owned, Runner

_NAMES = ("runner", "runner is ephemeral", "job-started hook", "hook is root's")
_HOOK = "ACTIONS_RUNNER_HOOK_JOB_STARTED"


def runner_checks(runner: Runner | None) -> tuple[Check, ...]:
    """Every check of the runner; one note where there is none."""
    if runner is None:
        return (
            named(
                _NAMES[0],
                note("no runner folder found", "", f"on a machine for CI see {GUIDE}, or name it: --runner DIR"),
            ),
        )
    findings = (_runner(runner), _ephemeral(runner), _hook(runner), _owner(runner))
    return tuple(named(name, finding) for name, finding in zip(_NAMES, findings, strict=True))


def _runner(runner: Runner) -> Finding:
    who = f"{runner.folder}, user {runner.user}"
    if runner.registered:
        return ok(f"{who}, registered as {runner.agent or 'a name not told'}")
    return note(f"{who}, not registered now", "a registration while it waits for a job", "systemctl status perf-runner")


def _ephemeral(runner: Runner) -> Finding:
    if not runner.registered:
        return note("not told: not registered now")
    if runner.ephemeral:
        return ok("one job a registration")
    return fault(
        "it keeps its registration" if runner.ephemeral is False else "its file .runner does not say so",
        "one job a registration, so that no job finds what another left",
        f"./config.sh remove, then run it by .github/runner/run-one-job.sh ({GUIDE}, The runner)",
    )


def _hook(runner: Runner) -> Finding:
    remedy = f"{_HOOK}=/opt/perfgate/.github/runner/job-started.sh in {runner.folder}/.env ({GUIDE}, The hook)"
    if not runner.hook:
        return fault(f"{_HOOK} is not set", "the script that refuses jobs of others", remedy)
    if not runner.hook_exists:
        return fault(
            f"{runner.hook} does not exist, or not for this user", "a script: without it every job fails", remedy
        )
    if not runner.hook_executable:
        return fault(f"{runner.hook} is not executable", "an executable script", f"sudo chmod 755 {runner.hook}")
    return ok(runner.hook)


def _owner(runner: Runner) -> Finding:
    if not (runner.hook and runner.hook_exists):
        return unchecked("no hook")
    for path in runner.hook_paths:
        if why := _changeable(path, runner):
            return fault(
                f"{path.path} {why}",
                "the script, its code and every folder above to be root's alone to change",
                f"sudo chown root:root {path.path} && sudo chmod go-w {path.path}",
            )
    return ok("the script, its code and every folder above")


def _changeable(path: Owned, runner: Runner) -> str:
    """How someone but root could change it; empty where nobody can."""
    if path.uid == runner.uid and path.uid != 0:
        return f"belongs to {runner.user}"
    if path.uid != 0:
        return f"belongs to user {path.uid}, not to root"
    if path.mode & stat.S_IWOTH:
        return "can be written by anyone"
    if path.mode & stat.S_IWGRP and path.gid in runner.gids:
        return f"can be written by a group of {runner.user}"
    return ""
