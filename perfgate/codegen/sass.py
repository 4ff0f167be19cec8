"""Reads machine code: the text of `cuobjdump -sass` to instructions, hashes of them, counts by class, and FLOP.

Pure: the standard library and the gate's own records; runs no tool. What the classes are is data, in `CLASSES` and
`BY_WIDTH`. An opcode that the tables do not know counts as `other`, so that no instruction is lost from the sum.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

CLASSES: Mapping[str, frozenset[str]] = {
    "tensor_core": frozenset({"HMMA", "IMMA", "DMMA", "BMMA", "QMMA", "OMMA", "HGMMA", "IGMMA", "QGMMA", "BGMMA"}),
    "fp32": frozenset(
        {"FADD", "FADD32I", "FFMA", "FFMA32I", "FMUL", "FMUL32I", "FMNMX", "FSEL", "FSET", "FSWZADD", "FCHK"}
    ),
    "fp16": frozenset({"HADD2", "HADD2_32I", "HFMA2", "HFMA2_32I", "HMUL2", "HMUL2_32I", "HMNMX2", "HSET2"}),
    "fp64": frozenset({"DADD", "DFMA", "DMUL", "DMNMX"}),
    "special_function": frozenset({"MUFU"}),
    "integer": frozenset(
        {"BMSK", "BREV", "FLO", "IABS", "IADD", "IADD3", "IADD32I", "IDP", "IDP4A", "IMAD", "IMNMX", "IMUL", "ISCADD"}
        | {"LEA", "POPC", "SGXT", "SHF", "SHL", "SHR", "VABSDIFF", "VIADD", "VIADDMNMX", "VIMNMX", "VIMNMX3"}
    ),
    "logic": frozenset(
        {"CSETP", "DSETP", "FSETP", "HSETP2", "ISETP", "LOP", "LOP3", "LOP32I", "P2R", "PLOP3", "PSETP", "R2P"}
        | {"VOTE", "VOTEU", "MATCH"}
    ),
    "move": frozenset({"CS2R", "MOV", "MOV32I", "MOVM", "PRMT", "R2UR", "REDUX", "S2R", "S2UR", "SEL", "SHFL"}),
    "constant_load": frozenset({"LDC"}),
    "atomic": frozenset({"ATOM", "ATOMG", "ATOMS", "RED"}),
    "barrier": frozenset(
        {"ARRIVES", "BAR", "CCTL", "CCTLL", "DEPBAR", "ERRBAR", "FENCE", "LDGDEPBAR", "MEMBAR", "SYNCS", "WARPGROUP"}
        | {"WARPGROUPSET", "ACQBULK", "UTMACMDFLUSH", "UCGABAR_ARV", "UCGABAR_WAIT"}
    ),
    "branch": frozenset(
        {"BMOV", "BPT", "BRA", "BREAK", "BRX", "BRXU", "BSSY", "BSYNC", "CALL", "EXIT", "JMP", "JMX", "JMXU", "KILL"}
        | {"ENDCOLLECTIVE", "NANOSLEEP", "RET", "RPCMOV", "WARPSYNC", "YIELD", "ELECT"}
    ),
    "conversion": frozenset({"F2F", "F2FP", "F2I", "F2IP", "FRND", "I2F", "I2FP", "I2I", "I2IP"}),
}
"""Opcode (before the first dot, and without the `U` of the uniform datapath) to class."""

BY_WIDTH: Mapping[str, frozenset[str]] = {
    "global_load": frozenset({"LD", "LDG"}),
    "global_store": frozenset({"ST", "STG"}),
    "async_copy": frozenset({"LDGSTS"}),
    "shared_load": frozenset({"LDS"}),
    "shared_store": frozenset({"STS"}),
    "shared_load_matrix": frozenset({"LDSM"}),
    "shared_store_matrix": frozenset({"STSM"}),
    "bulk_copy": frozenset({"UBLKCP", "UBLKRED", "UTMALDG", "UTMASTG", "UTMAREDG"}),
    "local_load": frozenset({"LDL"}),
    "local_store": frozenset({"STL"}),
}
"""Memory opcode to class; classes in `_WIDE` are told apart by the bits that a thread moves, as in `global_load_128`."""

_WIDE = frozenset({"global_load", "global_store", "async_copy", "shared_load", "shared_store"})
_BITS = {"U8": 8, "S8": 8, "U16": 16, "S16": 16, "64": 64, "128": 128}
_LINE = re.compile(r"^\s*/\*(?P<address>[0-9a-f]{4,})\*/[^\S\n]+(?P<text>[^;\n]+?)[^\S\n]*;", re.MULTILINE)
_FUNCTION = re.compile(r"^\s*Function : ", re.MULTILINE)
_TARGET = re.compile(r"\b0x[0-9a-f]+\b")
_PREDICATE = re.compile(r"^@!?U?P\w+\s+")
_NAME = re.compile(r"\b(U?[RP])\d+\b")
_SHAPE = re.compile(r"\.(?:(16|8)(8)(\d+)|(\d+)x(\d+)x(\d+))(?=\.|$)")
"""Of a tensor-core instruction, M N K: run together where a warp multiplies (`1688`, `16816`), with x (`64x256x16`)."""
_WARPS_TOGETHER = 4
"""Warps that issue one `…GMMA` together (a warpgroup); each does its share of the shape."""


def functions(dump: str) -> tuple[tuple[str, ...], ...]:
    """The instructions in `dump` by function, free of addresses, encodings, scheduling bits, names and paths.

    Branch targets become `L` and the index of the instruction they lead to within its function, so the text says the
    same thing wherever the code was loaded. The padding after the last instruction is dropped.

    Args:
        dump: what `cuobjdump -sass` printed for one cubin; other output in it is ignored.

    Raises:
        GateError: `no-machine-code`, no instruction was found.
    """
    code = tuple(filter(None, map(_function, _FUNCTION.split(dump))))
    if not code:
        raise GateError("no-machine-code", "The disassembly holds no instruction: is the file a cubin of this target?")
    return code


def _function(dump: str) -> tuple[str, ...]:
    """One function's instructions with targets as indices and without trailing padding."""
    found = [(int(line["address"], 16), " ".join(line["text"].split())) for line in _LINE.finditer(dump)]
    label_at = {address: f"L{index}" for index, (address, _) in enumerate(found)}

    def relocated(text: str) -> str:
        if classify(text) != "branch":
            return text
        return _TARGET.sub(lambda target: label_at.get(int(target[0], 16), target[0]), text)

    texts = [relocated(text) for _, text in found]
    while texts and opcode(texts[-1]) == "NOP":
        texts.pop()
    return tuple(texts)


