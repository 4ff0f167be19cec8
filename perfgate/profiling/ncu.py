"""Reads what ncu prints: one record a profiled launch. Strict: what is not understood is refused in one sentence. Pure.

ncu is asked for CSV of its raw page: a head with a column a metric, a row of units, a row a launch; lines that begin with
``==`` are its messages and may stand anywhere.
"""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.profiling.metrics import METRICS, Kind, Metric
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """One launch of a kernel, with every counter that was asked for, in SI."""

    name: str
    grid: tuple[int, int, int]
    metrics: Mapping[str, float]


def refuse_errors(text: str) -> None:
    """See whether ncu could count at all.

    Raises:
        GateError: `NO_PERMISSION` or `CARD_NOT_KNOWN`, each with its remedy; ``ncu-failed`` for any other error of its own.
    """
    errors = [line.removeprefix(_ERROR).strip() for line in text.splitlines() if line.startswith(_ERROR)]
    errors = [error for error in errors if not error.startswith(_OF_THE_PROCESS)]
    for error in errors:
        if "ERR_NVGPUCTRPERM" in error:
            raise GateError(
                NO_PERMISSION,
                "the driver lets only root read counters, expected every user; set the driver's option "
                "NVreg_RestrictProfilingToAdminUsers=0 (.github/RUNNER.md, Counters for ncu) or run this as root.",
            )
        if "not supported on device" in error:
            raise GateError(
                CARD_NOT_KNOWN,
                f"this ncu does not know the card ({_shown(error)}), expected one that `ncu --list-chips` names; install the "
                "Nsight Compute of this driver's CUDA.",
            )
        if "Failed to find metric" in error:
            raise GateError(
                "no-such-counter",
                f"ncu has no such counter on this card ({_shown(error)}), expected it to; `ncu --query-metrics` lists them, "
                "another version of Nsight Compute may have it.",
            )
    if errors:
        raise GateError("ncu-failed", f"ncu failed ({_shown(errors[0])}), expected counters; see its log.")


def profiled(text: str, *, metrics: Sequence[Metric] = METRICS) -> tuple[Profiled, ...]:
    """Every launch in what ncu printed, in its order.

    Args:
        text: All of it.
        metrics: What was asked for; each has to be there.

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
    for name in (_KERNEL, _GRID, *(metric.name for metric in metrics)):
        if name not in head:
            raise _bad(f"has no column {name!r}")
    for row in rows:
        if len(row) != len(head):
            raise _bad(f"has a row of {len(row)} cells below {len(head)} columns")
    if len(rows) < 2 or rows[0][0]:  # noqa: PLR2004 - the units, and a launch
        raise _bad("has no row of units, or no launch below it")
    units = dict(zip(head, rows[0], strict=True))
    scales = {metric.name: _scale(metric, units[metric.name]) for metric in metrics}
    return tuple(_launch(dict(zip(head, row, strict=True)), scales) for row in rows[1:])


def _scale(metric: Metric, unit: str) -> float:
    known = _UNITS[metric.kind]
    if unit not in known:
        expected = ", ".join(repr(one) for one in known)
        raise _bad(f"has {metric.name} in {unit[:_SHOWN]!r}, expected one of {expected}")
    return known[unit]


def _launch(row: Mapping[str, str], scales: Mapping[str, float]) -> Profiled:
    sizes = _SIZES.fullmatch(row[_GRID].strip())
    if not sizes:
        raise _bad(f"has {row[_GRID][:_SHOWN]!r} as a grid")
    name = row[_KERNEL].strip()
    x, y, z = (int(size) for size in sizes.groups())
    return Profiled(
        name=name,
        grid=(x, y, z),
        metrics={metric: _number(row[metric], metric, name) * scale for metric, scale in scales.items()},
    )


def _number(text: str, metric: str, kernel: str) -> float:
    value = text.strip()
    if not _NUMBER.fullmatch(value):
        raise _bad(f"has {value[:_SHOWN]!r} as {metric} of {kernel[:_SHOWN]}")
    number = float(value.replace(",", ""))
    if not math.isfinite(number):
        raise _bad(f"has {value[:_SHOWN]!r} as {metric} of {kernel[:_SHOWN]}")
    return number


def _bad(found: str) -> GateError:
    return GateError(
        "bad-counters",
        f"ncu's table {found}, expected a number of every counter and launch; this version of ncu or this card may not have it.",
    )


def _shown(error: str) -> str:
    said = "".join(character if character.isprintable() else "?" for character in error)
    return said[:_SHOWN].rstrip(".")
