"""A slowed copy of the kernel file: real extra work inside the kernel, as much as a number says, and the same result.

Owns where the work goes in. The copy repeats ``acc = acc * 1 + -0.0`` before the result is rounded and stored; one
and minus zero are arguments of the launch, so the compiler cannot know that nothing changes. The copy's global
``SLOWDOWN`` says how often, in sixty-fourths of a repetition, and is read at every launch: one compiled kernel has
every speed. At 0 it is the kernel and a loop that never runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfgate.records import GateError
from perfgate.settings import load_kernel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

NAME = "kernel_slowed"
"""Under which the copy is imported."""
SHARES = 64
"""A last repetition may be done by some programs only: by every 64th, by two of 64, and so on."""

# x * 1 + -0.0 is x to the last bit for every x but NaN, which stays NaN; + 0.0 would turn -0.0 into 0.0.
_NEUTRAL = (1.0, -0.0)

_BEFORE_ROUNDING = "    if CAPABILITY == 0 and c_ptr.dtype.element_ty == tl.bfloat16:"
_REPETITIONS = f"EXTRA // {SHARES} + (pid % {SHARES} < EXTRA % {SHARES}).to(tl.int32)"
_INSERTIONS: tuple[tuple[str, str], ...] = (
    # Otherwise 1 and multiples of 16 would each compile a kernel of their own.
    ('do_not_specialize=["BATCH"', 'do_not_specialize=["EXTRA", "BATCH"'),
    ("LONG_K: tl.constexpr,\n", "LONG_K: tl.constexpr,\n    EXTRA, EXTRA_FACTOR, EXTRA_TERM,\n"),
    (
        _BEFORE_ROUNDING,
        f"    for _ in range({_REPETITIONS}):\n        acc = acc * EXTRA_FACTOR + EXTRA_TERM\n{_BEFORE_ROUNDING}",
    ),
    (
        "matmul_kernel.run(a_and_on, b, out_and_on, *rest, ",
        "matmul_kernel.run(a_and_on, b, out_and_on, *rest, EXTRA=SLOWDOWN, EXTRA_FACTOR={}, EXTRA_TERM={}, ",
    ),
)


def slowed_source(source: str, *, factor: float = _NEUTRAL[0], term: float = _NEUTRAL[1]) -> str:
    """The kernel file's text with the extra work in it.

    Args:
        source: The kernel file's text.
        factor: What each repetition multiplies by; anything but 1 is for the test that the work is done.
        term: What it adds.

    Raises:
        GateError: ``slowed-no-anchor`` where the file does not have the lines that the work goes between.
    """
    for anchor, replacement in _INSERTIONS:
        if (found := source.count(anchor)) != 1:
            raise GateError(
                "slowed-no-anchor",
                f"The kernel file has {anchor.strip()!r} {found} times, expected once, as extra work for the calibration "
                "goes in there; the kernel has changed, so mend perf_tests/slowed.py.",
            )
        source = source.replace(anchor, replacement.format(factor, term) if "{}" in replacement else replacement)
    return f"{source}\n\nSLOWDOWN = 0\n"


def load_slowed(kernel_file: Path, scratch: Path) -> ModuleType:
    """Write the slowed copy into ``scratch`` and import it; Triton reads a kernel's source from its file."""
    path = scratch / f"{NAME}.py"
    path.write_text(slowed_source(kernel_file.read_text(encoding="utf-8")), encoding="utf-8")
    return load_kernel(path, NAME)


def slowed_by(module: ModuleType, extra: int, launch: Callable[[], object]) -> Callable[[], object]:
    """A launch of the slowed copy with that much extra work, in sixty-fourths of a repetition."""
    copy: Any = module  # whose own global is set

    def run() -> object:
        copy.SLOWDOWN = extra
        return launch()

    return run
