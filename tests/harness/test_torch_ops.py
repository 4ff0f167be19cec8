"""What torch does on the card beside the kernels: what is seen of it, and what the verdict says when it grows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from msgspec import structs

from kernels import matmul
from perfgate.codegen.rules import judge_compiled
from perfgate.hardware.cost_model import passed_s
from perfgate.hardware.parameters import MODEL_CARDS
from perfgate.harness.torch_ops import watch_operations
from perfgate.store.compiled import CompiledCase, Operation
from perfgate.text import duration
from tests.codegen.test_rules import FACTS, baseline, case, changed, judge

if TYPE_CHECKING:
    from collections.abc import Callable

COPY = Operation(name="clone", moved_bytes=134_217_728)
FILL = Operation(name="zero_", moved_bytes=4096)


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def seen(call: Callable[[], object]) -> list[tuple[str, int]]:
    with watch_operations() as found:
        call()
    return [(one.name, one.moved_bytes) for one in found]


A, B, HALF = meta(64, 32), meta(32, 16), meta(64, 32, dtype=torch.float16)
SIZE = 4 * 64 * 32


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (A.T.contiguous, [("clone", 2 * SIZE)]),
        (A.clone, [("clone", 2 * SIZE)]),
        (lambda: A.T.reshape(-1), [("clone", 2 * SIZE)]),
        (A.half, [("_to_copy", SIZE + SIZE // 2)]),
        (lambda: HALF.copy_(A), [("copy_", SIZE + SIZE // 2)]),
        (A.zero_, [("zero_", SIZE)]),
        (lambda: A.fill_(1.0), [("fill_", SIZE)]),
        (lambda: torch.zeros(64, 32, device="meta"), [("zeros", SIZE)]),
        (lambda: torch.zeros_like(HALF), [("zeros_like", SIZE)]),
        (lambda: A + A, [("add", 2 * SIZE)]),
        (lambda: A.mul_(2.0), [("mul_", SIZE)]),
        (lambda: A @ B, [("mm", SIZE + 4 * 32 * 16 + 4 * 64 * 16)]),
        (lambda: torch.cat([A, A.clone()]), [("clone", 2 * SIZE), ("cat", 4 * SIZE)]),
        (lambda: torch.nn.functional.pad(A, (0, 8)), [("constant_pad_nd", SIZE + 4 * 64 * 40)]),
    ],
    ids=lambda value: value[-1][0] if isinstance(value, list) else "",
)
def test_an_operation_is_seen_with_the_bytes_of_what_it_takes_and_gives(
    call: Callable[[], object], expected: list[tuple[str, int]]
) -> None:
    found = seen(call)
    if expected[0][0] == "zeros_like":  # what it is like is not read, but torch does not say so
        assert [(name, moved - 2 * 64 * 32) for name, moved in found] == [("zeros_like", SIZE // 2)]
    else:
        assert found == expected


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.empty(64, 32, device="meta"),
        lambda: torch.empty_like(A),
        lambda: A.new_empty(3, 3),
        lambda: torch.empty_strided((2, 3), (1, 2), device="meta"),
        lambda: A.T,
        lambda: A.view(-1)[3:].as_strided((2, 2), (2, 1)),
        A.contiguous,
        lambda: A.reshape(32, 64),
        lambda: A.detach().expand(2, 64, 32).permute(2, 0, 1),
        lambda: A.to(torch.float32),
        lambda: (A.stride(), A.data_ptr(), A.numel(), A.is_contiguous()),
        lambda: meta(0, 5).clone(),
        lambda: torch.zeros(4, 4).clone().add_(1),
    ],
    ids=[
        *("empty", "like", "new", "strided", "transposed", "views", "in order", "reshaped", "expanded"),
        *("cast to its own", "questions", "of nothing", "on the host"),
    ],
)
def test_allocations_views_and_the_hosts_own_work_are_none(call: Callable[[], object]) -> None:
    assert seen(call) == []


def test_operations_outside_are_not_seen_and_an_error_passes() -> None:
    found = []

    def fail() -> None:
        with watch_operations() as seen:
            A.clone()
            found.append(seen)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    A.clone()
    assert [len(seen) for seen in found] == [1]


def test_the_kernels_empty_sum_is_a_fill_of_its_result_and_nothing_else() -> None:
    assert seen(lambda: matmul.triton_matmul(meta(64, 0), meta(0, 32))) == [("zero_", 4 * 64 * 32)]
    assert seen(lambda: matmul.triton_matmul(meta(0, 8), meta(8, 32))) == []


def with_operations(*operations: Operation, kernel: Any = FACTS) -> CompiledCase:
    return structs.replace(case(kernel), operations=operations)


def stored(*operations: Operation) -> Any:
    return baseline(cases={"k1": with_operations(*operations)})


TO_DO = "µs more on an RTX 4090 by the model; let the kernel take things where they lie"


@pytest.mark.parametrize(
    ("before", "after", "verdict", "said"),
    [
        ([], [COPY], ("SLOWER", "memory-moved", 1), f"0 bytes → 134.2 MB a call (nothing → clone)|{TO_DO}"),
        ([COPY], [COPY, COPY], ("SLOWER", "memory-moved", 1), "134.2 MB → 268.4 MB a call (clone)|update-baselines"),
        ([FILL], [FILL, COPY], ("SLOWER", "memory-moved", 1), "4.096 KB → 134.2 MB a call (zero_ → zero_ and clone)"),
        (
            [],
            [Operation(name="zero_", moved_bytes=4)],
            ("SLOWER", "memory-moved", 1),
            "0 bytes → 4 bytes a call (nothing → zero_)",
        ),
        ([COPY, FILL], [COPY, FILL], ("SAME", "same-code", 0), ""),
        (
            [COPY],
            [],
            ("FASTER", "resources-freed", 0),
            "134.2 MB → 0 bytes a call (clone → nothing)|less on an RTX 4090",
        ),
        # As many bytes by another operation are told and not judged.
        (
            [COPY],
            [structs.replace(COPY, name="copy_")],
            ("SAME", "same-resources", 0),
            "134.2 MB a call (clone → copy_)",
        ),
    ],
)
def test_what_torch_moves_beside_the_kernels_is_judged_by_its_bytes(
    before: list[Operation], after: list[Operation], verdict: tuple[str, str, int], said: str
) -> None:
    found = judge(with_operations(*after), stored(*before))
    assert (found.status, found.reason, found.exit_code) == verdict
    assert all(words in found.text for words in said.split("|"))


def test_a_copy_weighs_more_than_a_block_that_its_changed_code_lost_and_less_than_spills() -> None:
    lost = changed(blocks_per_sm=1, occupancy_percent=8.33)
    spilled = changed(spill_instructions=2, stack_bytes=8)
    assert judge(with_operations(COPY, kernel=lost), stored()).reason == "memory-moved"
    assert judge(with_operations(COPY, kernel=spilled), stored()).reason == "spills"


@pytest.mark.parametrize(("target", "card"), [("sm_89", "rtx-4090"), ("sm_90", "native")])
def test_the_time_of_a_copy_is_that_of_the_card_that_is_compiled_for(target: str, card: str) -> None:
    (verdict,) = judge_compiled(
        {"k1": with_operations(COPY)}, replace(stored(), target=target), versions={}, target=target
    )
    known = MODEL_CARDS[card]
    assert f"about {duration(passed_s(COPY.moved_bytes, known) + known.launch_s)} more on an" in verdict.text
