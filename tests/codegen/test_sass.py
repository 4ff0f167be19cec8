"""Reading machine code: what is kept, what is left out, and that every instruction is counted once."""

from __future__ import annotations

import pytest

from perfgate.codegen import sass
from perfgate.records import GateError

# As cuobjdump prints it: a head, then for every instruction its address, text, and two words of encoding.
HEAD = """
Resource usage:
 Function mm:
  REG:255 STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:416 TEXTURE:0 SURFACE:0 SAMPLER:0

\tcode for sm_89
\t\tFunction : mm
\t.headerflags\t@"EF_CUDA_SM89 EF_CUDA_VIRTUAL_SM(EF_CUDA_SM89)"
"""
LOOP = (
    "MOV R1, c[0x0][0x28] ",
    "LDGSTS.E.BYPASS.LTC128B.128 [R9], [R2.64], P1 ",
    "LDSM.16.M88.4 R4, [R9] ",
    "HMMA.1688.F32.TF32 R4, R8, R2, R4 ",
    "@!P0 BRA {loop} ",
    "@P2 STG.E.128 desc[UR4][R2.64], R4 ",
    "EXIT ",
    "BRA {end}",
    "NOP",
)


def dump(texts: tuple[str, ...] = LOOP, *, base: int = 0, encoding: int = 0x0A, loop: int = 1, end: int = 7) -> str:
    lines = []
    for number, text in enumerate(texts):
        filled = text.format(loop=hex(base + 16 * loop), end=hex(base + 16 * end))
        lines.append(f"        /*{base + 16 * number:04x}*/   {filled};   /* 0x{encoding:016x} */")
        lines.append(f"                                         /* 0x{encoding + 1:016x} */")
    return HEAD + "\n".join(lines) + "\n\t\t..........\n"


def code(text: str) -> tuple[str, ...]:
    """The instructions of a dump that holds one function."""
    (found,) = sass.functions(text)
    return found


def test_instructions_keep_their_text_and_lose_the_rest() -> None:
    assert code(dump()) == (
        "MOV R1, c[0x0][0x28]",
        "LDGSTS.E.BYPASS.LTC128B.128 [R9], [R2.64], P1",
        "LDSM.16.M88.4 R4, [R9]",
        "HMMA.1688.F32.TF32 R4, R8, R2, R4",
        "@!P0 BRA L1",
        "@P2 STG.E.128 desc[UR4][R2.64], R4",
        "EXIT",
        "BRA L7",
    )


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (dump(base=0x4F00), True),
        (dump(encoding=0xFF), True),
        (dump(loop=2), False),
        (dump((*LOOP[:3], LOOP[4], LOOP[3], *LOOP[5:])), False),
        (dump((LOOP[0].replace("R1", "R5"), *LOOP[1:])), False),
        (dump((LOOP[0], LOOP[1].replace(".128 ", " "), *LOOP[2:])), False),
    ],
    ids=["addresses", "encodings", "a branch's target", "order", "a register", "the width of a load"],
)
def test_the_hash_sees_what_is_done_and_not_where_it_lies(other: str, same: bool) -> None:  # noqa: FBT001 - a table's column
    assert (sass.code_hash(code(other)) == sass.code_hash(code(dump()))) is same


def test_a_target_is_looked_up_in_its_own_function() -> None:
    both = dump() + dump(("IMAD R1, R2, R3, R4 ", "RET.REL.NODEC R20 {loop} "), base=0x100, loop=0)

    first, second = sass.functions(both)
    assert first == code(dump())
    assert second == ("IMAD R1, R2, R3, R4", "RET.REL.NODEC R20 L0")


def test_constants_that_look_like_addresses_stay_in_instructions_that_do_not_branch() -> None:
    assert code(dump(("IADD3 R1, R1, 0x10, RZ ", "EXIT ")))[0] == "IADD3 R1, R1, 0x10, RZ"


