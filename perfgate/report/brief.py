"""What is known of a case, in six parts of Markdown, for whoever makes its kernel faster next, a person or a program.

Owns which files are read, whose time a stored time is, and what the numbers say. The words that stay the same lie beside it:
the stages with their advice in ``brief.toml``, the page in ``brief.md``. Measures nothing and needs no card. The kernel's
code stands in it as it is, in a fence that nothing in it can end; what else comes from files is escaped.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import tomllib
from dataclasses import dataclass
from importlib import resources
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct

from perfgate import git
from perfgate.compare import comparability
from perfgate.compare.estimators import typical_seconds
from perfgate.files import write_whole
from perfgate.hardware.gpus import CARDS
from perfgate.hardware.occupancy import architecture
from perfgate.profiling import metrics
from perfgate.profiling.store import Counters, counters_from_text
from perfgate.project import load_suite
from perfgate.records import GateError
from perfgate.store.recording import read_recording
from perfgate.text import duration, escaped, pipes

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.hardware.gpus import Card
    from perfgate.hardware.occupancy import Architecture
    from perfgate.records import Case

_BASELINE = "matmul.json"
_DIRTY = "-dirty"
_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_KIB, _MIB = 1024, 1024**2
_WARP = 32
_HUNDRED = 100
_PEAKS = {"tf32": "TF32", "fp16": "FP16", "bf16": "BF16", "fp32": "FP32 without tensor cores"}


_SITUATIONS = {
    "stores": ("writing the result", "The memory is the limit, and of its traffic the result is the larger part."),
    "reads": ("reading the operands", "The memory is the limit, and of its traffic the operands are the larger part."),
    "arithmetic": ("arithmetic", "Arithmetic is the limit; the memory has time to spare."),
}
"""What holds a case back on a card, by the card's published peaks."""


class Advice(Struct, frozen=True):
    """One thing worth knowing."""

    text: str
    source: str
    where: frozenset[str] = frozenset(_SITUATIONS)
    """What has to hold the case back for it to matter."""


class Stage(Struct, frozen=True):
    """One stage of optimisation."""

    title: str
    focus: str
    change: str
    """What may change at this stage, for the task."""
    counters: tuple[str, ...]
    """Those that speak of it, the most telling first."""
    advice: tuple[Advice, ...]


