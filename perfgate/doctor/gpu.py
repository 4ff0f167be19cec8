"""Checks of the NVIDIA driver and of the card that a run would measure."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from statistics import median_high
from typing import TYPE_CHECKING, Any

from perfgate.compare.comparability import BUSY_PERCENT
from perfgate.config import runners
from perfgate.doctor.probe import GUIDE, Line, NoAnswerError, Probe, fault, note, ok, unchecked
from perfgate.hardware.gpus import slug
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from perfgate.records import Recording

_DRIVER = 580
"""The first branch that runs CUDA 13."""
_INSTALL = f"sudo apt install nvidia-driver-{_DRIVER}-server, then sudo reboot ({GUIDE}, The driver)"
_INSTALL_ON_WINDOWS = (
    f"install NVIDIA's driver {_DRIVER} or newer on Windows, and none inside WSL2, then wsl --shutdown"
)
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_SM_CLOCK, _MEMORY_CLOCK = 1, 2
"""NVML's numbers for a card's clocks."""
_COMPUTE_MODES = {0: "default", 1: "exclusive-thread", 2: "prohibited", 3: "exclusive-process"}
_WARM_C = 60
_COOL = f"at most {_WARM_C} °C while idle"
_CLOCK_SPREAD = 1.03
_LEAST_MEMORY_CLOCK = 0.9
"""GeForce cards run CUDA some percent below their highest memory clock (performance state P2); a lock is far below it."""
_SHOWN = 4


def examine(probe: Probe) -> dict[str, Line]:
    """Every check of driver and card, by name; where there is no card, each of it is named as not checked."""
    driver = look_at_driver(probe)
    card = None
    if driver.visible:
        number = driver.visible[0]
        name = slug(driver.names[number], probe.code_path)
        card = Card(probe=probe, number=number, uuid=driver.uuids[number], slug=name)
    return {
        **{name: check(driver) for name, check in _DRIVER_CHECKS.items()},
        **{name: _of(card, check, expected) for name, (check, expected) in _CARD_CHECKS.items()},
    }


def _of(card: Card | None, check: Callable[[Card], Line], expected: str) -> Line:
    """A check of the card. Any question of it may go unanswered; that is said here, once."""
    try:
        return check(card) if card else unchecked("no card")
    except NoAnswerError:
        return note("not told by the driver", expected)


@dataclass(frozen=True, kw_only=True)
class Driver:
    """What NVIDIA's driver says of itself, and which cards it has; all empty where it does not load."""

    probe: Probe
    installed: bool = True
    """The Python package ``nvidia-ml-py`` is there."""
    error: str = ""
    """Why nothing can be asked; empty where it can."""
    version: str = ""
    names: Sequence[str] = ()
    """Of all cards, in the driver's order."""
    uuids: Sequence[str] = ()
    visible: tuple[int, ...] = ()
    """Numbers of the cards that CUDA may use, in its order."""
    by_number: bool = False
    """CUDA_VISIBLE_DEVICES names them so, which CUDA may count in another order than the driver."""

    @property
    def wsl(self) -> bool:
        """This is Windows' own driver, which Linux has no part of and which leaves questions open."""
        return "microsoft" in (self.probe.text("/proc/sys/kernel/osrelease") or "").lower()


def look_at_driver(probe: Probe) -> Driver:
    """Ask the driver which cards it has."""
    version = ""
    try:
        probe.nvml("nvmlInit")
        with suppress(NoAnswerError):
            version = probe.nvml("nvmlSystemGetDriverVersion")
        numbers = range(probe.nvml("nvmlDeviceGetCount"))
        names = [str(probe.nvml("nvmlDeviceGetName", card=number)) for number in numbers]
        uuids = [str(probe.nvml("nvmlDeviceGetUUID", card=number)) for number in numbers]
    except NoAnswerError as error:
        return Driver(probe=probe, installed=error.installed, error=str(error))
    visible, by_number = visible_cards(probe.environment.get("CUDA_VISIBLE_DEVICES"), uuids)
    by_number = by_number and probe.environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID"
    return Driver(probe=probe, version=version, names=names, uuids=uuids, visible=visible, by_number=by_number)


def visible_cards(given: str | None, uuids: Sequence[str]) -> tuple[tuple[int, ...], bool]:
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


def _library(driver: Driver) -> Line:
    if driver.installed:
        return ok("nvidia-ml-py")
    return fault("nvidia-ml-py is not installed", "it", "python3 -m pip install nvidia-ml-py, or run nox -s doctor")


