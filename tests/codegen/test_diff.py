"""What changed in the machine code, in words: each thing that moved is told, the largest first, and nothing that did not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from facts_support import BEFORE, LOOP, REST, changed, loop, together
from perfgate.codegen.diff import REORDERED, listing, one_line, pairs
from perfgate.store.compiled import CompiledCase, KernelFacts

if TYPE_CHECKING:
    from collections.abc import Mapping


def looping(counts: Mapping[str, int], *, flops: int = 262144, rest: Mapping[str, int] = REST) -> KernelFacts:
    """Other code, whose main loop has these instructions."""
    return changed(instructions=together(counts, rest), main_loop=loop(counts, flops=flops))


RENAMED = structs.replace(BEFORE, code_hash="b" * 64)
ONE_LINE = {
    "the same code": (BEFORE, "same code"),
    "other names of registers": (RENAMED, "same but for the names of registers"),
    "the same code launched otherwise": (
        structs.replace(BEFORE, grid=512, registers=120),
        "same code; registers 118 → 120; programs 1024 → 512",
    ),
    "code in another order, though no count moved": (changed(), REORDERED),
    "a block lost to registers, and the loop": (
        structs.replace(
            looping({**LOOP, "integer": 124, "conversion": 8}), registers=132, blocks_per_sm=1, limited_by="registers"
        ),
        "2 → 1 blocks an SM: registers 118 → 132; main loop: 24 more integer, 8 more conversions",
    ),
    "a block gained names what held it down before": (
        changed(shared_bytes=32768, blocks_per_sm=3, limited_by="registers"),
        "2 → 3 blocks an SM: shared memory 49152 → 32768 bytes",
    ),
    "a limit that did not move itself": (
        changed(config={"BLOCK_M": 128, "num_warps": 8}, blocks_per_sm=1, limited_by="registers"),
        "2 → 1 blocks an SM: registers 118 at 4 → 8 warps; num_warps 4 → 8",
    ),
    "spills first": (
        changed(registers=255, spill_instructions=42, stack_bytes=128),
        "0 → 42 spill instructions; stack 0 → 128 bytes; registers 118 → 255",
    ),
    "another limit of as many blocks": (
        changed(limited_by="registers and shared memory", registers=128),
        "registers 118 → 128; blocks limited by shared memory → registers and shared memory",
    ),
    "configuration, programs and arguments": (
        changed(config={"BLOCK_M": 64, "num_warps": 4}, grid=2048, arguments={"K": 4096, "M": 4096, "SPLITS": 2}),
        "BLOCK_M 128 → 64; programs 1024 → 2048; SPLITS – → 2",
    ),
    "loads by their width": (
        looping({**LOOP, "shared_load_128": 2, "shared_load_32": 8, "async_copy_128": 9}),
        "main loop: 8 more 32-bit shared loads, 2 fewer 128-bit shared loads, 1 more 128-bit async copy",
    ),
    "no more than four classes": (
        looping({**LOOP, "barrier": 1, "conversion": 9, "fp32": 2, "logic": 4, "move": 3}),
        "main loop: 9 more conversions, 4 more predicate or logic, 3 more moves, 2 more FP32",
    ),
    "what lies elsewhere": (
        looping(LOOP, rest={"branch": 4, "integer": 290, "move": 53}),
        "elsewhere: 10 fewer integer, 3 more moves",
    ),
    "a trip of twice the work with fewer additions than two": (
        looping({"async_copy_128": 16, "integer": 170, "shared_load_128": 8, "tensor_core": 128}, flops=524288),
        "main loop with 2× the tensor-core work a trip, for as much work: 15 fewer integer",
    ),
    "no tensor core any more": (
        looping({"async_copy_128": 8, "fp32": 512, "integer": 100, "shared_load_128": 4}, flops=0),
        "main loop: 512 more FP32, 64 fewer tensor-core",
    ),
    "no loop any more": (
        changed(main_loop={}, instructions={**BEFORE.instructions, "branch": 4, "tensor_core": 128}),
        "main loop is gone; all code: 64 more tensor-core, 1 more branch",
    ),
}


@pytest.mark.parametrize(("after", "expected"), ONE_LINE.values(), ids=ONE_LINE)
def test_one_line_has_what_moved(after: KernelFacts, expected: str) -> None:
    assert one_line(BEFORE, after) == expected


def test_without_a_loop_before_all_the_code_is_compared() -> None:
    before = structs.replace(BEFORE, main_loop={})
    assert one_line(before, changed()) == "main loop of 176 instructions is new"
    more = changed(main_loop={}, instructions={**BEFORE.instructions, "integer": 401})
    assert one_line(before, more) == "all code: 1 more integer"


def case(*kernels: KernelFacts) -> CompiledCase:
    return CompiledCase(contract={}, kernels=kernels)


SUM = structs.replace(BEFORE, name="sum")


def test_in_a_listing_cases_of_which_the_same_is_told_share_a_line_and_equal_kernels_are_counted() -> None:
    after = changed(registers=130)
    before = {"a": case(BEFORE, SUM), "b": case(BEFORE), "c": case(BEFORE), "d": case(BEFORE), "gone": case(BEFORE)}
    now = {"a": case(after, SUM), "b": case(after), "c": case(BEFORE), "d": case(RENAMED), "new": case(BEFORE)}
    assert listing(before, now) == [
        "a, b: matmul_kernel registers 118 → 130",
        "d: matmul_kernel same but for the names of registers",
        "2 kernels of the same machine code",
    ]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (case(BEFORE), case(changed(name="product")), f"a: matmul_kernel → product {REORDERED}"),
        (case(BEFORE), case(), "a: matmul_kernel is no longer launched"),
        (case(), case(BEFORE), "a: matmul_kernel is new"),
    ],
)
def test_a_kernel_that_appears_goes_or_is_renamed_is_listed(
    before: CompiledCase, after: CompiledCase, said: str
) -> None:
    assert listing({"a": before}, {"a": after}) == [said]


@pytest.mark.parametrize(
    ("before", "after", "of_as_many", "expected"),
    [
        ("ab", "ba", False, ["bb", "aa"]),
        ("aab", "ab", False, ["aa", "bb", "a-"]),
        ("ab", "cb", True, ["bb", "ac"]),
        ("a", "cd", False, ["ac", "-d"]),
        ("a", "cd", True, ["a-", "-c", "-d"]),
    ],
)
def test_kernels_are_paired_by_name_and_the_rest_in_order(
    before: str,
    after: str,
    of_as_many: bool,  # noqa: FBT001 - a table's column
    expected: list[str],
) -> None:
    found = pairs(before, after, name=str, of_as_many=of_as_many)
    assert ["".join(one or "-" for one in pair) for pair in found] == expected
