"""One process on the card: times the candidates of some cases, interleaved, and says each step as it takes it.

Owns how candidates are set up, checked and timed within a process. Run as ``python -m perfgate.tuning.worker PLAN STEPS``;
the plan is JSON (`measuring` writes it), steps are appended to a file as JSON lines, so that what was measured
outlives a kernel that takes the process down. Each candidate is a copy of the kernel file that can choose nothing else:
candidates follow each other in any order, and each launches as the kernel itself does.
"""

from __future__ import annotations

import gc
import json
import random
import statistics
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perfgate.config import Settings, read_settings
from perfgate.harness import correctness, interleave, machine
from perfgate.harness.workload import Workload
from perfgate.project import Suite, load_kernel, load_suite
from perfgate.records import GateError
from perfgate.tuning.compiling import load_candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from perfgate.harness.timer import Stopwatch
    from perfgate.records import Case

_RUNG_ROUNDS = 3
_TRIALS = 3


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What times a case: the parts of this machine and of this project."""

    suite: Suite
    candidates: ModuleType
    load: Callable[[int], ModuleType]
    """Imports the kernel file once more, under that number."""
    watch: Stopwatch
    monitor: Callable[[], machine.Monitor]
    project: Settings
    device: str = "cuda"


def measure(bench: Bench, case: Case, plan: Mapping[str, Any], *, seed: int, say: Callable[..., None]) -> None:
    """Check and time the candidates of one case.

    Args:
        bench: With what.
        case: Which case.
        plan: ``candidates`` (config by id), ``keep``: how many to go down to in a first pass; 0 times all alike; and
            ``kernel`` where they are another kernel's than the tuned one's.
        seed: Of the operands and of the order.
        say: Takes each step.
    """
    say("case", case=case.id)
    try:
        workload = Workload(suite=bench.suite, case=case, device=bench.device, seed=seed)
    except GateError as error:
        say("case-failed", case=case.id, why=error.text)
        return
    monitor = bench.monitor()
    of_kernel = {"kernel": plan["kernel"]} if "kernel" in plan else {}
    with ExitStack() as stack:
        launches: dict[str, Callable[[], object]] = {}
        for number, (name, config) in enumerate(plan["candidates"].items()):
            say("checking", case=case.id, id=name)
            module = bench.load(number)
            forced = bench.candidates.forced(module, bench.candidates.candidate(config, **of_kernel))
            asked, launch = stack.enter_context(forced), workload.launch(module)
            why, wrong = _trouble(workload, launch)
            why = why or ("" if asked.asked else "the kernel did not ask for its config")
            if why:
                say("failed", case=case.id, id=name, why=why, wrong=wrong)
            else:
                launches[name] = launch
                say("checked", case=case.id, id=name)
        say("timing", case=case.id, count=len(launches))
        bench.watch.unheld = 0
        order = random.Random(seed)  # noqa: S311 - an order of runs, no secret

        def between() -> None:
            monitor.sample()
            say("round", case=case.id)

        if plan["keep"]:
            seconds = halve(launches, watch=bench.watch, keep=plan["keep"], order=order, between=between)
        else:
            seconds = alike(launches, watch=bench.watch, project=bench.project, order=order, between=between)
        say("timed", case=case.id, seconds=seconds, state={**monitor.state(), "unheld": bench.watch.unheld})


def halve(
    launches: Mapping[str, Callable[[], object]],
    *,
    watch: Stopwatch,
    keep: int,
    order: random.Random,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Successive halving: a few rounds of all, as many more of the faster half, and so on down to ``keep`` of them."""
    alive, seconds = sorted(launches), {name: list[float]() for name in launches}
    while alive:
        for _ in range(_RUNG_ROUNDS):
            for name in order.sample(alive, len(alive)):  # an order drawn anew
                seconds[name].append(watch.time(launches[name]))
            between()
        if len(alive) <= keep:
            break
        alive.sort(key=lambda name: (statistics.median(seconds[name]), name))
        del alive[max(keep, -(-len(alive) // 2)) :]
    return seconds


def alike(
    launches: Mapping[str, Callable[[], object]],
    *,
    watch: Stopwatch,
    project: Settings,
    order: random.Random,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Equal rounds of all, as many as the throughput stage would time of the fastest."""
    typical = [statistics.median(watch.time(launch) for _ in range(_TRIALS)) for launch in launches.values()]
    rounds = interleave.rounds_for(
        min(typical, default=0.0), most=project.rounds, fewest=project.fewest_rounds, arm_s=project.arm_s
    )
    names, seconds = sorted(launches), {name: list[float]() for name in launches}
    for number in range(project.warmup_rounds + rounds):
        if number == project.warmup_rounds:
            seconds = {name: [] for name in launches}
        for name in order.sample(names, len(names)):
            seconds[name].append(watch.time(launches[name]))
        between()
    return seconds


def _trouble(workload: Workload, launch: Callable[[], object]) -> tuple[str, bool]:
    """Why a candidate gives no number, empty where it does, and whether its result is wrong.

    What else it raises has left the card's context in an unknown state, and ends the process.
    """
    from triton.errors import TritonError

    try:
        workload.check(launch)
    except correctness.WrongResultError as error:
        return f"wrong result: {error}".rstrip("."), True
    except TritonError as error:
        return f"does not run: {(str(error).strip().splitlines() or [type(error).__name__])[0]}", False
    return "", False


def main(plan_path: Path, steps_path: Path) -> int:
    """Measure all cases of a plan on the card present."""
    from perfgate.harness.timer import Stopwatch

    plan = json.loads(plan_path.read_text(encoding="utf-8"))
    project = read_settings(Path.cwd())
    suite, candidates = load_suite(project), load_candidates(project)
    uuid = machine.look()["uuid"]
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    hold_cycles = int(project.hold_s * machine.Monitor(uuid).max_sm_clock_hz())
    bench = Bench(
        suite=suite,
        candidates=candidates,
        load=lambda number: load_kernel(project.root / project.kernel, f"kernel_tuned_{number}"),
        watch=Stopwatch(flush_bytes=project.flush_factor * cache_bytes, hold_cycles=hold_cycles),
        monitor=lambda: machine.Monitor(uuid),
        project=project,
    )
    cases = {case.id: case for case in suite.CASES}
    with steps_path.open("a", encoding="utf-8") as stream:

        def say(step: str, **rest: Any) -> None:  # noqa: ANN401 - what a step has to say
            print(json.dumps({"step": step, **rest}), file=stream, flush=True)

        for name, one in plan["cases"].items():
            measure(bench, cases[name], one, seed=plan["seed"], say=say)
            gc.collect()
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
