"""Stores new baselines: on purpose, with a reason, and only from a right kernel on a quiet card.

Owns the refusals. What was stored before is shown beside what is stored now.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from perfgate import building, comparable, gate, measuring, report
from perfgate.baselines import read_recording
from perfgate.compiled_baseline import CompiledBaseline, read_compiled, write_compiled
from perfgate.compiled_verdict import judge_compiled
from perfgate.limits import read_limits
from perfgate.records import GateError, Recording, Verdict
from perfgate.verdict import judge

if TYPE_CHECKING:
    from perfgate.gate import Session, Stage
    from perfgate.settings import Settings


def run(settings: Settings, *, reason: str, only: str | None, launches: int | None, commit: str = "") -> int:
    """Check, compile, measure, show old against new, write.

    Args:
        settings: The project's.
        reason: Why the numbers change; kept in the files.
        only: ``compiled`` or ``throughput`` to leave the other alone.
        launches: Worker processes; None takes the project's setting.
        commit: What the files are, where git cannot be asked; empty asks git.

    Returns:
        0 when every baseline that this machine can record was written.

    Raises:
        GateError: What was refused and why; nothing has been written then.
    """
    if not reason.strip():
        raise GateError(
            "no-reason",
            'No reason was given, expected one sentence on why the numbers change: nox -s update-baselines -- --reason "…".',
        )
    count = launches or settings.baseline_launches
    session = gate.open_session(settings, gate.Request(launches=count))
    gpu = session.environment["gpu"]
    if only == "throughput" and not gpu:
        raise GateError(
            "no-card", f"Throughput baselines need a CUDA card and there is none ({session.environment['why']})."
        )
    commit = commit or measuring.commit(settings)
    _refuse(gate.correctness(session)[0])
    compiled = _compile(session, reason, commit=commit) if only != "throughput" else None
    measured = _measure(session, reason, launches=count, commit=commit) if gpu and only != "compiled" else None
    # Everything has been found good: only now is anything written.
    if compiled:
        path = settings.root / settings.baselines / settings.target / "compiled.json"
        write_compiled(path, compiled)
        print(f"update-baselines: wrote {path.relative_to(settings.root)}")
    if measured:
        path = settings.root / settings.baselines / gate.baseline_name(session)
        measuring.keep(path, measured)
        print(f"update-baselines: wrote {path.relative_to(settings.root)}")
    elif only is None:
        print(f"update-baselines: no throughput baseline was recorded: no CUDA card ({session.environment['why']}).")
    print(
        "update-baselines: look at the difference (git diff baselines), then commit it by itself with the same reason."
    )
    return 0


def _refuse(stage: Stage) -> None:
    bad = [verdict for verdict in stage.verdicts if verdict.exit_code]
    if bad:
        raise GateError(bad[0].reason, f"No baseline was written. {bad[0].text}")


def _compile(session: Session, reason: str, *, commit: str) -> CompiledBaseline:
    """Facts of every case; a kernel that could not run is refused, a slower one is shown."""
    settings = session.settings
    print(f"perf: compiling for {settings.target} …", flush=True)
    built = building.build_apart(settings, session.output / "compiled.json")
    stored = read_compiled(settings.root / settings.baselines / settings.target / "compiled.json")
    found = judge_compiled(built.cases, stored, versions=built.versions, target=settings.target)
    if wrong := [verdict for verdict in found if verdict.wrong]:
        raise GateError(wrong[0].reason, f"No baseline was written. {wrong[0].text}")
    _show("compiled", found if stored else ())
    return CompiledBaseline(
        target=settings.target,
        versions=built.versions,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit or "unknown",
        reason=reason,
        cases=built.cases,
    )


def _measure(session: Session, reason: str, *, launches: int, commit: str) -> Recording:
    """Times of every case; a disturbed card is refused."""
    settings = session.settings
    recording, failed = measuring.measure(settings, session.output, expected=session.timed, launches=launches)
    if failed or recording is None:
        raise GateError(failed[0].reason, f"No baseline was written. {failed[0].text}")
    for case, samples in recording.samples.items():
        if found := comparable.disturbance(samples):
            raise GateError(
                found[0], f"No baseline was written. {case}: {found[1]}; wait until the card is free and cool."
            )
    path = settings.root / settings.baselines / gate.baseline_name(session)
    if path.is_file():
        _show("throughput", judge(read_recording(path), recording, read_limits(settings.root)))
    return dataclasses.replace(recording, reason=reason, commit=commit)


def _show(title: str, verdicts: tuple[Verdict, ...]) -> None:
    """Old against new; the verdicts decide nothing here, since the change is meant."""
    if verdicts:
        print(report.format_text(verdicts, title=f"{title}, old against new"))
    else:
        print(f"{title}: there was no baseline before.")
