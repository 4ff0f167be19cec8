"""The brief itself: six parts of Markdown, for whoever works on the kernel next, a person or a program. Pure.

The kernel's code stands in it as it is, in a fence that nothing in it can end. What comes from files is escaped.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.report.brief_readings import WHAT_HOLDS, readings, said_of_time
from perfgate.report.brief_work import left
from perfgate.report.markdown import escaped
from perfgate.text import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from perfgate.hardware.gpus import Card
    from perfgate.hardware.occupancy import Architecture
    from perfgate.profiling.brief_counters import Counters
    from perfgate.records import Case
    from perfgate.report.brief_stages import Guideline
    from perfgate.report.brief_work import Work

_KIB, _MIB = 1024, 1024**2
_WARP = 32
_RULES = """\
- From top to bottom: the imports (`torch`, `torch.nn as nn`, `triton`, `triton.language as tl`, and no others), the kernels, each
  under `@triton.jit`, the wrapper that works out the grid and launches them, and last `class ModelNew(nn.Module)`, which calls it.
- Nothing else is in the file: no tests, no `if __name__`, no `get_inputs`, no `get_init_inputs`.
- Each `BLOCK_*` is a power of two from 16 to 1024. On tensor cores BLOCK_M and BLOCK_N are multiples of 16 and BLOCK_K is one
  of 8; for FP32, BLOCK_M and BLOCK_N lie in 32 to 256 and BLOCK_K in 16 to 64.
- Autotuning, where there is any, is a list of 2 to 4 configs, and decorates the kernel, never the wrapper. Warps and stages are
  arguments of a config, beside its dict.
- The tile that the project started with, 64×256×32, stays a candidate.

(given with the project, in other words; the place of warps and stages: ran)"""

_STEPS = """\
1. Say which counter of part 4 is furthest from what part 2 asks, and by how much you expect your change to move it and the time.
2. Change one thing at a time, in a file like that of part 3, and put it in `{under_test}`.
3. Hold it against what was: `{again}`. On a machine without the card that checks the results, and the registers, spills and
   blocks of its machine code.
4. Hand back the whole file, by the rules of part 6, with what you expected and what you found. Where nothing became faster,
   the file as it was is the answer."""


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What is known of the case's time on the card."""

    said: str
    """Where the time is from and whose it is, or why none is known; a sentence's part."""
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Brief:
    """All that goes into one."""

    case: Case
    card: Card
    arch: Architecture
    stage: Guideline
    work: Work
    kernel: str
    """The file as it is."""
    kernel_name: str
    """Its path, for the reader."""
    under_test: str
    """Path of the file that the gate measures."""
    timing: Timing
    counters: Counters | None = None


def markdown(brief: Brief) -> str:
    """The whole brief: a title, and exactly six parts."""
    parts = (
        ("The card", _card(brief.card, brief.arch)),
        (f"The stage: {brief.stage.title.lower()}", _stage(brief)),
        ("The code as it is", _code(brief)),
        ("Its measured counters", _counters(brief)),
        ("The task", _task(brief)),
        ("Rules of the kernel file", _RULES),
    )
    title = f"# Brief: `{brief.case.id}` on the {brief.arch.card}, {brief.stage.title.lower()}"
    return "\n\n".join([title, *(f"## {n}. {name}\n\n{text}" for n, (name, text) in enumerate(parts, 1))]) + "\n"


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in it, so that nothing in it ends it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}"


def _card(card: Card, arch: Architecture) -> str:
    peaks = {"tf32": "TF32", "fp16": "FP16", "bf16": "BF16", "fp32": "FP32 without tensor cores"}
    rows = [
        ("compute capability", ".".join(arch.name.removeprefix("sm_"))),
        ("multiprocessors (SMs)", f"{arch.multiprocessors}"),
        ("memory", f"{card.dram_bytes_per_s / 1e9:g} GB/s"),
        ("L2 cache, shared by all SMs", f"{card.l2_bytes / _MIB:g} MiB"),
        *((f"{peaks.get(unit, unit)}, dense", f"{rate / 1e12:g} TFLOPS") for unit, rate in card.flops_per_s.items()),
        ("registers", f"{arch.registers_per_sm} an SM, at most {arch.registers_per_thread} a thread"),
        (
            "threads",
            f"{arch.warps_per_sm * _WARP} an SM ({arch.warps_per_sm} warps of {_WARP}), {arch.warps_per_block * _WARP} a block",
        ),
        ("blocks", f"{arch.blocks_per_sm} an SM"),
        ("shared memory", f"{arch.shared_per_sm / _KIB:g} KiB an SM, {arch.shared_per_block / _KIB:g} KiB a block"),
        ("shared memory taken by the system", f"{arch.shared_reserved / _KIB:g} KiB for each block"),
    ]
    return (
        f"{arch.card}. Peaks are those published, at boost clock.\n\n{_table(('limit', 'value'), rows)}\n\n"
        "(`perfgate/hardware/gpus.py` and `perfgate/hardware/occupancy.py`, which name their sources)"
    )


