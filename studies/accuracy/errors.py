"""Errors of matrix products against float64, what several draws say of them together, and whether rounding to TF32 is biased.

Owns the error measures and the criterion of bias. Knows no kernel and no input. With ``c`` an element of a result, ``r`` the same of
the float64 product and ``s`` the same of ``|A| |B|``, the signed error is ``(c - r) * sign(r)``: below zero where the
result lies nearer to zero than it should, as truncation leaves it.

A draw's *rounding shift* is the mean signed error of a product, less that of the product of the same operands rounded to
nearest TF32 beforehand. The second holds all that the tensor core's additions do, which truncate on every card (Fasi,
Higham, Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, 2021) whoever calls them; what is left is what
the kernel itself does to the 13 bits that TF32 has not. The rounding is called

- biased, where the mean shift over draws is beyond `FLOOR` by more than chance: the interval of Student's t at
  `ALARM`, which all the shifts judged together share (Bonferroni);
- without bias, where it is not and the whole interval lies within `TELLING` of what truncation does to the same operands;
- unsure, where the draws are too few or too small to tell.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

import torch

from perfgate.compare.estimators import t_quantile
from perfgate.harness.correctness import WrongResultError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_Name = TypeVar("_Name")
_BLOCK_ELEMENTS = 2**24
"""Of a row block in float64, 128 MiB; a handful of them are alive at a time."""
_TF32_TAIL = 0x1FFF
"""The 13 bits of FP32's mantissa that TF32 has not."""
FLOOR = 2.0**-23
"""One FP32 rounding, which no FP32 result can do better than. Rounding ties away from zero, as ``cvt.rna`` does, is off by
half an FP32 step for each operand on average (the tie is one in 2¹³ and moves by 2¹² steps), so by at most this in all."""
ALARM = 0.001
"""Chance that an unbiased rounding is called biased anywhere in a report."""
TELLING = 0.1
"""A shift this large a part of truncation's has to be excluded before a rounding is said to have no bias."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Errors of one result; all are pure numbers."""

    mean: float
    """Sum of signed errors over the sum of ``|r|``: by what share results are too large. Single elements' relative
    errors are not averaged, as those near zero would rule."""
    rms: float
    """Root of the sum of squared errors over the sum of ``r²``."""
    scaled_mean: float
    """Mean of signed error / ``s``."""
    scaled_rms: float
    scaled_largest: float
    """Largest absolute error / ``s``: what the documented bounds speak of."""


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A mean over independent draws and its standard error."""

    value: float
    error: float
    draws: int


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """`Errors` over several draws: means with standard errors, root mean squares, and the largest of all."""

    mean: Mean
    rms: float
    scaled_mean: Mean
    scaled_rms: float
    scaled_largest: float


def truncate_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """FP32 values cut to TF32 toward zero, as a tensor core reads them (10 mantissa bits); same shape and dtype."""
    return (x.contiguous().view(torch.int32) & ~_TF32_TAIL).view(torch.float32)


def errors_of(
    results: Mapping[_Name, torch.Tensor], a: torch.Tensor, b: torch.Tensor, *, block: int = _BLOCK_ELEMENTS
) -> dict[_Name, Errors]:
    """Errors of several results of one product, against the float64 product computed where the operands are.

    Args:
        results: Each of shape (M, N), in any floating dtype.
        a: Left operand as it was multiplied, (M, K).
        b: Right operand, (K, N).
        block: Most elements of a float64 row block.

    Raises:
        WrongResultError: A result holds NaN or infinity, which have no error to speak of.
    """
    wide = b.double()
    magnitudes = wide.abs()
    totals = {name: torch.zeros(4, dtype=torch.float64, device=a.device) for name in results}
    largest = {name: torch.zeros((), dtype=torch.float64, device=a.device) for name in results}
    exact_totals = torch.zeros(2, dtype=torch.float64, device=a.device)
    rows = max(1, block // max(1, *a.shape[1:], *b.shape[1:]))
    for start in range(0, a.shape[0], rows):
        part = a[start : start + rows].double()
        exact = part @ wide
        scale = (part.abs() @ magnitudes).clamp_min(torch.finfo(torch.float64).tiny)
        exact_totals += torch.stack([exact.abs().sum(), exact.square().sum()])
        for name, result in results.items():
            error = (result[start : start + rows].double() - exact) * exact.sign()
            scaled = error / scale
            sums = (error.sum(), error.square().sum(), scaled.sum(), scaled.square().sum())
            totals[name] += torch.stack(sums)
            largest[name] = torch.maximum(largest[name], scaled.abs().max())
    weight, squares = exact_totals.tolist()
    count = a.shape[0] * b.shape[1]
    found = {}
    for name, total in totals.items():
        signed, squared, scaled_signed, scaled_squared = total.tolist()
        if not math.isfinite(squared):
            raise WrongResultError(f"{name}: the result holds NaN or infinity, expected numbers; see nox -s perf.")
        found[name] = Errors(
            mean=signed / weight,
            rms=math.sqrt(squared / squares),
            scaled_mean=scaled_signed / count,
            scaled_rms=math.sqrt(scaled_squared / count),
            scaled_largest=float(largest[name]),
        )
    return found


def mean_of(values: Sequence[float]) -> Mean:
    """Mean of independent draws and its standard error, their deviation / √n.

    Elements of one result share operands, so their errors hang together and their number says little of how sure the
    mean is; draws share nothing.

    Args:
        values: One a draw, two or more.
    """
    return Mean(
        value=statistics.fmean(values), error=statistics.stdev(values) / math.sqrt(len(values)), draws=len(values)
    )


def distribution(draws: Sequence[Errors]) -> Distribution:
    """What several draws of one shape say together."""
    return Distribution(
        mean=mean_of([draw.mean for draw in draws]),
        rms=math.sqrt(statistics.fmean(draw.rms**2 for draw in draws)),
        scaled_mean=mean_of([draw.scaled_mean for draw in draws]),
        scaled_rms=math.sqrt(statistics.fmean(draw.scaled_rms**2 for draw in draws)),
        scaled_largest=max(draw.scaled_largest for draw in draws),
    )


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
