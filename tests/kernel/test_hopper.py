"""hopper_kernel, whose blocks arrive by TMA: run in the interpreter as if the card were a Hopper."""

from collections.abc import Iterator

import pytest
import torch

from kernel_support import (
    DEVICE,
    assert_same_bits,
    assert_within_bound,
    forced,
    garbage_in_new_memory,
    integers,
    launched,
    surrounded,
)
from kernels.matmul import triton_matmul

HALF = torch.float16


@pytest.fixture(autouse=True)
def hopper() -> Iterator[None]:
    with forced(hopper=True, form="scaled", splits=1, config=3):
        yield


def in_nan(*shape: int, turned: bool = False, seed: int = 0) -> torch.Tensor:
    """Return FP16 that TMA can read, rows of whole 16 bytes from such an address on, with NaN on every side."""
    *batch, rows, columns = (*shape[:-2], shape[-1], shape[-2]) if turned else shape
    buffer = torch.full((*batch, rows + 2, (columns + 7) // 8 * 8 + 16), torch.nan, dtype=HALF, device=DEVICE)
    inside = buffer[..., 1 : rows + 1, 8 : columns + 8]
    inside.copy_(torch.randn(inside.shape, generator=torch.Generator().manual_seed(seed)))
    return inside.mT if turned else inside


def product(
    a: torch.Tensor, b: torch.Tensor, *, kernel: str = "hopper_kernel", precision: str | None = None
) -> torch.Tensor:
    """Multiply, see which kernel it was, and hold the result against the bound."""
    with launched() as seen:
        c: torch.Tensor = triton_matmul(a, b, precision=precision)
    assert seen[-1][0] == kernel
    assert_within_bound(c, a, b, precision or ("scaled" if a.dtype == torch.float32 else "native"))
    return c


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize(("m", "k", "n"), [(64, 64, 64), (65, 33, 70), (130, 100, 63)])
def test_fp16_is_read_whichever_way_it_lies_and_nothing_beside_it(
    m: int, k: int, n: int, turned: tuple[bool, bool]
) -> None:
    product(in_nan(m, k, turned=turned[0], seed=1), in_nan(k, n, turned=turned[1], seed=2))


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
def test_scaled_operands_are_read_whichever_way_they_lay(turned: tuple[bool, bool]) -> None:
    a = surrounded(33, 70, seed=1).mT if turned[0] else surrounded(70, 33, seed=1)
    b = surrounded(65, 33, seed=2).mT if turned[1] else surrounded(33, 65, seed=2)
    product(a, b)


@pytest.mark.parametrize("config", range(4))
def test_every_config_gives_the_right_product(config: int) -> None:
    with forced(config=config):
        product(in_nan(131, 100, seed=1), in_nan(100, 260, seed=2))
        product(surrounded(131, 100, seed=1), surrounded(100, 260, seed=2))


@pytest.mark.parametrize("turned", [False, True])
def test_batches_have_blocks_and_scales_of_their_own(turned: bool) -> None:  # noqa: FBT001 - a parameter
    product(in_nan(3, 65, 33, turned=turned, seed=1), in_nan(3, 33, 70, turned=turned, seed=2))
    sizes = torch.tensor([1e-20, 1.0, 1e10], device=DEVICE)[:, None, None]
    a, b = surrounded(3, 65, 33, seed=1) * sizes, surrounded(3, 33, 70, seed=2) * sizes
    product(a.mT.contiguous().mT if turned else a, b)


def test_operands_split_beforehand_keep_the_bound_of_bf16x3(monkeypatch: pytest.MonkeyPatch) -> None:
    garbage_in_new_memory(monkeypatch)
    product(surrounded(257, 33, seed=1), surrounded(33, 260, seed=2), precision="bf16x3")
    product(surrounded(2, 33, 256, seed=1).mT, surrounded(2, 256, 33, seed=2).mT, precision="bf16x3")


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_reach_the_elements_that_they_belong_to_and_no_others(value: float) -> None:
    a, b = integers(65, 32, seed=1), integers(32, 72, seed=2)
    a[2, 3], b[7, 69] = value, value
    assert_same_bits(triton_matmul(a, b), a @ b)
    assert_same_bits(triton_matmul(a.half(), b.half()), a.half() @ b.half())
    a, b = surrounded(256, 9, seed=1), surrounded(9, 256, seed=2)
    a[2, 3], b[7, 33] = value, value
    c, exact = triton_matmul(a, b, precision="bf16x3"), a.double() @ b.double()
    assert torch.equal(c.isfinite(), exact.isfinite())
    assert_same_bits(c[~exact.isfinite()], exact[~exact.isfinite()].float())


def test_out_of_any_strides_is_filled_and_nothing_beside_it_is_written() -> None:
    out = torch.full((80, 80), torch.nan, dtype=HALF, device=DEVICE)
    a, b = in_nan(65, 40, seed=1), in_nan(40, 33, seed=2)
    triton_matmul(a, b, out=out[1:34, 2:67].mT)
    assert_within_bound(out[1:34, 2:67].mT, a, b)
    assert out.isnan().sum() == 80 * 80 - 65 * 33


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (surrounded(70, 33, dtype=HALF), in_nan(33, 72)),
        (in_nan(70, 33), surrounded(33, 72, dtype=HALF)),
        (in_nan(70, 41)[:, 1:], in_nan(40, 72)),
        (in_nan(70, 80)[:, ::2], in_nan(40, 72)),
        (in_nan(1, 40).expand(70, 40), in_nan(40, 72)),
        (in_nan(1, 70, 40).expand(3, 70, 40), in_nan(3, 40, 72)),
        (in_nan(3, 70, 40), in_nan(1, 40, 72).expand(3, 40, 72)),
        (in_nan(70, 3, 40).transpose(0, 1), in_nan(40, 72)),
    ],
    ids=["a's rows", "b's rows", "address", "steps", "one row", "one a", "one b", "shared b"],
)
def test_what_tma_cannot_read_goes_through_the_other_kernel(a: torch.Tensor, b: torch.Tensor) -> None:
    product(a, b, kernel="matmul_kernel")


def test_scaled_operands_that_a_batch_shares_are_right_by_either_kernel() -> None:
    a, b = surrounded(1, 65, 33).expand(3, 65, 33), surrounded(3, 33, 70)
    product(a, b, kernel="matmul_kernel")
    product(a[0], b[0])


def test_other_precisions_vectors_and_loops_are_left_to_the_other_kernels() -> None:
    product(surrounded(40, 33), surrounded(33, 40), kernel="matmul_kernel", precision="ieee")
    product(in_nan(40, 33), in_nan(33, 1), kernel="vector_kernel")
    product(in_nan(2, 3, 4, 40).permute(1, 2, 0, 3), in_nan(40, 16), kernel="matmul_kernel")


def test_the_same_call_gives_the_same_bits() -> None:
    a, b = surrounded(70, 50), surrounded(50, 66)
    assert triton_matmul(a, b).equal(triton_matmul(a, b))
