"""The main job: check, compile, measure, judge; one summary that says what was judged and what could not be.

Owns the order of the stages and what a failure of one means for the next. Decides no verdict itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate import building, report, stages
from perfgate.baselines import read_recording
from perfgate.cards import slug
from perfgate.compiled_baseline import read_compiled
from perfgate.compiled_verdict import judge_compiled
from perfgate.limits import read_limits
from perfgate.measuring import measure
from perfgate.records import GateError, Recording, Status, Verdict, exit_code
from perfgate.settings import load_suite
from perfgate.stored import compiled_name, find
from perfgate.verdict import judge

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.settings import Settings

_NOTHING_CHOSEN = "no case that is compiled and timed was chosen, or none could be checked before"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for."""

    cases: tuple[str, ...] = ()
    """Chosen by id; empty means all."""
    choosing: tuple[str, ...] = ()
    """Pytest's own ``-k`` and ``-m`` with their values, for choosing cases by name or marker."""
    launches: int
    require_gpu: bool = False
    base: str | None = None
    """Git ref whose baselines judge; None takes those of the working tree."""
    pytest_args: tuple[str, ...] = ()


@dataclass(kw_only=True)
class Stage:
    """One part of the summary."""

    name: str
    done: str = ""
    """What was judged, in a few words."""
    left_out: str = ""
    """Why it could not be, where it could not."""
    verdicts: tuple[Verdict, ...] = ()
    note: str = ""
    """What the reader has to know of the baseline that judged."""
    recording: Recording | None = None


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the stages share."""

    settings: Settings
    request: Request
    environment: dict[str, str]
    output: Path
    checked: tuple[str, ...]
    """Ids of all cases whose result is checked."""
    timed: tuple[str, ...]
    """Ids of those that are compiled and timed as well."""

    @property
    def partial(self) -> bool:
        """Whether the user selected cases, so that the rest is left out on purpose."""
        return bool(self.request.cases or self.request.choosing)


def look_at_machine(settings: Settings) -> dict[str, str]:
    """The environment of this machine, asked in a process of its own (see ``machine``)."""
    done = subprocess.run(
        [sys.executable, "-m", "perfgate.machine"], cwd=settings.root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise GateError(
            "no-environment", f"The machine could not be looked at: {line}; install the gate's packages (nox -s perf)."
        )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def open_session(settings: Settings, request: Request) -> Session:
    """Look at the machine and the suite; refuse cases that do not exist."""
    suite = load_suite(settings)
    checked = tuple(case.id for case in suite.CHECKED)
    for case in request.cases:
        if case not in checked:
            raise GateError("unknown-case", f"There is no case {case!r}; known are {', '.join(checked)}.")
    output = settings.root / ".perfgate"
    output.mkdir(exist_ok=True)
    return Session(
        settings=settings,
        request=request,
        environment=look_at_machine(settings),
        output=output,
        checked=checked,
        timed=tuple(case.id for case in suite.CASES),
    )


def run(settings: Settings, request: Request) -> int:
    """Run every stage that this machine can do, print one summary, return the exit code."""
    session = open_session(settings, request)
    gpu, why = session.environment["gpu"], session.environment["why"]
    if gpu:
        print(f"perf: on {gpu}, driver {session.environment['driver']}, {_versions(session)}.")
    else:
        print(f"perf: throughput is NOT measured here: no CUDA card ({why}).")
        print(
            f"perf: judged here: results by Triton's interpreter, machine code for {settings.target}; {_versions(session)}."
        )
    if not gpu and request.require_gpu:
        verdict = Verdict(
            case="*",
            status=Status.INVALID,
            reason="no-card",
            text=f"--require-gpu was given and there is no CUDA card ({why}), expected one; run on a machine with a card.",
        )
        return _finish(session, [Stage(name="throughput", left_out="no CUDA card", verdicts=(verdict,))])
    checked, chosen = correctness(session)
    timed = tuple(case for case in session.timed if case in chosen)
    done = [checked, compiled(session, timed)]
    wrong = any(verdict.wrong for stage in done for verdict in stage.verdicts)
    done.append(throughput(session, timed, wrong=wrong))
    return _finish(session, done)


def _versions(session: Session) -> str:
    return f"torch {session.environment['torch']}, Triton {session.environment['triton']}"


def correctness(session: Session) -> tuple[Stage, tuple[str, ...]]:
    """Check every case's result, on the card or through the interpreter; also returns the cases that were chosen."""
    request = session.request
    where = "on the card, full size" if session.environment["gpu"] else "Triton's interpreter, small shapes"
    print(f"perf: checking results ({where}) …", flush=True)
    stage = Stage(name="correctness")
    named = tuple(case for case in session.checked if not request.cases or case in request.cases)
    try:
        results = stages.run_tests(
            session.settings,
            "test_correctness.py",
            session.output / "correctness.json",
            cases=request.cases,
            pytest_args=(*request.choosing, *request.pytest_args),
            timeout_s=session.settings.launch_timeout_s,
        )
    except GateError as error:
        stage.verdicts = (_broken(error),)
        return stage, ()
    seen = {item["case"] for item in results.items.values()}
    chosen = tuple(case for case in named if case in seen) if request.choosing else named
    stage.verdicts = stages.verdicts(results, chosen, on_purpose=session.partial)
    right = seen - {verdict.case for verdict in stage.verdicts}
    stage.done = f"{len(right)} cases right ({where}; seed {results.seed})"
    return stage, chosen


