"""One process of the table, on a device that is played: what is timed, what is left out, and what is left behind."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perf_tests import cases
from perfgate import settings
from perfgate.harness import machine
from perfgate.harness.launches import Launched
from perfgate.records import GateError
from perfgate.settings import Settings
from studies.table import contenders, worker
from studies.table.cases import COMPILE, KERNEL, START, TORCH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from studies.table.contenders import Problem

CASE = cases.matmul_case("k1_square", (8, 16), (16, 12))
PROJECT = Settings(root=Path(), rounds=8, fewest_rounds=2, warmup_rounds=1, arm_s=0.081)


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


@pytest.fixture
def log(tmp_path: Path) -> worker.Log:
    return worker.Log(tmp_path / "events.jsonl")


def events(tmp_path: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["event"] == kind]


KERNEL_FILE: Any = SimpleNamespace()


def measure(
    device: Device, log: worker.Log, monkeypatch: pytest.MonkeyPatch, makers: Mapping[str, Any] | None = None
) -> None:
    played: Any = device
    for arm in device.seconds:
        monkeypatch.setitem(contenders.MAKERS, arm, (makers or {}).get(arm) or device.maker(arm))
    given = contenders.problem(CASE, KERNEL_FILE, device="cpu", seed=1)
    worker.measure(given, device.seconds, log, watch=played, monitor=played, project=PROJECT, seed=5)


SECONDS = {KERNEL: 0.01, START: 0.03, TORCH: 0.02}


def test_a_case_leaves_the_median_of_every_arm_its_rounds_errors_and_configuration(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(SECONDS)
    monkeypatch.setattr(
        worker, "launched_by", lambda launch: (launch(), Launched(config={device.ran[-1]: {"num_warps": 4}}))[1]
    )
    measure(device, log, monkeypatch)
    (entry,) = (event["entry"] for event in events(tmp_path, "measured"))
    assert entry["seconds"] == pytest.approx(SECONDS)
    assert entry["rounds"] == 4  # of 0.02 s, an arm's mean, within 0.081 s
    assert set(entry["errors"]) == set(SECONDS)
    assert entry["config"] == {KERNEL: {"num_warps": 4}}
    assert entry["state"] == {"throttle_reasons": [], "unheld": 0}
    said = [(event["arm"], event["doing"]) for event in events(tmp_path, "begin")]
    assert said == [*((arm, "checked") for arm in SECONDS), (KERNEL, "timed")]


def test_each_round_holds_every_arm_once_in_an_order_of_its_own_on_a_prepared_device() -> None:
    device = Device(SECONDS)
    played: Any = device
    launches = {arm: device.maker(arm)(contenders.problem(CASE, KERNEL_FILE, device="cpu", seed=1)) for arm in SECONDS}
    rounds, seconds = worker.time_arms(
        launches, watch=played, monitor=played, project=Settings(root=Path(), rounds=40, arm_s=1e3), seed=1
    )
    assert (rounds, {len(taken) for taken in seconds.values()}) == (40, {40})
    text = " ".join(entry for entry in device.ran if entry != "prepare")
    orders = [tuple(part.split()) for part in text.split("|")[1:-1]]
    assert all(sorted(order) == sorted(SECONDS) for order in orders)
    assert len(set(orders)) == 6
    timed = [i for i, entry in enumerate(device.ran) if entry in SECONDS]
    assert all(device.ran[i - 1] == "prepare" for i in timed)


def test_nothing_may_be_compiled_from_the_first_timed_run_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(SECONDS)
    played: Any = device

    @contextlib.contextmanager
    def watched() -> Iterator[None]:
        assert device.ran == []
        yield
        device.ran.append("may compile again")

    monkeypatch.setattr(contenders, "never_compiles", watched)
    given = contenders.problem(CASE, KERNEL_FILE, device="cpu", seed=1)
    launches = {arm: device.maker(arm)(given) for arm in SECONDS}
    worker.time_arms(launches, watch=played, monitor=played, project=PROJECT, seed=1)
    assert device.ran[-1] == "may compile again"


def test_a_wrong_contender_has_no_number_and_the_others_have_theirs(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(SECONDS)
    measure(device, log, monkeypatch, {START: device.maker(START, lambda out: out.add_(9))})
    (failed,) = events(tmp_path, "failed")
    assert (failed["case"], failed["arm"], failed["wrong"]) == ("k1_square", START, True)
    assert failed["why"].startswith("k1_square: start's largest error is ")
    assert set(events(tmp_path, "measured")[0]["entry"]["seconds"]) == {KERNEL, TORCH}


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str, *, wrong: bool
) -> None:
    def refuse(_: Problem) -> Any:
        raise error

    measure(Device(SECONDS), worker.Log(tmp_path / "events.jsonl"), monkeypatch, {TORCH: refuse})
    (failed,) = events(tmp_path, "failed")
    assert (failed["arm"], failed["why"], failed["wrong"]) == (TORCH, said, wrong)


def test_a_wrong_kernel_gets_no_number_and_nothing_beside_it_is_run(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(SECONDS)
    measure(device, log, monkeypatch, {KERNEL: device.maker(KERNEL, lambda out: out.mul_(1.01))})
    assert [(e["arm"], e["wrong"]) for e in events(tmp_path, "failed")] == [(KERNEL, True)]
    assert events(tmp_path, "measured") == []
    assert set(device.ran) == {KERNEL}


@pytest.mark.parametrize(("arm", "left"), [(START, {KERNEL, TORCH}), (KERNEL, None)])
def test_an_arm_whose_bits_change_while_it_is_timed_loses_its_number(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch, arm: str, left: set[str] | None
) -> None:
    device = Device(SECONDS)

    def race(out: torch.Tensor) -> None:
        if device.ran.count(arm) > 8:
            out[0, 0] += 1e-3

    measure(device, log, monkeypatch, {arm: device.maker(arm, race)})
    (failed,) = events(tmp_path, "failed")
    assert (failed["arm"], failed["wrong"]) == (arm, True)
    assert "differs from the one before" in failed["why"]
    measured = events(tmp_path, "measured")
    assert [set(event["entry"]["seconds"]) for event in measured] == ([] if left is None else [left])


def test_an_arm_that_would_compile_while_it_is_timed_is_dropped_and_the_others_are_timed_without_it(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device({**SECONDS, COMPILE: 0.02})

    def make(given: Problem) -> Callable[[], torch.Tensor]:
        run: Callable[[], torch.Tensor] = device.maker(COMPILE)(given)

        def sometimes() -> torch.Tensor:
            if device.ran.count(COMPILE) >= 6:
                raise RuntimeError("Detected recompile")
            return run()

        return sometimes

    measure(device, log, monkeypatch, {COMPILE: make})
    assert [(e["arm"], e["why"]) for e in events(tmp_path, "failed")] == [(COMPILE, "RuntimeError: Detected recompile")]
    (measured,) = events(tmp_path, "measured")
    assert measured["entry"]["seconds"] == pytest.approx(SECONDS)


def test_tuning_runs_every_arm_says_which_of_them_ran_and_times_nothing(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(SECONDS)
    for arm in SECONDS:
        wrong = device.maker(arm, lambda out: out.add_(9))
        monkeypatch.setitem(contenders.MAKERS, arm, wrong if arm == START else device.maker(arm))
    given = contenders.problem(CASE, KERNEL_FILE, device="cpu", seed=1)
    worker.tune(given, SECONDS, log, seed=0)
    assert [(e["case"], e["arms"]) for e in events(tmp_path, "tuned")] == [("k1_square", [KERNEL, TORCH])]
    assert "prepare" not in device.ran


def job(tmp_path: Path) -> str:
    asked = {"task": "measure", "cases": [], "seed": 1, "lock": "", "events": str(tmp_path / "events.jsonl")}
    (tmp_path / "job.json").write_text(json.dumps(asked), encoding="utf-8")
    return str(tmp_path / "job.json")


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """No kernel is imported."""
    monkeypatch.setattr(settings, "load", lambda root: Settings(root=root))
    monkeypatch.setattr(settings, "load_kernel", lambda _: KERNEL_FILE)


@pytest.mark.usefixtures("loaded")
def test_a_process_whose_parent_is_gone_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: ""))
    assert worker.main([job(tmp_path)]) == 1
    assert not (tmp_path / "events.jsonl").exists()


@pytest.mark.usefixtures("loaded")
def test_a_process_without_a_card_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=lambda: "go\n"))
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "", "why": "none is plugged in"})
    assert worker.main([job(tmp_path)]) == 2
    (refused,) = events(tmp_path, "refused")
    assert refused["reason"] == "no-card"
    assert "none is plugged in" in refused["text"]


@pytest.mark.usefixtures("loaded")
def test_a_case_that_does_not_fit_says_so_and_the_next_one_goes_on(
    tmp_path: Path, log: worker.Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def room(case: Any) -> None:
        if case.id == "k7_small_k":
            raise GateError("does-not-fit", "k7_small_k: needs more")

    watch: Any = object()
    monkeypatch.setattr(worker, "require_room", room)
    monkeypatch.setattr(worker, "_stopwatch", lambda *_: watch)
    monkeypatch.setattr(contenders, "problem", lambda case, *_, **__: done.append(case.id))
    monkeypatch.setattr(worker, "measure", lambda *_, **__: None)
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "a card", "uuid": "GPU-1"})
    monkeypatch.setattr(machine, "Monitor", lambda _: None)
    asked = [{"id": case, "arms": [KERNEL]} for case in ("k7_small_k", "k1_square")]
    worker.work({"task": "measure", "cases": asked, "seed": 1, "lock": ""}, KERNEL_FILE, PROJECT, log)
    assert done == ["k1_square"]
    (failed,) = events(tmp_path, "failed")
    assert (failed["case"], failed["arm"], failed["wrong"]) == ("k7_small_k", KERNEL, False)
    assert failed["why"] == "k7_small_k: needs more"
