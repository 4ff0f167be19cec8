"""The occupancy formula against NVIDIA's own, against profiles of a real card, and at its edges."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from perfgate.hardware.occupancy import ARCHITECTURES, Architecture, architecture, occupancy, target

ADA = architecture("sm_89")

# The four profiles of an RTX 4090 that name their tile (published: Alisehen/LLMKernel), with the registers and shared
# bytes that a plain kernel of that tile compiles to: warps, registers, shared bytes, blocks, static %, ncu's measured %.
PROFILES = [
    pytest.param(8, 188, 65536, 1, 16.67, 16.54, id="128x128x64"),
    pytest.param(4, 255, 81920, 1, 8.33, 8.31, id="64x256x32"),
    pytest.param(4, 168, 49152, 2, 16.67, 16.35, id="128x64x32"),
    pytest.param(4, 96, 32768, 3, 25.00, 24.35, id="64x64x32"),
]

# Evaluates NVIDIA's header over a grid of warps, registers and shared bytes. Both sides walk it in the same order, so the output is bare numbers.
ORACLE = """
#include <climits>
#include <cstdio>
#include "cuda_occupancy.h"
int main() {
    cudaOccDeviceProp card;
    card.computeMajor = MAJOR; card.computeMinor = MINOR; card.warpSize = 32; card.numSms = SMS;
    card.maxThreadsPerBlock = 1024; card.maxThreadsPerMultiprocessor = THREADS;
    card.regsPerBlock = 65536; card.regsPerMultiprocessor = 65536;
    card.sharedMemPerBlock = 49152; card.sharedMemPerMultiprocessor = SHARED_SM;
    card.sharedMemPerBlockOptin = SHARED_BLOCK; card.reservedSharedMemPerBlock = 1024;
    cudaOccDeviceState state;
    const int shared[] = {SHARED_GRID};
    const int only[] = {WARPS_GRID};
    for (int warps : only)
        for (int registers = 1; registers <= 255; registers += REGISTER_STEP)
            for (int bytes : shared) {
                cudaOccFuncAttributes kernel;
                kernel.maxThreadsPerBlock = INT_MAX; kernel.numRegs = registers; kernel.numBlockBarriers = 1;
                kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN; kernel.maxDynamicSharedSizeBytes = bytes;
                cudaOccResult found;
                if (cudaOccMaxActiveBlocksPerMultiprocessor(&found, &card, &kernel, &state, 32 * warps, bytes)) return 1;
                std::printf("%d %d %d %d %d %u\\n", found.activeBlocksPerMultiprocessor, found.blockLimitRegs,
                            found.blockLimitSharedMem, found.blockLimitWarps, found.blockLimitBlocks,
                            found.limitingFactors & 15u);
            }
}
"""
FACTORS = {"warps": 1, "registers": 2, "shared memory": 4, "blocks": 8}


def shared_grid(arch: Architecture) -> list[int]:
    """Shared-memory sizes worth asking about: around every size at which one block more or less fits."""
    steps = {arch.shared_per_sm // blocks - 1024 for blocks in (1, 2, 3, 4, 5, 7, 12, 24, 32)}
    near = {size + offset for size in steps for offset in (-129, -128, -1, 0, 1, 128)}
    return sorted(size for size in {0, 1, 1000, 32768, *near} if size >= 0)


def find_header() -> Path | None:
    """A copy of NVIDIA's header: from an installed wheel, or from the toolkit."""
    packages = Path(sysconfig.get_path("purelib"))
    places = [*packages.glob("nvidia/**/include"), packages / "triton/backends/nvidia/include"]
    if nvcc := shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc"):
        places.append(Path(nvcc).resolve().parent.parent / "include")
    return next((place for place in places if (place / "cuda_occupancy.h").is_file()), None)


