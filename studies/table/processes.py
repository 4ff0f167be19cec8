"""The processes of a table: first everything is compiled and tuned once, then launches, path by path in turn.

Owns which process does what, what is made of one that dies, and what is kept when. Times nothing itself. A contender
that fails has no number in its code path from then on; a process that dies is taken up where it died, without the arm
that it died of.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfgate.records import Case, GateError
from studies.table import workers
from studies.table.cases import COMPILE, KERNEL, arms_of
from studies.table.recording import Failure, Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from perfgate.settings import Settings
    from studies.table.workers import Worker

_CORES = 4
"""Of the processor for one process that tunes; it starts as many compilers."""
_MEMORY_BYTES = 36e9
"""Of the card for one code path that is tuned: its largest case with the copies that tuning makes, and small ones beside."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured, and on what."""

    cases: tuple[Case, ...]
    launches: int
    tune_s: float
    """Seconds that all tuning may take."""
    without: tuple[str, ...] = ()
    """Arms left out."""
    cores: int = 1
    memory_bytes: float = 0.0
    check_idle: Callable[[], None] = lambda: None
    """Called before each launch and after the last; raises where the card works for others."""


@dataclass(kw_only=True)
class _Hand:
    """A process that does one thing for some cases, and the next one that goes on where it died."""

    name: str
    path: str
    left: dict[str, tuple[str, ...]]
    """Arms by case id, less what is done."""
    threads: int = 1
    """Compilers that it may start."""
    seed: int = 0
    """Number of the launch; 0 is tuning."""
    worker: Worker | None = None
    tries: int = 0

    @property
    def tunes(self) -> bool:
        """Whether this is what comes before the launches."""
        return not self.seed


