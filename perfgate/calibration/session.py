"""``python -m perfgate calibrate``: records launches with known slowdowns, and publishes the gate's own error rates.

Owns the command line and which files are written where. ``--from FILE`` makes table and plot of a saved recording
again, without a card.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import settings
from perfgate.calibration import processes, report
from perfgate.calibration.rates import RUNS, SIZES, rates, read_calibration
from perfgate.calibration.resampling import ALL_LAUNCHES
from perfgate.cli.common import Parser
from perfgate.gate.throughput import baseline_name
from perfgate.limits import read_limits
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Request, open_session
from perfgate.records import GateError, exit_code

if TYPE_CHECKING:
    from perfgate.settings import Settings

LAUNCHES = 12
_COULD_NOT = 2
NAME = "calibration.json.gz"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for."""

    launches: int = LAUNCHES
    cases: tuple[str, ...] = ()
    """Chosen by id; empty means all."""
    choosing: tuple[str, ...] = ()
    """Pytest's ``-m`` with its value."""
    sizes: tuple[str, ...] = ()
    """Slowdowns to inject, by name; empty means all."""
    runs: int = RUNS
    """Runs drawn for each case and size."""
    add_to: Path | None = None
    """A recording to add the launches to."""

    def command(self) -> str:
        """What repeats this."""
        chosen = [
            *(f"--case={case}" for case in self.cases),
            *self.choosing,
            *(f"--size={size}" for size in self.sizes),
        ]
        added = [f"--add={self.add_to}"] if self.add_to else []
        return shlex.join(["python", "-m", "perfgate", "calibrate", f"--launches={self.launches}", *added, *chosen])


def run(project: Settings, options: Options) -> int:
    """Record launches on the card present, work out the rates, write recording, table and plot.

    Returns:
        0 when every case was recorded in every launch; else the exit code of the worst.

    Raises:
        GateError: There is no card, a launch crashed, or nothing was recorded.
    """
    session = open_session(project, Request(cases=options.cases, choosing=options.choosing))
    gpu, why = session.environment["gpu"], session.environment["why"]
    if not gpu:
        raise GateError("no-card", f"Calibration needs a CUDA card and there is none ({why}).")
    for case in options.cases:
        if case not in session.timed:
            raise GateError(
                "bad-usage", f"{case} is checked but not timed; expected one of {', '.join(session.timed)}."
            )
    scratch = session.output / NAME
    plan = processes.Plan(
        launches=options.launches,
        command=options.command(),
        choosing=options.choosing,
        sizes=options.sizes,
        add_to=options.add_to,
    )
    print(f"calibrate: on {gpu}, {options.launches} launches; kept after each in {scratch.relative_to(project.root)}.")
    with gpu_lock.hold(session.environment["uuid"]):
        failed = processes.record(session, plan, scratch)
    if (count := len(read_calibration(scratch).launches)) < ALL_LAUNCHES:
        raise GateError(
            "too-few-launches",
            f"{count} launches are recorded, expected {ALL_LAUNCHES} or more for rates; they are kept, so add to them: "
            f"python -m perfgate calibrate --add {scratch.relative_to(project.root)} --launches {ALL_LAUNCHES - count}.",
        )
    path = scratch
    if not (session.partial or options.sizes):  # a part never takes the place of the whole beside the baselines
        path = project.root / project.baselines / baseline_name(session, NAME)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(scratch.read_bytes())
    for verdict in failed:
        print(f"calibrate: {verdict.status} {verdict.reason}: {verdict.text}")
    publish(path, project, runs=options.runs, plot=importlib.util.find_spec("matplotlib") is not None)
    return exit_code(failed) if failed else 0


def publish(path: Path, project: Settings, *, runs: int, plot: bool = True) -> None:
    """Write the table and the plot of a recording beside it.

    Args:
        path: The recording.
        project: The project's settings.
        runs: Runs drawn for each case and size.
        plot: Whether to draw; where not, it is said.
    """
    recorded = read_calibration(path)
    limits = read_limits(project.root)
    found = rates(recorded, limits, runs=runs)
    stem = path.parent / path.name.removesuffix(".gz").removesuffix(".json")
    drawing = stem.with_suffix(".svg")
    if plot:
        about = recorded.about
        title = f"{about.get('gpu', '')}, {len(recorded.launches)} launches, {about.get('recorded_at', '')[:10]}"
        report.draw(found.cases, limits, drawing, title=title)
    else:
        drawing.unlink(missing_ok=True)
        print(
            "calibrate: the plot is NOT drawn, matplotlib is not installed here; draw it where it is: "
            f"python -m perfgate calibrate --from {path.name}"
        )
    page = report.markdown(recorded, found, limits, plot=drawing.name if plot else "")
    stem.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)
    for file in (path, stem.with_suffix(".md"), *([drawing] if plot else [])):
        print(f"calibrate: wrote {file}")


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate calibrate",
        description="Measure how often the gate cries wolf and how often it finds real slowdowns, on the card present.",
        allow_abbrev=False,
    )
    parser.add_argument("--size", action="append", default=[], choices=SIZES, help="inject this slowdown only")
    parser.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help="worker processes")
    parser.add_argument("--add", type=Path, metavar="FILE", help="do this recording's work again and add to it")
    parser.add_argument("--case", action="append", default=[], metavar="ID", help="only this case (may be repeated)")
    parser.add_argument("-m", metavar="EXPR", help="only cases with this marker, as pytest's -m (quick)")
    parser.add_argument("--runs", type=int, default=RUNS, metavar="N", help="runs drawn for each case and size")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help="table and plot of a saved recording")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    try:
        given = _parser().parse_args(argv)
        for name in ("runs", "launches"):
            if (value := getattr(given, name)) < 1:
                raise GateError("bad-usage", f"--{name} is {value}; expected 1 or more.")
        project = settings.load(Path.cwd())
        if given.source:
            publish(given.source, project, runs=given.runs)
            return 0
        choosing = () if given.m is None else (f"-m{given.m}",)
        chosen = Options(
            launches=given.launches,
            cases=tuple(given.case),
            choosing=choosing,
            sizes=tuple(given.size),
            runs=given.runs,
            add_to=given.add,
        )
        return run(project, chosen)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
