"""``python -m studies.table.__main__`` (``nox -s table``): this kernel beside others, all in the same launches, as a table.

Owns the command line, what is refused before the card is touched, and the exit code: 0 when everything was measured, 1
when the kernel was wrong, 2 when it could not be measured. ``--from FILE`` makes the tables of saved recordings again,
without a card. A contender that fails has no number and its reason among the notes.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import settings
from perfgate.cli.common import Parser
from perfgate.gate import throughput
from perfgate.measurement import gpu_lock, processes
from perfgate.measurement.session import Request, open_session
from perfgate.records import Case, GateError
from studies.table import cases
from studies.table.cases import ARMS, KERNEL, contract_of
from studies.table.processes import Plan, Run
from studies.table.recording import Recording, read
from studies.table.report import markdown, rows
from studies.table.targets import SOURCE, acceptance

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from perfgate.measurement.session import Session
    from perfgate.settings import Settings

LAUNCHES = 3
TUNE_S = 300.0
PATHS = "native,sm89"
_WRONG, _COULD_NOT = 1, 2
_PATH = re.compile(r"native|sm\d{2,3}a?")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m studies.table.__main__",
        description="Measure the kernel beside the starting kernel, torch, torch.compile and the card's limit.",
        allow_abbrev=False,
    )
    parser.add_argument("--case", action="append", default=[], metavar="ID", help="only this case (may be repeated)")
    parser.add_argument("-m", choices=["quick"], help="only the quick subset of cases")
    parser.add_argument("--large", action="store_true", help="the large cases too: 4096³ and 8192³")
    parser.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help="worker processes a code path")
    parser.add_argument("--paths", default=PATHS, help="code paths: native, or architectures that Triton lowers for")
    parser.add_argument("--without", action="append", default=[], choices=ARMS[1:], help="leave this contender out")
    parser.add_argument(
        "--compile-timeout", type=float, default=TUNE_S, metavar="SECONDS", help="that all tuning may take together"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where recordings and tables go (.perfgate/table)")
    parser.add_argument(
        "--from", dest="sources", type=Path, nargs="+", metavar="FILE", help="tables of saved recordings; needs no card"
    )
    return parser


def _paths(text: str) -> tuple[str, ...]:
    paths = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for path in paths:
        if not _PATH.fullmatch(path):
            raise GateError(
                "bad-usage", f"--paths has {path!r}; expected native or an architecture such as sm89, parted by commas."
            )
    return paths


def run(project: Settings, given: argparse.Namespace, words: Sequence[str]) -> int:
    """Measure on the card present; keep recordings after each launch, then write and print the tables.

    Raises:
        GateError: There is no card, it is busy, or a process did no work.
    """
    chosen = cases.choose(given.case, quick=given.m == "quick", large=given.large)
    paths = _paths(given.paths)
    session = open_session(project, Request())
    environment = session.environment
    if not environment["gpu"]:
        raise GateError("no-card", f"The table needs a CUDA card and there is none ({environment['why']}).")
    output = (given.output or session.output / "table").absolute()
    for path in paths:  # of an earlier run, which must not be taken for this one's
        for stale in (f"{path}.json", f"{path}.md"):
            (output / stale).unlink(missing_ok=True)
    command = shlex.join(["nox", "-s", "table", *(["--", *words] if words else [])])
    recordings = {path: _begin(session, path, chosen, launches=given.launches, command=command) for path in paths}
    plan = Plan(
        cases=chosen,
        launches=given.launches,
        tune_s=given.compile_timeout,
        without=tuple(given.without),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=float(environment["memory_bytes"]),
        check_idle=lambda: throughput.check_idle(session),
    )
    print(
        f"table: {len(chosen)} cases on {environment['gpu']}, {', '.join(paths)}; kept after each launch in {output}."
    )
    work = Run(project=project, plan=plan, recordings=recordings, output=output)
    with gpu_lock.hold(environment["uuid"]):
        throughput.check_idle(session)
        work.tune()
        work.launch(lambda path: recordings[path].write(output / f"{path}.json"))
    return publish(list(recordings.values()), output)


def _begin(session: Session, path: str, chosen: Sequence[Case], *, launches: int, command: str) -> Recording:
    environment = {key: value for key, value in session.environment.items() if value}
    return Recording(
        about={
            "environment": {**environment, "code_path": path},
            "settings": session.settings.measurement(),
            "recorded_at": datetime.now(UTC).isoformat(timespec="minutes").removesuffix("+00:00"),
            "command": command,
            "commit": processes.commit(session.settings),
            "launches": launches,
        },
        cases={case.id: contract_of(case) for case in chosen},
    )


def publish(recordings: Sequence[Recording], output: Path | None) -> int:
    """Print the tables and which design targets hold, write the tables where a folder is named; the exit code."""
    for recording in recordings:
        page = markdown(recording)
        print(f"\n{page}\n")
        if output:
            output.mkdir(parents=True, exist_ok=True)
            (output / f"{recording.path}.md").write_text(page + "\n", encoding="utf-8")
    print(f"Design targets of {SOURCE}:")
    for recording in recordings:
        for line in acceptance(rows(recording)) or [f"{recording.path}: there are none for this code path."]:
            print(line)
    if output:
        print(f"table: wrote {', '.join(str(output / f'{recording.path}.md') for recording in recordings)}")
    return min((code for recording in recordings if (code := _exit_code(recording))), default=0)


def _exit_code(recording: Recording) -> int:
    """1 where the kernel was wrong, 2 where it has no number, in any case; the lower wins."""
    if any(failure.wrong for failure in recording.failed if failure.arm == KERNEL):
        return _WRONG
    return _COULD_NOT if any(row.seconds is None for row in rows(recording)) else 0


def main(words: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    try:
        given = _parser().parse_args(words)
        if given.sources:
            return publish([read(path) for path in given.sources], given.output)
        if given.launches < 1:
            raise GateError("bad-usage", f"--launches is {given.launches}; expected 1 or more.")
        if not given.compile_timeout > 0:
            raise GateError(
                "bad-usage", f"--compile-timeout is {given.compile_timeout:g}; expected more than 0 seconds."
            )
        return run(settings.load(Path.cwd()), given, words)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
