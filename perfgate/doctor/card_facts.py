"""Asks the NVIDIA driver and the kernel about driver and card, for the doctor. Reads, never sets."""

from __future__ import annotations

import os
import re
from pathlib import Path
from statistics import median_high
from typing import TYPE_CHECKING, Any

from perfgate import git
from perfgate.doctor.records import CardState, Driver, LastRun, Process
from perfgate.hardware.gpus import slug
from perfgate.harness import machine
from perfgate.records import GateError
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.records import Recording
    from perfgate.settings import Settings

PROC, SYS = Path("/proc"), Path("/sys")
_COMPUTE_MODES = {0: "default", 1: "exclusive-thread", 2: "prohibited", 3: "exclusive-process"}
_NVIDIA, _DISPLAY = "0x10de", "0x03"


def text_of(path: Path) -> str | None:
    """A small file's text, or None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def driver_and_card(root: Path, settings: Settings | None) -> tuple[Driver, CardState | None]:
    """What is known of the driver, and of the card that a run would measure; None where there is no such card."""
    modules = text_of(PROC / "modules")
    parameters = re.search(r"RmProfilingAdminOnly:\s*(\d)", text_of(PROC / "driver/nvidia/params") or "")
    known: dict[str, Any] = {
        "nouveau": None if modules is None else bool(re.search(r"^nouveau ", modules, re.MULTILINE)),
        "pci": _on_the_bus(),
        "counters_for_root_only": parameters.group(1) == "1" if parameters else None,
    }
    try:
        import pynvml
    except ImportError:
        return Driver(library=False, error="", version="", **known), None
    try:
        pynvml.nvmlInit()
        version = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        names = tuple(_text(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        uuids = [_text(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
    except pynvml.NVMLError as error:
        return Driver(library=True, error=str(error), version="", **known), None
    visible, by_number = visible_cards(os.environ.get("CUDA_VISIBLE_DEVICES"), uuids)
    driver = Driver(
        library=True,
        error="",
        version=version,
        cards=names,
        visible=visible,
        by_number=by_number and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID",
        **known,
    )
    if not visible:
        return driver, None
    first = visible[0]
    return driver, _card(pynvml, handles[first], names[first], uuids[first], root, settings)


def visible_cards(given: str | None, uuids: list[str]) -> tuple[tuple[int, ...], bool]:
    """Which cards CUDA may use, as the driver counts them, and whether they are named by number.

    As CUDA does, what follows a name that is no card's is not looked at. A slice (MIG-…) is left to its card's check.
    """
    if given is None or given.strip().startswith("MIG-"):
        return tuple(range(len(uuids))), False
    found: list[int] = []
    by_number = False
    for item in (part.strip() for part in given.split(",")):
        fitting = (
            [int(item)]
            if item.isdigit() and int(item) < len(uuids)
            else [n for n, uuid in enumerate(uuids) if item.startswith("GPU-") and uuid.startswith(item)]
        )
        if len(fitting) != 1:
            break
        by_number |= item.isdigit()
        found += fitting
    return tuple(found), by_number


def _on_the_bus() -> int | None:
    """NVIDIA's display devices; None where the kernel shows no bus at all."""
    folder = SYS / "bus/pci/devices"
    if not folder.is_dir():
        return None
    return sum(
        (text_of(device / "vendor") or "").strip() == _NVIDIA and (text_of(device / "class") or "").startswith(_DISPLAY)
        for device in folder.iterdir()
    )


def _card(  # noqa: PLR0913, PLR0917 - one question each
    nvml: Any,  # noqa: ANN401 - the module itself
    handle: Any,  # noqa: ANN401 - the library's own type
    name: str,
    uuid: str,
    root: Path,
    settings: Settings | None,
) -> CardState:
    def ask(question: str, *arguments: object) -> Any:  # noqa: ANN401 - the library's own types
        return _ask(nvml, getattr(nvml, question), handle, *arguments)

    mode = ask("nvmlDeviceGetComputeMode")
    folder = slug(name, machine.code_path())
    baseline, its_commit = _baseline(root, settings, folder)
    reasons, celsius, utilization, error = _watched(uuid)
    return CardState(
        name=name,
        uuid=uuid,
        slug=folder,
        baseline=baseline,
        baseline_commit=its_commit,
        persistence=_flag(ask("nvmlDeviceGetPersistenceMode")),
        compute_mode=None if mode is None else _COMPUTE_MODES.get(mode, f"mode {mode}"),
        mig=_mig(nvml, handle),
        display_active=_flag(ask("nvmlDeviceGetDisplayActive")),
        display_attached=_flag(ask("nvmlDeviceGetDisplayMode")),
        processes=_processes(ask),
        utilization_percent=utilization,
        throttle_reasons=reasons,
        temperature_c=celsius,
        power_limit_mw=ask("nvmlDeviceGetEnforcedPowerLimit"),
        power_default_mw=ask("nvmlDeviceGetPowerManagementDefaultLimit"),
        max_sm_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_SM),
        max_memory_clock_mhz=ask("nvmlDeviceGetMaxClockInfo", nvml.NVML_CLOCK_MEM),
        pcie_width=ask("nvmlDeviceGetCurrPcieLinkWidth"),
        pcie_max_width=ask("nvmlDeviceGetMaxPcieLinkWidth"),
        last_run=last_run(root / ".perfgate/current.json", uuid),
        watch_error=error,
    )


