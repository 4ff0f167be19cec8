"""What changed in the machine code, in words: each thing that moved is told, the largest first, and nothing that did not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.codegen.diff import REORDERED, lines, one_line, sameness
from perfgate.records import KernelFacts, MainLoop

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOP = {"async_copy_128": 8, "integer": 100, "shared_load_128": 4, "tensor_core": 64}
REST = {"branch": 3, "integer": 300, "move": 50}


def loop(counts: Mapping[str, int], *, flops: int = 262144) -> MainLoop:
    return {
        "instructions": counts,
        "total": sum(counts.values()),
        "tensor_flops": flops,
        "tensor_unit": "mma16",
        "shared_bytes": 0,
    }


def together(*parts: Mapping[str, int]) -> dict[str, int]:
    return {
        name: sum(part.get(name, 0) for part in parts) for name in sorted({name for part in parts for name in part})
    }


BEFORE = KernelFacts(
    name="matmul_kernel",
    config={"BLOCK_M": 128, "num_warps": 4},
    code_hash="a" * 64,
    normal_hash="c" * 64,
    registers=118,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=49152,
    blocks_per_sm=2,
    limited_by="shared memory",
    occupancy_percent=16.67,
    instructions=together(LOOP, REST),
    main_loop=loop(LOOP),
    grid=1024,
    arguments={"K": 4096, "M": 4096},
)


def changed(**changes: Any) -> KernelFacts:
    """Other code than `BEFORE`, with these facts."""
    return replace(BEFORE, code_hash="b" * 64, normal_hash="d" * 64, **changes)


def looping(counts: Mapping[str, int], *, flops: int = 262144, rest: Mapping[str, int] = REST) -> KernelFacts:
    """Other code, whose main loop has these instructions."""
    return changed(instructions=together(counts, rest), main_loop=loop(counts, flops=flops))


def test_it_is_the_same_code_or_that_but_for_names_or_another() -> None:
    renamed = replace(BEFORE, code_hash="b" * 64)

    assert [sameness(BEFORE, after) for after in (BEFORE, renamed, changed())] == [
        "same code",
        "same but for the names of registers",
        "",
    ]
    assert one_line(BEFORE, BEFORE) == "same code"
    assert one_line(BEFORE, renamed) == "same but for the names of registers"
    assert lines(BEFORE, renamed) == ("same but for the names of registers",)


def test_code_in_another_order_is_not_the_same_though_no_count_moved() -> None:
    assert one_line(BEFORE, changed()) == REORDERED
    assert lines(BEFORE, changed()) == (REORDERED,)


ONE_LINE = {
    "a block lost to registers, and the loop": (
        replace(
            looping({**LOOP, "integer": 124, "conversion": 8}),
            registers=132,
            blocks_per_sm=1,
            limited_by="registers",
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
    "what moved out of the loop": (
        looping({**LOOP, "integer": 80}, rest={**REST, "integer": 320}),
        "main loop: 20 fewer integer; elsewhere: 20 more integer",
    ),
    "a trip of twice the work with fewer additions than two": (
        looping({"async_copy_128": 16, "integer": 170, "shared_load_128": 8, "tensor_core": 128}, flops=524288),
        "main loop with 2× the tensor-core work a trip, for as much work: 15 fewer integer",
    ),
    "a trip of twice the work and no difference": (
        looping({name: 2 * number for name, number in LOOP.items()}, flops=524288),
        "main loop with 2× the tensor-core work a trip",
    ),
    "no tensor core any more": (
        looping({"async_copy_128": 8, "fp32": 512, "integer": 100, "shared_load_128": 4}, flops=0),
        "main loop: 512 more FP32, 64 fewer tensor-core",
    ),
    "no loop any more": (
        changed(main_loop={}, instructions={**BEFORE.instructions, "branch": 4, "tensor_core": 128}),
        "main loop is gone; all code: 64 more tensor-core, 1 more branch",
    ),
    "a class without a word of its own": (looping({**LOOP, "telepathy": 2}), "main loop: 2 more telepathy"),
}


@pytest.mark.parametrize(("after", "expected"), ONE_LINE.values(), ids=ONE_LINE)
def test_one_line_has_what_moved(after: KernelFacts, expected: str) -> None:
    assert one_line(BEFORE, after) == expected


def test_a_loop_that_is_new_is_told() -> None:
    before = replace(BEFORE, main_loop={})

    assert one_line(before, changed()) == "main loop of 176 instructions is new"


def test_without_loops_all_the_code_is_compared() -> None:
    before = replace(BEFORE, main_loop={})
    after = changed(main_loop={}, instructions={**BEFORE.instructions, "integer": 401})

    assert one_line(before, after) == "all code: 1 more integer"


def test_a_report_has_a_line_for_everything_that_moved() -> None:
    counts = {**LOOP, "barrier": 1, "conversion": 9, "fp32": 2, "integer": 104, "move": 3}
    after = replace(looping(counts, rest={**REST, "branch": 4}), registers=124, grid=2048)

    assert lines(BEFORE, after) == (
        "registers 118 → 124",
        "programs 1024 → 2048",
        "main loop:",
        "  conversions 0 → 9",
        "  integer 100 → 104",
        "  moves 0 → 3",
        "  FP32 0 → 2",
        "  barriers 0 → 1",
        "elsewhere:",
        "  branches 3 → 4",
    )


def test_a_report_scales_a_trip_of_other_work_and_says_so() -> None:
    after = looping({"async_copy_128": 16, "integer": 171, "shared_load_128": 8, "tensor_core": 128}, flops=524288)

    assert lines(BEFORE, after) == (
        "main loop with 2× the tensor-core work a trip, for as much work:",
        "  integer 100 → 85.5",
    )


def test_the_same_code_launched_otherwise_is_both() -> None:
    after = replace(BEFORE, grid=512, registers=120)

    assert one_line(BEFORE, after) == "same code; registers 118 → 120; programs 1024 → 512"
    assert lines(BEFORE, after) == ("same code", "registers 118 → 120", "programs 1024 → 512")
