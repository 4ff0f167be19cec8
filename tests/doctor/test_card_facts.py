"""What the doctor asks of driver and card, with a played driver, and of what the last run recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from doctor_support import RTX_4090, AnsweringNvml, ours
from git_support import Project
from nvml_support import DriverError, NotSupportedError
from perfgate.doctor import card_facts as doctor_card_facts
from perfgate.doctor.card_facts import driver_and_card, last_run, visible_cards
from perfgate.doctor.records import CardState
from perfgate.harness import machine
from perfgate.settings import Settings
from recorded import document


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("TRITON_OVERRIDE_ARCH", raising=False)
    monkeypatch.setattr(machine, "busy", lambda _uuid: 0)


def played(monkeypatch: pytest.MonkeyPatch, **state: Any) -> AnsweringNvml:
    nvml = AnsweringNvml(**state)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    return nvml


def card(root: Path) -> CardState:
    _, found = driver_and_card(root, Settings(root=root))
    assert found is not None
    return found


def test_a_quiet_card_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, celsius=38)
    driver, _ = driver_and_card(tmp_path, None)
    found = card(tmp_path)
    assert (driver.library, driver.error, driver.version, driver.visible) == (True, "", "580.95.05", (0,))
    assert found == CardState(
        name="NVIDIA GeForce RTX 4090",
        uuid="GPU-1",
        slug=RTX_4090,
        baseline="",
        baseline_commit=None,
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
        last_run=None,
    )


@pytest.mark.parametrize(
    ("question", "answer", "fact"),
    [
        ("nvmlDeviceGetPersistenceMode", 0, {"persistence": False}),
        ("nvmlDeviceGetPersistenceMode", NotSupportedError(), {"persistence": None}),
        ("nvmlDeviceGetComputeMode", 2, {"compute_mode": "prohibited"}),
        ("nvmlDeviceGetComputeMode", 9, {"compute_mode": "mode 9"}),
        ("nvmlDeviceGetMigMode", (1, 1), {"mig": "on"}),
        ("nvmlDeviceGetMigMode", (0, 1), {"mig": "off"}),
        ("nvmlDeviceGetMigMode", DriverError("Unknown"), {"mig": None}),
        ("nvmlDeviceGetDisplayActive", 1, {"display_active": True}),
        ("nvmlDeviceGetDisplayMode", 1, {"display_attached": True}),
        ("nvmlDeviceGetEnforcedPowerLimit", 300_000, {"power_limit_mw": 300_000}),
        ("nvmlDeviceGetPowerManagementDefaultLimit", NotSupportedError(), {"power_default_mw": None}),
        ("nvmlDeviceGetCurrPcieLinkWidth", 4, {"pcie_width": 4}),
        ("nvmlDeviceGetMaxPcieLinkWidth", 8, {"pcie_max_width": 8}),
    ],
)
def test_each_answer_of_the_driver_is_its_own_fact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, question: str, answer: object, fact: dict[str, object]
) -> None:
    played(monkeypatch, answers={question: answer})
    assert fact.items() <= vars(card(tmp_path)).items()


def test_who_computes_and_who_draws_are_both_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, pids=(ours(),), graphics=(4_194_305,))
    found = card(tmp_path).processes
    assert found is not None
    assert [(p.pid, p.kind) for p in found] == [(ours(), "compute"), (4_194_305, "graphics")]
    assert found[0].name == Path("/proc/self/comm").read_text(encoding="utf-8").strip()
    assert found[1].name == "a process of another container or user"


def test_processes_that_are_not_told_are_not_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, pids=NotSupportedError())
    assert card(tmp_path).processes is None


def test_throttling_and_a_busy_card_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, reasons=0x40)
    monkeypatch.setattr(machine, "busy", lambda uuid: 99 if uuid == "GPU-1" else None)
    found = card(tmp_path)
    assert (found.throttle_reasons, found.utilization_percent) == (("hardware thermal slowdown",), 99)


def test_throttle_reasons_that_are_not_told_are_not_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, reasons=NotSupportedError())
    assert card(tmp_path).throttle_reasons is None


def test_a_card_that_is_lost_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, clocks=DriverError("GPU is lost"))
    found = card(tmp_path)
    assert "(GPU is lost)" in found.watch_error
    assert (found.throttle_reasons, found.temperature_c, found.utilization_percent) == (None, None, None)


def test_a_driver_that_does_not_load_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse() -> None:
        raise DriverError("Driver/library version mismatch")

    played(monkeypatch).nvmlInit = refuse
    driver, found = driver_and_card(tmp_path, None)
    assert (driver.library, driver.error, found) == (True, "Driver/library version mismatch", None)


def test_a_missing_package_is_told_from_a_missing_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    driver, found = driver_and_card(tmp_path, None)
    assert (driver.library, driver.error, found) == (False, "", None)


UUIDS = ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]


@pytest.mark.parametrize(
    ("given", "visible", "by_number"),
    [
        (None, (0, 1, 2), False),
        ("", (), False),
        ("-1", (), False),
        ("2,0", (2, 0), True),
        ("1,-1,0", (1,), True),
        ("0,7,1", (0,), True),
        ("GPU-cccc", (2,), False),
        ("GPU-c", (2,), False),
        ("GPU-a", (), False),  # of two cards
        ("GPU-x", (), False),
        ("MIG-7", (0, 1, 2), False),
    ],
)
def test_cards_are_chosen_as_cuda_chooses_them(given: str | None, visible: tuple[int, ...], *, by_number: bool) -> None:
    assert visible_cards(given, UUIDS) == (visible, by_number)


def test_the_card_of_a_run_is_the_first_visible_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch, names=("NVIDIA A100", "NVIDIA GeForce RTX 4090"))
    assert card(tmp_path).name == "NVIDIA A100"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    driver, none = driver_and_card(tmp_path, None)
    assert (driver.cards, driver.visible, none) == (("NVIDIA A100", "NVIDIA GeForce RTX 4090"), (), None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert driver_and_card(tmp_path, None)[0].by_number
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert not driver_and_card(tmp_path, None)[0].by_number


def test_files_of_the_kernel_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    proc, sys_ = tmp_path / "proc", tmp_path / "sys"
    monkeypatch.setattr(doctor_card_facts, "PROC", proc)
    monkeypatch.setattr(doctor_card_facts, "SYS", sys_)
    played(monkeypatch)
    driver, _ = driver_and_card(tmp_path, None)
    assert (driver.nouveau, driver.pci, driver.counters_for_root_only) == (None, None, None)
    (proc / "driver/nvidia").mkdir(parents=True)
    (proc / "modules").write_text("nouveau 2 0 - Live 0x0\nnvme 1 0 - Live 0x0\n", encoding="utf-8")
    (proc / "driver/nvidia/params").write_text("Mobile: 4294967295\nRmProfilingAdminOnly: 1\n", encoding="utf-8")
    for name, vendor, kind in (("a", "0x10de", "0x030000"), ("b", "0x10de", "0x040300"), ("c", "0x1022", "0x030000")):
        device = sys_ / "bus/pci/devices" / name
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n", encoding="utf-8")
        (device / "class").write_text(f"{kind}\n", encoding="utf-8")
    driver, _ = driver_and_card(tmp_path, None)
    assert (driver.nouveau, driver.pci, driver.counters_for_root_only) == (True, 1, True)
    (proc / "modules").write_text("mxm_wmi 1 1 nouveau, Live 0x0\n", encoding="utf-8")
    (proc / "driver/nvidia/params").write_text("RmProfilingAdminOnly: 0\n", encoding="utf-8")
    driver, _ = driver_and_card(tmp_path, None)
    assert (driver.nouveau, driver.counters_for_root_only) == (False, False)


def recorded(path: Path, *, uuid: str = "GPU-1", **options: Any) -> Path:
    found = document(range(2), **options)
    found["perfgate"]["environment"]["uuid"] = uuid
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_the_last_run_tells_the_clocks_it_saw(tmp_path: Path) -> None:
    path = tmp_path / "current.json"
    assert last_run(path, "GPU-1") is None
    recorded(path, state={"sm_clock_mhz": 2520, "memory_clock_mhz": 10251})
    found = last_run(path, "GPU-1")
    assert found is not None
    assert (found.problem, found.sm_clocks_mhz, found.sm_spread, found.memory_clock_mhz) == (
        "",
        (2520, 2520),
        1.0,
        10251,
    )
    document_ = json.loads(path.read_text(encoding="utf-8"))
    launches = document_["benchmarks"][0]["extra_info"]["perfgate"]["launches"]
    launches[0]["state"]["sm_clock_mhz"] = 2400
    path.write_text(json.dumps(document_), encoding="utf-8")
    found = last_run(path, "GPU-1")
    assert found is not None
    assert found.sm_clocks_mhz == (2400, 2520)
    assert found.sm_spread == pytest.approx(1.05)


def test_a_last_run_that_says_nothing_says_why(tmp_path: Path) -> None:
    path = recorded(tmp_path / "current.json", state={})
    found = last_run(path, "GPU-1")
    assert found is not None
    assert (found.sm_clocks_mhz, found.sm_spread, found.memory_clock_mhz) == (None, None, None)
    other = last_run(path, "GPU-2")
    assert other is not None
    assert other.problem == "current.json is of another card"
    path.write_text("{", encoding="utf-8")
    broken = last_run(path, "GPU-1")
    assert broken is not None
    assert broken.problem == "current.json: not-json"


def test_a_baseline_is_found_and_its_commit_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    played(monkeypatch)
    project = Project.begin(tmp_path / "project")
    commit = project.commit("kernel")
    path = project.root / f"baselines/{RTX_4090}/matmul.json"
    for known, expected in ((commit, True), ("0" * 40, False)):
        found = json.loads(recorded(path).read_text(encoding="utf-8"))
        found["perfgate"]["commit"] = known
        path.write_text(json.dumps(found), encoding="utf-8")
        seen = card(project.root)
        assert (seen.baseline, seen.baseline_commit) == (f"baselines/{RTX_4090}/matmul.json", expected)
    path.write_text("{", encoding="utf-8")
    assert card(project.root).baseline_commit is None
