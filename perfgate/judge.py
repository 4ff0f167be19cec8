"""``python -m perfgate judge``: judges saved files anywhere, no card and no torch needed.

Owns the command line of that command: which files, which format. What it prints goes to standard output; a usage
error is one line on standard error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from perfgate import report
from perfgate.baselines import read_launches, read_recording
from perfgate.cards import card
from perfgate.limits import read_limits
from perfgate.metrics import recording_metrics
from perfgate.records import GateError, Status, Verdict, exit_code
from perfgate.verdict import judge

_COULD_NOT = 2


class _Parser(argparse.ArgumentParser):
    """Says a usage error in one line instead of the whole usage."""

    def error(self, message: str) -> NoReturn:
        raise GateError("bad-usage", f"{message}; see {self.prog} --help.")


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m perfgate judge",
        description="Judge saved measurements against a baseline, or against the other side measured with them.",
        epilog="Exit code: 0 pass, 1 regression or wrong result, 2 could not compare, 3 unsure.",
        allow_abbrev=False,
    )
    parser.add_argument("--baseline", metavar="FILE", help="what to compare with; without it, the other side in FILEs")
    parser.add_argument(
        "--current",
        metavar="FILE",
        nargs="+",
        action="extend",
        required=True,
        help="several files are several launches",
    )
    parser.add_argument("--case", metavar="ID", action="append", help="judge this case only (may be repeated)")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1, 2 or 3."""
    try:
        options = _parser().parse_args(argv)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    metrics, partial = {}, None
    try:
        limits = read_limits(Path.cwd())
        current = read_launches(options.current)
        baseline = read_recording(options.baseline) if options.baseline else None
        verdicts = judge(baseline, current, limits, selected=options.case)
        metrics = recording_metrics(current, card(current.environment.get("gpu", "")))
        if options.case:
            known = {*current.samples, *(baseline.samples if baseline else {}), *options.case}
            partial = (len(verdicts), len(known))
    except GateError as error:
        verdicts = (Verdict(case="*", status=Status.INVALID, reason=error.reason, text=error.text),)
    if options.format == "json":
        print(report.format_json(verdicts))
    else:
        show = report.format_markdown if options.format == "markdown" else report.format_text
        print(show(verdicts, metrics=metrics, partial=partial))
    return exit_code(verdicts)
