"""The main job: check, compile, measure, judge; one summary that says what was judged and what could not be.

Owns the order of the stages and what a failure of one means for the next. Decides no verdict itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import console, workers
from perfgate.codegen import build, rules
from perfgate.files import write_whole
from perfgate.gate.throughput import throughput
from perfgate.measurement import gpu_lock, pytest_runs
from perfgate.measurement import session as sessions
from perfgate.measurement.session import NOTHING_CHOSEN, Request, Session, broken, invalid
from perfgate.project import output_folder
from perfgate.records import GateError, exit_code
from perfgate.report import page
from perfgate.report import text as report_text
from perfgate.report.verdicts import junit
from perfgate.store import evidence, reference
from perfgate.store.compiled import read_compiled
from perfgate.store.evidence import RUN_FILE, SAMPLES_FILE
from perfgate.store.locate import compiled_name, find
from perfgate.store.run import RunRecord, StageResult, run_to_json

if TYPE_CHECKING:
    from perfgate.config import Settings

JUNIT_FILE = "junit.xml"


def run(settings: Settings, request: Request) -> int:
    """Run every stage that this machine can do, print one summary, return the exit code."""
    began_s = time.monotonic()
    workers.keep_private()
    told = sessions.of_run(settings)  # before anything of the suite runs, which could touch the kernels
    for name in (
        RUN_FILE,
        SAMPLES_FILE,
        JUNIT_FILE,
        page.PAGE,
    ):  # of an earlier run, which must not be taken for this one's
        (output_folder(settings) / name).unlink(missing_ok=True)
    with ThreadPoolExecutor(max_workers=1) as beside:
        try:
            looking = beside.submit(sessions.look_at_machine, settings)
            checks = start_checks(settings, request)  # imports torch meanwhile
            try:
                session = sessions.open_session(settings, request, environment=looking.result())
                return _run(dataclasses.replace(session, run=told), checks, began_s=began_s)
            finally:
                checks.abandon()
        finally:
            workers.end_all()  # or the look at the machine would be waited for


def _run(session: Session, checks: pytest_runs.TestRun, *, began_s: float) -> int:
    settings, request = session.settings, session.request
    if request.against is not None:  # a wrong name is refused here too, where there is no card to compare on
        reference.named(settings, request.against, session.output)
    gpu, why = session.environment["gpu"], session.environment["why"]
    if gpu:
        _say(session, f"perf: on {gpu}, driver {session.environment['driver']}, {_versions(session)}.")
    else:
        _say(session, f"perf: throughput is NOT measured here: no CUDA card ({why}).")
        judged = f"results by Triton's interpreter, machine code for {settings.target}"
        _say(session, f"perf: judged here: {judged}; {_versions(session)}.")
    if not gpu and request.require_gpu:
        given = f"--require-gpu was given and there is no CUDA card ({why})"
        verdict = invalid("*", "no-card", f"{given}, expected one; run on a machine with a card.")
        stage = StageResult(name="throughput", left_out="no CUDA card", verdicts=(verdict,))
        return _finish(session, [stage], began_s=began_s)
    # A card is measured by one run at a time; the lock is held while results are checked as well, which loads it too.
    with gpu_lock.hold(session.environment["uuid"]) if gpu else contextlib.nullcontext():
        done = _stages(session, checks)
    return _finish(session, done, began_s=began_s)


def _stages(session: Session, checks: pytest_runs.TestRun) -> list[StageResult]:
    """Check and compile at the same time, as one needs the card and the other does not; then measure by itself."""
    request = session.request
    to_build = {case for case in session.timed if not request.cases or case in request.cases}
    if request.choosing:  # which cases these are, only pytest knows
        to_build &= checks.collected()
    with ThreadPoolExecutor(max_workers=1) as beside:
        try:
            building_it = beside.submit(compiled, session, tuple(case for case in session.timed if case in to_build))
            checked, chosen = correctness(session, checks)
            built = building_it.result()
        except BaseException:
            workers.end_all()  # or what compiles would be waited for
            raise
    timed = tuple(case for case in session.timed if case in chosen)
    wrong = any(verdict.wrong for stage in (checked, built) for verdict in stage.verdicts)
    return [checked, built, throughput(session, timed, wrong=wrong)]


def _versions(session: Session) -> str:
    return f"torch {session.environment['torch']}, Triton {session.environment['triton']}"


def start_checks(settings: Settings, request: Request) -> pytest_runs.TestRun:
    """Start the process that checks results; it imports what it needs and waits to be let go."""
    return pytest_runs.start_tests(
        settings,
        "test_correctness.py",
        output_folder(settings) / "correctness.json",
        cases=request.cases,
        pytest_args=(*request.choosing, *request.pytest_args),
    )


def correctness(session: Session, checks: pytest_runs.TestRun) -> tuple[StageResult, tuple[str, ...]]:
    """Check every case's result, on the card or through the interpreter; also returns the cases that were chosen."""
    request = session.request
    where = "on the card, full size" if session.environment["gpu"] else "Triton's interpreter, small shapes"
    _say(session, f"perf: checking results ({where}) …")
    stage = StageResult(name="correctness")
    began_s = time.monotonic()
    named = tuple(case for case in session.checked if not request.cases or case in request.cases)
    try:
        results = checks.finish()
    except GateError as error:
        stage.verdicts = (broken(error),)
        return stage, ()
    seen = {item["case"] for item in results.items.values()}
    chosen = tuple(case for case in named if case in seen) if request.choosing else named
    stage.verdicts = pytest_runs.verdicts(results, chosen, on_purpose=session.partial)
    right = seen - {verdict.case for verdict in stage.verdicts}
    stage.passed = tuple(case for case in chosen if case in right)
    stage.spent = f"{time.monotonic() - began_s:.0f} s"
    stage.done = f"{len(right)} cases right ({where}; seed {results.seed})"
    return stage, chosen


