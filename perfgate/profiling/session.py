"""``python -m perfgate counters``: reads hardware counters of the chosen cases with ncu, stores them, says what moved.

Owns the command line and which files are read and written. Counters explain times and judge nothing: where they cannot be
read, one line says so with the remedy and the exit code stays 0, unless they were to be recorded.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import settings
from perfgate.cli.common import Parser
from perfgate.files import write_whole
from perfgate.gate import throughput
from perfgate.hardware.gpus import slug
from perfgate.measurement import gpu_lock
from perfgate.measurement import processes as measuring
from perfgate.measurement.session import Request, Session, open_session
from perfgate.profiling import profile, report
from perfgate.profiling.compare import compare, page_document
from perfgate.profiling.ncu import CARD_NOT_KNOWN, NO_NCU, NO_PERMISSION
from perfgate.profiling.store import Store, read_store, write_store
from perfgate.profiling.why import counter_sentences
from perfgate.records import GateError
from perfgate.report import console
from perfgate.store import reference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.profiling.store import CaseCounters

FILE = "counters.json"
OTHER_FILE = "counters-other.json"
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
    calls: int = profile.CALLS
    processes: int = profile.PROCESSES


def run(project: settings.Settings, options: Options) -> int:
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
    if options.record and options.against is not None:
        raise GateError(
            "bad-usage", "--record and --against were both given, expected one: only this code is recorded."
        )
    if options.reason and not options.record:
        raise GateError("bad-usage", f"--reason was given without --record, expected both: {_RECORD}.")


def _profiled(session: Session, options: Options, cases: tuple[str, ...]) -> int:
    environment = session.environment
    if not environment["gpu"]:
        raise GateError(
            "no-card", f"there is no CUDA card ({environment['why']}), expected one; run it where the card is."
        )
    ncu = profile.find_ncu()
    environment = {key: value for key, value in environment.items() if key != "why"}
    environment["ncu"] = profile.version_of(ncu)
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
        throughput.check_idle(session)
        plan = profile.Plan(cases=cases, sides=sides, calls=options.calls, processes=options.processes)
        folder = session.output / "counters"
        found = profile.profile(session.settings, plan, ncu=ncu, output=folder)
    now = _store(session, found[_KERNEL], environment, options)
    write_store(session.output / FILE, now)
    (session.output / OTHER_FILE).unlink(missing_ok=True)
    if _OTHER in found:
        before = _store(session, found[_OTHER], environment, options, commit=options.against or "")
        write_store(session.output / OTHER_FILE, before)
    _show(session, now, before, where=_where(session, options, stored_path))
    if options.record:
        write_store(stored_path, _joined(before, now))
        _say(
            f"counters: wrote {_shown(session, stored_path)}; look at the difference, then commit it, with the reason."
        )
    return 0


def _before(session: Session, options: Options) -> tuple[Path, Store | None]:
    """Where this card's counters are stored, and the stored ones to compare with, if any are."""
    path = session.settings.root / session.settings.baselines / throughput.baseline_name(session, FILE)
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
    there = slug(found.card, found.environment.get("code_path", "native"))
    if here != there:
        raise GateError(
            "other-card", f"{options.against} has counters of {there}, expected those of {here}; name that card's."
        )
    return path, found


def _cases(session: Session, options: Options) -> tuple[str, ...]:
    """Ids of the cases to profile, in the suite's order."""
    suite = settings.load_suite(session.settings)
    for case in options.cases:
        if case not in session.timed:
            raise GateError(
                "bad-usage", f"{case} is checked but not timed; expected one of {', '.join(session.timed)}."
            )
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
    of = measuring.commit(session.settings) if commit is None else commit
    return Store(
        card=environment["gpu"],
        cases={case: dataclasses.replace(one, commit=of, recorded_at=now) for case, one in cases.items()},
        environment=environment,
        recorded_at=now,
        commit=of,
        reason=options.reason,
    )


