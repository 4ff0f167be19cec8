"""Checks of the NVIDIA driver and of the card that a run would measure. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from perfgate.compare.comparability import BUSY_PERCENT
from perfgate.doctor.host import GUIDE, fault, named, note, ok, unchecked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perfgate.doctor.records import CardState, Check, Driver, Finding

_DRIVER = 580
"""The first branch that runs CUDA 13."""
_INSTALL = f"sudo apt install nvidia-driver-{_DRIVER}-server, then sudo reboot ({GUIDE}, The driver)"
_WARM_C = 60
_CLOCK_SPREAD = 1.03
_MEMORY_CLOCK = 0.9
"""GeForce cards run CUDA some percent below their highest memory clock (performance state P2); a lock is far below it."""
_SHOWN = 4


def driver_checks(driver: Driver) -> tuple[Check, ...]:
    """Every check of the driver, and which cards it has."""
    return (
        named("NVML package", _library(driver)),
        named("NVIDIA driver", _driver(driver)),
        named("driver version", _version(driver)),
        named("nouveau", _nouveau(driver)),
        named("ncu counters", _counters(driver)),
        named("cards", _cards(driver)),
    )


def card_checks(card: CardState | None, labels: Mapping[str, str]) -> tuple[Check, ...]:
    """Every check of the card; where there is none, each is named as not checked."""
    return tuple(
        named(name, check(card, labels) if card else unchecked("no card")) for name, check in _OF_A_CARD.items()
    )


def _library(driver: Driver) -> Finding:
    if driver.library:
        return ok("nvidia-ml-py")
    return fault("nvidia-ml-py is not installed", "it", "python3 -m pip install nvidia-ml-py, or run nox -s doctor")


def _driver(driver: Driver) -> Finding:
    if not driver.library:
        return unchecked("no NVML package")
    if not driver.error:
        return ok("loaded")
    if "mismatch" in driver.error.lower():
        return fault(
            f"its library and its kernel module are of two versions ({driver.error})",
            "one version: it was updated while running",
            f"sudo reboot, and hold its packages ({GUIDE}, The driver)",
        )
    if driver.pci == 0:
        return fault(f"none ({driver.error}), and no NVIDIA card on the PCI bus", "both", f"put a card in; {_INSTALL}")
    return fault(f"none ({driver.error})", "the driver", _INSTALL)


def _version(driver: Driver) -> Finding:
    if not driver.version:
        return unchecked("no driver")
    major = re.match(r"\d+", driver.version)
    if major is None:
        return note(f"{driver.version}, which cannot be read as a version", f"{_DRIVER} or newer")
    if int(major.group()) < _DRIVER:
        return fault(driver.version, f"{_DRIVER} or newer, for CUDA 13", _INSTALL)
    return ok(driver.version)


def _nouveau(driver: Driver) -> Finding:
    if driver.nouveau is None:
        return note("not told by the kernel", "not loaded")
    if driver.nouveau:
        return fault("loaded", "NVIDIA's driver in its place", f"{_INSTALL}; its package shuts nouveau out")
    return ok("not loaded")


def _counters(driver: Driver) -> Finding:
    if driver.error or not driver.library:
        return unchecked("no driver")
    if driver.counters_for_root_only is None:
        return note("not told (/proc/driver/nvidia/params)", "for every user, where kernels are profiled with ncu")
    if driver.counters_for_root_only:
        return note(
            "for root only",
            "for every user, where kernels are profiled with ncu",
            f"NVreg_RestrictProfilingToAdminUsers=0 ({GUIDE}, Counters for ncu)",
        )
    return ok("for every user")


def _cards(driver: Driver) -> Finding:
    if driver.error or not driver.library:
        return unchecked("no driver")
    every = ", ".join(driver.cards)
    if not driver.cards:
        return fault("the driver has none", "one card", "nvidia-smi -L; sudo dmesg | grep -i nvrm")
    if not driver.visible:
        return fault(f"CUDA_VISIBLE_DEVICES hides every card ({every})", "one card", "unset CUDA_VISIBLE_DEVICES")
    by_uuid = "CUDA_VISIBLE_DEVICES=GPU-… (nvidia-smi -L), a runner user a card"
    if len(driver.visible) > 1:
        return note(f"{len(driver.visible)} to use ({every}), the first is measured", "one", by_uuid)
    if len(driver.cards) > 1 and driver.by_number:
        return note(f"one of {len(driver.cards)}, chosen by number, which CUDA may count otherwise", "a UUID", by_uuid)
    return ok(every if len(driver.cards) == 1 else f"one of {len(driver.cards)}")


def _label(card: CardState, labels: Mapping[str, str]) -> Finding:
    of_it = [label for label, slug in labels.items() if slug == card.slug]
    if of_it:
        return ok(f"{card.slug}, runner label {of_it[0]}")
    if not labels:
        return note(f"{card.slug}; pyproject.toml names no cards", "a line a card in [tool.perfgate.cards]")
    known = ", ".join(f"{slug} ({label})" for label, slug in labels.items())
    return note(card.slug, known, f'add label = "{card.slug}" to [tool.perfgate.cards], for a runner with this card')


def _baseline(card: CardState, _: Mapping[str, str]) -> Finding:
    if not card.baseline:
        return note(
            f"none for {card.slug}: runs compare with the merge base",
            "one",
            'nox -s update-baselines -- --reason "first baseline of this card"',
        )
    if card.baseline_commit is None:
        return note(
            f"{card.baseline}, which cannot be read or names no commit", "a commit whose code can be measured again"
        )
    if not card.baseline_commit:
        return note(
            f"{card.baseline}, of a commit that is not in this history",
            "its commit, to measure that code again",
            "git fetch --unshallow origin, or record it anew",
        )
    return ok(card.baseline)


def _persistence(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.persistence is None:
        return note("not told by the driver", "on")
    remedy = f"sudo nvidia-smi -pm 1, and at every start ({GUIDE}, Persistence mode)"
    return ok("on") if card.persistence else fault("off", "on", remedy)


def _compute_mode(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.compute_mode is None:
        return note("not told by the driver", "default")
    if card.compute_mode == "prohibited":
        return fault(card.compute_mode, "default", "sudo nvidia-smi -c DEFAULT")
    if card.compute_mode != "default":
        return note(f"{card.compute_mode}: one process at a time", "default", "sudo nvidia-smi -c DEFAULT")
    return ok(card.compute_mode)


def _mig(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.mig is None:
        return note("not told by the driver", "off")
    if card.mig == "on":
        return fault("on", "off: a slice is another card than the baseline's", "sudo nvidia-smi -mig 0")
    return ok("off" if card.mig == "off" else "this card has none")


def _display(card: CardState, _: Mapping[str, str]) -> Finding:
    remedy = f"sudo systemctl set-default multi-user.target && sudo reboot, or plug it elsewhere ({GUIDE}, No display)"
    if card.display_active is None:
        return note("not told by the driver", "none on the card")
    if card.display_active:
        return fault("a desktop or console draws on the card", "none on the card", remedy)
    if card.display_attached:  # the driver says so of an H100 too, which has no connector: it says nothing of a desktop
        return ok("nothing draws on the card (display mode enabled)")
    return ok("none on the card")


def _processes(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.processes is None:
        return note("not told by the driver", "none")
    if card.processes:
        shown = ", ".join(f"{p.name} ({p.kind}, pid {p.pid})" for p in card.processes[:_SHOWN])
        more = f" and {len(card.processes) - _SHOWN} more" if len(card.processes) > _SHOWN else ""
        pids = " ".join(str(p.pid) for p in card.processes)
        return fault(f"{shown}{more}", "none", f"end them (ps -fp {pids}), or let them use another card")
    return ok("none")


def _idle(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.watch_error:
        return fault(card.watch_error, "to watch the card", "see what nvidia-smi says of it")
    if card.utilization_percent is None:
        return note("utilization is not told by the driver", "idle")
    found = f"{card.utilization_percent} % busy"
    if card.utilization_percent > BUSY_PERCENT:
        return fault(
            found, f"at most {BUSY_PERCENT} % with nothing running", "end what computes on it: nvidia-smi pmon -c 1"
        )
    return ok(found)


def _throttling(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.throttle_reasons is None:
        return note("not told by the driver", "none")
    if card.throttle_reasons:
        found = ", ".join(card.throttle_reasons)
        return fault(found, "none while idle", "see to fans, case and power cables: nvidia-smi -q -d PERFORMANCE")
    return ok("none now")


def _temperature(card: CardState, _: Mapping[str, str]) -> Finding:
    if card.temperature_c is None:
        return note("not told by the driver", f"at most {_WARM_C} °C while idle")
    found = f"{card.temperature_c} °C"
    if card.temperature_c > _WARM_C:
        return note(found, f"at most {_WARM_C} °C while idle", "see to fans and case, or let it cool after a job")
    return ok(found)


def _power(card: CardState, _: Mapping[str, str]) -> Finding:
    limit, default = card.power_limit_mw, card.power_default_mw
    if limit is None or default is None:
        return note("not told by the driver", "the card's default")
    found, expected = f"{limit / 1e3:.0f} W", f"the default, {default / 1e3:.0f} W"
    remedy = f"sudo nvidia-smi -pl {default / 1e3:.0f}"
    if limit < default:
        return fault(found, f"{expected}: large matmuls run at the limit", remedy)
    return ok(found) if limit == default else note(found, expected, remedy)


def _sm_clock(card: CardState, _: Mapping[str, str]) -> Finding:
    highest = f"the card's highest is {card.max_sm_clock_mhz or 'not told'} MHz"
    run = card.last_run
    if run is None or run.problem or run.sm_clocks_mhz is None or run.sm_spread is None:
        why = f"no run here to tell from ({run.problem})" if run and run.problem else "no run here to tell from"
        return note(
            f"{why}, and whether it is locked no driver tells; {highest}", "a steady clock", "nox -s perf, then again"
        )
    low, high = run.sm_clocks_mhz
    found = f"{low} to {high} MHz in the last run, within a case {(run.sm_spread - 1) * 100:.1f} %; {highest}"
    if run.sm_spread > _CLOCK_SPREAD:
        return note(
            found,
            f"within {(_CLOCK_SPREAD - 1) * 100:.0f} % from launch to launch",
            f"harmless for code measured side by side; if times come in two modes, lock it ({GUIDE}, Power and clocks)",
        )
    return ok(found)


def _memory_clock(card: CardState, _: Mapping[str, str]) -> Finding:
    run, highest = card.last_run, card.max_memory_clock_mhz
    if run is None or run.memory_clock_mhz is None or not highest:
        return note("no run here to tell from", "not locked", "nox -s perf, then again")
    found = f"{run.memory_clock_mhz} MHz in the last run, the highest is {highest} MHz"
    if run.memory_clock_mhz < highest * _MEMORY_CLOCK:
        return fault(found, f"{_MEMORY_CLOCK * 100:.0f} % of it or more", "sudo nvidia-smi -rmc")
    return ok(found)


def _pcie(card: CardState, _: Mapping[str, str]) -> Finding:
    width, most = card.pcie_width, card.pcie_max_width
    if not width or not most:
        return note("width is not told by the driver", "the card's widest")
    if width < most:
        return note(f"{width} lanes", f"{most}", "move the card to the first slot; device times do not depend on it")
    return ok(f"{width} lanes")


_OF_A_CARD: Mapping[str, Callable[[CardState, Mapping[str, str]], Finding]] = {
    "card": _label,
    "throughput baseline": _baseline,
    "persistence mode": _persistence,
    "compute mode": _compute_mode,
    "MIG": _mig,
    "display": _display,
    "other processes": _processes,
    "idle": _idle,
    "throttling": _throttling,
    "temperature": _temperature,
    "power limit": _power,
    "SM clock": _sm_clock,
    "memory clock": _memory_clock,
    "PCIe link": _pcie,
}
