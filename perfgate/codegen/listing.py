"""What moved between two compilations, a line a case and kernel, registers first. Pure; judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.codegen.rules import pairs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perfgate.records import KernelFacts
    from perfgate.store.compiled import CompiledCase

_MOST_CLASSES = 4
"""Instruction classes named in a line."""


def listing(before: Mapping[str, CompiledCase], after: Mapping[str, CompiledCase]) -> list[str]:
    """One line for every kernel that differs, then how many have the same machine code; cases of one side are left out.

    Lines that say the same of the same kernel are one, with all of its cases.
    """
    said: dict[str, list[str]] = {}
    same = 0
    for case, new in after.items():
        if (old := before.get(case)) is None:
            continue
        for one, other in pairs(old.kernels, new.kernels):
            if line := _line(one, other):
                said.setdefault(line, []).append(case)
            else:
                same += 1
    lines = [f"{', '.join(dict.fromkeys(cases))}: {line}" for line, cases in said.items()]
    return [*lines, f"{same} kernel{'s' if same != 1 else ''} of the same machine code"] if same else lines


def _line(before: KernelFacts | None, after: KernelFacts | None) -> str:
    """What moved in one kernel; empty where it is the same machine code."""
    if after is None:
        return f"{before.name} is no longer launched" if before else ""
    if before is None:
        return f"{after.name} is newly launched, registers {after.registers}"
    name = before.name if before.name == after.name else f"{before.name} → {after.name}"
    moved = [f"{what} {old} → {new}" for what, old, new in _numbers(before, after) if old != new]
    if not moved and before.code_hash == after.code_hash:
        return ""
    return f"{name} {', '.join(moved) or 'the same counts in another order'}"


def _numbers(before: KernelFacts, after: KernelFacts) -> Iterator[tuple[str, object, object]]:
    """Resources, from the one that is asked for most; the configuration; all instructions, and what moved most of them."""
    yield "registers", before.registers, after.registers
    yield "spill instructions", before.spill_instructions, after.spill_instructions
    yield "stack bytes", before.stack_bytes, after.stack_bytes
    yield "shared bytes", before.shared_bytes, after.shared_bytes
    yield "blocks an SM", before.blocks_per_sm, after.blocks_per_sm
    for key in sorted(before.config.keys() | after.config.keys()):
        yield key, before.config.get(key), after.config.get(key)
    yield "instructions", sum(before.instructions.values()), sum(after.instructions.values())
    classes = before.instructions.keys() | after.instructions.keys()
    counts = {name: (before.instructions.get(name, 0), after.instructions.get(name, 0)) for name in classes}
    for name in sorted(counts, key=lambda name: (-abs(counts[name][1] - counts[name][0]), name))[:_MOST_CLASSES]:
        yield name, *counts[name]
