"""Which cases the table has, which arms each of them, what limits one, and the file of its launches. Needs no torch.

The file is JSON, one a code path, written after each launch and read strictly.
"""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct, field

from perf_tests import cases
from perfgate.files import write_whole
from perfgate.records import SCHEMA, Case, GateError
from perfgate.store import codec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

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
    result = prod(cases.result_shape(case))
    if case.flops > _MOST_FLOPS_PER_BYTE * case.min_bytes:
        return ""
    stored = result / (prod(case.shapes[0]) + prod(case.shapes[1]) + result)
    if stored > _STORE_SHARE:
        return "store"
    return "read" if stored < 1 - _READ_SHARE else ""


def arms_of(case: Case, without: Collection[str] = ()) -> tuple[str, ...]:
    """The arms of a case, less those that were left out."""
    return tuple(arm for arm in ARMS if arm not in without and (arm != LIMIT or limit_of(case)))


class Failure(Struct, frozen=True, kw_only=True):
    """An arm of a case that has no number, and why."""

    case: str
    arm: str
    why: str
    """One line."""
    wrong: bool = False
    """It ran or was to be built and the result is wrong or there is none; else it could not be measured."""


class Entry(Struct, kw_only=True):
    """What one launch measured of a case."""

    seconds: dict[str, Annotated[float, Meta(gt=0)]]
    """The median of each arm."""
    rounds: int
    errors: dict[str, float]
    """RMS error of an arm over that of operands rounded to nearest and multiplied by torch."""
    config: dict[str, Any]
    state: dict[str, Any]


class Launched(Struct):
    """One launch, by case id."""

    cases: dict[str, Entry] = field(default_factory=dict)


class About(Struct, kw_only=True):
    """With what a recording was made."""

    environment: dict[str, Any]
    settings: dict[str, Any]
    recorded_at: str
    command: str
    commit: str
    launches: int
    """That were to be made."""


class Recording(Struct, kw_only=True):
    """The launches of one code path."""

    schema: int = SCHEMA
    about: About
    cases: dict[str, dict[str, Any]]
    """Contracts of the cases that were to be measured, by id, in the order of the table."""
    launches: list[Launched]
    failed: list[Failure]

    def __post_init__(self) -> None:
        for case, contract in self.cases.items():
            if not (contract["flops"] > 0 and contract["min_bytes"] > 0):
                raise ValueError(f"{case} is a case without work")
        for launch in self.launches:
            for case, entry in launch.cases.items():
                if case not in self.cases or KERNEL not in entry.seconds:
                    raise ValueError(f"{case} was not to be measured, or without the kernel")

    @property
    def path(self) -> str:
        """The code path: ``native``, or the architecture that Triton lowered for."""
        return str(self.about.environment["code_path"])

    def write(self, path: Path) -> None:
        """Write it whole: a run that is cut short while it writes keeps what was there before."""
        write_whole(path, json.dumps(codec.encode(self), indent=1) + "\n")


def read(path: Path) -> Recording:
    """Read a recording.

    Raises:
        GateError: As `codec.decode` and `codec.read_bytes`.
    """
    found = codec.read_bytes(path, what="a table's recording")
    return codec.decode(found, Recording, source=str(path), remedy="measure again (nox -s study -- table)")
