"""One process of the table: ``python -m studies.table.worker JOB``, started by ``table_launches`` with a code path.

Owns what happens to a case within a process. It leaves word of everything it begins, finds and finishes in a file of
JSON lines, since a contender may take the process down. Two kinds of work:

- ``tune``: run every arm once, so that whatever has to be compiled or tuned is in the caches of the code path.
- ``measure``: check each arm, time them in random order in every round, check them again.
"""

from __future__ import annotations

import gc
import importlib
import json
import statistics
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perfgate import settings
from perfgate.harness import interleave, machine
from perfgate.harness.correctness import WrongResultError
from perfgate.harness.guarded import require_room
from perfgate.harness.launches import launched_by
from perfgate.harness.timer import Stopwatch
from perfgate.records import GateError
from studies.table import contenders
from studies.table.cases import BY_ID, COMPILE, KERNEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import ModuleType

    from perfgate.records import Case
    from perfgate.settings import Settings
    from studies.table.contenders import Checked, Problem

_TRIALS = 3
"""Runs that tell how long an arm takes, for the number of rounds."""
_LET_GO = 1


class Rounds:
    """Stands in for pytest-benchmark: times a target once a round with the stopwatch."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self.seconds: list[float] = []

    def pedantic(self, target: Callable[..., object], **options: Any) -> None:  # noqa: ANN401 - pytest-benchmark's signature
        """Time ``target``; ``setup`` prepares the device before each round, ``teardown`` follows it."""
        for number in range(options["warmup_rounds"] + options["rounds"]):
            options["setup"]()
            start = self._watch.stamp()
            target()
            taken = self._watch.stamp() - start
            if number >= options["warmup_rounds"]:
                self.seconds.append(taken)
            options["teardown"]()


class Log:
    """The file of JSON lines, complete after each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, case: Case, arm: str, doing: str) -> None:
        """Say what comes now, for whoever finds the process dead."""
        self.say("begin", case=case.id, arm=arm, doing=doing)

    def fail(self, case: Case, arm: str, error: BaseException, *, wrong: bool) -> None:
        """Say that an arm has no number."""
        self.say("failed", case=case.id, arm=arm, why=_line(error), wrong=wrong)

    def say(self, event: str, **facts: object) -> None:
        """Add a line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **facts}) + "\n")


def set_up(given: Problem, arms: Iterable[str], log: Log, *, seed: int) -> dict[str, tuple[Any, Checked]]:
    """Build and check arms; one that fails is said to have failed and is left out."""
    ready = {}
    for arm in arms:
        log.begin(given.case, arm, "checked")
        try:
            launch = contenders.MAKERS[arm](given)
            ready[arm] = (launch, contenders.check(arm, launch, given, seed=seed))
        except WrongResultError as error:
            log.fail(given.case, arm, error, wrong=True)
        except contenders.REFUSALS as error:
            log.fail(given.case, arm, error, wrong=not isinstance(error, torch.OutOfMemoryError))
        if arm == KERNEL and arm not in ready:  # a wrong kernel gets no number, so nor do those beside it
            break
    return ready


def tune(given: Problem, arms: Iterable[str], log: Log, *, seed: int) -> None:
    """Run arms once, one after the other, each without the memory of the others; say which of them ran."""
    done = [arm for arm in arms if set_up(given, (arm,), log, seed=seed)]
    log.say("tuned", case=given.case.id, arms=done)


def measure(  # noqa: PLR0913 - each is one independent part, all by name
    given: Problem,
    arms: Iterable[str],
    log: Log,
    *,
    watch: Stopwatch,
    monitor: machine.Monitor,
    project: Settings,
    seed: int,
) -> None:
    """Time a case's arms in the same rounds and leave their medians, or why there are none."""
    case = given.case
    ready = set_up(given, arms, log, seed=seed)
    if KERNEL not in ready:
        return
    config = dict(launched_by(ready[KERNEL][0]).config)
    log.begin(case, KERNEL, "timed")
    while True:
        launches = {arm: launch for arm, (launch, _) in ready.items()}
        try:
            rounds, seconds = time_arms(launches, watch=watch, monitor=monitor, project=project, seed=seed)
            break
        except contenders.REFUSALS as error:
            if COMPILE not in ready:
                raise
            # It was about to compile again; what the others have been timed at with it is dropped too.
            log.fail(case, COMPILE, error, wrong=False)
            del ready[COMPILE]
    for arm, (launch, checked) in ready.items():
        if not contenders.same_again(launch, given, checked):
            said = (
                f"{case.id}: {arm}'s result after timing differs from the one before; it races or writes out of bounds."
            )
            log.fail(case, arm, WrongResultError(said), wrong=True)
            del seconds[arm]
    if KERNEL in seconds:
        found = {
            "seconds": {arm: statistics.median(taken) for arm, taken in seconds.items()},
            "rounds": rounds,
            "errors": {arm: round(lost, 3) for arm in seconds if (lost := ready[arm][1].error) is not None},
            "config": config,
            "state": {**monitor.state(), "unheld": watch.unheld},
        }
        log.say("measured", case=case.id, entry=found)


