"""The card, its driver, clocks, throttling and other processes. Reads, never sets.

Run as ``python -m perfgate.machine`` it prints what it sees as JSON, so that the gate can ask without importing
torch itself and a driver that crashes takes down the question only.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from typing import Any

# NVML's clock event reasons that make a time incomparable. Hitting the power limit is not among them: large
# matmuls run there on every card, on both sides alike.
_THROTTLE_BITS = {
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "power brake",
}


def code_path() -> str:
    """``native``, or the architecture that Triton is told to lower for (``TRITON_OVERRIDE_ARCH``)."""
    return os.environ.get("TRITON_OVERRIDE_ARCH", "").strip().lower() or "native"


def look() -> dict[str, str]:
    """The environment of a measurement: card, UUID, driver, versions.

    ``gpu`` is empty where no card can be used, and ``why`` says why. All values are strings.
    """
    import pytest_benchmark
    import torch
    import triton

    found = {
        "gpu": "",
        "why": "",
        "torch": str(torch.__version__),
        "triton": str(triton.__version__),
        "cuda": str(torch.version.cuda or ""),
        "python": platform.python_version(),
        "pytest_benchmark": str(pytest_benchmark.__version__),
        "code_path": code_path(),
    }
    if not torch.cuda.is_available():
        return {**found, "why": _why_no_card(torch)}
    properties = torch.cuda.get_device_properties(0)
    return {
        **found,
        "gpu": str(properties.name),
        "uuid": f"GPU-{properties.uuid}",
        "memory_bytes": str(properties.total_memory),
        "driver": _driver_version(),
    }


def _why_no_card(torch: Any) -> str:  # noqa: ANN401 - the module itself
    if not torch.backends.cuda.is_built():
        return "this torch is built without CUDA"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in {"", "-1"}:
        return "CUDA_VISIBLE_DEVICES hides every card"
    import pynvml

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return f"no NVIDIA driver ({error})"
    return f"the driver lists {count} cards but torch cannot use any; its CUDA {torch.version.cuda} may be newer than the driver"


def _driver_version() -> str:
    import pynvml

    pynvml.nvmlInit()
    return str(pynvml.nvmlSystemGetDriverVersion())


class Monitor:
    """Watches one card while it is measured: clocks, throttle reasons, foreign processes."""

    def __init__(self, uuid: str) -> None:
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        self._clocks: list[int] = []
        self._reasons: set[str] = set()
        self._foreign = 0

    def max_sm_clock_hz(self) -> float:
        """The highest SM clock the card reports, in hertz."""
        megahertz: float = self._nvml.nvmlDeviceGetMaxClockInfo(self._handle, self._nvml.NVML_CLOCK_SM)
        return megahertz * 1e6

    def sample(self) -> None:
        """Take one look; called between rounds, when nothing is being timed."""
        nvml = self._nvml
        self._clocks.append(nvml.nvmlDeviceGetClockInfo(self._handle, nvml.NVML_CLOCK_SM))
        active = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle)
        self._reasons.update(name for bit, name in _THROTTLE_BITS.items() if active & bit)
        pids = [process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(self._handle)]
        # Inside a container the driver reports the host's numbers, among which ours cannot be found: then one of
        # them is ours and the rest are not.
        foreign = len([pid for pid in pids if pid != os.getpid()]) if os.getpid() in pids else len(pids) - 1
        self._foreign = max(self._foreign, foreign)

    def state(self) -> dict[str, Any]:
        """What was seen since the start, for the record of a launch."""
        return {
            "sm_clock_mhz": sorted(self._clocks)[len(self._clocks) // 2] if self._clocks else 0,
            "throttle_reasons": sorted(self._reasons),
            "foreign_processes": self._foreign,
        }


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
