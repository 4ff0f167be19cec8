"""``nox -s study -- table``: this kernel beside others, all in the same launches, as a table.

Owns the command line, what is refused before the card is touched, and the exit code: 0 when everything was measured, 1
when the kernel was wrong, 2 when it could not be measured. ``--from FILE`` makes the tables of saved recordings again,
without a card. A contender that fails has no number and its reason among the notes.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.config import read_settings
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Request, check_idle, current_commit, open_session
from perfgate.records import Case, GateError
from studies import shared
from studies.table import cases
from studies.table.cases import ARMS, KERNEL, About, Recording, contract_of, read
from studies.table.processes import Plan, Run
from studies.table.report import markdown, rows

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from perfgate.measurement.session import Session

_PATH = re.compile(r"native|sm\d{2,3}a?")


def _parser() -> command_line.Parser:
    made = shared.parser(
        "table",
        "Measure the kernel beside the starting kernel, torch, torch.compile and the card's limit.",
    )
    command_line.case_option(made)
    command_line.quick_option(made)
    made.add_argument("--large", action="store_true", help="the large cases too: 4096³ and 8192³")
    made.add_argument("--launches", type=int, default=3, metavar="N", help="worker processes a code path")
    made.add_argument(
        "--paths", default="native,sm89", help="code paths: native, or architectures that Triton lowers for"
    )
    made.add_argument("--without", action="append", default=[], choices=ARMS[1:], help="leave this contender out")
    made.add_argument(
        "--compile-timeout",
        type=float,
        default=300.0,
        metavar="SECONDS",
        help="after which tuning of no further case begins",
    )
    made.add_argument(
        "--from", dest="sources", type=Path, nargs="+", metavar="FILE", help="tables of saved recordings; needs no card"
    )
    return made


def main(words: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    return command_line.run(_parser(), words, lambda options: _work(options, words))


def _work(options: argparse.Namespace, words: Sequence[str]) -> int:
    if options.sources:
        return publish([read(path) for path in options.sources], options.output)
    command_line.at_least(options, launches=1)
    if not options.compile_timeout > 0:
        raise GateError("bad-usage", f"--compile-timeout is {options.compile_timeout:g}; expected more than 0 seconds.")
    return measure(options, words)


def _paths(text: str) -> tuple[str, ...]:
    paths = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for path in paths:
        if not _PATH.fullmatch(path):
            raise GateError(
                "bad-usage", f"--paths has {path!r}; expected native or an architecture such as sm89, parted by commas."
            )
    return paths


def measure(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Measure on the card present; keep recordings after each launch, then write and print the tables.

    Raises:
        GateError: There is no card, it is busy, or a process did no work.
    """
    chosen = cases.choose(options.case, quick=options.m == command_line.QUICK, large=options.large)
    paths = _paths(options.paths)
    session = open_session(read_settings(Path.cwd()), Request())
    environment = session.environment
    if not environment["gpu"]:
        raise GateError("no-card", f"The table needs a CUDA card and there is none ({environment['why']}).")
    output = shared.folder(options)
    for path in paths:  # of an earlier run, which must not be taken for this one's
        for stale in (f"{path}.json", f"{path}.md"):
            (output / stale).unlink(missing_ok=True)
    command = shared.again("table", words)
    recordings = {path: begin(session, path, chosen, launches=options.launches, command=command) for path in paths}
    plan = Plan(
        cases=chosen,
        arms={case.id: cases.arms_of(case, options.without) for case in chosen},
        launches=options.launches,
        tune_s=options.compile_timeout,
        cores=len(os.sched_getaffinity(0)),
        check_idle=lambda: check_idle(session),
    )
    print(
        f"table: {len(chosen)} cases on {environment['gpu']}, {', '.join(paths)}; kept after each launch in {output}."
    )
    work = Run(project=session.settings, plan=plan, recordings=recordings, output=output)
    with gpu_lock.hold(environment["uuid"]):
        check_idle(session)
        work.tune()
        work.launch(lambda path: recordings[path].write(output / f"{path}.json"))
    return publish(list(recordings.values()), output)


def begin(session: Session, path: str, chosen: Sequence[Case], *, launches: int, command: str) -> Recording:
    """A recording of one code path, without launches yet."""
    about = About(
        environment={**{key: value for key, value in session.environment.items() if value}, "code_path": path},
        settings=session.settings.measurement(),
        recorded_at=datetime.now(UTC).isoformat(timespec="minutes").removesuffix("+00:00"),
        command=command,
        commit=current_commit(session.settings),
        launches=launches,
    )
    return Recording(about=about, cases={case.id: contract_of(case) for case in chosen}, launches=[], failed=[])


def publish(recordings: Sequence[Recording], output: Path | None) -> int:
    """Print the tables, write them where a folder is named; returns the exit code."""
    pages = {f"{recording.path}.md": markdown(recording) + "\n" for recording in recordings}
    for page in pages.values():
        print(f"\n{page}")
    if output:
        shared.keep(output, pages)
        print(f"table: wrote {', '.join(str(output / name) for name in pages)}")
    return min((code for recording in recordings if (code := _exit_code(recording))), default=0)


def _exit_code(recording: Recording) -> int:
    """1 where the kernel was wrong, 2 where it has no number, in any case; the lower wins."""
    if any(failure.wrong for failure in recording.failed if failure.arm == KERNEL):
        return shared.WRONG
    return command_line.COULD_NOT if any(row.seconds is None for row in rows(recording)) else 0
