"""The processes of a table: first everything is compiled and tuned once, then launches, path by path in turn.

Owns what is asked of which process, what is made of one that dies or hangs, and what is kept when. Times nothing itself.
A contender that fails has no number in its code path from then on.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from perfgate.records import Case, GateError
from perfgate.workers import CRASHED, Pool
from studies import shared
from studies.table.cases import COMPILE, KERNEL, Entry, Failure, Launched, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from perfgate.config import Settings

COMMAND = (sys.executable, "-m", "studies.table.worker")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured, and on what."""

    cases: tuple[Case, ...]
    arms: Mapping[str, tuple[str, ...]]
    """By case id."""
    launches: int
    tune_s: float = 0.0
    """Seconds after which tuning of nothing more begins."""
    cores: int = 1
    check_idle: Callable[[], None] = lambda: None
    """Called before each launch and after the last; raises where the card works for others."""


@dataclass(kw_only=True)
class Run:
    """The processes of a table and what has come of them."""

    project: Settings
    plan: Plan
    recordings: Mapping[str, Recording]
    """By code path."""
    output: Path

    def tune(self) -> None:
        """Run each arm of each case once, so that all of it is compiled and tuned when the launches begin."""
        until_s = time.monotonic() + self.plan.tune_s
        tuned: set[tuple[str, str]] = set()
        with ExitStack() as stack:
            pools = {
                path: stack.enter_context(self._pool(path, "tune", timeout_s=self.plan.tune_s, threads=self.plan.cores))
                for path in self.recordings
            }
            for path, pool in pools.items():
                self._ready(pool, path)
            for done, case in enumerate(self.plan.cases):
                left_s = max(0.0, until_s - time.monotonic())
                print(
                    f"table: compiled and tuned {done} of {len(self.plan.cases)}, at most {left_s:.0f} s left …",
                    flush=True,
                )
                for path, pool in pools.items():
                    for arm in self._asked(path, case.id):
                        if time.monotonic() > until_s or (arm == COMPILE and self._model(case) is not case):
                            continue
                        if self._runs_alone(pool, path, case.id, arm) and arm == COMPILE:
                            tuned.add((path, case.id))
        for path in self.recordings:
            for case in self.plan.cases:
                self._settle(path, case, tuned=(path, self._model(case).id) in tuned)

    def _settle(self, path: str, case: Case, *, tuned: bool) -> None:
        """What was not tuned is not measured; equal code has failed with the first of its kind."""
        model = self._model(case)
        if COMPILE not in self.plan.arms[case.id]:
            return
        if failed := self._failure(path, model.id, COMPILE):
            self._fail(path, Failure(case=case.id, arm=COMPILE, why=f"{failed.why} (as for {model.id})"))
        elif not tuned:
            why = f"not tuned: no time within {self.plan.tune_s:.0f} s (--compile-timeout); what was tuned is kept, so run it again"
            self._fail(path, Failure(case=case.id, arm=COMPILE, why=why))

    def _model(self, case: Case) -> Case:
        """The first case whose operands are of the same kind: torch's compiler makes the same code of both."""
        return next(other for other in self.plan.cases if other.contract() == case.contract())

    def launch(self, write: Callable[[str], None] = lambda _: None) -> None:
        """Make the launches; ``write`` is called with the code path after each."""
        turns = [(number, path) for number in range(1, self.plan.launches + 1) for path in self.recordings]
        began_s = time.monotonic()
        for done, (number, path) in enumerate(turns):
            spent_s = time.monotonic() - began_s
            left = f", about {spent_s / done * (len(turns) - done):.0f} s left" if done else ""
            print(f"table: launch {number} of {self.plan.launches}, {path}{left} …", flush=True)
            self.plan.check_idle()
            launched = Launched()
            with self._pool(path, f"launch-{number}", timeout_s=self.project.launch_timeout_s) as pool:
                self._ready(pool, path)
                for case in self.plan.cases:
                    if entry := self._measured(pool, path, case.id, seed=number):
                        launched.cases[case.id] = entry
            self.recordings[path].launches.append(launched)
            write(path)
        self.plan.check_idle()

    def _measured(self, pool: Pool, path: str, case: str, *, seed: int) -> Entry | None:
        """What a process measured of a case; where it died, once more without the arm that it dies of."""
        while arms := self._asked(path, case):
            answer = self._ask(pool, path, task="measure", case=case, arms=arms, seed=seed)
            if CRASHED not in answer:
                return msgspec.convert(answer["entry"], Entry | None)
            if all(self._runs_alone(pool, path, case, arm) for arm in arms):
                why = f"its process ended while the case was measured ({answer[CRASHED]})"
                self._fail(path, Failure(case=case, arm=KERNEL, why=why))
        return None

    def _runs_alone(self, pool: Pool, path: str, case: str, arm: str) -> bool:
        """Whether an arm can be built, runs and is right."""
        answer = self._ask(pool, path, task="check", case=case, arms=(arm,), seed=0)
        if CRASHED in answer:
            why = f"its process ended while {arm} was checked ({answer[CRASHED]})"
            self._fail(path, Failure(case=case, arm=arm, why=why, wrong=True))
        return not self._failure(path, case, arm)

    def _pool(self, path: str, name: str, *, timeout_s: float, threads: int = 1) -> Pool:
        """A process of a code path.

        Caches are a code path's own: torch's compiler does not count the architecture that Triton is told to lower for
        among what its cached code depends on. They are kept, so that what has been tuned is never tuned again.
        """
        cache = self.project.root / ".perfgate" / "table" / f"cache-{path}"
        environment = shared.environment(
            path,
            TORCHINDUCTOR_CACHE_DIR=str(cache / "inductor"),
            TRITON_CACHE_DIR=str(cache / "triton"),
            TORCHINDUCTOR_COMPILE_THREADS=str(threads),
        )
        logs, root = self.output / f"{path}-{name}", self.project.root
        return Pool(COMMAND, workers=1, cwd=root, environment=environment, logs=logs, timeout_s=timeout_s)

    def _ready(self, pool: Pool, path: str) -> None:
        """Make sure that its process works, so that no arm is blamed for what stops it."""
        if why := self._ask(pool, path, task="begin").get(CRASHED):
            raise GateError("worker-failed", f"A process of the table did no work ({why}); see {self.output}.")

    def _ask(self, pool: Pool, path: str, **job: object) -> dict[str, Any]:
        ((_, answer),) = pool.answers([job])
        if "refused" in answer:
            raise GateError(*answer["refused"])
        for failed in answer.get("failed", ()):
            self._fail(path, msgspec.convert(failed, Failure))
        return answer

    def _failure(self, path: str, case: str, arm: str) -> Failure | None:
        return next((f for f in self.recordings[path].failed if (f.case, f.arm) == (case, arm)), None)

    def _fail(self, path: str, failure: Failure) -> None:
        """Remember it, once."""
        if not self._failure(path, failure.case, failure.arm):
            self.recordings[path].failed.append(failure)
            print(f"table: {path}: {failure.case}: no number for {failure.arm}: {failure.why}", flush=True)

    def _asked(self, path: str, case: str) -> tuple[str, ...]:
        """The arms of a case that have not failed; none where its kernel has."""
        arms = tuple(arm for arm in self.plan.arms[case] if not self._failure(path, case, arm))
        return arms if KERNEL in arms else ()
