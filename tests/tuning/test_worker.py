"""One process of a tuning: how candidates are checked and timed, on a clock that the fake kernels move."""

from __future__ import annotations

import json
import random
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from kernel_support import DEVICE
from perf_tests import candidates, cases
from perfgate.config import Settings
from perfgate.harness import guarded, machine, timer
from perfgate.project import load_kernel
from perfgate.records import GateError
from perfgate.tuning import worker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CASE = cases.matmul_case("case", (40, 4), (4, 6))
PROJECT = Settings(root=Path(), rounds=8, fewest_rounds=4, warmup_rounds=2, arm_s=1e9)


class Device:
    """Plays stopwatch and monitor; kernels move its clock."""

    def __init__(self) -> None:
        self.clock_s = 0.0
        self.unheld = 7
        self.timed: list[str] = []
        self.looks = 0

    def prepare(self) -> None:
        pass

    def time(self, launch: Callable[[], object]) -> float:
        before_s = self.clock_s
        self.timed.append(str(launch()))
        return self.clock_s - before_s

    def sample(self) -> None:
        self.looks += 1

    def state(self) -> dict[str, Any]:
        return {"looks": self.looks}


class File:
    """A copy of the kernel file: right and as slow as its BLOCK_M, unless told otherwise."""

    def __init__(self, device: Device, does: Mapping[int, Callable[[torch.Tensor], object]]) -> None:
        self.matmul_kernel = SimpleNamespace(cache={})
        self.choose_config: Any = None
        self._device, self._does = device, does

    def triton_matmul(self, a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor, precision: str) -> int:
        assert precision == "tf32"
        if "config" not in self.matmul_kernel.cache:
            self.matmul_kernel.cache["config"] = self.choose_config([], {})
        size: int = self.matmul_kernel.cache["config"].kwargs["BLOCK_M"]
        self._device.clock_s += size * 1e-6
        before = out.clone()
        torch.matmul(a, b, out=out)
        if size in self._does and self._does[size](out) is None:
            out.copy_(before)
        return size


def config(size: int) -> dict[str, int]:
    return {"BLOCK_M": size, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8, "num_warps": 4, "num_stages": 3}


def measure(
    *sizes: int, keep: int = 0, **does: Callable[[torch.Tensor], object]
) -> tuple[Device, list[dict[str, Any]]]:
    """One case with candidates of those sizes; ``on_64=…`` is what that one does beside its job."""
    device, steps = Device(), list[dict[str, Any]]()
    wanted = {int(name.removeprefix("on_")): what for name, what in does.items()}
    parts: dict[str, Any] = {"suite": cases, "candidates": candidates, "watch": device, "monitor": lambda: device}
    bench = worker.Bench(load=lambda _: File(device, wanted), project=PROJECT, device="cpu", **parts)  # type: ignore[arg-type, return-value]
    plan = {"keep": keep, "candidates": {str(size): config(size) for size in sizes}}
    worker.measure(bench, CASE, plan, seed=3, say=lambda step, **rest: steps.append({"step": step, **rest}))
    return device, steps


def names(steps: list[dict[str, Any]]) -> list[str]:
    return [step["step"] for step in steps]


def test_every_candidate_is_checked_before_any_is_timed_and_each_step_is_said() -> None:
    device, steps = measure(32, 64)
    assert names(steps)[:7] == ["case", "checking", "checked", "checking", "checked", "timing", "round"]
    timed = steps[-1]
    assert (timed["step"], timed["case"]) == ("timed", "case")
    assert {name: seconds[0] for name, seconds in timed["seconds"].items()} == pytest.approx({"32": 32e-6, "64": 64e-6})
    assert timed["state"] == {"looks": device.looks, "unheld": 0}


