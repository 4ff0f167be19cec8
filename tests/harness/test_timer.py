"""The stopwatch, device time between events on a flushed and held stream; and how arms are interleaved within a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest
import torch

from perfgate.harness.interleave import interleave, rounds_for
from perfgate.harness.timer import Stamp, Stopwatch

if TYPE_CHECKING:
    from collections.abc import Callable

LOG: list[str] = []


class FakeEvent:
    """An event of a device on which each recorded event lies 2 ms after the one before."""

    made = 0
    fired_at_once = False

    def __init__(self, *, enable_timing: bool) -> None:
        assert enable_timing
        FakeEvent.made += 1
        self.at = 2.0 * FakeEvent.made

    def record(self) -> None:
        LOG.append("record")

    def query(self) -> bool:
        return FakeEvent.fired_at_once

    def synchronize(self) -> None:
        LOG.append("synchronize")

    def elapsed_time(self, end: FakeEvent) -> float:
        return end.at - self.at


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Stopwatch:
    """A stopwatch on a stand-in for the device."""
    LOG.clear()
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "_sleep", lambda cycles: LOG.append(f"hold {cycles}"), raising=False)
    monkeypatch.setattr(FakeEvent, "fired_at_once", False)
    plain: Any = {"ones": torch.ones, "zeros": torch.zeros, "sum": torch.sum}
    for name in ("ones", "zeros"):
        monkeypatch.setattr(torch, name, lambda *a, _f=plain[name], **k: _f(*a, **{**k, "device": "cpu"}))

    def read(tensor: torch.Tensor, **options: Any) -> torch.Tensor:
        LOG.append(f"read {tensor.numel() * tensor.element_size()} bytes")
        result: torch.Tensor = plain["sum"](tensor, **options)
        return result

    monkeypatch.setattr(torch, "sum", read)
    return Stopwatch(flush_bytes=4096, hold_cycles=1000)


def test_the_difference_of_two_stamps_is_device_time_in_seconds(watch: Stopwatch) -> None:
    start = watch.stamp()
    assert isinstance(start, Stamp)
    assert watch.stamp() - start == pytest.approx(0.002)


@pytest.mark.parametrize("late", [False, True])
def test_a_launch_is_timed_after_the_flush_and_while_the_stream_is_held_and_counted_where_it_was_not(
    watch: Stopwatch, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    monkeypatch.setattr(FakeEvent, "fired_at_once", late)
    assert watch.time(lambda: LOG.append("launch")) == pytest.approx(0.002)
    assert LOG == ["read 4096 bytes", "hold 1000", "record", "launch", "record", "synchronize"]
    assert watch.unheld == late


# Interleaving.


class FakeDevice:
    """Plays stopwatch and pytest-benchmark: writes down what ran, in order; each timed run takes 1, 2, 3 … s."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.clock = 0.0

    def prepare(self) -> None:
        self.log.append("prepare")

    def time(self, launch: Callable[[], object]) -> float:
        self.prepare()
        launch()
        self.clock += 1
        return self.clock

    def pedantic(self, target: Callable[..., object], **options: Any) -> None:
        for _ in range(options["warmup_rounds"] + options["rounds"]):
            options["setup"]()
            target()
            options["teardown"]()

    def arm(self, name: str) -> Callable[[], None]:
        return lambda: self.log.append(name)


def run(*, rounds: int, warmup_rounds: int = 0, seed: int = 1) -> tuple[FakeDevice, dict[str, tuple[float, ...]]]:
    device = FakeDevice()
    seconds = interleave(
        device,
        device.arm("kernel"),
        {"control": device.arm("control"), "other": device.arm("other")},
        watch=cast("Any", device),
        rounds=rounds,
        warmup_rounds=warmup_rounds,
        seed=seed,
        between=device.arm("|"),
    )
    return device, seconds


def orders(device: FakeDevice) -> list[tuple[str, ...]]:
    rounds = "".join(f"{entry} " for entry in device.log if entry != "prepare").split("|")
    return [tuple(text.split()) for text in rounds if text.strip()]


def test_every_arm_runs_exactly_once_a_round_in_an_order_drawn_anew_on_a_prepared_device() -> None:
    device, seconds = run(rounds=60)
    assert all(sorted(order) == ["control", "kernel", "other"] for order in orders(device))
    assert {name: len(values) for name, values in seconds.items()} == {"control": 60, "other": 60}
    assert len(set(orders(device))) == 6
    launches = [at for at, entry in enumerate(device.log) if entry in {"kernel", "control", "other"}]
    assert all(device.log[at - 1] == "prepare" for at in launches)


def test_the_same_seed_gives_the_same_order() -> None:
    assert run(rounds=20, seed=7)[0].log == run(rounds=20, seed=7)[0].log
    assert run(rounds=20, seed=7)[0].log != run(rounds=20, seed=8)[0].log


def test_times_of_warm_up_rounds_are_dropped() -> None:
    _, seconds = run(rounds=5, warmup_rounds=3)
    assert min(min(values) for values in seconds.values()) > 3 * 2
    assert {len(values) for values in seconds.values()} == {5}


@pytest.mark.parametrize(
    ("seconds", "rounds"),
    [
        (1e-6, 80),
        (0.0015, 80),  # just the whole share
        (0.0016, 40),
        (0.003, 40),
        (0.004, 20),
        (0.0061, 10),
        (0.012, 10),
        (0.1, 10),  # beyond its share, but not below the fewest
        (100.0, 10),
    ],
)
def test_an_arm_gets_the_most_rounds_that_fit_its_share_of_time_in_halves(seconds: float, rounds: int) -> None:
    assert rounds_for(seconds, most=80, fewest=10, arm_s=0.12) == rounds
    assert rounds_for(seconds * 1.01, most=80, fewest=80, arm_s=0.12) == 80
    assert rounds_for(seconds, most=70, fewest=30, arm_s=1e-9) == 30  # no half of the most
