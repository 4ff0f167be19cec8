"""What compiled facts rule out: what cannot run, what spills, what is the same, and what another beats."""

from __future__ import annotations

from typing import Any

from perfgate.tuning import pruning as rules
from perfgate.tuning.pruning import prune


def compiled(*, warps: int = 4, stages: int = 3, m: int = 64, error: str = "", **facts: Any) -> dict[str, Any]:
    """A candidate as it comes from the compiler; equal code only where a test says so."""
    config = {"BLOCK_M": m, "num_warps": warps, "num_stages": stages}
    usual = {"registers": 100, "stack_bytes": 0, "spill_instructions": 0, "shared_bytes": 4096, "blocks_per_sm": 2}
    more = {"code_hash": repr((config, facts)), "instructions": {"other": 800}}
    return {
        "config": config,
        "error": error,
        "kernels": [] if error else [{"config": config, **usual, **more, **facts}],
    }


def test_what_cannot_run_is_out_even_where_it_is_kept() -> None:
    found = prune(
        {"x": compiled(error="PassManager failed"), "y": compiled(blocks_per_sm=0), "z": compiled()}, ("x", "y")
    )
    assert found == {"x": rules.DOES_NOT_COMPILE, "y": rules.DOES_NOT_FIT}


def test_a_candidate_that_spills_is_out_unless_it_is_kept() -> None:
    spilling = {"x": compiled(spill_instructions=3), "y": compiled(stack_bytes=8, m=32), "z": compiled(m=128)}
    assert prune(spilling, ()) == {"x": rules.SPILLS, "y": rules.SPILLS}
    assert prune(spilling, ("x", "y")) == {}


def test_a_spill_in_any_kernel_of_the_call_counts() -> None:
    two = compiled()
    two["kernels"].append({**two["kernels"][0], "spill_instructions": 1})
    assert prune({"x": two}, ()) == {"x": rules.SPILLS}


def test_of_equal_machine_code_in_equal_launches_one_is_left_and_the_kept_one_goes_first() -> None:
    equal = {"s4": compiled(stages=4, code_hash="same"), "s5": compiled(stages=5, code_hash="same")}
    assert prune(equal, ()) == {"s5": rules.SAME_CODE}
    assert prune(equal, ("s5",)) == {"s4": rules.SAME_CODE}
    assert prune(equal, ("s4", "s5")) == {}
    other_launch = {"x": compiled(m=64, code_hash="same"), "y": compiled(m=32, code_hash="same")}
    assert prune(other_launch, ()) == {}


def test_a_tile_is_out_where_another_number_of_warps_has_more_of_them_resident_and_less_to_do() -> None:
    four = compiled(warps=4, blocks_per_sm=2, instructions={"other": 900})
    eight = compiled(warps=8, blocks_per_sm=2, instructions={"other": 400})
    assert prune({"4": four, "8": eight}, ()) == {"4": rules.BEATEN}
    assert prune({"4": four, "8": eight}, ("4",)) == {}
    for more_to_do in (
        compiled(warps=8, instructions={"other": 450}),
        compiled(warps=8, blocks_per_sm=1, instructions={"other": 400}),
    ):
        assert prune({"4": four, "8": more_to_do}, ()) == {}


def test_a_deeper_pipeline_is_not_held_to_resident_warps() -> None:
    shallow = compiled(stages=2, blocks_per_sm=3, instructions={"other": 700})
    deep = compiled(stages=4, blocks_per_sm=1, instructions={"other": 800})
    assert prune({"s2": shallow, "s4": deep}, ()) == {}


def test_one_that_is_out_itself_beats_nobody() -> None:
    four = compiled(warps=4, blocks_per_sm=2, instructions={"other": 900})
    eight = compiled(warps=8, blocks_per_sm=2, instructions={"other": 400}, spill_instructions=1)
    assert prune({"4": four, "8": eight}, ()) == {"8": rules.SPILLS}
