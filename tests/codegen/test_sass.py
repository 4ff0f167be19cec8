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


@pytest.mark.parametrize("same", [dump(base=0x4F00), dump(encoding=0xFF)], ids=["addresses", "encodings"])
def test_the_hash_does_not_see(same: str) -> None:
    assert sass.code_hash(code(same)) == sass.code_hash(code(dump()))


@pytest.mark.parametrize(
    "other",
    [
        dump(loop=2),
        dump((*LOOP[:3], LOOP[4], LOOP[3], *LOOP[5:])),
        dump((LOOP[0].replace("R1", "R5"), *LOOP[1:])),
        dump((LOOP[0], LOOP[1].replace(".128 ", " "), *LOOP[2:])),
    ],
    ids=["the target of a branch", "order", "a register", "the width of a load"],
)
def test_the_hash_sees(other: str) -> None:
    assert sass.code_hash(code(other)) != sass.code_hash(code(dump()))


def test_a_target_is_looked_up_in_its_own_function() -> None:
    both = dump() + dump(("IMAD R1, R2, R3, R4 ", "RET.REL.NODEC R20 {loop} "), base=0x100, loop=0)

    first, second = sass.functions(both)
    assert first == code(dump())
    assert second == ("IMAD R1, R2, R3, R4", "RET.REL.NODEC R20 L0")


def test_constants_that_look_like_addresses_stay_in_instructions_that_do_not_branch() -> None:
    assert code(dump(("IADD3 R1, R1, 0x10, RZ ", "EXIT ")))[0] == "IADD3 R1, R1, 0x10, RZ"


def test_counts_are_by_class_sorted_and_lose_nothing() -> None:
    every = code(dump())

    found = sass.count(every)

    assert found == {
        "async_copy_128": 1,
        "branch": 3,
        "global_store_128": 1,
        "move": 1,
        "shared_load_matrix": 1,
        "tensor_core": 1,
    }
    assert list(found) == sorted(found)
    assert sum(found.values()) == len(every)


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


RENAMED = (
    ("LDG.E.64 R4, desc[UR4][R2.64+0x10]", "LDG.E.64 R8, desc[UR6][R24.64+0x10]"),
    ("@!P0 IMAD.WIDE.U32 R4, R2.reuse, -R3, RZ", "@!P3 IMAD.WIDE.U32 R14, R12.reuse, -R0, RZ"),
    ("UISETP.GE.AND UP0, UPT, UR4, UR5, UPT", "UISETP.GE.AND UP2, UPT, UR44, UR15, UPT"),
    ("LDS R4, [R2+UR4+0x40]", "LDS R9, [R3+UR12+0x40]"),
)


@pytest.mark.parametrize(("one", "other"), RENAMED)
def test_the_normal_hash_does_not_see_which_registers_are_named(one: str, other: str) -> None:
    assert sass.code_hash([one]) != sass.code_hash([other])
    assert sass.normal_hash([one]) == sass.normal_hash([other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("IADD3 R4, R2, R3, RZ", "IADD3 R4, R2, R3, R5"),
        ("UIADD3 UR4, UR4, 0x1, URZ", "UIADD3 UR4, UR4, 0x1, UR5"),
        ("SEL R1, R2, R3, P0", "SEL R1, R2, R3, PT"),
        ("SEL R1, R2, R3, P0", "SEL R1, R2, R3, !P0"),
        ("@P0 MOV R1, R2", "MOV R1, R2"),
        ("@P0 MOV R1, R2", "@!P0 MOV R1, R2"),
        ("IMAD R1, R2, R3, R4", "IMAD R1, R2, UR3, R4"),
        ("LDG.E.64 R2, [R4.64]", "LDG.E.128 R2, [R4.64]"),
        ("IADD3 R1, R2, 0x10, RZ", "IADD3 R1, R2, 0x20, RZ"),
        ("MOV R1, c[0x0][0x28]", "MOV R1, c[0x0][0x2c]"),
        ("S2R R0, SR_TID.X", "S2R R0, SR_TID.Y"),
        ("@P0 BRA L12", "@P0 BRA L13"),
        ("FADD R1, R2, R3", "FADD R1, R2, -R3"),
    ],
)
def test_the_normal_hash_sees_all_else(one: str, other: str) -> None:
    assert sass.normal_hash([one]) != sass.normal_hash([other])


