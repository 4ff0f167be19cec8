"""The starting kernel, written anew: right, in its own order of tiles, with its own occupancy, and not beyond its reach."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import kernel_support
from perf_tests import cases
from perfgate.harness.correctness import check_exact
from perfgate.harness.guarded import guarded
from studies.table import starting

DEVICE = kernel_support.DEVICE
ROOT = Path(__file__).parents[2]
COMPILE = """
import json, sys
from functools import partial
import torch
from msgspec import structs
from perf_tests import cases
from perfgate.codegen.extract import compile_case
from studies.table import starting

(case,) = (case for case in cases.CASES if case.id == "k7_small_k")
a, b, out = (
    torch.empty(shape, dtype=getattr(torch, case.dtype), device="meta")
    for shape in (*case.shapes, cases.result_shape(case))
)
(facts,) = compile_case(partial(starting.starting_matmul, a, b, out=out), contract={}).kernels
print(json.dumps(structs.asdict(facts)))
"""


@pytest.mark.parametrize(
    "case",
    [
        cases.matmul_case("ragged", (129, 70), (70, 300)),
        cases.matmul_case("smaller_than_a_tile", (3, 5), (5, 7)),
        cases.matmul_case("half", (70, 33), (33, 80), dtype="float16"),
        cases.matmul_case("batched_transposed", (2, 65, 33), (2, 33, 40), layouts=("column", "column")),
        cases.matmul_case("transposed_a", (70, 65), (65, 40), layouts=("column", "row")),
        cases.matmul_case("four_dimensions", (2, 3, 17, 19), (19, 23)),
    ],
    ids=lambda case: case.id,
)
def test_it_computes_the_product_and_touches_nothing_beside_its_operands_and_its_result(case: Any) -> None:
    dtype = getattr(torch, case.dtype)
    a, b = (
        guarded(shape, layout=layout, dtype=dtype, device=DEVICE, surroundings=float("nan"))
        for shape, layout in zip(case.shapes, case.layouts, strict=True)
    )
    cases.fill(case, a.tensor, b.tensor, exact=True, generator=torch.Generator(DEVICE).manual_seed(1))
    out = guarded(cases.result_shape(case), dtype=dtype, device=DEVICE)
    assert starting.starting_matmul(a.tensor, b.tensor, out=out.tensor) is out.tensor
    check_exact(case.id, a.tensor, b.tensor, out.tensor)
    assert out.intact()


def tiles_of_the_first(programs: int, m: int, n: int) -> set[tuple[int, int]]:
    """Which tiles of the result the first programs write."""
    a, b = torch.ones(m, 1, device=DEVICE), torch.ones(1, n, device=DEVICE)
    out = torch.zeros(m, n, device=DEVICE)
    starting.starting_kernel[programs, 1](
        *(a, b, out, m, n, 1),
        *(0, 1, 1, 0, n, 1, 0, n, 1),
        BLOCK_M=starting.BLOCK_M,
        BLOCK_N=starting.BLOCK_N,
        BLOCK_K=starting.BLOCK_K,
    )
    return {(row, column) for row, column in out[:: starting.BLOCK_M, :: starting.BLOCK_N].nonzero().tolist()}


def test_its_tiles_go_down_64_row_tiles_at_a_time_and_a_shorter_group_starts_rotated() -> None:
    m, n = 67 * 64, 2 * 256
    assert tiles_of_the_first(64, m, n) == {(row, 0) for row in range(64)}
    whole = {(row, column) for row in range(64) for column in range(2)}
    # 128 % 3 is 2: the last group of three begins with its last row, where the tutorial's order begins with the first.
    assert tiles_of_the_first(130, m, n) == whole | {(66, 0), (64, 0)}
    assert len(tiles_of_the_first(134, m, n)) == 67 * 2


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def test_beyond_2_to_the_31_elements_it_is_refused_and_just_within_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    launched = []
    monkeypatch.setattr(starting, "starting_kernel", {(32, 1): lambda *arguments, **_: launched.append(arguments[3:6])})
    case = next(case for case in cases.CASES if case.id == "k4_matrix_vector")
    starting.starting_matmul(*(meta(*shape) for shape in case.shapes), out=meta(*cases.result_shape(case)))
    assert launched == [(2048, 1, 1048576)]
    with pytest.raises(ValueError, match=r"^out reaches over 2147516416 elements.*at most 2"):
        starting.starting_matmul(meta(65537, 1), meta(1, 32768), out=meta(65537, 32768))


def test_on_a_4090_it_has_the_profiled_kernels_one_block_and_8_33_percent_of_the_warps() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    words = [sys.executable, "-c", COMPILE]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["config"] == {"BLOCK_M": 64, "BLOCK_N": 256, "BLOCK_K": 32, "num_warps": 4, "num_stages": 3}
    assert facts["spill_instructions"] == 0
    assert (facts["blocks_per_sm"], facts["occupancy_percent"], facts["shared_bytes"]) == (1, 8.33, 81920)
    # Operands go into the tensor core as they were loaded: nothing rounds them.
    assert facts["instructions"].get("conversion", 0) < facts["instructions"]["tensor_core"] / 8
