"""What each launch of this kernel computes: by its arguments and constexprs, and in all launches kept with the studies."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from model_support import FACTS
from perf_tests import modelled
from perf_tests.cases import CASES, matmul_case
from perfgate.hardware.cost_model import Product, Stream
from perfgate.store.compiled import facts_from_json
from studies.cost_model.command import read

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.records import Case
    from perfgate.store.compiled import KernelFacts

ROOT = Path(__file__).resolve().parents[2]
STUDIES = [ROOT / f"baselines/nvidia-h100-80gb-hbm3/model-{path}.json.gz" for path in ("sm89", "native")]
BY_ID = {case.id: case for case in CASES}
SQUARE = matmul_case("square", (256, 512), (512, 1024))
TILE = {"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 8, "num_warps": 4, "num_stages": 3}
PLAIN = {**TILE, "PRECISION": "tf32", "A_TRIANGLE": "", "B_TRIANGLE": ""}
SIZES = {"M": 256, "N": 1024, "K": 512, "BATCH": 1}


def launch(name: str, config: dict[str, Any], arguments: dict[str, int]) -> KernelFacts:
    return structs.replace(FACTS, name=name, config=config, arguments=arguments)


def product(case: Case = SQUARE, name: str = "matmul_kernel", /, *, first: Any = None, **changes: Any) -> Product:
    """What the last launch of a call multiplies; changes are of constexprs or, where they name one, of arguments."""
    config = {**PLAIN, **{key: value for key, value in changes.items() if key in PLAIN}}
    arguments = {**SIZES, **{key: value for key, value in changes.items() if key not in PLAIN}}
    kernels = [*([first] if first else []), launch(name, config, arguments)]
    found = modelled.works(case, kernels)[-1]
    assert isinstance(found, Product)
    return found


@pytest.mark.parametrize(
    ("dtype", "name", "parts", "expected"),
    [
        ("float32", "matmul_kernel", {}, (512, 1, 4, 4)),
        ("float16", "matmul_kernel", {}, (512, 1, 2, 2)),
        ("bfloat16", "matmul_kernel", {}, (512, 1, 2, 2)),
        ("float16", "split_kernel", {"SPLITS": 6}, (86, 6, 2, 4)),  # sums in parts stay in FP32
    ],
)
def test_a_products_depth_batch_and_bytes_are_those_of_its_type_and_parts(
    dtype: str, name: str, parts: dict[str, int], expected: tuple[int, ...]
) -> None:
    found = product(matmul_case("one", (256, 512), (512, 1024), dtype=dtype), name, **parts)
    assert (found.k, found.batch, found.operand_bytes, found.result_bytes) == expected


@pytest.mark.parametrize(
    ("precision", "k", "operand_bytes"), [("tf32", 512, 4), ("scaled", 512, 2), ("split", 3 * 512, 2), ("ieee", 512, 4)]
)
def test_operands_that_another_launch_prepared_have_two_bytes_and_are_warm(
    precision: str, k: int, operand_bytes: int
) -> None:
    before = launch("prepare_kernel", {"FORM": precision, "num_warps": 4}, {"R": 256})
    found = product(PRECISION=precision, first=before)
    assert (found.k, found.operand_bytes, found.result_bytes) == (k, operand_bytes, 4)
    assert found.warm == (operand_bytes == 2)


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [("", "", 1), ("upper", "", 1 / 2), ("", "lower", 1 / 2), ("lower", "lower", 1 / 6), ("upper", "lower", 1 / 3)],
)
def test_of_triangles_the_share_of_steps_is_left_that_counting_them_gives(a: str, b: str, share: float) -> None:
    assert product(A_TRIANGLE=a, B_TRIANGLE=b).share == share
    n = 60  # by counting: the terms of all sums that are not zero by either triangle
    within: dict[str, Callable[[int, int], bool]] = {
        "": lambda _row, _column: True,
        "upper": lambda row, column: row <= column,
        "lower": lambda row, column: row >= column,
    }
    terms = sum(within[a](i, k) and within[b](k, j) for i in range(n) for j in range(n) for k in range(n))
    assert terms / n**3 == pytest.approx(share, abs=0.03)


def test_a_kernel_without_a_batch_among_its_arguments_has_the_cases() -> None:
    batched = matmul_case("batched", (6, 256, 512), (6, 512, 1024))
    config, sizes = PLAIN, {"M": 256, "N": 1024, "K": 512, "SPLITS": 2}
    (found,) = modelled.works(batched, [launch("split_kernel", config, sizes)])
    assert isinstance(found, Product)
    assert found.batch == 12


@pytest.mark.parametrize(
    ("name", "config", "arguments", "read", "written"),
    [
        ("prepare_kernel", {"FORM": "scaled"}, {"R": 256}, 4 * 256 * 512, 2 * 256 * 512),
        ("prepare_kernel", {"FORM": "split"}, {"R": 1024}, 4 * 512 * 1024, 2 * 2 * 512 * 1024),
        ("magnitude_kernel", {}, {"R": 1024}, 4 * 512 * 1024, 0),
        ("vector_kernel", {}, {"R": 256}, 4 * (256 * 512 + 512 * 1024), 4 * 256 * 1024),
        ("sum_kernel", {}, {"TOTAL": 256 * 1024, "PARTS": 5}, 4 * 5 * 256 * 1024, 4 * 256 * 1024),
    ],
)
def test_a_launch_that_passes_over_memory_reads_and_writes_what_it_was_given(
    name: str, config: dict[str, Any], arguments: dict[str, int], read: int, written: int
) -> None:
    assert modelled.works(SQUARE, [launch(name, config, arguments)]) == (
        Stream(read_bytes=float(read), written_bytes=float(written)),
    )


@pytest.mark.parametrize(
    ("shapes", "rows", "elements"),
    [
        (((6, 256, 512), (512, 1024)), 6 * 256, 6 * 256 * 512),
        (((6, 256, 512), (6, 512, 1024)), 256, 6 * 256 * 512),
        (((6, 256, 512), (6, 512, 1024)), 1024, 6 * 512 * 1024),
        (((256, 512), (512, 1024)), 1024, 512 * 1024),
    ],
)
def test_the_operand_that_is_prepared_is_told_by_its_rows(shapes: Any, rows: int, elements: int) -> None:
    (found,) = modelled.works(matmul_case("any", *shapes), [launch("magnitude_kernel", {}, {"R": rows})])
    assert found == Stream(read_bytes=4.0 * elements, written_bytes=0.0)


def test_a_kernel_that_is_not_known_or_takes_other_arguments_is_said_to_be_unknown() -> None:
    older = {key: value for key, value in SIZES.items() if key != "N"}
    config = {key: value for key, value in PLAIN.items() if key != "GROUP_M"}
    kernels = [
        launch("another_kernel", PLAIN, SIZES),
        launch("matmul_kernel", PLAIN, older),
        launch("matmul_kernel", config, SIZES),
        launch("matmul_kernel", PLAIN, SIZES),
    ]
    assert [work is None for work in modelled.works(SQUARE, kernels)] == [True, True, True, False]


def kept() -> list[Any]:
    """The launches of every pair of both studies, by case and configuration."""
    return [
        pytest.param(
            BY_ID[pair["case"]],
            [facts_from_json(one) for one in pair["kernels"]],
            id=f"{study.name[:12]} {pair['case']} {pair['id']}",
        )
        for study in STUDIES
        for pair in read(study)["pairs"]
        if pair["kernels"] and pair["current"]
    ]


@pytest.mark.parametrize(("case", "kernels"), kept())
def test_all_launches_of_a_case_together_do_its_work(case: Case, kernels: list[KernelFacts]) -> None:
    works = modelled.works(case, kernels)
    assert None not in works
    products = [work for work in works if isinstance(work, Product)]
    flops = sum(2 * one.m * one.n * one.k * one.batch for one in products)
    assert 1 <= flops / case.flops < 1.02  # sums are prepared to multiples of 32
    (multiplied,) = products
    tiles = math.prod(
        -(-size // block) for size, block in ((multiplied.m, multiplied.block_m), (multiplied.n, multiplied.block_n))
    )
    assert tiles * multiplied.batch == kernels[-1].grid
    prepared = sum(work.read_bytes for work in works if isinstance(work, Stream) and work.written_bytes)
    operands = sum(4 * math.prod(shape) for shape in case.shapes)
    assert prepared == (operands if multiplied.operand_bytes == 2 and case.dtype == "float32" else 0)
    assert (multiplied.share < 1) == (case.id == "k14_upper_triangular")