def code_hash(code: Iterable[str]) -> str:
    """SHA-256 (hex) of the instructions; equal hashes mean the same machine code."""
    return hashlib.sha256("\n".join(code).encode()).hexdigest()


def normal_hash(code: Iterable[str]) -> str:
    """SHA-256 (hex) of the instructions without the numbers of registers and predicates.

    Equal hashes mean the same operations, widths, constants and branches in the same order; only which registers they
    name may differ, and with that which result goes into which instruction: so this is of use only beside an equal
    number of registers. `RZ`, `PT` and `URZ` are values rather than names and stay, as does the hint `.reuse`.
    """
    return code_hash(_NAME.sub(r"\1", instruction) for instruction in code)


def opcode(instruction: str) -> str:
    """The operation with its modifiers and without its predicate: `LDG.E.128` of `@!P0 LDG.E.128 R4, [R2.64]`."""
    return _PREDICATE.sub("", instruction).split(" ", 1)[0]


def classify(instruction: str) -> str:
    """The class of one instruction: a key of `CLASSES`, a class of memory access with its width in bits, or `other`."""
    base, *modifiers = opcode(instruction).split(".")
    for name, opcodes in BY_WIDTH.items():
        if base in opcodes:
            return f"{name}_{_bits(modifiers)}" if name in _WIDE else name
    for name, opcodes in CLASSES.items():
        if base in opcodes or (base.startswith("U") and base.removeprefix("U") in opcodes):
            return name
    return "other"


def count(code: Iterable[str]) -> dict[str, int]:
    """Static number of instructions by class, sorted by name; classes that do not occur are left out."""
    return dict(sorted(Counter(map(classify, code)).items()))


def tensor_flops(code: Iterable[str]) -> int:
    """FLOP that one warp does on the tensor cores in `code`, every instruction run once: 2 M N K of each one's shape.

    Shapes are PTX's (ISA manual, `mma` and `wgmma`). A sparse product counts as the dense one it stands for.

    Raises:
        GateError: `unknown-instruction`, a tensor-core instruction whose shape cannot be read.
    """
    total = 0
    for operation in _tensor_operations(code):
        m, n, k = _shape(operation)
        total += 2 * m * n * k // (_WARPS_TOGETHER if _is_of_group(operation) else 1)
    return total


def tensor_unit(code: Iterable[str]) -> str:
    """``mma16``, ``mma32``, ``wgmma16`` and so on by the first tensor-core instruction in `code`; empty where there is none."""
    for operation in _tensor_operations(code):
        return f"{'wgmma' if _is_of_group(operation) else 'mma'}{8 * _operand_bytes(operation)}"
    return ""


def _tensor_operations(code: Iterable[str]) -> Iterator[str]:
    return (opcode(instruction) for instruction in code if classify(instruction) == "tensor_core")


def shared_bytes(code: Iterable[str]) -> int:
    """Bytes that one warp moves to and from shared memory in `code`, every instruction run once.

    A thread of a plain access moves the width that the instruction names, a matrix of `ldmatrix` is 8 rows of 16 bytes,
    and `wgmma` reads both operands there: its 64 rows of A and its columns of B, for the four warps of a group together.
    """
    return sum(map(_shared_bytes, code))


def _shared_bytes(instruction: str) -> int:
    operation = opcode(instruction)
    base, *modifiers = operation.split(".")
    if base in {"LDSM", "STSM"}:
        return 128 * int(modifiers[-1]) if modifiers and modifiers[-1].isdigit() else 128
    if base in {"LDS", "STS", "LDGSTS"}:
        return 32 * _bits(modifiers) // 8
    if _is_of_group(operation):
        m, n, k = _shape(operation)
        return (m + n) * k * _operand_bytes(operation) // _WARPS_TOGETHER
    return 0


def _bits(modifiers: Sequence[str]) -> int:
    """That a thread moves in an access to memory."""
    return next((_BITS[modifier] for modifier in modifiers if modifier in _BITS), 32)


def _is_of_group(operation: str) -> bool:
    return operation.split(".", 1)[0].endswith("GMMA")


def _operand_bytes(operation: str) -> int:
    """Of one operand's element, by what the operation says of its numbers; FP16 and BF16 where it says nothing."""
    sizes = {"DMMA": 8, "TF32": 4, "E4M3": 1, "E5M2": 1, "S8": 1, "U8": 1}
    return next((size for name, size in sizes.items() if name in operation.split(".")), 2)


def _shape(operation: str) -> tuple[int, int, int]:
    """M, N and K of a tensor-core operation."""
    found = _SHAPE.search(operation)
    if found is None:
        text = f"The machine code has {operation}, whose shape this gate cannot read: teach perfgate/codegen/sass.py its form."
        raise GateError("unknown-instruction", text)
    m, n, k = (int(size) for size in found.groups() if size is not None)
    return m, n, k
