"""What moved between two compilations, in lines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from perfgate.codegen.listing import listing
from perfgate.store.compiled import CompiledCase
from tests.codegen.test_cache import FACTS

if TYPE_CHECKING:
    from perfgate.records import KernelFacts


def _case(*kernels: KernelFacts) -> CompiledCase:
    return CompiledCase(contract={}, kernels=kernels)


def test_registers_come_first_then_resources_configuration_and_instructions() -> None:
    after = replace(
        FACTS,
        code_hash="b" * 64,
        registers=255,
        stack_bytes=8,
        spill_instructions=2,
        shared_bytes=2048,
        blocks_per_sm=1,
        config={"BLOCK": 128, "num_warps": 4},
        instructions={"tensor_core": 60, "local_load": 1},
    )
    said = (
        "a: matmul registers 128 → 255, spill instructions 0 → 2, stack bytes 0 → 8, shared bytes 1024 → 2048, "
        "blocks an SM 2 → 1, BLOCK 64 → 128, instructions 64 → 61, tensor_core 64 → 60, local_load 0 → 1"
    )
    assert listing({"a": _case(FACTS)}, {"a": _case(after)}) == [said]


def test_cases_of_which_the_same_is_to_be_said_share_a_line_and_equal_kernels_are_counted() -> None:
    after = replace(FACTS, registers=130, code_hash="b" * 64)
    other = replace(FACTS, name="sum")
    before = {"a": _case(FACTS, other), "b": _case(FACTS), "c": _case(FACTS), "gone": _case(FACTS)}
    now = {"a": _case(after, other), "b": _case(after), "c": _case(FACTS), "new": _case(FACTS)}
    assert listing(before, now) == ["a, b: matmul registers 128 → 130", "2 kernels of the same machine code"]


def test_a_kernel_that_appears_goes_or_is_renamed_is_said() -> None:
    renamed = replace(FACTS, name="product", code_hash="b" * 64)
    assert listing({"a": _case(FACTS)}, {"a": _case(renamed)}) == [
        "a: matmul → product the same counts in another order"
    ]
    assert listing({"a": _case(FACTS)}, {"a": _case()}) == ["a: matmul is no longer launched"]
    assert listing({"a": _case()}, {"a": _case(FACTS)}) == ["a: matmul is newly launched, registers 128"]