def test_counts_are_by_class_sorted_and_lose_nothing() -> None:
    found = sass.count(code(dump()))
    assert list(found) == sorted(found)
    assert found == {
        "async_copy_128": 1,
        "branch": 3,
        "global_store_128": 1,
        "move": 1,
        "shared_load_matrix": 1,
        "tensor_core": 1,
    }


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("HGMMA.64x128x8.F32.TF32 R24, gdesc[UR8], R24", "tensor_core"),
        ("FFMA R1, R2, R3, R4", "fp32"),
        ("@P1 IMAD.WIDE R1, R2, R3, R4", "integer"),
        ("UIADD3 UR4, UR4, 0x1, URZ", "integer"),
        ("@!UP0 UISETP.GT.AND UP0, UPT, UR12, 0x20, UPT", "logic"),
        ("LOP3.LUT P0, RZ, R1, 0x1, RZ, 0xc0, !PT", "logic"),
        ("ULDC.64 UR14, c[0x0][0x118]", "constant_load"),
        ("LDG.E.64 R2, [R4.64]", "global_load_64"),
        ("LDG.E.U16 R2, [R4.64]", "global_load_16"),
        ("LDG.E R2, [R4.64]", "global_load_32"),
        ("STG.E.128 [R4.64], R8", "global_store_128"),
        ("LDGSTS.E.LTC128B [R9], [R2.64]", "async_copy_32"),
        ("LDS.128 R4, [R9]", "shared_load_128"),
        ("STS.U8 [R9], R4", "shared_store_8"),
        ("LDL.LU.128 R4, [R1+0x10]", "local_load"),
        ("STL [R1], R4", "local_store"),
        ("BAR.SYNC.DEFER_BLOCKING 0x0", "barrier"),
        ("LDGDEPBAR", "barrier"),
        ("BSSY B0, L12", "branch"),
        ("F2FP.BF16.F32.PACK_AB R4, R5, R4", "conversion"),
        ("MUFU.RCP R4, R5", "special_function"),
        ("RED.E.ADD.F32.FTZ.RN.STRONG.GPU [R4.64], R9", "atomic"),
        ("UTMALDG.2D [UR8], [UR4]", "bulk_copy"),
        ("FROBNICATE R1, R2", "other"),
    ],
)
def test_an_instruction_has_its_class(instruction: str, expected: str) -> None:
    assert sass.classify(instruction) == expected


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("LDG.E.64 R4, desc[UR4][R2.64+0x10]", "LDG.E.64 R8, desc[UR6][R24.64+0x10]", True),
        ("@!P0 IMAD.WIDE.U32 R4, R2.reuse, -R3, RZ", "@!P3 IMAD.WIDE.U32 R14, R12.reuse, -R0, RZ", True),
        ("UISETP.GE.AND UP0, UPT, UR4, UR5, UPT", "UISETP.GE.AND UP2, UPT, UR44, UR15, UPT", True),
        ("IADD3 R4, R2, R3, RZ", "IADD3 R4, R2, R3, R5", False),
        ("SEL R1, R2, R3, P0", "SEL R1, R2, R3, PT", False),
        ("SEL R1, R2, R3, P0", "SEL R1, R2, R3, !P0", False),
        ("@P0 MOV R1, R2", "MOV R1, R2", False),
        ("@P0 MOV R1, R2", "@!P0 MOV R1, R2", False),
        ("IMAD R1, R2, R3, R4", "IMAD R1, R2, UR3, R4", False),
        ("LDG.E.64 R2, [R4.64]", "LDG.E.128 R2, [R4.64]", False),
        ("MOV R1, c[0x0][0x28]", "MOV R1, c[0x0][0x2c]", False),
        ("@P0 BRA L12", "@P0 BRA L13", False),
        ("FADD R1, R2, R3", "FADD R1, R2, -R3", False),
    ],
)
def test_the_normal_hash_sees_all_but_which_registers_are_named(
    one: str,
    other: str,
    same: bool,  # noqa: FBT001 - a table's column
) -> None:
    assert sass.code_hash([one]) != sass.code_hash([other])
    assert (sass.normal_hash([one]) == sass.normal_hash([other])) is same


