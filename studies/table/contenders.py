"""The arms of a case, each a launch that gives its result: the kernel and what it is measured beside.

Owns how each is called at the precision of its case, and the check that comes before its times. Arms:

- ``kernel``: the file under test; ``start``: the kernel it started from (``starting``), into the same result.
- ``torch``: the vendor library, as the gate's own control.
- ``compile``: ``torch.compile(mode="max-autotune-no-cudagraphs")``. Plain max-autotune records a CUDA graph, which copies
  the operands into memory of its own at every call and would be timed copying. A compiled product makes its own result;
  told to write into a given one it would copy. The result is let go after each call, so that the next one is given
  the same memory without asking the driver, and nothing but the product runs between the events.
- ``limit``: a memset of the result where storing it bounds the case, a sum of the operands where reading them does.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from triton.errors import TritonError

from perf_tests import cases
from perf_tests.test_throughput import _check_rows
from perfgate.harness.correctness import WrongResultError, matmul_errors
from perfgate.harness.guarded import guarded
from studies.table.cases import COMPILE, KERNEL, LIMIT, START, TORCH, limit_of
from studies.table.starting import starting_matmul

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import ModuleType

    from perfgate.harness.guarded import Guarded
    from perfgate.records import Case

REFUSALS = (RuntimeError, ValueError, TritonError)
"""What an arm raises that cannot be built or launched; torch's compiler and its out of memory are RuntimeErrors."""
_CHECKED_ROWS = 64
_FACTOR = 4.0
"""An arm's error may be this many times that of operands rounded to nearest: truncated ones have two to three times it."""
_ADDED_AT_ONCE = 8
"""Products that a tensor core adds at least at once; what it truncates after each is the price of a long sum."""
_UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One case's operands and the result that the arms share: none may have the luckier address."""

    case: Case
    a: torch.Tensor
    b: torch.Tensor
    out: Guarded
    kernel: ModuleType


def problem(case: Case, kernel: ModuleType, *, device: str, seed: int) -> Problem:
    """Random operands in the case's layouts and a result filled with NaN, canaries around it."""
    a, b = cases.operands(case, device=device, seed=seed)
    out = guarded(cases.result_shape(case), dtype=a.dtype, device=device)
    return Problem(case=case, a=a, b=b, out=out, kernel=kernel)


def _kernel(given: Problem) -> Callable[[], torch.Tensor]:
    return partial(cases.call(given.kernel, given.case, given.a, given.b), out=given.out.tensor)


def _start(given: Problem) -> Callable[[], torch.Tensor]:
    return partial(starting_matmul, given.a, given.b, out=given.out.tensor)


def _torch(given: Problem) -> Callable[[], torch.Tensor]:
    return cases.control(given.case, given.a, given.b)


def _compile(given: Problem) -> Callable[[], torch.Tensor]:
    torch.compiler.reset()  # all cases are one function to torch, which refuses to compile that for more than a few shapes

    def product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a, b)

    compiled = torch.compile(product, mode="max-autotune-no-cudagraphs", dynamic=False, fullgraph=True)

    def run() -> torch.Tensor:
        # Part of what the compiled code was compiled for: with another value it would be compiled again.
        torch.backends.cuda.matmul.allow_tf32 = given.case.precision == "tf32"
        result: torch.Tensor = compiled(given.a, given.b)
        return result

    return run


def _limit(given: Problem) -> Callable[[], torch.Tensor]:
    if limit_of(given.case) == "store":
        return partial(memset, given.out.tensor)
    total = torch.zeros((), dtype=given.a.dtype, device=given.a.device)

    def read() -> torch.Tensor:
        for operand in (given.a, given.b):
            torch.sum(operand.view(-1), dim=0, out=total)
        return total

    return read


MAKERS: Mapping[str, Callable[[Problem], Callable[[], torch.Tensor]]] = {
    KERNEL: _kernel,
    START: _start,
    TORCH: _torch,
    COMPILE: _compile,
    LIMIT: _limit,
}


def memset(tensor: torch.Tensor) -> torch.Tensor:
    """Set a contiguous tensor's bytes to zero with the driver's own memset, on the current stream.

    Torch's ``zero_`` launches a kernel of its own, which is no limit of the card.

    Raises:
        RuntimeError: The driver refused.
    """
    stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
    at, count = ctypes.c_uint64(tensor.data_ptr()), ctypes.c_size_t(tensor.numel() * tensor.element_size())
    code = ctypes.CDLL("libcuda.so.1").cuMemsetD8Async(at, ctypes.c_ubyte(0), count, stream)
    if code:
        raise RuntimeError(f"the driver's memset gave error {code}, expected 0")
    return tensor


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What the check before timing found."""

    bits: tuple[torch.Tensor, ...]
    """Sums of the result's bits by row and by column; a copy of the result would need as much memory again."""
    error: float | None
    """RMS error over that of operands rounded to nearest and multiplied by torch; None for the limit."""


