"""``python -m perfgate counters``: read hardware counters with ncu, compare them with the stored ones, say what moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

CALLS, PROCESSES = 3, 2
"""Profiled of each side; what differs between processes (addresses above all) is noise as well."""


def _parser() -> command_line.Parser:
    made = command_line.parser(
        "counters",
        "Read hardware counters of the kernel with ncu, compare them with the stored ones, and say what moved.",
    )
    command_line.case_option(made)
    command_line.quick_option(made)
    made.add_argument("--record", action="store_true", help="store what is read, with a reason")
    made.add_argument("--reason", default="", help="why they are recorded; kept in the file")
    made.add_argument(
        "--against",
        metavar="REF_OR_FILE",
        help="profile that kernel too and compare with it, or with a file of counters",
    )
    made.add_argument("--calls", type=int, default=CALLS, metavar="N", help="profiled calls of each process")
    made.add_argument(
        "--processes", type=int, default=PROCESSES, metavar="N", help="how many profile one after another"
    )
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; returns 0, or 2 where it was refused."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    command_line.at_least(options, calls=2, processes=1)

    from perfgate.config import read_settings
    from perfgate.profiling.session import Options, run

    chosen = Options(
        cases=tuple(options.case),
        quick=options.m == command_line.QUICK,
        record=options.record,
        reason=options.reason,
        against=options.against,
        calls=options.calls,
        processes=options.processes,
    )
    return run(read_settings(Path.cwd()), chosen)
