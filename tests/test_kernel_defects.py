"""Tests for each defect that the starting kernel had, by its number in the list of them."""

import ast
import contextlib
import json
import os
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from kernel_support import DEVICE, assert_within_bound

from kernels import matmul
from kernels.matmul import choose_config, matmul_kernel, triton_matmul

SOURCE = Path(matmul.__file__)
TREE = ast.parse(SOURCE.read_text(encoding="utf-8"))
CONFIGS = matmul_kernel.configs

# Runs without the interpreter and without a GPU: a driver that only names its target, and meta tensors.
COMPILE = """
import json, sys
import torch, triton
from triton.backends.compiler import GPUTarget

class Ada:
    get_current_target = staticmethod(lambda: GPUTarget("cuda", 89, 32))
    get_current_device = staticmethod(lambda: 0)
    get_current_stream = staticmethod(lambda device: 0)

triton.runtime.driver.set_active(Ada())
from kernels.matmul import matmul_kernel, triton_matmul

jit = matmul_kernel
while not isinstance(jit, triton.JITFunction):
    jit = jit.fn
for a, b, dtype, precision in json.loads(sys.argv[1]):
    operands = [torch.empty(shape, device="meta", dtype=getattr(torch, dtype)) for shape in (a, b)]
    jit.device_caches.clear()
    triton_matmul(*operands, precision=precision)
    (kernel,) = jit.device_caches[0][0].values()
    facts = {"warps": kernel.metadata.num_warps, "stages": kernel.metadata.num_stages, "shared": kernel.metadata.shared}
    facts |= {"ttir": kernel.asm["ttir"], "ptx": kernel.asm["ptx"], "chosen": matmul_kernel.best_config.all_kwargs()}
    print(json.dumps(facts))
"""
COMPILED_CASES = {
    "compute-bound": ([1024, 1024], [1024, 2048], "float32", None),
    "small": ([512, 512], [512, 512], "float32", None),
    "store-bound": ([4096, 64], [64, 4096], "float32", None),
    "one step": ([4096, 32], [32, 4096], "float32", None),
    "irregular": ([1025, 1023], [1023, 2049], "float32", None),
    "half": ([1024, 1024], [1024, 2048], "float16", None),
    "tf32x3": ([512, 512], [512, 512], "float32", "tf32x3"),
    "bf16x3": ([512, 512], [512, 512], "float32", "bf16x3"),
    "ieee": ([512, 512], [512, 512], "float32", "ieee"),
}


