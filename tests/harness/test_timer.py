"""The stopwatch: device time between events, on a flushed and held stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from perfgate.harness.timer import Stamp, Stopwatch

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
    assert watch.stamp() - start == pytest.approx(0.002)


def test_a_launch_is_timed_after_the_flush_and_while_the_stream_is_held(watch: Stopwatch) -> None:
    assert watch.time(lambda: LOG.append("launch")) == pytest.approx(0.002)
    assert LOG == ["read 4096 bytes", "hold 1000", "record", "launch", "record", "synchronize"]
    assert watch.unheld == 0


def test_a_launch_that_the_stream_did_not_wait_for_is_counted(
    watch: Stopwatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEvent, "fired_at_once", True)
    watch.time(lambda: None)
    assert watch.unheld == 1


def test_stamps_are_what_pytest_benchmark_wants_of_a_timer(watch: Stopwatch) -> None:
    assert isinstance(watch.stamp(), Stamp)
    assert isinstance(watch.stamp() - watch.stamp(), float)
