"""What the correctness check accepts and what it sees."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from perf_tests.cases import CASES
from perfgate.harness.correctness import WrongResultError, check_close, check_exact, round_to_tf32, same_bits
from perfgate.harness.guarded import CANARY, LAYOUTS, guarded, require_room
from perfgate.records import GateError


def operands(m: int = 64, n: int = 48, k: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(m, k, generator=generator), torch.randn(k, n, generator=generator)


def integers(m: int = 64, n: int = 48, k: int = 80) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(6)
    return (torch.empty(s).random_(-2, 3, generator=generator) for s in ((m, k), (k, n)))  # type: ignore[return-value]


def test_torchs_own_product_passes_and_one_of_operands_rounded_to_tf32_as_tf32_alone() -> None:
    a, b = operands()
    check_close("case", a, b, a @ b, precision="ieee")
    rounded = round_to_tf32(a) @ round_to_tf32(b)
    check_close("case", a, b, rounded, precision="tf32")
    with pytest.raises(WrongResultError, match="error"):
        check_close("case", a, b, rounded, precision="ieee")


@pytest.mark.parametrize(("times", "passes"), [(1.9, True), (2.2, False)])
def test_an_error_of_twice_torchs_own_is_the_limit(times: float, *, passes: bool) -> None:
    a, b = operands()
    exact = a.double() @ b.double()
    got = (exact + times * ((round_to_tf32(a) @ round_to_tf32(b)).double() - exact)).float()
    with nullcontext() if passes else pytest.raises(WrongResultError, match="largest error"):
        check_close("case", a, b, got, precision="tf32")


def test_tf32_by_truncation_fails_on_positive_inputs_because_it_is_biased() -> None:
    a, b = (x.abs() for x in operands(k=2000))
    truncated = [(x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32) for x in (a, b)]
    with pytest.raises(WrongResultError):
        check_close("case", a, b, truncated[0] @ truncated[1], precision="tf32")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_one_nan_or_infinity_fails(bad: float) -> None:
    a, b = operands()
    got = a @ b
    got[3, 4] = bad
    with pytest.raises(WrongResultError, match="largest error inf"):
        check_close("case", a, b, got, precision="tf32")


def test_nan_in_the_result_is_wrong_even_where_the_reference_is_nan() -> None:
    a, b = integers()
    a[0, 0] = float("nan")
    with pytest.raises(WrongResultError):
        check_exact("case", a, b, a @ b)


def test_a_single_missing_term_is_seen_on_integers() -> None:
    a, b = integers()
    got = a @ b
    k = int((a[7] * b[:, 9]).nonzero()[0])
    got[7, 9] -= a[7, k] * b[k, 9]
    with pytest.raises(WrongResultError, match=r"1 of 3072 elements .* row 7, column 9"):
        check_exact("case", a, b, got)


def test_every_row_block_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perfgate.harness.correctness._BLOCK_ELEMENTS", 80 * 10)  # ten rows a block
    a, b = integers()
    got = a @ b
    check_exact("case", a, b, got)
    got[63, 0] += 1
    with pytest.raises(WrongResultError):
        check_exact("case", a, b, got)


def test_batches_are_compared_one_by_one() -> None:
    generator = torch.Generator().manual_seed(6)
    a, b = torch.randn(3, 8, 9, generator=generator), torch.randn(3, 9, 7, generator=generator)
    check_close("case", a, b, a @ b, precision="ieee")
    with pytest.raises(WrongResultError):
        check_close("case", a, b, (a @ b).flip(0), precision="ieee")


def test_same_bits_tells_minus_zero_from_zero_and_nan_from_itself_not() -> None:
    nan, zero = torch.tensor([float("nan")]), torch.tensor([0.0])
    assert (same_bits(nan, nan), same_bits(zero, -zero)) == (True, False)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6), (0, 4), (1, 1)])
def test_a_guarded_tensor_starts_as_nan_with_canaries_all_around(layout: str, shape: tuple[int, ...]) -> None:
    made = guarded(shape, layout=layout, dtype=torch.float32, device="cpu")
    assert made.tensor.shape == shape
    assert torch.isnan(made.tensor).all()
    assert int((made.buffer == CANARY).sum()) == made.buffer.numel() - made.tensor.numel()
    made.tensor.fill_(1.0)
    assert made.intact()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_write_next_to_a_guarded_tensor_is_seen_wherever_it_lands(layout: str) -> None:
    made = guarded((3, 5), layout=layout, dtype=torch.float32, device="cpu")
    inside = {int(i) for i in torch.isnan(made.buffer).nonzero()}
    for index in range(min(inside) - 8, max(inside) + 8):
        before = made.buffer[index].clone()
        made.buffer[index] = 7.0
        assert made.intact() == (index in inside), index
        made.buffer[index] = before


def test_layouts_are_what_their_names_say_and_an_unknown_one_is_refused() -> None:
    with pytest.raises(GateError, match="'diagonal'"):
        guarded((2, 2), layout="diagonal", dtype=torch.float32, device="cpu")
    made = {name: guarded((4, 6), layout=name, dtype=torch.float32, device="cpu").tensor for name in LAYOUTS}
    assert {name: t.stride() for name, t in made.items()} == {
        "row": (6, 1),
        "column": (1, 4),
        "sliced": (13, 1),
        "strided": (12, 2),
        "misaligned": (6, 1),
    }
    assert made["row"].data_ptr() % 16 == 0
    assert made["misaligned"].data_ptr() % 16 == 4


def test_a_case_that_does_not_fit_the_card_present_says_what_it_needs_and_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = next(case for case in CASES if case.id == "k7_small_k")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (case.device_bytes, 0))
    require_room(case)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (case.device_bytes - 1, 0))
    with pytest.raises(GateError, match=r"k7_small_k: needs 15\.1 GB of device memory, 15\.1 GB are free"):
        require_room(case)


def test_every_case_fits_a_card_of_24_gb() -> None:
    usable_bytes = 23.0 * 2**30  # of a 4090's 24 GiB the driver keeps some
    assert [case.id for case in CASES if case.device_bytes > usable_bytes] == []
