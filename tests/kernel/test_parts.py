"""Sums in parts: few tiles and long sums (split_kernel), and BF16 operands with their rests (the split form)."""

import pytest
import torch

from kernel_support import (
    DEVICE,
    FLOATS,
    assert_same_bits,
    assert_within_bound,
    forced,
    garbage_in_new_memory,
    integers,
    launched,
    surrounded,
)
from kernels import matmul
from kernels.matmul import triton_matmul


@pytest.mark.parametrize("splits", [2, 3, 7])
def test_sums_in_parts_are_right_even_where_parts_are_left_empty(splits: int) -> None:
    a, b = surrounded(40, 200, seed=1), surrounded(200, 35, seed=2)
    with forced(splits=splits, config=0), launched() as seen:
        c = triton_matmul(a, b)
    assert [name for name, _ in seen] == ["split_kernel", "sum_kernel"]
    assert_within_bound(c, a, b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_sums_in_parts_are_rounded_once_to_every_dtype(dtype: torch.dtype) -> None:
    a, b = surrounded(33, 100, dtype=dtype, seed=1), surrounded(100, 35, dtype=dtype, seed=2)
    with forced(splits=3):
        assert_within_bound(triton_matmul(a, b), a, b)


@pytest.mark.parametrize("precision", ["tf32x3", "bf16x3", "ieee"])
def test_sums_in_parts_are_within_the_bound_of_every_precision(precision: str) -> None:
    a, b = surrounded(33, 100, seed=1), surrounded(100, 35, seed=2)
    with forced(splits=3):
        assert_within_bound(triton_matmul(a, b, precision=precision), a, b, precision)


def test_sums_in_parts_take_batches_loops_any_strides_and_out() -> None:
    calls = [
        (surrounded(3, 20, 70), surrounded(3, 70, 17), torch.empty(17, 3, 20, device=DEVICE).permute(1, 2, 0)),
        (surrounded(2, 3, 4, 70).permute(1, 2, 0, 3), surrounded(40, 70).mT, None),
        (surrounded(70, 40).mT, surrounded(1, 70, 20)[0], torch.empty(20, 40, device=DEVICE).mT),
    ]
    with forced(splits=3):
        for a, b, out in calls:
            assert_within_bound(triton_matmul(a, b, out=out), a, b)


def test_parts_are_added_in_their_order_so_every_run_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    # (2**24 + 1) + 1 is 2**24 in FP32, 2**24 + (1 + 1) is not: any other order shows.
    a, b = torch.zeros(2, 96, device=DEVICE), torch.ones(96, 2, device=DEVICE)
    a[:, 0], a[:, 32], a[:, 64] = 2**24, 1, 1
    expected = torch.full((2, 2), 2.0**24, device=DEVICE)
    garbage_in_new_memory(monkeypatch)
    with forced(splits=3, config=0):
        assert triton_matmul(a, b).equal(expected)
        assert triton_matmul(a, b).equal(expected)
        a[:, 0], a[:, 64] = 1, 2**24
        assert triton_matmul(a, b).equal(expected + 2)


def test_a_part_so_long_that_it_is_added_in_chunks_misses_no_term() -> None:
    a, b = integers(3, 32800, seed=1), integers(32800, 5, seed=2)
    expected = (a.double() @ b.double()).float()
    with forced(splits=2, config=2):
        assert triton_matmul(a, b).equal(expected)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
def test_nan_and_infinity_cross_from_part_to_part() -> None:
    a, b = integers(5, 100, seed=1), integers(100, 6, seed=2)
    a[0, 3], a[1, 50], a[1, 99], a[2, 70], b[80, 5] = torch.inf, torch.inf, -torch.inf, torch.nan, torch.inf
    with forced(splits=3):
        assert_same_bits(triton_matmul(a, b), a @ b)


def split_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply in bf16x3, of which the operands were split beforehand."""
    with forced(config=2), launched() as seen:
        c: torch.Tensor = triton_matmul(a, b, precision="bf16x3")
    name, options = seen[-1]
    assert (name, options["PRECISION"]) == ("matmul_kernel", "split")
    return c


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("k", [1, 33, 70])
def test_operands_split_beforehand_keep_the_bound_of_bf16x3(k: int, turned: bool) -> None:  # noqa: FBT001 - a parameter
    a, b = surrounded(257, k, seed=1), surrounded(k, 260, seed=2)
    if turned:
        a, b = surrounded(k, 257, seed=1).mT, surrounded(260, k, seed=2).mT
    assert_within_bound(split_product(a, b), a, b, "bf16x3")


def test_operands_split_beforehand_may_be_batched_shared_and_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage_in_new_memory(monkeypatch)
    for a, b in (
        (surrounded(2, 256, 17), surrounded(2, 17, 256)),
        (surrounded(1, 256, 17).expand(2, 256, 17), surrounded(2, 256, 17).mT),
        (surrounded(256, 2, 17).transpose(0, 1), surrounded(17, 256)),
    ):
        assert_within_bound(split_product(a, b), a, b, "bf16x3")


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_of_operands_split_beforehand_nan_and_infinity_are_those_of_the_product(value: float) -> None:
    a, b = surrounded(256, 9, seed=1), surrounded(9, 256, seed=2)
    a[2, 3], b[7, 33] = value, value
    c, exact = split_product(a, b), a.double() @ b.double()
    assert torch.equal(c.isfinite(), exact.isfinite())
    assert_same_bits(c[~exact.isfinite()], exact[~exact.isfinite()].float())


def test_the_rules_give_parts_to_few_tiles_of_long_sums_only() -> None:
    sizes = [(256, 256, 524288, 1), (2, 2, 8192, 1), (2, 2, 8191, 1), (128, 128, 2**20, 1), (2048, 2048, 2**20, 1)]
    assert [matmul.choose_splits(*size) for size in sizes] == [32, 2, 1, 128, 1]
    assert matmul.choose_splits(128, 128, 2**20, 64) == 2
