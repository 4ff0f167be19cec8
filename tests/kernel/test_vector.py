"""Products with a vector: vector_kernel, in both orientations, in one part and in several."""

import pytest
import torch

from kernel_support import (
    DEVICE,
    FLOATS,
    assert_same_bits,
    assert_within_bound,
    garbage_in_new_memory,
    integers,
    launched,
    surrounded,
)
from kernels.matmul import triton_matmul


def product(a: torch.Tensor, b: torch.Tensor, *, parts: bool = False, **options: torch.Tensor | str) -> torch.Tensor:
    """Multiply by a vector, in parts or not, and hold the result against its bound."""
    with launched() as seen:
        c: torch.Tensor = triton_matmul(a, b, **options)
    assert {name for name, _ in seen} == ({"vector_kernel", "sum_kernel"} if parts else {"vector_kernel"})
    precision = options.get("precision")
    bound = None if a.dtype != torch.float32 else "ieee" if precision in {"tf32x3", "bf16x3"} else precision
    assert_within_bound(c, a, b, bound if isinstance(bound, str) else None)
    return c


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("turned", [False, True])
def test_a_matrix_by_a_vector_and_a_vector_by_a_matrix_are_right(dtype: torch.dtype, turned: bool) -> None:  # noqa: FBT001
    a = surrounded(40, 33, dtype=dtype).mT if turned else surrounded(33, 40, dtype=dtype)
    product(a, surrounded(40, 1, dtype=dtype))
    product(surrounded(1, 33, dtype=dtype), a)


@pytest.mark.parametrize("turned", [False, True])
def test_long_sums_are_taken_in_several_parts_and_read_no_new_memory(
    turned: bool,  # noqa: FBT001 - a parameter
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    k = 130 if turned else 8200
    x = integers(k, 7).mT if turned else integers(7, k)
    v, expected = integers(k, 1, seed=2), x @ integers(k, 1, seed=2)
    garbage_in_new_memory(monkeypatch)
    assert product(x, v, parts=True).equal(expected)
    assert product(v.mT, x.mT, parts=True).equal(expected.mT)


def test_a_vector_by_a_vector_is_a_number() -> None:
    product(surrounded(1, 33), surrounded(33, 1))
    product(surrounded(1, 1), surrounded(1, 1))
    product(surrounded(1, 1000), surrounded(1000, 1), parts=True)


def test_batches_of_vectors_are_right_whatever_is_turned_expanded_or_shared() -> None:
    product(surrounded(3, 20, 17), surrounded(3, 17, 1))
    product(surrounded(3, 1, 17), surrounded(3, 20, 17).mT)
    product(surrounded(1, 20, 17).expand(4, 20, 17), surrounded(4, 17, 1))
    product(surrounded(4, 1, 17), surrounded(1, 17, 6).expand(4, 17, 6))
    product(surrounded(17, 3, 20).permute(1, 2, 0), surrounded(17, 3, 1).transpose(0, 1))


def test_leading_dimensions_are_merged_or_looped_over() -> None:
    product(surrounded(2, 3, 5, 17), surrounded(17, 1))
    product(surrounded(2, 3, 4, 17).permute(2, 0, 1, 3), surrounded(17, 1))
    product(surrounded(3, 4, 2, 200).permute(1, 2, 0, 3), surrounded(1, 200).mT)


def test_slices_with_steps_and_expanded_operands_are_read_where_they_lie() -> None:
    product(surrounded(70, 66)[::2, ::3], surrounded(44, 9)[::2, 3:4])
    product(surrounded(1, 1).expand(1, 40), surrounded(1, 6).expand(40, 6))
    product(surrounded(5, 1).expand(5, 40), surrounded(1, 1).expand(40, 1))


def test_out_of_any_strides_is_filled_and_nothing_beside_it_is_written() -> None:
    for k, parts in ((17, False), (9000, True)):
        out = torch.full((9, 12), torch.nan, device=DEVICE)
        product(surrounded(6, k), surrounded(k, 1), parts=parts, out=out[2:8, 5:6])
        product(surrounded(1, k), surrounded(6, k).mT, parts=parts, out=out[2:8, 9:10].mT)
        assert out.isnan().sum() == 9 * 12 - 12


@pytest.mark.parametrize("precision", ["tf32x3", "bf16x3", "ieee"])
def test_without_tensor_cores_every_other_precision_is_that_of_fp32(precision: str) -> None:
    product(surrounded(5, 300), surrounded(300, 1), precision=precision)


def test_tf32_rounds_the_matrix_and_the_vector_to_nearest() -> None:
    fine = torch.tensor([[1 + 2**-11, 1 + 2**-11 - 2**-23, 1 + 2**-12]], device=DEVICE)
    rounded = torch.tensor([[1 + 2**-10, 1.0, 1.0]], device=DEVICE)
    for a, b, expected in (
        (fine.mT, torch.ones(1, 1, device=DEVICE), rounded.mT),
        (torch.ones(1, 1, device=DEVICE), fine, rounded),
        (torch.ones(2, 1, device=DEVICE), fine[:, :1], rounded[:, :1].expand(2, 1)),
    ):
        assert product(a, b).equal(expected)
        assert product(a, b, precision="ieee").equal(a @ b)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
def test_nan_and_infinity_reach_the_elements_that_they_belong_to_and_no_others() -> None:
    a, b = integers(7, 130).mT.contiguous().mT, integers(130, 1, seed=2)
    a[0, 3], a[1, 129], a[1, 5], a[2, 70] = torch.inf, torch.inf, -torch.inf, torch.nan
    assert_same_bits(triton_matmul(a, b), a @ b)


def test_the_same_call_gives_the_same_bits() -> None:
    a, b = surrounded(3, 9000), surrounded(9000, 1)
    assert triton_matmul(a, b).equal(triton_matmul(a, b))
