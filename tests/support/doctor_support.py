"""Recorded machines: what each answers to the doctor's questions, as data, and a probe that plays them."""

from __future__ import annotations

import json
import os
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

from perfgate.config import Settings
from perfgate.doctor import report
from perfgate.doctor.probe import Line, NoAnswerError, Probe
from perfgate.records import GateError, Launch, Recording, Samples

Machine = dict[str, Any]
"""An answer by question. A path: that file's text, None where there is none. ``$NAME``: a variable. ``run NAME``: a
command's code and output, None where it cannot be run, False where it is not on the path. ``owned``, ``link``, ``free`` and
``writable`` and a path; ``read`` and a recording. Of a card, NVML's questions without ``nvmlDeviceGet``, or what a watch sees.
"""
ROOT, RUNNER = "/home/perf/perfgate", "/home/perf/actions-runner"
HOOK = "/opt/perfgate/.github/runner/job-started.sh"
HEADER, PARAMETERS = "/usr/include/python3.12/Python.h", "/proc/driver/nvidia/params"
GOVERNOR, BUS = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "/sys/bus/pci/devices/a"
RTX_4090, H100 = "nvidia-geforce-rtx-4090", "nvidia-h100-80gb-hbm3"
BASELINE, LAST_RUN = f"baselines/{RTX_4090}/matmul.json", ".perfgate/current.json"
COMMIT = "c0ffee1"
REFUSED, UNKNOWN = NoAnswerError("Not Supported", supported=False), NoAnswerError("Unknown Error")
_WATCHED = ("throttle_reasons", "not_told", "temperature_c", "utilization_percent")


def run_of(*sm_clocks: int, memory: int = 10251, uuid: str = "GPU-1") -> Recording:
    """A last run of two cases, one with a launch each clock and one with the last; 0 is a clock that was not told."""
    launches = tuple(Launch(arms={}, state={"sm_clock_mhz": mhz, "memory_clock_mhz": memory}) for mhz in sm_clocks)
    samples = {"a": Samples(case="a", launches=launches), "b": Samples(case="b", launches=launches[-1:])}
    return Recording(samples=samples, environment={"uuid": uuid}, settings={})


def baseline_of(commit: str) -> Recording:
    """A stored baseline."""
    return Recording(samples={}, environment={}, settings={}, commit=commit)


RTX_4090_RUNNER: Machine = {
    "python": (3, 12),
    "uid": 1001,
    "groups": {"perf"},
    "settings": "",
    "run git": (0, "false\n"),
    "run gcc": (0, ""),
    "run sudo": (1, ""),
    f"{ROOT}/pyproject.toml": f'[tool.perfgate.cards]\nrtx-4090 = "{RTX_4090}"\n',
    f"{ROOT}/{BASELINE}": "",
    f"read {BASELINE}": baseline_of(COMMIT),
    f"read {LAST_RUN}": run_of(2520, 2535),
    HEADER: "",
    "/proc/meminfo": f"MemFree: 7 kB\nMemTotal:       {63 * 2**20} kB\n",
    "/proc/sys/kernel/osrelease": "6.8.0-31-generic\n",
    PARAMETERS: "Mobile: 4294967295\nRmProfilingAdminOnly: 0\n",
    GOVERNOR: "performance\n",
    f"{BUS}/vendor": "0x10de\n",
    f"{BUS}/class": "0x030000\n",
    f"{RUNNER}/.runner": json.dumps({"agentName": "box-1", "ephemeral": True}),
    f"{RUNNER}/.env": f"LANG=C.UTF-8\nACTIONS_RUNNER_HOOK_JOB_STARTED={HOOK}\n",
    f"owned {RUNNER}": (1001, 1001, 0o40755),
    HOOK: "",
    "/opt/perfgate/perfgate/__init__.py": "",
    "/opt/perfgate/perfgate/github/admit.py": "",
    "nvmlInit": None,
    "nvmlSystemGetDriverVersion": "580.95.05",
    "Name": ["NVIDIA GeForce RTX 4090"],
    "PersistenceMode": 1,
    "ComputeMode": 0,
    "MigMode": REFUSED,
    "DisplayActive": 0,
    "DisplayMode": 0,
    "ComputeRunningProcesses": (),
    "GraphicsRunningProcesses": (),
    "EnforcedPowerLimit": 450_000,
    "PowerManagementDefaultLimit": 450_000,
    "MaxClockInfo": {1: 3105, 2: 10501},
    "throttle_reasons": [],
    "temperature_c": 38,
    "utilization_percent": 0,
}
"""The doctor has nothing to say of it; every other machine is told by how it differs."""
H100_RUNNER = RTX_4090_RUNNER | {
    f"{ROOT}/pyproject.toml": f'[tool.perfgate.cards]\nh100 = "{H100}"\n',
    f"{ROOT}/baselines/{H100}/matmul.json": "",
    f"read baselines/{H100}/matmul.json": baseline_of(COMMIT),
    f"read {LAST_RUN}": run_of(1980, 1980, memory=2619),
    "Name": ["NVIDIA H100 80GB HBM3"],
    "MigMode": (0, 0),
    "DisplayMode": 1,
    "EnforcedPowerLimit": 700_000,
    "PowerManagementDefaultLimit": 700_000,
    "MaxClockInfo": {1: 1980, 2: 2619},
}
NO_RUNNER: Machine = {f"{RUNNER}/.runner": None}
LAPTOP = RTX_4090_RUNNER | NO_RUNNER | {"nvmlInit": NoAnswerError("no pynvml", installed=False)}
"""Neither driver nor its Python package, nor a runner."""
BROKEN_DRIVER = RTX_4090_RUNNER | {"nvmlInit": NoAnswerError("Driver/library version mismatch")}
SILENT: Machine = {
    question: UNKNOWN if number % 2 else REFUSED
    for number, question in enumerate(RTX_4090_RUNNER)
    if question[0].isupper() and question != "Name"
}
"""No answer to anything that may go unanswered, in one of two ways."""
WSL2 = {
    **RTX_4090_RUNNER,
    **NO_RUNNER,
    **SILENT,
    "nvmlSystemGetDriverVersion": UNKNOWN,
    "/proc/sys/kernel/osrelease": "5.15.153.1-microsoft-standard-WSL2\n",
    **dict.fromkeys((PARAMETERS, GOVERNOR, f"{BUS}/vendor", f"{BUS}/class")),
    "not_told": ["throttle reasons"],
    "temperature_c": None,
    "utilization_percent": None,
}


