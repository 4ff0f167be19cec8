"""Checks of the machine without its card: Python, git, compiler, memory, disks, environment, rights."""

from __future__ import annotations

import re
import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.doctor.probe import GUIDE, Line, Probe, fault, note, ok, unchecked
from perfgate.doctor.runner import find_runner
from perfgate.measurement import gpu_lock
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PYTHON = (3, 11)
_GIB = 2**30
_MEMORY_BYTES = 15 * _GIB
"""A machine of 16 GiB: firmware and kernel keep some for themselves."""
_DISK_BYTES, _LEAST_DISK_BYTES = 20e9, 10e9
"""torch alone is about 3 GB to download and more when unpacked, twice where two sides have their own."""
_OFF = {"0", "false", "off", "no"}
CHANGES: Mapping[str, str] = {
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
_SWITCHES = {"TRITON_INTERPRET", "TRITON_DEBUG", "TRITON_KERNEL_OVERRIDE", "CUDA_LAUNCH_BLOCKING"}
"""Of those, the ones that may be set to off."""
_LIKE_ROOT = {"docker", "lxd", "incus", "disk"}
"""Groups whose members can become root."""


def _python(probe: Probe) -> Line:
    found = ".".join(map(str, probe.python))
    return ok(found) if probe.python >= _PYTHON else fault(found, "3.11 or newer", "sudo apt install python3.12")


def _git(probe: Probe) -> Line:
    return ok("found") if probe.which("git") else fault("none on the path", "git", "sudo apt install git")


def _history(probe: Probe) -> Line:
    if not probe.which("git"):
        return unchecked("no git")
    _, shallow = probe.run("git", "rev-parse", "--is-shallow-repository") or (None, "")
    if shallow.strip() not in {"true", "false"}:
        return fault(
            "git knows of no checkout here, or refuses it",
            "a clone that belongs to this user",
            "clone the repository, and run this from its root as the user who cloned it",
        )
    if shallow.strip() == "true":
        return fault(
            "a shallow clone", "the whole history, for the merge base and the baseline's code", "git fetch --unshallow"
        )
    return ok("whole")


def _settings(probe: Probe) -> Line:
    try:
        probe.settings()
    except GateError as error:
        return fault(error.text, "readable settings", "mend [tool.perfgate] in pyproject.toml")
    return ok("read")


def _compiler(probe: Probe) -> Line:
    """What Triton would call: CC, or else gcc, or clang."""
    named = shlex.split(probe.environment.get("CC", ""))
    for name in (*named[:1], "gcc", "clang"):
        if found := probe.which(name):
            return ok(found)
    return fault("none", "gcc, with which Triton builds its launcher", "sudo apt install gcc")


def _headers(probe: Probe) -> Line:
    if probe.is_file(probe.include / "Python.h"):
        return ok("found")
    return fault("no Python.h", "it, for Triton's launcher", "sudo apt install python3-dev")


def _memory(probe: Probe) -> Line:
    told = re.search(r"^MemTotal:\s*(\d+) kB", probe.text("/proc/meminfo") or "", re.MULTILINE)
    if told is None:
        return note("not told by the kernel", "16 GiB or more")
    in_bytes = int(told.group(1)) * 1024
    found = f"{in_bytes / _GIB:.1f} GiB"
    if in_bytes < _MEMORY_BYTES:
        return fault(found, "16 GiB or more", "add memory: results are checked against float64 on the host too")
    return ok(found)


def _disk(folder: Callable[[Probe], Path], probe: Probe) -> Line:
    path = folder(probe)
    free = probe.free_bytes(path)
    if free is None:
        return note(f"not told for {path}", "20 GB free")
    found = f"{free / 1e9:.0f} GB free at {path}"
    if free >= _DISK_BYTES:
        return ok(found)
    remedy = "delete old environments (.nox), downloads (pip cache purge) and Triton's cache, or add a disk"
    return (fault if free < _LEAST_DISK_BYTES else note)(found, "20 GB or more", remedy)


def _triton_cache(probe: Probe) -> Path:
    home = Path(probe.environment.get("TRITON_HOME") or probe.home)
    return Path(probe.environment.get("TRITON_CACHE_DIR") or home / ".triton/cache")


def _locks(probe: Probe) -> Line:
    if probe.writable(gpu_lock.FOLDER):
        return ok(str(gpu_lock.FOLDER))
    return fault(f"{gpu_lock.FOLDER} cannot be written", "a folder to write", f"sudo chmod 1777 {gpu_lock.FOLDER}")


def _environment(probe: Probe) -> Line:
    harm = {
        name: why
        for name, why in CHANGES.items()
        if (value := probe.environment.get(name, "").strip()) and not (name in _SWITCHES and value.lower() in _OFF)
    }
    if harm:
        found = ", ".join(f"{name} {why}" for name, why in harm.items())
        return fault(found, "none of them", f"unset {' '.join(harm)}")
    return ok("nothing set that changes what is measured")


def _governor(probe: Probe) -> Line:
    files = probe.glob("/sys/devices/system/cpu", "cpu*/cpufreq/scaling_governor")
    found = ", ".join(sorted({text.strip() for path in files if (text := probe.text(path)) is not None}))
    if not found:
        return note("not told by the kernel, as in most virtual machines", "performance")
    remedy = "sudo apt install linux-tools-generic && sudo cpupower frequency-set --governor performance"
    return ok(found) if found == "performance" else note(found, "performance", remedy)


def _rights(probe: Probe) -> Line:
    expected, remedy = "an unprivileged user", f"make one without sudo for it ({GUIDE}, An unprivileged user)"
    user, runner = probe.user(probe.uid), find_runner(probe)
    if runner and runner.uid == 0:
        return fault("the runner belongs to root", expected, remedy)
    if runner and runner.uid != probe.uid:
        runners_user = probe.user(runner.uid)
        return note(
            f"asked as {user}, so nothing is known of the runner's user {runners_user}",
            "the runner's user",
            f"run this as that user: sudo -u {runners_user} -H …",
        )
    # sudo is only asked what it would allow without a password, and runs nothing.
    done = probe.run(sudo, "-n", "-l", "true") if (sudo := probe.which("sudo")) else (1, "")
    groups = sorted(_LIKE_ROOT & probe.groups())
    too_much = (
        "root"
        if probe.uid == 0
        else f"{user}, who gets root's rights without a password"
        if done and done[0] == 0
        else f"{user}, whose group {groups[0]} can become root"
        if groups
        else ""
    )
    if too_much:
        return (fault if runner else note)(too_much, expected, remedy)
    if done is None:
        return note(f"{user}; whether sudo asks for a password was not told", expected)
    return ok(f"{user}, unprivileged")


CHECKS: Mapping[str, Callable[[Probe], Line]] = {
    "Python": _python,
    "git": _git,
    "git history": _history,
    "project settings": _settings,
    "C compiler": _compiler,
    "Python headers": _headers,
    "memory": _memory,
    "disk, checkout": partial(_disk, lambda probe: probe.root),
    "disk, temporary files": partial(_disk, lambda probe: probe.temporary),
    "disk, Triton cache": partial(_disk, _triton_cache),
    "card locks": _locks,
    "environment": _environment,
    "CPU governor": _governor,
    "rights": _rights,
}
