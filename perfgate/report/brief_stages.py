"""What each stage of optimisation is about, which counters speak of it, and what is known so far. Data; pure.

Each piece of advice says where it is from: *given* with the project, *published* (by whom), *ran* (compiled or measured for
this project; nothing was measured on a 4090), *inferred*, or *to be tried*.
"""

from __future__ import annotations

from dataclasses import dataclass

from perfgate.report.brief_work import Situation

SM_THROUGHPUT = "sm__throughput.avg.pct_of_peak_sustained_elapsed"
GRID_SIZE = "launch__grid_size"
WARPS_ACTIVE = "sm__warps_active.avg.pct_of_peak_sustained_active"
DRAM_THROUGHPUT = "dram__throughput.avg.pct_of_peak_sustained_elapsed"
L2_HIT_RATE = "lts__t_sector_hit_rate.pct"
WARPS_GUIDELINE_PERCENT = 50
"""Of warps that should be active, as a rule of thumb (given)."""

_EVERYWHERE = frozenset(Situation)
_STORES, _READS, _ARITHMETIC = (frozenset({one}) for one in Situation)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One thing worth knowing."""

    text: str
    source: str
    where: frozenset[Situation] = _EVERYWHERE
    """What has to hold the case back for it to matter."""


@dataclass(frozen=True, kw_only=True)
class Guideline:
    """One stage."""

    title: str
    focus: str
    change: str
    """What may change at this stage, for the task."""
    counters: tuple[str, ...]
    """Those that speak of it, the most telling first."""
    advice: tuple[Advice, ...]

    def advice_for(self, situation: Situation) -> tuple[Advice, ...]:
        """What matters where that is the limit."""
        return tuple(one for one in self.advice if situation in one.where)


STAGES = {
    "block-sizes": Guideline(
        title="Block sizes",
        focus="The tile of one block: how often what it loads is used again, against the registers and the shared memory that "
        "it takes from other blocks.",
        change="the tile (BLOCK_M, BLOCK_N, BLOCK_K) and the warps that share it",
        counters=(WARPS_ACTIVE, GRID_SIZE, SM_THROUGHPUT),
        advice=(
            Advice(
                text=f"Over {WARPS_GUIDELINE_PERCENT} % of the warps active is the rule of thumb. It is a means: more resident "
                "warps hide more waiting, and are worth nothing where nobody waits for a warp.",
                source="given; the rest inferred",
            ),
            Advice(
                text="Where storing the result is the limit, more warps have not been what helped. Four profiles of case 7 on a "
                "4090: 8.31 % of the warps active with the memory 92.11 % busy (the starting kernel), 16.54 % with 87.43 %, "
                "16.35 % with 95.77 %, 24.35 % with 95.83 %. The two best walk the result row by row, the other two do "
                "not: the order of the tiles looks like the lever, and occupancy does not. It is no controlled comparison; settle it.",
                source="published: Alisehen/LLMKernel; inferred",
                where=_STORES,
            ),
            Advice(
                text="An accumulator takes BLOCK_M × BLOCK_N / (32 × warps) registers of each thread, of 255, before any operand: "
                "128×256 at 4 warps would be 256, and spills 11 KB a thread.",
                source="ran, one step of K = 64",
            ),
            Advice(
                text="With all of K = 64 in one step: 64×64 at 8 warps takes 48 registers and leaves 3 blocks an SM (50 % of the "
                "warps); 64×128 at 8 warps 64 registers, 2 blocks; 128×64 at 8 warps 70 registers, 2 blocks. 16×512 needs 132 KB "
                "of shared memory and cannot be launched.",
                source="ran, compiled for sm_89",
                where=_STORES,
            ),
            Advice(
                text="Large tiles for reuse: 128×128×32 or 128×256×32 at 8 warps.",
                source="to be tried",
                where=_ARITHMETIC,
            ),
            Advice(
                text="A small result with a long K fills few SMs however its tiles are cut; that is a matter of the stage "
                "scheduling (K in parts), so look at the grid size first.",
                source="inferred",
                where=_READS,
            ),
            Advice(
                text="Change a tile because a counter says that occupancy or reuse is what is missing; a tile that reaches far "
                "beyond the sizes computes what its masks throw away. The tile that the kernel has stays a candidate.",
                source="given",
            ),
        ),
    ),
    "memory-access": Guideline(
        title="Memory access",
        focus="Which bytes cross the memory bus, in which order, how wide each access is, and how often the same ones come again.",
        change="the order, the width and the masks of loads and stores, and which tile a block takes",
        counters=(DRAM_THROUGHPUT, L2_HIT_RATE),
        advice=(
            Advice(
                text="The L2 hit rate counts the stores as well: it follows from 1 − DRAM bytes read / (L2 bytes read + bytes of "
                "the result). With a large result it is high whatever the reads do: on case 7, 99.22 % goes with 75.5 MB "
                "read where 16.8 MB would do, because B comes again for each group of 64 row tiles.",
                source="inferred, to the second decimal of the published profile",
                where=_STORES,
            ),
            Advice(
                text="Row-major order of tiles (N fastest) was faster than groups of rows on case 7 in 7 of 7 tiles, by up to 22 %, "
                "on the 4090's code path.",
                source="ran on an H100",
                where=_STORES,
            ),
            Advice(
                text="Stores of 16 bytes come out of Triton by themselves there. The cache modifiers .cs, .cg and .wt and the policy "
                "evict_first compile to the stores that they name; what they gain on a 4090, nobody has published.",
                source="ran, compiled for sm_89; the gain is to be tried",
                where=_STORES,
            ),
            Advice(
                text="A mask along a dimension that the tile divides costs instructions for nothing; with all of K in one step no "
                "mask along K is needed.",
                source="inferred",
            ),
            Advice(
                text="Strides are arguments: a copy that makes a transposed operand contiguous is traffic beyond the least.",
                source="inferred",
            ),
            Advice(
                text="Alignment is a cliff: bf16 with N = 2040 was seen at 156 TFLOPS on a 4090 and with N = 2056 at 90.",
                source="published: pytorch/pytorch#181718",
                where=_ARITHMETIC,
            ),
            Advice(
                text="Offsets of 32 bits are wrong beyond 2³¹ elements; 64-bit ones cost 6 registers and no block.",
                source="ran, compiled for sm_89",
            ),
        ),
    ),
    "pipelining": Guideline(
        title="Pipelining",
        focus="Loads of later steps of K under way while this one is computed: how many stages, and what their buffers take.",
        change="num_stages, the depth BLOCK_K of a step, and what the loop over K does in which order",
        counters=(SM_THROUGHPUT, WARPS_ACTIVE, DRAM_THROUGHPUT),
        advice=(
            Advice(
                text="A stage takes (BLOCK_M + BLOCK_N) × BLOCK_K elements of shared memory. Where that costs a resident "
                "block, the stage has to win back more than the block did.",
                source="inferred",
            ),
            Advice(
                text="There is nothing to pipeline where K is one step or two: what overlaps then is blocks, so two or three of "
                "them an SM do what stages would.",
                source="inferred; blocks to be tried",
                where=_STORES,
            ),
            Advice(
                text="On the 4090's code path, the best of those tried: case 1 with 128×128×32, 4 warps, 4 stages; case 7 with "
                "128×64×32, 4 warps, 2 stages, row by row; case 9 with 64×256×32, 4 warps, 3 stages.",
                source="ran on an H100",
            ),
            Advice(
                text="3 or 4 stages with tiles of 128×128×32 and 128×256×32 at 8 warps.",
                source="to be tried",
                where=_ARITHMETIC,
            ),
            Advice(
                text="State num_stages and num_warps as arguments of the Config. Inside its dict num_warps is ignored without a word "
                "(8.31 % of active warps is 4 of 48 where 8 were meant), and Triton's default for num_stages has changed "
                "between versions.",
                source="ran, Triton 3.0 to 3.8; published: Alisehen/LLMKernel",
            ),
            Advice(
                text="sm__throughput reads about half of what the tensor cores really do on GeForce cards; compare it with itself "
                "only.",
                source="published: triton-lang/triton#10851",
            ),
        ),
    ),
    "scheduling": Guideline(
        title="Scheduling",
        focus="Which block does what and when: the order of tiles, how many waves of blocks, and sums that are split.",
        change="the grid, the order in which blocks take tiles, and how many blocks share a sum",
        counters=(GRID_SIZE, L2_HIT_RATE, SM_THROUGHPUT),
        advice=(
            Advice(
                text="The last wave of blocks is rarely full; with few waves that is a large part of the time, with hundreds it is "
                "none.",
                source="inferred",
            ),
            Advice(
                text="Row by row (N fastest) writes the result in the order of its addresses; on case 7 that beat groups of rows in "
                "7 of 7 tiles on the 4090's code path.",
                source="ran on an H100",
                where=_STORES,
            ),
            Advice(
                text="A group of rows of tiles shares what it reads through L2: groups of 8. A group as high as BLOCK_M, 64 "
                "tiles, has case 7 read 75.5 MB where 16.8 MB would do.",
                source="to be tried; inferred",
                where=_ARITHMETIC | _STORES,
            ),
            Advice(
                text="A sum over a long K with a small result needs more blocks than the result has tiles: split K (SMs / grid "
                "parts, at least 4 steps each) or deal out steps. Add the parts in a second pass in fixed order: with atomics "
                "the bits differ from run to run, and the gate calls that wrong.",
                source="published: triton_kernels; to be tried",
                where=_READS,
            ),
            Advice(
                text="Tiles of a triangular operand that hold only zeros can be left out.",
                source="inferred",
                where=_ARITHMETIC,
            ),
            Advice(
                text="What runs is chosen by a rule over shape, dtype and card. A timing chooses now one, now another: in one "
                "report 13 of 22 entries differed between ranks.",
                source="seen in a public report",
            ),
        ),
    ),
}
"""By the name on the command line, in the order in which they pay."""
