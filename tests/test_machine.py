"""What the gate reads of the machine, with a stand-in for the driver's library."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from perfgate import machine
from perfgate.cards import CARDS, card, slug


class FakeNvml:
    """A driver with one card whose state a test sets."""

    NVML_CLOCK_SM = 1

    def __init__(self, *, pids: tuple[int, ...] = (), reasons: int = 0, clocks: tuple[int, ...] = (1980,)) -> None:
        self._clocks = iter(clocks)
        self.nvmlInit = lambda: None
        self.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
        self.nvmlDeviceGetClockInfo = lambda _handle, _kind: next(self._clocks)
        self.nvmlDeviceGetMaxClockInfo = lambda _handle, _kind: 1980
        self.nvmlDeviceGetCurrentClocksThrottleReasons = lambda _handle: reasons
        self.nvmlDeviceGetComputeRunningProcesses = lambda _handle: [SimpleNamespace(pid=pid) for pid in pids]


def watched(monkeypatch: pytest.MonkeyPatch, looks: int = 1, **state: Any) -> dict[str, Any]:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(**state))
    monitor = machine.Monitor("GPU-1")
    for _ in range(looks):
        monitor.sample()
    return monitor.state()


def test_a_quiet_card_has_no_reasons_and_no_foreign_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    state = watched(monkeypatch, pids=(os.getpid(),))
    assert state == {"sm_clock_mhz": 1980, "throttle_reasons": [], "foreign_processes": 0}


def test_another_process_on_the_card_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, pids=(os.getpid(), 1, 2))["foreign_processes"] == 2


def test_in_a_container_whose_numbers_are_not_the_hosts_one_process_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, pids=(4194305,))["foreign_processes"] == 0
    assert watched(monkeypatch, pids=(4194305, 4194306))["foreign_processes"] == 1


def test_a_driver_that_lists_no_process_at_all_reports_no_foreign_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, pids=())["foreign_processes"] == 0


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x8, ["hardware slowdown"]),
        (0x20, ["software thermal slowdown"]),
        (0x40, ["hardware thermal slowdown"]),
        (0x80, ["power brake"]),
        (0x48, ["hardware slowdown", "hardware thermal slowdown"]),
        (0x4, []),  # the power limit: large matmuls run there on every card, on both sides alike
        (0x1, []),
    ],
)
def test_slowdowns_are_named_and_the_power_limit_is_not_one(
    monkeypatch: pytest.MonkeyPatch, bits: int, names: list[str]
) -> None:
    assert watched(monkeypatch, reasons=bits, pids=(os.getpid(),))["throttle_reasons"] == names


def test_the_clock_of_a_case_is_the_median_of_its_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, looks=3, clocks=(300, 1980, 1965), pids=(os.getpid(),))["sm_clock_mhz"] == 1965


@pytest.mark.parametrize(("variable", "path"), [("", "native"), ("sm89", "sm89"), ("SM89 ", "sm89")])
def test_the_code_path_is_part_of_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, path: str) -> None:
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", variable)
    assert machine.code_path() == path


def test_a_card_has_one_folder_for_each_code_path() -> None:
    assert slug("NVIDIA GeForce RTX 4090") == "nvidia-geforce-rtx-4090"
    assert slug("NVIDIA H100 80GB HBM3", "sm89") == "nvidia-h100-80gb-hbm3-as-sm89"


def test_cards_are_listed_under_their_own_slugs_and_an_unknown_one_has_no_roofline() -> None:
    assert all(slug(name) == name for name in CARDS)
    assert card("NVIDIA GeForce RTX 4090") is CARDS["nvidia-geforce-rtx-4090"]
    assert card("NVIDIA TITAN V") is None


def test_without_a_card_the_reason_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    found = machine.look()
    assert found["gpu"] == ""
    assert found["why"] == "CUDA_VISIBLE_DEVICES hides every card"
