"""How arms are interleaved within a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from perfgate.harness.interleave import interleave, rounds_for

if TYPE_CHECKING:
    from collections.abc import Callable


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
        watch=device,
        rounds=rounds,
        warmup_rounds=warmup_rounds,
        seed=seed,
        between=device.arm("|"),
    )
    return device, seconds


def orders(device: FakeDevice) -> list[tuple[str, ...]]:
    rounds = "".join(f"{entry} " for entry in device.log if entry != "prepare").split("|")
    return [tuple(text.split()) for text in rounds if text.strip()]


def test_every_arm_runs_exactly_once_in_every_round() -> None:
    device, seconds = run(rounds=50)
    assert all(sorted(order) == ["control", "kernel", "other"] for order in orders(device))
    assert {name: len(values) for name, values in seconds.items()} == {"control": 50, "other": 50}


def test_the_order_of_arms_is_drawn_anew_each_round_and_every_order_occurs() -> None:
    device, _ = run(rounds=60)
    assert len(set(orders(device))) == 6


def test_the_same_seed_gives_the_same_order() -> None:
    assert run(rounds=20, seed=7)[0].log == run(rounds=20, seed=7)[0].log
    assert run(rounds=20, seed=7)[0].log != run(rounds=20, seed=8)[0].log


def test_every_arm_is_launched_on_a_flushed_and_held_device() -> None:
    device, _ = run(rounds=30)
    launches = [i for i, entry in enumerate(device.log) if entry in {"kernel", "control", "other"}]
    assert all(device.log[i - 1] == "prepare" for i in launches)


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