def _stage(brief: Brief) -> str:
    situation = brief.work.situation
    counters = ", ".join(f"`{name}`" for name in brief.stage.counters)
    advice = "\n".join(f"- {one.text} ({one.source})" for one in brief.stage.advice_for(situation))
    return f"{brief.stage.focus}\n\nCounters that speak of it: {counters}.\n\n{WHAT_HOLDS[situation]} What is known of this stage then:\n\n{advice}"


def _code(brief: Brief) -> str:
    return f"`{brief.kernel_name}`, word for word.\n\n{fenced(brief.kernel, 'python')}"


def _counters(brief: Brief) -> str:
    if brief.counters is None:
        empty = {"case": brief.case.id, "kernels": []}
        return (
            "None were given, so nothing is known of where its time goes; take them with a profiler on the card and give them "
            f"with `--counters FILE`.\n\n{fenced(json.dumps(empty, indent=2), 'json')}"
        )
    found = brief.counters
    where = f" on {escaped(found.card)}" if found.card else ""
    block = fenced(json.dumps(found.to_json(), indent=2, allow_nan=False), "json")
    rows = [
        (*((escaped(one.name or "not named"),) if len(found.kernels) > 1 else ()), f"`{name}`", value, said)
        for one in found.kernels
        for name, value, said in readings(one, brief.arch)
    ]
    head = (*(("kernel",) if len(found.kernels) > 1 else ()), "counter", "value", "what it says")
    table = f"\n\n{_table(head, rows)}" if rows else ""
    return f"Source: {escaped(found.source)}{where}.\n\n{block}{table}"


def _task(brief: Brief) -> str:
    case, work = brief.case, brief.work
    shapes = " × ".join(
        f"{shape} {layout}" for shape, layout in zip(map(_shape, case.shapes), case.layouts, strict=True)
    )
    rows = [
        ("operands", f"{shapes}, {case.dtype}, precision {case.precision}"),
        ("work", f"{work.flops / 1e9:.1f} GFLOP ({work.unit}), zeros of a triangle counted too"),
        (
            "least traffic",
            f"{work.min_bytes / 1e9:.3f} GB, of which the result is {work.result_bytes / 1e9:.3f} GB",
        ),
        ("at the memory's peak", duration(work.memory_s)),
        (f"at the peak of {work.unit}", duration(work.arithmetic_s)),
        ("the limit", f"{duration(work.bound_s)}: {work.situation}"),
        ("time", f"{duration(brief.timing.seconds)}" if brief.timing.seconds else "not known"),
    ]
    said = said_of_time(brief.counters, work) if brief.counters else ""
    again = f"nox -s perf -- --case {shlex.quote(case.id)} --against HEAD"
    return "\n\n".join(
        [
            f"Make `{case.id}` faster on the {brief.arch.card} by changing {brief.stage.change}. What it computes stays as it is.",
            _table(("", ""), rows),
            f"**Still to be had:** {_to_be_had(brief)}{f' {said}' if said else ''}",
            _STEPS.format(under_test=brief.under_test, again=again),
        ]
    )


def _to_be_had(brief: Brief) -> str:
    timing, bound_s = brief.timing, brief.work.bound_s
    if timing.seconds is None:
        return f"no time is known: {escaped(timing.said)}. So how much is still to be had cannot be said as a measured share."
    share = left(timing.seconds, bound_s)
    if share < 0:
        return (
            f"nothing by these peaks: {duration(timing.seconds)} ({escaped(timing.said)}) is less than the limit of "
            f"{duration(bound_s)}; either the time is of other work, or work is counted that need not be done, such as zeros."
        )
    return (
        f"{share * 100:.1f} % of the time. It takes {duration(timing.seconds)} ({escaped(timing.said)}), {timing.seconds / bound_s:.3f} "
        f"times the limit of {duration(bound_s)}."
    )


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)
