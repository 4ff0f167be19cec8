"""Which cases the table has, which arms each of them, and what limits one. Pure; needs no torch."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

from perf_tests import cases
from perfgate.records import Case, GateError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

KERNEL, START, TORCH, COMPILE, LIMIT = ARMS = ("kernel", "start", "torch", "compile", "limit")
"""This project's kernel, the kernel it started from, the vendor library, torch.compile, and what the card allows."""

LARGE: tuple[Case, ...] = tuple(
    cases.matmul_case(f"sq{n}_{short}", (n, n), (n, n), dtype=dtype)
    for n, dtype, short in (
        (4096, "float16", "fp16"),
        (4096, "bfloat16", "bf16"),
        (8192, "float32", "fp32"),
        (8192, "float16", "fp16"),
        (8192, "bfloat16", "bf16"),
    )
)
"""For the table only: too long for a gate, and where a card's peak shows."""
BY_ID = {case.id: case for case in (*cases.CASES, *LARGE)}

_STORE_SHARE, _READ_SHARE = 0.5, 0.99
"""Of a case's least traffic: more makes it one of storing its result, or one of reading its operands."""
_MOST_FLOPS_PER_BYTE = 100
"""Above, arithmetic bounds a case: an RTX 4090 does 82 operations of TF32 in the time of a byte, an H100 148."""


def choose(ids: Sequence[str], *, quick: bool = False, large: bool = False) -> tuple[Case, ...]:
    """The cases asked for, in the order of the list; all but the large ones where nothing is asked for.

    Args:
        ids: Chosen by id.
        quick: The quick subset, beside those chosen.
        large: The large cases, beside all others or those chosen.

    Raises:
        GateError: ``unknown-case``.
    """
    for case_id in ids:
        if case_id not in BY_ID:
            raise GateError("unknown-case", f"There is no case {case_id!r} in the table; known are {', '.join(BY_ID)}.")
    every = not ids and not quick
    return tuple(
        case
        for case in BY_ID.values()
        if case.id in ids or (quick and case.quick) or (large and case in LARGE) or (every and case not in LARGE)
    )


def contract_of(case: Case) -> dict[str, Any]:
    """The case's contract with the work and traffic that are needed: of triangular operands, what may not be zero.

    Of two n by n triangles that is i <= k <= j, n (n + 1) (n + 2) / 6 products, and half of either operand. The gate counts
    them as full ones, so that its times stay comparable whatever a kernel is told.
    """
    contract = case.contract()
    if case.id in cases.TRIANGLES:
        n = case.shapes[0][-1]
        size = case.min_bytes // (3 * n * n)
        contract |= {"flops": n * (n + 1) * (n + 2) // 3, "min_bytes": (n * (n + 1) + n * n) * size}
    return contract


def limit_of(case: Case) -> str:
    """What bounds a case from below and can be run: ``store`` its result, ``read`` its operands; else empty.

    A case that computes as long as it moves data has its bound in the roofline alone.
    """
    size = case.min_bytes // (prod(case.shapes[0]) + prod(case.shapes[1]) + prod(cases.result_shape(case)))
    if case.flops > _MOST_FLOPS_PER_BYTE * case.min_bytes:
        return ""
    stored = prod(cases.result_shape(case)) * size / case.min_bytes
    if stored > _STORE_SHARE:
        return "store"
    return "read" if stored < 1 - _READ_SHARE else ""


def arms_of(case: Case, without: Collection[str] = ()) -> tuple[str, ...]:
    """The arms of a case, less those that were left out."""
    return tuple(arm for arm in ARMS if arm not in without and (arm != LIMIT or limit_of(case)))