@pytest.mark.parametrize(
    ("instruction", "flops"),
    [
        ("HMMA.1688.F32.TF32 R4, R8, R2, R4", 2 * 16 * 8 * 8),
        ("HMMA.1684.F32.TF32 R16, R4, R4, R16", 2 * 16 * 8 * 4),
        ("HMMA.16816.F32.BF16 R4, R8.reuse, R2, R4", 2 * 16 * 8 * 16),
        ("@P0 HMMA.16816.F16 R20, R4, R4, R4", 2 * 16 * 8 * 16),
        ("HMMA.SP.16832.F32 R16, R4, R4, R16, R13, 0x0", 2 * 16 * 8 * 32),
        ("IMMA.16832.S8.S8 R12, R4.ROW, R4.COL, R4", 2 * 16 * 8 * 32),
        ("QMMA.16832.F32.E4M3.E4M3 R16, R4.ROW, R4.COL, R12", 2 * 16 * 8 * 32),
        ("BMMA.168256.XOR.POPC R12, R12.ROW, R16.COL, R12", 2 * 16 * 8 * 256),
        ("DMMA.884 R8, R8, R10, R8", 2 * 8 * 8 * 4),
        ("DMMA.8x8x4 R12, R12, R14, R12", 2 * 8 * 8 * 4),
        ("HGMMA.64x256x16.F32 R24, gdesc[UR8], R24, !UPT", 2 * 64 * 256 * 16 // 4),
        ("HGMMA.64x64x8.F32.TF32 R24, R4, gdesc[UR8].tnspB, R24, gsb0", 2 * 64 * 64 * 8 // 4),
        ("FFMA R1, R2, R3, R4", 0),
        ("LDSM.16.M88.4 R4, [R9]", 0),
    ],
)
def test_a_tensor_core_instruction_has_the_work_of_its_shape(instruction: str, flops: int) -> None:
    assert sass.tensor_flops([instruction]) == flops
    assert sass.tensor_flops([instruction] * 3) == 3 * flops


@pytest.mark.parametrize(
    ("code", "unit"),
    [
        (["HMMA.1688.F32.TF32 R4, R8, R2, R4"], "mma32"),
        (["HMMA.16816.F32.BF16 R4, R8.reuse, R2, R4"], "mma16"),
        (["@P0 HMMA.16816.F16 R20, R4, R4, R4"], "mma16"),
        (["QMMA.16832.F32.E4M3.E4M3 R16, R4.ROW, R4.COL, R12"], "mma8"),
        (["IMMA.16832.S8.S8 R12, R4.ROW, R4.COL, R4"], "mma8"),
        (["DMMA.884 R8, R8, R10, R8"], "mma64"),
        (["HGMMA.64x256x16.F32 R24, gdesc[UR8], R24, !UPT"], "wgmma16"),
        (["HGMMA.64x64x8.F32.TF32 R24, R4, gdesc[UR8].tnspB, R24, gsb0"], "wgmma32"),
        (["FFMA R1, R2, R3, R4", "HMMA.16816.F32 R4, R8, R2, R4", "HMMA.1688.F32.TF32 R4, R8, R2, R4"], "mma16"),
        (["FFMA R1, R2, R3, R4", "LDSM.16.M88.4 R4, [R9]"], ""),
        ([], ""),
    ],
)
def test_the_unit_is_that_of_the_first_tensor_core_instruction(code: list[str], unit: str) -> None:
    assert sass.tensor_unit(code) == unit


@pytest.mark.parametrize(
    ("instruction", "moved"),
    [
        ("LDSM.16.M88.4 R4, [R9]", 4 * 8 * 16),
        ("LDSM.16.MT88.2 R4, [R9]", 2 * 8 * 16),
        ("LDSM.16.M88 R4, [R9]", 8 * 16),
        ("STSM.16.M88.4 [R9], R4", 4 * 8 * 16),
        ("LDS R4, [R9]", 32 * 4),
        ("LDS.64 R4, [R9]", 32 * 8),
        ("@P0 LDS.128 R4, [R9]", 32 * 16),
        ("LDS.U16 R4, [R9]", 32 * 2),
        ("STS.U8 [R9], R4", 32),
        ("LDGSTS.E.BYPASS.LTC128B.128 [R9], [R2.64], P1", 32 * 16),
        ("HGMMA.64x128x16.F32 R24, gdesc[UR8], R24, !UPT", (64 + 128) * 16 * 2 // 4),
        ("HGMMA.64x64x8.F32.TF32 R24, R4, gdesc[UR8].tnspB, R24, gsb0", (64 + 64) * 8 * 4 // 4),
        ("LDG.E.128 R4, [R2.64]", 0),
        ("STG.E.128 [R4.64], R8", 0),
        ("HMMA.16816.F32 R4, R8, R2, R4", 0),
        ("LDL R4, [R1]", 0),
        ("BAR.SYNC.DEFER_BLOCKING 0x0", 0),
    ],
)
def test_an_instruction_moves_its_bytes_to_or_from_shared_memory(instruction: str, moved: int) -> None:
    assert sass.shared_bytes([instruction]) == moved
    assert sass.shared_bytes([instruction] * 3) == 3 * moved


def test_a_tensor_core_instruction_without_a_shape_is_refused() -> None:
    with pytest.raises(GateError) as refused:
        sass.tensor_flops(["HMMA.F32 R1, R2, R3, R4"])

    assert refused.value.reason == "unknown-instruction"
    assert "HMMA.F32" in refused.value.text


def test_no_opcode_is_in_two_classes() -> None:
    tables = [*sass.CLASSES.values(), *sass.BY_WIDTH.values()]

    assert sum(map(len, tables)) == len(frozenset().union(*tables))


def test_spills_are_local_loads_and_stores() -> None:
    counts = sass.count(["STL [R1], R4", "LDL R4, [R1]", "LDL.64 R4, [R1+0x8]", "LDS R4, [R9]"])

    assert sass.spill_instructions(counts) == 3


def test_output_without_instructions_is_refused() -> None:
    with pytest.raises(GateError) as refused:
        sass.functions(HEAD)

    assert refused.value.reason == "no-machine-code"
