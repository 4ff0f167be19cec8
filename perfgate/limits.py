"""The limits a verdict is held to: one frozen record, defaults that say where they come from, read from pyproject.

"Learnt" means: from the recorded launches in ``tests/data`` (20 processes, two H100s of one model, seven cases) and
held there by ``tests/test_error_rates.py``.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

_TABLE = "[tool.perfgate.limits]"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What counts as a change, and how often the gate may be wrong. Shares, not percent: 0.005 is 0.5 %."""

    against_tolerance: float = 0.005
    """Smallest change worth reporting when both sides ran in the same launches. Half of the 1 % that has to be found,
    so that a true 1 % and a true 0 lie equally far from it."""
    stored_tolerance: float = 0.016
    """The same for a number stored on another day or card. Learnt: unchanged code moved by up to 1.6 % between cards of
    one model, and by 0.8 % between two modes of one card."""
    stored_errors: float = 2.75
    """Standard errors of the launches that are added to it in quadrature. Learnt: the noisiest case, which
    moved by 1 % between cards on top of its noise, is called changed in 0.3 % of comparisons; costs quiet cases 0.1 %."""
    suite_tolerance: float = 0.002
    """Smallest mean change over the cases that are not called changed themselves, when both sides ran in the same
    launches. Learnt: in 99 of 100 draws of four launches, seven recorded cases of the same code stay within 0.11 % on
    average."""
    drift_tolerance: float = 0.02
    """Largest sum of small steps since a card's first baseline. More than `stored_tolerance`, as the steps are summed
    through stored numbers of different days."""
    clock_tolerance: float = 0.01
    """How far the SM clock may lie below the baseline's before it counts as a cause."""
    widest_floor: float = 2.0
    """A noisy or coarsely clocked case may widen its tolerance up to this factor, and says so; beyond it is UNSURE."""
    false_alarms_case: float = 0.001
    """Share of unchanged cases that may be called FASTER or SLOWER, both ways and all looks together."""
    false_alarms_suite: float = 0.01
    """Share of unchanged suites with any such call; divided among the cases that are not called changed (Holm)."""
    missed: float = 0.005
    """Share of cases changed by twice the limit that may be called SAME, all looks together."""
    final_launches: int = 8
    """Launches after which a comparison in the same launches is not continued; an earlier look spends less."""
    early_share: float = 0.125
    """Share of both error rates that the look before the final one spends: its information (half) cubed, in the
    manner of Lan and DeMets (Biometrika 1983), so that the final look keeps most."""
    launch_df: int = 15
    """Degrees of freedom that a launch's own error estimate is worth. Learnt: with 40 rounds it varies by a fifth from
    launch to launch, and 1 / (2 x 0.18 x 0.18) is 15."""
    paired_scatter: float = 0.0003
    """Least launch-to-launch deviation of a ratio taken within launches. Learnt: 0.02-0.03 % on the quietest cases."""
    stored_scatter: float = 0.004
    """Prior launch-to-launch deviation of a case's time. Learnt: 0.27-0.7 % within an occasion."""
    stored_df: int = 8
    """Degrees of freedom that this prior is worth beside the launches at hand."""
    disagreement: float = 0.001
    """Launches whose ratios scatter more than their own noise explains at this level are judged on their scatter alone."""


_SHARES = {"false_alarms_case", "false_alarms_suite", "missed", "early_share", "disagreement"}


def parse_limits(table: dict[str, Any]) -> Limits:
    """Limits from the keys of ``[tool.perfgate.limits]``; the rest keeps its default.

    Raises:
        GateError: ``bad-limits`` for an unknown key, a wrong type or a value out of range.
    """
    kinds = {field.name: str(field.type) for field in fields(Limits)}
    for key, value in table.items():
        if key not in kinds:
            raise GateError(
                "bad-limits", f"{_TABLE} has the unknown key {key!r}; known are {', '.join(sorted(kinds))}."
            )
        whole = kinds[key] == "int"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            expected = "a whole number" if whole else "a number"
            raise GateError("bad-limits", f"{_TABLE} {key} is {value!r}, expected {expected}; mend pyproject.toml.")
        least = 1 if key == "widest_floor" or whole else 0
        most = 0.5 if key in _SHARES or key.endswith("tolerance") else float("inf")
        if not (least <= value < most) or value == 0:
            raise GateError(
                "bad-limits",
                f"{_TABLE} {key} is {value!r}, expected {'at least 1' if least else 'more than 0'}"
                f"{' and less than 0.5 (shares, not percent)' if most < 1 else ''}; mend pyproject.toml.",
            )
    return Limits(**table)


def read_limits(root: Path) -> Limits:
    """Limits of the project at ``root``; the defaults where there is no pyproject.toml or no such table.

    Raises:
        GateError: ``bad-limits`` for a file or a table that cannot be understood.
    """
    path = root / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Limits()
    except (OSError, ValueError) as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise GateError("bad-limits", f"{path} cannot be read as TOML ({error}); mend it.") from None
    table: Any = document
    for key in ("tool", "perfgate", "limits"):
        table = table.get(key, {}) if isinstance(table, dict) else None
    if not isinstance(table, dict):
        raise GateError("bad-limits", f"{path}: {_TABLE} is {table!r}, expected a table; mend it.")
    return parse_limits(table)
