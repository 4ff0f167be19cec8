"""Gathers what is recorded of the cases whose time moved, and has it put into words.

Owns which files are asked: both kernels are compiled for the card that timed them, and counters are taken where a hash says
that they are of the very code that was timed. Judges nothing; what cannot be had is left out.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from perfgate.codegen import build
from perfgate.codegen.cache import triton_version
from perfgate.hardware import occupancy
from perfgate.hardware.gpus import card, slug
from perfgate.profiling import report, why
from perfgate.profiling.store import FILE, OTHER_FILE, read_store
from perfgate.records import BASELINE_COMMIT, GateError, Status
from perfgate.store.compiled import read_compiled
from perfgate.store.locate import compiled_name, find

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from perfgate.measurement.session import Session
    from perfgate.profiling.store import CaseCounters
    from perfgate.records import Recording, Samples, Verdict
    from perfgate.store.compiled import KernelFacts
    from perfgate.store.reference import Side

MOVED_FILE = "moved.json"
"""What moved, as the page of a run takes it."""
_MOVED = frozenset({Status.SLOWER, Status.FASTER})


def explain(
    session: Session,
    verdicts: Sequence[Verdict],
    recording: Recording,
    *,
    baseline: Recording | None,
    other: Side | None,
) -> dict[str, tuple[str, ...]]:
    """What moved with the time of each case that is SLOWER or FASTER, by case id; kept as a file as well.

    Args:
        session: Of the run.
        verdicts: On times.
        recording: What they are on.
        baseline: Held against, if one was.
        other: What ran in the same launches, if anything did.
    """
    moved = {v.case: v.ratio for v in verdicts if v.status in _MOVED and v.ratio and v.case in recording.samples}
    if not moved:
        return {}
    in_same_launches = other is not None and (baseline is None or other.kind == BASELINE_COMMIT)
    others = [case for case in moved if not (in_same_launches and recording.samples[case].equal_code)]
    code = _code(session, others, other if in_same_launches else None) if others else {}
    known = _counters(session)
    found, sides = {}, {}
    for case, ratio in moved.items():
        samples = recording.samples[case]
        before = baseline.samples.get(case) if baseline else None
        if counted := _both(case, samples, None if in_same_launches else before, known):
            sides[case] = counted
        found[case] = why.sentences(
            why.Evidence(
                case=case,
                ratio=ratio,
                code=code.get(case),
                equal_code=in_same_launches and samples.equal_code,
                counters=counted,
                states=_states(before, samples),
                same_launches=in_same_launches,
                against=other.name if other and in_same_launches else "",
            )
        )
    report.write_for_page(session.output / MOVED_FILE, sides, found)
    return found


def _states(
    before: Samples | None, now: Samples
) -> tuple[list[Mapping[str, object]], list[Mapping[str, object]]] | None:
    """States of the machine when the baseline was recorded and now; None where either has none."""
    if before is None:
        return None
    then, today = ([launch.state for launch in side.launches if launch.state] for side in (before, now))
    return (then, today) if then and today else None


def _both(
    case: str, now: Samples, before: Samples | None, known: Mapping[tuple[str, str], CaseCounters]
) -> tuple[CaseCounters, CaseCounters] | None:
    """Counters of the code of both sides; of what was timed beside it, or of what a baseline was recorded from."""
    code = before.code.get("kernel", "") if before else now.code.get("other", "")
    old, new = known.get((case, code)), known.get((case, now.code.get("kernel", "")))
    return (old, new) if old and new else None


def _counters(session: Session) -> dict[tuple[str, str], CaseCounters]:
    """Every counted case by its id and the hash of its code; of one that was counted twice, the later."""
    card_folder = slug(session.environment["gpu"], session.environment["code_path"])
    stored = session.settings.root / session.settings.baselines / card_folder / FILE
    found: dict[tuple[str, str], CaseCounters] = {}
    for path in (stored, *(session.output / name for name in (OTHER_FILE, FILE))):
        try:
            store = read_store(path)
        except GateError:  # it explains nothing; `nox -s counters` says what is wrong with it
            continue
        if store and store.folder == card_folder:
            found |= {(case, one.code): one for case, one in store.cases.items() if one.code}
    return found


def _code(session: Session, cases: Collection[str], other: Side | None) -> dict[str, why.Code]:
    """The machine code of both sides: compiled now, or where the other side is a stored number, the stored facts."""
    if other is None:
        return _stored_code(session, cases)
    known = card(session.environment["gpu"])
    own = known.architecture if known else session.settings.target
    target = occupancy.target(session.environment["code_path"], native=own)
    before = _built(session, cases, target=target, kernel=other.path)
    after = _built(session, cases, target=target) if before else {}
    return {
        case: why.Code(target=target, before=before[case], after=after[case])
        for case in cases
        if before.get(case) and after.get(case)
    }


def _built(
    session: Session, cases: Collection[str], *, target: str, kernel: Path | None = None
) -> dict[str, tuple[KernelFacts, ...]]:
    """Facts of every case that a kernel file (the project's own where none is named) compiles; none where it does not."""
    project = dataclasses.replace(session.settings, target=target)
    output = session.output / f"why-{'other' if kernel else 'kernel'}.json"
    source = build.Source(kernel=kernel) if kernel else None
    try:
        built = build.build_apart(project, output, cases, source=source)
    except GateError:
        return {}
    return {name: case.kernels for name, case in built.cases.items() if not case.error}


def _stored_code(session: Session, cases: Collection[str]) -> dict[str, why.Code]:
    """The stored facts beside today's, for the project's target."""
    settings = session.settings
    after = _built(session, cases, target=settings.target)
    try:
        name = compiled_name(settings, triton_version())
        stored = read_compiled(find(settings, name, base=session.request.base, scratch=session.output).path)
    except GateError:
        return {}
    if stored is None:
        return {}
    return {
        case: why.Code(target=stored.target, before=stored.cases[case].kernels, after=after[case])
        for case in cases
        if case in stored.cases and after.get(case)
    }
