"""Operands and results surrounded by canaries, so that reads and writes out of bounds are seen.

Owns layouts: how a tensor of a given shape lies in its buffer. Knows nothing of what is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import torch

from perfgate.records import Case, GateError

CANARY = -1536.0
"""Exact in FP32, FP16 and BF16, and no likely result."""

_GUARD_ROWS = 256  # the largest tile edge: a tile that runs past its last row lands in the guard
_GUARD_ELEMENTS = 4096
_GUARD_LIMIT_BYTES = 256 * 1024**2

LAYOUTS = ("row", "column", "sliced", "strided", "misaligned")


def _strides(shape: tuple[int, ...], layout: str) -> tuple[tuple[int, ...], int]:
    """Element strides and the offset of the first element from an aligned address."""
    if layout not in LAYOUTS:
        raise GateError("unknown-layout", f"Layout {layout!r} was asked for; known are {', '.join(LAYOUTS)}.")
    rows, columns = (max(1, size) for size in shape[-2:])  # as torch does: no stride is zero
    gap = {"sliced": columns + 7, "strided": 2 * columns}.get(layout, columns)
    inner = (1, rows) if layout == "column" else (gap, 2 if layout == "strided" else 1)
    matrix_elements = rows * gap
    outer = tuple(matrix_elements * prod(shape[i + 1 : -2]) for i in range(len(shape) - 2))
    return (*outer, *inner), {"sliced": 3, "misaligned": 1}.get(layout, 0)


@dataclass(frozen=True)
class Guarded:
    """A tensor inside a larger buffer whose remaining elements hold a known value."""

    tensor: torch.Tensor
    buffer: torch.Tensor
    surroundings: float

    def poison(self) -> None:
        """Fill the tensor with NaN: an element that nobody writes stays NaN."""
        self.tensor.fill_(float("nan"))

    def intact(self) -> bool:
        """Whether every element around the tensor still holds the canary."""
        start = self.tensor.storage_offset()
        dense = self.tensor.numel() == 0 or _is_dense(self.tensor)
        end = start + (self.tensor.numel() if dense else _extent(self.tensor))
        borders = bool(
            (self.buffer[:start] == self.surroundings).all() and (self.buffer[end:] == self.surroundings).all()
        )
        if dense or not borders:
            return borders
        expected = torch.full_like(self.buffer, self.surroundings)
        torch.as_strided(expected, self.tensor.shape, self.tensor.stride(), start).copy_(self.tensor)
        return bool(torch.equal(torch.nan_to_num(expected), torch.nan_to_num(self.buffer)))

    def checksum(self) -> int:
        """Sum of the buffer's bits as integers: changes when anything in it is overwritten."""
        bits = torch.int32 if self.buffer.element_size() == 4 else torch.int16  # noqa: PLR2004 - bytes of FP32
        return int(self.buffer.view(bits).sum(dtype=torch.int64))


def require_room(case: Case) -> None:
    """Raise GateError ``does-not-fit`` when the card present has not the free memory that a case needs."""
    free: int = torch.cuda.mem_get_info()[0]
    if case.device_bytes > free:
        raise GateError(
            "does-not-fit",
            f"{case.id}: needs {case.device_bytes / 1e9:.1f} GB of device memory, {free / 1e9:.1f} GB are free; "
            "run it on a larger card or free the memory.",
        )


def empty_like_layout(shape: tuple[int, ...], *, layout: str, dtype: torch.dtype, device: str) -> torch.Tensor:
    """An uninitialised tensor with the strides of ``layout`` and nothing around it (``meta`` allocates nothing)."""
    strides, _ = _strides(shape, layout)
    return torch.empty_strided(shape, strides, dtype=dtype, device=device)


def _extent(tensor: torch.Tensor) -> int:
    return int(1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True)))


def _is_dense(tensor: torch.Tensor) -> bool:
    return bool(_extent(tensor) == tensor.numel())


def guarded(
    shape: tuple[int, ...],
    *,
    layout: str = "row",
    dtype: torch.dtype,
    device: str | torch.device,
    surroundings: float = CANARY,
) -> Guarded:
    """Allocate a NaN-filled tensor of ``shape`` in ``layout`` with guards on both sides.

    Args:
        shape: At least two dimensions.
        layout: One of ``LAYOUTS``. ``sliced`` leaves seven foreign elements between rows, ``strided`` uses every
            second element, ``misaligned`` starts one element off a 16-byte boundary.
        dtype: Element type.
        device: Where.
        surroundings: What the rest of the buffer holds: ``CANARY`` for a result; NaN for an operand, so that
            a value read from outside spoils the result.
    """
    strides, offset = _strides(shape, layout)
    size = torch.empty((), dtype=dtype).element_size()
    guard = max(_GUARD_ELEMENTS, min(_GUARD_ROWS * max(strides), _GUARD_LIMIT_BYTES // size))
    guard = -(-guard // 64) * 64  # keeps the tensor's own alignment that of its layout
    extent = 1 + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True)) if prod(shape) else 0
    buffer = torch.full((guard + offset + extent + guard,), surroundings, dtype=dtype, device=device)
    tensor = torch.as_strided(buffer, shape, strides, guard + offset)
    result = Guarded(tensor=tensor, buffer=buffer, surroundings=surroundings)
    result.poison()
    return result
