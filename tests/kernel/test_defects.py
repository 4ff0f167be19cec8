"""Tests for each defect that the starting kernel had, by its number in the list of them."""

import ast
import contextlib
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch

from kernel_support import DEVICE, TUNED, assert_within_bound, compiled, forget, python
from kernels import matmul
from kernels.matmul import choose_config, matmul_kernel, triton_matmul

SOURCE = Path(matmul.__file__)
TREE = ast.parse(SOURCE.read_text(encoding="utf-8"))
CONFIGS = matmul_kernel.configs

COMPILED_CASES: dict[str, tuple[Any, ...]] = {  # for the most part those of test_kernel_compiled.py, compiled once
    "compute-bound": ([1024, 1024], [1024, 1024], "float32", {}),
    "small": ([512, 512], [512, 512], "float32", {}),
    "store-bound": ([32768, 64], [64, 32768], "float32", {}),
    "scaled": ([2048, 2048], [2048, 2048], "float32", {}),
    "irregular": ([515, 515], [515, 515], "float32", {}),
    "half": ([2048, 2048], [2048, 2048], "float16", {}),
    "ieee": ([512, 512], [512, 512], "float32", {"precision": "ieee"}),
    "long sums": ([256, 524288], [524288, 256], "float32", {}),
    "vector": ([2048, 1048576], [1048576, 1], "float32", {}),
}


@pytest.fixture(scope="module")
def facts() -> dict[str, list[dict[str, Any]]]:
    return compiled(COMPILED_CASES)


def product_of(kernels: list[dict[str, Any]]) -> dict[str, Any]:
    """The one kernel among them that multiplies."""
    (found,) = (kernel for kernel in kernels if kernel["name"] in TUNED)
    return found


def rule(m: int, n: int, k: int, *, precision: str = "scaled", capability: int = 89) -> Any:
    """Return the config that the rule gives matmul_kernel."""
    named = {"M": m, "N": n, "K": k, "BATCH": 1, "PRECISION": precision, "CAPABILITY": capability}
    return choose_config(CONFIGS, named)


# 1. The inner dimension was never checked.
def test_inner_dimensions_that_differ_are_refused_before_anything_is_read() -> None:
    with pytest.raises(ValueError, match="3 and 4"):
        triton_matmul(torch.ones(2, 3, device=DEVICE), torch.ones(4, 5, device=DEVICE))


# 2. num_warps inside a Config's dict was ignored.
@pytest.mark.parametrize("name", TUNED)
def test_no_config_hides_warps_or_stages_among_its_tile_sizes(name: str) -> None:
    for config in TUNED[name].configs:
        assert all(key.startswith(("BLOCK_", "GROUP_")) for key in config.kwargs)


@pytest.mark.parametrize("case", COMPILED_CASES)
def test_the_warps_and_stages_of_the_chosen_config_reach_the_machine_code(
    case: str, facts: dict[str, list[dict[str, Any]]]
) -> None:
    kernel = product_of(facts[case])
    assert (kernel["warps"], kernel["stages"]) == (kernel["chosen"]["num_warps"], kernel["chosen"]["num_stages"])
    assert f".reqntid {32 * kernel['warps']}" in kernel["ptx"]


@pytest.mark.parametrize("case", COMPILED_CASES)
def test_a_block_fits_into_the_shared_memory_of_an_rtx_4090(case: str, facts: dict[str, list[dict[str, Any]]]) -> None:
    assert all(0 <= kernel["shared"] <= 101_376 for kernel in facts[case])
    assert all(kernel["blocks"] >= 1 for kernel in facts[case])


