"""Reading machine code: what is kept, what is left out, and that every instruction is counted once."""

from __future__ import annotations

import pytest

from perfgate import sass
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


def test_instructions_keep_their_text_and_lose_the_rest() -> None:
    assert sass.instructions(dump()) == (
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
    assert sass.code_hash(sass.instructions(same)) == sass.code_hash(sass.instructions(dump()))


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
    assert sass.code_hash(sass.instructions(other)) != sass.code_hash(sass.instructions(dump()))


def test_a_target_is_looked_up_in_its_own_function() -> None:
    both = dump() + dump(("IMAD R1, R2, R3, R4 ", "RET.REL.NODEC R20 {loop} "), base=0x100, loop=0)

    assert sass.instructions(both)[-1] == "RET.REL.NODEC R20 L0"


def test_constants_that_look_like_addresses_stay_in_instructions_that_do_not_branch() -> None:
    assert sass.instructions(dump(("IADD3 R1, R1, 0x10, RZ ", "EXIT ")))[0] == "IADD3 R1, R1, 0x10, RZ"


def test_counts_are_by_class_sorted_and_lose_nothing() -> None:
    code = sass.instructions(dump())

    found = sass.count(code)

    assert found == {
        "async_copy_128": 1,
        "branch": 3,
        "global_store_128": 1,
        "move": 1,
        "shared_load_matrix": 1,
        "tensor_core": 1,
    }
    assert list(found) == sorted(found)
    assert sum(found.values()) == len(code)


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


def test_no_opcode_is_in_two_classes() -> None:
    tables = [*sass.CLASSES.values(), *sass.BY_WIDTH.values()]

    assert sum(map(len, tables)) == len(frozenset().union(*tables))


def test_spills_are_local_loads_and_stores() -> None:
    counts = sass.count(["STL [R1], R4", "LDL R4, [R1]", "LDL.64 R4, [R1+0x8]", "LDS R4, [R9]"])

    assert sass.spill_instructions(counts) == 3


def test_output_without_instructions_is_refused() -> None:
    with pytest.raises(GateError) as refused:
        sass.instructions(HEAD)

    assert refused.value.reason == "no-machine-code"
