"""One process of the table: arms at the precision of their case, checked before and after they are timed, never compiled meanwhile."""

from __future__ import annotations

import contextlib
import ctypes
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import kernel_support
from kernels import matmul
from perf_tests import cases
from perfgate.config import Settings
from perfgate.harness import machine
from perfgate.harness.correctness import WrongResultError, round_to_tf32
from perfgate.harness.launches import Launched
from perfgate.records import GateError
from studies.table import worker
from studies.table.cases import COMPILE, KERNEL, LIMIT, START, TORCH
from studies.table.worker import FULL, TORCH_FP32, Failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from studies.table.worker import Problem

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


def problem_of(case: Any = CASE, *, device: str = DEVICE) -> Problem:
    return worker.problem(case, matmul, device=device, seed=3)


@pytest.mark.parametrize("arm", [KERNEL, START, TORCH, COMPILE])
@pytest.mark.parametrize(
    "case", [CASE, cases.matmul_case("batched", (2, 33, 40), (2, 40, 50), dtype="float16")], ids=["fp32", "fp16"]
)
@pytest.mark.usefixtures("told")
def test_every_arm_computes_the_case_over_nan_and_gives_the_same_bits_again(case: Any, arm: str) -> None:
    given = problem_of(case)
    launch = worker.MAKERS[arm](given)
    checked = worker.check(arm, launch, given, seed=1)
    assert launch().shape == cases.result_shape(case)
    assert checked.error is not None
    assert checked.error < 3  # on a card operands are truncated by some
    assert worker.same_again(launch, given, checked)


def test_torch_compile_is_asked_for_its_best_without_graphs_at_one_shape_and_the_cases_precision(
    told: list[dict[str, Any]],
) -> None:
    for precision in ("tf32", "ieee"):
        launch = worker.MAKERS[COMPILE](problem_of(cases.matmul_case("any", (8, 4), (4, 6), precision=precision)))
        torch.backends.cuda.matmul.allow_tf32 = precision != "tf32"
        launch()
        assert torch.backends.cuda.matmul.allow_tf32 is (precision == "tf32")
    assert told == [{"mode": "max-autotune-no-cudagraphs", "dynamic": False, "fullgraph": True}] * 2


@pytest.mark.usefixtures("told")
def test_nothing_is_compiled_while_it_is_timed() -> None:
    compiled, not_yet = (worker.MAKERS[COMPILE](problem_of(case)) for case in (CASE, STORED))
    torch.compiler.reset()
    compiled()
    with worker.never_compiles():
        compiled()
        with pytest.raises(worker.REFUSALS, match="recompile"):
            not_yet()
    not_yet()


@pytest.mark.parametrize("arm", [*FULL, TORCH_FP32])
def test_an_arm_at_another_precision_is_held_to_that_one(arm: str) -> None:
    given = problem_of()
    exact = given.a.double() @ given.b.double()
    launch = worker.MAKERS[arm](given.at(arm))
    assert worker.check(arm, launch, given, seed=1).error is not None
    assert float((launch() - exact).abs().max()) < 2e-4  # of TF32 it is over 1e-2
    with pytest.raises(WrongResultError):
        worker.check(arm, truncated(given), given, seed=1)


def truncated(given: Problem) -> Callable[[], torch.Tensor]:
    """A product of operands cut off at TF32, as a tensor core makes of FP32 that nobody rounded."""

    def cut(x: torch.Tensor) -> torch.Tensor:
        return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32).double()

    return lambda: given.out.tensor.copy_(cut(given.a) @ cut(given.b))


