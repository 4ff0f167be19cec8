"""Matrix multiplication in Triton for Ada Lovelace (RTX 4090): one self-contained kernel file."""

import torch
import torch.nn as nn  # noqa: PLR0402 - the form that kernel files of this kind are required to have
import triton
import triton.language as tl


@triton.jit
def _round_by_bits(x, half, KEPT: tl.constexpr):
    """Round FP32 to the bits kept, for the interpreter; a carry into the exponent is right, infinity included."""
    rounded = ((x.to(tl.uint32, bitcast=True) + half) & KEPT).to(tl.float32, bitcast=True)
    return tl.where(x == x, rounded, x)  # noqa: PLR0124 - false for NaN only, whose payload could carry away


@triton.jit
def _round_to_tf32(x, CAPABILITY: tl.constexpr):
    """Round FP32 to the nearest TF32, ties away from zero; the tensor core alone would truncate, which is biased."""
    if CAPABILITY == 0:  # The interpreter has no inline assembly.
        return _round_by_bits(x, 0x1000, 0xFFFFE000)
    return tl.inline_asm_elementwise("cvt.rna.tf32.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def _load_tile(ptrs, row_mask, col_mask, EVEN_ROWS: tl.constexpr, EVEN_COLS: tl.constexpr):
    """Load a tile, masking only the dimensions that its size does not divide; what is masked off is never read."""
    if EVEN_ROWS and EVEN_COLS:
        return tl.load(ptrs)
    mask = col_mask if EVEN_ROWS else row_mask if EVEN_COLS else row_mask & col_mask
    return tl.load(ptrs, mask=mask, other=0.0)


@triton.jit
def _multiply(
    a_ptrs, b_ptrs, row_mask, col_mask, inner, k_left, steps, stride_ak, stride_bk, acc, PRECISION: tl.constexpr,
    CAPABILITY: tl.constexpr, BLOCK_K: tl.constexpr, EVEN_M: tl.constexpr, EVEN_N: tl.constexpr, EVEN_K: tl.constexpr,
):  # fmt: skip
    """Add the product of a number of steps along K to acc."""
    for step in range(steps):
        a = _load_tile(a_ptrs, row_mask, inner[None, :] < k_left - step * BLOCK_K, EVEN_M, EVEN_K)
        b = _load_tile(b_ptrs, inner[:, None] < k_left - step * BLOCK_K, col_mask, EVEN_K, EVEN_N)
        if PRECISION == "tf32":
            a = _round_to_tf32(a, CAPABILITY)
            b = _round_to_tf32(b, CAPABILITY)
        elif CAPABILITY == 0:  # The interpreter would multiply BF16 by its bits; FP32 holds every operand exactly.
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        acc = tl.dot(a, b, acc, input_precision=None if CAPABILITY == 0 or PRECISION == "native" else PRECISION)
        a_ptrs += BLOCK_K * stride_ak
        b_ptrs += BLOCK_K * stride_bk
    return acc


@triton.autotune(
    configs=[  # in the order that choose_config, which says which of them runs, knows them in
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 256, "BLOCK_K": 32, "GROUP_M": 8}, num_warps=4, num_stages=3),
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 1}, num_warps=4, num_stages=3),
        triton.Config({"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8}, num_warps=4, num_stages=3),
        triton.Config({"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8}, num_warps=8, num_stages=3),
    ],
    key=["M", "N", "K", "BATCH", "PRECISION", "CAPABILITY"],  # all that choose_config reads
    prune_configs_by={"early_config_prune": lambda configs, args, **meta: [choose_config(configs, {**args, **meta})]},
    # One config is left, so there is nothing to time; Triton 3.6 would time it all the same.
    do_bench=lambda _launch, quantiles: [0.0 for _ in quantiles],
)
@triton.heuristics({"LONG_K": lambda args: args["K"] > 16384})  # noqa: PLR2004 - see choose_config
@triton.heuristics({f"EVEN_{x}": lambda args, x=x: args[x] % args[f"BLOCK_{x}"] == 0 for x in "MNK"})
@triton.jit(do_not_specialize=["BATCH"])
def matmul_kernel(  # noqa: ANN201 - a kernel returns nothing that Python sees
    a_ptr, b_ptr, c_ptr, M, N, K, BATCH,  # noqa: ARG001 - BATCH is for choose_config
    stride_ab, stride_am, stride_ak, stride_bb, stride_bk, stride_bn, stride_cb, stride_cm, stride_cn,
    PRECISION: tl.constexpr, CAPABILITY: tl.constexpr,
    BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, GROUP_M: tl.constexpr,
    EVEN_M: tl.constexpr, EVEN_N: tl.constexpr, EVEN_K: tl.constexpr, LONG_K: tl.constexpr,
):  # fmt: skip
    """Compute one BLOCK_M by BLOCK_N tile of one matrix of the batch, accumulating in FP32."""
    # All is on grid axis 0, as axes 1 and 2 end at 65535. GROUP_M row tiles walk the columns together, so that B is
    # read once for them all; GROUP_M = 1 is row-major order. tl.cdiv would overflow just below 2**31.
    tiles_m = (M - 1) // BLOCK_M + 1
    tiles_n = (N - 1) // BLOCK_N + 1
    pid = tl.program_id(0)
    batch = pid // (tiles_m * tiles_n)
    tile = pid % (tiles_m * tiles_n)
    first_m = tile // (GROUP_M * tiles_n) * GROUP_M
    group_size = min(tiles_m - first_m, GROUP_M)
    tile_m = first_m + tile % (GROUP_M * tiles_n) % group_size
    tile_n = tile % (GROUP_M * tiles_n) // group_size

    # Offsets are 64-bit, as a tensor may hold 2**31 elements: that costs a few registers and no resident block.
    batch = tl.cast(batch, tl.int64)
    first_row = tl.cast(tile_m, tl.int64) * BLOCK_M
    first_col = tl.cast(tile_n, tl.int64) * BLOCK_N
    rows = tl.arange(0, BLOCK_M)[:, None]
    cols = tl.arange(0, BLOCK_N)[None, :]
    inner = tl.arange(0, BLOCK_K)
    rows_left = tl.cast(min(M - first_row, BLOCK_M), tl.int32)
    cols_left = tl.cast(min(N - first_col, BLOCK_N), tl.int32)
    a_ptr += batch * stride_ab + first_row * stride_am
    b_ptr += batch * stride_bb + first_col * stride_bn
    c_ptr += batch * stride_cb + first_row * stride_cm + first_col * stride_cn
    stride_ak = tl.cast(stride_ak, tl.int64)
    stride_bk = tl.cast(stride_bk, tl.int64)
    a_ptrs = a_ptr + (rows * tl.cast(stride_am, tl.int64) + inner[None, :] * stride_ak)
    b_ptrs = b_ptr + (inner[:, None] * stride_bk + cols * tl.cast(stride_bn, tl.int64))

    # Tensor cores truncate as they add, so the error of a sum grows with its length: a long one is a sum of partial sums.
    row_mask, col_mask, acc = rows < rows_left, cols < cols_left, tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32)
    steps = (K - 1) // BLOCK_K + 1
    # fmt: off
    if LONG_K:
        CHUNK: tl.constexpr = 4096 // BLOCK_K
        for first in range(0, steps, CHUNK):
            acc += _multiply(a_ptrs, b_ptrs, row_mask, col_mask, inner, K - first * BLOCK_K, min(CHUNK, steps - first),
                             stride_ak, stride_bk, tl.zeros((BLOCK_M, BLOCK_N), dtype=tl.float32),
                             PRECISION, CAPABILITY, BLOCK_K, EVEN_M, EVEN_N, EVEN_K)
            a_ptrs += CHUNK * BLOCK_K * stride_ak
            b_ptrs += CHUNK * BLOCK_K * stride_bk
    else:
        acc = _multiply(a_ptrs, b_ptrs, row_mask, col_mask, inner, K, steps, stride_ak, stride_bk, acc,
                        PRECISION, CAPABILITY, BLOCK_K, EVEN_M, EVEN_N, EVEN_K)
    # fmt: on

    if CAPABILITY == 0 and c_ptr.dtype.element_ty == tl.bfloat16:  # Its cast would truncate; this is to nearest even.
        acc = _round_by_bits(acc, 0x7FFF + ((acc.to(tl.uint32, bitcast=True) >> 16) & 1), 0xFFFF0000)
    c = acc.to(c_ptr.dtype.element_ty)
    c_ptrs = c_ptr + (rows * tl.cast(stride_cm, tl.int64) + cols * tl.cast(stride_cn, tl.int64))
    if EVEN_M and EVEN_N:
        tl.store(c_ptrs, c)
    else:
        tl.store(c_ptrs, c, mask=(rows < rows_left) & (cols < cols_left))


def choose_config(configs: list[triton.Config], named_args: dict[str, object]) -> triton.Config:
    """Choose the config that runs, by rule: the same call on the same card runs the same code, and nothing is timed.

    The numbers of tiles that part the configs were read off an H100 running the RTX 4090's code path; the 4090 has 128
    multiprocessors. It computes C faster than it can store it up to about K = 160: that is
    1/2 * 4 bytes * 82.6 TFLOPS / 1008 GB/s for FP32, and the same for FP16 and BF16.

    Args:
        configs: The kernel's four configs, in the order of its decorator.
        named_args: The kernel's arguments by name, of which M, N, K, BATCH, PRECISION and CAPABILITY are read.

    Returns:
        64x64 where larger tiles would be too few or spill registers; 128x64 for the next size, and for sums so long
        that they need a second accumulator; 64x128 in row-major order where stores are the limit; else 64x256. On
        Hopper, whose tensor cores want FP32 B by columns, 128x64 in place of the last two if B's rows are aligned.
    """
    wide, store, tall, small = configs
    m, n, k, batch, precision, capability = (
        named_args[name] for name in ("M", "N", "K", "BATCH", "PRECISION", "CAPABILITY")
    )

    def tiles(config: triton.Config) -> int:
        return triton.cdiv(m, config.kwargs["BLOCK_M"]) * triton.cdiv(n, config.kwargs["BLOCK_N"]) * batch

    multiprocessors, last_store_bound_k, hopper = 128, 128, 90
    if (
        tiles(tall) < multiprocessors // 2
        or min(m, n) <= small.kwargs["BLOCK_M"]
        or precision not in {"tf32", "native"}
    ):
        return small
    if tiles(wide) < multiprocessors or k > 16384:  # noqa: PLR2004 - LONG_K, whose second accumulator has no room there
        return tall
    if capability >= hopper and precision == "tf32":
        return tall if n % 4 == 0 else wide
    return store if k <= last_store_bound_k else wide


def _check_tensor(name: str, x: torch.Tensor) -> None:
    if not isinstance(x, torch.Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}")
    if x.layout != torch.strided or x.is_neg():
        raise ValueError(f"{name} must be a plain strided tensor, got layout {x.layout}, negative bit {x.is_neg()}")
    if x.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{name} requires grad, but this matmul is forward only: detach it or use torch.no_grad()")


def _check_inputs(a: torch.Tensor, b: torch.Tensor, *, interpreted: bool) -> None:
    _check_tensor("a", a)
    _check_tensor("b", b)
    if a.dtype != b.dtype or a.dtype not in {torch.float32, torch.float16, torch.bfloat16}:
        raise ValueError(f"a and b must both be float32, float16 or bfloat16, got {a.dtype} and {b.dtype}")
    if a.device != b.device:
        raise ValueError(f"a and b must be on the same device, got {a.device} and {b.device}")
    if a.device.type not in {"cuda", "meta"} and not interpreted:
        raise ValueError(f"a and b must be CUDA tensors, got {a.device}; for others set TRITON_INTERPRET=1 at import")
    shapes = f"got {tuple(a.shape)} @ {tuple(b.shape)}"
    if (a.dim(), b.dim()) != (3, 3) and (a.dim() < 2 or b.dim() != 2):  # noqa: PLR2004 - ranks
        raise ValueError(f"shapes must be (..., M, K) @ (K, N) or (B, M, K) @ (B, K, N), {shapes}")
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"a's last dimension must equal b's last but one, {shapes}: {a.shape[-1]} and {b.shape[-2]}")
    if b.shape[:-2] and a.shape[0] != b.shape[0]:
        raise ValueError(f"a and b must have the same batch size, {shapes}: {a.shape[0]} and {b.shape[0]}")


