"""The page of a tuning: the list to paste, what it costs each case, and what has no number and why."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from perfgate.tuning import report
from perfgate.tuning.choice import shortest

TILES = {"wide": (64, 256, 8), "store": (64, 128, 1), "deep": (128, 128, 8)}
ABOUT = {
    "command": "python -m perfgate tune",
    "target": "sm_89",
    "environment": {"gpu": "NVIDIA GeForce RTX 4090", "triton": "3.8.0"},
    "top": 4,
    "launches": 3,
}


def candidate(name: str, **more: Any) -> dict[str, Any]:
    m, n, group = TILES[name]
    config = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": 32, "GROUP_M": group, "num_warps": 4, "num_stages": 3}
    counts = {"registers": 162, "spill_instructions": 0, "shared_bytes": 49152, "blocks_per_sm": 2}
    kernel = {"config": config, **counts, "instructions": {"other": 100, "tensor_core": 60}}
    return {"config": config, "kernels": [kernel], "error": "", "pruned": "", **more}


def case(*launches: dict[str, float], **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"note": "", "allowed": 1152, "left_out": {"would | spill": 1146}, "kept": ["wide"]}
    found |= {"start": "wide", "current": "wide", "candidates": {name: candidate(name) for name in TILES}}
    found["launches"] = [{"seconds": {name: [s] for name, s in one.items()}, "state": {}} for one in launches]
    return found | more


def document(**cases: dict[str, Any]) -> dict[str, Any]:
    return {"schema": 1, "about": ABOUT, "cases": cases}


MEASURED = document(
    k1=case(
        {"wide": 2e-3, "deep": 1e-3},
        {"wide": 2.2e-3, "deep": 1.1e-3},
        screen={"seconds": {"store": [4e-3], "deep": [1.05e-3]}},
    ),
    k7=case({"wide": 5e-3, "store": 4e-3, "deep": 8e-3}),
)


def test_the_list_is_lines_of_python_each_with_the_cases_that_take_it() -> None:
    choice = shortest(report.choices(MEASURED))
    assert choice
    lines = report.lines(MEASURED, choice)
    assert lines == [
        'triton.Config({"BLOCK_M": 128, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 8}, num_warps=4, num_stages=3),  # k1',
        'triton.Config({"BLOCK_M": 64, "BLOCK_N": 128, "BLOCK_K": 32, "GROUP_M": 1}, num_warps=4, num_stages=3),  # k7',
    ]
    ast.parse("[\n" + "\n".join(lines) + "\n]")
    page = report.markdown(MEASURED)
    assert "\n".join(["```python", *lines, "```"]) in page


def test_every_case_has_its_best_what_it_would_take_and_what_the_present_choice_loses() -> None:
    page = report.markdown(MEASURED)
    assert "| k1 | deep | 1.050 ms | deep | 0.00 % | wide | 100.00 % | 2 |" in page
    assert "| k7 | store | 4.000 ms | store | 0.00 % | wide | 25.00 % | 1 |" in page
    assert "Loss, mean of 2 cases: 0.00 %; of the present choices 58.11 %" in page
    assert "| store | ~4.000 ms | +280.95 % | 162 | 0 | 49152 | 2 | 8 | 640 |  |" in page


def test_the_page_says_that_a_rule_is_still_to_be_written_and_that_the_choice_is_deterministic() -> None:
    page = " ".join(report.markdown(MEASURED).split())
    assert "what picks one of them is still to be written: a rule in the kernel file (`choose_config`)" in page
    assert "the choice is deterministic" in page


def test_what_has_no_number_is_named_with_its_reason() -> None:
    wrong = {name: candidate(name) for name in TILES} | {
        "deep": candidate("deep", failed="wrong result: error 3", wrong=True)
    }
    found = document(
        k1=MEASURED["cases"]["k1"],
        vector={"note": "not tuned: runs another kernel (matvec)", "candidates": {}, "left_out": {}, "launches": []},
        k2=case(failed="the card throttled"),
        k3=case({"wide": 1.0}, candidates=wrong),
        k4=case(),
    )
    page = report.markdown(found)
    assert "- vector: not tuned: runs another kernel (matvec)." in page
    assert "- k2: the card throttled." in page
    assert "- k3, deep: wrong result: error 3." in page
    assert "- k4: not measured yet." in page
    assert "Loss, mean of 2 cases" in page


def test_what_was_left_out_is_counted_by_reason_in_a_table_that_no_reason_breaks() -> None:
    assert "| k1 | 1152 | 3 | 3 | 1146 would \\| spill |" in report.markdown(MEASURED)


def test_without_a_card_the_page_says_so_first_and_holds_the_facts_and_no_list() -> None:
    refused = candidate("deep", kernels=[], error="shared memory exceeds 101376 bytes", pruned="does not compile")
    found = document(k1=case(candidates={"wide": candidate("wide"), "deep": refused}))
    found["about"] = {**ABOUT, "environment": {"gpu": "", "triton": "3.8.0"}}
    page = report.markdown(found)
    assert page.index("Nothing was measured: no card was used") < page.index("## What was left out")
    assert "triton.Config" not in page
    assert "| wide (present) |  |  | 162 | 0 | 49152 | 2 | 8 | 640 |  |" in page
    assert "| deep |  |  |  |  |  |  |  |  | shared memory exceeds 101376 bytes |" in page


def test_cases_that_no_list_of_four_serves_are_told_apart_from_none() -> None:
    cases = {}
    for number in range(5):
        config = {**candidate("wide")["config"], "BLOCK_K": 16 + number}
        cases[f"c{number}"] = case(
            {f"t{number}": 1.0},
            candidates={f"t{number}": candidate("wide", config=config)},
            current="",
            start="",
            kept=[],
        )
    assert "No list of 2 to 4 configs serves every measured case" in report.markdown(document(**cases))


@pytest.mark.parametrize("count", [3, 30])
def test_a_long_table_is_cut_but_never_before_the_kept_ones(count: int) -> None:
    many = {f"t{number}": candidate("deep") for number in range(count)} | {"wide": candidate("wide")}
    page = report.markdown(document(k1=case(candidates=many)))
    assert "| wide (present) |" in page
    assert ("more in `tune.json`" in page) == (count > 12)
