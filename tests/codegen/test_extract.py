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
    assert facts["shared_bytes"] == 2 * (64 * 32 + 32 * 64) * 4
    assert 32 <= facts["registers"] <= 255
    assert facts["blocks_per_sm"] == 3
    assert facts["limited_by"] == "shared memory"
    assert facts["occupancy_percent"] == 25.0
    assert facts["instructions"]["tensor_core"] > 0
    assert facts["instructions"]["async_copy_128"] > 0
    assert (facts["spill_instructions"], facts["stack_bytes"]) == (0, 0)


def test_the_config_recorded_is_the_one_that_was_compiled(found: dict[str, Any]) -> None:
    for name, m, stages in (("plain", 64, 3), ("tile", 128, 3), ("stages", 64, 2)):
        (facts,) = found[name]
        assert facts["config"] == {
            "BLOCK_M": m,
            "BLOCK_N": 64,
            "BLOCK_K": 32,
            "num_warps": 4,
            "num_stages": stages,
        }
        # Triton keeps one buffer fewer than stages, each one K block of both operands.
        assert facts["shared_bytes"] == (stages - 1) * (m * 32 + 32 * 64) * 4


def test_every_kernel_of_a_wrapper_is_seen_in_launch_order(found: dict[str, Any]) -> None:
    assert [facts["name"] for facts in found["two"]] == ["matmul", "copy"]


def test_a_wrapper_that_launches_nothing_gives_no_facts(found: dict[str, Any]) -> None:
    assert found["none"] == []


def test_registers_that_spill_are_seen(found: dict[str, Any]) -> None:
    (facts,) = found["spilled"]

    assert facts["registers"] == 255
    assert facts["stack_bytes"] > 0
    spills = facts["instructions"]["local_load"] + facts["instructions"]["local_store"]
    assert facts["spill_instructions"] == spills > 100


def test_shared_memory_past_the_limit_of_a_block_is_seen_though_triton_compiles_it(found: dict[str, Any]) -> None:
    (facts,) = found["too much shared"]

    assert facts["shared_bytes"] == 2 * (128 * 64 + 64 * 128) * 4
    assert facts["shared_bytes"] > 101_376
    assert (facts["blocks_per_sm"], facts["limited_by"]) == (0, "shared memory")


def test_the_same_tile_fits_the_larger_architecture(found: dict[str, Any]) -> None:
    (facts,) = found["hopper"]

    assert facts["blocks_per_sm"] == 1
    assert facts["code_hash"] != found["too much shared"][0]["code_hash"]


def test_code_lowered_for_another_architecture_is_its_code_in_the_targets_limits(found: dict[str, Any]) -> None:
    (lowered,), (native,), (ada,) = found["lowered"], found["not lowered"], found["ada"]

    assert [one["main_loop"]["tensor_unit"] for one in (lowered, native, ada)] == ["mma16", "wgmma16", "mma16"]
    assert lowered["code_hash"] != ada["code_hash"]  # assembled for the card that is there
    fit = [
        occupancy(architecture(name), warps=4, registers=one["registers"], shared_bytes=one["shared_bytes"])
        for name, one in (("sm_90", lowered), ("sm_89", ada))
    ]
    assert [lowered["limited_by"], ada["limited_by"]] == [one.limited_by for one in fit]
    assert [lowered["blocks_per_sm"], ada["blocks_per_sm"]] == [one.blocks_per_sm for one in fit]


def test_what_torch_moves_beside_the_kernels_is_a_fact_of_the_case(found: dict[str, Any]) -> None:
    size = 4 * 512 * 512
    assert found["operations"] == [
        {"name": "clone", "moved_bytes": 2 * size},
        {"name": "zero_", "moved_bytes": size},
    ]
    assert found["no operations"] == []


def test_a_misaligned_view_is_specialised_as_its_user_launch_would_be(found: dict[str, Any]) -> None:
    (facts,), (aligned,) = found["misaligned"], found["plain"]

    assert facts["config"] == aligned["config"]
    assert facts["instructions"].get("async_copy_128", 0) < aligned["instructions"]["async_copy_128"]


def test_autotuning_pruned_to_one_config_and_heuristics_are_followed(found: dict[str, Any]) -> None:
    small, large, odd = (facts["config"] for (facts,) in found["tuned"])

    assert small == {"BLOCK": 256, "EVEN": True, "num_warps": 2, "num_stages": 2}
    assert large == {"BLOCK": 1024, "EVEN": True, "num_warps": 8, "num_stages": 1}
    assert odd == {**small, "EVEN": False}