def check(name: str, launch: Callable[[], torch.Tensor], given: Problem, *, seed: int) -> Checked:
    """Run an arm twice, the second time over NaN, and hold some rows of its result against float64.

    The kernel is held to the gate's own tolerance. Other arms may truncate operands where it rounds them (the starting
    kernel does), and pay for a long sum as tensor cores do: each addition of 8 products may lose a unit in the last place.

    Raises:
        WrongResultError: The result is wrong, or was written beside the result.
    """
    launch().fill_(float("nan"))
    got = launch()
    if name == LIMIT:
        if limit_of(given.case) == "store" and bool(got.any()):
            raise WrongResultError(f"{given.case.id}: the memset left something in the result, expected zeros.")
        return Checked(bits=_bits(got), error=None)
    if name == KERNEL:
        _check_rows(given.case, given.a, given.b, got, seed)
    if not given.out.intact():
        raise WrongResultError(f"{given.case.id}: {name} wrote outside its result (the canaries around it changed).")
    error = _check_loosely(name, given, got, seed)
    return Checked(bits=_bits(got), error=error)


def same_again(launch: Callable[[], torch.Tensor], given: Problem, checked: Checked) -> bool:
    """Whether an arm, run once more over NaN, gives the bits it gave before it was timed, and nothing beside them."""
    launch().fill_(float("nan"))
    return (
        all(bool(torch.equal(x, y)) for x, y in zip(_bits(launch()), checked.bits, strict=True)) and given.out.intact()
    )


def _bits(result: torch.Tensor) -> tuple[torch.Tensor, ...]:
    bits = result.view(torch.int32 if result.element_size() == 4 else torch.int16)  # noqa: PLR2004 - bytes of FP32
    if bits.dim() < 2:  # noqa: PLR2004 - the scalar of a read
        return (bits.clone(),)
    return tuple(bits.sum(dim=dim, dtype=torch.int64) for dim in (-1, -2))


def _check_loosely(name: str, given: Problem, got: torch.Tensor, seed: int) -> float:
    """The arm's RMS error over that of torch with operands rounded to nearest; refuses what no such arithmetic gives."""
    case = given.case
    if bool(torch.isnan(got).any()):
        raise WrongResultError(f"{case.id}: {name}'s result holds NaN (elements never written, or computed from NaN).")
    torch.backends.cuda.matmul.allow_tf32 = False
    rows = torch.randperm(given.a.shape[-2], generator=torch.Generator().manual_seed(seed))[:_CHECKED_ROWS]
    rows = rows.to(given.a.device)
    ours, theirs, scale = matmul_errors(given.a[..., rows, :], given.b, got[..., rows, :], case.precision)
    lost = given.a.shape[-1] / _ADDED_AT_ONCE * 2.0**-23 + _UNIT_ROUNDOFF[got.dtype]
    for kind in ("largest", "rms"):
        found, allowed = getattr(ours, kind), _FACTOR * getattr(theirs, kind) + lost * scale
        if not found <= allowed:
            raise WrongResultError(
                f"{case.id}: {name}'s {kind} error is {found:.3g} against float64, expected at most {allowed:.3g} "
                f"({_FACTOR:g} × torch's own {getattr(theirs, kind):.3g} at {case.precision} + {lost * scale:.3g})."
            )
    return ours.rms / theirs.rms if theirs.rms else 1.0


@contextlib.contextmanager
def one_tunes_at_a_time(lock: Path) -> Iterator[None]:
    """Within it, torch's compiler times its candidates only while it holds a file: others compile meanwhile.

    So several processes tune on one card, each candidate timed alone; compiling candidates is what takes long.
    """
    from torch._inductor.runtime.benchmarking import benchmarker

    owner: Any = benchmarker  # whose method is replaced for a while
    time_alone = owner.benchmark_gpu
    held = False

    def wait_and_time(*arguments: object, **options: object) -> object:
        nonlocal held
        if held:  # one way of timing is made of another
            return time_alone(*arguments, **options)
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # goes with the file
            held = True
            try:
                return time_alone(*arguments, **options)
            finally:
                held = False

    owner.benchmark_gpu = wait_and_time
    try:
        yield
    finally:
        owner.benchmark_gpu = time_alone


def never_compiles() -> contextlib.AbstractContextManager[None]:
    """Within it, a call of torch.compile's that would compile or tune raises in place of being timed at it."""
    stance: contextlib.AbstractContextManager[None] = torch.compiler.set_stance("fail_on_recompile")
    return stance
