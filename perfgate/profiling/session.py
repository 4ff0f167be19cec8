"""Hardware counters of the chosen cases: reads them with ncu, stores them, says what moved.

Owns which files are read and written. Counters explain times and judge nothing: where they cannot be
read, one line says so with the remedy and the exit code stays 0, unless they were to be recorded.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import structs

from perfgate import console
from perfgate.hardware.gpus import slug
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Request, Session, baseline_name, check_idle, current_commit, open_session
from perfgate.profiling import ncu as profiler
from perfgate.profiling import report
from perfgate.profiling.compare import compare
from perfgate.profiling.ncu import CARD_NOT_KNOWN, NO_NCU, NO_PERMISSION
from perfgate.profiling.store import FILE, OTHER_FILE, Store, read_store, write_store
from perfgate.project import load_suite
from perfgate.records import GateError
from perfgate.store import reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.profiling.store import CaseCounters

MOVED_FILE = "counters-moved.json"
"""What moved, as the page of a run takes it."""
_KERNEL, _OTHER = "kernel", "other"
_QUICK = "quick"
_COULD_NOT = 2
_UNAVAILABLE = frozenset({"no-card", NO_NCU, NO_PERMISSION, CARD_NOT_KNOWN})
_RECORD = 'nox -s counters -- --record --reason "why"'
_MUST_AGREE = ("driver", "torch", "triton", "ncu", "code_path")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for."""

    cases: tuple[str, ...] = ()
    """Chosen by id; empty means all."""
    quick: bool = False
    record: bool = False
    reason: str = ""
    against: str | None = None
    """A kernel file or git ref to profile as the other side, or a file of stored counters (``.json``)."""
    calls: int
    """Profiled of each side in a process."""
    processes: int


def run(project: Settings, options: Options) -> int:
    """Profile, compare, and store where that was asked for.

    Raises:
        GateError: What was refused and why; nothing has been stored then.
    """
    _refuse_usage(options)
    session = open_session(project, Request(cases=options.cases))
    cases = _cases(session, options)
    try:
        return _profiled(session, options, cases)
    except GateError as error:
        if error.reason not in _UNAVAILABLE or options.record:
            raise
        _say(f"counters: NOT read: {error.text} Counters explain times and judge nothing, so the gate goes on.")
        return 0


def _refuse_usage(options: Options) -> None:
    if options.record and not options.reason.strip():
        raise GateError("no-reason", f"--record was given without a reason, expected one sentence: {_RECORD}.")
    wrong = ""
    if options.record and options.against is not None:
        wrong = "--record and --against were both given, expected one: only this code is recorded."
    elif options.reason and not options.record:
        wrong = f"--reason was given without --record, expected both: {_RECORD}."
    if wrong:
        raise GateError("bad-usage", wrong)


def _profiled(session: Session, options: Options, cases: tuple[str, ...]) -> int:
    environment = session.environment
    if not environment["gpu"]:
        raise GateError(
            "no-card", f"there is no CUDA card ({environment['why']}), expected one; run it where the card is."
        )
    ncu = profiler.find_ncu()
    environment = {key: value for key, value in environment.items() if key != "why"}
    environment["ncu"] = profiler.version_of(ncu)
    stored_path, before = _before(session, options)
    sides = {_KERNEL: session.settings.root / session.settings.kernel}
    if options.against is not None and before is None:
        sides[_OTHER] = reference.named(session.settings, options.against, session.output).path
    some = f"{len(cases)} cases" if len(cases) > 1 else cases[0]
    _say(
        f"counters: {some} on {environment['gpu']}, ncu {environment['ncu'] or 'of no known version'}, {options.processes} processes "
        f"of {options.calls} calls {'each side' if _OTHER in sides else 'each'}; clocks are left as they are …"
    )
    with gpu_lock.hold(environment["uuid"]):
        check_idle(session)
        plan = profiler.Plan(cases=cases, sides=sides, calls=options.calls, processes=options.processes)
        folder = session.output / "counters"
        found = profiler.profile(session.settings, plan, ncu=ncu, output=folder)
    now = _store(session, found[_KERNEL], environment, options)
    write_store(session.output / FILE, now)
    (session.output / OTHER_FILE).unlink(missing_ok=True)
    if _OTHER in found:
        before = _store(session, found[_OTHER], environment, options, commit=options.against or "")
        write_store(session.output / OTHER_FILE, before)
    _show(session, now, before, where=options.against or _shown(session, stored_path))
    if options.record:
        write_store(stored_path, _joined(before, now, source=_shown(session, stored_path)))
        _say(
            f"counters: wrote {_shown(session, stored_path)}; look at the difference, then commit it, with the reason."
        )
    return 0


