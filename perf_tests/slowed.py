"""A slowed copy of the kernel file: real extra work inside the kernel, as much as a number says, and the same result.

Owns where the work goes in: into every kernel that computes the sums of a product. It repeats ``acc = acc * 1 + -0.0``
before the sums are rounded and stored; one and minus zero are arguments of the launch, so the compiler cannot know that
nothing changes. The copy's global ``SLOWDOWN`` says how often, in sixty-fourths of a repetition, and is read at every
launch: one compiled kernel has every speed, and a launch that is kept to be repeated is kept for its speed alone. At 0
it is the kernel and a loop that never runs. What brings operands into another form, or adds parts, is as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfgate.project import load_kernel
from perfgate.records import GateError

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

_SCALES_UNDONE = '    if PRECISION == "scaled":\n        acc = _unscale('
_NAMES = "EXTRA, EXTRA_FACTOR, EXTRA_TERM"
_WORK = f"""\
    for _ in range(EXTRA // {SHARES} + (tl.program_id(0) % {SHARES} < EXTRA % {SHARES}).to(tl.int32)):
        acc = acc * EXTRA_FACTOR + EXTRA_TERM
"""
_INSERTIONS: tuple[tuple[str, str, int], ...] = (
    # Where, what stands there then, and at how many places. First the arguments of the four kernels that compute a
    # result; otherwise 1 and multiples of 16 would each compile a kernel of their own.
    ('(do_not_specialize=["', '(do_not_specialize=["EXTRA", "', 4),
    ("LONG_K: tl.constexpr,\n", f"LONG_K: tl.constexpr,\n    {_NAMES},\n", 3),
    ("EVEN_K, LONG_K,\n", f"EVEN_K, LONG_K, {_NAMES},\n", 2),
    ("A_TURNED: tl.constexpr, B_TURNED: ", f"{_NAMES}, A_TURNED: tl.constexpr, B_TURNED: ", 1),
    ("CONTIGUOUS: tl.constexpr,", f"CONTIGUOUS: tl.constexpr, {_NAMES},", 1),
    # Then the work of matmul_kernel and split_kernel in one, of hopper_kernel, and of vector_kernel.
    (_SCALES_UNDONE, _WORK + _SCALES_UNDONE, 2),
    ("    y = _round_to(tl.sum(acc, ", f"{_WORK}    y = _round_to(tl.sum(acc, ", 1),
    # A launch that is kept has the work that it was kept with.
    ("_signature(a, b, out, precision, ", "_signature(a, b, out, SLOWDOWN, precision, ", 1),
    ('warmup=warmup, **launch["options"])', 'warmup=warmup, **launch["options"], **_extra_work(launch["kernel"]))', 1),
)
_APPENDED = """

SLOWDOWN = 0


def _extra_work(kernel):
    if "EXTRA" not in kernel.arg_names:
        return {{}}
    return {{"EXTRA": SLOWDOWN, "EXTRA_FACTOR": {factor}, "EXTRA_TERM": {term}}}
"""


def slowed_source(source: str, *, factor: float = _NEUTRAL[0], term: float = _NEUTRAL[1]) -> str:
    """The kernel file's text with the extra work in it.

    Args:
        source: The kernel file's text.
        factor: What each repetition multiplies by; anything but 1 is for the test that the work is done.
        term: What it adds.

    Raises:
        GateError: ``slowed-no-anchor`` where the file does not have the lines that the work goes between, as often as known.
    """
    for anchor, replacement, times in _INSERTIONS:
        if (found := source.count(anchor)) != times:
            raise GateError(
                "slowed-no-anchor",
                f"The kernel file has {anchor.strip()!r} {found} times, expected {times}, as extra work for the "
                "calibration goes in there; the kernel has changed, so mend perf_tests/slowed.py.",
            )
        source = source.replace(anchor, replacement)
    return source + _APPENDED.format(factor=factor, term=term)


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
