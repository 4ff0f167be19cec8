"""Control flow of machine code: basic blocks, what dominates what, loops and their nesting. Pure.

Takes the instructions of one function as `perfgate.codegen.sass.functions` gives them, branch targets as `L<index>`. Loops are
found from the flow of control alone, wherever the assembler put their blocks: a loop is what goes round through a
block that every way into it passes (a natural loop). Where control may go is never understated: a branch whose
targets the code does not say may lead anywhere, so that what is still called a loop is one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from perfgate.codegen import sass

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_JUMPS = frozenset({"BRA", "JMP"})
_INDIRECT = frozenset({"BRX", "BRXU", "JMX", "JMXU"})
_LEAVES = frozenset({"EXIT", "RET"})
_LABEL = re.compile(r"^L(\d+)$")


class _Way(NamedTuple):
    """Where control goes from an instruction that does not simply go on."""

    targets: tuple[int, ...] = ()
    falls: bool = True
    """The next instruction may follow."""
    indirect: bool = False


def loops(function: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """The natural loops of one function, each as the indices of its instructions: all that comes back without leaving it.

    A subroutine inside it (reached by a call, left by a return) is entered from outside; a call goes on behind itself. A
    lone branch to itself is where code ends, not a loop.

    Args:
        function: One entry of `sass.functions`.
    """
    ways = _ways(function)
    entries = {0, *_called(function)}
    starts = entries.union(*({*way.targets, index + 1} for index, way in ways.items()))
    bounds = sorted(start for start in starts if start < len(function))
    blocks = {start: range(start, end) for start, end in zip(bounds, [*bounds[1:], len(function)], strict=True)}
    after = {}
    for start, block in blocks.items():
        way = ways.get(block.stop - 1, _Way())
        after[start] = {*way.targets, *([block.stop] if way.falls and block.stop in blocks else [])}
    if any(way.indirect for way in ways.values()):
        entries = set(blocks)
    before: dict[int, set[int]] = {start: set() for start in _reached(after, entries)}
    for start in before:
        for following in after[start]:
            before[following].add(start)
    found = []
    for header in sorted(before):
        around = _reached(after, entries, without=header)  # what is not among these, every way passes the header to
        ends = {start for start in before[header] - around if not _is_end(function, blocks[start])}
        if ends:
            body = {header} | _reached(before, ends, without=header)
            found.append(tuple(index for start in sorted(body) for index in blocks[start]))
    return tuple(found)


def _reached(ways: Mapping[int, Iterable[int]], starts: Iterable[int], *, without: int = -1) -> set[int]:
    """Blocks that can be come to from these, without passing one of them."""
    found: set[int] = set()
    waiting = [start for start in starts if start in ways]
    while waiting:
        start = waiting.pop()
        if start not in found and start != without:
            found.add(start)
            waiting += ways[start]
    return found


def _is_end(function: Sequence[str], block: range) -> bool:
    return len(block) == 1 and function[block.start] == f"BRA L{block.start}"


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
        bodies = {frozenset(loop): tuple(function[index] for index in loop) for loop in loops(function)}
        flops = {loop: sass.tensor_flops(body) for loop, body in bodies.items()}
        for loop, body in bodies.items():
            inside = [other for other in bodies if other < loop]
            if not any(flops[other] for other in inside) and (flops[loop] or not inside):
                found.append((flops[loop], len(body), body))
    return max(found, key=lambda one: one[:2], default=(0, 0, ()))[2]


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
    # A label can only name an instruction that is there, but trailing padding was dropped: that way leads nowhere.
    return {
        index: way._replace(targets=tuple(target for target in way.targets if target < len(function)))
        for index, way in found.items()
    }


def _called(function: Sequence[str]) -> set[int]:
    """Where subroutines of the function begin."""
    found = (_target(operands) for base, operands in map(_parts, function) if base == "CALL")
    return {target for target in found if target is not None and target < len(function)}


def _parts(text: str) -> tuple[str, list[str]]:
    """Operation without modifiers, and operands."""
    operation = sass.opcode(text)
    _, _, rest = text.partition(operation)
    return operation.split(".", 1)[0], [operand.strip() for operand in rest.split(",") if operand.strip()]


def _target(operands: Sequence[str]) -> int | None:
    """The instruction that the last operand names."""
    label = _LABEL.match(operands[-1]) if operands else None
    return int(label[1]) if label else None
