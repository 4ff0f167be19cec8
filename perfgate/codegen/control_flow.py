"""Control flow of machine code: basic blocks, what dominates what, loops and their nesting. Pure.

Takes the instructions of one function as `perfgate.codegen.sass.functions` gives them, branch targets as `L<index>`. Loops are
found from the flow of control alone, wherever the assembler put their blocks: a loop is what goes round through a
block that every way into it passes (a natural loop). Where control may go is never understated: a branch whose
targets the code does not say may lead anywhere, so that what is still called a loop is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from perfgate.codegen import sass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_JUMPS = frozenset({"BRA", "JMP"})
_INDIRECT = frozenset({"BRX", "BRXU", "JMX", "JMXU"})
_LEAVES = frozenset({"EXIT", "RET"})
_LABEL = re.compile(r"^L(\d+)$")


@dataclass(frozen=True, kw_only=True)
class Block:
    """Instructions that run one after another: `start` to before `end`, as indices into the function."""

    start: int
    end: int
    successors: tuple[int, ...]
    """Blocks that may run next, by index; none where the function is left."""


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A natural loop: everything that comes back to its header without leaving it."""

    header: int
    """The block by which the loop is entered, and to which it comes back."""
    blocks: frozenset[int]
    depth: int
    """1 for a loop that is in no other."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One function's control flow."""

    blocks: tuple[Block, ...]
    dominators: Mapping[int, frozenset[int]]
    """Blocks on every way to a block, itself among them; a block that nothing reaches is not there."""
    loops: tuple[Loop, ...]
    """By header."""
    indirect: bool
    """It has a branch whose targets are not known: loops may be missing."""


class _Way(NamedTuple):
    """Where control goes from an instruction that does not simply go on."""

    targets: tuple[int, ...] = ()
    falls: bool = True
    """The next instruction may follow."""
    indirect: bool = False


def control_flow(function: Sequence[str]) -> Flow:
    """Find the blocks and loops of one function.

    A subroutine inside it (reached by a call, left by a return) is entered from outside; a call goes on behind itself.

    Args:
        function: One entry of `sass.functions`.
    """
    ways = _ways(function)
    called = _called(function)
    starts = {0, *called}
    for index, way in ways.items():
        starts |= {*way.targets, index + 1}
    bounds = sorted(start for start in starts if start < len(function))
    block_at = {start: number for number, start in enumerate(bounds)}
    blocks = []
    for start, end in zip(bounds, [*bounds[1:], len(function)], strict=True):
        way = ways.get(end - 1, _Way())
        following = [*way.targets, *([end] if way.falls and end < len(function) else [])]
        blocks.append(Block(start=start, end=end, successors=tuple(sorted({block_at[to] for to in following}))))
    indirect = any(way.indirect for way in ways.values())
    entries = sorted({block_at[start] for start in (0, *called) if start in block_at})
    dominators = _dominators(blocks, range(len(blocks)) if indirect else entries)
    loops = _loops(blocks, function, dominators)
    return Flow(blocks=tuple(blocks), dominators=dominators, loops=loops, indirect=indirect)