def _capability(*, interpreted: bool) -> int:
    """Compute capability that is compiled for, 89 for an RTX 4090; 0 under the interpreter."""
    if interpreted:
        return 0
    override = triton.knobs.runtime.override_arch or ""  # such as sm89 or sm90a
    return int("".join(filter(str.isdigit, override)) or triton.runtime.driver.active.get_current_target().arch)


def _resolve_precision(dtype: torch.dtype, precision: str | None) -> str:
    choices = (None, "tf32", "tf32x3", "bf16x3", "ieee") if dtype == torch.float32 else (None,)
    if precision not in choices:
        raise ValueError(f"precision for {dtype} must be one of {choices}, got {precision!r}")
    return precision or ("tf32" if dtype == torch.float32 else "native")


def _overlaps_itself(x: torch.Tensor) -> bool:
    """Whether two indices of x may name one element; false only where that is certain."""
    reach = 0
    for stride, size in sorted(zip(x.stride(), x.shape, strict=True)):
        if size > 1 and stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def _share_memory(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Whether x and y may have a byte in common; false only where they certainly have none."""
    spans, runs, pitch = [], [], 0
    for t in (x, y):
        dims = sorted((by, size - 1) for by, size in zip(t.stride(), t.shape, strict=True) if by and size > 1)
        spans.append((sum(by * last for by, last in dims) + 1) * t.element_size())
        runs.append((sum(by * last for by, last in dims[:1]) + 1) * t.element_size())
        for stride, _ in dims[1:]:
            divisor = stride * t.element_size()
            while divisor:
                pitch, divisor = divisor, pitch % divisor
    gap = y.data_ptr() - x.data_ptr()
    if gap >= spans[0] or -gap >= spans[1]:
        return False
    # Columns of one buffer: seen modulo the row pitch, each tensor is one run of bytes, and the runs must not meet.
    return pitch == 0 or gap % pitch < runs[0] or gap % pitch + runs[1] > pitch


def _check_out(out: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> None:
    _check_tensor("out", out)
    expected, got = ((*a.shape[:-1], b.shape[-1]), a.dtype, a.device), (tuple(out.shape), out.dtype, out.device)
    if got != expected:
        raise ValueError(f"out must have shape, dtype and device {expected}, got {got}")
    if out.is_meta or out.numel() == 0:
        return
    if _overlaps_itself(out):
        raise ValueError(f"out must not overlap itself, got shape {tuple(out.shape)} with strides {out.stride()}")
    if (a.numel() and _share_memory(out, a)) or (b.numel() and _share_memory(out, b)):
        raise ValueError("out must not share memory with a or b: it cannot be shown that no element is in both")


def _launch(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor, *, precision: str, interpreted: bool) -> None:
    """Launch the kernel on any strides: merge what merges, put one dimension in the grid, loop over the rest."""
    # A dimension is a size and its strides in a, b and out. Without a batch in b, rows are a leading dimension too.
    strides_b = (b.stride(0), 0) if b.shape[:-2] else (0,) * a.dim()
    dims = list(zip(a.shape[:-1], a.stride(), strides_b, out.stride(), strict=False))
    rows = dims.pop() if b.shape[:-2] else None
    merged: list[tuple[int, ...]] = []
    for size, *strides in dims:
        if merged and all(outer == size * inner for outer, inner in zip(merged[-1][1:], strides, strict=True)):
            merged[-1] = (merged[-1][0] * size, *strides)
        elif size > 1:
            merged.append((size, *strides))
    m, stride_am, _, stride_cm = rows or (merged.pop() if merged else (1, 0, 0, 0))
    batch, stride_ab, stride_bb, stride_cb = merged.pop() if merged else (1, 0, 0, 0)
    k, n = b.shape[-2:]
    strides_ab = (stride_ab, stride_am, a.stride(-1), stride_bb, *b.stride()[-2:])
    rest = (
        m,
        n,
        k,
        batch,
        *strides_ab,
        stride_cb,
        stride_cm,
        out.stride(-1),
        precision,
        _capability(interpreted=interpreted),
    )

    def grid(meta: dict[str, int]) -> tuple[int]:
        programs = triton.cdiv(m, meta["BLOCK_M"]) * triton.cdiv(n, meta["BLOCK_N"]) * batch
        if programs > 2**31 - 1:
            raise ValueError(f"a grid holds 2**31 - 1 tiles, {tuple(a.shape)} @ {tuple(b.shape)} needs {programs}")
        return (programs,)

    starts = [(a.storage_offset(), out.storage_offset())]
    for size, stride_a, _, stride_c in merged:
        starts = [(at_a + i * stride_a, at_c + i * stride_c) for at_a, at_c in starts for i in range(size)]
    for at_a, at_c in starts:
        a_and_on, out_and_on = a.as_strided((1,), (1,), at_a), out.as_strided((1,), (1,), at_c)
        # This is matmul_kernel[grid](...) but for warmup: meta tensors compile the kernel and launch nothing.
        matmul_kernel.run(a_and_on, b, out_and_on, *rest, grid=grid, warmup=a.is_meta)


def triton_matmul(
    a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor | None = None, precision: str | None = None
) -> torch.Tensor:
    """Multiply matrices: `(..., M, K) @ (K, N)` or `(B, M, K) @ (B, K, N)`, accumulating in FP32.

    Any strides are read where they lie; nothing is copied. The same inputs give the same bits every time, NaN and
    infinity propagate, K = 0 gives zeros, and an empty result launches nothing. matmul_kernel.best_config is the config
    that ran last.

    With |X| elementwise, |C - A B| <= e |A| |B|, barring over- and underflow, to first order:

    - tf32 (float32's default): operands rounded to nearest TF32; e = 2**-10 + K 2**-23. It is what tensor cores and
      cuBLAS with TF32 allowed compute, but unbiased, where a tensor core left to itself truncates its operands.
    - tf32x3: three TF32 products of operands split in two; e = 3 * 2**-22 + 3 K 2**-23.
    - bf16x3: the same with BF16; e = 3 * 2**-16 + 3 K 2**-23.
    - ieee: FP32 multiply-adds, no tensor core; e = K 2**-24.
    - float16 and bfloat16: exact products; e = K 2**-23, and C is rounded once more, by 2**-11 or 2**-8 of itself.

    Rounding an operand costs at most u = 2**-11 (TF32) or 2**-8 (BF16) of it; splitting it leaves u**2, and so does
    the product of the two small parts. Sums are Higham's gamma_n = n u (Accuracy and Stability of Numerical
    Algorithms, 2nd ed., section 3.1), with u = 2**-23 on tensor cores, which truncate as they add (Fasi, Higham,
    Mikaitis and Pranesh, Numerical behavior of NVIDIA tensor cores, 2021).

    Args:
        a: float32, float16 or bfloat16, of shape (..., M, K), or (B, M, K) if b has three dimensions.
        b: Of a's dtype and device, of shape (K, N) or (B, K, N).
        out: Where to write, of the result's shape, dtype and device; it shares no memory with a, b or itself.
        precision: For float32 "tf32", "tf32x3", "bf16x3", "ieee" or None, which is "tf32"; for others None.

    Returns:
        The product, of shape (..., M, N) or (B, M, N) and a's dtype: out, if given.

    Raises:
        TypeError: a, b or out is not a tensor.
        ValueError: Anything else is not as above, a tensor requires grad (forward only), or a grid is too small.
    """
    interpreted = not isinstance(_round_to_tf32, triton.JITFunction)
    _check_inputs(a, b, interpreted=interpreted)
    precision = _resolve_precision(a.dtype, precision)
    if out is None:
        out = torch.empty((*a.shape[:-1], b.shape[-1]), dtype=a.dtype, device=a.device)
    else:
        _check_out(out, a, b)
    if a.numel() == 0 or b.numel() == 0:
        return out.zero_()  # a sum over K = 0, or nothing at all
    with torch.cuda.device_of(a):
        _launch(a, b, out, precision=precision, interpreted=interpreted)
    return out


class ModelNew(nn.Module):
    """The kernel as a module."""

    def forward(self, A: torch.Tensor, B: torch.Tensor) -> torch.Tensor:
        """Return triton_matmul(A, B)."""
        return triton_matmul(A, B)