class PlayedProbe(Probe):
    """A machine that answers as recorded."""

    def __init__(self, machine: Machine, runner: Path | None = None) -> None:
        self.root, self.runner, self.home = Path(ROOT), runner, Path("/home/perf")
        self.temporary, self.include = Path("/tmp"), Path(HEADER).parent  # noqa: S108 - only a name
        self.python, self.uid, self.code_path = machine["python"], machine["uid"], "native"
        self.environment = {name[1:]: value for name, value in machine.items() if name.startswith("$")}
        self._answers = machine

    def text(self, path: Path | str) -> str | None:
        return self._answers.get(str(path))

    def is_file(self, path: Path) -> bool:
        return self.text(path) is not None

    def glob(self, folder: Path | str, pattern: str) -> list[Path]:
        files = [path for path, text in self._answers.items() if path.startswith("/") and text is not None]
        every = {str(above) for path in files for above in (path, *PurePosixPath(path).parents)}
        return [Path(path) for path in sorted(every) if fnmatch(path, f"{folder}/{pattern.removeprefix('**/')}")]

    def resolve(self, path: Path) -> Path:
        return Path(self._answers.get(f"link {path}", path))

    def stat(self, path: Path) -> os.stat_result | None:
        uid, gid, mode = self._answers.get(f"owned {path}", (0, 0, 0o100755))
        return os.stat_result((mode, 0, 0, 0, uid, gid, 0, 0, 0, 0))

    def free_bytes(self, path: Path) -> Any:
        return self._answers.get(f"free {path}", 200 * 10**9)

    def writable(self, path: Path) -> Any:
        return self._answers.get(f"writable {path}", True)

    def which(self, command: str) -> str:
        return "" if self._answers.get(f"run {command}", False) is False else f"/usr/bin/{command}"

    def run(self, *words: str) -> Any:
        return self._answers[f"run {Path(words[0]).name}"]

    def user(self, uid: int) -> str:
        return {0: "root", 1000: "ada", 1001: "perf"}[uid]

    def gids(self, uid: int, gid: int) -> frozenset[int]:
        return frozenset({uid, gid})

    def groups(self) -> Any:
        return self._answers["groups"]

    def settings(self) -> Settings:
        if self._answers["settings"]:
            raise GateError("bad-settings", self._answers["settings"])
        return Settings(root=self.root)

    def recording(self, path: Path) -> Any:
        return _or_raise(self._answers[f"read {path.relative_to(ROOT)}"])

    def commit(self, ref: str) -> str:
        return ref if ref == COMMIT else ""

    def nvml(self, question: str, *arguments: object, card: int | None = None) -> Any:
        names = self._answers["Name"]
        counted = {"Count": len(names), "UUID": [f"GPU-{number + 1}" for number in range(len(names))]}
        answer = _or_raise((counted | self._answers)[question.removeprefix("nvmlDeviceGet")])
        if question.endswith("Processes"):
            return [SimpleNamespace(pid=pid) for pid in answer]
        if isinstance(answer, list):
            return answer[card or 0]
        return answer[arguments[0]] if isinstance(answer, dict) else answer

    def watch(self, uuid: str) -> dict[str, Any]:
        assert uuid.startswith("GPU-")
        _or_raise(self._answers.get("watch"))
        return {name: self._answers[name] for name in _WATCHED if name in self._answers}


def _or_raise(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def examined(machine: Machine) -> dict[str, Line]:
    """Every check of a machine, by name."""
    return {line.name: line for line in report.examine(PlayedProbe(machine))}
