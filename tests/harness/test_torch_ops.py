"""What torch does on the card beside the kernels: what is seen of it, and what the verdict says when it grows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from kernels import matmul
from perfgate.codegen.rules import judge_compiled
from perfgate.hardware.cost_model import passed_s
from perfgate.hardware.parameters import MODEL_CARDS
from perfgate.harness.torch_ops import watch_operations
from perfgate.records import Status
from perfgate.store.compiled import CompiledCase, Operation, case_from_json, case_to_json
from perfgate.text import duration
from tests.codegen.test_rules import FACTS, baseline, case, changed, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
    return replace(case(kernel), operations=operations)


def stored(*operations: Operation) -> Any:
    return baseline(cases={"k1": with_operations(*operations)})


def test_a_copy_that_appears_is_slower_with_its_bytes_and_its_modelled_time() -> None:
    verdict = judge(with_operations(COPY), stored())

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.SLOWER, "memory-moved", 1)
    assert "beside the kernels torch moves 0 bytes → 134.2 MB a call (nothing → clone)" in verdict.text
    assert "µs more on an RTX 4090 by the model; let the kernel take things where they lie" in verdict.text
    assert "update-baselines" in verdict.text


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([COPY], [COPY, COPY], "134.2 MB → 268.4 MB a call (clone)"),
        ([FILL], [FILL, COPY], "4.096 KB → 134.2 MB a call (zero_ → zero_ and clone)"),
        ([], [Operation(name="zero_", moved_bytes=4)], "0 bytes → 4 bytes a call (nothing → zero_)"),
    ],
)
def test_more_bytes_than_before_are_slower(before: list[Operation], after: list[Operation], said: str) -> None:
    verdict = judge(with_operations(*after), stored(*before))
    assert (verdict.reason, verdict.exit_code) == ("memory-moved", 1)
    assert said in verdict.text


def test_what_was_there_before_is_the_same() -> None:
    assert judge(with_operations(COPY, FILL), stored(COPY, FILL)).reason == "same-code"


def test_a_copy_that_is_gone_is_faster() -> None:
    verdict = judge(with_operations(), stored(COPY))

    assert (verdict.status, verdict.reason, verdict.exit_code) == (Status.FASTER, "resources-freed", 0)
    assert "134.2 MB → 0 bytes a call (clone → nothing)" in verdict.text
    assert "less on an RTX 4090" in verdict.text


def test_as_many_bytes_by_another_operation_are_told_and_not_judged() -> None:
    verdict = judge(with_operations(replace(COPY, name="copy_")), stored(COPY))
    assert (verdict.status, verdict.reason) == (Status.SAME, "same-resources")
    assert "134.2 MB a call (clone → copy_)" in verdict.text


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


def test_operations_are_read_back_from_the_process_that_compiled(tmp_path: Path) -> None:
    built = with_operations(COPY, FILL)
    assert case_from_json(json.loads(json.dumps(case_to_json(built))), name="k1", path=tmp_path) == built
