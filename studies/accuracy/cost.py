"""What full accuracy costs where stores are the limit: each FP32 mode of the kernel timed beside TF32, on a card.

Owns that measurement. Each process runs every arm once a round in random order on the gate's stopwatch (L2 flushed,
stream held); as ``python -m studies.accuracy.cost`` it is one such process and prints JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import workers
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from perfgate.settings import Settings

KERNEL_ARMS = ("tf32", "bf16x3", "tf32x3", "ieee")
TORCH_ARMS = {"torch TF32": "tf32", "torch FP32": "ieee"}
_WARMUP_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Times of one case and arm over several processes."""

    case: str
    arm: str
    medians_s: tuple[float, ...]
    """Median of each process."""
    ratios: tuple[float, ...]
    """The same over the kernel's TF32 in that process."""

    @property
    def seconds(self) -> float:
        """Median of the processes' medians."""
        return statistics.median(self.medians_s)

    @property
    def ratio(self) -> float:
        """Median of the processes' ratios; 1.01 is 1 % slower than TF32."""
        return statistics.median(self.ratios)


def in_rounds(
    arms: Mapping[str, Callable[[], object]],
    time: Callable[[Callable[[], object]], float],
    *,
    rounds: int,
    seed: int,
    between: Callable[[], object] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of every arm, each timed once a round in an order drawn anew.

    Args:
        arms: Launches each arm, by name.
        time: Seconds of one launch.
        rounds: Rounds that are kept, after some that are not.
        seed: Of the orders.
        between: Called after each round, when nothing is being timed.
    """
    order = random.Random(seed)  # noqa: S311 - an order of runs, no secret
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(_WARMUP_ROUNDS + rounds):
        for name in order.sample(sorted(arms), len(arms)):
            taken = time(arms[name])
            if number >= _WARMUP_ROUNDS:
                seconds[name].append(taken)
        between()
    return seconds


def measure(project: Settings, case_ids: Sequence[str], *, processes: int, rounds: int, seed: int) -> list[Any]:
    """Time the cases in processes of their own, one after another.

    Returns:
        What each process found, as `one_process` returns it.

    Raises:
        GateError: A process failed, with the last line it said.
    """
    launches = []
    for number in range(processes):
        words = [sys.executable, "-m", "studies.accuracy.cost", *case_ids]
        words += ["--rounds", str(rounds), "--seed", str(seed + number)]
        try:
            done = workers.run(
                words, cwd=project.root, environment=workers.environment(), timeout_s=project.launch_timeout_s
            )
        except subprocess.TimeoutExpired:
            raise GateError(
                "launch-timeout",
                f"Timing the precisions took more than {project.launch_timeout_s} s in process {number + 1} of "
                f"{processes}, which was ended; see whether the kernel hangs (nox -s perf).",
            ) from None
        if done.returncode:
            line = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise GateError(
                "launch-failed",
                f"Timing the precisions failed in process {number + 1} of {processes}: {line}; see nox -s perf.",
            )
        launches.append(json.loads(done.stdout))
    return launches


def costs(launches: Sequence[Mapping[str, Any]]) -> list[Cost]:
    """Medians and their ratios to the kernel's TF32 of each case and arm; ratios are within a process."""
    seconds = [launch["seconds"] for launch in launches]
    found = []
    for case_id, arms in seconds[0].items():
        for arm in arms:
            medians = [statistics.median(one[case_id][arm]) for one in seconds]
            base = [statistics.median(one[case_id][KERNEL_ARMS[0]]) for one in seconds]
            ratios = tuple(one / of for one, of in zip(medians, base, strict=True))
            found.append(Cost(case=case_id, arm=arm, medians_s=tuple(medians), ratios=ratios))
    return found


def one_process(project: Settings, case_ids: Sequence[str], *, rounds: int, seed: int) -> dict[str, Any]:
    """Time the cases on the card present.

    Returns:
        ``seconds`` by case and arm in order of rounds, ``states`` of the card by case (`perfgate.harness.machine.Monitor.state`),
        and ``unheld``, how many launches the stream was not held for.

    Raises:
        GateError: ``no-card``, or ``does-not-fit`` where a case has no room on it.
    """
    import torch

    from perf_tests import cases
    from perfgate.harness import machine
    from perfgate.harness.guarded import require_room
    from perfgate.harness.timer import Stopwatch
    from perfgate.settings import load_kernel
    from studies.accuracy.arms import torch_product

    environment = machine.look()
    if not environment["gpu"]:
        raise GateError("no-card", f"Timing needs a CUDA card and there is none ({environment['why']}).")
    uuid = environment["uuid"]
    kernel = load_kernel(project.root / project.kernel, "kernel_of_accuracy_cost")
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    watch = Stopwatch(
        flush_bytes=project.flush_factor * cache_bytes,
        hold_cycles=int(project.hold_s * machine.Monitor(uuid).max_sm_clock_hz()),
    )
    seconds, states = {}, {}
    for case in (case for case in cases.CASES if case.id in case_ids):
        require_room(case)
        a, b = cases.operands(case, device="cuda", seed=seed)
        out = torch.empty(*a.shape[:-1], b.shape[-1], device="cuda")
        arms: dict[str, Callable[[], object]] = {}
        for precision in KERNEL_ARMS:
            like = cases.matmul_case(case.id, case.shapes[0], case.shapes[1], precision=precision)
            arms[precision] = partial(cases.call(kernel, like, a, b), out=out)
        arms |= {name: partial(torch_product, a, b, precision, out=out) for name, precision in TORCH_ARMS.items()}
        for launch in arms.values():
            launch()  # compiles it, which a timed run must not
        monitor = machine.Monitor(uuid)
        seconds[case.id] = in_rounds(arms, watch.time, rounds=rounds, seed=seed, between=monitor.sample)
        states[case.id] = monitor.state()
        del a, b, out, arms
        torch.cuda.empty_cache()
    return {"seconds": seconds, "states": states, "unheld": watch.unheld}


def _main() -> None:
    from perfgate import settings

    parser = argparse.ArgumentParser(prog="python -m studies.accuracy.cost", description="One process's times.")
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    found = one_process(settings.load(Path.cwd()), given.cases, rounds=given.rounds, seed=given.seed)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    _main()
