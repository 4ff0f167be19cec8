"""Tuning without a card: tiles ranked by the model, each with what binds it."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from perf_tests.cases import CASES
from perfgate.hardware import modelling
from perfgate.hardware.cost_model import Product
from perfgate.records import KernelFacts
from perfgate.tuning import ranking

CASE = next(case for case in CASES if case.id == "sq1024_fp16")
FACTS = KernelFacts(
    name="matmul_kernel",
    config={"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_K": 64, "GROUP_M": 8, "num_warps": 4, "num_stages": 3},
    code_hash="a" * 64,
    normal_hash="b" * 64,
    registers=168,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=49152,
    blocks_per_sm=2,
    limited_by="registers",
    occupancy_percent=16.67,
    instructions={"tensor_core": 64, "integer": 900, "shared_load_matrix": 24},
    main_loop={
        "instructions": {"tensor_core": 64, "integer": 60, "shared_load_matrix": 24},
        "total": 148,
        "tensor_flops": 64 * 4096,
        "tensor_unit": "mma16",
        "shared_bytes": 24 * 512,
    },
    grid=128,
    arguments={"M": 1024, "N": 1024, "K": 1024, "BATCH": 1},
)


def work(_case: object, kernels: list[KernelFacts]) -> list[Product]:
    config = kernels[0].config
    sizes: Any = {"m": 1024, "n": 1024, "k": 1024, "batch": 1, "operand_bytes": 2, "result_bytes": 2}
    tile = {key.lower(): config[key] for key in ("BLOCK_M", "BLOCK_N", "BLOCK_K")}
    return [Product(**sizes, **tile, group=config["GROUP_M"], stages=config["num_stages"])]


def candidate(**more: Any) -> dict[str, Any]:
    return {"config": dict(FACTS.config), "kernels": [asdict(replace(FACTS, **more))], "error": "", "pruned": ""}


def document(target: str = "sm_89") -> dict[str, Any]:
    slow = candidate(config={**FACTS.config, "num_stages": 2}, shared_bytes=24576)
    spilled = {**candidate(), "pruned": "spills registers to memory"}
    case = {"note": "", "current": "slow", "start": "slow", "kept": ["slow"], "left_out": {}, "launches": []}
    other = {"note": "not tuned: runs another kernel (vector_kernel)", "candidates": {}, "left_out": {}}
    candidates = {"slow": slow, "fast": candidate(), "spilled": spilled}
    return {"about": {"target": target}, "cases": {CASE.id: {**case, "candidates": candidates}, "k4": other}}


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], Any]:
    monkeypatch.setattr(modelling, "load_works", lambda _project: work)
    found = document()
    project: Any = None
    return found, ranking.rank(found, project, {CASE.id: CASE})


def test_the_fastest_by_the_model_is_first_and_what_is_ruled_out_is_not_ranked(ranked: tuple[Any, Any]) -> None:
    _, times = ranked
    assert list(times[CASE.id]) == ["fast", "slow"]
    assert times[CASE.id]["fast"].time_s < times[CASE.id]["slow"].time_s


def test_the_document_keeps_the_time_and_every_term_of_it(ranked: tuple[Any, Any]) -> None:
    kept = ranked[0]["cases"][CASE.id]["candidates"]["fast"]["modelled"]
    assert kept["time_s"] == ranked[1][CASE.id]["fast"].time_s
    assert kept["terms_s"][kept["bound"]] == max(kept["terms_s"].values())


def test_the_page_says_that_nothing_was_measured_and_shows_why_a_tile_is_where_it_is(ranked: tuple[Any, Any]) -> None:
    page = ranking.markdown(*ranked)
    assert "No card: nothing was measured." in page
    assert "nothing of this was measured on one here" in page
    rows = [line for line in page.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert [row.split(" | ")[1] for row in rows] == ["fast", "slow (present) (start)".replace(" (start)", "")]
    assert "latency" in rows[1]
    assert "k4: not tuned: runs another kernel (vector_kernel)." in page


def test_a_target_without_a_modelled_card_is_not_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modelling, "load_works", lambda _project: work)
    project: Any = None
    assert ranking.rank(document("sm_100"), project, {CASE.id: CASE}) == {}