def _words(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


STAGES = msgspec.convert(tomllib.loads(_words("brief.toml")), dict[str, Stage])
"""By the name on the command line, in the order in which they pay."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A case's least work and what the card's peaks make of it."""

    result_bytes: int
    memory_s: float
    """Least DRAM traffic at the memory's peak."""
    arithmetic_s: float
    """Work at the peak of the case's arithmetic unit."""
    situation: str
    """Which of the two is the longer, and of the memory, which side of it; one of `_SITUATIONS`."""

    @property
    def bound_s(self) -> float:
        """No kernel that moves and computes all of it is faster (the roofline: the longer of the two)."""
        return max(self.memory_s, self.arithmetic_s)


def work(case: Case, card: Card) -> Work:
    """Work out a case's limit on a card.

    Raises:
        GateError: ``no-peak`` where the card's peak for the case's arithmetic is not stated.
    """
    peak = card.flops_per_s.get(case.unit)
    if peak is None or case.dtype not in _ELEMENT_BYTES:
        raise GateError(
            "no-peak",
            f"{case.id} computes in {case.unit} on {case.dtype}, expected one of {', '.join(card.flops_per_s)}; state its peak "
            "in perfgate/hardware/gpus.py.",
        )
    result_bytes = case.min_bytes - sum(prod(shape) for shape in case.shapes) * _ELEMENT_BYTES[case.dtype]
    memory_s, arithmetic_s = case.min_bytes / card.dram_bytes_per_s, case.flops / peak
    held_by_memory = "stores" if 2 * result_bytes > case.min_bytes else "reads"
    return Work(
        result_bytes=result_bytes,
        memory_s=memory_s,
        arithmetic_s=arithmetic_s,
        situation="arithmetic" if arithmetic_s > memory_s else held_by_memory,
    )


class Timing(NamedTuple):
    """What is known of the case's time on the card."""

    said: str
    """Where the time is from and whose it is, or why none is known; a sentence's part."""
    seconds: float | None = None


def brief(project: Settings, options: argparse.Namespace) -> str:
    """The brief of a case: a title, and exactly six parts.

    Args:
        project: The project's settings.
        options: Of the command: ``case``, ``stage``, ``counters``, ``kernel``, ``card``, ``time``.

    Raises:
        GateError: ``unknown-case``, ``unknown-card``, ``no-kernel-file``, ``bad-usage`` or what the counters are refused for.
    """
    cases: dict[str, Case] = {case.id: case for case in load_suite(project).CASES}
    case = cases.get(options.case)
    if case is None:
        raise GateError("unknown-case", f"There is no timed case {options.case!r}; known are {', '.join(cases)}.")
    slug = options.card or next(
        (name for name, one in CARDS.items() if one.architecture == project.target), project.target
    )
    card = CARDS.get(slug)
    if card is None:
        raise GateError("unknown-card", f"No limits are stated for a card {slug!r}; known are {', '.join(CARDS)}.")
    source = options.kernel or project.root / project.kernel
    kernel = _text(source, "no-kernel-file", "a kernel file")
    arch, stage, needed = architecture(card.architecture), STAGES[options.stage], work(case, card)
    if options.time is None:
        timing = _stored(project, case, slug, kernel)
    elif math.isfinite(options.time) and options.time > 0:
        timing = Timing("as given with --time", options.time)
    else:
        raise GateError("bad-usage", f"--time is {options.time:g}, expected seconds above zero.")
    counters = None
    if path := options.counters:
        counters = counters_from_text(_text(path, "no-file", "measured counters"), case.id, source=str(path))
        if counters.card and counters.card != slug:
            said = f"{path} has counters of {counters.card}, expected those of {slug}; name that card with --card."
            raise GateError("other-card", said)
    return _words("brief.md").format(
        case=case,
        arch=arch,
        stage=stage,
        title=stage.title.lower(),
        limits=_limits(card, arch),
        stage_counters=", ".join(f"`{name}`" for name in stage.counters),
        what_holds=_SITUATIONS[needed.situation][1],
        advice="\n".join(f"- {one.text} ({one.source})" for one in stage.advice if needed.situation in one.where),
        kernel_name=_shown(project, source),
        code=_fenced(kernel, "python"),
        counters=_measured(case, counters, arch),
        work=_task(case, needed, timing),
        to_be_had=f"{_to_be_had(timing, needed.bound_s)} {_said_of_time(counters, needed)}".rstrip(),
        under_test=project.kernel,
        again=f"nox -s perf -- --case {shlex.quote(case.id)} --against HEAD",
    )


def _stored(project: Settings, case: Case, slug: str, kernel: str) -> Timing:
    """The time in the card's baseline, where it is of the very code of this brief."""
    name = f"{project.baselines}/{slug}/{_BASELINE}"
    path = project.root / name
    if not path.is_file():
        return Timing(f"there is no baseline of this card ({name}), and none was given with --time")
    stored = read_recording(path)
    samples = stored.samples.get(case.id)
    if samples is None or comparability.contract_change(samples.contract, case.contract()):
        return Timing(f"{name} has no time of this case as it is now, and none was given with --time")
    seconds = typical_seconds(launch.arms["kernel"] for launch in samples.launches)
    commit = stored.commit or "no commit"
    then = None if commit.endswith(_DIRTY) else git.file_at(project.root, commit, project.kernel)
    if then != kernel:
        whose = "other code" if then is not None else "code that git does not have here"
        return Timing(
            f"{name} has {seconds * 1e3:.4g} ms, but that is the time of {whose} ({commit[:12]}), not of the code above; "
            "measure this one and give it with --time"
        )
    return Timing(f"stored in {name}, {stored.recorded_at}, of this very code, {commit[:12]}", seconds)


def _text(path: Path, reason: str, what: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise GateError(reason, f"{path} does not exist, expected {what}; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(reason, f"{path} cannot be read ({error}), expected {what}; check the file.") from None
    if not text.strip():
        raise GateError(reason, f"{path} is empty, expected {what}; check the file.")
    return text


def _shown(project: Settings, path: Path) -> str:
    """A path as it is seen from the project, without a character that would end its place in a line."""
    real = path.resolve()
    root = project.root.resolve()
    shown = str(real.relative_to(root) if real.is_relative_to(root) else path)
    return "".join("?" if character == "`" or not character.isprintable() else character for character in shown)


def write(path: Path, text: str) -> None:
    """Write the brief.

    Raises:
        GateError: ``not-written``.
    """
    try:
        write_whole(path, text, make_folder=False)
    except OSError as error:
        raise GateError(
            "not-written", f"{path} cannot be written ({error}); name a file in a folder that can."
        ) from None


def _fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any run of backticks in it, so that nothing in it ends it."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{'' if text.endswith(chr(10)) else chr(10)}{fence}"


def _limits(card: Card, arch: Architecture) -> str:
    warps = f"({arch.warps_per_sm} warps of {_WARP}), {arch.warps_per_block * _WARP} a block"
    rows = [
        ("compute capability", ".".join(arch.name.removeprefix("sm_"))),
        ("multiprocessors (SMs)", f"{arch.multiprocessors}"),
        ("memory", f"{card.dram_bytes_per_s / 1e9:g} GB/s"),
        ("L2 cache, shared by all SMs", f"{card.l2_bytes / _MIB:g} MiB"),
        *((f"{_PEAKS.get(unit, unit)}, dense", f"{rate / 1e12:g} TFLOPS") for unit, rate in card.flops_per_s.items()),
        ("registers", f"{arch.registers_per_sm} an SM, at most {arch.registers_per_thread} a thread"),
        ("threads", f"{arch.warps_per_sm * _WARP} an SM {warps}"),
        ("blocks", f"{arch.blocks_per_sm} an SM"),
        ("shared memory", f"{arch.shared_per_sm / _KIB:g} KiB an SM, {arch.shared_per_block / _KIB:g} KiB a block"),
        ("shared memory taken by the system", f"{arch.shared_reserved / _KIB:g} KiB for each block"),
    ]
    return "\n".join(pipes(("limit", "value"), rows))


def _measured(case: Case, found: Counters | None, arch: Architecture) -> str:
    """The counters as JSON, and in words what is known to be said of them."""
    if found is None:
        empty = {"case": case.id, "kernels": []}
        return (
            "None were given, so nothing is known of where its time goes; take them with a profiler on the card and give them "
            f"with `--counters FILE`.\n\n{_fenced(json.dumps(empty, indent=2), 'json')}"
        )
    where = f" on {escaped(found.card)}" if found.card else ""
    block = _fenced(json.dumps(found.to_json(), indent=2, allow_nan=False), "json")
    alone = len(found.kernels) == 1
    head = ("kernel", "counter", "value", "what it says")[alone:]
    said = (
        (one.name, name, value, _reading(name, value, arch))
        for one in found.kernels
        for name, value in one.metrics.items()
    )
    rows = [
        (escaped(kernel or "not named"), f"`{name}`", f"{value:g}", words)[alone:]
        for kernel, name, value, words in said
        if words
    ]
    table = "\n".join(pipes(head, rows)) if rows else ""
    return "\n\n".join(filter(None, (f"Source: {escaped(found.source)}{where}.", block, table)))


def _reading(name: str, value: float, arch: Architecture) -> str:
    """What a counter says of a case on a card; nothing of one that is not known here."""
    if name == metrics.GRID_SIZE:
        blocks = value / arch.multiprocessors
        return f"blocks in all, {blocks:,.1f} for each of the {arch.multiprocessors} multiprocessors"
    if name == metrics.WARPS_ACTIVE:
        held, guideline = value / _HUNDRED * arch.warps_per_sm, metrics.WARPS_GUIDELINE_PERCENT
        where = f"{'below' if value <= guideline else 'within'} the guideline of over {guideline} %"
        return f"% of the warp slots in use, {held:.1f} of {arch.warps_per_sm}: {where}"
    if name == metrics.DRAM_THROUGHPUT:
        return f"% of the memory's peak in use; the other {_HUNDRED - value:.2f} % is what a better order can win"
    if name == metrics.L2_HIT_RATE:
        return f"% of L2's sectors found there, {_HUNDRED - value:.2f} % missed; it counts stores as well as loads"
    if name == metrics.SM_THROUGHPUT:
        return "% of the multiprocessors' peak, by their busiest part; reads about half on the tensor cores of GeForce"
    return ""


def _task(case: Case, needed: Work, timing: Timing) -> str:
    shapes = (
        f"({', '.join(map(str, shape))}) {layout}" for shape, layout in zip(case.shapes, case.layouts, strict=True)
    )
    result_gb = needed.result_bytes / 1e9
    rows = [
        ("operands", f"{' × '.join(shapes)}, {case.dtype}, precision {case.precision}"),
        ("work", f"{case.flops / 1e9:.1f} GFLOP ({case.unit}), zeros of a triangle counted too"),
        ("least traffic", f"{case.min_bytes / 1e9:.3f} GB, of which the result is {result_gb:.3f} GB"),
        ("at the memory's peak", duration(needed.memory_s)),
        (f"at the peak of {case.unit}", duration(needed.arithmetic_s)),
        ("the limit", f"{duration(needed.bound_s)}: {_SITUATIONS[needed.situation][0]}"),
        ("time", duration(timing.seconds) if timing.seconds else "not known"),
    ]
    return "\n".join(pipes(("", ""), rows))


def _to_be_had(timing: Timing, bound_s: float) -> str:
    """How much of a time its limit would save."""
    said = escaped(timing.said)
    if timing.seconds is None:
        return f"no time is known: {said}. So how much is still to be had cannot be said as a measured share."
    if timing.seconds < bound_s:
        return (
            f"nothing by these peaks: {duration(timing.seconds)} ({said}) is less than the limit of "
            f"{duration(bound_s)}; either the time is of other work, or work is counted that need not be done, such as zeros."
        )
    return (
        f"{(1 - bound_s / timing.seconds) * _HUNDRED:.1f} % of the time. It takes {duration(timing.seconds)} ({said}), "
        f"{timing.seconds / bound_s:.3f} times the limit of {duration(bound_s)}."
    )


def _said_of_time(counters: Counters | None, needed: Work) -> str:
    """What the counters alone say of the time, where that is more than the limit itself says; empty otherwise.

    A run that kept the memory busy for a share of its time moved that share of the peak, and at least the least traffic:
    time ≥ least bytes / (share × peak). Only where one kernel did all the work, so that the share is of all of the time.
    """
    if counters is None or len(counters.kernels) != 1:
        return ""
    percent = counters.kernels[0].metrics.get(metrics.DRAM_THROUGHPUT, 0.0)
    if not 0 < percent <= _HUNDRED:
        return ""
    least_s = needed.memory_s / (percent / _HUNDRED)
    if least_s <= needed.bound_s:
        return ""
    return (
        f"The counters alone say that the profiled run took at least {duration(least_s)} (the least traffic at the share of the "
        f"memory's peak that was in use), of which {(1 - needed.bound_s / least_s) * _HUNDRED:.1f} % was to be had at least; "
        "what it moved beyond the least traffic comes on top. It is worked out, not timed."
    )
