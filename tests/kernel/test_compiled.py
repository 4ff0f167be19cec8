"""Machine code for an RTX 4090, which need not be there: nothing spills, and where a multiprocessor holds one block only."""

from typing import Any

import pytest

from kernel_support import TUNED, compiled

ONE_BLOCK = {"k6_large_k", "k14_upper_triangular", "sq1024_fp32"}
"""Cases of perf_tests of which a multiprocessor holds one block: choose_config's docstring says why that is enough."""

CALLS: dict[str, tuple[Any, ...]] = {
    "k6_large_k": ([256, 524288], [524288, 256], "float32", {}),
    "k7_small_k": ([32768, 64], [64, 32768], "float32", {}),
    "k8_irregular": ([8205, 2949], [2949, 5921], "float32", {}),
    "k14_upper_triangular": ([4096, 4096], [4096, 4096], "float32", {"a_triangle": "upper", "b_triangle": "upper"}),
    "sq512_fp32": ([512, 512], [512, 512], "float32", {}),
    "sq1024_fp32": ([1024, 1024], [1024, 1024], "float32", {}),
    "sq2048_fp32": ([2048, 2048], [2048, 2048], "float32", {}),
    "sq2048_fp16": ([2048, 2048], [2048, 2048], "float16", {}),
    "k4_matrix_vector": ([2048, 1048576], [1048576, 1], "float32", {}),
    "a vector by a matrix": ([1, 65536], [65536, 512], "float32", {}),
    "bf16x3": ([512, 512], [512, 512], "float32", {"precision": "bf16x3"}),
    "tf32x3": ([512, 512], [512, 512], "float32", {"precision": "tf32x3"}),
    "ieee": ([512, 512], [512, 512], "float32", {"precision": "ieee"}),
    "long sums, bf16x3": ([256, 65536], [65536, 256], "float32", {"precision": "bf16x3"}),
    "long sums, tf32x3": ([256, 65536], [65536, 256], "float32", {"precision": "tf32x3"}),
    "long sums, ieee": ([256, 65536], [65536, 256], "float32", {"precision": "ieee"}),
}
FORMS = {
    "k6_large_k": [("split_kernel", "tf32"), ("sum_kernel", None)],
    "k14_upper_triangular": [("matmul_kernel", "tf32")],
    "sq2048_fp32": [
        ("prepare_kernel", None),
        ("magnitude_kernel", None),
        ("prepare_kernel", None),
        ("matmul_kernel", "scaled"),
    ],
    "sq2048_fp16": [("matmul_kernel", "native")],
    "k4_matrix_vector": [("vector_kernel", "tf32")],
    "bf16x3": [("prepare_kernel", None), ("prepare_kernel", None), ("matmul_kernel", "split")],
    "long sums, bf16x3": [("split_kernel", "bf16x3"), ("sum_kernel", None)],
}


@pytest.fixture(scope="module")
def facts() -> dict[str, list[dict[str, Any]]]:
    return compiled(CALLS)


def test_nothing_spills_and_every_block_fits(facts: dict[str, list[dict[str, Any]]]) -> None:
    spilled = {(case, k["name"]): k["stack"] for case, kernels in facts.items() for k in kernels if k["stack"]}
    assert spilled == {}
    assert {(case, k["name"]) for case, kernels in facts.items() for k in kernels if k["blocks"] < 1} == set()


def test_each_call_compiles_the_kernels_that_its_form_takes(facts: dict[str, list[dict[str, Any]]]) -> None:
    assert {case: [(k["name"], k["precision"]) for k in facts[case]] for case in FORMS} == FORMS


def test_the_cases_of_which_a_multiprocessor_holds_one_block_are_those_that_have_a_reason(
    facts: dict[str, list[dict[str, Any]]],
) -> None:
    cases = [case for case in facts if case.startswith(("k", "sq"))]
    alone = {case for case in cases for k in facts[case] if k["name"] in TUNED and k["blocks"] == 1}
    assert alone == ONE_BLOCK
