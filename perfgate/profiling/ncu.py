"""Runs cases under ncu, in several processes, and reads what it prints: one record a profiled launch. Judges nothing.

Owns how ncu is found and called, how its table is read, and how its rows are told apart: the process beneath it says which
kernels each call launches, and there have to be as many rows as that makes. Clocks are left as they are; caches ncu itself
flushes before each pass, as the gate does before each timed run. ncu is asked for CSV of its raw page: a head with a column a
metric, a row of units, a row a launch; lines that begin with ``==`` are its messages and may stand anywhere. What is not
understood is refused in one sentence.
"""

from __future__ import annotations

import csv
import json
import math
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
from perfgate.profiling.metrics import BY_NAME, METRICS, Kind, Metric
from perfgate.profiling.store import CaseCounters
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from perfgate.config import Settings

NO_NCU, NO_PERMISSION, CARD_NOT_KNOWN = "no-ncu", "no-counter-permission", "card-not-profiled"
_KERNEL, _GRID = "Kernel Name", "Grid Size"
_HEAD = '"ID",'
_MESSAGE, _ERROR = "==", "==ERROR== "
_OF_THE_PROCESS = "The application returned an error code"
"""Said of what is profiled, whose own output knows more."""
_NUMBER = re.compile(r"-?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?([eE][-+]?\d+)?")
_SIZES = re.compile(r"\(\s*(\d+),\s*(\d+),\s*(\d+)\s*\)")
_SHOWN = 120
_UNITS: Mapping[Kind, Mapping[str, float]] = {
    Kind.SHARE: {"%": 1},
    Kind.BYTES: {"byte": 1, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12},
    Kind.SECONDS: {
        "nsecond": 1e-9,
        "usecond": 1e-6,
        "msecond": 1e-3,
        "second": 1,
        "ns": 1e-9,
        "us": 1e-6,
        "ms": 1e-3,
        "s": 1,
    },
    Kind.COUNT: {"": 1, "inst": 1, "sector": 1, "block": 1},
}
"""What a unit is in SI; older versions of ncu write seconds out, newer ones do not."""
_KNOWN_ERRORS = (
    (
        "ERR_NVGPUCTRPERM",
        NO_PERMISSION,
        (
            "the driver lets only root read counters, expected every user; set the driver's option "
            "NVreg_RestrictProfilingToAdminUsers=0 (.github/RUNNER.md, Counters for ncu) or run this as root."
        ),
    ),
    (
        "not supported on device",
        CARD_NOT_KNOWN,
        (
            "this ncu does not know the card ({error}), expected one that `ncu --list-chips` names; install the "
            "Nsight Compute of this driver's CUDA."
        ),
    ),
    (
        "Failed to find metric",
        "no-such-counter",
        (
            "ncu has no such counter on this card ({error}), expected it to; `ncu --query-metrics` lists them, "
            "another version of Nsight Compute may have it."
        ),
    ),
)
"""What ncu says, and the reason and sentence that become of it."""
_USUAL_PLACES = ("/usr/local/cuda*/bin/ncu", "/opt/nvidia/nsight-compute/*/ncu")
_VERSION = re.compile(r"^Version (?P<version>\S+)", re.MULTILINE)
_ASK_S = 60


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """One launch of a kernel, with every counter that was asked for, in SI."""

    name: str
    grid: tuple[int, int, int]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be profiled."""

    cases: Sequence[str]
    sides: Mapping[str, Path]
    """Kernel files by the name of their side."""
    calls: int
    """Of each process."""
    processes: int


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
        By side and case, its counters, without commit and date.

    Raises:
        GateError: ncu is not allowed to count, or does not know the card, or failed; or a case cannot be counted.
    """
    output.mkdir(parents=True, exist_ok=True)
    calls: dict[tuple[str, str], list[tuple[Profiled, ...]]] = {}
    code: dict[tuple[str, str], str] = {}
    for number in range(1, plan.processes + 1):
        launched, rows = _one_process(settings, plan, number, ncu=ncu, output=output)
        for case, side, found in _told_apart(plan, launched, rows):
            calls.setdefault((side, case), []).extend(found)
            if code.setdefault((side, case), launched[case][side]["code"]) != launched[case][side]["code"]:
                raise GateError(
                    "counters-disagree",
                    f"{case} launched other code in process {number} than in the first, expected the same; profile it again "
                    "when nothing edits the kernel.",
                )
    counters: dict[str, dict[str, CaseCounters]] = {side: {} for side in plan.sides}
    for (side, case), found in calls.items():
        counters[side][case] = CaseCounters(
            kernels=gathered(found), code=code[side, case], calls=len(found), commit="", recorded_at=""
        )
    return counters


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
    metrics = ("--metrics", ",".join(BY_NAME))
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
            mine = left[: plan.calls * len(names)]
            found = [tuple(mine[at : at + len(names)]) for at in range(0, plan.calls * len(names), len(names))]
            if any([row.name for row in call] != names for call in found):
                seen = ", ".join(row.name for row in mine) or "none"
                raise GateError(
                    "counters-disagree",
                    f"ncu saw {seen} in {plan.calls} calls of {case}, expected {', '.join(names)} in each; see its table.",
                )
            del left[: len(mine)]
            yield case, side, found
    if left:
        raise GateError(
            "counters-disagree",
            f"ncu saw {len(left)} launches beyond those of the cases, expected none; see its table.",
        )


