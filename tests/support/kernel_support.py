"""What the kernel's tests share: the device, NaN-surrounded operands, the documented error bounds, and forced rules.

Without a CUDA card the kernel runs in Triton's interpreter, which must be asked for before the kernel is imported.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from kernels import matmul

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
KERNELS: dict[str, Any] = {name: getattr(matmul, name) for name in dir(matmul) if name.endswith("_kernel")}
TUNED = {name: kernel for name, kernel in KERNELS.items() if hasattr(kernel, "configs")}

# Smallest numbers of FP32, which the exact product may miss: what underflows is outside the bounds.
UNDERFLOW = 2.0**-148


def surrounded(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Return random numbers with NaN on every side, so that reading one element too many shows."""
    generator = torch.Generator().manual_seed(seed)
    buffer = torch.full([size + 2 for size in shape], torch.nan, dtype=dtype)
    inside = buffer[tuple(slice(1, 1 + size) for size in shape)]
    inside.copy_(torch.randn(shape, generator=generator).to(dtype))
    return buffer.to(DEVICE)[tuple(slice(1, 1 + size) for size in shape)]


def integers(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """Return small integers, of which every product and sum is exact in every form."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-2, 3, shape, generator=generator).to(DEVICE, dtype)


def assert_within_bound(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, precision: str | None = None) -> None:
    """Hold c against the exact product and the error bound that triton_matmul documents; "scaled" is tf32's own."""
    k = a.shape[-1]
    bound = {
        "tf32": 2**-10 + 2**-20 + k * 2**-23,
        "scaled": 2**-10 + 2**-20 + k * 2**-23,
        "tf32x3": 3 * 2**-22 + 3 * k * 2**-23,
        "bf16x3": 3 * 2**-16 + 3 * k * 2**-23,
        "ieee": k * 2**-24,
        "native": k * 2**-23,
    }[precision or ("tf32" if a.dtype == torch.float32 else "native")]
    last_rounding = {torch.float32: 0.0, torch.float16: 2**-11, torch.bfloat16: 2**-8}[a.dtype]
    exact = a.double() @ b.double()
    big_a, big_b = a.double().abs(), b.double().abs()
    allowed = bound * (big_a @ big_b) + 1.01 * last_rounding * exact.abs() + UNDERFLOW
    if precision == "scaled":  # operands far below the largest of their row or column
        far_a, far_b = (2**-38 * big.amax(dim, keepdim=True).expand_as(big) for big, dim in ((big_a, -1), (big_b, -2)))
        allowed += 1.01 * (far_a @ big_b + big_a @ far_b)
    error = (c.double() - exact).abs()
    overflows = (exact.abs() > torch.finfo(torch.float32).max) & (c == exact.float())
    assert c.shape == exact.shape
    assert c.dtype == a.dtype
    worst = (error / allowed).nan_to_num(torch.inf, torch.inf)[~overflows]
    assert bool((worst <= 1).all()), f"worst error is {worst.max().item():.3g} of what is allowed"


def assert_same_bits(c: torch.Tensor, expected: torch.Tensor) -> None:
    """Hold c against what is expected to the last bit, where every NaN is one."""
    assert c.dtype == expected.dtype
    assert torch.equal(c.isnan(), expected.isnan())
    assert torch.equal(c.nan_to_num(9, 8, 7), expected.nan_to_num(9, 8, 7))


@contextmanager
def forced(
    *, config: int | None = None, form: str | None = None, splits: int | None = None, hopper: bool | None = None
) -> Iterator[None]:
    """Within it, calls run with a config of every kernel, a form, a number of parts and kernels that the rules deny them."""
    with pytest.MonkeyPatch.context() as patch:
        if config is not None:
            for rule in ("choose_config", "choose_split_config", "choose_hopper_config", "choose_vector_config"):
                patch.setattr(matmul, rule, lambda configs, _named: configs[min(config, len(configs) - 1)])
        if form is not None:
            patch.setattr(matmul, "choose_form", lambda *_sizes, **_rest: form)
        if splits is not None:
            patch.setattr(matmul, "choose_splits", lambda *_sizes: splits)
        if hopper is not None:
            patch.setattr(matmul, "_is_hopper", lambda _capability: hopper)
        forget()
        try:
            yield
        finally:
            forget()


def forget() -> None:
    """Let the next call choose, plan and launch anew."""
    matmul.forget_launches()
    for kernel in TUNED.values():
        kernel.cache.clear()


@contextmanager
def launched() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Within it, every launch adds its kernel's name and its options to the list."""
    seen: list[tuple[str, dict[str, Any]]] = []
    execute: Callable[..., Any] = matmul._execute  # noqa: SLF001 - where every launch passes

    def noted(plan: dict[str, Any], tensors: Any) -> Any:
        for launch in plan["launches"]:
            (name,) = (name for name, kernel in KERNELS.items() if kernel is launch["kernel"])
            seen.append((name, launch["options"]))
        return execute(plan, tensors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matmul, "_execute", noted)
        matmul.forget_launches()
        yield seen


def garbage_in_new_memory(patch: pytest.MonkeyPatch) -> None:
    """Fill what is allocated with NaN or the largest integer, so that reading before writing shows."""
    empty = torch.empty

    def filled(*args: Any, **options: Any) -> torch.Tensor:
        tensor = empty(*args, **options)
        return tensor.fill_(torch.nan if tensor.is_floating_point() else torch.iinfo(tensor.dtype).max)

    patch.setattr(torch, "empty", filled)


# Compiles calls for an RTX 4090, which need not be there, on tensors without memory.
_COMPILE = """
import json, sys
import torch
from kernels import matmul
from perfgate.harness.compile_only import compile_only
from perfgate.codegen.extract import compile_case
from perfgate.hardware.occupancy import architecture

for a, b, dtype, options in json.loads(sys.argv[1]):
    operands = [torch.empty(shape, device="meta", dtype=getattr(torch, dtype)) for shape in (a, b)]
    call = lambda: matmul.triton_matmul(*operands, **options)
    case = compile_case(call, contract={}, target="sm_89")
    assert not case.error, case.error
    with compile_only(architecture("sm_89")) as capture:
        call()
    print(json.dumps([
        {"name": facts.name, "warps": kernel.metadata.num_warps, "stages": kernel.metadata.num_stages,
         "chosen": getattr(matmul, facts.name).best_config.all_kwargs() if hasattr(getattr(matmul, facts.name), "configs") else None,
         "precision": facts.config.get("PRECISION"), "stack": facts.stack_bytes, "blocks": facts.blocks_per_sm,
         "shared": facts.shared_bytes, "ttir": kernel.asm["ttir"], "ptx": kernel.asm["ptx"]}
        for facts, kernel in zip(case.kernels, capture.kernels, strict=True)]))
"""


def python(code: str, *arguments: str, **environment: str) -> str:
    """Run code in a Python of its own, so that what it breaks is only itself; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(matmul.__file__).parent.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr}"
    return done.stdout


def compiled(calls: Mapping[str, tuple[Any, ...]]) -> dict[str, list[dict[str, Any]]]:
    """Return the facts of each kernel that calls, (shape of a, shape of b, dtype, options) by name, launch on an RTX 4090."""
    lines = python(_COMPILE, json.dumps(list(calls.values())), TRITON_INTERPRET="0").splitlines()
    return dict(zip(calls, map(json.loads, lines), strict=True))
