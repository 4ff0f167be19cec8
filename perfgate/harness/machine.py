"""The card, its driver, clocks, throttling and other processes. Reads, never sets.

Run as ``python -m perfgate.harness.machine`` it prints what it sees as JSON, so that the gate can ask without importing
torch itself and a driver that crashes takes down the question only.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections import defaultdict
from statistics import median_high
from typing import TYPE_CHECKING, Any

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable

# NVML's clock event reasons that make a time incomparable. Hitting the power limit is not among them: large
# matmuls run there on every card, on both sides alike.
_THROTTLE_BITS = {
    0x0000000000000008: "hardware slowdown",
    0x0000000000000020: "software thermal slowdown",
    0x0000000000000040: "hardware thermal slowdown",
    0x0000000000000080: "power brake",
}
_POWER_LIMIT_BIT = 0x0000000000000004
_SLOW_EVERY = 10
"""Looks between two at what is asked for seldom; a look at clock and reasons is a system call or two."""
_SETTLED_S = 1.1
"""After which a driver's utilisation holds nothing of before: it is of a period of 1/6 to 1 s, as the card has it."""
_POLL_S = 0.1
_WHOLE_PERCENT = 100


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
    import pynvml

    pynvml.nvmlInit()
    properties = torch.cuda.get_device_properties(0)
    return {
        **found,
        "gpu": str(properties.name),
        "uuid": _name_of(pynvml, str(properties.uuid)),
        "memory_bytes": str(properties.total_memory),
        "driver": str(pynvml.nvmlSystemGetDriverVersion()),
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


def _name_of(nvml: Any, uuid: str) -> str:  # noqa: ANN401 - the module itself
    """The name that the driver's library has for torch's first card; torch itself leaves out what kind it is.

    Asking by name rather than by number is what makes CUDA_VISIBLE_DEVICES right, however it chooses: torch counts
    the visible cards, the driver counts all.
    """
    if uuid.startswith(("GPU-", "MIG-")):
        return uuid
    for name in (f"GPU-{uuid}", f"MIG-{uuid}"):
        with contextlib.suppress(nvml.NVMLError):
            nvml.nvmlDeviceGetHandleByUUID(name)
            return name
    return f"GPU-{uuid}"


def busy(uuid: str, seconds: float = 0.5) -> int | None:
    """Percent of time that the card computes for others; see `Monitor.idle_utilization`."""
    return Monitor(uuid).idle_utilization(seconds)


class Monitor:
    """Watches one card while it is measured: clocks, throttle reasons, and who else uses it.

    Who else does is not told by any one answer, least of all inside a container:

    - The list of processes counts those that hold a context, computing or not. Outside a container it names all of
      them, and which is ours. Inside one it gives the host's numbers, ours among them but not recognisable (then one
      of them is ours), or, with drivers that translate the numbers, our own process alone.
    - Utilisation by process is told from one sample period to the next, by the host's numbers even where the list
      has the container's, or not at all. Two that compute are one too many, whoever is who.
    - The card's utilisation knows no processes and so cannot hide any. It is the one answer to rely on inside a
      container, but only says something of others while nothing of ours runs (`idle_utilization`). MIG slices have none.
    """

    def __init__(self, uuid: str) -> None:
        import pynvml

        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            # A slice has processes and memory of its own; clocks and temperature are the whole card's.
            sliced = uuid.startswith("MIG-")
            self._card = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self._handle) if sliced else self._handle
        except pynvml.NVMLError as error:
            raise GateError(
                "no-monitor",
                f"The driver's library does not give card {uuid} ({error}), expected to watch it for throttling and other "
                "processes; see whether nvidia-smi -L lists it here.",
            ) from None
        # What is told of the first second is partly of before, when a launch of our own may just have ended.
        self._since_us = int((time.time() + _SETTLED_S) * 1e6)
        self._looks = self._power_capped = self._foreign = 0
        self._clocks: list[int] = []
        self._memory_clocks: list[int] = []
        self._temperatures: list[int] = []
        self._reasons: set[str] = set()
        self._not_told: set[str] = set()

    def _ask(self, what: str, question: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - the library's own types
        """An answer, or None where this card or this user gets none; that is remembered and recorded."""
        nvml = self._nvml
        try:
            return question(*arguments)
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission, nvml.NVMLError_FunctionNotFound):
            self._not_told.add(what)
            return None
        except nvml.NVMLError as error:
            raise GateError(
                "no-monitor",
                f"The driver's library failed when asked for the {what} ({error}), expected an answer; see what nvidia-smi "
                "says of the card and measure again.",
            ) from None

    def max_sm_clock_hz(self) -> float:
        """The highest SM clock the card reports, in hertz."""
        megahertz: float = self._nvml.nvmlDeviceGetMaxClockInfo(self._card, self._nvml.NVML_CLOCK_SM)
        return megahertz * 1e6

    def idle_utilization(self, seconds: float = 0.5) -> int | None:
        """Percent of time that the card computes while nothing of ours runs, so for others; None where it is not told.

        To be called when no kernel of ours runs: what ran until just before is waited for, for a second at most. The
        highest of some readings counts, since a foreign load may come in bursts; a desktop on the card is some percent.

        Args:
            seconds: How long to look once that is over.
        """
        started = time.monotonic()
        while (found := self._utilization()) and time.monotonic() - started < _SETTLED_S:
            time.sleep(_POLL_S)
        readings = [found]
        started = time.monotonic()
        while time.monotonic() - started < seconds:
            time.sleep(_POLL_S)
            readings.append(self._utilization())
        told = [reading for reading in readings if reading is not None]
        return max(told) if told else None

    def _utilization(self) -> int | None:
        rates = self._ask("utilization", self._nvml.nvmlDeviceGetUtilizationRates, self._card)
        return None if rates is None else int(rates.gpu)

    def sample(self) -> None:
        """Take one look; called between rounds, when nothing is being timed."""
        nvml = self._nvml
        clock = self._ask("SM clock", nvml.nvmlDeviceGetClockInfo, self._card, nvml.NVML_CLOCK_SM)
        if clock is not None:
            self._clocks.append(clock)
        active = self._ask("throttle reasons", nvml.nvmlDeviceGetCurrentClocksThrottleReasons, self._card) or 0
        self._reasons.update(name for bit, name in _THROTTLE_BITS.items() if active & bit)
        self._power_capped += bool(active & _POWER_LIMIT_BIT)
        if self._looks % _SLOW_EVERY == 0:
            self._look_closely()
        self._looks += 1

    def _look_closely(self) -> None:
        """What takes the driver longer to answer, processes above all, or changes slowly."""
        nvml = self._nvml
        clock = self._ask("memory clock", nvml.nvmlDeviceGetClockInfo, self._card, nvml.NVML_CLOCK_MEM)
        if clock is not None:
            self._memory_clocks.append(clock)
        celsius = self._ask("temperature", nvml.nvmlDeviceGetTemperature, self._card, nvml.NVML_TEMPERATURE_GPU)
        if celsius is not None:
            self._temperatures.append(celsius)
        running = self._ask("processes", nvml.nvmlDeviceGetComputeRunningProcesses, self._handle) or []
        pids = [process.pid for process in running]
        foreign = len([pid for pid in pids if pid != os.getpid()]) if os.getpid() in pids else len(pids) - 1
        self._foreign = max(self._foreign, foreign)

    def _foreign_utilization(self) -> int | None:
        """Highest percent of the SMs' time that another process took in any period; None where none was told.

        Where our own number is not among them, the process that computed most is ours: it was being measured.
        """
        nvml = self._nvml
        try:
            samples = nvml.nvmlDeviceGetProcessUtilization(self._card, self._since_us)
        except nvml.NVMLError:  # not permitted, not supported, or none yet: each says nothing of others
            return None
        by_pid = defaultdict(list)
        for sample in samples:
            if sample.timeStamp > self._since_us and sample.smUtil <= _WHOLE_PERCENT:  # the buffer may hold rubbish
                by_pid[sample.pid].append(int(sample.smUtil))
        if not by_pid:
            return None
        ours = os.getpid() if os.getpid() in by_pid else max(by_pid, key=lambda pid: sum(by_pid[pid]))
        return max((percent for pid, found in by_pid.items() if pid != ours for percent in found), default=0)

    def state(self) -> dict[str, Any]:
        """What was seen since the start, for the record of a launch; looks closely once more, at the end of a case."""
        self._look_closely()
        found = {
            "looks": self._looks,
            "sm_clock_mhz": median_high(self._clocks) if self._clocks else 0,
            "sm_clock_min_mhz": min(self._clocks, default=0),
            "throttle_reasons": sorted(self._reasons),
            "power_capped": self._power_capped,
            "foreign_processes": self._foreign,
        }
        if self._memory_clocks:
            found["memory_clock_mhz"] = median_high(self._memory_clocks)
        if self._temperatures:
            found["temperature_c"] = max(self._temperatures)
        if (percent := self._foreign_utilization()) is not None:
            found["foreign_utilization_percent"] = percent
        if self._not_told:
            found["not_told"] = sorted(self._not_told)
        return found


if __name__ == "__main__":
    json.dump(look(), sys.stdout)
