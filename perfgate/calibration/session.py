"""Records launches with known slowdowns, and publishes the gate's own error rates.

Owns the order of the steps and which files are written where. Table and plot of a saved recording are made again without a
card.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from perfgate.calibration import processes, report
from perfgate.calibration.rates import rates, read_calibration
from perfgate.calibration.resampling import ALL_LAUNCHES
from perfgate.config import read_limits
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Request, baseline_name, open_session
from perfgate.records import GateError, exit_code

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from perfgate.config import Settings

NAME = "calibration.json.gz"


def run(project: Settings, options: argparse.Namespace) -> int:
    """Record launches on the card present, work out the rates, write recording, table and plot.

    Args:
        project: The project's settings.
        options: Of the command: ``launches``, ``add``, ``case``, ``m``, ``size``, ``runs``.

    Returns:
        0 when every case was recorded in every launch; else the exit code of the worst.

    Raises:
        GateError: There is no card, a launch crashed, or nothing was recorded.
    """
    choosing = () if options.m is None else (f"-m{options.m}",)
    session = open_session(project, Request(cases=tuple(options.case), choosing=choosing))
    gpu, why = session.environment["gpu"], session.environment["why"]
    if not gpu:
        raise GateError("no-card", f"Calibration needs a CUDA card and there is none ({why}).")
    session.require_timed(options.case)
    scratch = session.output / NAME
    print(f"calibrate: on {gpu}, {options.launches} launches; kept after each in {scratch.relative_to(project.root)}.")
    with gpu_lock.hold(session.environment["uuid"]):
        failed = processes.record(session, options, scratch)
    if (count := len(read_calibration(scratch).launches)) < ALL_LAUNCHES:
        raise GateError(
            "too-few-launches",
            f"{count} launches are recorded, expected {ALL_LAUNCHES} or more for rates; they are kept, so add to them: "
            f"python -m perfgate calibrate --add {scratch.relative_to(project.root)} --launches {ALL_LAUNCHES - count}.",
        )
    path = scratch
    if not (session.partial or options.size):  # a part never takes the place of the whole beside the baselines
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
    drawing, table = stem.with_suffix(".svg"), stem.with_suffix(".md")
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
    table.write_text(page, encoding="utf-8")
    print(page)
    for file in (path, table, *([drawing] if plot else [])):
        print(f"calibrate: wrote {file}")
