"""Host seconds of a call: the wrapper's, torch's, and those of Triton's own launch of an empty kernel.

Owns what is called and how it is timed. Every arm is called in batches behind a held stream, so that the card never makes
the host wait, batch by batch in random order. Triton's own share is that of an empty kernel with as many arguments as the
matmul's: launched by its ``@triton.jit`` function, and by the compiled kernel alone.
"""

from __future__ import annotations

import gc
import random
import statistics
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from perf_tests import cases
from perfgate.harness.correctness import check_close
from perfgate.project import load_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import ModuleType

    from perfgate.records import Case

TORCH, TORCH_ALLOCATING = "torch.matmul(out=)", "torch.matmul"
KERNEL, KERNEL_ALLOCATING = "triton_matmul(out=)", "triton_matmul"
JIT, DIRECT = "empty kernel, @triton.jit", "empty kernel, compiled"
LOOP = "the loop itself"
SHAPES: tuple[Case, ...] = (
    cases.matmul_case("64^3 float32", (64, 64), (64, 64)),
    cases.matmul_case("64^3 float16", (64, 64), (64, 64), dtype="float16"),
    cases.matmul_case("512^3 float32", (512, 512), (512, 512)),
    cases.matmul_case("512^3 float16", (512, 512), (512, 512), dtype="float16"),
    cases.matmul_case("8 x 64^3 float32", (8, 64, 64), (8, 64, 64)),
)
_BATCH, _FEWEST_BATCHES = 100, 10
"""A driver queues about a thousand launches before it makes the host wait; a call may be several."""
_HOLD_FACTOR, _LONGEST_HOLD_S = 3, 0.1
FEWEST_CALLS = 2 * _FEWEST_BATCHES


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a call of one arm costs the host, in seconds: median and quartiles over batches."""

    arm: str
    seconds: float
    low: float
    high: float


class HeldStream:
    """Keeps the current stream busy while calls are queued behind it, and counts the batches where it was not."""

    def __init__(self, hold_cycles: int) -> None:
        self._cycles = hold_cycles
        self._event: Any = torch.cuda.Event()
        self.unheld = 0

    def hold(self) -> None:
        """Begin to hold the stream."""
        torch.cuda._sleep(self._cycles)  # noqa: SLF001 - torch offers no public way to hold a stream
        self._event.record()

    def wait(self) -> None:
        """Let everything queued run, and note whether the card had been let go before all was queued."""
        self.unheld += bool(self._event.query())
        torch.cuda.synchronize()


@contextmanager
def _no_collector() -> Iterator[None]:
    """Without Python's cyclic collector, as `timeit` runs: its pauses would fall on whichever arm is running."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def host_seconds(  # noqa: PLR0913 - each is one independent choice, all by name
    arms: Mapping[str, Callable[[], object]],
    *,
    calls: int,
    batches: int,
    seed: int,
    hold: Callable[[], object] = lambda: None,
    wait: Callable[[], object] = lambda: None,
    now_ns: Callable[[], int] = time.perf_counter_ns,
) -> dict[str, list[float]]:
    """Host seconds a call of every arm, one number a batch.

    Args:
        arms: What to call, by name.
        calls: Calls in a batch.
        batches: Batches of each arm, in an order of arms drawn anew for each round.
        seed: Of the orders.
        hold: Called before each batch, not timed.
        wait: Called after it, not timed.
        now_ns: The clock, in nanoseconds.
    """
    order = random.Random(seed)  # noqa: S311 - an order of runs, no secret
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    repeated = range(calls)
    with _no_collector():
        for _ in range(batches):
            for name in order.sample(sorted(arms), len(arms)):
                call = arms[name]
                hold()
                start = now_ns()
                for _ in repeated:
                    call()
                taken = now_ns() - start
                wait()
                seconds[name].append(taken * 1e-9 / calls)
    return seconds


def empty_kernel(like: Any, folder: Path) -> Any:  # noqa: ANN401 - functions of Triton's, which is untyped
    """A kernel that does nothing with as many pointers, numbers and constants as another; Triton reads it from a file.

    Args:
        like: The other, in whatever decorates it.
        folder: Where the file goes.
    """
    while not hasattr(like, "params"):
        like = like.fn
    names = [f"x{i}: tl.constexpr" if param.is_constexpr else f"x{i}" for i, param in enumerate(like.params)]
    path = folder / "empty_kernel.py"
    text = f"import triton\nimport triton.language as tl\n\n\n@triton.jit\ndef empty_kernel({', '.join(names)}):\n    pass\n"
    path.write_text(text, encoding="utf-8")
    return load_kernel(path, "empty_kernel").empty_kernel


