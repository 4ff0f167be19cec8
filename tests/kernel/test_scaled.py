"""The scaled form of TF32 products: operands brought to FP16 by a power of two for each row of A and column of B."""

from collections.abc import Iterator

import pytest
import torch

from kernel_support import (
    DEVICE,
    UNDERFLOW,
    assert_same_bits,
    assert_within_bound,
    forced,
    garbage_in_new_memory,
    integers,
    launched,
    surrounded,
)
from kernels.matmul import triton_matmul


@pytest.fixture(autouse=True)
def scaled() -> Iterator[None]:
    with forced(form="scaled", splits=1):
        yield


def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Multiply in the scaled form, and hold the result against its bound."""
    with launched() as seen:
        c: torch.Tensor = triton_matmul(a, b)
    name, options = seen[-1]
    assert (name, options["PRECISION"]) == ("matmul_kernel", "scaled")
    assert_within_bound(c, a, b, "scaled")
    return c


@pytest.mark.parametrize("k", [1, 5, 31, 32, 33, 65, 97])
def test_sums_of_any_length_are_within_the_bound(k: int) -> None:
    product(surrounded(40, k, seed=1), surrounded(k, 35, seed=2))


@pytest.mark.parametrize("turned", [False, True], ids=["rows", "columns"])
def test_sums_longer_than_a_block_of_the_pass_over_the_operands_are_scaled_by_the_whole_row(turned: bool) -> None:  # noqa: FBT001 - a parameter
    k = 1030 if turned else 4100
    a, b = integers(5, k, seed=1), integers(k, 5, seed=2)
    if turned:
        a, b = integers(k, 5, seed=1).mT, integers(5, k, seed=2).mT
    for row, at in enumerate((0, 130, 200, 1024, k - 1)):  # in every block of 128 of a part, and at the ends
        a[row, at], b[at, row] = 2048, 2048
    assert triton_matmul(a, b).equal((a.double() @ b.double()).float())


def test_small_integers_are_exact() -> None:
    a, b = integers(70, 45, seed=1), integers(45, 50, seed=2)
    assert triton_matmul(a, b).equal(a @ b)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposed_operands_are_within_the_bound(transpose_a: bool, transpose_b: bool) -> None:  # noqa: FBT001
    product(
        surrounded(33, 70).mT if transpose_a else surrounded(70, 33),
        surrounded(50, 33).mT if transpose_b else surrounded(33, 50),
    )


def test_slices_with_steps_and_expanded_operands_are_within_the_bound() -> None:
    product(surrounded(70, 66)[::2, ::3], surrounded(44, 90)[::2, 1::4])
    product(surrounded(1, 30).expand(70, 30), surrounded(30, 1).expand(30, 65))
    product(surrounded(5, 1).expand(5, 40), surrounded(1, 6).expand(40, 6))


def test_each_of_a_batch_has_scales_of_its_own() -> None:
    of_a, of_b = (
        torch.tensor(sizes, device=DEVICE)[:, None, None] for sizes in ([1e-20, 1.0, 1e20], [1e9, 1e-30, 1e9])
    )
    product(surrounded(3, 35, 17, seed=1) * of_a, surrounded(3, 17, 40, seed=2) * of_b)
    product(surrounded(17, 3, 35).permute(1, 2, 0), surrounded(3, 40, 17).mT)


def test_an_operand_that_a_batch_shares_is_prepared_once() -> None:
    product(surrounded(1, 5, 17).expand(4, 5, 17), surrounded(4, 17, 6))
    product(surrounded(4, 5, 17), surrounded(1, 17, 6).expand(4, 17, 6))
    product(surrounded(5, 3, 17).transpose(0, 1), surrounded(17, 6))


def test_loops_over_leading_dimensions_stay_with_the_direct_form() -> None:
    a, b = surrounded(2, 3, 4, 17).permute(2, 0, 1, 3), surrounded(17, 9)
    assert_within_bound(triton_matmul(a, b), a, b, "tf32")


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # NumPy's, about 1e30 times 1e30
def test_rows_and_columns_of_any_magnitude_keep_the_bound() -> None:
    rows = torch.logspace(-30, 30, 41, device=DEVICE)[:, None]
    columns = torch.logspace(30, -30, 37, device=DEVICE)[None, :]
    a, b = surrounded(41, 45, seed=1), surrounded(45, 37, seed=2)
    product(a * rows, b)
    product(a, b * columns)
    product(a * rows, b * columns)


def test_a_finite_product_of_magnitudes_far_apart_is_finite() -> None:
    for small in (1e-4, 1e-6, 1e-8):
        a, b = torch.full((4, 256), small, device=DEVICE), torch.full((256, 4), 3e38, device=DEVICE)
        product(a, b)
        product(b.mT, a.mT)


def test_rows_and_columns_of_zeros_give_zeros_of_every_magnitude_beside_them() -> None:
    a, b = integers(6, 40, seed=1) * 2.0**80, integers(40, 5, seed=2) * 2.0**-80
    a[2], b[:, 3] = 0, 0
    assert triton_matmul(a, b).equal((a.double() @ b.double()).float())


def test_rows_of_subnormal_numbers_are_kept_to_the_bits_that_fp16_has_for_them() -> None:
    a, b = integers(5, 40, seed=1) * 2.0**-130, integers(40, 6, seed=2) * 2.0**100
    assert triton_matmul(a, b).equal((a.double() @ b.double()).float())


def test_an_operand_far_below_its_rows_largest_is_rounded_by_no_more_than_documented() -> None:
    a, b = surrounded(6, 40, seed=1), surrounded(40, 5, seed=2)
    a[:, ::2] *= 2.0**-27  # beneath which FP16 has fewer bits
    b[1::2] *= 2.0**-30
    product(a, b)
    a[:, ::2] *= 2.0**-20  # what FP16 has no bits for at all
    product(a, b)


def test_an_operand_not_far_below_its_rows_largest_has_all_bits_of_tf32() -> None:
    a, b = torch.zeros(4, 8, device=DEVICE), torch.eye(8, device=DEVICE)
    a[:, 0], a[:, 3] = torch.tensor([1.0, 1.9, 2.0, 3.7], device=DEVICE), (1 + 2**-10) * 2.0**-26
    c = triton_matmul(a, b)
    assert c[:, 3].equal(a[:, 3])
    assert (c.double() - a.double()).abs().le(2**-11 * a.double().abs() + UNDERFLOW).all()


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_reach_the_elements_that_they_belong_to_and_no_others(value: float) -> None:
    a, b = integers(40, 9, seed=1), integers(9, 37, seed=2)
    a[2, 3], b[7, 33] = value, value
    assert_same_bits(triton_matmul(a, b), a @ b)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_row_that_is_infinite_throughout_stays_so() -> None:
    a = torch.ones(5, 7, device=DEVICE)
    a[3] = torch.inf
    assert_same_bits(triton_matmul(a, torch.ones(7, 6, device=DEVICE)), a @ torch.ones(7, 6, device=DEVICE))


@pytest.mark.parametrize(("k", "turned"), [(33, False), (33, True), (1030, True)])
def test_nothing_is_read_of_the_new_memory_that_was_not_written(
    k: int,
    turned: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = integers(40, k, seed=1), integers(k, 35, seed=2)
    if turned:
        a, b = integers(k, 40, seed=1).mT, integers(35, k, seed=2).mT
    expected = (a.double() @ b.double()).float()
    garbage_in_new_memory(monkeypatch)
    assert triton_matmul(a, b).equal(expected)


def test_there_is_no_bias_where_truncation_would_lose_one_part_in_two_thousand() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand(96, 96, generator=generator).to(DEVICE) for _ in range(2))
    exact = a.double() @ b.double()
    error = (triton_matmul(a, b).double() - exact) / exact
    assert error.abs().max() > 2**-18, "nothing was rounded"
    assert error.mean().abs() < 2**-17


def test_the_same_call_gives_the_same_bits() -> None:
    a, b = surrounded(70, 50), surrounded(50, 66)
    assert triton_matmul(a, b).equal(triton_matmul(a, b))