def main_loop(functions: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The instructions of the loop that does the work, in the function's order; none where there is no loop.

    That is the innermost loop with the most tensor-core work. A loop inside it that does none of that (one that waits
    for a barrier) belongs to it. Where no loop has any, it is the innermost loop of the most instructions. What a call
    runs elsewhere is not counted.

    Raises:
        GateError: `unknown-instruction`, as `sass.tensor_flops`.
    """
    found = []
    for function in functions:
        flow = control_flow(function)
        bodies = {loop: _instructions(loop, flow, function) for loop in flow.loops}
        flops = {loop: sass.tensor_flops(body) for loop, body in bodies.items()}
        for loop, body in bodies.items():
            inside = [other for other in bodies if other.blocks < loop.blocks]
            if not any(flops[other] for other in inside) and (flops[loop] or not inside):
                found.append((flops[loop], len(body), body))
    return max(found, key=lambda one: one[:2], default=(0, 0, ()))[2]


def _instructions(loop: Loop, flow: Flow, function: Sequence[str]) -> tuple[str, ...]:
    blocks = (flow.blocks[number] for number in sorted(loop.blocks))
    return tuple(text for block in blocks for text in function[block.start : block.end])


def _ways(function: Sequence[str]) -> dict[int, _Way]:
    """By index, the instructions after which something else than the next one may follow."""
    behind: dict[str, set[int]] = {}
    for text in function:
        base, operands = _parts(text)
        if base == "BSSY" and (target := _target(operands)) is not None:
            behind.setdefault(operands[0], set()).add(target)
    found = {}
    for index, text in enumerate(function):
        base, operands = _parts(text)
        target, conditional = _target(operands), text.startswith("@")
        if base in _JUMPS:  # `BRA P0, L5` and `BRA.U UP0, L5` have their condition as an operand
            known = () if target is None else (target,)
            found[index] = _Way(known, falls=conditional or len(operands) > 1, indirect=target is None)
        elif base in _INDIRECT:
            found[index] = _Way(falls=conditional, indirect=True)
        elif base in _LEAVES:
            found[index] = _Way(falls=conditional)
        elif base == "BSYNC":  # threads meet here and go on where the BSSY of this barrier says, which is right behind
            elsewhere = behind.get(operands[0], set()) if operands else set()
            if elsewhere and index + 1 not in elsewhere:
                found[index] = _Way(tuple(sorted(elsewhere)))
    return {index: _within(way, len(function)) for index, way in found.items()}


def _within(way: _Way, length: int) -> _Way:
    """A label can only name an instruction that is there, but trailing padding was dropped: that way leads nowhere."""
    return way._replace(targets=tuple(target for target in way.targets if target < length))


def _called(function: Sequence[str]) -> frozenset[int]:
    """Where subroutines of the function begin."""
    found = (_target(operands) for base, operands in map(_parts, function) if base == "CALL")
    return frozenset(target for target in found if target is not None)


def _parts(text: str) -> tuple[str, list[str]]:
    """Operation without modifiers, and operands."""
    operation = sass.opcode(text)
    _, _, rest = text.partition(operation)
    return operation.split(".", 1)[0], [operand.strip() for operand in rest.split(",") if operand.strip()]


def _target(operands: Sequence[str]) -> int | None:
    """The instruction that the last operand names."""
    label = _LABEL.match(operands[-1]) if operands else None
    return int(label[1]) if label else None


def _dominators(blocks: Sequence[Block], entries: Iterable[int]) -> dict[int, frozenset[int]]:
    """Blocks that every way from an entry passes, by the usual iteration to the largest fixed point."""
    entered = frozenset(entries)
    order, seen = [], set()
    stack = sorted(entered, reverse=True)
    while stack:
        number = stack.pop()
        if number not in seen:
            seen.add(number)
            order.append(number)
            stack += reversed(blocks[number].successors)
    before = _predecessors(blocks, seen)
    found = {number: frozenset({number}) if number in entered else frozenset(seen) for number in seen}
    changed = True
    while changed:
        changed = False
        for number in order:
            if number in entered:
                continue
            new = frozenset.intersection(*(found[one] for one in before[number])) | {number}
            changed |= new != found[number]
            found[number] = new
    return found


def _loops(
    blocks: Sequence[Block], function: Sequence[str], dominators: Mapping[int, frozenset[int]]
) -> tuple[Loop, ...]:
    """Natural loops; those with the same header are one. A lone branch to itself is where code ends, not a loop."""
    before = _predecessors(blocks, dominators)
    bodies: dict[int, set[int]] = {}
    for number in dominators:
        for header in blocks[number].successors:
            if header in dominators[number] and not _is_end(blocks[number], function):
                bodies.setdefault(header, {header})
                stack = [number]
                while stack:
                    one = stack.pop()
                    if one not in bodies[header]:
                        bodies[header].add(one)
                        stack += before[one]
    return tuple(
        Loop(
            header=header,
            blocks=frozenset(body),
            depth=sum(header in other for other in bodies.values()),
        )
        for header, body in sorted(bodies.items())
    )


def _is_end(block: Block, function: Sequence[str]) -> bool:
    return block.end - block.start == 1 and function[block.start] == f"BRA L{block.start}"


def _predecessors(blocks: Sequence[Block], reached: Iterable[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {number: [] for number in reached}
    for number in found:
        for following in blocks[number].successors:
            found[following].append(number)
    return found