def test_truncated_operands_are_told_from_rounded_ones_and_allowed_to_all_but_the_kernel() -> None:
    given = problem_of(cases.matmul_case("case", (256, 1024), (1024, 130)))
    checked = worker.check(START, truncated(given), given, seed=1)
    assert checked.error is not None
    assert 2 < checked.error < 3
    rounded = worker.check(
        TORCH,
        lambda: given.out.tensor.copy_(round_to_tf32(given.a).double() @ round_to_tf32(given.b).double()),
        given,
        seed=1,
    )
    assert rounded.error == pytest.approx(1, abs=0.01)
    with pytest.raises(WrongResultError, match=r"case: .*\(2 × torch's own"):  # the gate's own rule
        worker.check(KERNEL, truncated(given), given, seed=1)


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
        (lambda out: out.as_strided((1,), (1,), out.storage_offset() - 1).fill_(0), "start wrote outside its result"),
    ],
    ids=["unwritten", "wrong", "out_of_bounds"],
)
def test_a_wrong_arm_is_found_before_it_is_timed(spoil: Callable[[torch.Tensor], object], said: str) -> None:
    given = problem_of()
    worker.check(START, spoiled(given, lambda _: None), given, seed=1)
    with pytest.raises(WrongResultError, match=f"case: {said}"):
        worker.check(START, spoiled(given, spoil), given, seed=1)


def test_an_arm_that_writes_only_where_nan_was_not_is_found() -> None:
    given = problem_of()
    expected = given.a @ given.b

    def lazy() -> torch.Tensor:
        out = given.out.tensor
        if not bool(torch.isnan(out).any()):
            out.copy_(expected)
        return out

    given.out.tensor.zero_()
    with pytest.raises(WrongResultError, match="NaN"):
        worker.check(TORCH, lazy, given, seed=1)


def test_what_a_long_sum_costs_a_tensor_core_is_allowed_and_no_more() -> None:
    case = cases.matmul_case("long", (4, 2**18), (2**18, 8))
    given = problem_of(case)
    lost = 2**18 / 8 * 2.0**-23
    worker.check(START, spoiled(given, lambda out: out.mul_(1 - 0.8 * lost)), given, seed=1)
    with pytest.raises(WrongResultError):
        worker.check(START, spoiled(given, lambda out: out.mul_(1 - 8 * lost)), given, seed=1)


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
    given = problem_of()
    checked = worker.check(TORCH, worker.MAKERS[TORCH](given), given, seed=1)
    assert worker.same_again(spoiled(given, lambda _: None), given, checked)
    assert not worker.same_again(spoiled(given, spoil), given, checked)


@pytest.mark.parametrize("code", [0, 700])
def test_the_limit_of_storing_is_the_drivers_memset_of_the_whole_result(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def memset(at: Any, value: Any, count: Any, stream: Any) -> int:
        assert (value.value, stream.value, count.value) == (0, 7, 64 * 64 * 4)
        ctypes.memset(at.value, 0, count.value)
        return code

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(cuMemsetD8Async=memset))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=7))
    given = problem_of(STORED, device="cpu")
    launch = worker.MAKERS[LIMIT](given)
    if code:
        with pytest.raises(RuntimeError, match="error 700, expected 0"):
            launch()
    else:
        checked = worker.check(LIMIT, launch, given, seed=1)
        assert checked.error is None
        assert worker.same_again(launch, given, checked)
    with pytest.raises(WrongResultError, match="expected zeros"):
        worker.check(LIMIT, lambda: given.out.tensor.fill_(1), given, seed=1)


def test_the_limit_of_reading_sums_each_operand_into_a_number_that_is_there() -> None:
    given = problem_of(READ)
    launch = worker.MAKERS[LIMIT](given)
    assert launch().data_ptr() == launch().data_ptr()
    assert float(launch()) == pytest.approx(float(given.b.sum()), abs=1e-3)  # the last of both
    checked = worker.check(LIMIT, launch, given, seed=1)
    assert worker.same_again(launch, given, checked)


