"""The kernel that the project started from, written anew, so that every speed has what it began with beside it.

Owns one tile and one configuration: what the starting kernel ran on its profiled case (32768 x 32768 x 64). The same:

- tile 64 x 256 x 32; row tiles in groups of BLOCK_M = 64, walked with ``pid % group``, a rotation of the usual order;
- a mask on every load and on the store, though the tile may divide the sizes;
- 4 warps, because its ``num_warps`` stood inside a Config's dict, where Triton ignores it; and 3 stages, Triton's own
  default, since it gave none;
- 32-bit offsets, and FP32 operands that go into the tensor core as they are, which truncates them to TF32.

Different, as far as the cases ask for it: a batch on a grid axis of its own, FP16 and BF16, a result given by the
caller, and strides read as they lie. The original copied a transposed operand first; here nothing is copied, so that
the comparison is one of kernels and not of copies. It also autotuned over seven tiles; this one runs, untuned.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

if TYPE_CHECKING:
    import torch

BLOCK_M, BLOCK_N, BLOCK_K = 64, 256, 32
WARPS, STAGES = 4, 3
_MOST_ELEMENTS = 2**31
"""That 32-bit offsets reach."""
_MATRIX = 2


@triton.jit  # type: ignore[untyped-decorator] # Triton has no types that mypy follows
def starting_kernel(  # type: ignore[no-untyped-def] # noqa: ANN201, PLR0913, PLR0917 - Triton's arguments and result have no Python type
    a_ptr, b_ptr, c_ptr, M, N, K,  # noqa: ANN001, N803 - the field's names
    a_batch, a_row, a_inner, b_batch, b_inner, b_column, c_batch, c_row, c_column,  # noqa: ANN001
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,  # noqa: N803
):  # fmt: skip
    """Compute one tile of one matrix of the batch; strides are in elements."""
    pid = tl.program_id(0)
    matrix = tl.program_id(1)
    tiles_m, tiles_n = tl.cdiv(M, BLOCK_M), tl.cdiv(N, BLOCK_N)
    # The group is as high as a tile is, 64 row tiles: one constant serves for both.
    first = pid // (BLOCK_M * tiles_n) * BLOCK_M
    height = min(tiles_m - first, BLOCK_M)
    rows = (first + pid % height) * BLOCK_M + tl.arange(0, BLOCK_M)[:, None]
    columns = pid % (BLOCK_M * tiles_n) // height * BLOCK_N + tl.arange(0, BLOCK_N)[None, :]
    inner = tl.arange(0, BLOCK_K)

    a_at = a_ptr + matrix * a_batch + (rows * a_row + inner[None, :] * a_inner)
    b_at = b_ptr + matrix * b_batch + (inner[:, None] * b_inner + columns * b_column)
    total = tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    for step in range(tl.cdiv(K, BLOCK_K)):
        left = K - step * BLOCK_K
        a = tl.load(a_at, mask=(rows < M) & (inner[None, :] < left), other=0.0)
        b = tl.load(b_at, mask=(inner[:, None] < left) & (columns < N), other=0.0)
        total = tl.dot(a, b, total, input_precision="tf32")
        a_at += BLOCK_K * a_inner
        b_at += BLOCK_K * b_inner
    c_at = c_ptr + matrix * c_batch + (rows * c_row + columns * c_column)
    tl.store(c_at, total.to(c_ptr.dtype.element_ty), mask=(rows < M) & (columns < N))


def starting_matmul(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
    """Multiply matrices as the starting kernel did.

    Args:
        a: FP32, FP16 or BF16 of shape (…, M, K), or (B, M, K) where b has three dimensions; any strides, except that
            more than two dimensions beside a two-dimensional b have to be contiguous.
        b: Of a's dtype and device, of shape (K, N) or (B, K, N).
        out: Where to write, of a's dtype and device and of shape (…, M, N) or (B, M, N).

    Returns:
        ``out``.

    Raises:
        ValueError: A tensor reaches beyond 2³¹ elements.
    """
    for name, tensor in (("a", a), ("b", b), ("out", out)):
        reach = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
        if reach > _MOST_ELEMENTS:
            raise ValueError(
                f"{name} reaches over {reach} elements, expected at most 2**31: the starting kernel's offsets are int32 "
                "and would wrap; leave it out of this case."
            )
    a3, b3, out3 = a, b, out
    if b.dim() == _MATRIX:
        if a.dim() > _MATRIX:
            a3, out3 = a.view(-1, a.shape[-1]), out.view(-1, out.shape[-1])
        a3, b3, out3 = a3[None], b[None], out3[None]
    matrices, m, k = a3.shape
    n = b3.shape[-1]
    grid = (triton.cdiv(m, BLOCK_M) * triton.cdiv(n, BLOCK_N), matrices)
    starting_kernel[grid](
        *(a3, b3, out3, m, n, k),
        *(*a3.stride(), *b3.stride(), *out3.stride()),
        BLOCK_M=BLOCK_M,
        BLOCK_N=BLOCK_N,
        BLOCK_K=BLOCK_K,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return out
