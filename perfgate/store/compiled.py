"""The store of compiled-code facts: one strict, versioned JSON file a target.

Owns the records of what a compiler made of a case and the format of `baselines/<target>/compiled.json`. Compiling processes
and their cache hand the same records on. Judges nothing (`perfgate.codegen.rules` does).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from msgspec import Meta, Struct, structs

from perfgate.files import write_whole
from perfgate.records import SCHEMA, GateError
from perfgate.store import codec
from perfgate.store.codec import Count, Open, Text, Whole

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_REMEDY = "restore it from git or record it again"
_Counts = Annotated[Mapping[str, Count], Meta(min_length=1, max_length=codec.MOST_ITEMS)]
_Text = Annotated[str, Meta(pattern=r"\S", max_length=500)]
_Hash = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class MainLoop(TypedDict, total=False):
    """One trip of the loop that does a kernel's work, as JSON has it; no key is there where there is no such loop."""

    instructions: _Counts
    """Static counts by class."""
    total: Count
    """Their sum."""
    tensor_flops: Count
    """FLOP that one warp does on the tensor cores, by the shapes of its instructions."""
    tensor_unit: Text
    """What does them: ``mma`` or ``wgmma`` (a warp's own or a warp group's instruction) and the bits of an operand; else empty."""
    shared_bytes: Count
    """Bytes that one warp moves to and from shared memory, operands that ``wgmma`` reads there included."""


