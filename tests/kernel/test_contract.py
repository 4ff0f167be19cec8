"""What triton_matmul accepts, refuses and returns, whatever the machine."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from kernel_support import DEVICE, FLOATS, KERNELS, assert_within_bound, forced, integers, launched, surrounded
from kernels.matmul import ModelNew, triton_matmul

PRECISIONS = ("tf32", "tf32x3", "bf16x3", "ieee")


def product(
    a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor | None = None, precision: str | None = None
) -> torch.Tensor:
    """Multiply, and hold the result against the bound."""
    c: torch.Tensor = triton_matmul(a, b, out=out, precision=precision)
    assert_within_bound(c, a, b, precision)
    return c


@pytest.fixture(params=range(4), ids=["store", "square", "tall", "small"])
def each_config(request: pytest.FixtureRequest) -> Iterator[None]:
    with forced(config=request.param, form="tf32", splits=1):
        yield


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (64, 64, 32), (65, 63, 17), (1, 130, 40), (130, 1, 40)])
def test_the_product_is_right_for_every_dtype_and_for_whole_and_cut_tiles(
    dtype: torch.dtype, m: int, n: int, k: int
) -> None:
    product(surrounded(m, k, dtype=dtype, seed=1), surrounded(k, n, dtype=dtype, seed=2))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_within_its_own_bound(precision: str) -> None:
    product(surrounded(40, 70, seed=1), surrounded(70, 50, seed=2), precision=precision)


@pytest.mark.usefixtures("each_config")
@pytest.mark.parametrize(("m", "n", "k"), [(256, 256, 64), (131, 261, 33)])
def test_every_config_gives_the_right_product(m: int, n: int, k: int) -> None:
    product(surrounded(m, k, seed=1), surrounded(k, n, seed=2))


@pytest.mark.usefixtures("each_config")
def test_every_config_covers_all_tiles_when_groups_are_cut_short() -> None:
    product(surrounded(1100, 3, seed=1), surrounded(3, 130, seed=2))


@pytest.mark.parametrize("k", [16385, 20481])
def test_a_sum_so_long_that_it_is_added_in_parts_misses_no_term(k: int) -> None:
    a, b = integers(3, k, seed=1), integers(k, 5, seed=2)
    with forced(splits=1):
        assert torch.equal(triton_matmul(a, b), a @ b)


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposed_operands_are_read_where_they_lie(transpose_a: bool, transpose_b: bool) -> None:  # noqa: FBT001
    a = surrounded(33, 70).mT if transpose_a else surrounded(70, 33)
    b = surrounded(50, 33).mT if transpose_b else surrounded(33, 50)
    product(a, b)


def test_slices_with_steps_and_expanded_operands_are_read_where_they_lie() -> None:
    product(surrounded(70, 66)[::2, ::3], surrounded(44, 90)[::2, 1::4])
    product(surrounded(1, 30).expand(70, 30), surrounded(30, 1).expand(30, 65))
    product(surrounded(5, 1).expand(5, 40), surrounded(1, 6).expand(40, 6))


@pytest.mark.parametrize("lead", [(3,), (2, 3), (2, 1, 3), (1,), (2, 2, 2, 2)])
def test_leading_dimensions_of_a_are_kept(lead: tuple[int, ...]) -> None:
    product(surrounded(*lead, 5, 17), surrounded(17, 9))


@pytest.mark.parametrize("order", [(1, 0, 2, 3, 4), (2, 1, 0, 3, 4), (3, 2, 1, 0, 4), (0, 2, 1, 3, 4)])
def test_leading_dimensions_that_no_single_stride_spans_are_looped_over(order: tuple[int, ...]) -> None:
    with launched() as seen:
        product(surrounded(2, 3, 4, 5, 17).permute(order), surrounded(17, 9))
    assert len(seen) > 1


def test_leading_dimensions_that_merge_take_one_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    grids = record_grids(monkeypatch)
    triton_matmul(torch.ones(2, 3, 4, 5, 16, device=DEVICE), torch.ones(16, 8, device=DEVICE))
    assert grids == [("matmul_kernel", 2)]


@pytest.mark.parametrize("dtype", FLOATS)
def test_batches_multiply_matrix_by_matrix(dtype: torch.dtype) -> None:
    product(surrounded(3, 65, 17, dtype=dtype, seed=1), surrounded(3, 17, 70, dtype=dtype, seed=2))


def test_batches_may_be_transposed_expanded_or_of_one() -> None:
    product(surrounded(17, 3, 65).permute(1, 2, 0), surrounded(3, 70, 17).mT)
    product(surrounded(1, 5, 17).expand(4, 5, 17), surrounded(4, 17, 6))
    product(surrounded(1, 5, 17), surrounded(1, 17, 6))


def record_grids(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Replace every launch by a note of the kernel and the grid that it would have had with 64 by 64 tiles."""
    grids: list[tuple[str, int]] = []

    def stand_in(name: str) -> Callable[..., None]:
        def run(*_args: object, grid: Callable[[dict[str, int]], tuple[int]], **_options: object) -> None:
            grids.append((name, *grid({"BLOCK_M": 64, "BLOCK_N": 64})))

        return run

    for name, kernel in KERNELS.items():
        monkeypatch.setattr(kernel, "run", stand_in(name))
    return grids


