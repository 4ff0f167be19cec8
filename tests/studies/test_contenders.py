"""The arms of the table: each at the precision of its case, checked before it is timed, never compiled while it is."""

from __future__ import annotations

import ctypes
import fcntl
from typing import TYPE_CHECKING, Any

import pytest
import torch

import kernel_support
from kernels import matmul
from perf_tests import cases
from perfgate.harness.correctness import WrongResultError, round_to_tf32
from studies.table import contenders
from studies.table.cases import COMPILE, KERNEL, LIMIT, START, TORCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from studies.table.contenders import Problem

DEVICE = kernel_support.DEVICE
CASE = cases.matmul_case("case", (70, 96), (96, 130))
STORED = cases.matmul_case("stored", (64, 8), (8, 64))
READ = cases.matmul_case("read", (64, 4096), (4096, 1))
COMPILER: Any = torch.compile


@pytest.fixture(autouse=True)
def precision_of_before() -> Iterator[None]:
    """Torch keeps it for the whole process."""
    before = torch.backends.cuda.matmul.allow_tf32
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How torch.compile was asked; it compiles for nothing, so that no C++ compiler is needed."""
    asked: list[dict[str, Any]] = []

    def compile_eagerly(function: Callable[..., Any], **options: Any) -> Any:
        asked.append(options)
        kept = {key: value for key, value in options.items() if key != "mode"}
        return COMPILER(function, backend="eager", **kept)

    monkeypatch.setattr(torch, "compile", compile_eagerly)
    return asked


def problem(case: Any = CASE, *, device: str = DEVICE) -> Problem:
    return contenders.problem(case, matmul, device=device, seed=3)


@pytest.mark.parametrize("arm", [KERNEL, START, TORCH, COMPILE])
@pytest.mark.parametrize(
    "case", [CASE, cases.matmul_case("batched", (2, 33, 40), (2, 40, 50), dtype="float16")], ids=["fp32", "fp16"]
)
@pytest.mark.usefixtures("told")
def test_every_arm_computes_the_case_over_nan_and_gives_the_same_bits_again(case: Any, arm: str) -> None:
    given = problem(case)
    launch = contenders.MAKERS[arm](given)
    checked = contenders.check(arm, launch, given, seed=1)
    assert launch().shape == cases.result_shape(case)
    assert checked.error is not None
    assert checked.error < 3  # on a card operands are truncated by some
    assert contenders.same_again(launch, given, checked)


def test_torch_compile_is_asked_for_its_best_without_graphs_at_one_shape_and_the_cases_precision(
    told: list[dict[str, Any]],
) -> None:
    for precision in ("tf32", "ieee"):
        launch = contenders.MAKERS[COMPILE](problem(cases.matmul_case("any", (8, 4), (4, 6), precision=precision)))
        torch.backends.cuda.matmul.allow_tf32 = precision != "tf32"
        launch()
        assert torch.backends.cuda.matmul.allow_tf32 is (precision == "tf32")
    assert told == [{"mode": "max-autotune-no-cudagraphs", "dynamic": False, "fullgraph": True}] * 2


@pytest.mark.usefixtures("told")
def test_nothing_is_compiled_while_it_is_timed() -> None:
    compiled, not_yet = (contenders.MAKERS[COMPILE](problem(case)) for case in (CASE, STORED))
    torch.compiler.reset()
    compiled()
    with contenders.never_compiles():
        compiled()
        with pytest.raises(contenders.REFUSALS, match="recompile"):
            not_yet()
    not_yet()


@pytest.mark.usefixtures("told")
def test_torch_compile_gets_a_case_however_many_it_has_had() -> None:
    for n in range(2, 12):  # torch gives up after eight
        contenders.MAKERS[COMPILE](problem(cases.matmul_case("any", (n, 4), (4, 6))))()


def truncated(given: Problem) -> Callable[[], torch.Tensor]:
    """A product of operands cut off at TF32, as a tensor core makes of FP32 that nobody rounded."""

    def cut(x: torch.Tensor) -> torch.Tensor:
        return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32).double()

    return lambda: given.out.tensor.copy_(cut(given.a) @ cut(given.b))


def test_truncated_operands_are_told_from_rounded_ones_and_allowed_to_all_but_the_kernel() -> None:
    given = problem(cases.matmul_case("case", (256, 1024), (1024, 130)))
    checked = contenders.check(START, truncated(given), given, seed=1)
    assert checked.error is not None
    assert 2 < checked.error < 3
    rounded = contenders.check(
        TORCH,
        lambda: given.out.tensor.copy_(round_to_tf32(given.a).double() @ round_to_tf32(given.b).double()),
        given,
        seed=1,
    )
    assert rounded.error == pytest.approx(1, abs=0.01)
    with pytest.raises(WrongResultError, match=r"case: .*\(2 × torch's own"):  # the gate's own rule
        contenders.check(KERNEL, truncated(given), given, seed=1)


def spoiled(given: Problem, spoil: Callable[[torch.Tensor], object]) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        torch.matmul(given.a, given.b, out=given.out.tensor)
        spoil(given.out.tensor)
        return given.out.tensor

    return run


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda out: out[3, 5:6].fill_(float("nan")), "start's result holds NaN"),
        (lambda out: out.add_(0.2), "start's largest error is .* expected at most"),
        (lambda out: out.mul_(1.02), "start's largest error"),
        (lambda out: out.as_strided((1,), (1,), out.storage_offset() - 1).fill_(0), "start wrote outside its result"),
    ],
    ids=["unwritten", "wrong", "short_sum", "out_of_bounds"],
)
def test_a_wrong_arm_is_found_before_it_is_timed(spoil: Callable[[torch.Tensor], object], said: str) -> None:
    given = problem()
    contenders.check(START, spoiled(given, lambda _: None), given, seed=1)
    with pytest.raises(WrongResultError, match=f"case: {said}"):
        contenders.check(START, spoiled(given, spoil), given, seed=1)


def test_an_arm_that_writes_only_where_nan_was_not_is_found() -> None:
    given = problem()
    expected = given.a @ given.b

    def lazy() -> torch.Tensor:
        out = given.out.tensor
        if not bool(torch.isnan(out).any()):
            out.copy_(expected)
        return out

    given.out.tensor.zero_()
    with pytest.raises(WrongResultError, match="NaN"):
        contenders.check(TORCH, lazy, given, seed=1)


def test_what_a_long_sum_costs_a_tensor_core_is_allowed_and_no_more() -> None:
    case = cases.matmul_case("long", (4, 2**18), (2**18, 8))
    given = problem(case)
    lost = 2**18 / 8 * 2.0**-23
    contenders.check(START, spoiled(given, lambda out: out.mul_(1 - 0.8 * lost)), given, seed=1)
    with pytest.raises(WrongResultError):
        contenders.check(START, spoiled(given, lambda out: out.mul_(1 - 8 * lost)), given, seed=1)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda out: out[0, 0].add_(1e-3),
        lambda out: out[:2].copy_(out[:2].flip(0)),
        lambda out: out[:, :2].copy_(out[:, :2].flip(1)),
    ],
    ids=["one_element", "rows_swapped", "columns_swapped"],
)
def test_other_bits_after_timing_are_found(spoil: Callable[[torch.Tensor], object]) -> None:
    given = problem()
    checked = contenders.check(TORCH, contenders.MAKERS[TORCH](given), given, seed=1)
    assert contenders.same_again(spoiled(given, lambda _: None), given, checked)
    assert not contenders.same_again(spoiled(given, spoil), given, checked)


class Driver:
    """Plays the driver's memset: on memory of the host, or refusing."""

    code = 0

    def __init__(self) -> None:
        self.calls: list[tuple[int, int]] = []

    def cuMemsetD8Async(self, at: Any, value: Any, count: Any, stream: Any) -> int:  # noqa: N802 - the driver's name
        assert (value.value, stream.value) == (0, 7)
        self.calls.append((at.value, count.value))
        if not self.code:
            ctypes.memset(at.value, 0, count.value)
        return self.code


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    played = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: played)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: type("Stream", (), {"cuda_stream": 7}))
    return played


