"""How many blocks of a kernel one multiprocessor holds, and what stops the next one.

Pure: the standard library only. Limits are data, one `Architecture` a compute capability; the formula is NVIDIA's
(`cuda_occupancy.h` of the CUDA toolkit, `cudaOccMaxActiveBlocksPerMultiprocessor`), restated for block sizes in whole
warps and the largest shared-memory carve-out, which is what a driver picks for a kernel that asks for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """Limits of one compute capability; bytes, and counts for one multiprocessor (SM) unless named otherwise.

    Sources: CUDA C++ Programming Guide, tables "Technical Specifications per Compute Capability" and "Feature Support";
    allocation granularities from `cuda_occupancy.h`; multiprocessors from the card's data sheet.
    """

    name: str
    card: str
    """The card that stands for the architecture here; only `multiprocessors` depends on it."""
    multiprocessors: int
    warps_per_sm: int
    blocks_per_sm: int
    shared_per_sm: int
    shared_per_block: int
    """Most that a block may use, static and dynamic together (opt-in limit)."""
    # The same on both.
    warps_per_block: int = 32
    registers_per_sm: int = 65536
    registers_per_thread: int = 255
    register_granularity: int = 256
    """Registers are handed to a warp in multiples of this."""
    sub_partitions: int = 4
    """Warps of a block are dealt round over this many register files."""
    shared_reserved: int = 1024
    """Taken by the system for every resident block, on top of what the kernel uses."""
    shared_granularity: int = 128


ARCHITECTURES = (
    Architecture(
        name="sm_89",
        card="RTX 4090",
        multiprocessors=128,
        warps_per_sm=48,
        blocks_per_sm=24,
        shared_per_sm=100 * 1024,
        shared_per_block=99 * 1024,
    ),
    Architecture(
        name="sm_90",
        card="H100 SXM",
        multiprocessors=132,
        warps_per_sm=64,
        blocks_per_sm=32,
        shared_per_sm=228 * 1024,
        shared_per_block=227 * 1024,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Occupancy:
    """Resident blocks of one multiprocessor, and what stops the next one."""

    blocks_per_sm: int
    warps_percent: float
    """Resident warps as a percentage of the multiprocessor's warp slots (theoretical occupancy)."""
    limited_by: str
    """The scarce resource: `registers`, `shared memory`, `warps` or `blocks`; joined by ` and ` where several bind."""
    limits: Mapping[str, int]
    """Blocks that each resource leaves room for alone."""


def architecture(name: str) -> Architecture:
    """The limits of `name`, such as `sm_89`.

    Raises:
        KeyError: no such architecture here; the message names those there are.
    """
    for arch in ARCHITECTURES:
        if arch.name == name:
            return arch
    known = ", ".join(arch.name for arch in ARCHITECTURES)
    raise KeyError(f"no limits are stated for the architecture {name!r}; known: {known}")


_NAME = re.compile(r"(?:sm_?)?(?P<number>\d+)[a-z]?")


def target(code_path: str, *, native: str) -> str:
    """The architecture that is compiled for on a card that runs this code path: ``sm_90`` of ``sm90a``.

    Args:
        code_path: ``native``, or what Triton is told to lower for: ``sm89``, ``sm_89``, ``sm90a``. Another text is no
            architecture and stays as it is.
        native: The card's own architecture.
    """
    if code_path == "native":
        return native
    found = _NAME.fullmatch(code_path)
    return f"sm_{found['number']}" if found else code_path


def occupancy(arch: Architecture, *, warps: int, registers: int, shared_bytes: int) -> Occupancy:
    """Blocks that one multiprocessor of `arch` holds of a kernel.

    Args:
        arch: the card's limits.
        warps: warps a block (threads / 32).
        registers: registers a thread, as the assembler reports them.
        shared_bytes: static and dynamic shared memory a block, without the system's own share.

    Returns:
        Zero blocks where the kernel cannot be launched at all.

    Raises:
        ValueError: a count that no kernel can have (no warp, no register or too many for a thread, negative bytes).
    """
    if warps < 1 or not 1 <= registers <= arch.registers_per_thread or shared_bytes < 0:
        raise ValueError(f"no such kernel: {warps} warps, {registers} registers, {shared_bytes} bytes of shared memory")

    # A warp's registers come in whole allocation units, and each sub-partition has its own register file, which a warp
    # cannot straddle. (NVIDIA's further test of the whole block's registers never decides: a block that fails it has
    # more warps than the files hold.)
    warp_registers = _up(32 * registers, arch.register_granularity)
    warps_by_registers = arch.sub_partitions * (arch.registers_per_sm // arch.sub_partitions // warp_registers)
    block_shared = _up(shared_bytes + arch.shared_reserved, arch.shared_granularity)
    limits = {
        "registers": warps_by_registers // warps,
        "shared memory": arch.shared_per_sm // block_shared if shared_bytes <= arch.shared_per_block else 0,
        "warps": arch.warps_per_sm // warps if warps <= arch.warps_per_block else 0,
        "blocks": arch.blocks_per_sm,
    }
    blocks = min(limits.values())
    return Occupancy(
        blocks_per_sm=blocks,
        warps_percent=100 * blocks * warps / arch.warps_per_sm,
        limited_by=" and ".join(name for name, limit in limits.items() if limit == blocks),
        limits=limits,
    )


def _up(value: int, granularity: int) -> int:
    """`value` rounded up to a multiple of `granularity`."""
    return -(-value // granularity) * granularity
