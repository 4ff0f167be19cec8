"""The rules for compiled code, each from a table: what fails, what passes, and the sentence that says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from perfgate.codegen.rules import judge_compiled
from perfgate.records import KernelFacts, Status, Verdict
from perfgate.store.compiled import CompiledBaseline, CompiledCase

VERSIONS = {"triton": "3.8.0", "torch": "2.14.1", "ptxas": "12.9"}
CONTRACT = {"shapes": [[64, 64], [64, 64]], "dtype": "float32", "precision": "tf32"}
FACTS = KernelFacts(
    name="matmul",
    config={"BLOCK_M": 64, "num_warps": 4, "num_stages": 3},
    code_hash="a" * 64,
    normal_hash="c" * 64,
    registers=118,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=49152,
    blocks_per_sm=2,
    limited_by="shared memory",
    occupancy_percent=16.67,
    instructions={"integer": 400, "tensor_core": 128, "global_store_128": 16},
    main_loop={
        "instructions": {"integer": 40, "tensor_core": 64},
        "total": 104,
        "tensor_flops": 262144,
        "tensor_unit": "mma16",
        "shared_bytes": 8192,
    },
    grid=1024,
    arguments={"M": 4096, "SPLITS": 1},
)
OTHER = "b" * 64


def case(*kernels: KernelFacts, error: str = "", contract: dict[str, Any] | None = None) -> CompiledCase:
    return CompiledCase(contract=CONTRACT if contract is None else contract, kernels=kernels, error=error)


def baseline(*kernels: KernelFacts, **changes: Any) -> CompiledBaseline:
    stored = CompiledBaseline(
        target="sm_89",
        versions=VERSIONS,
        recorded_at="2026-01-02T03:04:05+00:00",
        commit="0123abc",
        reason="first",
        cases={"k1": case(*(kernels or (FACTS,)))},
        source="baselines/sm_89/compiled.json",
    )
    return replace(stored, **changes)


def changed(**changes: Any) -> KernelFacts:
    return replace(FACTS, code_hash=OTHER, normal_hash=OTHER, **changes)


def judge(now: CompiledCase, stored: CompiledBaseline | None) -> Verdict:
    (verdict,) = judge_compiled({"k1": now}, stored, versions=VERSIONS)
    assert verdict.case == "k1"
    assert verdict.text.startswith("k1: ")
    assert verdict.text.endswith(".")
    assert "\n" not in verdict.text
    return verdict


def test_the_same_code_is_the_same() -> None:
    verdict = judge(case(FACTS), baseline())

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.SAME, "same-code", 0)


@pytest.mark.parametrize("now", [replace(FACTS, registers=120), replace(FACTS, shared_bytes=49160)])
def test_the_same_code_with_other_resources_is_looked_at(now: KernelFacts) -> None:
    verdict = judge(case(now), baseline())

    assert (verdict.status, verdict.reason) == (Status.SAME, "same-resources")


def test_other_code_with_the_same_resources_is_the_same_and_says_what_moved() -> None:
    mix = {"integer": 413, "tensor_core": 128, "global_store_128": 16}
    verdict = judge(case(changed(registers=124, instructions=mix)), baseline())

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.SAME, "same-resources", 0)
    assert "the code changed, its resources hold: registers 118 → 124; elsewhere: 13 more integer;" in verdict.text
    assert "main loop" not in verdict.text


def test_a_spill_that_appears_is_slower() -> None:
    verdict = judge(case(changed(registers=255, spill_instructions=42, stack_bytes=128)), baseline())

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.SLOWER, "spills", 1)
    expected = "registers now spill: 0 → 42 spill instructions, stack 0 → 128 bytes, registers 118 → 255"
    assert expected in verdict.text
    assert "update-baselines" in verdict.text


@pytest.mark.parametrize(("spills", "stack"), [(43, 128), (42, 136), (41, 136)])
def test_a_spill_that_grows_is_slower(spills: int, stack: int) -> None:
    before = replace(FACTS, spill_instructions=42, stack_bytes=128)
    verdict = judge(case(changed(spill_instructions=spills, stack_bytes=stack)), baseline(before))

    assert (verdict.status, verdict.reason) == (Status.SLOWER, "spills")
    assert "spill more" in verdict.text


@pytest.mark.parametrize(("spills", "stack"), [(42, 128), (41, 128), (42, 120), (0, 136)])
def test_a_spill_that_does_not_grow_is_not_slower(spills: int, stack: int) -> None:
    before = replace(FACTS, spill_instructions=42, stack_bytes=128)

    assert judge(case(changed(spill_instructions=spills, stack_bytes=stack)), baseline(before)).exit_code == 0


def test_a_lost_block_is_slower_and_names_the_limiter() -> None:
    now = changed(registers=172, blocks_per_sm=1, limited_by="registers", occupancy_percent=8.33)
    verdict = judge(case(now), baseline())

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.SLOWER, "blocks-lost", 1)
    assert "2 → 1 blocks an SM: registers 118 → 172 (16.7 → 8.3 % of the warps)" in verdict.text


def test_every_limiter_of_a_lost_block_is_named() -> None:
    now = changed(
        registers=172,
        shared_bytes=65536,
        blocks_per_sm=1,
        limited_by="registers and shared memory",
        occupancy_percent=8.33,
    )

    assert "registers 118 → 172 and shared memory 49152 → 65536 bytes" in judge(case(now), baseline()).text


def test_a_block_lost_is_told_also_where_larger_blocks_hold_more_warps() -> None:
    config = {**FACTS.config, "num_warps": 16}
    verdict = judge(case(changed(config=config, blocks_per_sm=1, occupancy_percent=33.33)), baseline())

    assert (verdict.status, verdict.reason) == (Status.SLOWER, "blocks-lost")
    assert "2 → 1 blocks an SM" in verdict.text
    assert "num_warps 4 → 16" in verdict.text


def test_fewer_blocks_that_hold_as_many_warps_are_a_loss() -> None:
    config = {**FACTS.config, "num_warps": 8}

    assert judge(case(changed(config=config, blocks_per_sm=1)), baseline()).reason == "blocks-lost"


def test_tensor_cores_no_longer_used_are_slower() -> None:
    verdict = judge(case(changed(instructions={"fp32": 4096, "integer": 400})), baseline())

    assert (verdict.status, verdict.reason) == (Status.SLOWER, "tensor-cores-lost")
    assert "128 → 0" in verdict.text


def test_spills_that_are_gone_are_faster() -> None:
    before = replace(FACTS, spill_instructions=42, stack_bytes=128)
    verdict = judge(case(changed()), baseline(before))

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.FASTER, "resources-freed", 0)
    assert "42 → 0" in verdict.text


def test_a_block_gained_by_the_same_configuration_is_faster() -> None:
    verdict = judge(case(changed(blocks_per_sm=3, occupancy_percent=25.0)), baseline())

    assert (verdict.status, verdict.reason) == (Status.FASTER, "resources-freed")


def test_a_block_gained_by_another_configuration_proves_nothing() -> None:
    now = changed(blocks_per_sm=3, occupancy_percent=25.0, config={**FACTS.config, "BLOCK_M": 32})

    assert judge(case(now), baseline()).reason == "same-resources"


def test_a_gain_does_not_buy_a_loss() -> None:
    before = replace(FACTS, spill_instructions=42, stack_bytes=128)
    verdict = judge(case(changed(blocks_per_sm=1, occupancy_percent=8.33)), baseline(before))

    assert (verdict.status, verdict.reason) == (Status.SLOWER, "blocks-lost")


def test_code_that_does_not_compile_is_wrong_even_without_a_baseline() -> None:
    for stored in (baseline(), None):
        verdict = judge(case(error="matmul: NameError('x is not defined')"), stored)
        assert (verdict.status, verdict.reason) == (Status.INVALID, "does-not-compile")
        assert (verdict.wrong, verdict.exit_code) == (True, 1)
        assert "x is not defined" in verdict.text


def test_one_kernel_of_two_that_does_not_compile_is_wrong() -> None:
    assert judge(case(FACTS, error="reduce: no"), baseline()).reason == "does-not-compile"


def test_too_much_shared_memory_is_wrong_and_says_how_much() -> None:
    now = changed(shared_bytes=135168, blocks_per_sm=0, limited_by="shared memory", occupancy_percent=0.0)
    verdict = judge(case(now), baseline())

    assert (verdict.reason, verdict.wrong, verdict.exit_code) == ("too-much-shared-memory", True, 1)
    assert "needs 135168 bytes of shared memory, the card gives a block 101376" in verdict.text


def test_a_kernel_that_fits_no_block_is_wrong() -> None:
    now = changed(registers=255, blocks_per_sm=0, limited_by="registers", occupancy_percent=0.0)
    verdict = judge(case(now), baseline())

    assert (verdict.reason, verdict.wrong) == ("does-not-fit", True)
    assert "255 registers a thread at 4 warps" in verdict.text


def test_a_wrapper_that_launches_no_kernel_is_wrong() -> None:
    verdict = judge(case(), baseline())

    assert (verdict.reason, verdict.wrong, verdict.exit_code) == ("no-kernel", True, 1)


@pytest.mark.parametrize(
    ("now", "stored", "reason"),
    [
        (case(FACTS), None, "no-baseline"),
        (case(FACTS), baseline(target="sm_90"), "other-target"),
        (case(FACTS), baseline(cases={"k2": case(FACTS)}), "case-not-in-baseline"),
        (case(FACTS, contract={**CONTRACT, "precision": "ieee"}), baseline(), "contract-changed"),
    ],
)
def test_what_cannot_be_compared_is_invalid(now: CompiledCase, stored: CompiledBaseline | None, reason: str) -> None:
    verdict = judge_compiled({"k1": now}, stored, versions=VERSIONS, selected={"k1"})[0]

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.INVALID, reason, 2)


def test_a_changed_contract_names_what_changed() -> None:
    text = judge(case(FACTS, contract={**CONTRACT, "precision": "ieee"}), baseline()).text

    assert "precision tf32 → ieee" in text


def test_a_case_that_was_not_compiled_is_invalid_unless_it_was_not_selected() -> None:
    stored = baseline(cases={"k1": case(FACTS), "k2": case(FACTS)})

    every = judge_compiled({"k1": case(FACTS)}, stored, versions=VERSIONS)
    some = judge_compiled({"k1": case(FACTS)}, stored, versions=VERSIONS, selected={"k1"})
    none = judge_compiled({}, None, versions=VERSIONS, selected={"k1"})

    assert [(one.case, one.reason) for one in every] == [("k1", "same-code"), ("k2", "case-not-measured")]
    assert [(one.case, one.reason) for one in some] == [("k1", "same-code")]
    assert [(one.case, one.reason, one.exit_code) for one in none] == [("k1", "case-not-measured", 2)]


def test_another_compiler_is_named_as_the_cause_and_is_no_excuse() -> None:
    now = {"k1": case(changed(spill_instructions=4, stack_bytes=16)), "k2": case(FACTS)}
    stored = baseline(cases={"k1": case(FACTS), "k2": case(FACTS)})

    slower, same = judge_compiled(now, stored, versions={**VERSIONS, "triton": "3.9.0"})

    assert slower.status is Status.SLOWER
    assert "Triton 3.8.0 → 3.9.0 since the baseline, so the toolchain may be the cause" in slower.text
    assert "toolchain" not in same.text


def test_the_worst_kernel_of_several_decides_and_is_named() -> None:
    reduce = replace(FACTS, name="reduce")
    spilled = replace(reduce, code_hash=OTHER, spill_instructions=2, stack_bytes=8)
    verdict = judge(case(FACTS, spilled), baseline(FACTS, reduce))

    assert (verdict.status, verdict.reason) == (Status.SLOWER, "spills")
    assert "reduce registers now spill" in verdict.text


def test_a_renamed_kernel_is_still_compared() -> None:
    renamed = changed(name="matmul_v2", blocks_per_sm=1, occupancy_percent=8.33)

    assert judge(case(renamed), baseline()).reason == "blocks-lost"


def test_kernels_are_paired_by_name_in_launch_order() -> None:
    first, second = replace(FACTS, registers=90), replace(FACTS, registers=100, code_hash=OTHER)

    assert judge(case(first, second), baseline(first, second)).reason == "same-code"


def test_a_new_kernel_may_not_spill() -> None:
    new = replace(FACTS, name="reduce")

    assert judge(case(FACTS, new), baseline()).reason == "same-resources"
    spilled = judge(case(FACTS, replace(new, spill_instructions=2, stack_bytes=8)), baseline())
    assert (spilled.status, spilled.reason) == (Status.SLOWER, "spills")
    assert "reduce is new and spills: 2 spill instructions, 8 bytes of stack" in spilled.text


def test_a_kernel_that_is_no_longer_launched_is_told() -> None:
    verdict = judge(case(FACTS), baseline(FACTS, replace(FACTS, name="reduce")))

    assert (verdict.status, verdict.reason) == (Status.SAME, "same-resources")
    assert "reduce is no longer launched" in verdict.text
