"""Whether the kernel's rounding of operands to TF32 is biased: a statistic over independent draws, and its verdict. Pure.

Owns the criterion. A draw's *rounding shift* is the mean signed error of a product (`accuracy_errors.Errors.mean`), less
that of the product of the same operands rounded to nearest TF32 beforehand. The second holds all that the tensor core's
additions do, which truncate on every card (Fasi, Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores,
2021) whoever calls them; what is left is what the kernel itself does to the 13 bits that TF32 has not.

The rounding is called

- biased, where the mean shift over draws is beyond `FLOOR` by more than chance: the interval of Student's t at
  `ALARM`, which all the shifts judged together share (Bonferroni);
- without bias, where it is not and the whole interval lies within `TELLING` of what truncation does to the same operands;
- unsure, where the draws are too few or too small to tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from perfgate.compare.estimators import t_quantile
from studies.accuracy.errors import Mean, mean_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FLOOR = 2.0**-23
"""One FP32 rounding, which no FP32 result can do better than. Rounding ties away from zero, as ``cvt.rna`` does, is off by
half an FP32 step for each operand on average (the tie is one in 2¹³ and moves by 2¹² steps), so by at most this in all."""
ALARM = 0.001
"""Chance that an unbiased rounding is called biased anywhere in a report."""
TELLING = 0.1
"""A shift this large a part of truncation's has to be excluded before a rounding is said to have no bias."""


class Finding(StrEnum):
    """What is said of a rounding."""

    NONE = "no bias"
    BIASED = "biased"
    UNSURE = "cannot tell"


@dataclass(frozen=True, kw_only=True)
class Bias:
    """The rounding shift of one input and shape, and what is said of it."""

    shift: Mean
    """Relative to the result; −2⁻¹⁰ is a thousandth too small."""
    reach: float
    """Half the interval around it."""
    truncation: float
    """The shift of operands truncated to TF32 and summed in float64, for comparison."""
    finding: Finding


def rounding_bias(
    errors: Sequence[float], of_rounded: Sequence[float], truncated: Sequence[float], *, judged: int = 1
) -> Bias:
    """Judge one input and shape.

    Args:
        errors: Mean signed error of the product, one a draw.
        of_rounded: The same of the product of operands rounded to nearest TF32 beforehand, draw by draw.
        truncated: The same of truncated operands, summed in float64.
        judged: How many such verdicts share the chance of a false alarm.
    """
    shift = mean_of([total - summing for total, summing in zip(errors, of_rounded, strict=True)])
    reach = t_quantile(1 - ALARM / 2 / judged, shift.draws - 1) * shift.error
    truncation = mean_of(truncated).value
    if abs(shift.value) - reach > FLOOR:
        finding = Finding.BIASED
    elif abs(shift.value) + reach < TELLING * abs(truncation):
        finding = Finding.NONE
    else:
        finding = Finding.UNSURE
    return Bias(shift=shift, reach=reach, truncation=truncation, finding=finding)