def _empty_arms(kernel: ModuleType, tensors: Sequence[torch.Tensor], folder: Path) -> dict[str, Callable[[], object]]:
    """Triton's two ways to launch an empty kernel: on the tensors first, then numbers as a product of 64 has them."""
    launched = empty_kernel(kernel.matmul_kernel, folder)
    arguments = [*tensors, *(64 for _ in launched.params[len(tensors) :])]
    grid = (1, 1, 1)
    compiled = launched[grid](*arguments)  # as every launch returns it
    return {JIT: lambda: launched[grid](*arguments), DIRECT: partial(compiled[grid], *arguments)}


def checked_operands(kernel: ModuleType, case: Case, *, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Operands of one shape and the kernel's result, checked: a wrong kernel gets no number.

    Raises:
        WrongResultError: The result is wrong.
    """
    a, b = cases.operands(case, device=device, seed=0)
    out = torch.empty(cases.result_shape(case), dtype=a.dtype, device=device)
    torch.backends.cuda.matmul.allow_tf32 = False  # for the check's own product
    kernel.triton_matmul(a, b, out=out)
    check_close(case.id, a, b, out, precision=case.precision)
    return a, b, out


def arms_of(kernel: ModuleType, case: Case, folder: Path) -> dict[str, Callable[[], object]]:
    """Every arm of one shape on the card, called once each."""
    a, b, out = checked_operands(kernel, case, device="cuda")
    control = torch.empty_like(out)
    torch.backends.cuda.matmul.allow_tf32 = True  # the kernel's default for FP32, so torch's as well
    arms: dict[str, Callable[[], object]] = {
        TORCH: partial(torch.matmul, a, b, out=control),
        TORCH_ALLOCATING: partial(torch.matmul, a, b),
        KERNEL: partial(kernel.triton_matmul, a, b, out=out),
        KERNEL_ALLOCATING: partial(kernel.triton_matmul, a, b),
        **_empty_arms(kernel, (a, b, out), folder),
        LOOP: lambda: None,
    }
    for call in arms.values():
        call()
    torch.cuda.synchronize()
    return arms


def costs(seconds: Mapping[str, Sequence[float]]) -> list[Cost]:
    """Median and quartiles of each arm's batches, two or more."""
    found = []
    for arm, values in seconds.items():
        low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
        found.append(Cost(arm=arm, seconds=middle, low=low, high=high))
    return found


@dataclass(frozen=True, kw_only=True)
class Found:
    """The costs of every shape."""

    calls: int
    """In a batch."""
    batches: int
    unheld: int
    """Batches that the stream was not held for to their end: the card may have made the host wait."""
    shapes: dict[str, list[Cost]]


def measure(kernel: ModuleType, *, calls: int, clock_hz: float) -> Found:
    """Every shape's costs on the card present.

    Args:
        kernel: Module with ``triton_matmul`` and ``matmul_kernel``.
        calls: Calls of each arm and shape, `FEWEST_CALLS` or more.
        clock_hz: The card's highest SM clock, by which the stream is held.

    Raises:
        WrongResultError: A wrong kernel gets no number.
    """
    batch = min(_BATCH, calls // _FEWEST_BATCHES)
    shapes, unheld = {}, 0
    with tempfile.TemporaryDirectory() as folder:
        for case in SHAPES:
            arms = arms_of(kernel, case, Path(folder))
            tried = host_seconds(arms, calls=batch, batches=2, seed=0, wait=torch.cuda.synchronize)
            hold_s = min(_LONGEST_HOLD_S, _HOLD_FACTOR * batch * max(map(min, tried.values())))
            stream = HeldStream(int(hold_s * clock_hz))
            found = host_seconds(arms, calls=batch, batches=calls // batch, seed=0, hold=stream.hold, wait=stream.wait)
            unheld += stream.unheld
            shapes[case.id] = costs(found)
    return Found(calls=batch, batches=calls // batch, unheld=unheld, shapes=shapes)