# 3. TF32 by truncation was biased.
def test_tf32_operands_are_rounded_to_nearest_in_the_machine_code(facts: dict[str, list[dict[str, Any]]]) -> None:
    for case in ("compute-bound", "small", "long sums", "vector"):
        assert "cvt.rna.tf32.f32" in product_of(facts[case])["ptx"], case
    assert "cvt.rna.tf32.f32" not in product_of(facts["ieee"])["ptx"]
    prepared = [kernel["ptx"] for kernel in facts["scaled"] if kernel["name"] == "prepare_kernel"]
    assert len(prepared) == 2
    assert all(re.search(r"cvt\.rn\.f16(x2)?\.f32", ptx) for ptx in prepared)


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
    # A NaN whose payload is all ones carries into the sign if it is rounded as a number.
    nan = torch.tensor([[0x7FFFFFFF]], dtype=torch.int32).view(torch.float32).to(DEVICE)
    for columns in (1, 2):  # vector_kernel and matmul_kernel
        one = torch.ones(1, columns, device=DEVICE)
        assert triton_matmul(torch.tensor(given, device=DEVICE)[:, None], one)[:, -1].tolist() == expected
        assert triton_matmul(nan.expand(2, 1), one).isnan().all()


# 4. Offsets were 32-bit.
BEYOND_2_31 = """
import torch
from kernels import matmul
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

storage = torch.empty(4 * 2**29 + 4, device=device)
view = storage.as_strided((5, 4), (2**29, 1))
values, eye = torch.arange(20.0, device=device).reshape(5, 4), torch.eye(4, device=device)
for form, splits in (("tf32", 1), ("scaled", 1), ("tf32", 2)):
    matmul.choose_form, matmul.choose_splits = lambda *_s, **_r: form, lambda *_s: splits
    matmul.forget_launches()
    view.copy_(values)
    assert triton_matmul(view, eye).equal(values), ("as a", form, splits)
    assert triton_matmul(eye, view.t()).equal(values.t()), ("as b", form, splits)
    assert triton_matmul(view, eye[:, 2:3]).equal(values[:, 2:3]), "by a vector"
    assert triton_matmul(eye[1:2], view.t()).equal(values[:, 1:2].t()), "a vector by"
    assert triton_matmul(values.t(), view).equal(values.t() @ values), "along K"
    view.zero_()
    triton_matmul(values, eye, out=view)
    assert view.equal(values), ("as out", form, splits)
    view[:, :1] = -1
    triton_matmul(values, eye[:, 2:3], out=view[:, :1])
    assert view[:, :1].equal(values[:, 2:3]), "a vector as out"
del storage, view

# Within one tile: neither stride times 255 is beyond 31 bits, their sum is.
matmul.choose_config = lambda configs, _named: configs[0]
matmul.matmul_kernel.cache.clear()
matmul.choose_splits = lambda *_s: 1
by_row, by_column = 300_000, 2**23 - 8
storage = torch.empty(31 * by_row + 255 * by_column + 1, dtype=torch.float16, device=device)
view = storage.as_strided((32, 256), (by_row, by_column))
values = torch.arange(32 * 256, device=device).reshape(32, 256).remainder(7).half()
view.copy_(values)
assert triton_matmul(torch.eye(32, device=device).half(), view).equal(values), "within a tile"
"""


def test_elements_past_two_to_the_31_are_read_and_written_where_they_are() -> None:
    python(BEYOND_2_31, **({} if torch.cuda.is_available() else {"TRITON_INTERPRET": "1"}))


# 5. The group that shares a row of B was as large as a tile: B came from DRAM again and again.
def test_the_raster_groups_eight_row_tiles_or_none() -> None:
    for name in ("matmul_kernel", "hopper_kernel"):
        assert {config.kwargs["GROUP_M"] for config in TUNED[name].configs} == {1, 8}
    assert rule(32768, 32768, 64).kwargs["GROUP_M"] == 1, "stores are the limit: row-major"
    assert rule(4096, 4096, 4096).kwargs["GROUP_M"] == 8, "arithmetic is the limit: grouped"


# 6. The rotation within a group looked wrong and was not: every tile must be computed, once.
@pytest.mark.parametrize("m", [64, 257, 300, 513])
def test_every_tile_is_computed_whatever_the_last_group_holds(m: int) -> None:
    a, b = torch.randn(m, 4, device=DEVICE), torch.randn(4, 100, device=DEVICE)
    c = torch.full((m, 100), torch.nan, device=DEVICE)
    assert_within_bound(triton_matmul(a, b, out=c), a, b)