def compiled(session: Session, chosen: tuple[str, ...]) -> StageResult:
    """The machine code for the target, against the stored facts."""
    settings, stage = session.settings, StageResult(name="compiled")
    if not chosen:
        stage.left_out = NOTHING_CHOSEN
        return stage
    _say(session, f"perf: compiling {len(chosen)} cases for {settings.target} …")
    began_s = time.monotonic()
    try:
        built = build.build_apart(settings, session.output / "compiled.json", chosen, cached=session.request.cached)
        name = compiled_name(settings, built.versions["triton"])
        stored = find(settings, name, base=session.request.base, scratch=session.output)
        stage.note = stored.note
        baseline = read_compiled(stored.path)
    except GateError as error:
        stage.verdicts = (broken(error),)
        return stage
    stage.verdicts = rules.judge(
        settings,
        built.cases,
        baseline,
        versions=built.versions,
        selected=chosen if session.partial else None,
    )
    stage.spent = f"{time.monotonic() - began_s:.0f} s ({built.said})"
    stage.done = f"{len(stage.verdicts)} cases for {settings.target}"
    return stage


def _finish(session: Session, done: list[StageResult], *, began_s: float) -> int:
    workers.end_all()  # before anything is kept: what a kernel left running could write it again
    verdicts = tuple(verdict for stage in done for verdict in stage.verdicts)
    code = exit_code(verdicts) if verdicts or not any(stage.done for stage in done) else 0
    told = {**session.run, "ended_at": sessions.now()}
    run = RunRecord(environment=session.environment, exit=code, partial=session.partial, stages=tuple(done), run=told)
    kept = _keep(session, run, next((stage.sha256 for stage in done if stage.sha256), ""))
    timed = next((stage for stage in done if stage.recording), None)
    _say(session, page.leave(session, run, timed))  # before the summary, whose last line ends the run
    look = console.look(sys.stdout, os.environ)
    total_s, quiet = time.monotonic() - began_s, session.request.quiet
    print(report_text.summary(done, partial=session.partial, code=code, total_s=total_s, quiet=quiet, look=look))
    _leave_digest(kept)
    return code


def _say(session: Session, text: str) -> None:
    """What is being done, unless only what needs attention is wanted."""
    if not session.request.quiet:
        lines = console.look(sys.stdout, os.environ).folded(text)
        print("".join(f"{line}\n" for line in lines), end="", flush=True)  # in one piece, as two stages speak at a time


def _keep(session: Session, run: RunRecord, samples: str) -> dict[str, str]:
    """The whole run as files, for whoever was not there; returns the SHA-256 of those that judge, as they were written."""
    text = json.dumps(run_to_json(run), indent=1) + "\n"
    write_whole(session.output / RUN_FILE, text)
    write_whole(session.output / JUNIT_FILE, junit(run))
    return {RUN_FILE: evidence.sha256(text.encode())} | ({SAMPLES_FILE: samples} if samples else {})


def _leave_digest(hashes: dict[str, str]) -> None:
    """Set the step's output, where this is a step of GitHub's: the digest of what was written, by file."""
    if path := os.environ.get("GITHUB_OUTPUT"):
        with Path(path).open("a", encoding="utf-8") as stream:
            stream.write(f"{evidence.OUTPUT}={evidence.digest(hashes)}\n")
