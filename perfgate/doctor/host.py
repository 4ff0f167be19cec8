"""Checks of the machine without its card: Python, git, compiler, memory, disks, environment, rights. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.doctor.records import Check, Finding, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.doctor.records import Disk, Folder, Host, Runner

GUIDE = ".github/RUNNER.md"
_PYTHON = (3, 11)
_GIB = 2**30
_MEMORY_BYTES = 15 * _GIB
"""A machine of 16 GiB: firmware and kernel keep some for themselves."""
_DISK_BYTES, _LEAST_DISK_BYTES = 20e9, 10e9
"""torch alone is about 3 GB to download and more when unpacked, twice where two sides have their own."""
_OFF = {"", "0", "false", "off", "no"}
_CHANGES: Mapping[str, str] = {
    "TRITON_OVERRIDE_ARCH": "compiles for another card",
    "TRITON_INTERPRET": "runs the kernel on the CPU",
    "TRITON_DEBUG": "adds checks to the kernel",
    "TRITON_KERNEL_OVERRIDE": "runs code from a folder in place of the kernel's",
    "TRITON_PTXAS_PATH": "assembles with another ptxas",
    "CUDA_LAUNCH_BLOCKING": "waits after every launch",
    "CUDA_INJECTION64_PATH": "loads a profiler into every process",
    "NVIDIA_TF32_OVERRIDE": "changes the precision of cuBLAS, the control",
    "PYTEST_ADDOPTS": "changes which tests run, and how",
    "LD_PRELOAD": "loads a library into every process",
}
"""Variables that change what is measured."""
VARIABLES = tuple(_CHANGES)
_SWITCHES = {"TRITON_INTERPRET", "TRITON_DEBUG", "TRITON_KERNEL_OVERRIDE", "CUDA_LAUNCH_BLOCKING"}
"""Of those, the ones that may be set to off."""
_LIKE_ROOT = {"docker", "lxd", "incus", "disk"}
"""Groups whose members can become root."""


def host_checks(host: Host, runner: Runner | None) -> tuple[Check, ...]:
    """Every check of the machine itself, in the order in which they are shown."""
    findings = {
        "Python": _python(host),
        "git": _git(host),
        "git history": _history(host),
        "project settings": _settings(host),
        "C compiler": _compiler(host),
        "Python headers": _headers(host),
        "memory": _memory(host),
        **{f"disk, {disk.what}": _disk(disk) for disk in host.disks},
        "Triton cache": _folder(host.cache, "chown it to the user that runs the gate, or set TRITON_CACHE_DIR"),
        "card locks": _folder(host.locks, f"sudo chmod 1777 {host.locks.path}"),
        "environment": _environment(host),
        "CPU governor": _governor(host),
        "rights": _rights(host, runner),
    }
    return tuple(named(name, finding) for name, finding in findings.items())


def named(name: str, finding: Finding) -> Check:
    """A finding as the check of that name."""
    return Check(name=name, **vars(finding))


def ok(found: str) -> Finding:
    """Nothing to do."""
    return Finding(outcome=Outcome.OK, found=found)


def fault(found: str, expected: str, remedy: str) -> Finding:
    """To be mended before a number of this machine means anything."""
    return Finding(outcome=Outcome.FAULT, found=found, expected=expected, remedy=remedy)


def note(found: str, expected: str = "", remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(outcome=Outcome.NOTE, found=found, expected=expected, remedy=remedy)


def unchecked(why: str) -> Finding:
    """Not asked, because of another fault."""
    return Finding(outcome=Outcome.UNCHECKED, found=f"not checked: {why}")


def _python(host: Host) -> Finding:
    found = ".".join(map(str, host.python))
    return ok(found) if host.python >= _PYTHON else fault(found, "3.11 or newer", "sudo apt install python3.12")


def _git(host: Host) -> Finding:
    return ok("found") if host.git else fault("none on the path", "git", "sudo apt install git")


def _history(host: Host) -> Finding:
    if not host.git:
        return unchecked("no git")
    if host.shallow is None:
        return fault(
            "git knows of no checkout here, or refuses it",
            "a clone that belongs to this user",
            "clone the repository, and run this from its root as the user who cloned it",
        )
    if host.shallow:
        return fault(
            "a shallow clone", "the whole history, for the merge base and the baseline's code", "git fetch --unshallow"
        )
    return ok("whole")


def _settings(host: Host) -> Finding:
    if host.settings_problem:
        return fault(host.settings_problem, "readable settings", "mend [tool.perfgate] in pyproject.toml")
    return ok("read")


def _compiler(host: Host) -> Finding:
    if not host.compiler:
        return fault("none", "gcc, with which Triton builds its launcher", "sudo apt install gcc")
    return ok(host.compiler)


def _headers(host: Host) -> Finding:
    if not host.headers:
        return fault("no Python.h", "it, for Triton's launcher", "sudo apt install python3-dev")
    return ok("found")


def _memory(host: Host) -> Finding:
    if host.memory_bytes is None:
        return note("not told by the kernel", "16 GiB or more")
    found = f"{host.memory_bytes / _GIB:.1f} GiB"
    if host.memory_bytes < _MEMORY_BYTES:
        return fault(found, "16 GiB or more", "add memory: results are checked against float64 on the host too")
    return ok(found)


def _disk(disk: Disk) -> Finding:
    if disk.free_bytes is None:
        return note(f"not told for {disk.path}", "20 GB free")
    found = f"{disk.free_bytes / 1e9:.0f} GB free at {disk.path}"
    if disk.free_bytes >= _DISK_BYTES:
        return ok(found)
    remedy = "delete old environments (.nox), downloads (pip cache purge) and Triton's cache, or add a disk"
    return (fault if disk.free_bytes < _LEAST_DISK_BYTES else note)(found, "20 GB or more", remedy)


def _folder(folder: Folder, remedy: str) -> Finding:
    return (
        ok(folder.path) if folder.writable else fault(f"{folder.path} cannot be written", "a folder to write", remedy)
    )


def _environment(host: Host) -> Finding:
    harm = {
        name: _CHANGES[name]
        for name, value in host.environment.items()
        if name in _CHANGES and not (value.strip().lower() in _OFF if name in _SWITCHES else not value.strip())
    }
    if harm:
        found = ", ".join(f"{name} {why}" for name, why in harm.items())
        return fault(found, "none of them", f"unset {' '.join(harm)}")
    return ok("nothing set that changes what is measured")


def _governor(host: Host) -> Finding:
    remedy = "sudo apt install linux-tools-generic && sudo cpupower frequency-set --governor performance"
    if not host.governors:
        return note("not told by the kernel, as in most virtual machines", "performance")
    found = ", ".join(host.governors)
    return ok(found) if host.governors == ("performance",) else note(found, "performance", remedy)


def _rights(host: Host, runner: Runner | None) -> Finding:
    expected, remedy = "an unprivileged user", f"make one without sudo for it ({GUIDE}, An unprivileged user)"
    if runner is not None and runner.uid == 0:
        return fault("the runner belongs to root", expected, remedy)
    if runner is not None and runner.uid != host.uid:
        return note(
            f"asked as {host.user}, so nothing is known of the runner's user {runner.user}",
            "the runner's user",
            f"run this as that user: sudo -u {runner.user} -H …",
        )
    groups = sorted(_LIKE_ROOT & set(host.groups))
    too_much = (
        "root"
        if host.uid == 0
        else f"{host.user}, who gets root's rights without a password"
        if host.sudo
        else f"{host.user}, whose group {groups[0]} can become root"
        if groups
        else ""
    )
    if too_much:
        return (fault if runner else note)(too_much, expected, remedy)
    if host.sudo is None:
        return note(f"{host.user}; whether sudo asks for a password was not told", expected)
    return ok(f"{host.user}, unprivileged")
