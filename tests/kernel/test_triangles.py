"""Triangular operands: whole tiles of zeros are not multiplied, whatever the kernel and the form."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from kernel_support import DEVICE, assert_within_bound, forced, integers, launched, surrounded
from kernels.matmul import triton_matmul

# A way through: what is forced, the precision, the dtype, and the kernel and its tile that this gives.
WAYS: dict[str, tuple[dict[str, Any], str | None, torch.dtype, str, tuple[int, int, int]]] = {
    "tf32": ({"config": 3, "form": "tf32", "splits": 1}, None, torch.float32, "matmul_kernel", (32, 32, 64)),
    "ieee": ({"config": 3, "splits": 1}, "ieee", torch.float32, "matmul_kernel", (32, 32, 64)),
    "fp16": ({"config": 3, "splits": 1}, None, torch.float16, "matmul_kernel", (32, 32, 64)),
    "scaled": ({"config": 3, "form": "scaled", "splits": 1}, None, torch.float32, "matmul_kernel", (32, 32, 64)),
    "split-K": ({"config": 2, "splits": 2}, None, torch.float32, "split_kernel", (32, 32, 64)),
    "TMA": ({"config": 3, "splits": 1, "hopper": True}, None, torch.float16, "hopper_kernel", (64, 64, 64)),
    "TMA, scaled": (
        {"config": 3, "form": "scaled", "splits": 1, "hopper": True},
        None,
        torch.float32,
        "hopper_kernel",
        (64, 64, 64),
    ),
}
BOTH = [("upper", "upper"), ("lower", "lower"), ("upper", "lower"), ("lower", "upper")]
ONE = [("upper", None), ("lower", None), (None, "upper"), (None, "lower")]


def triangular(x: torch.Tensor, triangle: str | None) -> torch.Tensor:
    return x.triu() if triangle == "upper" else x.tril() if triangle == "lower" else x


def poison(x: torch.Tensor, triangle: str | None, block_rows: int, block_columns: int) -> torch.Tensor:
    """Put NaN into the tiles that lie wholly on the side of the zeros."""
    rows = torch.arange(x.shape[-2], device=DEVICE)[:, None]
    columns = torch.arange(x.shape[-1], device=DEVICE)[None, :]
    first_row, first_column = rows // block_rows * block_rows, columns // block_columns * block_columns
    beyond = {
        "upper": first_column + block_columns <= first_row,
        "lower": first_column >= first_row + block_rows,
        None: torch.zeros((), dtype=torch.bool, device=DEVICE),
    }[triangle]
    assert triangle is None or beyond.any(), "no whole tile of zeros: the shape is too small to show anything"
    return x.masked_fill(beyond.expand(x.shape[-2:]), torch.nan)


def options(triangles: tuple[str | None, str | None], precision: str | None) -> Mapping[str, str | None]:
    return {"a_triangle": triangles[0], "b_triangle": triangles[1], "precision": precision}


@pytest.mark.parametrize("triangles", [*ONE, *BOTH])
@pytest.mark.parametrize("way", WAYS)
def test_the_product_is_right_and_whole_tiles_of_zeros_are_not_read(
    way: str, triangles: tuple[str | None, str | None]
) -> None:
    rules, precision, dtype, kernel, (block_m, block_n, block_k) = WAYS[way]
    a = triangular(integers(136, 200, dtype=dtype, seed=1), triangles[0])
    b = triangular(integers(200, 136, dtype=dtype, seed=2), triangles[1])
    poisoned = poison(a, triangles[0], block_m, block_k), poison(b, triangles[1], block_k, block_n)
    with forced(**rules), launched() as seen:
        c = triton_matmul(*poisoned, **options(triangles, precision))
    assert kernel in {name for name, _ in seen}
    assert c.equal((a.double() @ b.double()).to(dtype))


@pytest.mark.parametrize("triangles", [("upper", "lower"), ("lower", "upper")])
def test_operands_split_beforehand_may_be_triangular(triangles: tuple[str, str]) -> None:
    a, b = triangular(integers(256, 140, seed=1), triangles[0]), triangular(integers(140, 256, seed=2), triangles[1])
    poisoned = poison(a, triangles[0], 128, 64), poison(b, triangles[1], 64, 64)
    with forced(config=2), launched() as seen:
        assert triton_matmul(*poisoned, **options(triangles, "bf16x3")).equal(a @ b)
    assert seen[-1][1]["PRECISION"] == "split"


@pytest.mark.parametrize("triangles", [*ONE, *BOTH])
@pytest.mark.parametrize(("m", "k", "n"), [(150, 40, 33), (33, 150, 40), (40, 33, 150), (2, 70, 70), (70, 70, 2)])
def test_an_operand_need_not_be_square(m: int, k: int, n: int, triangles: tuple[str | None, str | None]) -> None:
    a, b = triangular(surrounded(m, k, seed=1), triangles[0]), triangular(surrounded(k, n, seed=2), triangles[1])
    with forced(config=3):
        assert_within_bound(triton_matmul(a, b, **options(triangles, "ieee")), a, b, "ieee")


@pytest.mark.parametrize("triangles", BOTH)
def test_each_matrix_of_a_batch_is_a_triangle(triangles: tuple[str, str]) -> None:
    a, b = (
        triangular(integers(3, 70, 140, seed=1), triangles[0]),
        triangular(integers(3, 140, 70, seed=2), triangles[1]),
    )
    with forced(config=3):
        assert triton_matmul(a, b, **options(triangles, None)).equal(a @ b)
        assert triton_matmul(a, b[0], **options(triangles, None)).equal(a @ b[0])
        loops = triangular(integers(4, 2, 70, 140), triangles[0]).transpose(0, 1)
        assert triton_matmul(loops, b[0], **options(triangles, None)).equal(loops @ b[0])


@pytest.mark.parametrize("triangle", ["upper", "lower"])
def test_rows_that_a_triangle_of_b_lets_merge_are_still_right(triangle: str) -> None:
    a, b = integers(3, 20, 140, seed=1), triangular(integers(140, 70, seed=2), triangle)
    with forced(config=3):
        assert triton_matmul(a, b, b_triangle=triangle).equal(a @ b)


@pytest.mark.parametrize("triangles", BOTH)
def test_triangles_of_a_single_row_or_column_are_right(triangles: tuple[str, str]) -> None:
    for shapes in (((1, 40), (40, 9)), ((9, 40), (40, 1)), ((2, 3, 1, 40), (40, 9))):
        a, b = (triangular(integers(*shape), triangle) for shape, triangle in zip(shapes, triangles, strict=True))
        assert triton_matmul(a, b, **options(triangles, None)).equal(a @ b)


def test_the_same_bits_come_out_with_and_without_the_hint() -> None:
    a, b = surrounded(70, 140, seed=1).triu(), surrounded(140, 70, seed=2).tril()
    with forced(config=3):
        assert triton_matmul(a, b, a_triangle="upper", b_triangle="lower").equal(triton_matmul(a, b))


@pytest.mark.parametrize("name", ["a_triangle", "b_triangle"])
def test_any_other_triangle_is_refused(name: str) -> None:
    square = torch.ones(4, 4, device=DEVICE)
    with pytest.raises(ValueError, match=f"{name} must be None, 'upper' or 'lower', got 'diagonal'"):
        triton_matmul(square, square, **{name: "diagonal"})
