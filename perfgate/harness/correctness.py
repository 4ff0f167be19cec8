"""Whether a result is right: error against float64, held against the error of the same arithmetic in torch.

Owns the tolerance rule. Kernel-agnostic up to "the result is a matrix product"; knows no case by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, prod, sqrt
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK_ELEMENTS = 2**26  # float64 blocks of 512 MiB at most, so that the reference fits beside the operands

_FACTOR = 2.0
"""Our error may be twice that of the same arithmetic in torch (rule of the quack kernels' tests)."""

_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}

# What the rule adds, relative to the largest result: a few roundings in FP32, where torch itself may be exact.
# The three-product modes drop the smallest product, about 2⁻²² of the result, and add in the tensor core,
# which truncates.
_EPSILON = {"tf32x3": 2.0**-18, "bf16x3": 2.0**-14}
_DEFAULT_EPSILON = 16 * 2.0**-24


class WrongResultError(AssertionError):
    """The kernel's result is wrong; the message is one sentence."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Largest and root-mean-square absolute error against float64."""

    largest: float
    rms: float


def round_to_tf32(x: torch.Tensor) -> torch.Tensor:
    """FP32 values rounded to the nearest TF32 value (10 mantissa bits, ties away from zero)."""
    bits = x.contiguous().view(torch.int32)
    return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)


def _same_arithmetic(x: torch.Tensor, precision: str) -> torch.Tensor:
    return round_to_tf32(x) if precision == "tf32" else x


def _blocks(a: torch.Tensor, b: torch.Tensor, got: torch.Tensor) -> Iterator[tuple[torch.Tensor, ...]]:
    """Row blocks of ``a`` with the matching ``b`` and rows of ``got``, all two-dimensional."""
    if b.dim() > 2:  # noqa: PLR2004 - a matrix
        for index in range(b.shape[0]):
            yield from _blocks(a[index], b[index], got[index])
        return
    count = prod(a.shape[:-1])  # not −1, which torch cannot infer where a dimension is empty
    a, got = a.reshape(count, a.shape[-1]), got.reshape(count, got.shape[-1])
    rows = max(1, _BLOCK_ELEMENTS // max(1, a.shape[1], b.shape[1]))
    for start in range(0, a.shape[0], rows):
        yield a[start : start + rows], b, got[start : start + rows]


def _error_sums(got: torch.Tensor, reference: torch.Tensor) -> tuple[float, float]:
    difference = (got.double() - reference).abs()
    # A NaN or an infinity is an infinite error: it must never compare as small.
    largest = float(difference.max())
    return (largest if isfinite(largest) else inf), float(difference.square().sum())


def matmul_errors(a: torch.Tensor, b: torch.Tensor, got: torch.Tensor, precision: str) -> tuple[Errors, Errors, float]:
    """Errors of ``got`` and of torch's own product at that precision, and the largest reference value.

    Args:
        a: Left operand, ``(…, M, K)``.
        b: Right operand, ``(K, N)`` or ``(B, K, N)``.
        got: The result to examine, ``(…, M, N)``.
        precision: ``tf32`` compares with a product of operands rounded to TF32; any other with the plain product.
    """
    ours, theirs, scale = [(0.0, 0.0)], [(0.0, 0.0)], 0.0
    for a_block, b_block, got_block in _blocks(a, b, got):
        if got_block.numel() == 0:
            continue
        reference = a_block.double() @ b_block.double()
        torchs = _same_arithmetic(a_block, precision) @ _same_arithmetic(b_block, precision)
        ours.append(_error_sums(got_block, reference))
        theirs.append(_error_sums(torchs, reference))
        scale = max(scale, float(reference.abs().max()))
    count = max(1, got.numel())

    def total(parts: list[tuple[float, float]]) -> Errors:
        return Errors(largest=max(p[0] for p in parts), rms=sqrt(sum(p[1] for p in parts) / count))

    return total(ours), total(theirs), scale


def check_close(name: str, a: torch.Tensor, b: torch.Tensor, got: torch.Tensor, *, precision: str) -> None:
    """Raise WrongResultError unless our error ≤ 2 × torch's own error + epsilon, in the largest and in the RMS.

    Epsilon is one rounding of the largest result at the result's dtype, plus a few FP32 roundings (``_EPSILON``).
    NaN and infinity never pass.
    """
    ours, theirs, scale = matmul_errors(a, b, got, precision)
    epsilon = (_EPSILON.get(precision, _DEFAULT_EPSILON) + _UNIT_ROUNDOFF[got.dtype]) * scale
    for kind in ("largest", "rms"):
        found, limit = getattr(ours, kind), _FACTOR * getattr(theirs, kind) + epsilon
        if not found <= limit:
            unwritten = int(torch.isnan(got).sum())
            hint = (
                f"; {unwritten} of {got.numel()} elements are NaN (never written, or computed from NaN)"
                if unwritten
                else ""
            )
            raise WrongResultError(
                f"{name}: {kind} error {found:.3g} against float64, expected at most {limit:.3g} "
                f"(2 × torch's own {getattr(theirs, kind):.3g} at {precision} + {epsilon:.3g}){hint}."
            )


def check_exact(name: str, a: torch.Tensor, b: torch.Tensor, got: torch.Tensor) -> None:
    """Raise WrongResultError unless ``got`` is the exact product of small-integer operands, bit for bit."""
    wrong, example = 0, ""
    for a_block, b_block, got_block in _blocks(a, b, got):
        expected = (a_block.double() @ b_block.double()).to(got.dtype)
        # Not "differs" but "does not equal": NaN equals nothing and so counts as wrong.
        bad = ~(got_block == expected)
        count = int(bad.sum())
        if count and not wrong:
            row, column = (int(i) for i in bad.nonzero()[0])
            example = f"first at row {row}, column {column}: {float(got_block[row, column])}, expected {float(expected[row, column])}"
        wrong += count
    if wrong:
        raise WrongResultError(
            f"{name}: {wrong} of {got.numel()} elements differ from the exact integer product, {example}."
        )


def same_bits(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether two results are the same bit for bit (NaN included, −0 apart from +0)."""
    bits = torch.int32 if x.element_size() == 4 else torch.int16  # noqa: PLR2004 - bytes of FP32
    return bool(torch.equal(x.contiguous().view(bits), y.contiguous().view(bits)))
