"""Main loops of this kernel's own machine code: each does the work that its tile says, and loads what that work needs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kernel_support import python

_COMPILE = """
import json, sys
import torch
from msgspec import structs
from kernels import matmul
from perfgate.codegen.extract import compile_case

for target, a, b, dtype, options in json.loads(sys.argv[1]):
    operands = [torch.empty(shape, device="meta", dtype=getattr(torch, dtype)) for shape in (a, b)]
    case = compile_case(lambda: matmul.triton_matmul(*operands, **options), contract={}, target=target)
    assert not case.error, case.error
    print(json.dumps([structs.asdict(facts) for facts in case.kernels]))
"""

SQUARE = ((2048, 2048), (2048, 2048))
CALLS = {
    "tile of 128 by 128": ("sm_89", *SQUARE, "float16", {}),
    "scaled": ("sm_89", *SQUARE, "float32", {}),
    "three products": ("sm_89", *SQUARE, "float32", {"precision": "bf16x3"}),
    "long sums in parts": ("sm_89", (2048, 32768), (32768, 2048), "float16", {}),
    "split": ("sm_89", (256, 524288), (524288, 256), "float32", {}),
    "ieee": ("sm_89", (512, 512), (512, 512), "float32", {"precision": "ieee"}),
    "vector": ("sm_89", (2048, 1048576), (1048576, 1), "float32", {}),
    "hopper": ("sm_90", *SQUARE, "float16", {}),
}
Found = dict[str, list[dict[str, Any]]]
TILED = ["tile of 128 by 128", "scaled", "three products", "long sums in parts", "split", "hopper"]


@pytest.fixture(scope="module")
def found() -> Found:
    lines = python(_COMPILE, json.dumps(list(CALLS.values())), TRITON_INTERPRET="0").splitlines()
    return dict(zip(CALLS, map(json.loads, lines), strict=True))


def product(found: Found, name: str) -> dict[str, Any]:
    """The kernel of a call that multiplies."""
    (facts,) = (facts for facts in found[name] if facts["name"] in {"matmul_kernel", "split_kernel", "hopper_kernel"})
    return facts


@pytest.mark.parametrize("name", TILED)
def test_a_trip_is_one_step_of_the_tile_along_k(found: Found, name: str) -> None:
    facts = product(found, name)
    loop, sizes = facts["main_loop"], facts["arguments"]
    m, n, k, warps = (facts["config"][key] for key in ("BLOCK_M", "BLOCK_N", "BLOCK_K", "num_warps"))
    assert loop["tensor_unit"] == {"split": "mma32", "hopper": "wgmma16"}.get(name, "mma16")
    assert loop["tensor_flops"] * warps == 2 * m * n * k
    assert facts["grid"] * m * n == sizes["M"] * sizes["N"] * sizes.get("SPLITS", 1)
    if name == "hopper":
        return
    # It copies one step of both operands, and writes that to shared memory.
    step = (m + n) * k * (4 if name == "split" else 2)  # the others multiply 16 bits, given or prepared
    assert loop["instructions"]["async_copy_128"] * 16 * 32 * warps == step
    # Warps stand in a grid over the tile: each row of A is read once for every column of warps, and so on.
    grids = [(rows, warps // rows) for rows in (1, 2, 4, 8) if rows <= warps]
    expected = [step // (m + n) * (m * columns + n * rows) for rows, columns in grids]
    read = loop["shared_bytes"] * warps - step
    assert min(abs(read - one) / one for one in expected) < 0.05  # and a few words that are no operands


def test_long_sums_are_a_loop_in_a_loop_and_the_inner_one_is_the_main_one(found: Found) -> None:
    long, short = product(found, "long sums in parts"), product(found, "tile of 128 by 128")
    assert (long["config"]["LONG_K"], short["config"]["LONG_K"]) == (True, False)
    # Where sums are added up in FP32 belongs to the outer loop.
    assert long["instructions"]["fp32"] >= 128
    assert "fp32" not in long["main_loop"]["instructions"]


@pytest.mark.parametrize("name", ["vector", "ieee"])
def test_what_takes_no_tensor_core_has_a_main_loop_too(found: Found, name: str) -> None:
    (facts,) = found[name]
    loop = facts["main_loop"]
    assert (loop["tensor_flops"], loop["tensor_unit"]) == (0, "")
    assert loop["instructions"]["fp32"] > 0
    assert "tensor_core" not in facts["instructions"]


def test_a_kernel_that_goes_round_nothing_has_none(found: Found) -> None:
    prepared = [facts["main_loop"] for facts in found["three products"] if facts["name"] == "prepare_kernel"]
    assert prepared == [{}, {}]
