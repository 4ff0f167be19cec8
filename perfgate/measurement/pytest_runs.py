"""Runs the tests, each stage in a process of its own, and reads what they said.

Owns how a pytest run is started and how its results file is read. A kernel that crashes or hangs takes down its
own process; what it leaves behind is said, and a case without a result never counts as passed.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate import workers
from perfgate.measurement.session import invalid
from perfgate.records import SCHEMA, GateError, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from perfgate.config import Settings

_POLL_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Results:
    """What one pytest run said of every test."""

    items: Mapping[str, Mapping[str, str]]
    """By node id: ``case``, ``outcome`` (passed, failed, invalid, skipped, not run), ``reason``, ``text``."""
    deselected: tuple[str, ...]
    seed: int
    tests_s: float = 0.0
    """Seconds from the first test to the last."""


@dataclass(kw_only=True)
class TestRun:
    """A pytest run in a process of its own that imports and collects, and begins its tests when it is told to."""

    name: str
    results: Path
    process: subprocess.Popen[bytes]
    go: int | None
    """Write end of the pipe that lets the tests begin; None when they have begun."""
    timeout_s: float
    """From then on."""

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.results.with_suffix(".log")

    def begin(self) -> None:
        """Let the tests begin."""
        if self.go is not None:
            with contextlib.suppress(BrokenPipeError):  # it ended before; `finish` says why
                os.write(self.go, b"go")
            self.abandon()

    def collected(self) -> frozenset[str]:
        """The cases whose tests are about to run, as soon as the first of them begins; none where it never does."""
        self.begin()
        while self.process.poll() is None and not self.results.is_file():
            time.sleep(_POLL_S)
        if not self.results.is_file():
            return frozenset()
        document = json.loads(self.results.read_text(encoding="utf-8"))
        return frozenset(item["case"] for item in document["items"].values())

    def abandon(self) -> None:
        """Close the pipe: a process that still waits ends without a test."""
        if self.go is not None:
            os.close(self.go)
            self.go = None

    def end(self) -> None:
        """End the process, whatever it does, and all that it started."""
        self.abandon()
        workers.end(self.process)

    def finish(self) -> Results:
        """Wait for the end and return what every test said.

        Raises:
            GateError: The run left no results: refused options, a crash, or the time limit.
        """
        self.begin()
        try:
            code: int | None = self.process.wait(self.timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            self.end()
        if refused := _refusal(self.log):
            raise GateError("refused", refused)
        late = f"did not end within {self.timeout_s} s (launch_timeout_s in [tool.perfgate])"
        ended = late if code is None else _why(self.log, code)
        if not self.results.is_file():
            raise GateError("no-results", f"{self.name} left no results ({ended}); its output is in {self.log}.")
        fate = f"was ended while it ran, as it {late}" if code is None else f"died while it ran ({ended})"
        return _read(self.results, fate=fate)


def start_tests(  # noqa: PLR0913 - each is one independent choice, all by name
    settings: Settings,
    test_file: str,
    results_path: Path,
    *,
    cases: Collection[str] = (),
    pytest_args: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    other_plugins: bool = True,
) -> TestRun:
    """Start one test file in a process of its own; it begins no test before `TestRun.begin`.

    Args:
        settings: The project's.
        test_file: In the folder of tests.
        results_path: Where the process writes what every test said; its output goes beside it.
        cases: Selected cases; empty means all.
        pytest_args: More of pytest's options.
        environment: Added to what a worker gets of this process's own (see `workers`).
        other_plugins: Load the plugins that happen to be installed, as pytest does. Some cost seconds.
    """
    results_path.parent.mkdir(parents=True, exist_ok=True)
    results_path.unlink(missing_ok=True)
    added = {**(environment or {}), **({} if other_plugins else {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})}
    waiting, go = os.pipe()
    command = [
        *(sys.executable, "-m", "pytest", f"{settings.tests}/{test_file}", "-q", "--no-header", "--tb=short"),
        *("-p", "no:cacheprovider", "-W", "default"),
        *(() if other_plugins else ("-p", "benchmark")),
        f"--perfgate-results={results_path}",
        *(f"--perfgate-case={case}" for case in cases),
        *pytest_args,
        f"--perfgate-wait={waiting}",
    ]
    with results_path.with_suffix(".log").open("w", encoding="utf-8") as stream:
        process = workers.start(
            command,
            cwd=settings.root,
            environment=workers.environment(**added),
            stdout=stream,
            stderr=subprocess.STDOUT,
            pass_fds=(waiting,),
        )
    os.close(waiting)
    timeout_s = settings.launch_timeout_s
    return TestRun(name=test_file, results=results_path, process=process, go=go, timeout_s=timeout_s)


def _lines(log: Path) -> list[str]:
    text = log.read_text(encoding="utf-8", errors="replace")
    return [line.strip(" !") for line in text.splitlines() if line.strip(" !")]


def _refusal(log: Path) -> str:
    """The plugin's own sentence where it refused to run; empty where it did not."""
    return next((line.partition("perfgate: ")[2] for line in _lines(log) if line.startswith("Exit: perfgate: ")), "")


