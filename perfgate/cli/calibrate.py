"""``python -m perfgate calibrate``: measure the gate's own error rates on the GPU present."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.calibration import LAUNCHES, RUNS, SIZES

if TYPE_CHECKING:
    import argparse


def _parser() -> command_line.Parser:
    made = command_line.parser(
        "calibrate",
        "Measure how often the gate cries wolf and how often it finds real slowdowns, on the card present.",
    )
    made.add_argument("--size", action="append", default=[], choices=SIZES, help="inject this slowdown only")
    made.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help="worker processes")
    made.add_argument("--add", type=Path, metavar="FILE", help="do this recording's work again and add to it")
    command_line.case_option(made)
    made.add_argument("-m", metavar="EXPR", help="only cases with this marker, as pytest's -m (quick)")
    made.add_argument("--runs", type=int, default=RUNS, metavar="N", help="runs drawn for each case and size")
    made.add_argument("--from", dest="source", type=Path, metavar="FILE", help="table and plot of a saved recording")
    return made


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    command_line.at_least(options, runs=1, launches=1)

    from perfgate.calibration.session import publish, run
    from perfgate.config import read_settings

    project = read_settings(Path.cwd())
    if options.source:
        publish(options.source, project, runs=options.runs)
        return 0
    return run(project, options)