def test_a_launch_times_all_alike_in_an_order_drawn_anew_each_round_and_drops_the_warm_up() -> None:
    device, steps = measure(32, 64, 128)
    assert {len(seconds) for seconds in steps[-1]["seconds"].values()} == {8}
    rounds = [tuple(device.timed[i : i + 3]) for i in range(9, len(device.timed), 3)]  # after 3 trials of each
    assert len(rounds) == 10
    assert {frozenset(one) for one in rounds} == {frozenset(("32", "64", "128"))}
    assert len(set(rounds)) > 2


def test_the_first_pass_halves_its_candidates_until_few_are_left() -> None:
    _, steps = measure(16, 32, 64, 128, 256, 512, 1024, 2048, keep=2)
    counts = {int(name): len(seconds) for name, seconds in steps[-1]["seconds"].items()}
    assert counts == {16: 9, 32: 9, 64: 6, 128: 6, 256: 3, 512: 3, 1024: 3, 2048: 3}


def test_halving_keeps_at_least_as_many_as_are_wanted_and_none_is_no_fault() -> None:
    device = Device()

    def arm(size: int) -> Callable[[], object]:
        def run() -> int:
            device.clock_s += size
            return size

        return run

    watch: Any = device
    order = random.Random(1)  # noqa: S311 - an order of runs
    arms = {str(size): arm(size) for size in range(1, 6)}
    seconds = worker.halve(arms, watch=watch, keep=4, order=order)
    assert [len(seconds[name]) for name in "12345"] == [6, 6, 6, 6, 3]
    assert worker.halve({}, watch=watch, keep=4, order=order) == {}


@pytest.mark.parametrize(("arm_s", "rounds"), [(1e-3, 8), (8.5e-6 * 32, 8), (7.5e-6 * 32, 4)])
def test_a_launch_has_the_rounds_that_its_fastest_candidate_has_time_for(arm_s: float, rounds: int) -> None:
    device = Device()
    watch: Any = device
    order = random.Random(1)  # noqa: S311 - an order of runs
    arms = {size: partial(_pass, device, int(size)) for size in ("32", "64")}
    project = replace(PROJECT, arm_s=arm_s)
    seconds = worker.alike(arms, watch=watch, project=project, order=order)
    assert {name: len(found) for name, found in seconds.items()} == {"32": rounds, "64": rounds}


def _pass(device: Device, size: int) -> None:
    device.clock_s += size * 1e-6


def does_not_fit(_: torch.Tensor) -> None:
    from triton.runtime.errors import OutOfResources

    raise OutOfResources(104000, 101376, "shared memory")


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda out: out[3:].add_(1), "wrong result: case: largest error"),
        (lambda out: out[0, 0].fill_(float("nan")), "wrong result: the result holds NaN"),
        (lambda out: out.as_strided((1,), (1,), out.storage_offset() + 240).fill_(0), "memory around the result"),
        (lambda _: None, "wrong result"),  # what it left unwritten is not taken from the one before it
        (does_not_fit, "does not run: out of resource"),
    ],
)
def test_a_candidate_that_is_wrong_or_does_not_run_gets_no_number_and_the_others_do(
    spoil: Callable[[torch.Tensor], object], why: str
) -> None:
    others = [32] if "memory" in why else [32, 128]  # which stays spoilt for whoever comes after
    device, steps = measure(32, 64, *others[1:], on_64=spoil)
    (failed,) = [step for step in steps if step["step"] == "failed"]
    assert (failed["id"], failed["wrong"]) == ("64", spoil is not does_not_fit)
    assert why in failed["why"]
    assert set(steps[-1]["seconds"]) == set(device.timed) == {*map(str, others)}


def test_what_breaks_the_cards_context_ends_the_process_at_the_candidate_that_did_it() -> None:
    def fault(_: torch.Tensor) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        measure(32, 64, on_64=fault)


