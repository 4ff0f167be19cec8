"""The throughput stage: which baseline, which other side, how many launches, and the judgement. Decides no verdict."""

from __future__ import annotations

import dataclasses
import os
import shlex
import time
from typing import TYPE_CHECKING

from perfgate import git
from perfgate.compare import comparability
from perfgate.compare.judge import judge
from perfgate.config import Limits, read_limits
from perfgate.files import write_whole
from perfgate.measurement.processes import Measured, Plan, measure
from perfgate.measurement.session import NOTHING_CHOSEN, Session, baseline_name, broken, check_idle, invalid, shown
from perfgate.profiling import evidence
from perfgate.records import BASELINE_COMMIT, GateError, Recording, Status, Verdict
from perfgate.report.verdicts import format_json
from perfgate.store import reference
from perfgate.store.locate import find
from perfgate.store.recording import read_recording
from perfgate.store.run import StageResult

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from perfgate.store.reference import Side

_VERDICTS_FILE = "verdicts.json"
_RECORD = 'nox -s update-baselines -- --only throughput --reason "first baseline of this card"'


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Comparison:
    """What the launches are going to be held against."""

    name: str
    """For the summary."""
    note: str
    baseline: Recording | None
    anchor: Recording | None
    other: Side | None
    limits: Limits
    fail_on_drift: bool

    @property
    def in_same_launches(self) -> bool:
        """Whether both sides are measured now, so that more launches settle what is undecided."""
        return self.other is not None and (self.baseline is None or self.other.kind == BASELINE_COMMIT)

    def judge(self, recording: Recording, *, selected: Collection[str] | None) -> tuple[Verdict, ...]:
        return judge(
            self.baseline,
            recording,
            self.limits,
            selected=selected,
            anchor=self.anchor,
            fail_on_drift=self.fail_on_drift,
        )


def throughput(session: Session, chosen: tuple[str, ...], *, wrong: bool) -> StageResult:
    """Times on the card present, against its baseline's code, its stored baseline, or the side that was named."""
    stage = StageResult(name="throughput")
    if not session.environment["gpu"]:
        stage.left_out = "no CUDA card"
    elif wrong:
        stage.left_out = "a wrong kernel gets no speed number"
    elif not chosen:
        stage.left_out = NOTHING_CHOSEN
    if stage.left_out:
        return stage
    began_s = time.monotonic()
    try:
        # Before the measurement: what cannot be compared is no reason to wait for minutes.
        against = _against(session)
        stage.note = against.note
        stage.baseline = against.baseline.source if against.baseline else ""
        to_come = Recording(samples={}, environment=session.environment, settings=session.settings.measurement())
        if against.baseline and (refused := comparability.refusal(against.baseline, to_come)):
            stage.verdicts = tuple(invalid(case, refused[0], f"{case}: would be {refused[1]}.") for case in chosen)
            return stage
        # What is of an earlier run must not be taken for this one's.
        for name in ("current.json", _VERDICTS_FILE, evidence.MOVED_FILE):
            (session.output / name).unlink(missing_ok=True)
        measured = _measure(session, chosen, against)
    except GateError as error:
        stage.verdicts = (broken(error),)
        return stage
    stage.verdicts = measured.failed
    stage.recording, stage.sha256 = measured.recording, measured.sha256
    if measured.recording is not None:
        _judge(session, chosen, against, measured, stage)
    stage.spent = _spent(measured, time.monotonic() - began_s)
    return stage


def _against(session: Session) -> _Comparison:
    settings, request = session.settings, session.request
    limits = read_limits(settings.root)
    if request.against is not None:
        asked_for = reference.named(settings, request.against, session.output)
        return _Comparison(
            name=f"{asked_for.said}, in the same launches",
            note="",
            baseline=None,
            anchor=None,
            other=asked_for,
            limits=limits,
            fail_on_drift=False,
        )
    stored = find(settings, baseline_name(session), base=request.base, scratch=session.output)
    first = find(settings, baseline_name(session, "anchor.json"), base=request.base, scratch=session.output)
    baseline, anchor = _read(session, stored.path), _read(session, first.path)
    other = reference.of_baseline(settings, baseline.commit, session.output) if baseline else None
    notes = [stored.note, first.note]
    if baseline and other is None:
        had = f"commit {baseline.commit[:12]}" if baseline.commit else "no commit"
        notes.append(
            f"the baseline names {had}, whose kernel git does not have here (a shallow clone?), so its stored number "
            "is judged, with the limit of other days and cards"
        )
    laid = session.run.get("candidate") not in {session.run.get("base"), f"{session.run.get('base')}-dirty"}
    other = other or reference.of_history(settings, session.output, laid=laid)
    if baseline is None and other:
        notes.append(
            f"{session.environment['gpu']} has no baseline ({stored.name}); compared with {other.said} instead; record one from "
            f"code you trust: {_RECORD}"
        )
    beside = f", {other.said} measured in the same launches" if other else ""
    return _Comparison(
        name=f"{stored.name}{beside}" if baseline else beside.lstrip(", "),
        note="; ".join(note for note in notes if note),
        baseline=baseline,
        anchor=anchor if baseline else None,
        other=other,
        limits=limits,
        fail_on_drift=request.fail_on_drift or _on_default_branch(session),
    )


