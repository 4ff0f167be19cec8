"""What the kernel was designed to reach, as data, and whether a table's rows reach it. Pure.

The targets are the design targets of the issue "The kernel at the limit"; they hold on an H100, natively and on the
RTX 4090's code path. Reached or not, they decide no exit code: the gate's baselines do that.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from studies.table.cases import START, TORCH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized

    from studies.table.report import Row

SOURCE = 'the issue "The kernel at the limit"'
NATIVE, ADA = "native", "sm89"
_SLOWER = 0.995
"""Of the other's speed: half a percent is this project's limit for SLOWER."""
_STORE_BOUND = ("k7_small_k", "k9_tall_skinny")
_LARGE_K = "k6_large_k"
_LARGE = 2048


@dataclass(frozen=True, kw_only=True)
class Target:
    """A speed relative to another arm that some cases are to reach on one code path."""

    path: str
    said: str
    against: str
    at_least: float
    """The other arm's time over the kernel's."""
    holds_for: Callable[[Row], bool]
    """Which cases it speaks of."""
    on_average: bool = False
    """Of their geometric mean, in place of every one of them."""


def _is_large_16_bit(row: Row) -> bool:
    (*_, m, k), (*_, n) = row.contract["shapes"]
    return bool(row.contract["dtype"] != "float32" and min(m, n, k) >= _LARGE)


def _is_other_fp32(row: Row) -> bool:
    return row.contract["dtype"] == "float32" and row.case not in {*_STORE_BOUND, _LARGE_K}


TARGETS = (
    Target(
        path=ADA,
        said="no case slower than start (by more than 0.5 %)",
        against=START,
        at_least=_SLOWER,
        holds_for=lambda _: True,
    ),
    Target(
        path=ADA,
        said="geometric mean of start/kernel at least 1.5",
        against=START,
        at_least=1.5,
        holds_for=lambda _: True,
        on_average=True,
    ),
    Target(
        path=ADA,
        said="#7 and #9 at least 1.0 × torch",
        against=TORCH,
        at_least=1.0,
        holds_for=lambda row: row.case in _STORE_BOUND,
    ),
    Target(
        path=ADA,
        said="#6 at least 15 × start",
        against=START,
        at_least=15.0,
        holds_for=lambda row: row.case == _LARGE_K,
    ),
    Target(
        path=NATIVE,
        said="#7 and #9 at least 1.0 × torch",
        against=TORCH,
        at_least=1.0,
        holds_for=lambda row: row.case in _STORE_BOUND,
    ),
    Target(
        path=NATIVE,
        said="every other FP32 case at least 0.8 × torch",
        against=TORCH,
        at_least=0.8,
        holds_for=_is_other_fp32,
    ),
    Target(
        path=NATIVE,
        said="FP16 and BF16 from 2048³ up at least 0.95 × torch",
        against=TORCH,
        at_least=0.95,
        holds_for=_is_large_16_bit,
    ),
    Target(
        path=NATIVE,
        said="#6 at least 0.9 × torch",
        against=TORCH,
        at_least=0.9,
        holds_for=lambda row: row.case == _LARGE_K,
    ),
)


def acceptance(rows: Sequence[Row]) -> list[str]:
    """One line a design target of the rows' code paths: ``holds``, ``does not hold`` or ``not measured``, with numbers.

    A target holds only where each of its cases that the rows have has a number.
    """
    return [
        f"{target.path}: {_judged(target, [row for row in rows if row.path == target.path and target.holds_for(row)])}"
        for target in TARGETS
        if any(row.path == target.path for row in rows)
    ]


def _judged(target: Target, rows: Sequence[Row]) -> str:
    without = [row.case for row in rows if target.against not in row.vs]
    if not rows or without:
        lacking = f"no number for {', '.join(without)}" if without else "none of its cases is in the table"
        return f"not measured: {target.said}; {lacking}."
    ratios = {row.case: row.vs[target.against] for row in rows}
    if target.on_average:
        mean = statistics.geometric_mean(ratios.values())
        word = "holds" if mean >= target.at_least else "does not hold"
        return f"{word}: {target.said}; it is {mean:.3f} over {_cases(ratios)}."
    short = {case: ratio for case, ratio in ratios.items() if not ratio >= target.at_least}
    said = ", ".join(
        f"{case} {ratio:.3f}" for case, ratio in sorted((short or ratios).items(), key=lambda item: item[1])
    )
    if short:
        return f"does not hold: {target.said}; {len(short)} of {_cases(ratios)} below: {said}."
    return f"holds: {target.said}; the least of {_cases(ratios)} is {said.partition(', ')[0]}."


def _cases(ratios: Sized) -> str:
    return "1 case" if len(ratios) == 1 else f"{len(ratios)} cases"