def hold_to_header(
    arch: Architecture, directory: Path, *, warps: list[int], register_step: int, shared: list[int]
) -> None:
    """Compare every combination with what NVIDIA's header says: blocks, the four limits, and which of them bind."""
    include, compiler = find_header(), shutil.which("g++") or shutil.which("c++")
    if include is None:
        pytest.skip("cuda_occupancy.h is not installed (it is NVIDIA's and comes with nvidia-cuda-runtime or Triton)")
    if compiler is None:
        pytest.skip("no C++ compiler (g++ or c++) to build NVIDIA's cuda_occupancy.h with")
    source, program = directory / "oracle.cpp", directory / "oracle"
    number = arch.name.removeprefix("sm_")
    values = {
        "MAJOR": number[:-1],
        "MINOR": number[-1],
        "SMS": arch.multiprocessors,
        "THREADS": 32 * arch.warps_per_sm,
        "SHARED_SM": arch.shared_per_sm,
        "SHARED_BLOCK": arch.shared_per_block,
        "SHARED_GRID": ",".join(map(str, shared)),
        "WARPS_GRID": ",".join(map(str, warps)),
        "REGISTER_STEP": register_step,
    }
    source.write_text("".join(f"#define {name} {value}\n" for name, value in values.items()) + ORACLE)
    subprocess.run([compiler, "-O1", "-w", f"-I{include}", str(source), "-o", str(program)], check=True)
    lines = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout.splitlines()
    cases = [(w, r, s) for w in warps for r in range(1, 256, register_step) for s in shared]
    for (of_warps, of_registers, of_shared), line in zip(cases, lines, strict=True):
        found = occupancy(arch, warps=of_warps, registers=of_registers, shared_bytes=of_shared)
        factors = sum(FACTORS[name] for name in found.limited_by.split(" and "))
        ours = " ".join(map(str, (found.blocks_per_sm, *found.limits.values(), factors)))
        assert ours == line, f"{arch.name}: {of_warps} warps, {of_registers} registers, {of_shared} bytes"


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_the_formula_agrees_with_nvidias_header(arch: Architecture, tmp_path: Path) -> None:
    """For all warps and registers, around every size at which one block more fits; then for every byte of shared memory."""
    hold_to_header(arch, tmp_path, warps=[*range(1, 33)], register_step=1, shared=shared_grid(arch))
    hold_to_header(arch, tmp_path, warps=[4], register_step=254, shared=[*range(arch.shared_per_block + 130)])


@pytest.mark.parametrize(("warps", "registers", "shared", "blocks", "static", "measured"), PROFILES)
def test_the_real_profiles_of_a_4090_have_the_occupancy_that_the_formula_says(  # noqa: PLR0913, PLR0917 - a table's columns
    warps: int, registers: int, shared: int, blocks: int, static: float, measured: float
) -> None:
    found = occupancy(ADA, warps=warps, registers=registers, shared_bytes=shared)

    assert found.blocks_per_sm == blocks
    assert round(found.warps_percent, 2) == static
    assert abs(found.warps_percent - measured) < 0.8


@pytest.mark.parametrize(
    ("kernel", "blocks", "limited_by"),
    [
        ((4, 255, 0), 2, "registers"),
        ((4, 32, 60_000), 1, "shared memory"),
        ((32, 32, 0), 1, "warps"),
        ((1, 16, 0), 24, "blocks"),
        ((8, 188, 65536), 1, "registers and shared memory"),
        ((4, 64, 101_376), 1, "shared memory"),
        ((4, 64, 101_377), 0, "shared memory"),
        ((16, 128, 0), 1, "registers"),
        ((16, 136, 0), 0, "registers"),
    ],
)
def test_the_scarce_resource_is_named_and_what_does_not_fit_has_no_block(
    kernel: tuple[int, int, int], blocks: int, limited_by: str
) -> None:
    warps, registers, shared = kernel
    found = occupancy(ADA, warps=warps, registers=registers, shared_bytes=shared)
    assert (found.blocks_per_sm, found.limited_by) == (blocks, limited_by)


def test_hopper_holds_what_ada_cannot() -> None:
    found = [occupancy(arch, warps=4, registers=64, shared_bytes=131_072).blocks_per_sm for arch in ARCHITECTURES]
    assert found == [0, 1]


@pytest.mark.parametrize(("warps", "registers", "shared"), [(0, 32, 0), (4, 0, 0), (4, 256, 0), (4, 32, -1)])
def test_counts_that_no_kernel_has_are_refused(warps: int, registers: int, shared: int) -> None:
    with pytest.raises(ValueError, match="no such kernel"):
        occupancy(ADA, warps=warps, registers=registers, shared_bytes=shared)


def test_an_unknown_architecture_is_refused_with_those_there_are() -> None:
    with pytest.raises(KeyError, match="sm_89, sm_90"):
        architecture("sm_70")


@pytest.mark.parametrize(
    ("code_path", "expected"),
    [
        ("native", "sm_89"),
        *((path, "sm_90") for path in ("sm_90", "sm90a", "90")),
        *((path, path) for path in ("gfx942", "")),
        ("sm_100a", "sm_100"),
    ],
)
def test_what_is_compiled_for_is_the_code_path_that_triton_is_told_or_the_cards_own(
    code_path: str, expected: str
) -> None:
    assert target(code_path, native="sm_89") == expected
