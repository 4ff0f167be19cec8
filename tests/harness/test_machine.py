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


@pytest.mark.parametrize(
    ("pids", "foreign"),
    [
        ((os.getpid(), 1, 2), 2),
        ((4194305,), 0),  # in a container whose numbers are not the host's, one process is ours
        ((4194305, 4194306), 1),
        ((), 0),  # a driver that lists none
    ],
)
def test_other_processes_on_the_card_are_counted(
    monkeypatch: pytest.MonkeyPatch, pids: tuple[int, ...], foreign: int
) -> None:
    assert watched(monkeypatch, pids=pids)["foreign_processes"] == foreign


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
    assert watched(monkeypatch, reasons=bits)["throttle_reasons"] == names


def test_of_all_looks_median_and_lowest_clock_and_highest_temperature_are_kept_and_power_caps_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = watched(monkeypatch, looks=12, clocks=(300, 1980, 1965), celsius=(60, 71, 65), reasons=(4, 1, 5, 0))
    assert (found["looks"], found["sm_clock_mhz"], found["sm_clock_min_mhz"]) == (12, 1965, 300)
    assert (found["temperature_c"], found["power_capped"], found["throttle_reasons"]) == (71, 2, [])


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


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            {"clocks": DriverError("GPU is lost")},
            "failed when asked for the SM clock (GPU is lost), expected an answer",
        ),
        ({"uuids": ("GPU-2",)}, "does not give card GPU-1 (Not Found), expected to watch it"),
    ],
)
def test_a_card_that_is_lost_or_not_known_is_no_wrong_result(
    monkeypatch: pytest.MonkeyPatch, state: dict[str, Any], said: str
) -> None:
    with pytest.raises(GateError) as caught:
        watched(monkeypatch, **state)
    assert caught.value.reason == "no-monitor"
    assert said in caught.value.text


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


@pytest.mark.parametrize(
    ("utilization", "percent", "waited_s"),
    [
        pytest.param((0,), 0, 0.5, id="idle"),
        pytest.param((100, 97, 40, 0), 0, 0.8, id="our-own-last-kernels"),
        pytest.param((100, 100, 83), 83, 1.6, id="computes-for-others"),
        pytest.param((0, 0, 55, 0), 55, 0.5, id="in-bursts"),
    ],
)
def test_a_card_is_busy_with_what_is_left_when_our_own_kernels_are_over(
    monkeypatch: pytest.MonkeyPatch,
    clock: SimpleNamespace,
    utilization: tuple[int, ...],
    percent: int,
    waited_s: float,
) -> None:
    assert monitor(monkeypatch, utilization=utilization).idle_utilization() == percent
    assert clock.s - 1000 == pytest.approx(waited_s, abs=0.15)
    monitor(monkeypatch, utilization=utilization)
    assert machine.busy("GPU-1") == percent


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

    nvml = FakeNvml(uuids=drivers)
    nvml.nvmlSystemGetDriverVersion = lambda: "580.1"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    seen = SimpleNamespace(name="A card", uuid=torchs, total_memory=80)
    monkeypatch.setattr(torch.cuda, "get_device_properties", {0: seen}.__getitem__)  # torch's first, whichever that is
    assert machine.look()["uuid"] == name


@pytest.mark.parametrize(("variable", "path"), [("", "native"), ("sm89", "sm89"), ("SM89 ", "sm89")])
def test_the_code_path_is_part_of_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str, path: str) -> None:
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", variable)
    assert machine.code_path() == path


def test_a_card_has_one_folder_for_each_code_path_and_an_unknown_one_no_roofline() -> None:
    assert slug("NVIDIA H100 80GB HBM3", "sm89") == "nvidia-h100-80gb-hbm3-as-sm89"
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