class KernelFacts(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts of one kernel as one launch compiles it for one target: its machine code, and how many programs run it."""

    name: _Text
    config: Open
    """Constexprs of the launch (tile sizes and switches), ``num_warps`` and ``num_stages``."""
    code_hash: _Hash
    """SHA-256 of the instructions, without addresses, paths or line information."""
    normal_hash: _Hash
    """The same, without the numbers of registers and predicates: equal where only their names differ."""
    registers: Count
    stack_bytes: Count
    spill_instructions: Count
    """Loads from and stores to local memory in the machine code."""
    shared_bytes: Count
    blocks_per_sm: Count
    limited_by: _Text
    occupancy_percent: Annotated[float, Meta(ge=0, le=100)]
    instructions: _Counts
    """Static instruction counts by class."""
    main_loop: MainLoop
    """The innermost loop with the most tensor-core work, or where there is none the most instructions."""
    grid: Count
    """Programs that the launch runs, over all axes."""
    arguments: Annotated[Mapping[str, Whole], Meta(max_length=codec.MOST_ITEMS)]
    """The launch's integer arguments by name (sizes, strides), without truth values and constexprs."""


class Operation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What torch itself ran on the card in a call, beside the kernels: a copy, a fill, arithmetic."""

    name: _Text
    """As torch's dispatcher has it, such as ``clone`` or ``zero_``."""
    moved_bytes: Count
    """Of all tensors that it reads or writes, each once."""


class CompiledCase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What compiling one case gave."""

    contract: Open
    """`Case.contract()`: what must be equal on both sides."""
    kernels: tuple[KernelFacts, ...]
    """In launch order; those that compiled, where others did not."""
    operations: tuple[Operation, ...] = ()
    """In their order."""
    error: str = ""
    """The compiler's refusal, empty when everything compiled; never in a baseline."""


@dataclass(frozen=True, kw_only=True)
class CompiledBaseline:
    """One file: the facts of every case for one target, and where they come from."""

    target: str
    versions: Mapping[str, str]
    """`triton`, `torch`, `ptxas`."""
    recorded_at: str
    """ISO 8601, UTC."""
    commit: str
    reason: str
    cases: Mapping[str, CompiledCase]
    source: str = ""
    """The path it was read from, for sentences."""


class _Case(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case as the file has it: one that compiled."""

    contract: Open
    kernels: Annotated[tuple[KernelFacts, ...], Meta(min_length=1)]
    operations: tuple[Operation, ...]

    def __post_init__(self) -> None:
        codec.check_printable(self.contract, [structs.asdict(one) for one in (*self.kernels, *self.operations)])


class _File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a file holds."""

    schema: int
    target: _Text
    triton: _Text
    torch: _Text
    ptxas: _Text
    recorded_at: _Text
    commit: _Text
    reason: _Text
    cases: Annotated[Mapping[Text, _Case], Meta(min_length=1, max_length=codec.MOST_CASES)]

    def __post_init__(self) -> None:
        codec.check_printable(*(getattr(self, name) for name in self.__struct_fields__))


def read_compiled(path: Path) -> CompiledBaseline | None:
    """The baseline in `path`, or None where there is no such file.

    Raises:
        GateError: `malformed-baseline` or `other-schema`, naming the file and what is wrong with it.
    """
    with _as_baseline():
        try:
            data = codec.read_bytes(path, what="compiled facts")
        except GateError as error:
            if error.reason == "no-file":
                return None
            raise
        return _read(codec.parse(data, source=str(path), remedy=_REMEDY), path)


def write_compiled(path: Path, baseline: CompiledBaseline) -> None:
    """Writes `baseline` to `path`, wholly or not at all; the same facts always give the same bytes.

    Raises:
        GateError: `malformed-baseline`, the facts are not fit to compare with (no case, a case that did not compile).
        OSError: the file system refused.
    """
    if refused := sorted(name for name, case in baseline.cases.items() if case.error):
        error = baseline.cases[refused[0]].error
        raise GateError(
            "malformed-baseline",
            f"{path} was not written: {refused[0]} does not compile ({error}): restore it from git or record it again.",
        )
    origin = {name: getattr(baseline, name) for name in ("target", "recorded_at", "commit", "reason")}
    versions = {name: baseline.versions.get(name, "") for name in ("triton", "torch", "ptxas")}
    cases = codec.encode(baseline.cases)
    for case in cases.values():
        del case["error"]
    document = {"schema": SCHEMA, **origin, **versions, "cases": cases}
    with _as_baseline():  # what could not be read back is not written
        _read(document, path)
    write_whole(path, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def _read(document: Any, path: Path) -> CompiledBaseline:  # noqa: ANN401 - any JSON
    file = codec.convert(document, _File, source=str(path), remedy=_REMEDY, versioned=True)
    for name, case in document["cases"].items():
        check_loops(case["kernels"], source=f"{path}, case {name!r},")
    return CompiledBaseline(
        target=file.target,
        versions={"triton": file.triton, "torch": file.torch, "ptxas": file.ptxas},
        recorded_at=file.recorded_at,
        commit=file.commit,
        reason=file.reason,
        cases={
            name: CompiledCase(contract=case.contract, kernels=case.kernels, operations=case.operations)
            for name, case in file.cases.items()
        },
        source=str(path),
    )


def facts_from_json(data: object, *, source: str = "a kernel's facts") -> KernelFacts:
    """One kernel's facts from JSON; every key and type checked.

    Raises:
        GateError: `malformed-baseline`.
    """
    with _as_baseline():
        facts = codec.convert(data, KernelFacts, source=source, remedy=_REMEDY)
        check_loops([data], source=source)
    return facts


def check_loops(kernels: Iterable[Any], *, source: str) -> None:
    """Refuse a main loop that lacks a number or has more of a class than the whole kernel; kernels are JSON of the right types.

    Raises:
        GateError: `malformed-baseline`.
    """
    for facts in kernels:
        loop, whole = facts["main_loop"], facts["instructions"]
        if loop and (
            loop.keys() != MainLoop.__annotations__.keys()
            or loop["total"] != sum(loop["instructions"].values())
            or any(count > whole.get(name, 0) for name, count in loop["instructions"].items())
        ):
            raise GateError(
                "malformed-baseline",
                f"{source} is malformed at main_loop of {facts['name']}, expected all its counts, none above the whole kernel's; "
                f"{_REMEDY}.",
            )


@contextmanager
def _as_baseline() -> Iterator[None]:
    """What cannot be read of this format has one reason."""
    try:
        yield
    except GateError as error:
        if error.reason == "other-schema":
            raise
        raise GateError("malformed-baseline", error.text) from None