def _driver(driver: Driver) -> Line:
    if not driver.installed:
        return unchecked("no NVML package")
    if driver.error:
        return _no_driver(driver)
    if driver.wsl:
        return note("loaded, Windows' own under WSL2, which does not tell all", "Linux itself, for a runner")
    return ok("loaded")


def _no_driver(driver: Driver) -> Line:
    if driver.wsl:
        return fault(f"none under WSL2 ({driver.error})", "Windows' own", _INSTALL_ON_WINDOWS)
    if "mismatch" in driver.error.lower():
        return fault(
            f"its library and its kernel module are of two versions ({driver.error})",
            "one version: it was updated while running",
            f"sudo reboot, and hold its packages ({GUIDE}, The driver)",
        )
    found = f"none ({driver.error})"
    if _on_the_bus(driver.probe) == 0:
        return fault(f"{found}, and no NVIDIA card on the PCI bus", "both", f"put a card in; {_INSTALL}")
    if re.search(r"^nouveau ", driver.probe.text("/proc/modules") or "", re.MULTILINE):
        return fault(f"{found}, but nouveau", "the driver in its place", f"{_INSTALL}; its package shuts nouveau out")
    return fault(found, "the driver", _INSTALL)


def _on_the_bus(probe: Probe) -> int | None:
    """How many display devices of NVIDIA's there are; None where the kernel shows no bus at all."""
    if not probe.glob("/sys/bus/pci", "devices"):
        return None
    return sum(
        (probe.text(device / "vendor") or "").strip() == _NVIDIA
        and (probe.text(device / "class") or "").startswith(_DISPLAY)
        for device in probe.glob("/sys/bus/pci/devices", "*")
    )


def _version(driver: Driver) -> Line:
    if driver.error:
        return unchecked("no driver")
    major = re.match(r"\d+", driver.version)
    if major is None:
        found = f"{driver.version}, which cannot be read as a version" if driver.version else "not told by the driver"
        return note(found, f"{_DRIVER} or newer")
    if int(major.group()) < _DRIVER:
        remedy = _INSTALL_ON_WINDOWS if driver.wsl else _INSTALL
        return fault(driver.version, f"{_DRIVER} or newer, for CUDA 13", remedy)
    return ok(driver.version)


def _counters(driver: Driver) -> Line:
    if driver.error:
        return unchecked("no driver")
    expected = "for every user, where kernels are profiled with ncu"
    found = re.search(r"RmProfilingAdminOnly:\s*(\d)", driver.probe.text("/proc/driver/nvidia/params") or "")
    if found is None:
        return note("not told (/proc/driver/nvidia/params)", expected)
    if found.group(1) == "1":
        remedy = f"NVreg_RestrictProfilingToAdminUsers=0 ({GUIDE}, Counters for ncu)"
        return note("for root only", expected, remedy)
    return ok("for every user")


def _cards(driver: Driver) -> Line:
    if driver.error:
        return unchecked("no driver")
    every, count, visible = ", ".join(driver.names), len(driver.names), len(driver.visible)
    if not count:
        return fault("the driver has none", "one card", "nvidia-smi -L; sudo dmesg | grep -i nvrm")
    if not visible:
        return fault(f"CUDA_VISIBLE_DEVICES hides every card ({every})", "one card", "unset CUDA_VISIBLE_DEVICES")
    by_uuid = "CUDA_VISIBLE_DEVICES=GPU-… (nvidia-smi -L), a runner user a card"
    if visible > 1:
        return note(f"{visible} to use ({every}), the first is measured", "one", by_uuid)
    if count > 1 and driver.by_number:
        return note(f"one of {count}, chosen by number, which CUDA may count otherwise", "a UUID", by_uuid)
    return ok(every if count == 1 else f"one of {count}")