class Device:
    """Plays the card: a launch takes as long as its arm does; writes down what ran."""

    def __init__(self, seconds: Mapping[str, float]) -> None:
        self.seconds = seconds
        self.clock_s = 0.0
        self.unheld = 0
        self.ran: list[str] = []

    def prepare(self) -> None:
        self.ran.append("prepare")

    def stamp(self) -> float:
        return self.clock_s

    def time(self, launch: Callable[[], object]) -> float:
        before_s = self.clock_s
        self.prepare()
        launch()
        return self.clock_s - before_s

    def sample(self) -> None:
        self.ran.append("|")

    def state(self) -> dict[str, Any]:
        return {"throttle_reasons": []}

    def maker(self, arm: str, spoil: Callable[[torch.Tensor], object] = lambda _: None) -> Any:
        def make(given: Problem) -> Callable[[], torch.Tensor]:
            def run() -> torch.Tensor:
                self.clock_s += self.seconds[arm]
                self.ran.append(arm)
                torch.matmul(given.a, given.b, out=given.out.tensor)
                spoil(given.out.tensor)
                return given.out.tensor

            return run

        return make


KERNEL_FILE: Any = SimpleNamespace()
PROJECT = Settings(root=Path(), rounds=8, fewest_rounds=2, warmup_rounds=1, arm_s=0.081)


def problem_on_cpu() -> Problem:
    return worker.problem(cases.matmul_case("k1_square", (8, 16), (16, 12)), KERNEL_FILE, device="cpu", seed=1)


def measure(
    device: Device, monkeypatch: pytest.MonkeyPatch, makers: Mapping[str, Any] | None = None
) -> tuple[Any, Failures]:
    """The entry and what failed."""
    played: Any = device
    for arm in device.seconds:
        monkeypatch.setitem(worker.MAKERS, arm, (makers or {}).get(arm) or device.maker(arm))
    failed = Failures()
    parts: dict[str, Any] = {"watch": played, "monitor": played, "project": PROJECT, "seed": 5}
    return worker.measure(problem_on_cpu(), device.seconds, failed, **parts), failed


SECONDS = {KERNEL: 0.01, START: 0.03, TORCH: 0.02}


def test_a_case_leaves_the_median_of_every_arm_its_rounds_errors_and_configuration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(SECONDS)
    config = {"num_warps": 4}
    monkeypatch.setattr(worker, "launched_by", lambda launch: (launch(), Launched(config={device.ran[-1]: config}))[1])
    entry, failed = measure(device, monkeypatch)
    assert failed == []
    assert entry["seconds"] == pytest.approx(SECONDS)
    assert entry["rounds"] == 4  # of 0.02 s, an arm's mean, within 0.081 s
    assert set(entry["errors"]) == set(SECONDS)
    assert entry["config"] == {KERNEL: config}
    assert entry["state"] == {"throttle_reasons": [], "unheld": 0}


def test_each_round_holds_every_arm_once_in_an_order_of_its_own_on_a_prepared_device_and_compiles_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device(SECONDS)
    played: Any = device

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        assert device.ran == []
        yield
        device.ran.append("may compile again")

    monkeypatch.setattr(worker, "never_compiles", watched)
    launches = {arm: device.maker(arm)(problem_on_cpu()) for arm in SECONDS}
    rounds, seconds = worker.time_arms(
        launches, watch=played, monitor=played, project=Settings(root=Path(), rounds=40, arm_s=1e3), seed=1
    )
    assert device.ran.pop() == "may compile again"
    assert (rounds, {len(taken) for taken in seconds.values()}) == (40, {40})
    text = " ".join(entry for entry in device.ran if entry != "prepare")
    orders = [tuple(part.split()) for part in text.split("|")[1:-1]]
    assert all(sorted(order) == sorted(SECONDS) for order in orders)
    assert len(set(orders)) == 6
    timed = [i for i, entry in enumerate(device.ran) if entry in SECONDS]
    assert all(device.ran[i - 1] == "prepare" for i in timed)


def wrapped(cause: Exception) -> RuntimeError:
    error = RuntimeError("backend failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said", "wrong"),
    [
        (RuntimeError("ptxas said no\nand more"), "RuntimeError: ptxas said no", True),
        (ValueError(""), "ValueError: no message", True),
        (wrapped(ValueError("no such tile")), "ValueError: no such tile", True),
        (torch.OutOfMemoryError("no room"), "OutOfMemoryError: no room", False),
    ],
    ids=["does not build", "says nothing", "wrapped by a compiler", "out of memory"],
)
def test_a_contender_that_cannot_run_is_said_with_its_first_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, *, wrong: bool
) -> None:
    def refuse(_: Problem) -> Any:
        raise error

    _, (failed,) = measure(Device(SECONDS), monkeypatch, {TORCH: refuse})
    assert (failed["arm"], failed["why"], failed["wrong"]) == (TORCH, said, wrong)


