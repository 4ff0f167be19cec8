"""Launches: one measurement is several worker processes, each a pytest run of its own that times every case.

Owns how many run and for which cases, what is done with one that fails, and what is said meanwhile. Judges nothing: which
cases need more launches it is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfgate import progress
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.measurement import pytest_runs
from perfgate.measurement.session import current_commit, now
from perfgate.records import GateError, Recording, Verdict
from perfgate.store.recording import merge, read_recording, write_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.store.reference import Side


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be measured."""

    expected: Collection[str]
    """Ids of the cases that have to have run."""
    launches: int
    """Processes before the first look."""
    cases: Sequence[str] = ()
    """Selected cases; empty means all."""
    other: Side | None = None
    """Measured beside the kernel in every launch."""
    undecided: Callable[[Recording], Collection[str]] | None = None
    """Says which cases need more launches; None asks for none."""
    check_idle: Callable[[], None] = lambda: None
    """Called before each launch and after the last, when nothing of ours runs; raises where the card is not idle."""
    most_launches: int = 0
    """Processes in all, for cases that stay undecided."""
    deadline_s: float = math.inf
    """On the monotonic clock; a launch that would end later is not begun, but the first always is."""
    pytest_args: Sequence[str] = ()
    quiet: bool = False
    """Say nothing of what is under way."""
    run: Mapping[str, str] = field(default_factory=dict)
    """Which run this is, for the record."""


@dataclass(kw_only=True)
class Measured:
    """What came of it."""

    recording: Recording | None = None
    """None where nothing could be measured; kept in ``current.json`` otherwise."""
    sha256: str = ""
    """Of that file as it was written."""
    failed: tuple[Verdict, ...] = ()
    """Cases that gave no times."""
    launches: int = 0
    tests_s: float = 0.0
    """Seconds in which cases were set up, checked and timed."""
    total_s: float = 0.0
    """Seconds in all; the rest is processes starting and ending."""
    out_of_time: bool = False
    """The deadline kept launches from being made."""


def started_ahead(
    start: Callable[[int], pytest_runs.TestRun], numbers: Iterable[int]
) -> Generator[pytest_runs.TestRun, None, None]:
    """Each launch's process, started while the one before it measures: importing takes seconds and no card.

    Args:
        start: Starts the process of a number; it waits to be let go.
        numbers: Of the launches.
    """
    ahead: pytest_runs.TestRun | None = None
    try:
        for number in numbers:
            run, ahead = ahead, start(number)
            if run:
                yield run
        if ahead:
            run, ahead = ahead, None
            yield run
    finally:
        if ahead:
            ahead.end()


@dataclass(kw_only=True)
class _Run:
    """A measurement under way."""

    settings: Settings
    output: Path
    plan: Plan
    found: Measured = field(default_factory=Measured)
    files: list[Path] = field(default_factory=list)
    longest_s: float = 0.0

    def start(self, number: int, cases: Collection[str], *, continued: bool) -> pytest_runs.TestRun:
        """Start the process of one launch; it waits to be let go."""
        path = self.output / f"launch-{number}.json"
        path.unlink(missing_ok=True)
        other = self.plan.other
        beside = (f"--perfgate-other={other.path}", "--perfgate-other-is", other.kind, other.name) if other else ()
        return pytest_runs.start_tests(
            self.settings,
            "test_throughput.py",
            self.output / f"launch-{number}.results.json",
            cases=cases,
            pytest_args=(
                f"--benchmark-json={path}",
                *beside,
                *(["--perfgate-continued"] if continued else []),
                *self.plan.pytest_args,
            ),
            other_plugins=False,
        )

    def take(self, count: int, cases: Collection[str], *, continued: bool = False) -> None:
        """Make ``count`` launches of some cases (all where none is named), or fewer where time runs out."""
        found, last = self.found, self.found.launches + count
        numbers = range(found.launches + 1, last + 1)
        runs = started_ahead(lambda number: self.start(number, cases, continued=continued), numbers)
        with contextlib.closing(runs):
            for run in runs:
                began_s = time.monotonic()
                if found.launches and began_s + self.longest_s > self.plan.deadline_s:
                    found.out_of_time = True
                    run.end()
                    return
                with self._under_way(last, cases if continued else ()):
                    results = self._finished(run)
                found.launches += 1
                found.tests_s += results.tests_s
                self.longest_s = max(0.0 if continued else self.longest_s, time.monotonic() - began_s)
                expected = cases if continued else self.plan.expected
                known = {verdict.case for verdict in found.failed}
                verdicts = pytest_runs.verdicts(results, expected, on_purpose=bool(cases))
                found.failed += tuple(verdict for verdict in verdicts if verdict.case not in known)
                if (path := self.output / f"launch-{found.launches}.json").is_file():
                    self.files.append(path)

    def _finished(self, run: pytest_runs.TestRun) -> pytest_runs.Results:
        """Let it go; where the card is not idle, the process that waits for it is ended without a test."""
        try:
            self.plan.check_idle()
            return run.finish()
        finally:
            run.end()

    def _under_way(self, last: int, cases: Collection[str]) -> AbstractContextManager[None]:
        """Says which launch runs, and how long it and those after it will take."""
        done = self.found.launches
        some = f" of the {len(cases)} undecided" if cases else ""
        left_s = (last - done) * self.longest_s if done else None
        text = f"perf: measuring{some}, launch {done + 1} of {last}"
        return progress.on_standard_output(quiet=self.plan.quiet).running(text, left_s=left_s)

    def recording(self) -> Recording:
        """All launches as one recording, less the cases that failed in any of them."""
        failed = {verdict.case for verdict in self.found.failed}
        sound = [
            dataclasses.replace(
                one,
                samples={case: samples for case, samples in one.samples.items() if case not in failed},
                selected=tuple(case for case in one.selected if case not in failed),
            )
            for one in map(read_recording, self.files)
        ]
        joined = merge([one for one in sound if one.samples])
        return dataclasses.replace(joined, commit=current_commit(self.settings), recorded_at=now(), run=self.plan.run)


def measure(settings: Settings, output: Path, plan: Plan) -> Measured:
    """Measure in several processes; what was measured is kept in ``output/current.json``.

    Args:
        settings: The project's.
        output: Folder for the launches' files.
        plan: What to measure.

    Raises:
        GateError: A launch crashed, hung or was refused.
    """
    began_s = time.monotonic()
    for stale in output.glob("launch-*.json"):
        stale.unlink()
    run = _Run(settings=settings, output=output, plan=plan)
    found = run.found
    run.take(plan.launches, plan.cases)
    if len(run.files) < found.launches and not found.failed:
        raise GateError(
            "no-samples", f"{len(run.files)} of {found.launches} launches left samples, expected all; see {output}."
        )
    found.recording = run.recording() if len(run.files) == found.launches else None
    while found.recording and plan.undecided and not found.out_of_time and found.launches < plan.most_launches:
        undecided = tuple(plan.undecided(found.recording))
        if not undecided:
            break
        run.take(plan.most_launches - found.launches, undecided, continued=True)
        found.recording = run.recording()
    plan.check_idle()
    if found.recording:
        found.sha256 = keep(output / "current.json", found.recording)
    found.total_s = time.monotonic() - began_s
    return found


def keep(path: Path, recording: Recording) -> str:
    """Write a recording with what its times mean on its card; returns the SHA-256 of what was written."""
    numbers = recording_metrics(recording, card(recording.environment.get("gpu", "")))
    return write_recording(path, recording, metrics={case: found.to_json() for case, found in numbers.items()})
