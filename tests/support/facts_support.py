"""A kernel's facts in numbers that agree with each other, and a baseline that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import structs

from perfgate.store.compiled import CompiledBaseline, CompiledCase, KernelFacts, MainLoop, Operation

if TYPE_CHECKING:
    from collections.abc import Mapping

FACTS = KernelFacts(
    name="matmul_kernel",
    config={"BLOCK_M": 64, "EVEN_K": True, "PRECISION": "tf32", "num_warps": 4, "num_stages": 3},
    code_hash="a" * 64,
    normal_hash="c" * 64,
    registers=118,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=32768,
    blocks_per_sm=3,
    limited_by="shared memory",
    occupancy_percent=25.0,
    instructions={"integer": 457, "tensor_core": 128},
    main_loop={
        "instructions": {"integer": 40, "tensor_core": 64},
        "total": 104,
        "tensor_flops": 262144,
        "tensor_unit": "mma16",
        "shared_bytes": 8192,
    },
    grid=1024,
    arguments={"M": 4096, "stride_am": -4096},
)


def facts(**changes: Any) -> KernelFacts:
    """`FACTS` but for some."""
    return structs.replace(FACTS, **changes)


LOOP = {"async_copy_128": 8, "integer": 100, "shared_load_128": 4, "tensor_core": 64}
REST = {"branch": 3, "integer": 300, "move": 50}


def loop(counts: Mapping[str, int], *, flops: int = 262144) -> MainLoop:
    """A main loop of these instructions."""
    total = sum(counts.values())
    return {**FACTS.main_loop, "instructions": dict(counts), "total": total, "tensor_flops": flops}


def together(*parts: Mapping[str, int]) -> dict[str, int]:
    """Counts of several parts of the code, added."""
    return {name: sum(part.get(name, 0) for part in parts) for name in sorted({*LOOP, *REST}.union(*parts))}


BEFORE = facts(
    config={"BLOCK_M": 128, "num_warps": 4},
    shared_bytes=49152,
    blocks_per_sm=2,
    occupancy_percent=16.67,
    instructions=together(LOOP, REST),
    main_loop=loop(LOOP),
    arguments={"K": 4096, "M": 4096},
)
"""Of which `changed` is another build."""


def changed(before: KernelFacts = BEFORE, /, **changes: Any) -> KernelFacts:
    """Other code, with these facts."""
    return structs.replace(before, **{"code_hash": "b" * 64, "normal_hash": "d" * 64} | changes)


LOOPLESS = facts(main_loop={}, arguments={})
COPY = Operation(name="clone", moved_bytes=1 << 20)
VERSIONS = {"triton": "3.8.0", "torch": "2.14.1", "ptxas": "12.9"}
BASELINE = CompiledBaseline(
    target="sm_89",
    versions=VERSIONS,
    recorded_at="2026-01-02T03:04:05+00:00",
    commit="0123abc",
    reason="first recording",
    cases={
        "k7": CompiledCase(contract={"shapes": [[8, 4], [4, 8]], "precision": "tf32"}, kernels=(FACTS, FACTS)),
        "k1": CompiledCase(contract={"shapes": [[8, 8], [8, 8]]}, kernels=(FACTS, LOOPLESS), operations=(COPY,)),
    },
)