def _ask(nvml: Any, question: Callable[..., Any], *arguments: object) -> Any:  # noqa: ANN401 - the library's own types
    try:
        return question(*arguments)
    except nvml.NVMLError:  # not supported, not permitted, or lost meanwhile: each is an answer not had
        return None


def _text(answer: str | bytes) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def _flag(answer: int | None) -> bool | None:
    return None if answer is None else bool(answer)


def _mig(nvml: Any, handle: Any) -> str | None:  # noqa: ANN401 - the library's own types
    try:
        current, _ = nvml.nvmlDeviceGetMigMode(handle)
    except nvml.NVMLError_NotSupported:  # as every GeForce card answers
        return "none"
    except nvml.NVMLError:
        return None
    return "on" if current else "off"


def _processes(ask: Callable[..., Any]) -> tuple[Process, ...] | None:
    """All that hold a context or draw; None where either list is not told."""
    found: list[Process] = []
    for kind in ("Compute", "Graphics"):
        running = ask(f"nvmlDeviceGet{kind}RunningProcesses")
        if running is None:
            return None
        for process in running:
            name = (text_of(PROC / str(process.pid) / "comm") or "a process of another container or user").strip()
            found.append(Process(pid=process.pid, name=name, kind=kind.lower()))
    return tuple(found)


def _watched(uuid: str) -> tuple[tuple[str, ...] | None, int | None, int | None, str]:
    """Throttle reasons, temperature, utilization, and why the card could not be watched."""
    try:
        watching = machine.Monitor(uuid)
        watching.sample()
        state = watching.state()
        busy = machine.busy(uuid)
    except GateError as error:
        return None, None, None, error.text
    reasons = None if "throttle reasons" in state.get("not_told", ()) else tuple(state["throttle_reasons"])
    return reasons, state.get("temperature_c"), busy, ""


def _baseline(root: Path, settings: Settings | None, folder: str) -> tuple[str, bool | None]:
    """The card's throughput baseline and whether its commit is in the history."""
    path = root / (settings.baselines if settings else "baselines") / folder / "matmul.json"
    if not path.is_file():
        return "", None
    try:
        commit = read_recording(path).commit
    except GateError:
        return str(path.relative_to(root)), None
    return str(path.relative_to(root)), bool(git.commit_of(root, commit)) if commit else None


def last_run(path: Path, uuid: str) -> LastRun | None:
    """What the last run saw of the clocks; None where there was none."""
    try:
        recording = read_recording(path)
    except GateError as error:
        return None if error.reason == "no-file" else LastRun(problem=f"{path.name}: {error.reason}")
    if recording.environment.get("uuid") != uuid:
        return LastRun(problem=f"{path.name} is of another card")
    by_case = {case: clocks for case, clocks in _by_case(recording, "sm_clock_mhz").items() if clocks}
    memory = [clock for clocks in _by_case(recording, "memory_clock_mhz").values() for clock in clocks]
    every = [clock for clocks in by_case.values() for clock in clocks]
    return LastRun(
        sm_clocks_mhz=(min(every), max(every)) if every else None,
        sm_spread=max((max(clocks) / min(clocks) for clocks in by_case.values()), default=None),
        memory_clock_mhz=median_high(memory) if memory else None,
    )


def _by_case(recording: Recording, key: str) -> dict[str, list[int]]:
    """A clock of every launch that was told it, by case; 0 stands for not told."""
    return {
        case: [clock for launch in samples.launches if (clock := int(launch.state.get(key, 0)))]
        for case, samples in recording.samples.items()
    }