def test_a_batch_of_more_than_65535_lies_on_the_grid_axis_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    grids = record_grids(monkeypatch)
    for n in (1, 2):
        triton_matmul(torch.ones(70_000, 2, 1, device=DEVICE), torch.ones(70_000, 1, n, device=DEVICE))
    assert grids == [("vector_kernel", 70_000), ("matmul_kernel", 70_000)]


@pytest.mark.parametrize(("m", "n", "tiles"), [(2**37, 2, 2**31), (2**33, 1, 2**31)])
def test_more_tiles_than_a_grid_holds_are_refused(m: int, n: int, tiles: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record_grids(monkeypatch)
    a, b = torch.empty(m, 1, device="meta"), torch.empty(1, n, device="meta")
    with forced(form="tf32"), pytest.raises(ValueError, match=rf"a grid holds 2\*\*31 - 1 tiles, .* needs {tiles}"):
        triton_matmul(a, b)


@pytest.mark.parametrize("shapes", [((0, 4), (4, 5)), ((3, 4), (4, 0)), ((0, 2, 3), (0, 3, 4)), ((2, 0, 4), (4, 5))])
def test_an_empty_product_launches_nothing(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = record_grids(monkeypatch)
    a, b = (torch.ones(shape, device=DEVICE) for shape in shapes)
    assert triton_matmul(a, b).shape == (a @ b).shape
    assert grids == []


def test_an_empty_sum_is_zero_and_overwrites_out() -> None:
    out = torch.full((3, 5), torch.nan, device=DEVICE)
    assert triton_matmul(torch.ones(3, 0, device=DEVICE), torch.ones(0, 5, device=DEVICE), out=out) is out
    assert out.eq(0).all()


def test_out_is_filled_and_returned_and_nothing_beside_it_is_written() -> None:
    a, b = surrounded(65, 17), surrounded(17, 70)
    out = torch.full((67, 72), torch.nan, device=DEVICE)[1:66, 1:71]
    assert product(a, b, out=out) is out
    assert out._base is not None  # noqa: SLF001 - the buffer around it
    assert out._base.isnan().sum() == 67 * 72 - 65 * 70  # noqa: SLF001 - the same


def test_out_may_be_transposed_or_have_leading_dimensions_of_its_own_strides() -> None:
    product(surrounded(65, 17), surrounded(17, 70), out=torch.empty(70, 65, device=DEVICE).t())
    product(surrounded(2, 3, 5, 17), surrounded(17, 9), out=torch.empty(3, 2, 5, 9, device=DEVICE).transpose(0, 1))


def test_out_may_be_other_columns_or_rows_of_the_buffer_of_an_input() -> None:
    buffer = torch.randn(20, 50, device=DEVICE)
    a = buffer[:, 30:].clone()
    triton_matmul(buffer[:, 30:], torch.eye(20, device=DEVICE), out=buffer[:, :20], precision="ieee")
    assert buffer[:, :20].equal(a)
    triton_matmul(buffer[:5, :5], torch.eye(5, device=DEVICE), out=buffer[10:15, :5], precision="ieee")
    assert buffer[10:15, :5].equal(buffer[:5, :5])


@pytest.mark.parametrize("columns", [slice(0, 20), slice(29, 49), slice(30, 50)])
def test_out_that_may_share_elements_with_an_input_is_refused(columns: slice) -> None:
    buffer = torch.zeros(20, 60, device=DEVICE)
    a, b = buffer[:, 10:30], torch.eye(20, device=DEVICE)
    if columns.start == 30:
        assert triton_matmul(a, b, out=buffer[:, columns]).eq(0).all()
        return
    with pytest.raises(ValueError, match="out must not share memory with a or b"):
        triton_matmul(a, b, out=buffer[:, columns])


def test_out_that_overlaps_itself_is_refused() -> None:
    a, b = torch.ones(4, 4, device=DEVICE), torch.ones(4, 4, device=DEVICE)
    for out in (torch.ones(4, device=DEVICE).expand(4, 4), torch.ones(16, device=DEVICE).as_strided((4, 4), (2, 1))):
        with pytest.raises(ValueError, match="out must not overlap itself, got shape"):
            triton_matmul(a, b, out=out)


def ones(*shape: int, dtype: torch.dtype = torch.float32, device: str = DEVICE) -> torch.Tensor:
    return torch.ones(shape, dtype=dtype, device=device)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        (ones(2), ones(2, 2), {}, r"\(\.\.\., M, K\) @ \(K, N\) or .*, got \(2,\) @ \(2, 2\)"),
        (ones(2, 2), ones(2), {}, r"got \(2, 2\) @ \(2,\)"),
        (ones(2, 2), ones(2, 2, 2), {}, r"got \(2, 2\) @ \(2, 2, 2\)"),
        (ones(1, 2, 2, 2), ones(2, 2, 2), {}, r"got \(1, 2, 2, 2\) @ \(2, 2, 2\)"),
        (ones(2, 3), ones(4, 5), {}, r"last dimension must equal b's last but one, .*: 3 and 4"),
        (ones(2, 3, 4), ones(3, 4, 5), {}, r"same batch size, .*: 2 and 3"),
        (ones(2, 2), ones(2, 2, dtype=torch.float16), {}, r"got torch\.float32 and torch\.float16"),
        (ones(2, 2, dtype=torch.float64), ones(2, 2, dtype=torch.float64), {}, r"got torch\.float64"),
        (ones(2, 2), ones(2, 2, device="meta"), {}, r"same device, got .* and meta"),
        (ones(2, 2).to_sparse(), ones(2, 2), {}, r"a must be a plain strided tensor, got layout torch\.sparse_coo"),
        (ones(2, 2), torch.zeros(2, 2, dtype=torch.complex64).conj().imag, {}, r"b must be .* negative bit True"),
        (ones(2, 2).requires_grad_(), ones(2, 2), {}, "a requires grad, but this matmul is forward only"),
        (ones(2, 2), ones(2, 2), {"a_triangle": "left"}, r"a_triangle must be None, 'upper' or 'lower', got 'left'"),
        (ones(2, 2), ones(2, 2), {"b_triangle": ""}, r"b_triangle must be None, 'upper' or 'lower', got ''"),
        (ones(2, 2), ones(2, 2), {"precision": "fp32"}, r"must be one of \(None, 'tf32', .*\), got 'fp32'"),
        (*[ones(2, 2, dtype=torch.float16)] * 2, {"precision": "tf32"}, r"torch\.float16 must be one of \(None,\)"),
        (ones(2, 3), ones(3, 4), {"out": ones(4, 2)}, r"out must have .* \(\(2, 4\), .*, got \(\(4, 2\)"),
        (ones(2, 3), ones(3, 4), {"out": ones(2, 4, dtype=torch.float16)}, r"out must have .*float32.* got .*float16"),
        (ones(2, 3), ones(3, 4), {"out": ones(2, 4, device="meta")}, r"out must have .* got .*'meta'"),
    ],
)
def test_what_the_contract_excludes_is_refused_with_what_was_found_and_expected(
    a: torch.Tensor, b: torch.Tensor, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        triton_matmul(a, b, **options)


def test_what_is_no_tensor_is_a_type_error_that_names_it() -> None:
    tensor = ones(2, 2)
    with pytest.raises(TypeError, match=r"a must be a torch\.Tensor, got list"):
        triton_matmul([[1.0]], tensor)
    with pytest.raises(TypeError, match=r"b must be a torch\.Tensor, got float"):
        triton_matmul(tensor, 1.0)
    with pytest.raises(TypeError, match=r"out must be a torch\.Tensor, got str"):
        triton_matmul(tensor, tensor, out="c")


def test_inputs_that_require_grad_are_fine_where_grad_is_off() -> None:
    with torch.no_grad():
        product(surrounded(3, 4).requires_grad_(), surrounded(4, 5))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # NumPy's, about infinity times zero
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", FLOATS)
def test_nan_and_infinity_reach_the_elements_that_they_belong_to_and_no_others(
    value: float, dtype: torch.dtype
) -> None:
    a, b = torch.ones(5, 7, dtype=dtype, device=DEVICE), torch.ones(7, 6, dtype=dtype, device=DEVICE)
    a[2, 3] = value
    assert torch.equal(triton_matmul(a, b).nan_to_num(9), (a @ b).nan_to_num(9))


def test_the_same_call_gives_the_same_bits() -> None:
    a, b = surrounded(70, 50), surrounded(50, 66)
    assert triton_matmul(a, b).equal(triton_matmul(a, b))


def test_the_module_multiplies_its_two_inputs() -> None:
    a, b = surrounded(5, 7), surrounded(7, 6)
    assert ModelNew()(a, b).equal(triton_matmul(a, b))
