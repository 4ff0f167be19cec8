"""The measurement of a tuning: a first pass over all candidates, then launches of the best, each a process on the card.

Owns which process times what, what is kept of it, and what becomes of a candidate or a case whose process died, hung or
was disturbed. What is missing in the document is what is still to do, so a document that was cut short goes on.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfgate import workers
from perfgate.compare import comparability
from perfgate.progress import Count
from perfgate.records import GateError, Launch, Samples
from perfgate.tuning.choice import propose
from perfgate.tuning.compiling import triton_cache
from perfgate.tuning.document import Timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from perfgate.tuning.document import Document

_SILENT_S = 300.0
"""After which a process that takes no step is taken for hung."""
_ATTEMPTS = 2
"""Times that a case is measured for one launch, where the card is disturbed."""


@dataclass(kw_only=True)
class Tuning:
    """One measurement, as far as it is."""

    root: Path
    output: Path
    document: Document
    top: int
    launches: int
    keep: Callable[[], None]
    """Writes the document; called after every case."""
    check_idle: Callable[[], None]
    """Raises where the card is busy; called before each process, when nothing of ours runs."""
    silent_s: float = _SILENT_S
    attempts: dict[tuple[int, str], int] = field(default_factory=dict)

    def run(self) -> None:
        """Measure what is missing.

        Raises:
            GateError: ``no-samples`` where a process ended before it began a case; those of ``check_idle``.
        """
        self._phase(0)
        proposed = propose({name: case.screened() for name, case in self.document.tuned().items()})
        self.document.choose_finalists(top=self.top, also=proposed[-1].configs if proposed else ())
        took_s = 0.0
        for number in range(1, self.launches + 1):
            if took_s:
                print(f"tune: about {took_s * (self.launches - number + 1):.0f} s of launches left", flush=True)
            began_s = time.monotonic()
            self._phase(number)
            took_s = time.monotonic() - began_s

    def _missing(self, number: int) -> dict[str, dict[str, Any]]:
        """What one process would still have to time, by case: in the first pass (0) all, in a launch the finalists."""
        found = {}
        for name, case in self.document.tuned().items():
            has = len(case.launches) >= number if number else case.screen is not None
            configs = {one: entry.config for one, entry in case.running().items()}
            if number:
                configs = {one: configs[one] for one in case.finalists if one in configs}
            if not has and configs:
                found[name] = {"keep": 0 if number else self.top + 2, "candidates": configs}
            elif not has and not number:
                case.failed = "no candidate is left"
        return found

    def _phase(self, number: int) -> None:
        """The first pass, or one launch: processes until nothing is missing."""
        what = f"launch {number} of {self.launches}:" if number else "first pass:"
        missing = self._missing(number)
        progress = Count(f"tune: {what} candidate", sum(len(one["candidates"]) for one in missing.values()))
        while missing:
            self.check_idle()
            begun, running = "", ("", "")
            try:
                for step in self._steps(missing):
                    begun = step.get("case", begun)
                    running = (step["step"], step.get("id", ""))
                    self._take(number, step, progress)
            except workers.LostError as lost:
                self._died(number, begun, running, str(lost))
            self.keep()
            missing = self._missing(number)
            progress.total = progress.done + sum(len(one["candidates"]) for one in missing.values())

    def _steps(self, missing: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What a process on the card does, as it does it."""
        plan, steps = self.output / "plan.json", self.output / "steps.jsonl"
        plan.write_text(json.dumps({"seed": secrets.randbelow(2**31), "cases": missing}), encoding="utf-8")
        return workers.followed(
            [sys.executable, "-m", "perfgate.tuning.worker", str(plan), str(steps)],
            steps=steps,
            log=self.output / "logs" / "measuring.log",
            cwd=self.root,
            environment=triton_cache(self.output),
            silent_s=self.silent_s,
        )

    def _take(self, number: int, step: Mapping[str, Any], progress: Count) -> None:
        """Take one step into the document."""
        if "case" not in step:
            return
        case = self.document.cases[step["case"]]
        if step["step"] in {"checked", "failed"}:
            progress.step(f" ({step['case']})")
        if step["step"] == "failed":
            one = case.candidates[step["id"]]
            one.failed, one.wrong = step["why"], step["wrong"]
        elif step["step"] == "case-failed":
            case.failed = step["why"]
        elif step["step"] == "timed":
            self._timed(number, step["case"], Timed(seconds=step["seconds"], state=step["state"]))
            self.keep()

    def _timed(self, number: int, name: str, timed: Timed) -> None:
        """Keep a case's times, or where the card was disturbed, say so; after some attempts that is its end."""
        case = self.document.cases[name]
        if disturbed := _disturbance(name, timed):
            tries = self.attempts[number, name] = self.attempts.get((number, name), 0) + 1
            print(f"tune: {name}: not kept, {disturbed}", flush=True)
            if tries >= _ATTEMPTS:
                case.failed = disturbed
        elif not any(timed.seconds.values()):
            case.failed = "no candidate gave a time"
        elif number:
            case.launches.append(timed)
        else:
            case.screen = timed

    def _died(self, number: int, name: str, running: tuple[str, str], why: str) -> None:
        """A process ended by itself: whatever it was doing did that, and is not done again."""
        if not name:
            raise GateError(
                "no-samples",
                f"A measuring process ended before it began a case ({why}); its output is in {self.output / 'logs'}.",
            )
        case, (step, candidate) = self.document.cases[name], running
        where = f"launch {number}" if number else "the first pass"
        if step == "checking":
            one = case.candidates[candidate]
            one.failed, one.wrong = f"its process {_verb(why)} in {where}", False
            print(f"tune: {name}: {candidate} is out, its process {_verb(why)}", flush=True)
        elif name in self._missing(number):
            case.failed = f"its process {_verb(why)} in {where}"
            print(f"tune: {name}: not measured, its process {_verb(why)}", flush=True)


def _verb(why: str) -> str:
    return why if why.startswith("took no step") else f"died ({why})"


def _disturbance(name: str, timed: Timed) -> str:
    """What disturbed a case's measurement, by the rule of the gate's own; empty where nothing did."""
    arms = {one: tuple(seconds) for one, seconds in timed.seconds.items()}
    found = comparability.disturbance(Samples(case=name, launches=(Launch(arms=arms, state=timed.state),)))
    return found[1].replace(" in launch 1 of 1", "").replace(" of launch 1 of 1", "") if found else ""
