"""What the model of a kernel's time knows of a card: numbers, each with where it is from. Pure data.

Published limits are the cards' own (``perfgate.hardware.gpus``, ``perfgate.hardware.occupancy``). What no data sheet says, such as how long a
step of the pipeline takes that nothing hides, was fitted once to times of this kernel's tiles on an H100
(`studies/cost_model` says on which, and holds the model to others). Nothing here was measured on a 4090.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.hardware.gpus import CARDS
from perfgate.hardware.occupancy import Architecture, architecture

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One card as it runs one code path."""

    title: str
    limits: Architecture
    """Of the card itself, whatever architecture the code was lowered for: it decides how many blocks are resident."""
    clock_hz: float
    l2_bytes: float
    dram_bytes_per_s: float
    """Published peak."""
    dram_share: float
    """Of the peak, what a kernel reaches that does nothing else."""
    row_penalty: float
    """Share of the bandwidth lost with every doubling of the rows of the result that are written at the same time, beyond
    64: each row lies in another page of DRAM, and a channel keeps few pages open."""
    stream_share: float
    """Of the peak, what a kernel reaches that reads one thing and writes another."""
    tensor_flops_per_clock: Mapping[str, float]
    """FLOP a clock of one sub-partition (a fourth of a multiprocessor): ``mma16`` and ``mma32`` by bits of the operands of
    a warp's own instruction, ``wgmma16`` and ``wgmma32`` of a warp group's."""
    shared_bytes_per_clock: float
    """Of one multiprocessor's shared memory."""
    l2_bytes_per_clock: float
    """Of one multiprocessor from and to L2."""
    trip_clocks: float
    """Of a trip of the main loop, what waits for barriers and for operands to come from shared memory."""
    trip_clocks_per_warp: float
    """How much longer that is for every warp that has to come to the barrier."""
    mma_clocks: float
    """From one tensor-core instruction to the next that adds to the same accumulator."""
    load_clocks: float
    """From an asynchronous copy's beginning until its data may be read, in a card that is busy."""
    block_clocks: float
    """From a block's beginning until its first trip, and from its last trip to its end, where nothing hides them."""
    store_factor: float
    """Instructions and bytes outside the main loop count this much."""
    launch_s: float
    """Of every launch, what is not its kernel's work."""
    overlap: float
    """Exponent with which the units of a multiprocessor overlap: 1 adds their times, infinity takes the longest."""
    overlap_whole: float
    """The same of work against latency, and of multiprocessors against DRAM."""


_FITTED = {
    "trip_clocks": 96.5,
    "trip_clocks_per_warp": 16.2,
    "mma_clocks": 33.0,
    "load_clocks": 928.0,
    "block_clocks": 2920.0,
    "store_factor": 0.66,
    "launch_s": 3.1e-6,
    "overlap": 8.3,
    "overlap_whole": 3.0,
}
"""Of the 4090's code path on an H100, 132 pairs measured on 2026-11-24 (`baselines/nvidia-h100-80gb-hbm3/model-fitted-sm89.json`)."""
_H100 = CARDS["nvidia-h100-80gb-hbm3"]
_RTX_4090 = CARDS["nvidia-geforce-rtx-4090"]

MODEL_CARDS: Mapping[str, ModelCard] = {
    "rtx-4090": ModelCard(
        title="NVIDIA GeForce RTX 4090 (nothing of this was measured on one here)",
        limits=architecture("sm_89"),
        clock_hz=2.52e9,  # boost
        l2_bytes=72e6,
        dram_bytes_per_s=_RTX_4090.dram_bytes_per_s,
        dram_share=0.98,  # with the two below, fitted to the DRAM shares of five published profiles of #7 and #9: 87.4 to 95.8 %
        row_penalty=0.0095,  # from the same
        stream_share=0.92,
        tensor_flops_per_clock={
            "mma16": 128.0,
            "mma32": 64.0,
        },  # dense, FP32 accumulate: 165.2 and 82.6 TFLOPS at boost
        shared_bytes_per_clock=128.0,  # CUDA C++ Programming Guide: 32 banks of 4 bytes
        l2_bytes_per_clock=16.0,  # assumed; of #7 in 64x64 tiles 95.8 % of DRAM's peak are published, 12 would leave 93 %
        # With 3, row-major #7 would have to read and write 3 % more than DRAM's peak. 4.5 is what an H100 has on its own path.
        **_FITTED | {"overlap_whole": 4.5},
    ),
    "sm89": ModelCard(
        title="NVIDIA H100 80GB HBM3 on the 4090's code path",
        limits=architecture("sm_90"),
        clock_hz=1.755e9,
        l2_bytes=50e6,
        dram_bytes_per_s=_H100.dram_bytes_per_s,
        dram_share=0.837,
        row_penalty=0.0166,
        stream_share=0.868,
        tensor_flops_per_clock={"mma16": 546.0, "mma32": 220.0},  # of the 1024 and 512 of its own path
        shared_bytes_per_clock=128.0,
        l2_bytes_per_clock=41.7,
        **_FITTED,
    ),
    "native": ModelCard(
        title="NVIDIA H100 80GB HBM3, its own code path",
        limits=architecture("sm_90"),
        clock_hz=1.755e9,
        l2_bytes=50e6,
        dram_bytes_per_s=_H100.dram_bytes_per_s,
        dram_share=0.772,
        row_penalty=0.0272,
        stream_share=0.785,
        tensor_flops_per_clock={"mma16": 648.0, "mma32": 209.0, "wgmma16": 1113.0, "wgmma32": 556.0},
        shared_bytes_per_clock=128.0,
        l2_bytes_per_clock=46.8,
        trip_clocks=90.8,
        trip_clocks_per_warp=16.8,
        mma_clocks=33.0,
        load_clocks=1539.0,
        block_clocks=2257.0,
        store_factor=0.65,
        launch_s=3.1e-6,
        overlap=12.3,
        overlap_whole=4.5,
    ),
}
"""By code path. Where it says no source: fitted to pairs measured on an H100 on 2026-11-24 (`model-fitted-*.json`)."""

CARD_OF_TARGET: Mapping[str, str] = {"sm_89": "rtx-4090", "sm_90": "native"}
"""The card that code compiled for a target is modelled on."""
