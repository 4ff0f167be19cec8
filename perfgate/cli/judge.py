"""``python -m perfgate judge``: judges saved files anywhere, no card and no torch needed.

Owns the command line of that command: which files, which baseline for which card, which format. What it prints goes to
standard output; a usage error is one line on standard error.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.cli.common import Parser
from perfgate.compare.judge import judge
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.limits import read_limits
from perfgate.records import GateError, Status, Verdict, exit_code
from perfgate.report import console, markdown
from perfgate.report import text as report_text
from perfgate.store import by_card
from perfgate.store.recording import merge, read_each, read_recording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.limits import Limits
    from perfgate.records import Recording
    from perfgate.store.by_card import Group

_COULD_NOT = 2
_BASELINE = "matmul.json"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate judge",
        description="Judge saved measurements against a baseline, or against the other side measured with them. "
        "Files of several cards are judged card by card.",
        epilog="Exit code: 0 pass, 1 regression or wrong result, 2 could not compare, 3 unsure.",
        allow_abbrev=False,
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
    try:
        options = _parser().parse_args(argv)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    metrics, partial = {}, None
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
        verdicts = (_about_files(error),)
    if options.format == "json":
        print(markdown.format_json(verdicts))
    elif options.format == "markdown":
        print(markdown.format_markdown(verdicts, metrics=metrics, partial=partial))
    else:
        look = console.look(sys.stdout, os.environ)
        print(report_text.format_text(verdicts, metrics=metrics, partial=partial, look=look))
    return exit_code(verdicts)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be judged, and by what."""

    current: Sequence[str]
    """Files; several of one card are several launches."""
    baselines: Sequence[str] = ()
    """Files, or folders of baselines; none compares with the other side in the files."""
    anchor: str | None = None
    """The card's first baseline, for small steps that add up."""
    fail_on_drift: bool = False
    cases: Sequence[str] | None = None
    """Judge only these."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What came of one card's files."""

    group: Group
    verdicts: tuple[Verdict, ...] = ()
    metrics: dict[str, Metrics] = field(default_factory=dict)
    current: Recording | None = None
    """All of the card's files; None where they could not be judged together."""
    baseline: Recording | None = None
    chosen: int = 0
    known: int = 0


def judge_files(asked: Asked, limits: Limits) -> list[Judged]:
    """Judge each card's files by the baseline of that card; what spoils one card's files spoils no other's.

    Raises:
        GateError: A file cannot be read, or the only card's files cannot be judged.
    """
    groups = by_card.groups(read_each(asked.current))
    if len(groups) == 1:
        return [_judge_group(groups[0], asked, limits)]
    found = []
    for group in groups:
        try:
            found.append(_judge_group(group, asked, limits))
        except GateError as error:
            found.append(Judged(group=group, verdicts=by_card.labelled([_about_files(error)], group)))
    return found


def _judge_group(group: Group, asked: Asked, limits: Limits) -> Judged:
    """Judge one card's files; their number of cases alone decides how its false alarms are divided."""
    current = merge(group.recordings)
    baseline = _baseline_of(group, asked.baselines)
    verdicts = judge(
        baseline,
        current,
        limits,
        selected=asked.cases,
        anchor=read_recording(asked.anchor) if asked.anchor and baseline else None,
        fail_on_drift=asked.fail_on_drift,
    )
    if asked.baselines and baseline is None:
        verdicts = by_card.without_baseline(group, verdicts, asked.baselines)
    found = recording_metrics(current, card(group.gpu))
    return Judged(
        group=group,
        verdicts=by_card.labelled(verdicts, group),
        metrics={by_card.named(case, group): numbers for case, numbers in found.items()},
        current=current,
        baseline=baseline,
        chosen=len(verdicts),
        known=len({*current.samples, *(baseline.samples if baseline else {}), *(asked.cases or ())}),
    )


def _baseline_of(group: Group, given: Sequence[str]) -> Recording | None:
    """The baseline that judges a card's files; None where none is given, or none of those given is of that card."""
    files = [read_recording(path) for path in given if not Path(path).is_dir()]
    if len(given) == len(files) == 1 and not group.label:
        return files[0]  # of another card or not: `judge` refuses it and says what differs
    stored = [Path(folder) / group.folder / _BASELINE for folder in given if group.folder and Path(folder).is_dir()]
    held = [read_recording(path) for path in stored if path.is_file()]
    return by_card.of_its_card(group, [*files, *held]) or next(iter(held), None)


def _about_files(error: GateError) -> Verdict:
    return Verdict(case="*", status=Status.INVALID, reason=error.reason, text=error.text)
