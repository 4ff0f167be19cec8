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
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.measurement import pytest_runs
from perfgate.records import GateError, Recording, Verdict
from perfgate.report import progress
from perfgate.store.recording import merge, read_recording, write_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from perfgate.settings import Settings
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
    check_idle: Callable[[], None] | None = None
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


@dataclass(kw_only=True)
class _Run:
    """What has been measured so far."""

    settings: Settings
    output: Path
    plan: Plan
    started_s: float = field(default_factory=time.monotonic)
    files: list[Path] = field(default_factory=list)
    failed: dict[str, Verdict] = field(default_factory=dict)
    launches: int = 0
    tests_s: float = 0.0
    longest_s: float = 0.0
    out_of_time: bool = False

    def launch(self, number: int, cases: Collection[str], *, continued: bool) -> pytest_runs.TestRun:
        """Start the process of one launch; it waits to be let go."""
        path = self.output / f"launch-{number}.json"
        path.unlink(missing_ok=True)
        other = self.plan.other
        beside: tuple[str, ...] = ()
        if other:
            beside = (f"--perfgate-other={other.path}", "--perfgate-other-is", other.kind, other.name)
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
            timeout_s=self.settings.launch_timeout_s,
            wait=True,
            other_plugins=False,
        )

    def take(self, count: int, cases: Collection[str], *, continued: bool = False) -> None:
        """Make ``count`` launches of some cases (all where none is named), or fewer where time runs out."""
        expected = cases if continued else self.plan.expected
        numbers = iter(range(self.launches + 1, self.launches + count + 1))
        last = self.launches + count
        with contextlib.closing(self._started_ahead(numbers, cases, continued=continued)) as runs:
            for run in runs:
                began_s = time.monotonic()
                if self.launches and began_s + self.longest_s > self.plan.deadline_s:
                    self.out_of_time = True
                    run.end()
                    return
                with self._under_way(last, cases if continued else ()):
                    self._check_idle(run)
                    results = run.finish()
                self.launches += 1
                self.tests_s += results.tests_s
                self.longest_s = max(0.0 if continued else self.longest_s, time.monotonic() - began_s)
                for verdict in pytest_runs.verdicts(results, expected, on_purpose=bool(cases)):
                    self.failed.setdefault(verdict.case, verdict)
                if (path := self.output / f"launch-{self.launches}.json").is_file():
                    self.files.append(path)

    def _check_idle(self, run: pytest_runs.TestRun) -> None:
        """Ask whether the card is idle; where it is not, the process that waits for it is ended without a test."""
        try:
            if self.plan.check_idle:
                self.plan.check_idle()
        except BaseException:
            run.end()
            raise

    def _started_ahead(
        self, numbers: Iterator[int], cases: Collection[str], *, continued: bool
    ) -> Generator[pytest_runs.TestRun, None, None]:
        """Each launch's process, started while the one before it measures: importing takes seconds and no card."""
        number = next(numbers)
        ahead: pytest_runs.TestRun | None = self.launch(number, cases, continued=continued)
        try:
            while ahead:
                run, ahead = ahead, None
                if number := next(numbers, 0):
                    ahead = self.launch(number, cases, continued=continued)
                yield run
        finally:
            if ahead:
                ahead.end()

    def _under_way(self, last: int, cases: Collection[str]) -> AbstractContextManager[None]:
        """Says which launch runs, and how long it and those after it will take."""
        some = f" of the {len(cases)} undecided" if cases else ""
        left_s = (last - self.launches) * self.longest_s if self.launches else None
        text = f"perf: measuring{some}, launch {self.launches + 1} of {last}"
        return progress.on_standard_output(quiet=self.plan.quiet).running(text, left_s=left_s)

    def recording(self) -> Recording:
        """All launches as one recording, less the cases that failed in any of them."""
        read = (read_recording(path) for path in self.files)
        sound = [
            dataclasses.replace(
                one,
                samples={k: v for k, v in one.samples.items() if k not in self.failed},
                selected=tuple(case for case in one.selected if case not in self.failed),
            )
            for one in read
        ]
        joined = merge([one for one in sound if one.samples])
        return dataclasses.replace(
            joined,
            commit=commit(self.settings),
            recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
            run=self.plan.run,
        )


def measure(settings: Settings, output: Path, plan: Plan) -> Measured:
    """Measure in several processes; what was measured is kept in ``output/current.json``.

    Args:
        settings: The project's.
        output: Folder for the launches' files.
        plan: What to measure.

    Raises:
        GateError: A launch crashed, hung or was refused.
    """
    for stale in output.glob("launch-*.json"):
        stale.unlink()
    run = _Run(settings=settings, output=output, plan=plan)
    run.take(plan.launches, plan.cases)
    if len(run.files) < run.launches and not run.failed:
        raise GateError(
            "no-samples", f"{len(run.files)} of {run.launches} launches left samples, expected all; see {output}."
        )
    recording = run.recording() if len(run.files) == run.launches else None
    while recording and plan.undecided and not run.out_of_time and run.launches < plan.most_launches:
        undecided = tuple(plan.undecided(recording))
        if not undecided:
            break
        run.take(plan.most_launches - run.launches, undecided, continued=True)
        recording = run.recording()
    if plan.check_idle:
        plan.check_idle()
    written = keep(output / "current.json", recording) if recording else ""
    return Measured(
        recording=recording,
        sha256=written,
        failed=tuple(run.failed.values()),
        launches=run.launches,
        tests_s=run.tests_s,
        total_s=time.monotonic() - run.started_s,
        out_of_time=run.out_of_time,
    )


def keep(path: Path, recording: Recording) -> str:
    """Write a recording with what its times mean on its card; returns the SHA-256 of what was written."""
    numbers = recording_metrics(recording, card(recording.environment.get("gpu", "")))
    return write_recording(path, recording, metrics={case: found.to_json() for case, found in numbers.items()})


def commit(settings: Settings) -> str:
    """The commit of the working tree, with ``-dirty`` where the kernel under test is not that commit's; empty without git."""
    head = git.commit_of(settings.root, "HEAD")
    return f"{head}-dirty" if head and git.is_changed(settings.root, settings.kernel) else head