def _joined(stored: Store | None, new: Store) -> Store:
    """The new counters, and the stored ones of cases that were not profiled now.

    Raises:
        GateError: ``other-environment`` where these were profiled with other versions.
    """
    kept = {case: one for case, one in stored.cases.items() if case not in new.cases} if stored else {}
    if not stored or not kept:
        return new
    for key in _MUST_AGREE:
        then, now = stored.environment.get(key, ""), new.environment.get(key, "")
        if then != now:
            raise GateError(
                "other-environment",
                f"{stored.source} has {', '.join(sorted(kept))} with {key} {then or 'unknown'}, expected {now} as here, for one file "
                "has one environment; record all its cases.",
            )
    return dataclasses.replace(new, cases=dict(sorted({**kept, **new.cases}.items())))


def _show(session: Session, now: Store, before: Store | None, *, where: str) -> None:
    """What moved, or where there is nothing to compare with, what was read."""
    sides = {case: (before.cases[case], one) for case, one in now.cases.items() if before and case in before.cases}
    for case, one in now.cases.items():
        text = report.compared(case, *sides[case]) if case in sides else report.told(case, one)
        for line in text:
            _say(line)
    for line in report.guideline(now.cases):
        _say(line)
    if before:
        for key in _MUST_AGREE:
            then, today = before.environment.get(key, ""), now.environment.get(key, "")
            if then != today:
                _say(f"counters: {key} {then or 'unknown'} → {today or 'unknown'} since, which may be what moved them")
    sentences = {case: found for case, (old, new) in sides.items() if (found := counter_sentences(compare(old, new)))}
    document = json.dumps(page_document(sides, sentences), indent=1, ensure_ascii=False) + "\n"
    write_whole(session.output / MOVED_FILE, document)
    alone = [case for case in now.cases if case not in sides]
    compared = f"{len(sides)} compared with {where}, {len(sentences)} moved" if sides else ""
    without = f"{len(alone)} with nothing stored to compare with ({_RECORD})" if alone else ""
    _say(f"counters: {'; '.join(part for part in (compared, without) if part)}")


def _where(session: Session, options: Options, stored: Path) -> str:
    return options.against or _shown(session, stored)


def _shown(session: Session, path: Path) -> str:
    return str(path.relative_to(session.settings.root)) if path.is_relative_to(session.settings.root) else str(path)


def _say(text: str) -> None:
    print("\n".join(console.look(sys.stdout, os.environ).folded(text)), flush=True)


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate counters",
        description="Read hardware counters of the kernel with ncu, compare them with the stored ones, and say what moved.",
        allow_abbrev=False,
    )
    parser.add_argument("--case", action="append", default=[], metavar="ID", help="only this case (may be repeated)")
    parser.add_argument("-m", choices=(_QUICK,), help="only the quick cases")
    parser.add_argument("--record", action="store_true", help="store what is read, with a reason")
    parser.add_argument("--reason", default="", help="why they are recorded; kept in the file")
    parser.add_argument(
        "--against",
        metavar="REF_OR_FILE",
        help="profile that kernel too and compare with it, or with a file of counters",
    )
    parser.add_argument("--calls", type=int, default=profile.CALLS, metavar="N", help="profiled calls of each process")
    parser.add_argument(
        "--processes",
        type=int,
        default=profile.PROCESSES,
        metavar="N",
        help="how many profile one after another",
    )
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command; returns 0, or 2 where it was refused."""
    try:
        given = _parser().parse_args(argv)
        for name, least in (("calls", 2), ("processes", 1)):
            if (value := getattr(given, name)) < least:
                raise GateError("bad-usage", f"--{name} is {value}; expected {least} or more.")
        options = Options(
            cases=tuple(given.case),
            quick=given.m == _QUICK,
            record=given.record,
            reason=given.reason,
            against=given.against,
            calls=given.calls,
            processes=given.processes,
        )
        return run(settings.load(Path.cwd()), options)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
