"""What full accuracy costs: the rounds, the ratios, and processes that fail."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate import settings, workers
from perfgate.harness import machine
from perfgate.records import GateError
from studies.accuracy.cost import KERNEL_ARMS, costs, in_rounds, measure, one_process

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


def test_every_round_runs_every_arm_once_in_an_order_of_its_own_and_the_first_are_not_kept() -> None:
    ran: list[str] = []
    arms: dict[str, Callable[[], object]] = {name: lambda name=name: ran.append(name) for name in KERNEL_ARMS}  # type: ignore[misc]
    looks: list[int] = []

    def time(launch: Callable[[], object]) -> float:
        launch()
        return float(len(ran))

    found = in_rounds(arms, time, rounds=20, seed=3, between=lambda: looks.append(len(ran)))
    rounds = [ran[start : start + 4] for start in range(0, len(ran), 4)]
    assert len(rounds) == 23
    assert all(sorted(order) == sorted(KERNEL_ARMS) for order in rounds)
    assert len({tuple(order) for order in rounds}) > 10
    assert {name: len(seconds) for name, seconds in found.items()} == dict.fromkeys(KERNEL_ARMS, 20)
    assert min(min(seconds) for seconds in found.values()) == 13
    assert looks == list(range(4, 93, 4))


def test_ratios_are_within_a_process_so_that_what_moves_both_arms_cancels() -> None:
    launches = [
        {"seconds": {"k7_small_k": {"tf32": [4.0, 4.0, 9.0], "bf16x3": [4.4, 4.4, 4.4]}}},
        {"seconds": {"k7_small_k": {"tf32": [5.0, 5.0, 5.0], "bf16x3": [5.5, 5.5, 1.0]}}},
    ]
    tf32, bf16x3 = costs(launches)
    assert tf32.ratios == (1.0, 1.0)
    assert bf16x3.ratios == pytest.approx((1.1, 1.1))
    assert bf16x3.seconds == pytest.approx(4.95)
    assert bf16x3.ratio == pytest.approx(1.1)


def test_processes_run_one_after_another_with_seeds_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answer(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, stdout='{"seconds": {}}', stderr="")

    monkeypatch.setattr(workers, "run", answer)
    found = measure(settings.load(ROOT), ["k7_small_k", "k9_tall_skinny"], processes=2, rounds=7, seed=5)
    assert found == [{"seconds": {}}] * 2
    said = "-m studies.accuracy.cost k7_small_k k9_tall_skinny --rounds 7 --seed"
    assert [" ".join(words[1:]) for words in asked] == [f"{said} 5", f"{said} 6"]


def test_a_process_that_fails_is_one_line_with_its_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(words: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(words, 1, stdout="", stderr="Traceback …\nRuntimeError: out of memory\n")

    monkeypatch.setattr(workers, "run", fail)
    with pytest.raises(GateError, match=r"failed in process 1 of 2: RuntimeError: out of memory; see") as caught:
        measure(settings.load(ROOT), ["k7_small_k"], processes=2, rounds=1, seed=0)
    assert caught.value.reason == "launch-failed"


def test_timing_needs_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "", "why": "hidden"})
    with pytest.raises(GateError, match="needs a CUDA card and there is none"):
        one_process(settings.load(ROOT), ["k7_small_k"], rounds=1, seed=0)


def test_a_process_that_hangs_is_ended_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(words: list[str], *, timeout_s: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(words, timeout_s)

    monkeypatch.setattr(workers, "run", hang)
    with pytest.raises(GateError, match=r"process 1 of 1, which was ended"):
        measure(settings.load(ROOT), ["k7_small_k"], processes=1, rounds=1, seed=0)
