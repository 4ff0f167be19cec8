"""The rules for compiled code, each from a table: what fails, what passes, and the sentence that says why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs

import facts_support
from facts_support import VERSIONS
from perfgate.codegen.rules import judge_compiled
from perfgate.records import Status, Verdict
from perfgate.store.compiled import CompiledBaseline, CompiledCase, KernelFacts

CONTRACT = {"shapes": [[64, 64], [64, 64]], "dtype": "float32", "precision": "tf32"}
FACTS = facts_support.facts(
    name="matmul",
    config={"BLOCK_M": 64, "num_warps": 4, "num_stages": 3},
    shared_bytes=49152,
    blocks_per_sm=2,
    occupancy_percent=16.67,
    instructions={"integer": 400, "tensor_core": 128, "global_store_128": 16},
    arguments={"M": 4096, "SPLITS": 1},
)
OTHER = "b" * 64
SPILLING = structs.replace(FACTS, spill_instructions=42, stack_bytes=128)
REDUCE = structs.replace(FACTS, name="reduce")
SECOND = structs.replace(FACTS, registers=100, code_hash=OTHER)
SAME, SLOWER, FASTER = "same-resources", "blocks-lost", "resources-freed"
STATUS = {"same-code": Status.SAME, SAME: Status.SAME, FASTER: Status.FASTER}
"""Of the reasons that are not SLOWER."""


def case(*kernels: KernelFacts, error: str = "", contract: dict[str, Any] | None = None) -> CompiledCase:
    return CompiledCase(contract=CONTRACT if contract is None else contract, kernels=kernels, error=error)


def baseline(*kernels: KernelFacts, **changes: Any) -> CompiledBaseline:
    stored = replace(
        facts_support.BASELINE, cases={"k1": case(*(kernels or (FACTS,)))}, source="baselines/sm_89/compiled.json"
    )
    return replace(stored, **changes)


def changed(facts: KernelFacts = FACTS, /, **changes: Any) -> KernelFacts:
    return structs.replace(facts, code_hash=OTHER, normal_hash=OTHER, **changes)


def again(**changes: Any) -> KernelFacts:
    """The same code."""
    return structs.replace(FACTS, **changes)


def judge(now: CompiledCase, stored: CompiledBaseline | None) -> Verdict:
    (verdict,) = judge_compiled({"k1": now}, stored, versions=VERSIONS)
    assert verdict.case == "k1"
    assert verdict.text.startswith("k1: ")
    assert verdict.text.endswith(".")
    assert "\n" not in verdict.text
    return verdict


LOST = {"blocks_per_sm": 1, "occupancy_percent": 8.33}
GAINED = {"blocks_per_sm": 3, "occupancy_percent": 25.0}
LOOP = {**FACTS.main_loop, "instructions": {"integer": 64, "tensor_core": 64, "conversion": 8}, "total": 136}
SPILLS = {"spill_instructions": 2, "stack_bytes": 8}
MIX = {"integer": 424, "tensor_core": 128, "global_store_128": 16, "conversion": 8}
ALONE: dict[str, tuple[KernelFacts, str, str]] = {
    "the same code": (FACTS, "same-code", "k1: the same machine code, 118 registers"),
    "names of registers": (
        again(code_hash=OTHER),
        "same-code",
        "the same machine code, but for the names of registers, 118",
    ),
    "other registers": (again(registers=120), SAME, "k1: same code; registers 118 → 120"),
    "other shared memory": (again(shared_bytes=49160), SAME, ""),
    "other names and registers": (
        again(code_hash=OTHER, registers=120),
        SAME,
        "k1: same but for the names of registers; registers 118 → 120;",
    ),
    "another grid": (again(grid=512), SAME, "k1: same code; programs 1024 → 512; 118 registers"),
    "another argument": (again(arguments={"M": 4096, "SPLITS": 4}), SAME, "k1: same code; SPLITS 1 → 4; 118 registers"),
    "other code with the same resources": (
        changed(registers=124, instructions={**FACTS.instructions, "integer": 413}),
        SAME,
        "k1: the code changed, its resources hold: registers 118 → 124; elsewhere: 13 more integer; 124 registers, no spills",
    ),
    "a spill that appears": (
        changed(registers=255, spill_instructions=42, stack_bytes=128),
        "spills",
        "registers now spill: 0 → 42 spill instructions, stack 0 → 128 bytes, registers 118 → 255",
    ),
    "a lost block names its limiter": (
        changed(registers=172, limited_by="registers", **LOST),
        SLOWER,
        "2 → 1 blocks an SM: registers 118 → 172 (16.7 → 8.3 % of the warps); if it is meant, record it with `nox -s update",
    ),
    "every limiter of a lost block": (
        changed(registers=172, shared_bytes=65536, limited_by="registers and shared memory", **LOST),
        SLOWER,
        "registers 118 → 172 and shared memory 49152 → 65536 bytes",
    ),
    "a block lost though larger blocks hold more warps": (
        changed(config={**FACTS.config, "num_warps": 16}, blocks_per_sm=1, occupancy_percent=33.33),
        SLOWER,
        "num_warps 4 → 16",
    ),
    "a loss, and what the main loop does now, nothing twice": (
        changed(registers=132, limited_by="registers", instructions=MIX, main_loop=LOOP, **LOST),
        SLOWER,
        "registers 118 → 132 (16.7 → 8.3 % of the warps) (also main loop: 24 more integer, 8 more conversions); if it is",
    ),
    "tensor cores no longer used": (changed(instructions={"fp32": 9, "integer": 400}), "tensor-cores-lost", "128 → 0"),
    "a block gained by the same configuration": (changed(**GAINED), FASTER, "2 → 3 blocks an SM"),
    "a block gained by another proves nothing": (changed(config={**FACTS.config, "BLOCK_M": 32}, **GAINED), SAME, ""),
    "a renamed kernel": (changed(name="matmul_v2", **LOST), SLOWER, ""),
}
SPILLED = {
    (43, 128): "spills",
    (42, 136): "spills",
    (41, 136): "spills",
    (42, 128): SAME,
    (41, 128): SAME,
    (42, 120): SAME,
}
Kernels = tuple[KernelFacts, ...]
CHANGES: dict[str, tuple[Kernels, Kernels, str, str]] = {
    **{name: ((FACTS,), (now,), reason, says) for name, (now, reason, says) in ALONE.items()},
    **{
        f"a spill that is {spills}, {stack}": (
            (SPILLING,),
            (changed(spill_instructions=spills, stack_bytes=stack),),
            reason,
            "registers spill more" if reason == "spills" else "",
        )
        for (spills, stack), reason in SPILLED.items()
    },
    "spills that are gone": ((SPILLING,), (changed(stack_bytes=136),), FASTER, "42 → 0"),
    "a gain does not buy a loss": ((SPILLING,), (changed(**LOST),), SLOWER, ""),
    "two kernels of a name, in launch order": ((FACTS, SECOND), (FACTS, SECOND), "same-code", ""),
    "the worst of several": (
        (FACTS, REDUCE),
        (FACTS, changed(REDUCE, **SPILLS)),
        "spills",
        "reduce registers now spill",
    ),
    "a new kernel": ((FACTS,), (FACTS, REDUCE), SAME, "reduce is new"),
    "a new one that spills": (
        (FACTS,),
        (FACTS, changed(REDUCE, **SPILLS)),
        "spills",
        "reduce is new and spills: 2 spill",
    ),
    "a kernel that is no longer launched": ((FACTS, REDUCE), (FACTS,), SAME, "reduce is no longer launched"),
}


@pytest.mark.parametrize(("before", "after", "reason", "says"), CHANGES.values(), ids=CHANGES)
def test_a_change_has_its_reason_and_says_what_moved(before: Kernels, after: Kernels, reason: str, says: str) -> None:
    verdict = judge(case(*after), baseline(*before))

    assert (verdict.status, verdict.reason) == (STATUS.get(reason, Status.SLOWER), reason)
    assert verdict.exit_code == (reason not in STATUS)
    assert says in verdict.text


NO_ROOM = {"blocks_per_sm": 0, "occupancy_percent": 0.0}
BROKEN = [
    (case(error="matmul: NameError('x is not defined')"), "does-not-compile", "x is not defined"),
    (case(FACTS, error="reduce: no"), "does-not-compile", "reduce: no"),
    (case(), "no-kernel", "launched no Triton kernel"),
    (
        case(changed(shared_bytes=135168, limited_by="shared memory", **NO_ROOM)),
        "too-much-shared-memory",
        "needs 135168 bytes of shared memory, the card gives a block 101376",
    ),
    (
        case(changed(registers=255, limited_by="registers", **NO_ROOM)),
        "does-not-fit",
        "255 registers a thread at 4 warps",
    ),
]


@pytest.mark.parametrize(("now", "reason", "says"), BROKEN, ids=[row[1] for row in BROKEN])
def test_what_cannot_run_is_wrong_even_without_a_baseline(now: CompiledCase, reason: str, says: str) -> None:
    for stored in (baseline(), None):
        verdict = judge(now, stored)
        assert (verdict.status, verdict.reason) == (Status.INVALID, reason)
        assert (verdict.wrong, verdict.exit_code) == (True, 1)
        assert says in verdict.text


@pytest.mark.parametrize(
    ("now", "stored", "reason", "says"),
    [
        (case(FACTS), None, "no-baseline", "nothing to compare with"),
        (case(FACTS), baseline(target="sm_90"), "other-target", "is for sm_90"),
        (case(FACTS), baseline(cases={"k2": case(FACTS)}), "case-not-in-baseline", "update-baselines"),
        (
            case(FACTS, contract={**CONTRACT, "precision": "ieee"}),
            baseline(),
            "contract-changed",
            "precision tf32 → ieee",
        ),
    ],
)
def test_what_cannot_be_compared_is_invalid(
    now: CompiledCase, stored: CompiledBaseline | None, reason: str, says: str
) -> None:
    verdict = judge_compiled({"k1": now}, stored, versions=VERSIONS, selected={"k1"})[0]

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.INVALID, reason, 2)
    assert says in verdict.text


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
