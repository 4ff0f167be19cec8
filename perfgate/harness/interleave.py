"""Rounds: which arm runs when, within one launch.

Owns the interleaving. The kernel's own arm is timed by pytest-benchmark, which calls back before and after
each of its rounds; the other arms run in those callbacks, in an order drawn anew for each round.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from perfgate.harness.timer import Stopwatch


class Benchmark(Protocol):
    """What sampling needs of pytest-benchmark's fixture."""

    def pedantic(self, target: Callable[..., object], **options: Any) -> object:  # noqa: ANN401 - a foreign signature
        """Time ``target`` once a round, with setup and teardown around each."""


def rounds_for(seconds: float, *, most: int, fewest: int, arm_s: float) -> int:
    """How many rounds an arm of so many seconds gets: the most that keep it within ``arm_s``, but not below the fewest.

    Long runs vary little and need few rounds; short ones are noisy and cheap. Rounds are halved until they fit, so that
    launches of a case have equal numbers though its time varies.
    """
    rounds = most
    while rounds > fewest and rounds * seconds > arm_s:
        rounds = max(fewest, rounds // 2)
    return rounds


def interleave(  # noqa: PLR0913 - each is one independent choice, all by name
    benchmark: Benchmark,
    kernel: Callable[[], object],
    others: Mapping[str, Callable[[], object]],
    *,
    watch: Stopwatch,
    rounds: int,
    warmup_rounds: int,
    seed: int,
    between: Callable[[], None] = lambda: None,
) -> dict[str, tuple[float, ...]]:
    """Run every arm once a round in random order; return the seconds of the arms other than the kernel.

    Args:
        benchmark: pytest-benchmark's fixture; it times and keeps the kernel's rounds.
        kernel: Launches the kernel under test.
        others: Launches each other arm, by name.
        watch: Times the other arms and prepares the device for all.
        rounds: Rounds to keep.
        warmup_rounds: Rounds to run before, whose times are dropped.
        seed: Of the order of arms.
        between: Called after each kept round, when nothing is being timed.
    """
    order = random.Random(seed)  # noqa: S311 - an order of runs, no secret
    seconds: dict[str, list[float]] = {name: [] for name in others}
    after: list[str] = []
    done = 0

    def setup() -> None:
        names = [*others, "kernel"]
        order.shuffle(names)
        position = names.index("kernel")
        after[:] = names[position + 1 :]
        run(names[:position])
        watch.prepare()

    def teardown() -> None:
        nonlocal done
        run(after)
        done += 1
        if done > warmup_rounds:
            between()

    def run(names: list[str]) -> None:
        for name in names:
            taken = watch.time(others[name])
            if done >= warmup_rounds:
                seconds[name].append(taken)

    benchmark.pedantic(kernel, setup=setup, teardown=teardown, rounds=rounds, warmup_rounds=warmup_rounds)
    return {name: tuple(values) for name, values in seconds.items()}
