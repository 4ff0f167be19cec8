"""What differs between two builds of one kernel, in words: resources, configuration, launch, and the instruction mix.

Pure: from two `KernelFacts` to sentences, what weighs most first. Judges nothing. The mix is that of the main loop,
where a kernel's time goes, and of everything elsewhere; a trip that does other work than before is scaled to it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from perfgate.records import KernelFacts

SAME = "same code"
RENAMED = "same but for the names of registers"
REORDERED = "the same counts, in another order or of other operands"

_ABSENT = "–"
_MOST_IN_LOOP, _MOST_ELSEWHERE = 4, 2
"""Classes that the one-line form names; the form of several lines has them all."""
_WORDS: Mapping[str, tuple[str, str]] = {
    "tensor_core": ("tensor-core", "tensor-core"),
    "fp32": ("FP32", "FP32"),
    "fp16": ("FP16", "FP16"),
    "fp64": ("FP64", "FP64"),
    "special_function": ("special-function", "special-function"),
    "integer": ("integer", "integer"),
    "logic": ("predicate or logic", "predicate or logic"),
    "move": ("move", "moves"),
    "constant_load": ("constant load", "constant loads"),
    "atomic": ("atomic", "atomics"),
    "barrier": ("barrier", "barriers"),
    "branch": ("branch", "branches"),
    "conversion": ("conversion", "conversions"),
    "global_load": ("global load", "global loads"),
    "global_store": ("global store", "global stores"),
    "async_copy": ("async copy", "async copies"),
    "shared_load": ("shared load", "shared loads"),
    "shared_store": ("shared store", "shared stores"),
    "shared_load_matrix": ("matrix load from shared", "matrix loads from shared"),
    "shared_store_matrix": ("matrix store to shared", "matrix stores to shared"),
    "bulk_copy": ("bulk copy", "bulk copies"),
    "local_load": ("spill load", "spill loads"),
    "local_store": ("spill store", "spill stores"),
    "other": ("other", "other"),
}
"""Instruction class to what one of it, and several, are called; the width of a memory access comes before."""
_WIDE = re.compile(r"^(?P<name>\w+?)_(?P<bits>\d+)$")


class _Moved(NamedTuple):
    """One class of instructions that moved."""

    name: str
    before: int
    after: float
    """Scaled to the work of a trip before; whole where that did not change."""

    @property
    def by(self) -> float:
        return round(self.after - self.before, 1)


class _Mix(NamedTuple):
    """How the instructions of one part of the code moved."""

    title: str
    note: str
    moved: tuple[_Moved, ...]
    """Largest first."""


def sameness(before: KernelFacts, after: KernelFacts) -> str:
    """`SAME`, `RENAMED`, or empty where the machine code is another; says nothing of resources and of the launch."""
    if before.code_hash == after.code_hash:
        return SAME
    return RENAMED if before.normal_hash == after.normal_hash else ""


def one_line(before: KernelFacts, after: KernelFacts) -> str:
    """For a sentence: `2 → 1 blocks an SM: registers 118 → 132; main loop: 24 more integer, 8 more conversions`."""
    return "; ".join(parts(before, after))


def parts(before: KernelFacts, after: KernelFacts) -> tuple[str, ...]:
    """What `one_line` joins; never empty."""
    same = sameness(before, after)
    found = (*_resources(before, after), *_launch(before, after))
    mixes = () if same else tuple(map(_said, _mixes(before, after)))
    return (*([same] if same else []), *found, *mixes) or (REORDERED,)


def lines(before: KernelFacts, after: KernelFacts) -> tuple[str, ...]:
    """For a report: what is the same, or one line for everything that moved; instruction classes are indented."""
    same = sameness(before, after)
    found = [*_resources(before, after), *_launch(before, after)]
    for mix in () if same else _mixes(before, after):
        found.append(f"{mix.title}{mix.note}:" if mix.moved else f"{mix.title}{mix.note}")
        found += [f"  {_named(one.name, many=True)} {arrow(one.before, f'{one.after:g}')}" for one in mix.moved]
    return (*([same] if same else []), *found) or (REORDERED,)


def blocks_an_sm(before: KernelFacts, after: KernelFacts) -> str:
    """Resident blocks, and the resource that holds them down: now where they are fewer, before where they are more."""
    warps = [facts.config.get("num_warps") for facts in (before, after)]
    limits = {
        "registers": f"registers {arrow(before.registers, after.registers)}"
        + (f" at {arrow(*warps)} warps" if warps[0] != warps[1] else ""),
        "shared memory": f"shared memory {arrow(before.shared_bytes, after.shared_bytes)} bytes",
        "warps": f"warps {arrow(*warps)}",
    }
    fewer = after.blocks_per_sm < before.blocks_per_sm
    scarce = (after if fewer else before).limited_by.split(" and ")
    said = " and ".join(limits.get(name, name) for name in scarce)
    return f"{arrow(before.blocks_per_sm, after.blocks_per_sm)} blocks an SM: {said}"


def arrow(before: object, after: object) -> str:
    """`118 → 132`, or `118` where it did not move."""
    return str(after) if str(before) == str(after) else f"{before} → {after}"


def _resources(before: KernelFacts, after: KernelFacts) -> Iterator[str]:
    """What the code takes: spills, then resident blocks with what holds them down, then the rest."""
    if before.spill_instructions != after.spill_instructions:
        yield f"{arrow(before.spill_instructions, after.spill_instructions)} spill instructions"
    if before.stack_bytes != after.stack_bytes:
        yield f"stack {arrow(before.stack_bytes, after.stack_bytes)} bytes"
    blocks = ""
    if before.blocks_per_sm != after.blocks_per_sm:
        blocks = blocks_an_sm(before, after)
        yield blocks
    for change in (
        f"registers {arrow(before.registers, after.registers)}",
        f"shared memory {arrow(before.shared_bytes, after.shared_bytes)} bytes",
    ):
        if "→" in change and change not in blocks:
            yield change
    if before.limited_by != after.limited_by and not blocks:
        yield f"blocks limited by {arrow(before.limited_by, after.limited_by)}"


def _launch(before: KernelFacts, after: KernelFacts) -> Iterator[str]:
    """How it is built and launched: configuration, programs, sizes."""
    for old, new in ((before.config, after.config), ({"programs": before.grid}, {"programs": after.grid})):
        yield from _entries(old, new)
    yield from _entries(before.arguments, after.arguments)


def _entries(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"{key} {arrow(before.get(key, _ABSENT), after.get(key, _ABSENT))}"


def _mixes(before: KernelFacts, after: KernelFacts) -> Iterator[_Mix]:
    """How the instructions of the main loop moved, and those elsewhere; a part that did not move is left out.

    Where one side has no main loop there is nothing to compare a trip with: all the code is.
    """
    loops = [facts.main_loop.get("instructions", {}) for facts in (before, after)]
    flops = [facts.main_loop.get("tensor_flops", 0) for facts in (before, after)]
    if not all(loops):
        if any(loops):
            note = f" of {sum(loops[1].values())} instructions is new" if loops[1] else " is gone"
            yield _Mix("main loop", note, ())
        yield from _mix("all code", "", _moved(before.instructions, after.instructions))
        return
    work = flops[1] / flops[0] if all(flops) else 1
    moved = _moved(*loops, scale=1 / work)
    note = f" with {work:.3g}× the tensor-core work a trip" if work != 1 else ""
    yield from _mix("main loop", f"{note}, for as much work" if note and moved else note, moved)
    outside = [_without(facts.instructions, loop) for facts, loop in zip((before, after), loops, strict=True)]
    yield from _mix("elsewhere", "", _moved(*outside))


def _mix(title: str, note: str, moved: tuple[_Moved, ...]) -> Iterator[_Mix]:
    if moved or note:
        yield _Mix(title, note, moved)


def _moved(before: Mapping[str, int], after: Mapping[str, int], *, scale: float = 1) -> tuple[_Moved, ...]:
    found = (
        _Moved(name, before.get(name, 0), round(after.get(name, 0) * scale, 1)) for name in before.keys() | after.keys()
    )
    return tuple(sorted((one for one in found if one.by), key=lambda one: (-abs(one.by), one.name)))


def _without(every: Mapping[str, int], loop: Mapping[str, int]) -> dict[str, int]:
    return {name: count - loop.get(name, 0) for name, count in every.items()}


def _said(mix: _Mix) -> str:
    most = _MOST_ELSEWHERE if mix.title == "elsewhere" else _MOST_IN_LOOP
    named = ", ".join(_more(mix.moved[:most]))
    return f"{mix.title}{mix.note}{': ' if named else ''}{named}"


def _more(moved: Iterable[_Moved]) -> Iterator[str]:
    for one in moved:
        yield f"{abs(one.by):g} {'more' if one.by > 0 else 'fewer'} {_named(one.name, many=abs(one.by) != 1)}"


def _named(name: str, *, many: bool) -> str:
    """An instruction class as a person says it; one that has no word here as it is."""
    wide = _WIDE.match(name) if name not in _WORDS else None
    words = _WORDS.get(wide["name"] if wide else name)
    return (f"{wide['bits']}-bit " if wide else "") + words[many] if words else name