def _why(log: Path, code: int) -> str:
    """The line of a run's output that says why it ended."""
    if code < 0:
        return f"killed by signal {-code}"
    lines = _lines(log)
    errors = [line.rpartition("error: ")[2] for line in lines if "error: " in line or line.startswith("E  ")]
    return (errors or lines[-1:] or ["no output"])[0]


def _read(path: Path, *, fate: str) -> Results:
    """Read what a run left; a test that was running when its process died took it down."""
    document = json.loads(path.read_text(encoding="utf-8"))
    if document.get("schema") != SCHEMA:
        raise GateError("bad-results", f"{path} has schema {document.get('schema')!r}, expected {SCHEMA}; run again.")
    if document["collect_errors"]:
        raise GateError("not-collected", f"The tests could not be collected: {document['collect_errors'][0]}.")
    for item in document["items"].values():
        if item["outcome"] == "running":
            item.update(outcome="failed", text=f"{item['case']}: its process {fate}.")
    return Results(
        items=document["items"],
        deselected=tuple(document["deselected"]),
        seed=document["seed"],
        tests_s=document.get("tests_s", 0.0),
    )


def verdicts(results: Results, expected: Collection[str], *, on_purpose: bool) -> tuple[Verdict, ...]:
    """Verdicts of the cases that did not simply pass; a case of ``expected`` that has no test is one of them.

    Args:
        results: What the tests said.
        expected: Ids of the cases that have to have run.
        on_purpose: The user chose among the tests, so deselected ones are no fault.
    """
    found: dict[str, Verdict] = {}
    for node, item in results.items.items():
        case = item["case"] or node
        verdict = _verdict(case, item)
        if verdict and (case not in found or verdict.exit_code < found[case].exit_code):
            found[case] = verdict
    if results.deselected and not on_purpose:
        found["*"] = invalid(
            "*",
            "deselected",
            f"{len(results.deselected)} tests were deselected, first {results.deselected[0]}, though this run did not ask "
            "for a selection; look at PYTEST_ADDOPTS and the conftest files.",
        )
    seen = {item["case"] for item in results.items.values()}
    for case in sorted(set(expected) - seen):
        missing = "expected at least one; see that it is collected (pytest --collect-only perf_tests)"
        found[case] = invalid(case, "not-run", f"{case}: no test ran for it, {missing}.")
    if not results.items:
        found["*"] = invalid("*", "zero-cases", "No test ran at all, expected at least one; widen the selection.")
    return tuple(found.values())


def _verdict(case: str, item: Mapping[str, str]) -> Verdict | None:
    outcome, text = item["outcome"], item["text"].rstrip(".")
    if outcome == "passed":
        return None
    if outcome == "failed":
        said = text if case in text else f"{case}: {text}"
        mend = f"a wrong kernel gets no speed number, mend it first (nox -s perf -- --case {case})"
        return invalid(case, "wrong-result", f"{said}; {mend}.", wrong=True)
    if outcome == "invalid":
        return invalid(case, item["reason"], item["text"])
    why = f"{outcome}{f' ({text})' if text else ''}"
    expected = "expected a result; a skipped case is never a pass"
    reason = "skipped" if outcome == "skipped" else "not-run"
    return invalid(case, reason, f"{case}: its test was {why}, {expected}.")
