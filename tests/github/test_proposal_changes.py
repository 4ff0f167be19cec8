"""Before and after in a proposal of baselines: times, machine, versions, drift and machine code."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import pytest

from perfgate.github.proposal_changes import changes
from perfgate.limits import Limits
from perfgate.store.compiled import CompiledCase, write_compiled
from perfgate.store.recording import read_recording
from proposal_support import (
    ANCHOR,
    CASES,
    COMPILED,
    CONTRACT,
    REASON,
    TIMES,
    World,
    begin,
    body,
    facts,
    found,
    keep,
    row,
    words,
)
from tests.store.test_compiled import FACTS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    return begin(tmp_path)


# Times.


def test_a_changed_case_shows_before_after_and_both_comparisons(world: World) -> None:
    world.update(scale={"sq2048": 1.05, "k7_small_k": 0.97})
    text = body(world)
    case, status, before, after, stored, beside = row(text, "sq2048")
    assert (case, status) == ("sq2048", "SLOWER")
    assert before.endswith(" µs")
    assert before != after
    assert stored.startswith(("+4.", "+5."))
    assert beside.startswith(("+4.9", "+5.0", "+5.1"))
    assert row(text, "k7_small_k")[1] == "FASTER"


def test_the_sentence_counts_the_cases_and_names_the_largest_change_each_way(world: World) -> None:
    world.update(scale={"sq2048": 1.05, "k7_small_k": 0.97})
    text = body(world)
    assert re.search(r"Of 3 cases: 1 slower \(most: sq2048 \+\d\.\d\d %\), 1 faster \(most: k7\\_small\\_k -\d", text)
    assert ", 1 the same; judged beside the code of the baseline before" in text
    assert world.old[:12] in text


def test_cases_that_are_the_same_stand_in_the_folded_table_alone(world: World) -> None:
    world.update(scale={"sq2048": 1.05})
    shown, _, folded = body(world).partition("<details>")
    assert "| sq2048 |" in shown
    assert "sq4096" not in shown.partition("Drift")[0]
    assert "<summary>All 3 cases</summary>" in folded
    assert all(case.replace("_", "\\_") in folded for case in CASES)


def test_the_slowest_comes_first_and_what_has_no_number_before_it(world: World) -> None:
    world.update(scale={"sq2048": 1.02, "k1_sq4096": 1.08}, cases=("sq2048", "k1_sq4096"))
    shown = body(world).partition("<details>")[0]
    lines = [line.split(" |")[0] for line in shown.splitlines() if line.startswith("| ")]
    assert lines[2:] == ["| k7\\_small\\_k", "| k1\\_sq4096", "| sq2048"]


def test_without_samples_the_stored_numbers_judge_and_that_is_said(world: World) -> None:
    world.update(scale={"sq2048": 1.08})
    text = body(world, with_samples=False)
    assert "judged by the stored numbers alone" in text
    assert row(text, "sq2048")[1] == "SLOWER"
    assert row(text, "sq2048")[-1] == "–"


def test_code_that_ran_beside_without_being_the_baselines_is_no_comparison(world: World) -> None:
    world.update(scale={"sq2048": 1.08})
    path = world.samples / "current.json"
    beside = read_recording(path)
    other = {"kind": "baseline-commit", "name": "0" * 40}
    samples = {case: dataclasses.replace(one, other=other) for case, one in beside.samples.items()}
    keep(path, dataclasses.replace(beside, samples=samples))
    _, said = found(world)
    assert not said.anchored
    assert {change.beside for change in said.times} == {None}


def test_cases_of_one_side_are_new_or_gone(world: World) -> None:
    world.update(cases=("sq2048", "k1_sq4096", "k9_8k"))
    text = body(world)
    assert row(text, "k9_8k")[1:3] == ["NEW", "–"]
    assert row(text, "k7_small_k")[1] == "GONE"
    assert row(text, "k7_small_k")[3:] == ["–", "–", "–"]
    assert "1 new, 1 gone" in text
    assert "were removed on purpose" in text


def test_numbers_of_other_work_or_other_settings_are_not_held_against_each_other(world: World) -> None:
    new = world.update()
    changed = dict(CONTRACT, flops=4096)
    samples = {**new.samples, "sq2048": dataclasses.replace(new.samples["sq2048"], contract=changed)}
    proposed, _ = found(world)
    after = dataclasses.replace(proposed.after, times=dataclasses.replace(new, samples=samples))
    said = changes(dataclasses.replace(proposed, after=after), None, Limits())
    assert {change.case: change.stored is None for change in said.times}["sq2048"]
    after = dataclasses.replace(proposed.after, times=dataclasses.replace(new, settings={"rounds": 7}))
    said = changes(dataclasses.replace(proposed, after=after), None, Limits())
    assert all(change.stored is None for change in said.times)
    assert "The stored numbers cannot be compared: measured with other settings" in words(proposed, said).body


def test_the_first_baseline_says_that_there_is_no_before(tmp_path: Path) -> None:
    world = begin(tmp_path, first=True)
    world.update()
    text = body(world)
    assert "**First baseline of this card**: there is no before." in text
    assert "Of 3 cases" not in text
    assert "python -m perfgate judge" not in text
    assert "nothing judged them" in text
    assert row(text, "sq2048")[1:3] == ["–", "–"]


def test_a_broken_file_before_is_said_to_be_replaced_and_is_no_first_baseline(world: World) -> None:
    world.update()
    keep(world.artifact / ANCHOR, read_recording(world.artifact / TIMES))
    (world.baselines / TIMES).write_text("{", encoding="utf-8")
    text = body(world)
    assert f"{TIMES} could not be read before and is replaced" in text
    assert "First baseline" not in text


# Machine, versions, drift.


def test_changed_versions_come_before_the_times(world: World) -> None:
    new = world.update()
    environment = {**new.environment, "driver": "590.1", "triton": "3.8.0"}
    world.update(environment=environment)
    text = body(world)
    said = "**Not the code alone:** driver 580.159.04 → 590.1, triton 3.6.0 → 3.8.0."
    assert said in text
    assert text.index(said) < text.index("### Times")
    assert "the versions above" in text
    world.update()
    assert "Not the code alone" not in body(world)


def test_another_card_of_the_model_is_said(world: World) -> None:
    new = world.update()
    world.update(environment={**new.environment, "uuid": "GPU-1"})
    assert "another card of the same model" in body(world)


def test_what_the_machine_did_is_a_line_of_its_own(world: World) -> None:
    world.update()
    assert "Machine: the baseline's own code, measured again, is " in body(world)


def test_cases_that_start_their_drift_anew_are_named(world: World) -> None:
    world.update(scale={"sq2048": 1.05})
    assert "Drift is counted anew from this baseline for sq2048." in body(world)
    world.update()
    assert "No case starts its drift anew" in body(world)
    world.update(settings={"rounds": 7})
    assert "Drift is counted anew from this baseline for every case." in body(world)


def test_the_machine_commit_date_launches_and_commands_are_there(world: World) -> None:
    world.update()
    text = body(world)
    assert "NVIDIA H100 80GB HBM3, driver 580.159.04, torch 2.11.0+cu130, triton 3.6.0; commit" in text
    assert world.head in text
    assert "2026-11-23T08:00:00+00:00; 6 launches a case." in text
    assert f"nox -s update-baselines -- --reason '{REASON}'\n" in text
    assert f"judge --baseline baselines/{TIMES} --current .perfgate/current.json" in text


# Machine code.


def test_machine_code_shows_what_changed_of_each_case(world: World) -> None:
    spilling = dataclasses.replace(FACTS, registers=255, spill_instructions=8, code_hash="c" * 64)
    reordered = dataclasses.replace(FACTS, code_hash="b" * 64)
    kernels = {"sq2048": spilling, "k1_sq4096": reordered, "k9_8k": FACTS}
    cases = {case: CompiledCase(contract=CONTRACT, kernels=(kernel,)) for case, kernel in kernels.items()}
    write_compiled(world.artifact / COMPILED, facts(commit=world.head, reason=REASON, cases=cases))
    text = body(dataclasses.replace(world, only="compiled"))
    assert row(text, "sq2048") == ["sq2048", "SLOWER", "118 → 255", "0 → 8", "32768", "3"]
    assert "1 of 3 cases need other resources; other instructions in the same resources: 1" in text
    assert "new: k9\\_8k; gone: k7\\_small\\_k." in text
    assert "### Times" not in text
    assert "Baselines of nvidia-h100-80gb-hbm3" in text


def test_a_kernel_that_one_side_alone_launches_is_shown(world: World) -> None:
    two = CompiledCase(contract=CONTRACT, kernels=(FACTS, dataclasses.replace(FACTS, name="reduce", registers=32)))
    cases = {case: CompiledCase(contract=CONTRACT, kernels=(FACTS,)) for case in CASES} | {"sq2048": two}
    write_compiled(world.artifact / COMPILED, facts(commit=world.head, reason=REASON, cases=cases))
    assert row(body(dataclasses.replace(world, only="compiled")), "sq2048")[2] == "– → 32"


def test_another_compiler_of_the_machine_code_is_a_changed_version(world: World) -> None:
    made = facts(commit=world.head, reason=REASON)
    write_compiled(world.artifact / COMPILED, dataclasses.replace(made, versions={**made.versions, "triton": "3.9.0"}))
    assert "triton 3.8.0 → 3.9.0 (machine code)" in body(dataclasses.replace(world, only="compiled"))


def test_first_facts_of_the_machine_code_have_no_before(world: World) -> None:
    name = "sm_89/compiled-triton-3.8.0.json"
    write_compiled(world.artifact / name, facts(commit=world.head, reason=REASON))
    assert "First facts of 3 cases: there is no before." in body(dataclasses.replace(world, only="compiled"))
