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
from perfgate.pool import Progress, ended
from perfgate.records import GateError, Launch, Samples
from perfgate.tuning import choice
from perfgate.tuning import document as tune_document
from perfgate.tuning.compiling import triton_cache

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_POLL_S = 0.05
_SILENT_S = 300.0
"""After which a process that takes no step is taken for hung."""
_ATTEMPTS = 2
"""Times that a case is measured for one launch, where the card is disturbed."""


@dataclass(kw_only=True)
class Tuning:
    """One measurement, as far as it is."""

    root: Path
    output: Path
    document: dict[str, Any]
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
        proposed = choice.propose({k: tune_document.screened(v) for k, v in self._cases().items()})
        also = proposed[-1].configs if proposed else ()
        tune_document.set_finalists(self.document, top=self.top, also=also)
        took_s = 0.0
        for number in range(1, self.launches + 1):
            if took_s:
                print(f"tune: about {took_s * (self.launches - number + 1):.0f} s of launches left", flush=True)
            began_s = time.monotonic()
            self._phase(number)
            took_s = time.monotonic() - began_s

    def _cases(self) -> dict[str, dict[str, Any]]:
        return tune_document.tuned(self.document)

    def _missing(self, number: int) -> dict[str, dict[str, Any]]:
        """What one process would still have to time, by case: in the first pass (0) all, in a launch the finalists."""
        found = {}
        for name, case in self._cases().items():
            has = "screen" in case if number == 0 else len(case["launches"]) >= number
            ids = tune_document.running(case)
            if number:
                ids = [one for one in case.get("finalists", ()) if one in ids]
            if not has and ids:
                keep = 0 if number else self.top + 2
                found[name] = {"keep": keep, "candidates": {one: case["candidates"][one]["config"] for one in ids}}
            elif not has and not number:
                case["failed"] = "no candidate is left"
        return found

    def _phase(self, number: int) -> None:
        """The first pass, or one launch: processes until nothing is missing."""
        what = f"launch {number} of {self.launches}:" if number else "first pass:"
        missing = self._missing(number)
        progress = Progress(f"{what} candidate", sum(len(one["candidates"]) for one in missing.values()))
        while missing:
            self.check_idle()
            begun, running = "", ("", "")
            for step in self._steps(missing, self.output / "steps.jsonl"):
                if step["step"] == "ended":
                    self._died(number, begun, running, step["why"])
                    break
                begun = step.get("case", begun)
                running = (step["step"], step.get("id", ""))
                self._take(number, step, progress)
            self.keep()
            missing = self._missing(number)
            progress.total = progress.done + sum(len(one["candidates"]) for one in missing.values())

    def _steps(self, missing: Mapping[str, Any], steps: Path) -> Iterator[dict[str, Any]]:
        """What a process does, as it does it; the last step is ``ended`` where it died or hung."""
        plan = self.output / "plan.json"
        plan.write_text(json.dumps({"seed": secrets.randbelow(2**31), "cases": missing}), encoding="utf-8")
        steps.write_text("", encoding="utf-8")
        log = self.output / "logs" / "measuring.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "perfgate.tuning.worker", str(plan), str(steps)]
        with log.open("w", encoding="utf-8") as errors, steps.open(encoding="utf-8") as stream:
            process = workers.start(
                command, cwd=self.root, environment=triton_cache(self.output), stdout=errors, stderr=errors
            )
            try:
                yield from _lines(stream, process, silent_s=self.silent_s)
                if process.returncode:
                    yield {"step": "ended", "why": ended(process.returncode, log)}
            except TimeoutError:
                yield {"step": "ended", "why": f"took no step for {self.silent_s:g} s"}
            finally:
                workers.end(process)

    def _take(self, number: int, step: Mapping[str, Any], progress: Progress) -> None:
        """Take one step into the document."""
        if "case" not in step:
            return
        case = self.document["cases"][step["case"]]
        if step["step"] in {"checked", "failed"}:
            progress.step(f" ({step['case']})")
        if step["step"] == "failed":
            case["candidates"][step["id"]] |= {"failed": step["why"], "wrong": step["wrong"]}
        elif step["step"] == "case-failed":
            case["failed"] = step["why"]
        elif step["step"] == "timed":
            self._timed(number, step["case"], {"seconds": step["seconds"], "state": step["state"]})
            self.keep()

    def _timed(self, number: int, name: str, timed: dict[str, Any]) -> None:
        """Keep a case's times, or where the card was disturbed, say so; after some attempts that is its end."""
        case = self.document["cases"][name]
        if disturbed := _disturbance(name, timed):
            tries = self.attempts[number, name] = self.attempts.get((number, name), 0) + 1
            print(f"tune: {name}: not kept, {disturbed}", flush=True)
            if tries >= _ATTEMPTS:
                case["failed"] = disturbed
        elif not any(timed["seconds"].values()):
            case["failed"] = "no candidate gave a time"
        elif number:
            case["launches"].append(timed)
        else:
            case["screen"] = timed

    def _died(self, number: int, name: str, running: tuple[str, str], why: str) -> None:
        """A process ended by itself: whatever it was doing did that, and is not done again."""
        if not name:
            raise GateError(
                "no-samples",
                f"A measuring process ended before it began a case ({why}); its output is in {self.output / 'logs'}.",
            )
        case, (step, candidate) = self.document["cases"][name], running
        where = f"launch {number}" if number else "the first pass"
        if step == "checking":
            case["candidates"][candidate] |= {"failed": f"its process {_verb(why)} in {where}", "wrong": False}
            print(f"tune: {name}: {candidate} is out, its process {_verb(why)}", flush=True)
        elif name in self._missing(number):
            case["failed"] = f"its process {_verb(why)} in {where}"
            print(f"tune: {name}: not measured, its process {_verb(why)}", flush=True)


def _verb(why: str) -> str:
    return why if why.startswith("took no step") else f"died ({why})"


def _disturbance(name: str, timed: Mapping[str, Any]) -> str:
    """What disturbed a case's measurement, by the rule of the gate's own; empty where nothing did."""
    arms = {one: tuple(seconds) for one, seconds in timed["seconds"].items()}
    found = comparability.disturbance(Samples(case=name, launches=(Launch(arms=arms, state=timed["state"]),)))
    return found[1].replace(" in launch 1 of 1", "").replace(" of launch 1 of 1", "") if found else ""


def _lines(stream: Any, process: subprocess.Popen[bytes], *, silent_s: float) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a text file
    """Steps of a process as it writes them, to its end.

    Raises:
        TimeoutError: It took none for too long.
    """
    heard_s, text = time.monotonic(), ""
    while True:
        over = process.poll() is not None  # asked first: what it wrote before its end is read below
        text += stream.read()
        *whole, text = text.split("\n")
        for line in whole:
            heard_s = time.monotonic()
            yield json.loads(line)
        if over:
            return
        if time.monotonic() - heard_s > silent_s:
            raise TimeoutError
        if not whole:
            time.sleep(_POLL_S)
