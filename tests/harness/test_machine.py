"""What the gate reads of the machine, with a stand-in for the driver's library."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from nvml_support import DriverError, FakeNvml, FunctionNotFoundError, NoPermissionError, NotSupportedError
from perfgate.hardware.gpus import CARDS, card, slug
from perfgate.harness import machine
from perfgate.records import GateError


def monitor(monkeypatch: pytest.MonkeyPatch, uuid: str = "GPU-1", **state: Any) -> machine.Monitor:
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(**state))
    return machine.Monitor(uuid)


def watched(monkeypatch: pytest.MonkeyPatch, looks: int = 1, **state: Any) -> dict[str, Any]:
    watching = monitor(monkeypatch, **state)
    for _ in range(looks):
        watching.sample()
    return watching.state()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only moves when somebody sleeps."""
    now = SimpleNamespace(s=1000.0)

    def sleep(seconds: float) -> None:
        now.s += seconds

    monkeypatch.setattr(machine, "time", SimpleNamespace(monotonic=lambda: now.s, time=lambda: now.s, sleep=sleep))
    return now


def test_a_quiet_card_has_no_reasons_and_no_foreign_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched(monkeypatch, pids=(os.getpid(),)) == {
        "looks": 1,
        "sm_clock_mhz": 1980,
        "sm_clock_min_mhz": 1980,
        "memory_clock_mhz": 2619,
        "temperature_c": 40,
        "throttle_reasons": [],
        "power_capped": 0,
        "foreign_processes": 0,
    }


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


def test_the_lowest_clock_and_the_highest_temperature_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, looks=12, clocks=(1980, 1410, 1965), celsius=(60, 71, 65))
    assert (found["looks"], found["sm_clock_min_mhz"], found["temperature_c"]) == (12, 1410, 71)


def test_looks_at_the_power_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = watched(monkeypatch, looks=4, reasons=(0x4, 0x1, 0x5, 0x0))
    assert (found["power_capped"], found["looks"], found["throttle_reasons"]) == (2, 4, [])


def test_processes_are_asked_for_at_the_begin_at_the_end_and_seldom_between(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml(pids=(os.getpid(),))
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    watching = machine.Monitor("GPU-1")
    for _ in range(40):
        watching.sample()
    assert nvml.asked["processes"] == 4
    nvml.pids = (os.getpid(), 7)
    assert watching.state()["foreign_processes"] == 1


@pytest.mark.parametrize("refusal", [NotSupportedError(), NoPermissionError(), FunctionNotFoundError()])
def test_what_the_driver_does_not_tell_is_named_and_not_made_up(
    monkeypatch: pytest.MonkeyPatch, refusal: DriverError
) -> None:
    found = watched(monkeypatch, clocks=refusal, reasons=refusal, memory_clock=refusal, celsius=refusal, pids=refusal)
    assert found == {
        "looks": 1,
        "sm_clock_mhz": 0,
        "sm_clock_min_mhz": 0,
        "throttle_reasons": [],
        "power_capped": 0,
        "foreign_processes": 0,
        "not_told": ["SM clock", "memory clock", "processes", "temperature", "throttle reasons"],
    }


def test_a_card_that_is_lost_is_no_wrong_result(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateError) as caught:
        watched(monkeypatch, clocks=DriverError("GPU is lost"))
    assert caught.value.reason == "no-monitor"
    assert "failed when asked for the SM clock (GPU is lost), expected an answer" in caught.value.text


def test_a_card_that_the_driver_does_not_know_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateError) as caught:
        monitor(monkeypatch, uuid="GPU-2")
    assert caught.value.reason == "no-monitor"
    assert "does not give card GPU-2 (Not Found), expected to watch it" in caught.value.text
    assert caught.value.text.endswith(".")


def test_a_slice_of_a_card_has_its_own_processes_and_the_cards_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    watching = monitor(monkeypatch, uuid="MIG-7", uuids=("MIG-7",), pids=(1, 2))
    watching.sample()
    found = watching.state()
    assert (found["foreign_processes"], found["sm_clock_mhz"]) == (1, 1980)


