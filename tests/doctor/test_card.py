"""The doctor's rules for driver and card: each fault is found, and what the driver does not tell is never green."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from doctor_support import CARD, DRIVER, FACTS, RTX_4090, check, line, others, with_
from perfgate.doctor import checks as doctor
from perfgate.doctor.card import card_checks, driver_checks
from perfgate.doctor.records import Facts, LastRun, Outcome, Process

MISMATCH = "Driver/library version mismatch"
ABSENT = "NVML Shared Library Not Found"


def without_card(**changes: Any) -> Facts:
    driver = dataclasses.replace(DRIVER, version="", cards=(), visible=(), **changes)
    return dataclasses.replace(FACTS, driver=driver, card=None)


DRIVER_FAULTS: list[tuple[Facts, str, str, str]] = [
    (without_card(library=False), "NVML package", "nvidia-ml-py is not installed", "pip install nvidia-ml-py"),
    (without_card(error=ABSENT), "NVIDIA driver", f"none ({ABSENT}), expected the driver", "nvidia-driver-580-server"),
    (without_card(error=ABSENT, pci=0), "NVIDIA driver", "no NVIDIA card on the PCI bus", "put a card in"),
    (without_card(error=MISMATCH), "NVIDIA driver", f"of two versions ({MISMATCH})", "sudo reboot"),
    (with_("driver", version="575.64.03"), "driver version", "575.64.03, expected 580 or newer", "580-server"),
    (with_("driver", nouveau=True), "nouveau", "loaded, expected NVIDIA's driver", "shuts nouveau out"),
    (
        dataclasses.replace(with_("driver", cards=(), visible=()), card=None),
        "cards",
        "the driver has none",
        "nvidia-smi -L",
    ),
    (
        dataclasses.replace(with_("driver", visible=()), card=None),
        "cards",
        "CUDA_VISIBLE_DEVICES hides every card (NVIDIA GeForce RTX 4090)",
        "unset CUDA_VISIBLE_DEVICES",
    ),
]


@pytest.mark.parametrize(("facts", "name", "found", "remedy"), DRIVER_FAULTS)
def test_each_fault_of_the_driver_has_its_line_and_what_hangs_on_it_is_not_checked(
    facts: Facts, name: str, found: str, remedy: str
) -> None:
    said = line(facts, name)
    assert said.startswith(f"FAULT {name}: ")
    assert found in said
    assert remedy in said.partition(", expected ")[2]
    rest = [o for o in others(facts, name) if o.outcome is not Outcome.UNCHECKED]
    assert rest == []
    if facts.card is None:
        assert line(facts, "persistence mode") == "-     persistence mode: not checked: no card"
    assert doctor.exit_code(doctor.examine(facts)) == 2


def busy(*kinds: str) -> tuple[Process, ...]:
    return tuple(Process(pid=1200 + n, name="Xorg", kind=kind) for n, kind in enumerate(kinds))


CARD_FAULTS: list[tuple[dict[str, Any], str, str, str]] = [
    ({"persistence": False}, "persistence mode", "off, expected on", "sudo nvidia-smi -pm 1"),
    ({"compute_mode": "prohibited"}, "compute mode", "prohibited, expected default", "sudo nvidia-smi -c DEFAULT"),
    ({"mig": "on"}, "MIG", "on, expected off", "sudo nvidia-smi -mig 0"),
    ({"display_active": True}, "display", "draws on the card", "set-default multi-user.target"),
    ({"processes": busy("graphics")}, "other processes", "Xorg (graphics, pid 1200), expected none", "ps -fp 1200"),
    ({"processes": busy("compute")}, "other processes", "Xorg (compute, pid 1200), expected none", "ps -fp 1200"),
    ({"utilization_percent": 11}, "idle", "11 % busy, expected at most 10 %", "nvidia-smi pmon"),
    ({"watch_error": "It is lost."}, "idle", "It is lost., expected to watch the card", "nvidia-smi"),
    ({"throttle_reasons": ("power brake",)}, "throttling", "power brake, expected none", "fans, case and power"),
    ({"power_limit_mw": 300_000}, "power limit", "300 W, expected the default, 450 W", "sudo nvidia-smi -pl 450"),
    (
        {"last_run": LastRun(sm_clocks_mhz=(2520, 2520), sm_spread=1.0, memory_clock_mhz=5001)},
        "memory clock",
        "5001 MHz in the last run, the highest is 10501 MHz, expected 90 %",
        "sudo nvidia-smi -rmc",
    ),
]


@pytest.mark.parametrize(("changes", "name", "found", "remedy"), CARD_FAULTS)
def test_each_fault_of_the_card_has_its_line_and_no_other(
    changes: dict[str, Any], name: str, found: str, remedy: str
) -> None:
    facts = with_("card", **changes)
    said = line(facts, name)
    assert said.startswith(f"FAULT {name}: ")
    assert found in said
    assert remedy in said.partition(", expected ")[2].partition("; ")[2]
    assert others(facts, name) == []
    assert doctor.exit_code(doctor.examine(facts)) == 2


NOTES: list[tuple[dict[str, Any], str, str]] = [
    (
        {"baseline": "", "baseline_commit": None},
        "throughput baseline",
        'update-baselines -- --reason "first baseline of',
    ),
    ({"baseline_commit": False}, "throughput baseline", "of a commit that is not in this history"),
    ({"baseline_commit": None}, "throughput baseline", "names no commit"),
    ({"compute_mode": "exclusive-process"}, "compute mode", "sudo nvidia-smi -c DEFAULT"),
    ({"temperature_c": 61}, "temperature", "61 °C, expected at most 60 °C while idle"),
    ({"power_limit_mw": 500_000}, "power limit", "500 W, expected the default, 450 W; sudo nvidia-smi -pl 450"),
    ({"pcie_width": 4}, "PCIe link", "4 lanes, expected 16; move the card"),
    ({"last_run": dataclasses.replace(LastRun(), sm_clocks_mhz=(2400, 2520), sm_spread=1.05)}, "SM clock", "5.0 %"),
    ({"last_run": LastRun(problem="current.json: not-json")}, "SM clock", "(current.json: not-json)"),
    ({"last_run": None}, "SM clock", "whether it is locked no driver tells"),
    ({"last_run": None}, "memory clock", "no run here to tell from"),
]


def test_a_display_mode_that_is_enabled_is_no_desktop() -> None:
    assert line(with_("card", display_attached=True), "display").startswith("ok    display: nothing draws on the card")


@pytest.mark.parametrize(("changes", "name", "words"), NOTES)
def test_what_works_but_is_worth_knowing_is_a_note(changes: dict[str, Any], name: str, words: str) -> None:
    facts = with_("card", **changes)
    said = line(facts, name)
    assert said.startswith(f"note  {name}: ")
    assert words in said
    assert doctor.exit_code(doctor.examine(facts)) == 0


def test_nothing_that_the_driver_does_not_tell_of_the_card_is_green() -> None:
    told = {"name", "uuid", "slug", "baseline", "watch_error"}
    nothing: dict[str, Any] = {f.name: None for f in dataclasses.fields(CARD) if f.name not in told}
    facts = with_("card", **nothing)
    found = {c.name: c.outcome for c in card_checks(facts.card, facts.labels)}
    assert {name for name, outcome in found.items() if outcome is not Outcome.NOTE} == {"card"}
    words = {c.name: c.found for c in card_checks(facts.card, facts.labels)}
    silent = {name for name, said in words.items() if "not told" not in said and "no run here" not in said}
    assert silent == {"card", "throughput baseline"}


def test_without_a_driver_nothing_of_it_is_green() -> None:
    for facts in (without_card(library=False), without_card(error=ABSENT), without_card(error=MISMATCH)):
        found = {c.name: c.outcome for c in driver_checks(facts.driver)}
        about = {"NVIDIA driver", "driver version", "ncu counters", "cards"}
        assert {found[name] for name in about} <= {Outcome.FAULT, Outcome.UNCHECKED}
    assert check(without_card(library=False), "NVIDIA driver").outcome is Outcome.UNCHECKED


def test_what_the_kernel_does_not_tell_of_the_driver_is_a_note() -> None:
    facts = with_("driver", nouveau=None, counters_for_root_only=None)
    assert line(facts, "nouveau").startswith("note  nouveau: not told by the kernel")
    assert line(facts, "ncu counters").startswith("note  ncu counters: not told")
    assert line(with_("driver", version="open"), "driver version").startswith(
        "note  driver version: open, which cannot"
    )


def test_counters_for_root_only_are_a_note_with_the_modules_option() -> None:
    said = line(with_("driver", counters_for_root_only=True), "ncu counters")
    assert said.startswith("note  ncu counters: for root only")
    assert "NVreg_RestrictProfilingToAdminUsers=0" in said


def test_the_first_driver_of_cuda_13_is_new_enough() -> None:
    assert check(with_("driver", version="580.65.06"), "driver version").outcome is Outcome.OK


@pytest.mark.parametrize("memory_clock", [10501, 10251, 9451])
def test_the_state_in_which_geforce_cards_run_cuda_is_no_lock(memory_clock: int) -> None:
    run = LastRun(sm_clocks_mhz=(2520, 2520), sm_spread=1.0, memory_clock_mhz=memory_clock)
    assert check(with_("card", last_run=run), "memory clock").outcome is Outcome.OK


def test_a_desktops_few_percent_are_no_fault() -> None:
    assert check(with_("card", utilization_percent=10), "idle").outcome is Outcome.OK


def test_a_card_that_no_runner_label_names_is_a_note_that_names_both() -> None:
    facts = with_("card", slug="nvidia-h100-80gb-hbm3")
    assert line(facts, "card") == (
        f"note  card: nvidia-h100-80gb-hbm3, expected {RTX_4090} (rtx-4090); "
        'add label = "nvidia-h100-80gb-hbm3" to [tool.perfgate.cards], for a runner with this card'
    )
    assert line(dataclasses.replace(FACTS, labels={}), "card").startswith(
        f"note  card: {RTX_4090}; pyproject.toml names no cards"
    )


def test_several_cards_to_use_are_a_note_and_so_is_one_chosen_by_number() -> None:
    two = {"cards": ("A", "B")}
    assert line(with_("driver", **two, visible=(0, 1)), "cards").startswith(
        "note  cards: 2 to use (A, B), the first is"
    )
    by_number = line(with_("driver", **two, visible=(1,), by_number=True), "cards")
    assert by_number.startswith("note  cards: one of 2, chosen by number")
    assert by_number.endswith("CUDA_VISIBLE_DEVICES=GPU-… (nvidia-smi -L), a runner user a card")
    assert line(with_("driver", **two, visible=(1,)), "cards") == "ok    cards: one of 2"
    assert line(FACTS, "cards") == "ok    cards: NVIDIA GeForce RTX 4090"


def test_a_card_that_can_be_sliced_and_is_not_is_told_from_one_that_cannot() -> None:
    assert line(with_("card", mig="off"), "MIG") == "ok    MIG: off"
    assert line(FACTS, "MIG") == "ok    MIG: this card has none"


def test_of_many_processes_some_are_named_and_all_are_counted() -> None:
    said = line(with_("card", processes=busy(*["compute"] * 6)), "other processes")
    assert "pid 1203) and 2 more, expected none" in said
    assert "ps -fp 1200 1201 1202 1203 1204 1205" in said
