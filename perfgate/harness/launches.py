"""What Triton launched in a call: each kernel's configuration, and one hash, equal for equal code, configuration and grid.

Owns the watching of launches. Reads PTX, which the same assembler turns into the same machine code; kernels that are
not Triton's (copies, fills) are not seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perfgate.harness.compile_only import launch_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_COMMENT = re.compile(r"//.*")
_NOT_CODE = (".file", ".loc", ".section", ".b8", ".b16", ".b32", ".b64", "$L__tmp", "$L__func", "$L__debug", "$L__info")
"""Beginnings of lines that carry debug information and labels: paths and line numbers of the source."""


@dataclass(frozen=True, kw_only=True)
class Launched:
    """What one call launched."""

    code: str = ""
    """A hash of it all; empty where nothing was launched."""
    names: tuple[str, ...] = ()
    """Of the kernels, in launch order."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """By kernel as `numbered`, its tile, warps and stages."""


def numbered(names: Sequence[str]) -> list[str]:
    """Names of their own for launches: a kernel that is launched again is numbered (``name#2``)."""
    counts = [names[: at + 1].count(name) for at, name in enumerate(names)]
    return [name if count == 1 else f"{name}#{count}" for name, count in zip(names, counts, strict=True)]


def launched_by(call: Callable[[], object]) -> Launched:
    """Run ``call`` once and say what Triton launched in it."""
    digest, config = hashlib.sha256(), {}
    with _watched() as launches:
        call()
    names = tuple(kernel.name for kernel, _ in launches)
    for title, (kernel, grid) in zip(numbered(names), launches, strict=True):
        metadata = kernel.metadata
        launch = (kernel.name, grid, metadata.num_warps, metadata.num_ctas, metadata.shared)
        digest.update(repr(launch).encode())
        digest.update(_code(kernel.asm["ptx"]).encode())
        config[title] = launch_config(kernel)
    return Launched(code=digest.hexdigest(), names=names, config=config) if launches else Launched()


def code_of(call: Callable[[], object]) -> str:
    """Run ``call`` once and hash all that Triton launched in it; empty where it launched nothing."""
    return launched_by(call).code


def _code(ptx: str) -> str:
    """The instructions of a PTX text, without comments and debug information."""
    lines = (_COMMENT.sub("", line).strip() for line in ptx.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(_NOT_CODE))


@contextlib.contextmanager
def _watched() -> Iterator[list[tuple[Any, object]]]:
    """Within it, every launch leaves its compiled kernel and its grid. Not for threads.

    A launch is one of a ``@triton.jit`` function, or of a compiled kernel that was kept from one (``kernel[grid]``).
    """
    from triton.compiler import CompiledKernel
    from triton.runtime.jit import JITFunction

    seen: list[tuple[Any, object]] = []
    launch, again = JITFunction.run, CompiledKernel.__getitem__

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> object:  # noqa: ANN401 - Triton's
        asked: list[Sequence[int]] = []

        def noted(bound: Mapping[str, object]) -> Sequence[int]:
            """Asked once, by Triton: a wrapper may keep what its grid was asked with, for launches to come."""
            asked[:] = [grid(bound)]
            return asked[0]

        kernel = launch(self, *args, grid=noted if callable(grid) else grid, warmup=warmup, **kwargs)
        if kernel is not None:
            if not callable(grid):
                asked = [grid]
            elif not asked:  # a warm-up asks for no grid
                named = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
                noted({name: named[name] for name in self.arg_names if name in named})
            seen.append((kernel, _whole(asked[0])))
        return kernel

    def run_again(self: Any, grid: Any) -> object:  # noqa: ANN401 - Triton's
        seen.append((self, _whole(grid)))
        return again(self, grid)

    JITFunction.run, CompiledKernel.__getitem__ = run, run_again
    try:
        yield seen
    finally:
        JITFunction.run, CompiledKernel.__getitem__ = launch, again


def _whole(grid: Sequence[int]) -> tuple[int, ...]:
    """A grid with all of its three axes."""
    return (*grid, 1, 1)[:3]


@contextlib.contextmanager
def cache_folder(path: str | None) -> Iterator[None]:
    """Within it, Triton keeps what it compiles in this folder; None leaves the user's own."""
    from triton import knobs

    if path is None:
        yield
        return
    with knobs.cache.scope():
        knobs.cache.dir = path
        yield