# 7. Seven configs where two to four are asked, without stages. Their tiles: test_kernel_rules.py.
def test_the_starting_tile_is_still_a_config_of_the_kernel() -> None:
    start = [c for c in CONFIGS if (c.kwargs["BLOCK_M"], c.kwargs["BLOCK_N"], c.kwargs["BLOCK_K"]) == (64, 256, 32)]
    assert [(config.num_warps, config.num_stages) for config in start] == [(4, 3)]
    assert rule(32768, 32768, 64) is start[0]


def test_every_config_states_its_warps_and_stages_and_decorates_a_kernel() -> None:
    calls = [node for node in ast.walk(TREE) if isinstance(node, ast.Call)]
    configs = [call for call in calls if ast.unparse(call.func) == "triton.Config"]
    assert len(configs) == sum(len(kernel.configs) for kernel in TUNED.values())
    assert all({keyword.arg for keyword in call.keywords} == {"num_warps", "num_stages"} for call in configs)
    tuned = [
        f
        for f in TREE.body
        if isinstance(f, ast.FunctionDef) and "autotune" in str(f.decorator_list and ast.unparse(f.decorator_list[0]))
    ]
    assert {function.name for function in tuned} == set(TUNED)
    assert all("triton.jit" in ast.unparse(function.decorator_list[-1]) for function in tuned)


def test_what_ran_is_the_rules_choice_and_nothing_was_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triton.testing.do_bench", lambda *_a, **_k: pytest.fail("a launch was timed"))
    capability = torch.cuda.get_device_capability()[0] * 10 if torch.cuda.is_available() else 0
    forget()
    for m, precision in ((4, None), (4, "ieee"), (130, None)):
        triton_matmul(torch.ones(m, 5, device=DEVICE), torch.ones(5, 6, device=DEVICE), precision=precision)
        choice = rule(m, 6, 5, precision=precision or "tf32", capability=capability)
        assert matmul_kernel.best_config is choice
    assert len(matmul_kernel.cache) == 3
    triton_matmul(torch.ones(2, 8192, device=DEVICE), torch.ones(8192, 2, device=DEVICE))
    triton_matmul(torch.ones(2, 8, device=DEVICE), torch.ones(8, 1, device=DEVICE))
    assert {name for name, kernel in TUNED.items() if kernel.cache} == {
        "matmul_kernel",
        "split_kernel",
        "vector_kernel",
    }


# 8. Masks though K divides, copies, asserts, an is_cuda check, no device guard.
def test_loads_and_stores_are_masked_only_where_a_dimension_is_cut(facts: dict[str, list[dict[str, Any]]]) -> None:
    operands = {
        case: [
            (kind, listed.count(",") + 1)
            for kind, listed in re.findall(r"tt\.(load|store) ([^:{]*) :", product_of(facts[case])["ttir"])
        ]
        for case in ("compute-bound", "irregular", "long sums", "half")
    }
    for case in ("compute-bound", "long sums", "half"):
        assert operands[case] == [("load", 1), ("load", 1), ("store", 2)]
    assert operands["irregular"] == [("load", 3), ("load", 3), ("store", 3)]


@pytest.mark.parametrize("name", ["contiguous", "is_cuda", "clone", "reshape"])
def test_nothing_is_copied_and_the_interpreter_is_not_shut_out(name: str) -> None:
    kernels = [
        f for f in TREE.body if isinstance(f, ast.FunctionDef) and "triton.jit" in ast.unparse(f).split("def ")[0]
    ]
    on_card = {node for kernel in kernels for node in ast.walk(kernel)} if name == "reshape" else set()
    assert not [n for n in ast.walk(TREE) if isinstance(n, ast.Attribute) and n.attr == name and n not in on_card]


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
