"""``python -m perfgate report``: one HTML page of saved files, no card needed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError

if TYPE_CHECKING:
    import argparse


def _parser() -> command_line.Parser:
    parser = command_line.parser(
        "report",
        "Make one HTML page of a run (run.json, with current.json for its samples), or of samples alone, which are then "
        "judged as python -m perfgate judge does.",
        epilog="Exit code: 0 where the page was written, whatever it says; 2 where it could not be.",
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="run.json, current.json, or recordings of several launches or cards"
    )
    parser.add_argument(
        "--baseline", metavar="FILE", action="append", default=[], help="as judge takes it; beside a run, its samples"
    )
    parser.add_argument("--anchor", metavar="FILE", help="as judge takes it")
    parser.add_argument("--fail-on-drift", action="store_true", help="as judge takes it")
    parser.add_argument("--case", metavar="ID", action="append", help="judge this case only (may be repeated)")
    parser.add_argument("--counters", metavar="FILE", help="counters of both sides, and what moved with a case's time")
    parser.add_argument("--history", metavar="FILE", help="times of earlier commits")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, default=Path("report.html"), help="where to (%(default)s)"
    )
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0 or 2."""
    try:
        return _work(_parser().parse_intermixed_args(argv))
    except GateError as error:
        return command_line.refused(error)


def _work(options: argparse.Namespace) -> int:
    from perfgate.config import read_limits
    from perfgate.report import page
    from perfgate.store.by_card import Asked

    asked = Asked(
        current=(),
        baselines=options.baseline,
        anchor=options.anchor,
        fail_on_drift=options.fail_on_drift,
        cases=options.case,
    )
    page.from_files(
        options.files,
        asked,
        read_limits(Path.cwd()),
        counters=options.counters,
        history=options.history,
        output=options.output,
    )
    print(f"report: {options.output}")
    return 0
