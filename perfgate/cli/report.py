"""``python -m perfgate report``, which a run calls at its end. Reads files, draws, writes one file whole or not at all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.cli.common import Parser
from perfgate.cli.judge import Asked
from perfgate.files import write_whole
from perfgate.limits import read_limits
from perfgate.records import GateError
from perfgate.report import charts, overview
from perfgate.report.build import view
from perfgate.report.curves import read_curve
from perfgate.report.document import document
from perfgate.report.extras import read_extras
from perfgate.report.inputs import read_inputs

if TYPE_CHECKING:
    from perfgate.report.view import View

PAGE = "report.html"
_COULD_NOT = 2


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate report",
        description="Make one HTML page of a run (run.json, with current.json for its samples), or of samples alone, which are then "
        "judged as python -m perfgate judge does.",
        epilog="Exit code: 0 where the page was written, whatever it says; 2 where it could not be.",
        allow_abbrev=False,
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
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        action="append",
        default=[],
        help="a calibration's recording, for its curve (may be repeated)",
    )
    parser.add_argument("--counters", metavar="FILE", help="counters of both sides, and what moved with a case's time")
    parser.add_argument("--history", metavar="FILE", help="times of earlier commits")
    parser.add_argument(
        "--keep", metavar="FOLDER", type=Path, help="keep a calibration's rates there, which take seconds to work out"
    )
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path(PAGE), help=f"where to ({PAGE})")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0 or 2."""
    try:
        options = _parser().parse_intermixed_args(argv)
        limits = read_limits(Path.cwd())
        asked = Asked(
            current=(),
            baselines=options.baseline,
            anchor=options.anchor,
            fail_on_drift=options.fail_on_drift,
            cases=options.case,
        )
        found = view(
            read_inputs(options.files, asked, limits),
            read_extras(counters=options.counters, history=options.history),
            [read_curve(source, limits, kept_in=options.keep) for source in options.calibration],
        )
        made, missing = _charts(found)
        write(options.output, document(found, made))
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    print(f"report: {options.output}{f', without charts: {missing}' if missing else ''}")
    return 0


def _charts(found: View) -> tuple[dict[str, str], str]:
    """Every chart, or none and why."""
    if not (found.curves or any(one.speed for one in found.cases)):
        return {}, ""
    try:
        charts.check()
    except GateError as error:
        return {}, error.text
    return drawn(found), ""


def drawn(found: View) -> dict[str, str]:
    """Every chart of a page by its key: of cases, of cards, of calibrations."""
    made = {f"case {one.name}": charts.case_chart(one.speed, name=one.name) for one in found.cases if one.speed}
    for number, card in enumerate(found.cards):
        made[f"roofline {number}"] = overview.roofline(card)
        made[f"vendor {number}"] = overview.beside_vendor(card)
    return made | {f"curve {number}": overview.detection(curve) for number, curve in enumerate(found.curves)}


def write(path: Path, text: str) -> None:
    """Write a file of the page.

    Raises:
        GateError: ``unwritable``.
    """
    try:
        write_whole(path, text, make_folder=False)
    except OSError as error:
        raise GateError(
            "unwritable", f"{path} cannot be written ({error}), expected a folder that can be; name another."
        ) from None
