"""Runs cases under ncu, in several processes, and puts what it read together. Judges nothing.

Owns how ncu is found and called, and how its rows are told apart: the process beneath it says which kernels each call
launches, and there have to be as many rows as that makes. Clocks are left as they are; caches ncu itself flushes before
each pass, as the gate does before each timed run.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import workers
from perfgate.files import write_whole
from perfgate.profiling.compare import gathered
from perfgate.profiling.metrics import METRICS
from perfgate.profiling.ncu import NO_NCU, Profiled, profiled, refuse_errors
from perfgate.profiling.store import CaseCounters
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from perfgate.settings import Settings

CALLS, PROCESSES = 3, 2
"""Profiled of each side; what differs between processes (addresses above all) is noise as well."""
_USUAL_PLACES = ("/usr/local/cuda*/bin/ncu", "/opt/nvidia/nsight-compute/*/ncu")
_VERSION = re.compile(r"^Version (?P<version>\S+)", re.MULTILINE)
_ASK_S = 60


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be profiled."""

    cases: Sequence[str]
    sides: Mapping[str, Path]
    """Kernel files by the name of their side."""
    calls: int = CALLS
    processes: int = PROCESSES


def find_ncu() -> str:
    """Where ncu is: on the path, or else where its packages put it, the newest first.

    Raises:
        GateError: `NO_NCU`.
    """
    if named := shutil.which("ncu"):
        return named
    found = [path for place in _USUAL_PLACES for path in Path("/").glob(place.lstrip("/")) if os.access(path, os.X_OK)]
    if not found:
        raise GateError(
            NO_NCU,
            "there is no ncu on the path, nor where its packages put it, expected Nsight Compute; install it (it comes with the "
            "CUDA toolkit, or as nsight-compute) and put ncu on the path.",
        )
    return str(max(found, key=lambda path: [int(number) for number in re.findall(r"\d+", str(path))]))


def version_of(ncu: str) -> str:
    """The version that ncu says it has; empty where it says none."""
    try:
        done = subprocess.run([ncu, "--version"], capture_output=True, text=True, check=False, timeout=_ASK_S)  # noqa: S603 - found above
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = _VERSION.search(done.stdout)
    return said["version"] if said else ""


def profile(settings: Settings, plan: Plan, *, ncu: str, output: Path) -> dict[str, dict[str, CaseCounters]]:
    """Profile every case of a plan.

    Args:
        settings: The project's.
        plan: What.
        ncu: The program.
        output: Folder for plans, logs and results, of which this one's are left there.

    Returns:
        By side and case, its counters.

    Raises:
        GateError: ncu is not allowed to count, or does not know the card, or failed; or a case cannot be counted.
    """
    output.mkdir(parents=True, exist_ok=True)
    calls: dict[str, dict[str, list[tuple[Profiled, ...]]]] = {
        side: {case: [] for case in plan.cases} for side in plan.sides
    }
    code: dict[tuple[str, str], str] = {}
    for number in range(1, plan.processes + 1):
        launched, rows = _one_process(settings, plan, number, ncu=ncu, output=output)
        for case, side, found in _told_apart(plan, launched, rows):
            calls[side][case] += found
            before = code.setdefault((side, case), launched[case][side]["code"])
            if before != launched[case][side]["code"]:
                raise GateError(
                    "counters-disagree",
                    f"{case} launched other code in process {number} than in the first, expected the same; profile it again "
                    "when nothing edits the kernel.",
                )
    return {
        side: {
            case: CaseCounters(kernels=gathered(found), code=code[side, case], calls=len(found))
            for case, found in of_side.items()
        }
        for side, of_side in calls.items()
    }


def _one_process(
    settings: Settings, plan: Plan, number: int, *, ncu: str, output: Path
) -> tuple[dict[str, Any], tuple[Profiled, ...]]:
    """What the process said that it launched, by case and side, and what ncu read of it."""
    plan_path, results = (output / f"{what}-{number}.json" for what in ("plan", "results"))
    table, log = output / f"ncu-{number}.csv", output / f"process-{number}.log"
    for stale in (results, table, log):
        stale.unlink(missing_ok=True)
    caches = {side: None if side == "kernel" else str(output / f"triton-cache-{side}") for side in plan.sides}
    document = {
        "cases": list(plan.cases),
        "sides": {side: {"kernel": str(path), "cache": caches[side]} for side, path in plan.sides.items()},
        "calls": plan.calls,
        "seed": secrets.randbelow(2**31),
    }
    write_whole(plan_path, json.dumps(document, indent=1) + "\n")
    options = ("--clock-control", "none", "--profile-from-start", "off", "--target-processes", "application-only")
    printed = ("--csv", "--page", "raw", "--print-units", "base", "--log-file", str(table))
    metrics = ("--metrics", ",".join(metric.name for metric in METRICS))
    worker = (sys.executable, "-m", "perfgate.profiling.worker", str(plan_path), str(results))
    ended = _run((ncu, *options, *printed, *metrics, *worker), settings, log)
    text = table.read_text(encoding="utf-8", errors="replace") if table.is_file() else ""
    said = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    if "error" in said:
        raise GateError(said["error"]["reason"], said["error"]["text"])
    # Some versions say what is wrong with ncu itself, such as an option that they do not know, where the process speaks.
    refuse_errors(f"{text}\n{log.read_text(encoding='utf-8', errors='replace')}")
    if "cases" not in said:
        raise GateError(
            "no-counters", f"The profiled process left no results ({ended}), expected them; its output is in {log}."
        )
    return said["cases"], profiled(text)


def _run(command: Sequence[str], settings: Settings, log: Path) -> str:
    """Run ncu with what is beneath it; says how it ended."""
    with log.open("wb") as stream:
        process = workers.start(
            command, cwd=settings.root, environment=workers.environment(), stdout=stream, stderr=stream
        )
        try:
            code = process.wait(settings.launch_timeout_s)
        except subprocess.TimeoutExpired:
            return f"it did not end within {settings.launch_timeout_s} s"
        finally:
            workers.end(process)  # with ncu, what it profiles
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
    return f"exit code {code}: {lines[-1]}"


def _told_apart(
    plan: Plan, launched: Mapping[str, Any], rows: Sequence[Profiled]
) -> Iterator[tuple[str, str, list[tuple[Profiled, ...]]]]:
    """By case and side, the rows of each call; a kernel that no case launches (a fill) is nobody's."""
    known = {name for sides in launched.values() for side in sides.values() for name in side["names"]}
    left = [row for row in rows if row.name in known]
    for case in plan.cases:
        for side in plan.sides:
            names = launched[case][side]["names"]
            found = [tuple(left[at : at + len(names)]) for at in range(0, plan.calls * len(names), len(names))]
            if any([row.name for row in call] != names for call in found):
                seen = ", ".join(row.name for row in left[: plan.calls * len(names)]) or "none"
                raise GateError(
                    "counters-disagree",
                    f"ncu saw {seen} in {plan.calls} calls of {case}, expected {', '.join(names)} in each; see its table.",
                )
            del left[: plan.calls * len(names)]
            yield case, side, found
    if left:
        raise GateError(
            "counters-disagree",
            f"ncu saw {len(left)} launches beyond those of the cases, expected none; see its table.",
        )
