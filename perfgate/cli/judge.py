"""``python -m perfgate judge``: judges saved files anywhere, no GPU and no torch needed.

What it prints goes to standard output; a usage error is one line on standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.records import Verdict


def _parser() -> command_line.Parser:
    parser = command_line.parser(
        "judge",
        "Judge saved measurements against a baseline, or against the other side measured with them. "
        "Files of several cards are judged card by card.",
        epilog="Exit code: 0 pass, 1 regression or wrong result, 2 could not compare, 3 unsure.",
    )
    parser.add_argument(
        "--baseline",
        metavar="FILE",
        action="append",
        default=[],
        help="what to compare with: a file (may be repeated, one a card) or a folder of baselines; without it, the other "
        "side in FILEs",
    )
    parser.add_argument(
        "--current",
        metavar="FILE",
        nargs="+",
        action="extend",
        required=True,
        help="several files of one card are several launches",
    )
    parser.add_argument("--anchor", metavar="FILE", help="the card's first baseline, for small steps that add up")
    parser.add_argument("--fail-on-drift", action="store_true", help="call too much of them SLOWER")
    parser.add_argument("--case", metavar="ID", action="append", help="judge this case only (may be repeated)")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1, 2 or 3."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    from perfgate.config import read_limits
    from perfgate.records import exit_code
    from perfgate.store.by_card import Asked, about_files, judge_files

    metrics: dict[str, Metrics] = {}
    partial = None
    try:
        asked = Asked(
            current=options.current,
            baselines=options.baseline,
            anchor=options.anchor,
            fail_on_drift=options.fail_on_drift,
            cases=options.case,
        )
        judged = judge_files(asked, read_limits(Path.cwd()))
        verdicts = tuple(verdict for one in judged for verdict in one.verdicts)
        metrics = {case: found for one in judged for case, found in one.metrics.items()}
        if options.case:
            partial = (sum(one.chosen for one in judged), sum(one.known for one in judged))
    except GateError as error:
        verdicts = (about_files(error),)
    _print(options.format, verdicts, metrics=metrics, partial=partial)
    return exit_code(verdicts)


def _print(
    form: str, verdicts: Sequence[Verdict], *, metrics: Mapping[str, Metrics], partial: tuple[int, int] | None
) -> None:
    from perfgate import console
    from perfgate.report import text as report_text
    from perfgate.report.verdicts import format_json, format_markdown

    if form == "json":
        print(format_json(verdicts))
    elif form == "markdown":
        print(format_markdown(verdicts, metrics=metrics, partial=partial))
    else:
        look = console.look(sys.stdout, os.environ)
        print(report_text.format_text(verdicts, metrics=metrics, partial=partial, look=look))
