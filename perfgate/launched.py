"""What Triton launched in a call, as one hash: equal hashes mean equal machine code, configuration and grid.

Owns the watching of launches. Reads PTX, which the same assembler turns into the same machine code; kernels that are
not Triton's (copies, fills) are not seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_COMMENT = re.compile(r"//.*")
_NOT_CODE = (".file", ".loc", ".section", ".b8", ".b16", ".b32", ".b64", "$L__tmp", "$L__func", "$L__debug", "$L__info")
"""Beginnings of lines that carry debug information and labels: paths and line numbers of the source."""


def code_of(call: Callable[[], object]) -> str:
    """Run ``call`` once and hash all that Triton launched in it; empty where it launched nothing."""
    digest = hashlib.sha256()
    with _watched() as launches:
        call()
    for kernel, grid in launches:
        metadata = kernel.metadata
        launch = (kernel.name, grid, metadata.num_warps, metadata.num_ctas, metadata.shared)
        digest.update(repr(launch).encode())
        digest.update(_code(kernel.asm["ptx"]).encode())
    return digest.hexdigest() if launches else ""


def _code(ptx: str) -> str:
    """The instructions of a PTX text, without comments and debug information."""
    lines = (_COMMENT.sub("", line).strip() for line in ptx.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(_NOT_CODE))


@contextlib.contextmanager
def _watched() -> Iterator[list[tuple[Any, object]]]:
    """Within it, every launch of a ``@triton.jit`` function leaves its compiled kernel and its grid. Not for threads."""
    from triton.runtime.jit import JITFunction

    seen: list[tuple[Any, object]] = []
    launch = JITFunction.run

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> object:  # noqa: ANN401 - Triton's
        kernel = launch(self, *args, grid=grid, warmup=warmup, **kwargs)
        if kernel is not None:
            bound = {**dict(zip(self.arg_names, args, strict=False)), **kwargs}
            seen.append((kernel, grid(bound) if callable(grid) else tuple(grid)))
        return kernel

    JITFunction.run = run
    try:
        yield seen
    finally:
        JITFunction.run = launch


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
