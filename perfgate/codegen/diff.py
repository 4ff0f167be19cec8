"""What differs between two builds of a case, in words: its kernels' resources, configuration, launch, instruction mix.

Pure: from two `KernelFacts` to sentences, what weighs most first; owns also which kernels of both sides are held to be the
same. Judges nothing. The mix is that of the main loop, where a kernel's time goes, and of everything elsewhere; a trip that
does other work than before is scaled to it.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from perfgate.text import arrow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from perfgate.store.compiled import CompiledCase, KernelFacts

_Kernel = TypeVar("_Kernel")

SAME = "same code"
RENAMED = "same but for the names of registers"
REORDERED = "the same counts, in another order or of other operands"

_ABSENT = "–"
_MOST_IN_LOOP, _MOST_ELSEWHERE = 4, 2
"""Classes of instructions that a sentence names."""
_WORDS: Mapping[str, tuple[str, str]] = {
    "tensor_core": ("tensor-core", "tensor-core"),
    "fp32": ("FP32", "FP32"),
    "fp16": ("FP16", "FP16"),
    "fp64": ("FP64", "FP64"),
    "special_function": ("special-function", "special-function"),
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
}
"""Instruction class to what one of it, and several, are called; the width of a memory access comes before."""
_WIDE = re.compile(r"^(?P<name>\w+?)_(?P<bits>\d+)$")


class _Mix(NamedTuple):
    """How the instructions of one part of the code moved."""

    title: str
    note: str
    moved: Sequence[tuple[str, float]]
    """Classes and by how much, the largest first; scaled to the work of a trip before."""


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
    mixes = () if same else (_said(mix) for mix in _mixes(before, after) if mix.note or mix.moved)
    return (*([same] if same else []), *found, *mixes) or (REORDERED,)


def pairs(
    before: Sequence[_Kernel],
    after: Sequence[_Kernel],
    *,
    name: Callable[[Any], str] = attrgetter("name"),
    of_as_many: bool = False,
) -> Iterator[tuple[_Kernel | None, _Kernel | None]]:
    """Kernels of both sides: equal names in launch order first, then the rest in order (a kernel may be renamed).

    Args:
        before: One side.
        after: The other.
        name: Of a kernel.
        of_as_many: Pair the rest only where either side has as many left; else each stands alone.
    """
    left = list(before)
    added: list[_Kernel] = []
    for new in after:
        old = next((one for one in left if name(one) == name(new)), None)
        if old is None:
            added.append(new)
        else:
            left.remove(old)
            yield old, new
    if of_as_many and len(left) != len(added):
        yield from ((one, None) for one in left)
        yield from ((None, one) for one in added)
    else:
        yield from zip_longest(left, added)


def listing(before: Mapping[str, CompiledCase], after: Mapping[str, CompiledCase]) -> list[str]:
    """One line for every kernel that differs, then how many have the same machine code; cases of one side are left out.

    Lines that say the same of the same kernel are one, with all of its cases.
    """
    said: dict[str, list[str]] = {}
    same = 0
    for case, new in after.items():
        for one, other in pairs(before[case].kernels, new.kernels) if case in before else ():
            if one and other:
                found = parts(one, other)
                if found == (SAME,):
                    same += 1
                    continue
                line = f"{arrow(one.name, other.name)} {'; '.join(found)}"
            else:
                line = f"{one.name} is no longer launched" if one else f"{other.name if other else ''} is new"
            said.setdefault(line, []).append(case)
    lines = [f"{', '.join(dict.fromkeys(cases))}: {line}" for line, cases in said.items()]
    return [*lines, f"{same} kernel{'s' if same != 1 else ''} of the same machine code"] if same else lines


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
    programs = ({"programs": before.grid}, {"programs": after.grid})
    for old, new in ((before.config, after.config), programs, (before.arguments, after.arguments)):
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key):
                yield f"{key} {arrow(old.get(key, _ABSENT), new.get(key, _ABSENT))}"


def _mixes(before: KernelFacts, after: KernelFacts) -> Iterator[_Mix]:
    """How the instructions of the main loop moved, and those elsewhere.

    Where one side has no main loop there is nothing to compare a trip with: all the code is.
    """
    loops = [facts.main_loop.get("instructions", {}) for facts in (before, after)]
    flops = [facts.main_loop.get("tensor_flops", 0) for facts in (before, after)]
    if not all(loops):
        if any(loops):
            note = f" of {sum(loops[1].values())} instructions is new" if loops[1] else " is gone"
            yield _Mix("main loop", note, ())
        yield _Mix("all code", "", _moved(before.instructions, after.instructions))
        return
    work = flops[1] / flops[0] if all(flops) else 1
    moved = _moved(*loops, scale=1 / work)
    note = f" with {work:.3g}× the tensor-core work a trip" if work != 1 else ""
    yield _Mix("main loop", f"{note}, for as much work" if note and moved else note, moved)
    outside = [
        {name: count - loop.get(name, 0) for name, count in facts.instructions.items()}
        for facts, loop in zip((before, after), loops, strict=True)
    ]
    yield _Mix("elsewhere", "", _moved(*outside))


def _moved(before: Mapping[str, int], after: Mapping[str, int], *, scale: float = 1) -> list[tuple[str, float]]:
    names = before.keys() | after.keys()
    moved = {name: round(round(after.get(name, 0) * scale, 1) - before.get(name, 0), 1) for name in names}
    return sorted(((name, by) for name, by in moved.items() if by), key=lambda one: (-abs(one[1]), one[0]))


def _said(mix: _Mix) -> str:
    most = _MOST_ELSEWHERE if mix.title == "elsewhere" else _MOST_IN_LOOP
    named = ", ".join(
        f"{abs(by):g} {'more' if by > 0 else 'fewer'} {_named(name, many=abs(by) != 1)}"
        for name, by in mix.moved[:most]
    )
    return f"{mix.title}{mix.note}{': ' if named else ''}{named}"


def _named(name: str, *, many: bool) -> str:
    """An instruction class as a person says it; one that has no word here as it is."""
    wide = _WIDE.match(name) if name not in _WORDS else None
    words = _WORDS.get(wide["name"] if wide else name)
    return (f"{wide['bits']}-bit " if wide else "") + words[many] if words else name
