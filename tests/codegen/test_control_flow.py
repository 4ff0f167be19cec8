"""Loops of machine code: found by where control goes, whatever order the blocks lie in, and none that is not there."""

from __future__ import annotations

import pytest

from perfgate.codegen import control_flow
from perfgate.codegen.control_flow import main_loop

HMMA = "HMMA.16816.F32 R4, R8, R2, R4"
IADD = "IADD3 R1, R1, 0x1, RZ"
END = ("EXIT", "BRA L{here}")


def code(*texts: str) -> tuple[str, ...]:
    """Instructions, of which `{here}` is their own index."""
    return tuple(text.format(here=index) for index, text in enumerate(texts))


def loops(function: tuple[str, ...]) -> list[tuple[list[int], int]]:
    """Instructions of every loop, by index, and its depth."""
    found = control_flow.loops(function)
    return [(list(loop), sum(set(loop) <= set(other) for other in found)) for loop in found]


NONE: list[tuple[list[int], int]] = []
FLOWS = {
    "straight on": (code(IADD, HMMA, *END), NONE),
    "one loop": (code(IADD, HMMA, IADD, "@P0 BRA L1", *END), [([1, 2, 3], 1)]),
    "a block that is its own loop beside one that is not": (
        code("@P0 BRA L3", IADD, "@P1 BRA L1", IADD, *END),
        [([1, 2], 1)],
    ),
    "a loop in a loop": (
        code(IADD, IADD, HMMA, "@P0 BRA L2", IADD, "@P1 BRA L1", *END),
        [([1, 2, 3, 4, 5], 1), ([2, 3], 2)],
    ),
    "two loops one after another": (code(HMMA, "@P0 BRA L0", IADD, "@P1 BRA L2", *END), [([0, 1], 1), ([2, 3], 1)]),
    "two ways back that part at once are one loop too": (
        code(IADD, "@P0 BRA L4", HMMA, "BRA L1", IADD, "@P1 BRA L1", *END),
        [([1, 2, 3, 4, 5], 1)],
    ),
    "a part that lies behind the end of the code": (
        code(IADD, HMMA, "@P2 BRA L6", IADD, "@P0 BRA L1", "EXIT", IADD, "BRA L3", "BRA L{here}"),
        [([1, 2, 3, 4, 6, 7], 1)],
    ),
    "a loop entered at its end": (code("BRA L3", HMMA, IADD, "@P0 BRA L1", *END), [([1, 2, 3], 1)]),
    "a branch backwards that goes round nothing": (code("BRA L3", IADD, "EXIT", IADD, "BRA L1", "BRA L{here}"), NONE),
    "a way round that can be entered at two places": (code("@P0 BRA L3", IADD, IADD, IADD, "@P1 BRA L2", *END), NONE),
    "code that nothing reaches": (code("EXIT", IADD, "@P0 BRA L1", "BRA L{here}"), NONE),
    "a branch to itself where code ends": (code("@P0 EXIT", "BRA L{here}"), NONE),
    "a wait for another block": (code(IADD, "LDG.E.STRONG.GPU R0, [R2.64]", "@P0 BRA L1", *END), [([1, 2], 1)]),
    "an exit under a predicate": (code(IADD, "@P1 EXIT", HMMA, "@P0 BRA L0", *END), [([0, 1, 2, 3], 1)]),
    "an exit without one": (code(IADD, "EXIT", HMMA, "@P0 BRA L0", "BRA L{here}"), NONE),
    "a return under a predicate": (code(IADD, "@P1 RET.REL.NODEC R4 L0", "@P0 BRA L0", *END), [([0, 1, 2], 1)]),
    "a return, behind which nothing is reached": (
        code("CALL.REL.NOINC L2", "EXIT", IADD, "RET.REL.NODEC R4 L0", HMMA, "BRA L2"),
        NONE,
    ),
    "a uniform branch": (code(IADD, HMMA, "BRA.U UP0, L1", *END), [([1, 2], 1)]),
    "a uniform branch forwards, which may go on": (
        code(IADD, "BRA.U !UP0, L4", HMMA, "BRA L1", *END),
        [([1, 2, 3], 1)],
    ),
    "a branch where threads diverge": (
        code(IADD, "BRA.DIV UR6, L5", "SHFL.BFLY PT, R4, R5, 0x1, 0x1f", "@P0 BRA L1", "EXIT")
        + code("MOV R6, 0xffffffff", "WARPSYNC.COLLECTIVE R6, L9", "SHFL.BFLY P1, R4, R5, R7, R8", "ENDCOLLECTIVE")
        + code("BRA L3", "BRA L{here}"),
        [([1, 2, 3, 5, 6, 7, 8, 9], 1)],
    ),
    "a branch that converges": (
        code(IADD, "BRA.CONV ~URZ, L4", "MOV R4, 0x40", "CALL.REL.NOINC L6", HMMA, "@P0 BRA L1", "RET.REL.NODEC R4 L0"),
        [([1, 2, 3, 4, 5], 1)],
    ),
    "a place where threads meet": (
        code(IADD, "BSSY B0, L6", "@P0 BRA L5", IADD, "@P1 BREAK B0", "BSYNC B0", "@P2 BRA L1", *END),
        [([1, 2, 3, 4, 5, 6], 1)],
    ),
    "a place where threads meet that lies elsewhere than they go on": (
        code("BSSY B0, L4", IADD, "BRA L6", "EXIT", HMMA, "BRA L0", "BSYNC B0", "EXIT"),
        [([0, 1, 2, 4, 5, 6], 1)],
    ),
    "two places where threads meet, one after another, by the same name": (
        code("BSSY B0, L3", "@P0 BRA L2", "BSYNC B0", "@P1 BRA L0", "BSSY B0, L6", "BSYNC B0", "@P2 BRA L4", *END),
        [([0, 1, 2, 3], 1), ([4, 5, 6], 1)],
    ),
    "a way into the padding behind the code": (
        code(IADD, "@P0 BRA L9", "@P1 BRA L0", "CALL.REL.NOINC L9", *END),
        [([0, 1, 2], 1)],
    ),
    "a call in a loop": (
        code(IADD, "CALL.REL.NOINC L5", HMMA, "@P0 BRA L0", "EXIT", IADD, "RET.REL.NODEC R10 L0"),
        [([0, 1, 2, 3], 1)],
    ),
    "a loop in what is called": (
        code(IADD, "@P1 CALL.REL.NOINC L3", "EXIT", IADD, "@P0 BRA L3", "RET.REL.NODEC R10 L0", "BRA L{here}"),
        [([3, 4], 1)],
    ),
    "a loop to the very first instruction": (code(HMMA, "@P0 BRA L0"), [([0, 1], 1)]),
}