def python(code: str, *arguments: str, **environment: str) -> str:
    """Run code in a Python of its own, so that what it breaks is only itself; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=SOURCE.parent.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def compiled() -> dict[str, dict[str, Any]]:
    lines = python(COMPILE, json.dumps(list(COMPILED_CASES.values())), TRITON_INTERPRET="0").splitlines()
    return dict(zip(COMPILED_CASES, map(json.loads, lines), strict=True))


def rule(  # noqa: PLR0913 - what the rule reads
    m: int, n: int, k: int, *, batch: int = 1, precision: str = "tf32", capability: int = 89
) -> tuple[int, int, int, int]:
    named = {"M": m, "N": n, "K": k, "BATCH": batch, "PRECISION": precision, "CAPABILITY": capability}
    config = choose_config(CONFIGS, named)
    return tuple(config.kwargs[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M"))


# 1. The inner dimension was never checked.
def test_inner_dimensions_that_differ_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        triton_matmul(torch.ones(2, 3, device=DEVICE), torch.ones(4, 5, device=DEVICE))


# 2. num_warps inside a Config's dict was ignored.
def test_no_config_hides_warps_or_stages_among_its_tile_sizes() -> None:
    for config in CONFIGS:
        assert set(config.kwargs) == {"BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M"}


@pytest.mark.parametrize("case", COMPILED_CASES)
def test_the_warps_and_stages_of_the_chosen_config_reach_the_machine_code(
    case: str, compiled: dict[str, dict[str, Any]]
) -> None:
    facts = compiled[case]
    assert (facts["warps"], facts["stages"]) == (facts["chosen"]["num_warps"], facts["chosen"]["num_stages"])
    assert f".reqntid {32 * facts['warps']}" in facts["ptx"]


@pytest.mark.parametrize("case", COMPILED_CASES)
def test_a_block_fits_into_the_shared_memory_of_an_rtx_4090(case: str, compiled: dict[str, dict[str, Any]]) -> None:
    assert 0 < compiled[case]["shared"] <= 101_376


# 3. TF32 by truncation was biased.
def test_tf32_operands_are_rounded_to_nearest_in_the_machine_code(compiled: dict[str, dict[str, Any]]) -> None:
    assert "cvt.rna.tf32.f32" in compiled["compute-bound"]["ptx"]
    assert "cvt.rna.tf32.f32" not in compiled["ieee"]["ptx"]


def test_tf32_has_no_bias_where_truncation_would_lose_one_part_in_two_thousand() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(128, 128, generator=generator).to(DEVICE) for _ in range(2))
    exact = a.double() @ b.double()
    error = (triton_matmul(a, b).double() - exact) / exact
    assert error.abs().max() > 2**-18, "nothing was rounded to TF32"
    assert error.mean().abs() < 2**-17


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
def test_tf32_rounds_to_nearest_ties_away_from_zero_and_keeps_infinity_and_nan() -> None:
    ulp = 2.0**-10
    given = [1 + ulp / 2, 1 + ulp / 2 - 2**-23, -1 - ulp / 2, 1 + 1.5 * ulp, 2 - 2**-23, 3.4028234e38, torch.inf]
    expected = [1 + ulp, 1.0, -1 - ulp, 1 + 2 * ulp, 2.0, torch.inf, torch.inf]
    for value, rounded in zip(given, expected, strict=True):
        a, one = torch.tensor([[value]], device=DEVICE), torch.ones(1, 1, device=DEVICE)
        assert triton_matmul(a, one).item() == rounded, value
    # A NaN whose payload is all ones carries into the sign if it is rounded as a number.
    nan = torch.tensor([[0x7FFFFFFF]], dtype=torch.int32).view(torch.float32).to(DEVICE)
    assert triton_matmul(nan, torch.ones(1, 1, device=DEVICE)).isnan().all()


# 4. Offsets were 32-bit.
BEYOND_2_31 = """
import torch
from kernels.matmul import triton_matmul
device = "cuda" if torch.cuda.is_available() else "cpu"
# The pages between the rows are never touched, so they take no memory.
for rows, stride in ((3, 2**30), (70, 2**25), (3, 2**31 + 1)):
    storage = torch.empty((rows - 1) * stride + 4, dtype=torch.float16, device=device)
    view = storage.as_strided((rows, 4), (stride, 1))
    values = torch.arange(4.0 * rows, device=device).reshape(rows, 4).half()
    eye = torch.eye(4, device=device).half()
    view.copy_(values)
    assert triton_matmul(view, eye).equal(values), "as a"
    assert triton_matmul(eye, view.t()).equal(values.t()), "as b"
    view.zero_()
    triton_matmul(values, eye, out=view)
    assert view.equal(values), "as out"
    del storage, view