def time_arms(
    launches: Mapping[str, Callable[[], object]],
    *,
    watch: Stopwatch,
    monitor: machine.Monitor,
    project: Settings,
    seed: int,
) -> tuple[int, dict[str, Sequence[float]]]:
    """The number of rounds, and each arm's seconds in them. Nothing is compiled meanwhile."""
    with contenders.never_compiles():
        typical_s = statistics.fmean(
            statistics.median(watch.time(launch) for _ in range(_TRIALS)) for launch in launches.values()
        )
        watch.unheld = 0
        rounds = interleave.rounds_for(
            typical_s, most=project.rounds, fewest=project.fewest_rounds, arm_s=project.arm_s
        )
        timer = Rounds(watch)
        others = interleave.interleave(
            timer,
            launches[KERNEL],
            {arm: launch for arm, launch in launches.items() if arm != KERNEL},
            watch=watch,
            rounds=rounds,
            warmup_rounds=project.warmup_rounds,
            seed=seed,
            between=monitor.sample,
        )
    return rounds, {KERNEL: timer.seconds, **others}


def _line(error: BaseException) -> str:
    """The first line that says something, of the cause where a compiler wrapped it."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else "no message"
    return text if isinstance(error, (WrongResultError, GateError)) else f"{type(error).__name__}: {text}"


def work(job: Mapping[str, Any], kernel: ModuleType, project: Settings, log: Log) -> None:
    """Do a job on the card: ``task``, ``cases`` (id and arms of each), ``seed``, ``lock``."""
    found = machine.look()
    if not found["gpu"]:
        raise GateError("no-card", f"A launch needs a CUDA card and there is none ({found['why']}).")
    monitor = machine.Monitor(found["uuid"])
    tunes = job["task"] == "tune"
    watch = None if tunes else _stopwatch(project, monitor)
    with contenders.one_tunes_at_a_time(Path(job["lock"])) if tunes else nullcontext():
        for asked in job["cases"]:
            _one(
                BY_ID[asked["id"]],
                asked["arms"],
                kernel,
                project,
                log,
                watch=watch,
                uuid=found["uuid"],
                seed=job["seed"],
            )
            gc.collect()
            torch.cuda.empty_cache()


def _one(  # noqa: PLR0913 - each is one independent part, all by name
    case: Case,
    arms: list[str],
    kernel: ModuleType,
    project: Settings,
    log: Log,
    *,
    watch: Stopwatch | None,
    uuid: str,
    seed: int,
) -> None:
    log.begin(case, KERNEL, "set up")
    try:
        require_room(case)
        given = contenders.problem(case, kernel, device="cuda", seed=seed)
    except (GateError, torch.OutOfMemoryError) as error:
        log.fail(case, KERNEL, error, wrong=False)
        return
    if watch is None:
        tune(given, arms, log, seed=seed)
    else:
        measure(given, arms, log, watch=watch, monitor=machine.Monitor(uuid), project=project, seed=seed)


def _stopwatch(project: Settings, monitor: machine.Monitor) -> Stopwatch:
    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    return Stopwatch(
        flush_bytes=project.flush_factor * cache_bytes, hold_cycles=int(project.hold_s * monitor.max_sm_clock_hz())
    )


def main(argv: list[str]) -> int:
    """Do one job, once a line on standard input lets it begin; without one it ends, for its parent is gone."""
    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    project = settings.load(Path.cwd())
    kernel = settings.load_kernel(project.root / project.kernel)
    if any(COMPILE in case["arms"] for case in job["cases"]):
        importlib.import_module("torch._inductor.compile_fx")  # takes seconds, and now no card waits for it
    if not sys.stdin.readline():
        return _LET_GO
    log = Log(Path(job["events"]))
    try:
        work(job, kernel, project, log)
    except GateError as error:
        log.say("refused", reason=error.reason, text=error.text)
        return 2
    log.say("end")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
