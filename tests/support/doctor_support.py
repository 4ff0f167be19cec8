"""A machine on which the doctor finds nothing, and a driver that answers all it asks."""

from __future__ import annotations

import dataclasses
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nvml_support import DriverError, FakeNvml, NotSupportedError
from perfgate.doctor import checks as doctor
from perfgate.doctor.records import (
    CardState,
    Check,
    Disk,
    Driver,
    Facts,
    Folder,
    Host,
    LastRun,
    Outcome,
    Owned,
    Runner,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

RTX_4090 = "nvidia-geforce-rtx-4090"
_ROOTS_FOLDERS = ("/opt/perfgate/.github/runner", "/opt", "/")

HOST = Host(
    python=(3, 12),
    git=True,
    shallow=False,
    settings_problem="",
    compiler="/usr/bin/gcc",
    headers=True,
    memory_bytes=63 * 2**30,
    disks=tuple(
        Disk(what=what, path=path, free_bytes=200 * 10**9)
        for what, path in (
            ("checkout", "/home/perf/perfgate"),
            ("temporary files", "/tmp"),  # noqa: S108 - only a name
            ("Triton cache", "/home/perf/.triton/cache"),
        )
    ),
    cache=Folder(path="/home/perf/.triton/cache", writable=True),
    locks=Folder(path="/tmp/perfgate-locks", writable=True),  # noqa: S108 - only a name
    environment={},
    governors=("performance",),
    uid=1001,
    user="perf",
    sudo=False,
    groups=("perf",),
)
DRIVER = Driver(
    library=True,
    error="",
    version="580.95.05",
    nouveau=False,
    pci=1,
    counters_for_root_only=False,
    cards=("NVIDIA GeForce RTX 4090",),
    visible=(0,),
)
CARD = CardState(
    name="NVIDIA GeForce RTX 4090",
    uuid="GPU-1",
    slug=RTX_4090,
    baseline=f"baselines/{RTX_4090}/matmul.json",
    baseline_commit=True,
    persistence=True,
    compute_mode="default",
    mig="none",
    display_active=False,
    display_attached=False,
    processes=(),
    utilization_percent=0,
    throttle_reasons=(),
    temperature_c=38,
    power_limit_mw=450_000,
    power_default_mw=450_000,
    max_sm_clock_mhz=3105,
    max_memory_clock_mhz=10501,
    pcie_width=16,
    pcie_max_width=16,
    last_run=LastRun(sm_clocks_mhz=(2520, 2535), sm_spread=1.006, memory_clock_mhz=10251),
)
RUNNER = Runner(
    folder="/home/perf/actions-runner",
    user="perf",
    uid=1001,
    gids=frozenset({1001}),
    registered=True,
    ephemeral=True,
    agent="box-1",
    hook="/opt/perfgate/.github/runner/job-started.sh",
    hook_exists=True,
    hook_executable=True,
    hook_paths=(
        Owned(path="/opt/perfgate/.github/runner/job-started.sh", uid=0, gid=0, mode=0o100755),
        *(Owned(path=path, uid=0, gid=0, mode=0o40755) for path in _ROOTS_FOLDERS),
    ),
)
FACTS = Facts(host=HOST, driver=DRIVER, card=CARD, runner=RUNNER, labels={"rtx-4090": RTX_4090})


def with_(part: str, **changes: Any) -> Facts:
    """The good machine with some facts of its host, driver, card or runner changed."""
    return dataclasses.replace(FACTS, **{part: dataclasses.replace(getattr(FACTS, part), **changes)})


def check(facts: Facts, name: str) -> Check:
    """The one check of that name."""
    (found,) = (check for check in doctor.examine(facts) if check.name == name)
    return found


def others(facts: Facts, name: str) -> list[Check]:
    """What else than the check of that name is not ok."""
    return [check for check in doctor.examine(facts) if check.name != name and check.outcome is not Outcome.OK]


def line(facts: Facts, name: str) -> str:
    """The line of the check of that name, as the command prints it."""
    (found,) = doctor.format_text([check(facts, name)]).splitlines()[:-1]
    return found


class AnsweringNvml(FakeNvml):
    """A driver with cards of one kind; an answer that is an error is raised."""

    def __init__(
        self,
        *,
        names: Sequence[str] = ("NVIDIA GeForce RTX 4090",),
        version: str = "580.95.05",
        graphics: Sequence[int] = (),
        answers: dict[str, Any] | None = None,
        **state: Any,
    ) -> None:
        super().__init__(uuids=[f"GPU-{n + 1}" for n in range(len(names))], **state)
        self._names, self._version, self._graphics = names, version, graphics
        self._answers: dict[str, Any] = {
            "nvmlDeviceGetPersistenceMode": 1,
            "nvmlDeviceGetComputeMode": 0,
            "nvmlDeviceGetMigMode": NotSupportedError(),
            "nvmlDeviceGetDisplayActive": 0,
            "nvmlDeviceGetDisplayMode": 0,
            "nvmlDeviceGetEnforcedPowerLimit": 450_000,
            "nvmlDeviceGetPowerManagementDefaultLimit": 450_000,
            "nvmlDeviceGetCurrPcieLinkWidth": 16,
            "nvmlDeviceGetMaxPcieLinkWidth": 16,
            **(answers or {}),
        }

    def __getattr__(self, question: str) -> Any:
        """Answer what is asked of a card with what the test set."""
        if question.startswith("_") or question not in self._answers:
            raise AttributeError(question)
        answer = self._answers[question]

        def give(_card: str) -> Any:
            if isinstance(answer, DriverError):
                raise answer
            return answer

        return give

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self._version

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._names)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return f"GPU-{index + 1}"

    def nvmlDeviceGetUUID(self, card: str) -> str:  # noqa: N802
        return card

    def nvmlDeviceGetName(self, card: str) -> str:  # noqa: N802
        return self._names[int(card.removeprefix("GPU-")) - 1]

    def nvmlDeviceGetMaxClockInfo(self, _card: str, kind: int) -> int:  # noqa: N802
        return 10501 if kind == self.NVML_CLOCK_MEM else 3105

    def nvmlDeviceGetGraphicsRunningProcesses(self, _card: str) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self._graphics]


def ours() -> int:
    """The number of a process that is there: this one."""
    return os.getpid()
