"""What the kernel's tests share: the device, NaN-surrounded operands, and the documented error bound.

Without a CUDA card the kernel runs in Triton's interpreter, which must be asked for before the kernel is imported.
"""

import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from kernels import matmul

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)


def surrounded(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Return random numbers with NaN on every side, so that reading one element too many shows."""
    generator = torch.Generator().manual_seed(seed)
    buffer = torch.full([size + 2 for size in shape], torch.nan, dtype=dtype)
    inside = buffer[tuple(slice(1, 1 + size) for size in shape)]
    inside.copy_(torch.randn(shape, generator=generator).to(dtype))
    return buffer.to(DEVICE)[tuple(slice(1, 1 + size) for size in shape)]


def assert_within_bound(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, precision: str | None = None) -> None:
    """Hold c against the exact product and the error bound that triton_matmul documents."""
    k = a.shape[-1]
    bound = {
        "tf32": 2**-10 + 2**-20 + k * 2**-23,
        "tf32x3": 3 * 2**-22 + 3 * k * 2**-23,
        "bf16x3": 3 * 2**-16 + 3 * k * 2**-23,
        "ieee": k * 2**-24,
        "native": k * 2**-23,
    }[precision or ("tf32" if a.dtype == torch.float32 else "native")]
    last_rounding = {torch.float32: 0.0, torch.float16: 2**-11, torch.bfloat16: 2**-8}[a.dtype]
    exact = a.double() @ b.double()
    allowed = bound * (a.double().abs() @ b.double().abs()) + 1.01 * last_rounding * exact.abs() + 1e-30
    error = (c.double() - exact).abs()
    assert c.shape == exact.shape
    assert c.dtype == a.dtype
    assert bool((error <= allowed).all()), f"worst error is {(error / allowed).max().item():.3g} of what is allowed"


def use_config(index: int) -> None:
    """Run every later launch with the config of that index; the caller restores matmul.choose_config."""
    matmul.choose_config = lambda configs, _named_args: configs[index]
    matmul.matmul_kernel.cache.clear()