def test_a_launch_has_its_programs_and_its_integer_arguments(found: dict[str, Any]) -> None:
    (plain,) = found["plain"]
    assert plain["grid"] == 1
    assert plain["arguments"] == {"M": 512, "N": 512, "K": 512, "am": 512, "ak": 1, "bk": 512, "cm": 512}

    sizes = {"count": 64, "stride": 1}  # no tensor, float, truth value or constexpr
    assert [(facts["grid"], facts["arguments"]) for facts in found["launched"]] == [
        (24, {**sizes, "offset": 7}),
        (5, {**sizes, "offset": -1}),
        (6, {**sizes, "offset": 7}),
    ]
    assert found["not launched"][0]["grid"] == 0


def test_the_grid_is_that_of_the_config_that_autotuning_chose(found: dict[str, Any]) -> None:
    assert [(facts["grid"], facts["arguments"]) for (facts,) in found["tuned"]] == [
        (4096 // 256, {"n": 4096}),
        (8192 // 1024, {"n": 8192}),
        (16, {"n": 4000}),
    ]


def test_an_error_of_the_grid_passes_as_from_a_launch(found: dict[str, Any]) -> None:
    assert found["grid error"] == "the grid's own"


def test_the_main_loop_does_the_tiles_work(found: dict[str, Any]) -> None:
    for name, m, n, warps in (
        ("plain", 64, 64, 4),
        ("tile", 128, 64, 4),
        ("stages", 64, 64, 4),
        ("spilled", 128, 128, 2),
    ):
        (facts,) = found[name]
        loop = facts["main_loop"]
        assert loop["tensor_flops"] * warps == 2 * m * n * 32, name
        assert loop["total"] == sum(loop["instructions"].values()) < sum(facts["instructions"].values())
    assert found["two"][1]["main_loop"] == {}


def test_a_compile_only_run_says_which_config_ran_and_leaves_no_timing_behind(found: dict[str, Any]) -> None:
    entries, best = found["remembered"]

    assert entries == 0
    assert "BLOCK: 256" in best


def test_autotuning_that_leaves_several_configs_is_refused(found: dict[str, Any]) -> None:
    reason, text = found["not pruned"]

    assert reason == "not-pruned"
    assert text.startswith("Autotuning of copy leaves 2 configs")


def test_a_kernel_that_does_not_compile_is_refused_with_the_line_that_says_why(found: dict[str, Any]) -> None:
    assert found["undefined"][0] == "does-not-compile"
    assert found["undefined"][1].startswith("undefined_name: ")
    assert "no_such_thing" in found["undefined"][1]
    assert "\n" not in found["undefined"][1]


def test_the_assemblers_refusal_is_told_without_temporary_paths(found: dict[str, Any]) -> None:
    reason, text = found["assembler"]

    assert reason == "does-not-compile"
    assert text.startswith("bad_assembly: ")
    assert "frobnicate" in text
    assert "/" not in text


def test_a_kernel_that_does_not_compile_does_not_hide_the_next_one(found: dict[str, Any]) -> None:
    error, names, contract = found["partly"]

    assert "no_such_thing" in error
    assert names == ["matmul"]
    assert contract == {"a": 1}


def test_an_unknown_target_is_refused(found: dict[str, Any]) -> None:
    assert found["unknown target"][0] == "unknown-target"


def test_known_machine_code_is_not_disassembled_again(found: dict[str, Any]) -> None:
    assert found["tool runs when all is known"] == 0


def test_an_overridden_architecture_in_the_environment_changes_nothing(found: dict[str, Any]) -> None:
    assert found["override"] == found["no override"]
    assert found["override restored"]


def test_an_error_of_the_wrapper_passes_and_triton_is_as_it_was(found: dict[str, Any]) -> None:
    assert found["own error"] == "the wrapper's own"
    assert found["restored"]


def test_no_driver_is_started(found: dict[str, Any]) -> None:
    assert not found["driver started"]


def test_compiler_options_in_the_environment_are_refused(found: dict[str, Any]) -> None:
    reason, text = found["PTXAS_OPTIONS"]

    assert reason == "compiler-options"
    assert "PTXAS_OPTIONS" in text


def test_the_interpreter_is_refused(found: dict[str, Any]) -> None:
    assert found["TRITON_INTERPRET"][0] == "interpreter"


def test_a_kernel_imported_under_the_interpreter_is_refused(found: dict[str, Any]) -> None:
    reason, text = found["imported interpreted"]

    assert reason == "interpreter"
    assert text.startswith("copy was imported under TRITON_INTERPRET=1")


def test_a_missing_tool_is_named_with_its_remedy(found: dict[str, Any]) -> None:
    reason, text = found["no tool"]

    assert reason == "no-tool"
    assert "TRITON_CUOBJDUMP_PATH" in text


def test_the_hash_is_the_same_from_another_directory_and_another_cache(found: dict[str, Any], tmp_path: Path) -> None:
    here = run_scenarios(tmp_path / "here", "--only-plain")
    there = run_scenarios(tmp_path / "there_with_a_longer_name", "--only-plain")

    assert here["plain"] == there["plain"] == found["plain"]
    assert here["cubin"] != there["cubin"]  # the files do name the directory, so the hash had something to ignore