def _read(session: Session, path: Path) -> Recording | None:
    """A baseline under the name that a person would give it, so that ``judge`` says the same; None where there is none."""
    if not path.is_file():
        return None
    return dataclasses.replace(read_recording(path), source=shown(session, path))


def _measure(session: Session, chosen: tuple[str, ...], against: _Comparison) -> Measured:
    settings, request = session.settings, session.request

    def undecided(recording: Recording) -> Collection[str]:
        found = against.judge(recording, selected=list(recording.samples))
        return [verdict.case for verdict in found if verdict.status is Status.UNSURE]

    few = settings.launches if against.in_same_launches else settings.stored_launches
    launches = request.launches or few
    return measure(
        settings,
        session.output,
        Plan(
            expected=chosen,
            launches=launches,
            cases=chosen if session.partial else (),
            other=against.other,
            undecided=undecided if against.in_same_launches else None,
            check_idle=lambda: check_idle(session),
            most_launches=max(launches, against.limits.final_launches),
            deadline_s=session.deadline_s,
            pytest_args=request.pytest_args,
            quiet=request.quiet,
            run=session.run,
        ),
    )


def _judge(
    session: Session, chosen: tuple[str, ...], against: _Comparison, measured: Measured, stage: StageResult
) -> None:
    """Put the verdicts into the stage, and beside the samples for whoever wants to judge again."""
    recording = measured.recording
    if recording is None:
        return
    counts = {len(samples.launches) for samples in recording.samples.values()}
    launches = f"{min(counts)} to {max(counts)}" if len(counts) > 1 else f"{measured.launches}"
    said = f"{len(recording.samples)} cases in {launches} launches"
    if measured.out_of_time:
        said += " (the budget allowed no more)"
    if against.baseline is None and against.other is None:
        stage.left_out = f"{said}, but there is nothing to compare with"
        where = baseline_name(session)
        stage.verdicts += tuple(_no_baseline(session, case, where) for case in recording.samples)
        return
    equal = sum(samples.equal_code for samples in recording.samples.values())
    same = f"; {equal} run equal machine code on both sides" if equal else ""
    stage.done = f"{said} against {against.name}{same}"
    without = {verdict.case for verdict in measured.failed}
    selected = [case for case in chosen if case not in without] if session.partial or measured.failed else None
    verdicts = against.judge(recording, selected=selected)
    stage.verdicts += verdicts
    write_whole(session.output / _VERDICTS_FILE, format_json(verdicts) + "\n")
    stage.again = _again(session, against, selected)
    stage.why = evidence.explain(session, verdicts, recording, baseline=against.baseline, other=against.other)


def _again(session: Session, against: _Comparison, selected: Collection[str] | None) -> str:
    """The command that judges the saved files to the same verdicts."""
    words = ["python", "-m", "perfgate", "judge"]
    if against.baseline:
        words += ["--baseline", against.baseline.source]
    if against.anchor:
        words += ["--anchor", against.anchor.source]
        words += ["--fail-on-drift"] if against.fail_on_drift else []
    words += ["--current", shown(session, session.output / "current.json")]
    words += [part for case in selected or () for part in ("--case", case)]
    return shlex.join(words)


def _on_default_branch(session: Session) -> bool:
    """Whether this is the branch on which too much drift fails; a runner names it, elsewhere git is asked."""
    branch = os.environ.get("GITHUB_REF_NAME") or git.ask(session.settings.root, "branch", "--show-current") or ""
    return branch.strip() == session.settings.default_branch


def _no_baseline(session: Session, case: str, where: str) -> Verdict:
    gpu = session.environment["gpu"]
    return invalid(
        case,
        "no-baseline",
        f"{case}: was measured, but {gpu} has no throughput baseline, expected {session.settings.baselines}/{where}, and git "
        f"has no earlier kernel to compare with; record one from code you trust: {_RECORD}.",
    )


def _spent(measured: Measured, total_s: float) -> str:
    launches = f"{measured.launches} launches" if measured.launches != 1 else "1 launch"
    return (
        f"{total_s:.0f} s ({launches}: {measured.tests_s:.0f} s setting up, checking and timing cases, "
        f"{max(0.0, measured.total_s - measured.tests_s):.0f} s processes starting and ending, the rest judging)"
    )
