"""A calibration's recording as a curve for the page. Working out its rates takes seconds, so they may be kept beside the page."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.calibration import report
from perfgate.calibration.rates import rates, read_calibration
from perfgate.records import GateError
from perfgate.report.view import Curve

if TYPE_CHECKING:
    from perfgate.limits import Limits

_FACTS = ("gpu", "uuid", "driver", "cuda", "torch", "triton", "recorded_at", "commit", "command")
_FORM = "1"
"""Of what is kept; another form is worked out anew."""


def read_curve(source: str, limits: Limits, *, kept_in: Path | None = None) -> Curve:
    """Read a recording of ``nox -s calibrate`` and work out its rates, or take them as kept.

    Args:
        source: The recording, ``calibration….json.gz``.
        limits: Those that the gate judges by.
        kept_in: Folder for the rates; None keeps none.

    Raises:
        GateError: As `read_calibration`, or ``too-few-launches``.
    """
    path = Path(source)
    if not path.is_file():
        raise GateError("no-file", f"{source} does not exist, expected a calibration's recording; check the path.")
    if kept_in is None:
        return _worked_out(path, limits)
    key = hashlib.sha256(b"\n".join((_FORM.encode(), repr(limits).encode(), path.read_bytes()))).hexdigest()
    kept = kept_in / f"curve-{key[:16]}.json"
    if (found := _kept(kept)) is not None:
        return found
    curve = _worked_out(path, limits)
    kept.write_text(json.dumps(dataclasses.asdict(curve)) + "\n", encoding="utf-8")
    return curve


def _worked_out(path: Path, limits: Limits) -> Curve:
    calibration = read_calibration(path)
    found = rates(calibration, limits)
    return Curve(
        gpu=calibration.about.get("gpu", ""),
        name=path.name,
        limit=limits.against_tolerance * 100,
        cases=tuple(map(tuple, report.case_curves(found.cases))),
        whole=tuple(report.whole_curve(found.cases)),
        head=report.TOTALS_HEAD,
        rows=tuple(report.totals(found)),
        facts=tuple((key, calibration.about[key]) for key in _FACTS if calibration.about.get(key)),
    )


def _kept(path: Path) -> Curve | None:
    """What an earlier page kept; None where there is nothing, or nothing whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Curve(
            gpu=found["gpu"],
            name=found["name"],
            limit=found["limit"],
            cases=tuple(tuple((x, y) for x, y in one) for one in found["cases"]),
            whole=tuple((x, y, low, high) for x, y, low, high in found["whole"]),
            head=tuple(found["head"]),
            rows=tuple(map(tuple, found["rows"])),
            facts=tuple((key, value) for key, value in found["facts"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