"""


def test_elements_past_two_to_the_31_are_read_and_written_where_they_are() -> None:
    python(BEYOND_2_31, **({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}))


# 5. The group that shares a row of B was as large as a tile: B came from DRAM again and again.
def test_the_raster_groups_eight_row_tiles_or_none() -> None:
    assert {config.kwargs["GROUP_M"] for config in CONFIGS} == {1, 8}
    assert rule(32768, 32768, 64)[3] == 1, "stores are the limit: row-major"
    assert rule(4096, 4096, 4096)[3] == 8, "arithmetic is the limit: grouped"


# 6. The rotation within a group looked wrong and was not: every tile must be computed, once.
@pytest.mark.parametrize("m", [64, 500, 513, 1100])
def test_every_tile_is_computed_whatever_the_last_group_holds(m: int) -> None:
    a, b = torch.randn(m, 4, device=DEVICE), torch.randn(4, 200, device=DEVICE)
    c = torch.full((m, 200), torch.nan, device=DEVICE)
    assert_within_bound(triton_matmul(a, b, out=c), a, b)


# 7. Seven configs where two to four are asked, without stages.
def test_there_are_two_to_four_configs_of_permitted_tiles_and_the_starting_tile_is_one() -> None:
    assert 2 <= len(CONFIGS) <= 4
    for config in CONFIGS:
        assert {config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"]} <= {32, 64, 128, 256}
        assert config.kwargs["BLOCK_K"] in {16, 32, 64}
    start = [c for c in CONFIGS if (c.kwargs["BLOCK_M"], c.kwargs["BLOCK_N"], c.kwargs["BLOCK_K"]) == (64, 256, 32)]
    assert [(config.num_warps, config.num_stages) for config in start] == [(4, 3)]


def test_every_config_states_its_warps_and_stages_and_decorates_the_kernel() -> None:
    calls = [node for node in ast.walk(TREE) if isinstance(node, ast.Call)]
    configs = [call for call in calls if ast.unparse(call.func) == "triton.Config"]
    assert len(configs) == len(CONFIGS)
    assert all({keyword.arg for keyword in call.keywords} == {"num_warps", "num_stages"} for call in configs)
    tuned = [
        f
        for f in TREE.body
        if isinstance(f, ast.FunctionDef) and "autotune" in str(f.decorator_list and ast.unparse(f.decorator_list[0]))
    ]
    assert [function.name for function in tuned] == ["matmul_kernel"]
    assert "triton.jit" in ast.unparse(tuned[0].decorator_list[-1])


@pytest.mark.parametrize(
    ("case", "tile"),
    [
        (rule(4096, 4096, 4096), (64, 256, 32, 8)),
        (rule(2048, 4096, 8192), (64, 256, 32, 8)),
        (rule(512, 2048, 1024, batch=128), (64, 256, 32, 8)),
        (rule(2048, 1, 1048576), (64, 64, 32, 8)),
        (rule(256, 256, 524288), (64, 64, 32, 8)),
        (rule(4096, 4096, 65536), (128, 64, 32, 8)),
        (rule(32768, 32768, 64), (64, 128, 32, 1)),
        (rule(8205, 5921, 2949), (64, 256, 32, 8)),
        (rule(32768, 32768, 32, precision="native"), (64, 128, 32, 1)),
        (rule(16384, 768, 2048), (64, 256, 32, 8)),
        (rule(2048, 2048, 2048), (64, 256, 32, 8)),
        (rule(1024, 1024, 1024), (128, 64, 32, 8)),
        (rule(512, 512, 512), (64, 64, 32, 8)),
        (rule(4096, 4096, 4096, precision="ieee"), (64, 64, 32, 8)),
        (rule(4096, 4096, 4096, capability=90), (128, 64, 32, 8)),
        (rule(8205, 5921, 2949, capability=90), (64, 256, 32, 8)),
        (rule(4096, 4096, 4096, precision="native", capability=90), (64, 256, 32, 8)),
        (rule(4096, 4096, 4096, capability=0), (64, 256, 32, 8)),
    ],
)
def test_the_rule_gives_each_workload_its_tile(
    case: tuple[int, int, int, int], tile: tuple[int, int, int, int]
) -> None:
    assert case == tile


def test_what_ran_is_the_rules_choice_and_nothing_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton.testing.do_bench", lambda *_a, **_k: pytest.fail("a launch was timed"))
    matmul_kernel.cache.clear()
    for m, precision in ((4, None), (4, "ieee"), (130, None)):
        triton_matmul(torch.ones(m, 5, device=DEVICE), torch.ones(5, 6, device=DEVICE), precision=precision)
        named = {"M": m, "N": 6, "K": 5, "BATCH": 1, "PRECISION": precision or "tf32"}
        named["CAPABILITY"] = torch.cuda.get_device_capability()[0] * 10 if torch.cuda.is_available() else 0
        assert matmul_kernel.best_config is choose_config(CONFIGS, named)
    assert len(matmul_kernel.cache) == 3


# 8. Masks though K divides, copies, asserts, an is_cuda check, no device guard.
def test_loads_and_stores_are_masked_only_where_a_dimension_is_cut(compiled: dict[str, dict[str, Any]]) -> None:
    operands = {
        case: [
            (kind, listed.count(",") + 1)
            for kind, listed in re.findall(r"tt\.(load|store) ([^:{]*) :", compiled[case]["ttir"])
        ]
        for case in ("compute-bound", "irregular")
    }
    assert operands["compute-bound"] == [("load", 1), ("load", 1), ("store", 2)]
    assert operands["irregular"] == [("load", 3), ("load", 3), ("store", 3)]


@pytest.mark.parametrize("name", ["contiguous", "is_cuda", "clone", "reshape"])
def test_nothing_is_copied_and_the_interpreter_is_not_shut_out(name: str) -> None:
    assert name not in {node.attr for node in ast.walk(TREE) if isinstance(node, ast.Attribute)}


def test_no_check_vanishes_under_python_o() -> None:
    assert not [node for node in ast.walk(TREE) if isinstance(node, ast.Assert)]


def test_the_launch_is_guarded_by_the_device_of_its_operands(monkeypatch: pytest.MonkeyPatch) -> None:
    guarded: list[torch.Tensor] = []

    def device_of(tensor: torch.Tensor) -> AbstractContextManager[None]:
        guarded.append(tensor)
        return contextlib.nullcontext()

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    a = torch.ones(2, 2, device=DEVICE)
    triton_matmul(a, a)
    assert guarded == [a]


def test_cpu_tensors_without_the_interpreter_are_refused_in_words() -> None:
    code = "import torch; from kernels.matmul import triton_matmul as f; a = torch.ones(2, 2)\n"
    code += "try: f(a, a)\nexcept ValueError as error: print(error)"
    assert "must be CUDA tensors, got cpu; for others set TRITON_INTERPRET=1" in python(code, TRITON_INTERPRET="0")