@pytest.mark.parametrize(("function", "expected"), FLOWS.values(), ids=FLOWS)
def test_loops_are_where_control_goes_round(function: tuple[str, ...], expected: list[tuple[list[int], int]]) -> None:
    assert loops(function) == expected


@pytest.mark.parametrize("branch", ["BRX R4 -0xb0", "BRXU UR4 -0x10", "@P2 BRX R4 -L3", "JMX R2", "BRA 0x5f00"])
def test_a_branch_to_who_knows_where_leaves_only_what_is_a_loop_all_the_same(branch: str) -> None:
    known = code(IADD, "BRA L4", IADD, IADD, IADD, HMMA, "@P0 BRA L4", IADD, "@P2 BRA L9", IADD, "@P1 BRA L0", *END)
    unknown = (known[0], branch, *known[2:])

    assert loops(known) == [([0, 1, 4, 5, 6, 7, 8, 9, 10], 1), ([4, 5, 6], 2)]
    assert loops(unknown) == [([4, 5, 6], 1)]


NESTED = code(HMMA, "@P0 BRA L0", IADD, HMMA, HMMA, "@P1 BRA L2", IADD, "@P2 BRA L0", *END)
FLAT = code(IADD, IADD, "@P0 BRA L1", "MOV R1, R2", IADD, "@P1 BRA L3", "@P2 BRA L0", *END)


@pytest.mark.parametrize(
    ("functions", "expected"),
    [
        ([code(*[IADD] * 20, "@P0 BRA L0", *END), NESTED], NESTED[2:6]),
        ([NESTED, code(*[IADD] * 20, "@P0 BRA L0", *END)], NESTED[2:6]),
        ([FLAT], FLAT[3:6]),
        ([code(HMMA, *END)], ()),
    ],
    ids=[
        "the innermost of most tensor-core work",
        "wherever it stands",
        "else of most instructions",
        "nothing goes round",
    ],
)
def test_the_main_loop_is_the_one_that_does_the_work(
    functions: list[tuple[str, ...]], expected: tuple[str, ...]
) -> None:
    assert main_loop(functions) == expected


def test_a_wait_inside_a_loop_belongs_to_it() -> None:
    function = code(HMMA, "SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R2", "@!P0 BRA L5", "@P1 BRA L0", "EXIT")
    function += code("SYNCS.PHASECHK.TRANS64.TRYWAIT P0, [UR4], R2", "@!P0 BRA L5", "BRA L3")

    assert [depth for _, depth in loops(function)] == [1, 2]
    assert main_loop([function]) == (*function[:4], *function[5:])
