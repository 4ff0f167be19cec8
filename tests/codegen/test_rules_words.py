"""What the sentences for compiled code say of a change: what is the same, what moved, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perfgate.records import KernelFacts, MainLoop, Status
from tests.codegen.test_rules import FACTS, OTHER, baseline, case, changed, judge


def test_code_that_differs_in_the_names_of_registers_alone_is_the_same_and_says_so() -> None:
    verdict = judge(case(replace(FACTS, code_hash=OTHER)), baseline())

    assert (verdict.status, verdict.reason) == (Status.SAME, "same-code")
    assert "the same machine code, but for the names of registers, 118 registers" in verdict.text
    assert "names of registers" not in judge(case(FACTS), baseline()).text


@pytest.mark.parametrize(
    ("now", "says"),
    [
        (replace(FACTS, grid=512), "k1: same code; programs 1024 → 512; 118 registers"),
        (replace(FACTS, arguments={"M": 4096, "SPLITS": 4}), "k1: same code; SPLITS 1 → 4; 118 registers"),
        (
            replace(FACTS, code_hash=OTHER, registers=120),
            "k1: same but for the names of registers; registers 118 → 120;",
        ),
    ],
)
def test_the_same_code_launched_otherwise_is_told(now: KernelFacts, says: str) -> None:
    verdict = judge(case(now), baseline())

    assert (verdict.status, verdict.reason) == (Status.SAME, "same-resources")
    assert verdict.text.startswith(says)


def test_a_loss_tells_what_the_main_loop_does_now_and_nothing_twice() -> None:
    loop: MainLoop = {
        "instructions": {"integer": 64, "tensor_core": 64, "conversion": 8},
        "total": 136,
        "tensor_flops": 262144,
        "tensor_unit": "mma16",
        "shared_bytes": 8192,
    }
    every = {"integer": 424, "tensor_core": 128, "global_store_128": 16, "conversion": 8}
    now = changed(
        registers=132,
        blocks_per_sm=1,
        limited_by="registers",
        occupancy_percent=8.33,
        instructions=every,
        main_loop=loop,
    )
    text = judge(case(now), baseline()).text

    assert text.startswith(
        "k1: 2 → 1 blocks an SM: registers 118 → 132 (16.7 → 8.3 % of the warps)"
        " (also main loop: 24 more integer, 8 more conversions); if it is meant"
    )
