"""What a kernel costs on a card that need not be there: its machine code and its tiles to a time, and what binds it. Pure.

Owns the formulas; a card's numbers are in ``perfgate.hardware.parameters``, what a launch computes is said by the suite. Terms:

- *Arithmetic, issue, shared memory, L2*: a block's main loop makes trips of what one trip of the machine code does,
  each unit at its rate (NVIDIA, CUDA C++ Programming Guide, "Maximize Utilization": a scheduler issues one instruction a
  clock). Units overlap, though not wholly: their times are added as a p-norm.
- *Latency*: alone, a block waits in every trip for barriers, operands and dependent products, or for copies begun
  as many trips before as there are buffers; resident blocks hide that of each other (Volkov, Understanding Latency Hiding on GPUs, 2016).
- *Waves*: the busiest multiprocessor's blocks, in rounds of as many as are resident, while there are few rounds.
- *DRAM*: each operand is read again where more than L2 holds has passed since (LRU, by the order of tiles); hit rate
  ``1 - DRAM reads / (L2 reads + result)``, which gives the published profiles of a 4090 to the second decimal.

It knows nothing of bank conflicts, of clocks that fall under load, or of an order of tiles that the code does not take
from ``GROUP_M``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from perfgate.hardware.occupancy import occupancy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from perfgate.hardware.parameters import ModelCard

_MANY_ROUNDS = 8
"""Rounds of blocks beyond which a multiprocessor that is done takes the next block, so that nothing is rounded up."""
_KEPT_SHARE = 0.6
"""Of L2, what another kernel wrote just before may take and still be there."""
_FEW_ROWS = 64.0


class Kernel(Protocol):
    """What the model asks of a kernel's machine code; `perfgate.store.compiled.KernelFacts` has it, and says what each is."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def config(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def registers(self) -> int: ...  # noqa: D102
    @property
    def shared_bytes(self) -> int: ...  # noqa: D102
    @property
    def spill_instructions(self) -> int: ...  # noqa: D102
    @property
    def instructions(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def main_loop(self) -> Mapping[str, Any]: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class Product:
    """What a launch computes that multiplies in tiles."""

    m: int
    n: int
    k: int
    """Terms of one sum as the launch adds them: of one part, of three products together."""
    batch: int
    """Matrices, times the parts of their sums."""
    block_m: int
    block_n: int
    block_k: int
    group: int
    """Rows of tiles that are walked together, column by column; 1 is row-major order."""
    operand_bytes: int
    result_bytes: int
    """Of one element."""
    stages: int
    warm: bool = False
    """A launch just before wrote the operands."""
    share: float = 1.0
    """Of the steps along K, those that are done (triangles)."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What a launch moves that reads and writes each thing once."""

    read_bytes: float
    written_bytes: float


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes of a tiled product."""

    l2_read_bytes: float
    dram_read_bytes: float
    result_bytes: float

    @property
    def hit_percent(self) -> float:
        """Of the sectors that L2 is asked for, those that it has; writes are hits."""
        return 100 * (1 - self.dram_read_bytes / (self.l2_read_bytes + self.result_bytes))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One launch's modelled time."""

    time_s: float
    terms_s: tuple[tuple[str, float], ...]
    """Time of each alone, longest first: ``tensor cores``, ``issue``, ``shared memory``, ``L2``, ``latency``, ``DRAM``, ``launch``."""
    dram_bytes: float
    blocks_per_sm: int
    hit_percent: float | None = None

    @property
    def bound(self) -> str:
        """What takes longest."""
        return self.terms_s[0][0]

    @property
    def share(self) -> float:
        """Of its time, what its bound alone would take."""
        return self.terms_s[0][1] / self.time_s


def traffic(work: Product, card: ModelCard, *, at_once: int) -> Traffic:
    """Bytes that a product reads from L2 and DRAM, by tile and order of tiles.

    Args:
        work: The product.
        card: Whose L2.
        at_once: Blocks that run at the same time, which share what they read.
    """
    tiles_m, tiles_n = -(-work.m // work.block_m), -(-work.n // work.block_n)
    group = min(work.group, tiles_m)
    row_bytes = work.k * work.operand_bytes  # and of a column of B
    a_bytes, b_bytes = work.m * row_bytes, work.n * row_bytes
    # B comes again for every group of rows, unless all that a group touches is still there.
    group_rows = group * work.block_m
    swept = group_rows * row_bytes + b_bytes + group_rows * work.n * work.result_bytes
    groups = -(-tiles_m // group)
    b_times = 1.0 if swept < card.l2_bytes else max(1.0, groups / max(1.0, at_once / (group * tiles_n)))
    # The group's rows of A come again for every column of tiles, on the same condition.
    passed = group_rows * row_bytes + work.block_n * (row_bytes + group_rows * work.result_bytes)
    a_times = 1.0 if passed < card.l2_bytes else max(1.0, tiles_n / max(1.0, at_once / group))
    reads = (a_bytes * a_times + b_bytes * b_times) * work.batch
    if work.warm and (a_bytes + b_bytes) * work.batch < _KEPT_SHARE * card.l2_bytes:
        reads -= (a_bytes + b_bytes) * work.batch
    blocks = tiles_m * tiles_n * work.batch
    return Traffic(
        l2_read_bytes=float(blocks * (work.block_m + work.block_n) * row_bytes) * work.share,
        dram_read_bytes=max(reads, 0.0),
        result_bytes=float(work.m * work.n * work.batch * work.result_bytes),
    )


def passed_s(moved_bytes: float, card: ModelCard) -> float:
    """How long memory is busy with a launch that reads and writes each thing once."""
    return moved_bytes / (card.dram_bytes_per_s * card.stream_share)


def predict(facts: Kernel, work: Product | Stream, card: ModelCard) -> Prediction:
    """The time of one launch.

    Args:
        facts: Its machine code. For a product it has a main loop.
        work: What it computes.
        card: Where.

    Raises:
        ValueError: A product without tensor cores in a loop, one that spills, which the formulas were never held to, or a
            kernel that the card cannot hold.
    """
    warps, shared_bytes = facts.config["num_warps"], facts.shared_bytes
    fit = occupancy(card.limits, warps=warps, registers=facts.registers, shared_bytes=shared_bytes)
    if isinstance(work, Stream):
        moved = work.read_bytes + work.written_bytes
        dram_s = passed_s(moved, card)
        return Prediction(
            time_s=dram_s + card.launch_s,
            terms_s=_longest_first({"DRAM": dram_s, "launch": card.launch_s}),
            dram_bytes=moved,
            blocks_per_sm=fit.blocks_per_sm,
        )
    if fit.blocks_per_sm < 1 or facts.spill_instructions or not facts.main_loop.get("tensor_flops"):
        raise ValueError(f"{facts.name} has no tensor cores in a loop, spills, or does not fit the card")
    return _product(facts, work, card, resident=fit.blocks_per_sm)


def _product(facts: Kernel, work: Product, card: ModelCard, *, resident: int) -> Prediction:
    warps, loop = facts.config["num_warps"], facts.main_loop
    blocks = -(-work.m // work.block_m) * -(-work.n // work.block_n) * work.batch
    multiprocessors = card.limits.multiprocessors
    steps = -(-work.k // work.block_k) * work.share
    trips = steps * 2 * work.block_m * work.block_n * work.block_k / (loop["tensor_flops"] * warps)
    moved = traffic(work, card, at_once=multiprocessors * resident)
    result_bytes = work.block_m * work.block_n * work.result_bytes

    # Clocks of one trip of one block on each unit, where all sub-partitions that resident blocks reach share the work.
    quarter = -(-warps * resident // 4) / resident
    tensor = loop["tensor_flops"] / card.tensor_flops_per_clock[loop["tensor_unit"]]
    outside = sum(facts.instructions.values()) - loop["total"]
    per_trip = {
        "tensor cores": tensor * quarter,
        "issue": loop["total"] * quarter,
        "shared memory": loop["shared_bytes"] * warps / card.shared_bytes_per_clock,
        "L2": moved.l2_read_bytes / blocks / trips / card.l2_bytes_per_clock,
    }
    ends = card.store_factor * (outside * quarter + result_bytes / card.l2_bytes_per_clock)
    work_clocks = trips * _together(per_trip.values(), card.overlap) + ends

    # Clocks that a block takes alone.
    accumulators = work.block_m * work.block_n / (warps * 16 * 8)
    chain = loop["tensor_flops"] / (2 * 16 * 8 * (256 / _operand_bits(loop["tensor_unit"]))) / accumulators
    is_own = loop["tensor_unit"].startswith("mma")  # a warp group's instructions follow each other without waiting
    products = max(tensor * -(-warps // 4), chain * card.mma_clocks if is_own else 0.0)
    waiting = card.trip_clocks + card.trip_clocks_per_warp * warps + products
    # A buffer is filled, then waits its turn, then is used: in a trip's time all of them move on by one.
    buffers = facts.shared_bytes // ((work.block_m + work.block_n) * work.block_k * work.operand_bytes)
    buffers = max(1, min(work.stages, buffers))
    waiting = max(waiting, (card.load_clocks + waiting) / buffers)
    alone_clocks = trips * waiting + card.block_clocks

    share = blocks / multiprocessors
    rounds = -(-math.ceil(share) // resident)
    most = math.ceil(share) if rounds <= _MANY_ROUNDS else share
    latency_s = (rounds if rounds <= _MANY_ROUNDS else share / resident) * alone_clocks / card.clock_hz
    work_s = most * work_clocks / card.clock_hz
    rows = max(_FEW_ROWS, float(min(work.group * work.block_m, work.m)))
    lost = card.row_penalty * math.log2(rows / _FEW_ROWS)
    dram_bytes = moved.dram_read_bytes + moved.result_bytes
    dram_s = dram_bytes / (card.dram_bytes_per_s * card.dram_share * (1 - lost))
    multiprocessor_s = _together((work_s, latency_s), card.overlap_whole)
    time_s = _together((multiprocessor_s, dram_s), card.overlap_whole) + card.launch_s
    terms = {unit: most * trips * clocks / card.clock_hz for unit, clocks in per_trip.items()}
    terms |= {"latency": latency_s, "DRAM": dram_s, "launch": card.launch_s}
    return Prediction(
        time_s=time_s,
        terms_s=_longest_first(terms),
        dram_bytes=dram_bytes,
        blocks_per_sm=resident,
        hit_percent=moved.hit_percent,
    )


def total(predictions: Sequence[Prediction]) -> Prediction:
    """A call that launches one kernel after the other; its bound is that of the longest."""
    longest = max(predictions, key=lambda one: one.time_s)
    return replace(
        longest,
        time_s=sum(one.time_s for one in predictions),
        dram_bytes=sum(one.dram_bytes for one in predictions),
    )


def _longest_first(terms: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(terms.items(), key=lambda term: -term[1]))


def _operand_bits(unit: str) -> int:
    return int(unit.removeprefix("wgmma").removeprefix("mma"))


def _together(clocks: Iterable[float], exponent: float) -> float:
    """The p-norm: between the longest of them and their sum."""
    values = list(clocks)
    longest = max(values)
    total: float = sum((value / longest) ** exponent for value in values)
    return longest * float(total ** (1 / exponent))
