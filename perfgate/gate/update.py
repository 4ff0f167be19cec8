"""Stores new baselines: on purpose, with a reason, and only from a right kernel on a quiet card.

Owns the refusals. What was stored before is shown beside what is stored now.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from perfgate import workers
from perfgate.codegen import build, rules
from perfgate.compare import comparability, drift
from perfgate.compare.drift import alone
from perfgate.compare.judge import old_against_new
from perfgate.config import read_limits
from perfgate.gate import pipeline
from perfgate.hardware.gpus import slug
from perfgate.measurement import gpu_lock, processes
from perfgate.measurement.session import Request, baseline_name, check_idle, current_commit, now, open_session
from perfgate.project import output_folder
from perfgate.records import GateError, Recording, Status, Verdict
from perfgate.report import text as report_text
from perfgate.store import reference
from perfgate.store.compiled import CompiledBaseline, read_compiled, write_compiled
from perfgate.store.locate import compiled_name
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.measurement.session import Session
    from perfgate.store.run import StageResult

_Baseline = TypeVar("_Baseline")


@dataclass(frozen=True, kw_only=True)
class Update:
    """What the user asked for."""

    reason: str
    """Why the numbers change; kept in the files."""
    only: str | None = None
    """``compiled`` or ``throughput``, to leave the other alone."""
    require_gpu: bool = False
    """Refuse to store the machine code alone where there is no card to time it on."""
    launches: int
    """Worker processes of the measurement."""
    commit: str = ""
    """What the files are, where git cannot be asked; empty asks git."""
    new_anchor: bool = False
    """Count drift from this baseline on, for every case."""
    beside: bool = False
    """Store the machine code of another Triton than the pinned one beside the main file, not over it."""
    dry_run: bool = False
    """Write into a copy of the baselines (`copied`) and leave them as they are."""
    cached: bool = True
    """Take facts of compiled cases from the cache, where they are of the same files by the same tools."""


def copied(settings: Settings) -> Path:
    """Where a dry run writes: the baselines as they are, with the new ones in their places."""
    return output_folder(settings) / "proposed"


def run(settings: Settings, request: Update) -> str:
    """Check, compile, measure, show old against new, write every baseline that this machine can record.

    Returns:
        The slug of the card whose times were recorded; empty where none were.

    Raises:
        GateError: What was refused and why; nothing has been written then.
    """
    if not request.reason.strip():
        expected = 'one sentence on why the numbers change: nox -s update-baselines -- --reason "…"'
        raise GateError("no-reason", f"No reason was given, expected {expected}.")
    asked = Request(launches=request.launches)
    session = open_session(settings, asked)
    gpu, why = session.environment["gpu"], session.environment["why"]
    if not gpu and (request.require_gpu or request.only == "throughput"):
        raise GateError(
            "no-card",
            f"There is no CUDA card ({why}), expected one: throughput baselines are measured on it; see nox -s doctor.",
        )
    with gpu_lock.hold(session.environment["uuid"]) if gpu else contextlib.nullcontext():
        _refuse(pipeline.correctness(session, pipeline.start_checks(settings, asked))[0])
        compiled = _compile(session, request) if request.only != "throughput" else None
        measured = _measure(session, request) if gpu and request.only != "compiled" else None
    workers.end_all()
    # Everything has been found good, and nothing of the kernel runs any more: only now is anything written.
    stored = settings.root / settings.baselines
    into = copied(settings) if request.dry_run else stored
    if request.dry_run:
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(stored, into)
    if compiled:
        path = into / compiled_name(settings, compiled.versions["triton"], beside=request.beside)
        write_compiled(path, compiled)
        print(f"update-baselines: wrote {path.relative_to(settings.root)}")
    if measured:
        for name, recording in zip(("matmul.json", "anchor.json"), measured, strict=True):
            path = into / baseline_name(session, name)
            processes.keep(path, recording)
            print(f"update-baselines: wrote {path.relative_to(settings.root)}")
    elif request.only is None:
        print(f"update-baselines: no throughput baseline was recorded: no CUDA card ({why}).")
    if not request.dry_run:
        print(
            "update-baselines: look at the difference (git diff baselines), then commit it by itself, with the reason."
        )
    return slug(gpu, session.environment["code_path"]) if measured else ""


def _refuse(stage: StageResult) -> None:
    bad = [verdict for verdict in stage.verdicts if verdict.exit_code]
    if bad:
        raise GateError(bad[0].reason, f"No baseline was written. {bad[0].text}")


def _compile(session: Session, request: Update) -> CompiledBaseline:
    """Facts of every case; a kernel that could not run is refused, a slower one is shown."""
    settings = session.settings
    print(f"perf: compiling for {settings.target} …", flush=True)
    built = build.build_apart(settings, session.output / "compiled.json", cached=request.cached)
    print(f"update-baselines: machine code for {settings.target}: {built.said}")
    name = compiled_name(settings, built.versions["triton"], beside=request.beside)
    stored = _readable(read_compiled, settings.root / settings.baselines / name)
    found = rules.judge(settings, built.cases, stored, versions=built.versions)
    if wrong := [verdict for verdict in found if verdict.wrong]:
        raise GateError(wrong[0].reason, f"No baseline was written. {wrong[0].text}")
    _show("compiled", found if stored else ())
    return CompiledBaseline(
        target=settings.target,
        versions=built.versions,
        recorded_at=now(),
        commit=request.commit or current_commit(settings) or "unknown",
        reason=request.reason,
        cases=built.cases,
    )


def _measure(session: Session, request: Update) -> tuple[Recording, Recording]:
    """Times of every case, as the new baseline and the anchor that goes with it; a disturbed card is refused.

    The code of the old baseline is measured beside the new, so that what is shown is what the code did.
    """
    settings = session.settings
    stored = _readable(_recording, _path(session, "matmul.json"))
    old = reference.of_baseline(settings, stored.commit, session.output) if stored else None
    found = processes.measure(
        settings,
        session.output,
        processes.Plan(
            expected=session.timed, launches=request.launches, other=old, check_idle=lambda: check_idle(session)
        ),
    )
    recording = found.recording
    if found.failed or recording is None:
        raise GateError(found.failed[0].reason, f"No baseline was written. {found.failed[0].text}")
    for case, samples in recording.samples.items():
        if disturbed := comparability.disturbance(samples):
            raise GateError(
                disturbed[0], f"No baseline was written. {case}: {disturbed[1]}; wait until the card is free and cool."
            )
    verdicts = old_against_new(stored, recording, read_limits(settings.root))
    _show("throughput", verdicts)
    new = dataclasses.replace(
        alone(recording), reason=request.reason, commit=request.commit or current_commit(settings)
    )
    anchor, restarted = drift.renewed(
        _readable(_recording, _path(session, "anchor.json")),
        new,
        meant=[verdict.case for verdict in verdicts if verdict.status in {Status.SLOWER, Status.FASTER}],
        whole=request.new_anchor,
    )
    if restarted and stored:
        which = "every case" if len(restarted) == len(new.samples) else ", ".join(restarted)
        print(f"update-baselines: drift is counted anew from this baseline for {which}")
    return new, anchor


def _path(session: Session, name: str) -> Path:
    settings = session.settings
    return settings.root / settings.baselines / baseline_name(session, name)


def _recording(path: Path) -> Recording | None:
    return read_recording(path) if path.is_file() else None


def _readable(read: Callable[[Path], _Baseline | None], path: Path) -> _Baseline | None:
    """The old baseline, or None where it is broken: it is about to be replaced, which mends it."""
    try:
        return read(path)
    except GateError as error:
        print(f"update-baselines: the old baseline is replaced unread: {error.text}")
        return None


def _show(title: str, verdicts: tuple[Verdict, ...]) -> None:
    """Old against new; the verdicts decide nothing here, since the change is meant."""
    if verdicts:
        print(report_text.format_text(verdicts, title=f"{title}, old against new", brief=True))
    else:
        print(f"{title}: there was no baseline before that could be compared.")