@dataclass(kw_only=True)
class Run:
    """The processes of a table and what has come of them."""

    project: Settings
    plan: Plan
    recordings: Mapping[str, Recording]
    """By code path."""
    output: Path
    tuned: set[tuple[str, str]] = field(default_factory=set)
    """Code path and case."""

    def tune(self) -> None:
        """Compile and tune what the launches will run, some processes at once, for so long and no longer."""
        paths = list(self.recordings)
        at_once = max(1, int(self.plan.memory_bytes // _MEMORY_BYTES))
        until_s = time.monotonic() + self.plan.tune_s
        for first in range(0, len(paths), at_once):
            if time.monotonic() < until_s:
                self._tune(paths[first : first + at_once], until_s)
        for path in paths if COMPILE not in self.plan.without else ():
            for case in self.plan.cases:
                model = self._model(case)
                if failed := self._failure(path, model.id, COMPILE):
                    self._fail(path, Failure(case=case.id, arm=COMPILE, why=f"{failed.why} (as for {model.id})"))
                elif (path, model.id) not in self.tuned:
                    why = (
                        f"not tuned: no time within {self.plan.tune_s:.0f} s (--compile-timeout), or no room on the card; what was "
                        "tuned is kept, so run it again"
                    )
                    self._fail(path, Failure(case=case.id, arm=COMPILE, why=why))

    def _tune(self, paths: Sequence[str], until_s: float) -> None:
        hands = [hand for path in paths for hand in self._dealt(path, len(paths))]
        total = sum(len(hand.left) for hand in hands)
        with contextlib.ExitStack() as stack:
            for hand in hands:
                hand.threads = max(1, self.plan.cores // len(hands))
                self._start(hand, stack)
            while any(hand.worker for hand in hands) and time.monotonic() < until_s:
                for hand in hands:
                    before = len(hand.left)
                    if hand.worker:
                        hand.worker.begin()
                        if not self._attend(hand):
                            self._start(hand, stack)
                    if len(hand.left) != before:
                        done = total - sum(len(each.left) for each in hands)
                        left_s = max(0.0, until_s - time.monotonic())
                        print(f"table: compiled and tuned {done} of {total}, at most {left_s:.0f} s left …", flush=True)

    def _dealt(self, path: str, paths: int) -> list[_Hand]:
        """The cases of a path for one process or more; the largest all to one, so that the card's memory holds them."""
        count = self.plan.cores // (_CORES * paths) if self.plan.memory_bytes >= _MEMORY_BYTES else 1
        asked = self._asked(path)
        for case in self.plan.cases:
            if case.id in asked and self._model(case) is not case:
                asked[case.id] = tuple(arm for arm in asked[case.id] if arm != COMPILE)
        by_size = sorted((case for case in self.plan.cases if case.id in asked), key=lambda case: -case.device_bytes)
        size = max(1, -(-len(by_size) // max(1, count)))
        return [
            _Hand(
                name=f"{path}-tune-{at // size + 1}",
                path=path,
                left={case.id: asked[case.id] for case in by_size[at : at + size]},
            )
            for at in range(0, len(by_size), size)
        ]

    def _model(self, case: Case) -> Case:
        """The first case whose operands are of the same kind: torch's compiler makes the same code of both."""
        return next(other for other in self.plan.cases if other.contract() == case.contract())

    def launch(self, write: Callable[[str], None]) -> None:
        """Make the launches; ``write`` is called with the code path after each."""
        turns = [(number, path) for number in range(1, self.plan.launches + 1) for path in self.recordings]
        began_s = time.monotonic()
        with contextlib.ExitStack() as stack:
            # Importing takes seconds and no card, so the next process starts while this one measures.
            ahead: _Hand | None = self._ready(turns[0], stack)
            for done, (number, path) in enumerate(turns):
                hand, ahead = ahead or self._ready((number, path), stack), None
                if done + 1 < len(turns):
                    ahead = self._ready(turns[done + 1], stack)
                spent_s = time.monotonic() - began_s
                left = f", about {spent_s / done * (len(turns) - done):.0f} s left" if done else ""
                print(f"table: launch {number} of {self.plan.launches}, {path}{left} …", flush=True)
                self.plan.check_idle()
                self.recordings[path].launches.append({})
                self._finish(hand, stack)
                write(path)
        self.plan.check_idle()

    def _ready(self, turn: tuple[int, str], stack: contextlib.ExitStack) -> _Hand:
        number, path = turn
        hand = _Hand(name=f"{path}-launch-{number}", path=path, left=self._asked(path), seed=number)
        self._start(hand, stack)
        return hand

    def _finish(self, hand: _Hand, stack: contextlib.ExitStack) -> None:
        until_s = time.monotonic() + self.project.launch_timeout_s
        while hand.worker:
            hand.worker.begin()
            while self._attend(hand):
                if time.monotonic() > until_s and hand.worker:
                    hand.worker.kill(f"ended after {self.project.launch_timeout_s} s")
            self._start(hand, stack)

    def _start(self, hand: _Hand, stack: contextlib.ExitStack) -> None:
        """Start a process for what is left of a hand, less the arms that have failed since; none where that is nothing."""
        asked = self._asked(hand.path)
        hand.left = {
            case: tuple(arm for arm in arms if arm in asked[case]) for case, arms in hand.left.items() if case in asked
        }
        hand.worker, hand.tries = None, hand.tries + 1
        if not hand.left:
            return
        hand.worker = workers.start(
            hand.name if hand.tries == 1 else f"{hand.name}-again-{hand.tries - 1}",
            {
                "task": "tune" if hand.tunes else "measure",
                "cases": [{"id": case, "arms": arms} for case, arms in hand.left.items()],
                "seed": hand.seed,
                "lock": str(self.output / "tuning.lock"),
            },
            path=hand.path,
            root=self.project.root,
            output=self.output,
            threads=hand.threads,
        )
        stack.callback(hand.worker.kill)

    def _attend(self, hand: _Hand) -> bool:
        """Take in what a process says; False once it has ended, and then what it died of has failed."""
        worker = hand.worker
        if worker is None:
            return False
        runs = worker.runs()
        for event in worker.news():
            self._take(hand, event)
        if runs:
            return True
        if not worker.ended:
            if not worker.doing:
                raise GateError(
                    "worker-failed", f"A process of the table did no work ({worker.why()}); see {worker.log}."
                )
            case, arm, doing = (worker.doing[key] for key in ("case", "arm", "doing"))
            if case in hand.left:  # or it died between two cases, of nothing that can be named
                why = f"its process ended while {arm} was {doing} ({worker.why()}); see {worker.log.name}"
                self._fail(hand.path, Failure(case=case, arm=arm, why=why, wrong=doing == "checked"))
        else:
            hand.left = {}
        worker.kill()  # the compilers that it started may still be there
        hand.worker = None
        return False

    def _take(self, hand: _Hand, event: Mapping[str, Any]) -> None:
        kind, case = event["event"], event.get("case", "")
        if kind == "refused":
            raise GateError(event["reason"], event["text"])
        # What found no room beside others that tune may find it when it is alone.
        if kind == "failed" and not (hand.tunes and event["arm"] != COMPILE and not event["wrong"]):
            self._fail(hand.path, Failure(**{key: event[key] for key in ("case", "arm", "why", "wrong")}))
        elif kind == "measured":
            self.recordings[hand.path].launches[-1][case] = event["entry"]
            hand.left.pop(case, None)
        elif kind == "tuned":
            if COMPILE in event["arms"]:
                self.tuned.add((hand.path, case))
            hand.left.pop(case, None)

    def _failure(self, path: str, case: str, arm: str) -> Failure | None:
        return next((f for f in self.recordings[path].failed if (f.case, f.arm) == (case, arm)), None)

    def _fail(self, path: str, failure: Failure) -> None:
        """Remember it, once; what depends on the kernel says no more."""
        if not self._failure(path, failure.case, failure.arm):
            self.recordings[path].failed.append(failure)
            print(f"table: {path}: {failure.case}: no number for {failure.arm}: {failure.why}", flush=True)

    def _asked(self, path: str) -> dict[str, tuple[str, ...]]:
        """The arms of every case that have not failed; none of a case whose kernel has."""
        asked = {
            case.id: tuple(arm for arm in arms_of(case, self.plan.without) if not self._failure(path, case.id, arm))
            for case in self.plan.cases
        }
        return {case: arms for case, arms in asked.items() if KERNEL in arms}