def test_a_call_that_does_not_ask_for_the_config_is_no_measurement_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = SimpleNamespace(kwargs={"BLOCK_M": 32})

    def remember(file: Any, _kernel: str) -> None:
        file.matmul_kernel.cache = {"config": prepared}

    monkeypatch.setattr(candidates, "_forget", remember)
    _, steps = measure(64)
    assert [step["why"] for step in steps if step["step"] == "failed"] == ["the kernel did not ask for its config"]
    assert steps[-1]["seconds"] == {}


def test_copies_of_the_kernel_file_run_beside_each_other_each_with_its_own_config() -> None:
    device, copies, steps = Device(), dict[int, Any](), list[dict[str, Any]]()
    path = Path(__file__).parents[2] / "kernels" / "matmul.py"

    def load(number: int) -> Any:
        copies[number] = load_kernel(path, f"kernel_tuned_{number}")
        return copies[number]

    parts: dict[str, Any] = {"suite": cases, "candidates": candidates, "watch": device, "monitor": lambda: device}
    bench = worker.Bench(load=load, project=PROJECT, device=DEVICE, **parts)
    plan = {"keep": 1, "candidates": {str(size): config(size) for size in (32, 64)}}
    worker.measure(bench, CASE, plan, seed=3, say=lambda step, **rest: steps.append({"step": step, **rest}))
    assert names(steps).count("checked") == 2
    assert [copy.matmul_kernel.best_config.kwargs["BLOCK_M"] for copy in copies.values()] == [32, 64]
    assert all(copy.choose_config.__module__ == copy.__name__ for copy in copies.values())


def test_a_case_that_does_not_fit_the_cards_memory_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise GateError("does-not-fit", "case: needs 90 GB")

    monkeypatch.setattr(guarded, "guarded", refuse)
    _, steps = measure(32)
    assert steps == [
        {"step": "case", "case": "case"},
        {"step": "case-failed", "case": "case", "why": "case: needs 90 GB"},
    ]


_FILE = """
import types, torch
matmul_kernel = types.SimpleNamespace(cache={})
def choose_config(configs, named): raise AssertionError("nobody forced this copy")
def triton_matmul(a, b, *, out, precision):
    choose_config([], {})
    return torch.matmul(a, b, out=out)
"""
_SUITE = """
from perf_tests.cases import *
CASES = tuple(matmul_case(name, (8, 4), (4, 6)) for name in ("one", "two"))
"""


def test_the_process_does_its_plan_on_the_card_present_and_leaves_its_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in {
        "pyproject.toml": '[tool.perfgate]\nsuite = "timed_suite.cases"\ntests = "timed_suite"\nhold_s = 0.5\n',
        "timed_suite/__init__.py": "",
        "timed_suite/cases.py": _SUITE,
        "timed_suite/candidates.py": "from perf_tests.candidates import *",
        "kernels/matmul.py": _FILE,
        "plan.json": json.dumps({"seed": 1, "cases": {"two": {"keep": 1, "candidates": {"32": config(32)}}}}),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    for name in ("timed_suite", "timed_suite.cases", "timed_suite.candidates"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    device, made = Device(), dict[str, Any]()
    monitor = SimpleNamespace(max_sm_clock_hz=lambda: 2e9, sample=device.sample, state=device.state)
    monkeypatch.setattr(machine, "look", lambda: {"uuid": "GPU-1"})
    monkeypatch.setattr(machine, "Monitor", lambda uuid: {"GPU-1": monitor}[uuid])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=1000))
    monkeypatch.setattr(timer, "Stopwatch", lambda **sizes: made.update(sizes) or device)
    monkeypatch.setattr(worker.Bench.__init__, "__kwdefaults__", {"device": "cpu"})
    assert worker.main(tmp_path / "plan.json", tmp_path / "steps.jsonl") == 0
    assert made == {"flush_bytes": 4000, "hold_cycles": 10**9}
    steps = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    assert names(steps) == ["case", "checking", "checked", "timing", *["round"] * 3, "timed"]
    assert {step["case"] for step in steps} == {"two"}
    assert list(steps[-1]["seconds"]) == ["32"]