def compiled(session: Session, chosen: tuple[str, ...]) -> Stage:
    """The machine code for the target, against the stored facts."""
    settings, stage = session.settings, Stage(name="compiled")
    if not chosen:
        stage.left_out = _NOTHING_CHOSEN
        return stage
    print(f"perf: compiling {len(chosen)} cases for {settings.target} …", flush=True)
    try:
        built = building.build_apart(settings, session.output / "compiled.json", chosen)
        name = compiled_name(settings, built.versions["triton"])
        stored = find(settings, name, base=session.request.base, scratch=session.output)
        stage.note = stored.note
        baseline = read_compiled(stored.path)
    except GateError as error:
        stage.verdicts = (_broken(error),)
        return stage
    stage.verdicts = judge_compiled(
        built.cases,
        baseline,
        versions=built.versions,
        target=settings.target,
        selected=chosen if session.partial else None,
    )
    stage.done = f"{len(stage.verdicts)} cases for {settings.target}"
    return stage


def throughput(session: Session, chosen: tuple[str, ...], *, wrong: bool) -> Stage:
    """Times on the card present, against its stored baseline."""
    settings, stage = session.settings, Stage(name="throughput")
    if not session.environment["gpu"]:
        stage.left_out = "no CUDA card"
    elif wrong:
        stage.left_out = "a wrong kernel gets no speed number"
    elif not chosen:
        stage.left_out = _NOTHING_CHOSEN
    if stage.left_out:
        return stage
    try:
        # Before the measurement: a file that cannot be read is no reason to wait for minutes.
        stored = find(settings, baseline_name(session), base=session.request.base, scratch=session.output)
        stage.note = stored.note
        baseline = read_recording(stored.path) if stored.path.is_file() else None
        stage.recording, failed = measure(
            settings,
            session.output,
            expected=chosen,
            cases=chosen if session.partial else (),
            pytest_args=session.request.pytest_args,
            launches=session.request.launches,
        )
        stage.verdicts = failed
        if stage.recording is None:
            return stage
        measured = f"{len(stage.recording.samples)} cases in {session.request.launches} launches"
        if baseline is None:
            stage.left_out = f"{measured}, but there is nothing to compare with"
            stage.verdicts += tuple(_no_baseline(session, case, stored.name) for case in stage.recording.samples)
            return stage
        stage.done = f"{measured} against {stored.name}"
        without = {verdict.case for verdict in failed}
        stage.verdicts += judge(
            baseline,
            stage.recording,
            read_limits(settings.root),
            selected=[case for case in chosen if case not in without] if session.partial or failed else None,
        )
    except GateError as error:
        stage.verdicts = (_broken(error),)
    return stage


def baseline_name(session: Session) -> str:
    """Path of the baseline of the card present, below the baselines folder."""
    return f"{slug(session.environment['gpu'], session.environment['code_path'])}/matmul.json"


def _no_baseline(session: Session, case: str, where: str) -> Verdict:
    gpu = session.environment["gpu"]
    return Verdict(
        case=case,
        status=Status.INVALID,
        reason="no-baseline",
        text=f"{case}: was measured, but {gpu} has no throughput baseline, expected {where}; record one from code you "
        'trust: nox -s update-baselines -- --only throughput --reason "first baseline of this card".',
    )


def _broken(error: GateError) -> Verdict:
    return Verdict(case="*", status=Status.INVALID, reason=error.reason, text=error.text)


def _finish(session: Session, done: list[Stage]) -> int:
    verdicts = tuple(verdict for stage in done for verdict in stage.verdicts)
    code = exit_code(verdicts) if verdicts or not any(stage.done for stage in done) else 0
    print(report.summary(done, partial=session.partial, code=code))
    return code