def test_the_limit_of_storing_is_a_memset_of_the_whole_result(driver: Driver) -> None:
    given = problem(STORED, device="cpu")
    launch = contenders.MAKERS[LIMIT](given)
    checked = contenders.check(LIMIT, launch, given, seed=1)
    assert checked.error is None
    assert contenders.same_again(launch, given, checked)
    assert set(driver.calls) == {(given.out.tensor.data_ptr(), 64 * 64 * 4)}


def test_a_memset_that_the_driver_refuses_or_that_leaves_something_is_no_limit(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = problem(STORED, device="cpu")
    monkeypatch.setattr(driver, "code", 700)
    with pytest.raises(RuntimeError, match="error 700, expected 0"):
        contenders.MAKERS[LIMIT](given)()
    with pytest.raises(WrongResultError, match="expected zeros"):
        contenders.check(LIMIT, lambda: given.out.tensor.fill_(1), given, seed=1)


def test_the_limit_of_reading_sums_each_operand_into_a_number_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(READ)
    launch = contenders.MAKERS[LIMIT](given)
    summed: list[int] = []
    plain: Any = torch.sum

    def read(x: torch.Tensor, **options: Any) -> Any:
        summed.append(x.numel())
        return plain(x, **options)

    monkeypatch.setattr(torch, "sum", read)
    assert launch().data_ptr() == launch().data_ptr()
    assert summed[:2] == [64 * 4096, 4096]
    checked = contenders.check(LIMIT, launch, given, seed=1)
    assert contenders.same_again(launch, given, checked)


def test_candidates_are_timed_by_one_process_at_a_time_and_torch_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._inductor.runtime.benchmarking import benchmarker

    owner: Any = benchmarker
    lock = tmp_path / "lock"
    seen = []

    def free() -> bool:
        with lock.open("a") as other:  # as another process would
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

    def time_alone(depth: int) -> int:
        seen.append(free())
        return depth if not depth else int(owner.benchmark_gpu(depth - 1))

    monkeypatch.setattr(owner, "benchmark_gpu", time_alone)
    with contenders.one_tunes_at_a_time(lock):
        assert free()
        assert owner.benchmark_gpu(2) == 0  # a way of timing may be made of another
        assert free()
    assert seen == [False, False, False]
    assert owner.benchmark_gpu is time_alone