def _before(session: Session, options: Options) -> tuple[Path, Store | None]:
    """Where this card's counters are stored, and the stored ones to compare with, if any are."""
    path = session.settings.root / session.settings.baselines / baseline_name(session, FILE)
    if options.against is None:
        try:
            return path, read_store(path, source=_shown(session, path))
        except GateError as error:
            if not options.record:
                raise
            _say(f"counters: the stored ones are replaced unread: {error.text}")
            return path, None
    if not options.against.endswith(".json"):
        return path, None
    named = session.settings.root / options.against  # an absolute path stays one
    found = read_store(named, source=options.against)
    if found is None:
        raise GateError("no-file", f"{options.against} does not exist, expected stored counters; check the path.")
    here = slug(session.environment["gpu"], session.environment["code_path"])
    if here != found.folder:
        raise GateError(
            "other-card",
            f"{options.against} has counters of {found.folder}, expected those of {here}; name that card's.",
        )
    return path, found


def _cases(session: Session, options: Options) -> tuple[str, ...]:
    """Ids of the cases to profile, in the suite's order."""
    suite = load_suite(session.settings)
    session.require_timed(options.cases)
    found = tuple(
        case.id
        for case in suite.CASES
        if (not options.cases or case.id in options.cases) and (not options.quick or case.quick)
    )
    if not found:
        raise GateError("bad-usage", "No case is left of --case and -m quick together, expected at least one.")
    return found


def _store(
    session: Session,
    cases: Mapping[str, CaseCounters],
    environment: Mapping[str, str],
    options: Options,
    *,
    commit: str | None = None,
) -> Store:
    """What was profiled, with where and when."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    of = current_commit(session.settings) if commit is None else commit
    return Store(
        card=environment["gpu"],
        cases={case: structs.replace(one, commit=of, recorded_at=now) for case, one in cases.items()},
        environment=environment,
        recorded_at=now,
        commit=of,
        reason=options.reason,
    )


def _joined(stored: Store | None, new: Store, *, source: str) -> Store:
    """The new counters, and the stored ones (of `source`) of cases that were not profiled now.

    Raises:
        GateError: ``other-environment`` where these were profiled with other versions.
    """
    kept = {case: one for case, one in stored.cases.items() if case not in new.cases} if stored else {}
    if not stored or not kept:
        return new
    for key, then, now in _differing(stored, new):
        raise GateError(
            "other-environment",
            f"{source} has {', '.join(sorted(kept))} with {key} {then}, expected {now} as here, for one file has one "
            "environment; record all its cases.",
        )
    return structs.replace(new, cases=dict(sorted({**kept, **new.cases}.items())))


def _differing(before: Store, after: Store) -> Iterator[tuple[str, str, str]]:
    """Versions that have to agree and do not, on both sides."""
    for key in _MUST_AGREE:
        then, now = before.environment.get(key, ""), after.environment.get(key, "")
        if then != now:
            yield key, then or "unknown", now


def _show(session: Session, now: Store, before: Store | None, *, where: str) -> None:
    """What moved, or where there is nothing to compare with, what was read."""
    sides = {case: (before.cases[case], one) for case, one in now.cases.items() if before and case in before.cases}
    for case, one in now.cases.items():
        for line in report.compared(case, *sides[case]) if case in sides else report.told(case, one):
            _say(line)
    for line in report.guideline(now.cases):
        _say(line)
    for key, then, today in _differing(before, now) if before else ():
        _say(f"counters: {key} {then} → {today or 'unknown'} since, which may be what moved them")
    sentences = {case: found for case, both in sides.items() if (found := list(report.sentences(compare(*both))))}
    report.write_for_page(session.output / MOVED_FILE, sides, sentences)
    alone = [case for case in now.cases if case not in sides]
    compared = f"{len(sides)} compared with {where}, {len(sentences)} moved" if sides else ""
    without = f"{len(alone)} with nothing stored to compare with ({_RECORD})" if alone else ""
    _say(f"counters: {'; '.join(part for part in (compared, without) if part)}")


def _shown(session: Session, path: Path) -> str:
    return str(path.relative_to(session.settings.root)) if path.is_relative_to(session.settings.root) else str(path)


def _say(text: str) -> None:
    print("\n".join(console.look(sys.stdout, os.environ).folded(text)), flush=True)
