"""Which kernel, form, parts and tile each case gets by rule, for an RTX 4090 and for a Hopper card."""

from typing import Any

import pytest
import torch

from kernel_support import TUNED
from kernels import matmul
from perf_tests.cases import CASES, TRIANGLES, result_shape
from perfgate.harness.guarded import empty_like_layout
from perfgate.records import Case

SQUARE, TALL, SMALL, STORE = (128, 128, 32), (128, 64, 64), (32, 32, 64), (64, 256, 32)
BY_ROWS = (4, 1024)
WIDE = (128, 256, 64)
CHOSEN: dict[str, tuple[tuple[Any, ...], tuple[Any, ...]]] = {
    # case: kernel, form or precision, parts and tile for compute capability 8.9, and the same for 9.0
    "k1_square": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k2_standard": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k3_batched": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k4_matrix_vector": (("vector", "tf32", 1, BY_ROWS), ("vector", "tf32", 1, BY_ROWS)),
    "k6_large_k": (("split", "tf32", 32, SQUARE), ("split", "tf32", 32, (64, 128, 32))),
    "k7_small_k": (("matmul", "scaled", 1, STORE), ("hopper", "scaled", 1, (64, 128, 32))),
    "k8_irregular": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k9_tall_skinny": (("matmul", "scaled", 1, STORE), ("hopper", "scaled", 1, (64, 128, 32))),
    "k10_3d": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k11_4d": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, (128, 128, 64))),
    "k13_symmetric": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k14_upper_triangular": (("matmul", "tf32", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k15_lower_triangular": (("matmul", "tf32", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k16_transposed_a": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k17_transposed_b": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "k18_transposed_both": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "sq512_fp32": (("matmul", "tf32", 1, SMALL), ("matmul", "tf32", 1, SMALL)),
    "sq512_fp16": (("matmul", "native", 1, SMALL), ("hopper", "native", 1, (64, 64, 64))),
    "sq512_bf16": (("matmul", "native", 1, SMALL), ("hopper", "native", 1, (64, 64, 64))),
    "sq1024_fp32": (("matmul", "tf32", 1, TALL), ("hopper", "scaled", 1, (64, 64, 64))),
    "sq1024_fp16": (("matmul", "native", 1, TALL), ("hopper", "native", 1, (64, 64, 64))),
    "sq1024_bf16": (("matmul", "native", 1, TALL), ("hopper", "native", 1, (64, 64, 64))),
    "sq2048_fp32": (("matmul", "scaled", 1, SQUARE), ("hopper", "scaled", 1, WIDE)),
    "sq2048_fp16": (("matmul", "native", 1, SQUARE), ("hopper", "native", 1, WIDE)),
    "sq2048_bf16": (("matmul", "native", 1, SQUARE), ("hopper", "native", 1, WIDE)),
}
BY_ID = {case.id: case for case in CASES}


def chosen(  # noqa: PLR0913 - what the rules read
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor,
    *,
    precision: str,
    capability: int,
    triangles: tuple[str, str] = ("", ""),
) -> list[tuple[Any, ...]]:
    """Return what is planned: of each tuned kernel its name, precision, parts and tile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "_capability", lambda *, interpreted: 0 if interpreted else capability)
        plan = matmul._plan(a, b, out, precision, triangles, interpreted=False)  # noqa: SLF001 - what plans
    found = []
    for launch in plan["launches"]:
        kernel, options = launch["kernel"], launch["options"]
        for name in (name for name, tuned in TUNED.items() if tuned is kernel):
            named = {**launch["tensors"], **launch["numbers"], **options}
            (config,) = kernel.early_config_prune(kernel.configs, named)
            tile = tuple(value for key, value in config.kwargs.items() if key.startswith("BLOCK_"))
            parts = named.get("SPLITS", named.get("PARTS", 1))
            found.append((name.removesuffix("_kernel"), options["PRECISION"], parts, tile))
    return found


def of_case(case: Case, capability: int) -> list[tuple[Any, ...]]:
    dtype = getattr(torch, case.dtype)
    a, b = (
        empty_like_layout(shape, layout=layout, dtype=dtype, device="meta")
        for shape, layout in zip(case.shapes, case.layouts, strict=True)
    )
    out, triangle = torch.empty(result_shape(case), dtype=dtype, device="meta"), TRIANGLES.get(case.id, "")
    return chosen(a, b, out, precision=case.precision, capability=capability, triangles=(triangle, triangle))


@pytest.mark.parametrize("case", CHOSEN)
def test_the_rules_give_each_case_its_kernel_form_parts_and_tile(case: str) -> None:
    assert ([of_case(BY_ID[case], 89)], [of_case(BY_ID[case], 90)]) == tuple([[choice]] for choice in CHOSEN[case])


def test_every_case_is_in_the_table() -> None:
    assert list(CHOSEN) == [case.id for case in CASES]


@pytest.mark.parametrize("precision", ["tf32x3", "bf16x3", "ieee"])
@pytest.mark.parametrize("capability", [89, 90])
def test_sums_that_need_more_registers_get_the_smallest_tile_in_one_part_and_in_several(
    precision: str, capability: int
) -> None:
    for k, kernel in ((512, "matmul"), (65536, "split")):
        a, b, out = (torch.empty(shape, device="meta") for shape in ((200, k), (k, 200), (200, 200)))
        ((name, _, _, tile),) = chosen(a, b, out, precision=precision, capability=capability)
        assert (name, tile) == (kernel, SMALL)


def test_under_the_interpreter_the_rules_are_those_of_an_rtx_4090() -> None:
    sizes = {"M": 4096, "N": 4096, "K": 4096, "BATCH": 1, "PRECISION": "scaled"}
    configs = TUNED["matmul_kernel"].configs
    choices = [matmul.choose_config(configs, sizes | {"CAPABILITY": capability}) for capability in (0, 89)]
    assert choices[0] is choices[1]
    forms = [
        matmul.choose_form(4096, 4096, 4096, 1, shared_b=False, work=1.0, capability=capability)
        for capability in (0, 89)
    ]
    assert forms == ["scaled", "scaled"]


def test_a_form_pays_where_arithmetic_does_and_one_b_for_all_makes_it_cheaper() -> None:
    def form(m: int, k: int, *, shared_b: bool = False, work: float = 1.0, batch: int = 1) -> str:
        return str(matmul.choose_form(m, m, k, batch, shared_b=shared_b, work=work, capability=89))

    assert [form(m, m) for m in (256, 512, 1024, 2048, 8192)] == ["tf32", "tf32", "tf32", "scaled", "scaled"]
    assert [form(4096, 4096, work=work) for work in (1.0, 1 / 6)] == ["scaled", "tf32"]
    shared = {m: (form(m, 512, batch=64), form(m, 512, batch=64, shared_b=True)) for m in range(64, 1024, 64)}
    assert all(pair in {("tf32", "tf32"), ("tf32", "scaled"), ("scaled", "scaled")} for pair in shared.values())
    assert ("tf32", "scaled") in shared.values()


@pytest.mark.parametrize("name", TUNED)
def test_each_kernel_has_two_to_four_configs_of_permitted_tiles(name: str) -> None:
    configs = TUNED[name].configs
    assert 2 <= len(configs) <= 4
    for config in configs:
        if name == "vector_kernel":
            assert config.kwargs.keys() == {"BLOCK_R", "BLOCK_K"}
            assert all(size & (size - 1) == 0 for size in config.kwargs.values())
            continue
        assert config.kwargs.keys() == {"BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP_M"}
        assert {config.kwargs["BLOCK_M"], config.kwargs["BLOCK_N"]} <= {32, 64, 128, 256}
        assert config.kwargs["BLOCK_K"] in {16, 32, 64}
    assert len({str(config) for config in configs}) == len(configs)


@pytest.mark.parametrize("name", TUNED)
def test_the_keys_of_a_kernel_hold_all_that_its_rule_reads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: set[str] = set()

    class Noting(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.add(key)
            return super().__getitem__(key)

    rule = {"matmul_kernel": "choose_config"}.get(name, f"choose_{name.removesuffix('_kernel')}_config")
    original = getattr(matmul, rule)
    monkeypatch.setattr(matmul, rule, lambda configs, named: original(configs, Noting(named)))
    for m, k in ((4096, 4096), (4096, 64), (64, 64), (4096, 256)):
        named = {"M": m, "N": m, "K": k, "BATCH": 1, "PRECISION": "native", "CAPABILITY": 89, "CONTIGUOUS": True}
        TUNED[name].early_config_prune(TUNED[name].configs, named)
    assert read
    assert read <= set(TUNED[name].keys)


@pytest.mark.parametrize(
    "numbers", [{"TOTAL": 1, "M": 1, "PARTS": 1, "N": 1}, {"TOTAL": 1, "N": 1}, {"TOTAL": 1, "M": 1, "columns": 1}]
)
def test_a_plan_that_names_other_parameters_than_its_kernel_takes_is_refused(numbers: dict[str, int]) -> None:
    tensors = {"parts_ptr": matmul._at("parts"), "c_ptr": matmul._at("out")}  # noqa: SLF001 - what plans
    with pytest.raises(TypeError, match="were planned"):
        matmul._launch(matmul.sum_kernel, 1, tensors, numbers)  # noqa: SLF001 - what plans
