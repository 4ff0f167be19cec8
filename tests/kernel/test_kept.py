"""Launches are kept: a call like an earlier one plans nothing, and launches the same kernels on its own tensors.

What a card would do is stood in for, so that this runs anywhere: tensors say that they are on it, and what is compiled
only notes how it is launched.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kernel_support import DEVICE, assert_within_bound, surrounded
from kernels import matmul
from kernels.matmul import forget_launches, triton_matmul

GRID, REST = (5, 1, 1), [7, 8, "tf32"]


class Card:
    """A stand-in for the card: counts plans and notes launches."""

    def __init__(self) -> None:
        self.plans = 0
        self.launches: list[tuple[Any, ...]] = []
        self.keeps = True

    def __getitem__(self, grid: tuple[int, int, int]) -> Callable[..., None]:
        return lambda *arguments: self.launches.append((grid, *arguments))

    def execute(self, plan: dict[str, Any], _tensors: dict[str, Any]) -> list[tuple[Any, ...]] | None:
        self.plans += 1
        plan["allocate"]["parts"] = ((3, 4), torch.float32)
        at = (("a", 0), ("b", 0), ("out", 0), ("parts", 0), ("a", 2), (None, 0))
        named = [(name, offset, None) for name, offset in at]
        return [(self, GRID, named, REST)] if self.keeps else None


@pytest.fixture(autouse=True)
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    stand_in = Card()
    monkeypatch.setattr(torch.Tensor, "get_device", lambda _tensor: 0)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(matmul, "_execute", stand_in.execute)
    monkeypatch.setattr(matmul, "_KEPT", {})
    return stand_in


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(shape, device=DEVICE)


def test_a_second_call_alike_plans_nothing_and_passes_its_own_tensors(card: Card) -> None:
    triton_matmul(ones(4, 6), ones(6, 5))
    assert (card.plans, card.launches) == (1, [])
    a, b = ones(4, 6), ones(6, 5)
    c = triton_matmul(a, b)
    assert card.plans == 1
    ((grid, *tensors, none, seven, eight, precision),) = card.launches
    assert (grid, none, seven, eight, precision) == (GRID, None, *REST)
    given_a, given_b, given_out, parts, inside = tensors
    assert given_a is a
    assert given_b is b
    assert given_out is c
    assert (c.shape, c.dtype, c.device) == ((4, 5), a.dtype, a.device)
    assert (parts.shape, parts.dtype, parts.device) == ((3, 4), torch.float32, a.device)
    assert inside.data_ptr() == a.data_ptr() + 2 * a.element_size()


def test_a_second_call_writes_to_its_own_out(card: Card) -> None:
    a, b = ones(4, 6), ones(6, 5)
    triton_matmul(a, b, out=ones(4, 5))
    out = ones(4, 5)
    assert triton_matmul(a, b, out=out) is out
    assert card.plans == 1
    assert card.launches[0][3] is out


def misaligned() -> torch.Tensor:
    return ones(4 * 6 + 1)[1:].view(4, 6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: triton_matmul(ones(3, 6), ones(6, 5)),
        lambda: triton_matmul(ones(4, 6), ones(6, 3)),
        lambda: triton_matmul(ones(1, 4, 6), ones(6, 5)),
        lambda: triton_matmul(ones(6, 4).mT, ones(6, 5)),
        lambda: triton_matmul(ones(4, 6), ones(5, 6).mT),
        lambda: triton_matmul(ones(4, 8)[:, :6], ones(6, 5)),
        lambda: triton_matmul(misaligned(), ones(6, 5)),
        lambda: triton_matmul(ones(4, 6).half(), ones(6, 5).half()),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), precision="ieee"),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), a_triangle="upper"),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), b_triangle="upper"),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), a_triangle="lower"),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), out=ones(4, 5)),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), out=ones(5, 4).mT),
        lambda: triton_matmul(ones(4, 6), ones(6, 5), out=ones(4 * 5 + 1)[1:].view(4, 5)),
    ],
)
def test_whatever_decides_a_launch_tells_calls_apart(call: Callable[[], torch.Tensor], card: Card) -> None:
    triton_matmul(ones(4, 6), ones(6, 5))
    call()
    call()
    assert (card.plans, len(card.launches)) == (2, 1)


def test_every_alignment_below_16_bytes_is_told_apart(card: Card) -> None:
    storage = ones(100)
    for _ in range(2):
        for offset in range(5):  # of four bytes: the last is as the first
            triton_matmul(storage[offset:][:24].view(4, 6), ones(6, 5))
    assert card.plans == 4


@pytest.mark.parametrize("columns", [slice(1, 6), slice(11, 16), slice(5, 10)])
def test_out_that_shares_memory_is_refused_although_the_launch_is_kept(columns: slice, card: Card) -> None:
    a, b = ones(4, 20)[:, 4:16:2], ones(6, 5)
    triton_matmul(a, b, out=ones(4, 20)[:, columns])
    kept = a._base  # noqa: SLF001 - the buffer around it
    assert kept is not None
    with pytest.raises(ValueError, match="out must not share memory with a or b"):
        triton_matmul(a, b, out=kept[:, columns])
    assert (card.plans, card.launches) == (1, [])


def test_out_beside_an_input_in_one_buffer_is_still_fine(card: Card) -> None:
    buffer, b = ones(4, 20), ones(6, 5)
    for _ in range(2):
        triton_matmul(buffer[:, 4:10], b, out=buffer[:, 12:17])
    assert (card.plans, len(card.launches)) == (1, 1)
    with pytest.raises(ValueError, match="out must not share memory with a or b"):
        triton_matmul(buffer[:, 4:10], b, out=buffer[:, 8:13])


def test_out_that_overlaps_the_other_input_is_refused_too() -> None:
    buffer = ones(100)
    a, b = ones(4, 6), buffer[:30].view(6, 5)
    triton_matmul(a, b, out=ones(4, 5))
    assert buffer.data_ptr() % 16 == 0
    with pytest.raises(ValueError, match="out must not share memory with a or b"):
        triton_matmul(a, b, out=buffer[28:48].view(4, 5))


def test_inputs_that_require_grad_are_refused_although_the_launch_is_kept(card: Card) -> None:
    triton_matmul(ones(4, 6), ones(6, 5))
    with pytest.raises(ValueError, match="a requires grad"):
        triton_matmul(ones(4, 6).requires_grad_(), ones(6, 5))
    with torch.no_grad():
        triton_matmul(ones(4, 6).requires_grad_(), ones(6, 5))
    assert len(card.launches) == 1


def test_what_no_card_holds_is_never_kept(card: Card, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "get_device", lambda _tensor: -1)
    for _ in range(2):
        triton_matmul(ones(4, 6), ones(6, 5))
    monkeypatch.setattr(torch.Tensor, "get_device", lambda _tensor: 1)  # not the current one
    for _ in range(2):
        triton_matmul(ones(4, 6), ones(6, 5))
    assert (card.plans, card.launches, matmul._KEPT) == (4, [], {})  # noqa: SLF001 - what this is about


def test_what_could_not_be_compiled_to_be_launched_again_is_not_kept(card: Card) -> None:
    card.keeps = False
    for _ in range(2):
        triton_matmul(ones(4, 6), ones(6, 5))
    assert (card.plans, card.launches) == (2, [])


def test_an_empty_product_and_a_refused_call_leave_nothing_behind(card: Card) -> None:
    for _ in range(2):
        assert triton_matmul(ones(4, 0), ones(0, 5)).eq(0).all()
        with pytest.raises(ValueError, match="6 and 7"):
            triton_matmul(ones(4, 6), ones(7, 5))
    assert (card.plans, card.launches, matmul._KEPT) == (0, [], {})  # noqa: SLF001 - what this is about


def test_forgotten_launches_are_planned_anew(card: Card) -> None:
    triton_matmul(ones(4, 6), ones(6, 5))
    forget_launches()
    triton_matmul(ones(4, 6), ones(6, 5))
    assert (card.plans, card.launches) == (2, [])


def test_no_more_than_1024_launches_are_kept(card: Card) -> None:
    for rows in range(2, 1028):
        triton_matmul(ones(rows, 1), ones(1, 2))
    assert card.plans == 1026
    assert len(matmul._KEPT) == 2  # noqa: SLF001 - what this is about


def test_a_second_call_on_new_values_is_right_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    forget_launches()
    for seed in (1, 2):
        for shapes in (((40, 33), (33, 35)), ((2, 8192), (8192, 2)), ((40, 33), (33, 1)), ((256, 9), (9, 256))):
            a, b = (surrounded(*shape, seed=seed) for shape in shapes)
            assert_within_bound(triton_matmul(a, b, precision="bf16x3"), a, b, "bf16x3")