@pytest.mark.parametrize(
    ("computing", "percent"),
    [
        ([("ours", 90)], 0),
        ([("ours", 60), (7, 12), (7, 38), (8, 3)], 38),
        ([(7, 90), (7, 88)], 0),  # ours by the host's number
        ([(7, 95), (8, 91), (8, 90)], 95),  # the most in all, not at once
        ([("ours", 30), (7, 60)], 60),
        ([("ours", 90), (-7, 80)], 0),  # before this case
        ([("ours", 90), (7, 4294967295)], 0),
    ],
)
def test_two_processes_that_compute_are_one_too_many(
    monkeypatch: pytest.MonkeyPatch, computing: list[tuple[Any, int]], percent: int
) -> None:
    told = [(os.getpid() if pid == "ours" else pid, found) for pid, found in computing]
    assert watched(monkeypatch, computing=told)["foreign_utilization_percent"] == percent


@pytest.mark.parametrize("computing", [[], [(-7, 80)], NotSupportedError(), DriverError("Not Found")])
def test_where_utilization_by_process_is_not_told_nothing_is_said_of_it(
    monkeypatch: pytest.MonkeyPatch, computing: Any
) -> None:
    assert "foreign_utilization_percent" not in watched(monkeypatch, computing=computing)


def test_what_a_launch_of_ours_left_in_the_drivers_buffer_is_not_anothers(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace
) -> None:
    asked: list[int] = []
    nvml = FakeNvml()
    nvml.nvmlDeviceGetProcessUtilization = lambda _card, since_us: asked.append(since_us) or []  # type: ignore[method-assign, func-returns-value]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    machine.Monitor("GPU-1").state()
    assert asked[0] >= clock.s * 1e6 + 1e6


def test_an_idle_card_is_told_at_once(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> None:
    assert monitor(monkeypatch).idle_utilization(0.5) == 0
    assert clock.s == pytest.approx(1000.5, abs=0.11)


def test_our_own_last_kernels_are_waited_for(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> None:
    assert monitor(monkeypatch, utilization=(100, 97, 40, 0)).idle_utilization() == 0
    assert clock.s < 1001


def test_a_card_that_computes_for_others_is_busy(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> None:
    assert monitor(monkeypatch, utilization=(100, 100, 83)).idle_utilization() == 83
    assert clock.s == pytest.approx(1001.6, abs=0.2)
    assert machine.busy("GPU-1") == 83


def test_a_foreign_load_in_bursts_is_seen(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> None:
    assert monitor(monkeypatch, utilization=(0, 0, 55, 0)).idle_utilization(0.5) == 55
    assert clock.s < 1001


def test_where_the_cards_utilization_is_not_told_it_is_not_zero(
    monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace
) -> None:
    watching = monitor(monkeypatch, utilization=NotSupportedError())
    assert watching.idle_utilization() is None
    assert watching.state()["not_told"] == ["utilization"]
    assert clock.s < 1001


@pytest.mark.parametrize(
    ("torchs", "drivers", "name"),
    [
        ("1", ("GPU-1",), "GPU-1"),
        ("7", ("MIG-7",), "MIG-7"),
        ("7", (), "GPU-7"),
        ("GPU-1", ("GPU-1",), "GPU-1"),
        ("MIG-7", ("MIG-7",), "MIG-7"),
    ],
)
def test_the_card_is_named_as_the_driver_names_it(
    monkeypatch: pytest.MonkeyPatch, torchs: str, drivers: tuple[str, ...], name: str
) -> None:
    import torch

    monkeypatch.setitem(sys.modules, "pynvml", _with_version(FakeNvml(uuids=drivers)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    seen = SimpleNamespace(name="A card", uuid=torchs, total_memory=80)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {0: seen}.__getitem__)  # torch's first, whichever that is
    assert machine.look()["uuid"] == name


def _with_version(nvml: FakeNvml) -> FakeNvml:
    nvml.nvmlSystemGetDriverVersion = lambda: "580.1"  # type: ignore[attr-defined]
    return nvml


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