_DRIVER_CHECKS: Mapping[str, Callable[[Driver], Line]] = {
    "NVML package": _library,
    "NVIDIA driver": _driver,
    "driver version": _version,
    "ncu counters": _counters,
    "cards": _cards,
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """The card that a run would measure, as the probe can ask it."""

    probe: Probe
    number: int
    """As the driver counts."""
    uuid: str
    slug: str
    """Name of its folder of baselines."""

    def ask(self, question: str, *arguments: object) -> Any:  # noqa: ANN401 - the library's own types
        """An answer of the driver about this card."""
        return self.probe.nvml(f"nvmlDeviceGet{question}", *arguments, card=self.number)

    def told(self, question: str, *arguments: object) -> Any:  # noqa: ANN401 - as above
        """An answer that can be done without; None where there is none."""
        with suppress(NoAnswerError):
            return self.ask(question, *arguments)
        return None

    @cached_property
    def watched(self) -> dict[str, Any]:
        """What a run sees before it measures, or ``error``."""
        try:
            return self.probe.watch(self.uuid)
        except GateError as error:
            return {"error": error.text}

    @cached_property
    def last_run(self) -> Recording | str:
        """The last run of this card in this checkout, or why it tells nothing; empty where there was none."""
        path = self.probe.root / ".perfgate/current.json"
        try:
            found = self.probe.recording(path)
        except GateError as error:
            return "" if error.reason == "no-file" else f"{path.name}: {error.reason}"
        return found if found.environment.get("uuid") == self.uuid else f"{path.name} is of another card"

    def clocks_mhz(self, key: str) -> list[list[int]]:
        """A clock of the last run's launches that were told it, a list a case; 0 stands for not told."""
        if isinstance(self.last_run, str):
            return []
        every = (
            [clock for launch in samples.launches if (clock := int(launch.state.get(key, 0)))]
            for samples in self.last_run.samples.values()
        )
        return [clocks for clocks in every if clocks]


def _label(card: Card) -> Line:
    """Whether a workflow can ask for a runner with this card."""
    try:
        listed = runners(card.probe.text(card.probe.root / "pyproject.toml") or "")
    except GateError:
        return note(f"{card.slug}; pyproject.toml names no cards", "a line a card in [tool.perfgate.cards]")
    of_it = [runner.label for runner in listed if runner.slug == card.slug]
    if of_it:
        return ok(f"{card.slug}, runner label {of_it[0]}")
    known = ", ".join(f"{runner.slug} ({runner.label})" for runner in listed)
    return note(card.slug, known, f'add label = "{card.slug}" to [tool.perfgate.cards], for a runner with this card')


def _baseline(card: Card) -> Line:
    """The card's throughput baseline, and whether its commit is in the history."""
    root = card.probe.root
    try:
        folder = card.probe.settings().baselines
    except GateError:
        folder = "baselines"
    path = root / folder / card.slug / "matmul.json"
    if not card.probe.is_file(path):
        return note(
            f"none for {card.slug}: runs compare with the merge base",
            "one",
            'nox -s update-baselines -- --reason "first baseline of this card"',
        )
    found = str(path.relative_to(root))
    try:
        commit = card.probe.recording(path).commit
    except GateError:
        commit = ""
    if not commit:
        return note(f"{found}, which cannot be read or names no commit", "a commit whose code can be measured again")
    if not card.probe.commit(commit):
        return note(
            f"{found}, of a commit that is not in this history",
            "its commit, to measure that code again",
            "git fetch --unshallow origin, or record it anew",
        )
    return ok(found)


def _persistence(card: Card) -> Line:
    remedy = f"sudo nvidia-smi -pm 1, and at every start ({GUIDE}, Persistence mode)"
    return ok("on") if card.ask("PersistenceMode") else fault("off", "on", remedy)


def _compute_mode(card: Card) -> Line:
    mode, remedy = card.ask("ComputeMode"), "sudo nvidia-smi -c DEFAULT"
    name = _COMPUTE_MODES.get(mode, f"mode {mode}")
    if name == "prohibited":
        return fault(name, "default", remedy)
    return ok(name) if name == "default" else note(f"{name}: one process at a time", "default", remedy)


def _mig(card: Card) -> Line:
    try:
        current, _ = card.ask("MigMode")
    except NoAnswerError as error:
        if error.supported:
            raise
        return ok("this card has none")  # as every GeForce card answers
    if current:
        return fault("on", "off: a slice is another card than the baseline's", "sudo nvidia-smi -mig 0")
    return ok("off")


def _display(card: Card) -> Line:
    remedy = f"sudo systemctl set-default multi-user.target && sudo reboot, or plug it elsewhere ({GUIDE}, No display)"
    if card.ask("DisplayActive"):
        return fault("a desktop or console draws on the card", "none on the card", remedy)
    # The driver says "enabled" of an H100 too, which has no connector: it says nothing of a desktop.
    return ok("nothing draws on the card (display mode enabled)" if card.told("DisplayMode") else "none on the card")


def _processes(card: Card) -> Line:
    """All that hold a context or draw."""
    found = [
        (str(process.pid), kind.lower())
        for kind in ("Compute", "Graphics")
        for process in card.ask(f"{kind}RunningProcesses")
    ]
    if not found:
        return ok("none")
    other = "a process of another container or user"
    shown = [f"{(card.probe.text(f'/proc/{pid}/comm') or other).strip()} ({kind}, pid {pid})" for pid, kind in found]
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    remedy = f"end them (ps -fp {' '.join(pid for pid, _ in found)}), or let them use another card"
    return fault(f"{', '.join(shown[:_SHOWN])}{more}", "none", remedy)


def _idle(card: Card) -> Line:
    if "error" in card.watched:
        return fault(card.watched["error"], "to watch the card", "see what nvidia-smi says of it")
    percent = card.watched["utilization_percent"]
    if percent is None:
        return note("utilization is not told by the driver", "idle")
    if percent > BUSY_PERCENT:
        expected = f"at most {BUSY_PERCENT} % with nothing running"
        return fault(f"{percent} % busy", expected, "end what computes on it: nvidia-smi pmon -c 1")
    return ok(f"{percent} % busy")


def _throttling(card: Card) -> Line:
    if "error" in card.watched or "throttle reasons" in card.watched.get("not_told", ()):
        raise NoAnswerError("")
    if found := ", ".join(card.watched["throttle_reasons"]):
        return fault(found, "none while idle", "see to fans, case and power cables: nvidia-smi -q -d PERFORMANCE")
    return ok("none now")


def _temperature(card: Card) -> Line:
    celsius = card.watched.get("temperature_c")
    if celsius is None:
        raise NoAnswerError("")
    if celsius > _WARM_C:
        return note(f"{celsius} °C", _COOL, "see to fans and case, or let it cool after a job")
    return ok(f"{celsius} °C")


def _power(card: Card) -> Line:
    limit, default = card.ask("EnforcedPowerLimit"), card.ask("PowerManagementDefaultLimit")
    found, expected = f"{limit / 1e3:.0f} W", f"the default, {default / 1e3:.0f} W"
    remedy = f"sudo nvidia-smi -pl {default / 1e3:.0f}"
    if limit < default:
        return fault(found, f"{expected}: large matmuls run at the limit", remedy)
    return ok(found) if limit == default else note(found, expected, remedy)


def _sm_clock(card: Card) -> Line:
    highest = f"the card's highest is {card.told('MaxClockInfo', _SM_CLOCK) or 'not told'} MHz"
    by_case = card.clocks_mhz("sm_clock_mhz")
    if not by_case:
        why = f" ({card.last_run})" if isinstance(card.last_run, str) and card.last_run else ""
        found = f"no run here to tell from{why}, and whether it is locked no driver tells; {highest}"
        return note(found, "a steady clock", "nox -s perf, then again")
    low, high = min(map(min, by_case)), max(map(max, by_case))
    spread = max(max(clocks) / min(clocks) for clocks in by_case)
    found = f"{low} to {high} MHz in the last run, within a case {(spread - 1) * 100:.1f} %; {highest}"
    if spread > _CLOCK_SPREAD:
        return note(
            found,
            f"within {(_CLOCK_SPREAD - 1) * 100:.0f} % from launch to launch",
            f"harmless for code measured side by side; if times come in two modes, lock it ({GUIDE}, Power and clocks)",
        )
    return ok(found)


def _memory_clock(card: Card) -> Line:
    highest = card.told("MaxClockInfo", _MEMORY_CLOCK)
    clocks = [clock for of_case in card.clocks_mhz("memory_clock_mhz") for clock in of_case]
    if not (clocks and highest):
        return note("no run here to tell from", "not locked", "nox -s perf, then again")
    clock = median_high(clocks)
    found = f"{clock} MHz in the last run, the highest is {highest} MHz"
    if clock < highest * _LEAST_MEMORY_CLOCK:
        return fault(found, f"{_LEAST_MEMORY_CLOCK * 100:.0f} % of it or more", "sudo nvidia-smi -rmc")
    return ok(found)


_CARD_CHECKS: Mapping[str, tuple[Callable[[Card], Line], str]] = {
    "card": (_label, ""),
    "throughput baseline": (_baseline, ""),
    "persistence mode": (_persistence, "on"),
    "compute mode": (_compute_mode, "default"),
    "MIG": (_mig, "off"),
    "display": (_display, "none on the card"),
    "other processes": (_processes, "none"),
    "idle": (_idle, ""),
    "throttling": (_throttling, "none"),
    "temperature": (_temperature, _COOL),
    "power limit": (_power, "the card's default"),
    "SM clock": (_sm_clock, ""),
    "memory clock": (_memory_clock, ""),
}
"""Each check, and what is expected where the driver does not tell what it asks."""
