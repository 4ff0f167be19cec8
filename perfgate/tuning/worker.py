"""One process on the card: times the candidates of some cases, interleaved, and says each step as it takes it.

Owns how candidates are set up, checked and timed within a process. Run as ``python -m perfgate.tuning.worker PLAN STEPS``;
the plan is JSON (`tune_measuring` writes it), steps are appended to a file as JSON lines, so that what was measured
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
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from perfgate import settings
from perfgate.harness import correctness, guarded, interleave, machine
from perfgate.records import GateError
from perfgate.tuning.compiling import load_candidates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from perfgate.records import Case

_CHECKED_ROWS = 16
_RUNG_ROUNDS = 3
_TRIALS = 3


class Watch(interleave.Watch, Protocol):
    """A stopwatch that counts the runs whose time was not the kernel's alone."""

    unheld: int


class Monitor(Protocol):
    """What is asked of `machine.Monitor`."""

    def sample(self) -> None:
        """Look once, between rounds."""

    def state(self) -> dict[str, Any]:
        """What was seen."""


@dataclass(kw_only=True)
class Workload:
    """A case's operands and result on a device, for any number of copies of the kernel to compute."""

    suite: ModuleType
    case: Case
    device: str
    seed: int
    _tensors: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        if self.device == "cuda":
            guarded.require_room(self.case)
        a, b = self.suite.operands(self.case, device=self.device, seed=self.seed)
        out = guarded.guarded(self.suite.result_shape(self.case), dtype=a.dtype, device=self.device)
        rows = torch.randperm(a.shape[-2], generator=torch.Generator().manual_seed(self.seed))[:_CHECKED_ROWS]
        self._tensors = (a, b, out, rows.to(a.device))

    def launch(self, module: ModuleType) -> Callable[[], object]:
        """One launch of this copy; all write to the same result, so that none has the luckier address."""
        a, b, out, _ = self._tensors
        return partial(self.suite.call(module, self.case, a, b), out=out.tensor)

    def check(self, launch: Callable[[], object]) -> None:
        """Launch, and hold some rows against float64, all elements against NaN, and what lies around against its canary.

        Raises:
            WrongResultError: The result is wrong.
        """
        a, b, out, rows = self._tensors
        out.poison()
        launch()
        if bool(torch.isnan(out.tensor).any()):
            raise correctness.WrongResultError("the result holds NaN (elements never written, or computed from NaN)")
        if not out.intact():
            raise correctness.WrongResultError("memory around the result was written to")
        torch.backends.cuda.matmul.allow_tf32 = False
        case = self.case
        correctness.check_close(case.id, a[..., rows, :], b, out.tensor[..., rows, :], precision=case.precision)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What times a case: the parts of this machine and of this project."""

    suite: ModuleType
    candidates: ModuleType
    load: Callable[[int], ModuleType]
    """Imports the kernel file once more, under that number."""
    watch: Watch
    monitor: Callable[[], Monitor]
    project: settings.Settings
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
            asked = stack.enter_context(
                bench.candidates.forced(module, bench.candidates.candidate(config, **of_kernel))
            )
            launch = workload.launch(module)
            why, wrong = _trouble(workload, launch)
            if not why and not asked.asked:
                why = "the kernel did not ask for its config"
            if why:
                say("failed", case=case.id, id=name, why=why, wrong=wrong)
            else:
                launches[name] = launch
                say("checked", case=case.id, id=name)
        say("timing", case=case.id, count=len(launches))
        bench.watch.unheld = 0
        order = random.Random(seed)  # noqa: S311 - an order of runs, no secret
        between = partial(_between, monitor, partial(say, "round", case=case.id))
        if plan["keep"]:
            seconds = halve(launches, watch=bench.watch, keep=plan["keep"], order=order, between=between)
        else:
            seconds = alike(launches, watch=bench.watch, project=bench.project, order=order, between=between)
        say("timed", case=case.id, seconds=seconds, state={**monitor.state(), "unheld": bench.watch.unheld})


def halve(
    launches: Mapping[str, Callable[[], object]],
    *,
    watch: Watch,
    keep: int,
    order: random.Random,
    between: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Successive halving: a few rounds of all, as many more of the faster half, and so on down to ``keep`` of them."""
    alive, seconds = sorted(launches), {name: list[float]() for name in launches}
    while alive:
        for _ in range(_RUNG_ROUNDS):
            _round(launches, alive, seconds, watch=watch, order=order)
            between()
        if len(alive) <= keep:
            break
        alive.sort(key=lambda name: (statistics.median(seconds[name]), name))
        del alive[max(keep, -(-len(alive) // 2)) :]
    return seconds


def alike(
    launches: Mapping[str, Callable[[], object]],
    *,
    watch: Watch,
    project: settings.Settings,
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
        _round(launches, names, seconds, watch=watch, order=order)
        between()
    return seconds


def _round(
    launches: Mapping[str, Callable[[], object]],
    names: list[str],
    seconds: dict[str, list[float]],
    *,
    watch: Watch,
    order: random.Random,
) -> None:
    """Time each once, in an order drawn anew."""
    for name in order.sample(names, len(names)):
        seconds[name].append(watch.time(launches[name]))


def _between(monitor: Monitor, said: Callable[[], None]) -> None:
    monitor.sample()
    said()


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
    project = settings.load(Path.cwd())
    suite, candidates = settings.load_suite(project), load_candidates(project)
    uuid = machine.look()["uuid"]
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    hold_cycles = int(project.hold_s * machine.Monitor(uuid).max_sm_clock_hz())
    bench = Bench(
        suite=suite,
        candidates=candidates,
        load=lambda number: settings.load_kernel(project.root / project.kernel, f"kernel_tuned_{number}"),
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