@pytest.mark.parametrize(("arm", "left", "ran"), [(START, {KERNEL, TORCH}, {*SECONDS}), (KERNEL, None, {KERNEL})])
def test_a_wrong_contender_has_no_number_and_beside_a_wrong_kernel_nothing_is_run(
    monkeypatch: pytest.MonkeyPatch, arm: str, left: set[str] | None, ran: set[str]
) -> None:
    device = Device(SECONDS)
    entry, (failed,) = measure(device, monkeypatch, {arm: device.maker(arm, lambda out: out.mul_(1.01))})
    assert (failed["case"], failed["arm"], failed["wrong"]) == ("k1_square", arm, True)
    assert (entry and set(entry["seconds"])) == left
    assert {*device.ran} - {"prepare", "|"} == ran


@pytest.mark.parametrize(("arm", "left"), [(START, {KERNEL, TORCH}), (KERNEL, None)])
def test_an_arm_whose_bits_change_while_it_is_timed_loses_its_number(
    monkeypatch: pytest.MonkeyPatch, arm: str, left: set[str] | None
) -> None:
    device = Device(SECONDS)

    def race(out: torch.Tensor) -> None:
        if device.ran.count(arm) > 8:
            out[0, 0] += 1e-3

    entry, (failed,) = measure(device, monkeypatch, {arm: device.maker(arm, race)})
    assert (failed["arm"], failed["wrong"]) == (arm, True)
    assert "differs from the one before" in failed["why"]
    assert (entry and set(entry["seconds"])) == left


def test_an_arm_that_would_compile_while_it_is_timed_is_dropped_and_the_others_are_timed_without_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = Device({**SECONDS, COMPILE: 0.02})

    def make(given: Problem) -> Callable[[], torch.Tensor]:
        run: Callable[[], torch.Tensor] = device.maker(COMPILE)(given)

        def sometimes() -> torch.Tensor:
            if device.ran.count(COMPILE) >= 6:
                raise RuntimeError("Detected recompile")
            return run()

        return sometimes

    entry, failed = measure(device, monkeypatch, {COMPILE: make})
    assert [(one["arm"], one["why"]) for one in failed] == [(COMPILE, "RuntimeError: Detected recompile")]
    assert entry["seconds"] == pytest.approx(SECONDS)


def test_a_job_is_answered_with_what_failed_and_what_does_not_fit_is_not_the_kernels_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def room(case: Any) -> None:
        if case.id == "k7_small_k":
            raise GateError("does-not-fit", "k7_small_k: needs more")

    def set_up(case: Any, arms: Any, failed: Any, *, seed: int) -> None:
        failed.add(case, arms[0], ValueError(f"seed {seed}"), wrong=True)

    monkeypatch.setattr(worker, "require_room", room)
    monkeypatch.setattr(worker, "problem", lambda case, *_, **__: case)
    monkeypatch.setattr(worker, "set_up", set_up)
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "a card", "uuid": "GPU-1"})
    answer = worker.answers(PROJECT, KERNEL_FILE)
    assert answer({"task": "begin"}) == {"failed": [], "entry": None}
    big, small = (
        answer({"task": "check", "case": case, "arms": [KERNEL], "seed": 0})["failed"]
        for case in ("k7_small_k", "k1_square")
    )
    assert big == [{"case": "k7_small_k", "arm": KERNEL, "why": "k7_small_k: needs more", "wrong": False}]
    assert small == [{"case": "k1_square", "arm": KERNEL, "why": "ValueError: seed 0", "wrong": True}]
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "", "why": "none is plugged in"})
    reason, text = worker.answers(PROJECT, KERNEL_FILE)({"task": "begin"})["refused"]
    assert (reason, "none is plugged in" in text) == ("no-card", True)
