"""Compiling for a card that is not there: what is seen is what a user's launch would run, and nothing is left behind.

Triton runs in processes of its own, without TRITON_INTERPRET, which this one may have set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from compiled_scenarios import run_scenarios
from perfgate.hardware.occupancy import architecture, occupancy

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return run_scenarios(tmp_path_factory.mktemp("scenarios"))


def test_a_launch_on_meta_tensors_gives_the_facts_of_its_machine_code(found: dict[str, Any]) -> None:
    (facts,) = found["plain"]
    assert facts["name"] == "matmul"
    assert 32 <= facts["registers"] <= 255
    assert (facts["blocks_per_sm"], facts["limited_by"], facts["occupancy_percent"]) == (3, "shared memory", 25.0)
    assert facts["instructions"]["tensor_core"] > 0
    assert (facts["spill_instructions"], facts["stack_bytes"]) == (0, 0)
    assert facts["grid"] == 1
    assert facts["arguments"] == {"M": 512, "N": 512, "K": 512, "am": 512, "ak": 1, "bk": 512, "cm": 512}
    (misaligned,) = found["misaligned"]
    assert misaligned["config"] == facts["config"]
    assert misaligned["instructions"].get("async_copy_128", 0) < facts["instructions"]["async_copy_128"]


@pytest.mark.parametrize(
    ("name", "tile", "warps", "stages"),
    [("plain", (64, 64), 4, 3), ("tile", (128, 64), 4, 3), ("stages", (64, 64), 4, 2), ("spilled", (128, 128), 2, 3)],
)
def test_the_config_recorded_is_the_one_that_was_compiled_and_the_main_loop_does_its_tiles_work(
    found: dict[str, Any], name: str, tile: tuple[int, int], warps: int, stages: int
) -> None:
    (facts,), (m, n) = found[name], tile
    blocks = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": 32}
    assert facts["config"] == {**blocks, "num_warps": warps, "num_stages": stages}
    # Triton keeps one buffer fewer than stages, each one K block of both operands.
    assert facts["shared_bytes"] == (stages - 1) * (m * 32 + 32 * n) * 4
    loop = facts["main_loop"]
    assert loop["tensor_flops"] * warps == 2 * m * n * 32
    assert loop["total"] == sum(loop["instructions"].values()) < sum(facts["instructions"].values())


def test_every_kernel_of_a_wrapper_is_seen_in_launch_order_and_one_that_does_not_compile_hides_none(
    found: dict[str, Any],
) -> None:
    assert [facts["name"] for facts in found["two"]] == ["matmul", "copy"]
    assert found["two"][1]["main_loop"] == {}
    assert found["none"] == []
    error, *rest = found["partly"]
    assert "no_such_thing" in error
    assert rest == [["matmul"], {"a": 1}]


def test_what_does_not_fit_is_seen_though_triton_compiles_it(found: dict[str, Any]) -> None:
    (spilled,), (facts,), (hopper,) = found["spilled"], found["too much shared"], found["hopper"]
    assert spilled["registers"] == 255
    assert spilled["stack_bytes"] > 0
    spills = spilled["instructions"]["local_load"] + spilled["instructions"]["local_store"]
    assert spilled["spill_instructions"] == spills > 100
    assert facts["shared_bytes"] == 2 * (128 * 64 + 64 * 128) * 4 > 101_376
    assert (facts["blocks_per_sm"], facts["limited_by"]) == (0, "shared memory")
    assert hopper["blocks_per_sm"] == 1
    assert hopper["code_hash"] != facts["code_hash"]


def test_code_lowered_for_another_architecture_is_its_code_in_the_targets_limits(found: dict[str, Any]) -> None:
    (lowered,), (native,), (ada,) = found["lowered"], found["not lowered"], found["ada"]
    assert [one["main_loop"]["tensor_unit"] for one in (lowered, native, ada)] == ["mma16", "wgmma16", "mma16"]
    assert lowered["code_hash"] != ada["code_hash"]  # assembled for the card that is there
    for name, one in (("sm_90", lowered), ("sm_89", ada)):
        fit = occupancy(architecture(name), warps=4, registers=one["registers"], shared_bytes=one["shared_bytes"])
        assert (one["limited_by"], one["blocks_per_sm"]) == (fit.limited_by, fit.blocks_per_sm)


def test_what_torch_moves_beside_the_kernels_is_a_fact_of_the_case(found: dict[str, Any]) -> None:
    size = 4 * 512 * 512
    assert found["operations"] == [{"name": "clone", "moved_bytes": 2 * size}, {"name": "zero_", "moved_bytes": size}]
    assert found["no operations"] == []


def test_autotuning_pruned_to_one_config_and_heuristics_are_followed_and_leave_no_timing(found: dict[str, Any]) -> None:
    small = {"BLOCK": 256, "EVEN": True, "num_warps": 2, "num_stages": 2}
    large = {"BLOCK": 1024, "EVEN": True, "num_warps": 8, "num_stages": 1}
    assert [(facts["config"], facts["grid"], facts["arguments"]["n"]) for (facts,) in found["tuned"]] == [
        (small, 4096 // 256, 4096),
        (large, 8192 // 1024, 8192),
        ({**small, "EVEN": False}, 16, 4000),
    ]
    entries, best = found["remembered"]
    assert entries == 0
    assert "BLOCK: 256" in best


def test_a_launch_has_its_programs_and_its_integer_arguments(found: dict[str, Any]) -> None:
    sizes = {"count": 64, "stride": 1}  # no tensor, float, truth value or constexpr
    assert [(facts["grid"], facts["arguments"]) for facts in found["launched"]] == [
        (24, {**sizes, "offset": 7}),
        (5, {**sizes, "offset": -1}),
        (6, {**sizes, "offset": 7}),
    ]
    assert found["not launched"][0]["grid"] == 0


@pytest.mark.parametrize(
    ("name", "reason", "begins", "says"),
    [
        ("not pruned", "not-pruned", "Autotuning of copy leaves 2 configs", ""),
        ("undefined", "does-not-compile", "undefined_name: ", "no_such_thing"),
        ("assembler", "does-not-compile", "bad_assembly: ", "frobnicate"),
        ("unknown target", "unknown-target", "", "sm_42"),
        ("PTXAS_OPTIONS", "compiler-options", "PTXAS_OPTIONS", ""),
        ("TRITON_INTERPRET", "interpreter", "", "TRITON_INTERPRET"),
        ("imported interpreted", "interpreter", "copy was imported under TRITON_INTERPRET=1", ""),
        ("no tool", "no-tool", "", "TRITON_CUOBJDUMP_PATH"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_the_line_that_says_why(
    found: dict[str, Any], name: str, reason: str, begins: str, says: str
) -> None:
    found_reason, text = found[name]
    assert found_reason == reason
    assert text.startswith(begins)
    assert says in text
    assert "\n" not in text
    assert "/tmp" not in text  # noqa: S108 - no file


def test_errors_of_the_wrapper_and_of_a_grid_pass_and_all_is_as_it_was(found: dict[str, Any]) -> None:
    assert (found["own error"], found["grid error"]) == ("the wrapper's own", "the grid's own")
    assert found["restored"]
    assert not found["driver started"]
    # An architecture that the environment overrides changes nothing, and is put back.
    assert found["override"] == found["no override"]
    assert found["override restored"]
    assert found["tool runs when all is known"] == 0


def test_the_hash_is_the_same_from_another_directory_and_another_cache(found: dict[str, Any], tmp_path: Path) -> None:
    there = run_scenarios(tmp_path / "there_with_a_longer_name", "--only-plain")
    assert there["plain"] == found["plain"]
    assert there["cubin"] != found["cubin"]  # the files do name the directory, so the hash had something to ignore