def refuse_errors(text: str) -> None:
    """See whether ncu could count at all.

    Raises:
        GateError: `NO_PERMISSION` or `CARD_NOT_KNOWN`, each with its remedy; ``ncu-failed`` for any other error of its own.
    """
    errors = [line.removeprefix(_ERROR).strip() for line in text.splitlines() if line.startswith(_ERROR)]
    errors = [error for error in errors if not error.startswith(_OF_THE_PROCESS)]
    for error in errors:
        for part, reason, said in _KNOWN_ERRORS:
            if part in error:
                raise GateError(reason, said.format(error=_shown(error)))
    if errors:
        raise GateError("ncu-failed", f"ncu failed ({_shown(errors[0])}), expected counters; see its log.")


def profiled(text: str) -> tuple[Profiled, ...]:
    """Every launch in what ncu printed, in its order.

    Raises:
        GateError: ``no-counters`` where there is no table, ``bad-counters`` for one that is not as expected.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(_MESSAGE)]
    first = next((at for at, line in enumerate(lines) if line.startswith(_HEAD)), None)
    if first is None:
        raise GateError(
            "no-counters", "ncu profiled no kernel, expected those of the case; see its log and whether the case runs."
        )
    try:
        head, *rows = csv.reader(lines[first:], strict=True)
    except csv.Error as error:
        raise _bad(f"ends in the middle of a row or is no CSV ({error})") from None
    if twice := next((name for name in head if head.count(name) > 1), None):
        raise _bad(f"has the column {twice!r} twice")
    for name in (_KERNEL, _GRID, *(metric.name for metric in METRICS)):
        if name not in head:
            raise _bad(f"has no column {name!r}")
    for row in rows:
        if len(row) != len(head):
            raise _bad(f"has a row of {len(row)} cells below {len(head)} columns")
    if len(rows) < 2 or rows[0][0]:  # noqa: PLR2004 - the units, and a launch
        raise _bad("has no row of units, or no launch below it")
    units, *launches = (dict(zip(head, row, strict=True)) for row in rows)
    scales = {metric.name: _scale(metric, units[metric.name]) for metric in METRICS}
    return tuple(_launch(launch, scales) for launch in launches)


def _scale(metric: Metric, unit: str) -> float:
    known = _UNITS[metric.kind]
    if unit not in known:
        expected = ", ".join(repr(one) for one in known)
        raise _bad(f"has {metric.name} in {unit[:_SHOWN]!r}, expected one of {expected}")
    return known[unit]


def _launch(row: Mapping[str, str], scales: Mapping[str, float]) -> Profiled:
    name, sizes = row[_KERNEL].strip(), _SIZES.fullmatch(row[_GRID].strip())
    if not sizes:
        raise _bad(f"has {row[_GRID][:_SHOWN]!r} as a grid")
    metrics = {}
    for metric, scale in scales.items():
        value = row[metric].strip()
        number = float(value.replace(",", "")) if _NUMBER.fullmatch(value) else math.inf
        if not math.isfinite(number):
            raise _bad(f"has {value[:_SHOWN]!r} as {metric} of {name[:_SHOWN]}")
        metrics[metric] = number * scale
    return Profiled(name=name, grid=(int(sizes[1]), int(sizes[2]), int(sizes[3])), metrics=metrics)


def _bad(found: str) -> GateError:
    return GateError(
        "bad-counters",
        f"ncu's table {found}, expected a number of every counter and launch; this version of ncu or this card may not have it.",
    )


def _shown(error: str) -> str:
    said = "".join(character if character.isprintable() else "?" for character in error)
    return said[:_SHOWN].rstrip(".")