@pytest.mark.parametrize(
    ("instruction", "flops", "unit"),
    [
        ("HMMA.1688.F32.TF32 R4, R8, R2, R4", 2 * 16 * 8 * 8, "mma32"),
        ("@P0 HMMA.16816.F16 R20, R4, R4, R4", 2 * 16 * 8 * 16, "mma16"),
        ("HMMA.16816.F32.BF16 R4, R8.reuse, R2, R4", 2 * 16 * 8 * 16, "mma16"),
        ("HMMA.SP.16832.F32 R16, R4, R4, R16, R13, 0x0", 2 * 16 * 8 * 32, "mma16"),
        ("IMMA.16832.S8.S8 R12, R4.ROW, R4.COL, R4", 2 * 16 * 8 * 32, "mma8"),
        ("QMMA.16832.F32.E4M3.E4M3 R16, R4.ROW, R4.COL, R12", 2 * 16 * 8 * 32, "mma8"),
        ("BMMA.168256.XOR.POPC R12, R12.ROW, R16.COL, R12", 2 * 16 * 8 * 256, "mma16"),
        ("DMMA.884 R8, R8, R10, R8", 2 * 8 * 8 * 4, "mma64"),
        ("DMMA.8x8x4 R12, R12, R14, R12", 2 * 8 * 8 * 4, "mma64"),
        ("HGMMA.64x256x16.F32 R24, gdesc[UR8], R24, !UPT", 2 * 64 * 256 * 16 // 4, "wgmma16"),
        ("HGMMA.64x64x8.F32.TF32 R24, R4, gdesc[UR8].tnspB, R24, gsb0", 2 * 64 * 64 * 8 // 4, "wgmma32"),
        ("LDSM.16.M88.4 R4, [R9]", 0, ""),
    ],
)
def test_a_tensor_core_instruction_has_the_work_of_its_shape_and_the_unit_of_its_operands(
    instruction: str, flops: int, unit: str
) -> None:
    assert sass.tensor_flops(["FFMA R1, R2, R3, R4", *[instruction] * 3]) == 3 * flops
    assert sass.tensor_unit(["FFMA R1, R2, R3, R4", instruction]) == unit


@pytest.mark.parametrize(
    ("instruction", "moved"),
    [
        ("LDSM.16.M88.4 R4, [R9]", 4 * 8 * 16),
        ("LDSM.16.M88 R4, [R9]", 8 * 16),
        ("STSM.16.M88.4 [R9], R4", 4 * 8 * 16),
        ("LDS R4, [R9]", 32 * 4),
        ("@P0 LDS.128 R4, [R9]", 32 * 16),
        ("LDS.U16 R4, [R9]", 32 * 2),
        ("STS.U8 [R9], R4", 32),
        ("LDGSTS.E.BYPASS.LTC128B.128 [R9], [R2.64], P1", 32 * 16),
        ("HGMMA.64x128x16.F32 R24, gdesc[UR8], R24, !UPT", (64 + 128) * 16 * 2 // 4),
        ("HGMMA.64x64x8.F32.TF32 R24, R4, gdesc[UR8].tnspB, R24, gsb0", (64 + 64) * 8 * 4 // 4),
        ("LDG.E.128 R4, [R2.64]", 0),
        ("HMMA.16816.F32 R4, R8, R2, R4", 0),
    ],
)
def test_an_instruction_moves_its_bytes_to_or_from_shared_memory(instruction: str, moved: int) -> None:
    assert sass.shared_bytes([instruction] * 3) == 3 * moved


def test_no_opcode_is_in_two_classes() -> None:
    tables = [*sass.CLASSES.values(), *sass.BY_WIDTH.values()]

    assert sum(map(len, tables)) == len(frozenset().union(*tables))


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(GateError, match=r"HMMA\.F32") as caught:
        sass.tensor_flops(["HMMA.F32 R1, R2, R3, R4"])
    assert caught.value.reason == "unknown-instruction"
    with pytest.raises(GateError) as caught:
        sass.functions(HEAD)
    assert caught.value.reason == "no-machine-code"
