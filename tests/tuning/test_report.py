"""The page of a tuning: the list to paste, what it costs each case, and what has no number and why; or ranked by the model."""

from __future__ import annotations

import ast
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from perf_tests.cases import CASES
from perfgate.codegen import modelling
from perfgate.hardware.cost_model import Product
from perfgate.tuning import report
from perfgate.tuning.choice import shortest
from tuning_support import candidate as made
from tuning_support import case as known
from tuning_support import document, timed

if TYPE_CHECKING:
    from perfgate.store.compiled import KernelFacts
    from perfgate.tuning.document import Candidate, Case, Document

TILES = {"wide": (64, 256, 8), "store": (64, 128, 1), "deep": (128, 128, 8)}


def candidate(name: str, **more: Any) -> Candidate:
    m, n, group = TILES[name]
    config = {"BLOCK_M": m, "BLOCK_N": n, "BLOCK_K": 32, "GROUP_M": group, "num_warps": 4, "num_stages": 3}
    facts: dict[str, Any] = {"registers": 162, "shared_bytes": 49152, "blocks_per_sm": 2}
    return made(config, **facts, instructions={"other": 100, "tensor_core": 60}, **more)


def case(*launches: dict[str, float], **more: Any) -> Case:
    found = {
        "allowed": 1152,
        "left_out": {"would | spill": 1146},
        "kept": ("wide",),
        "start": "wide",
        "current": "wide",
    }
    candidates = {name: candidate(name) for name in TILES}
    return known(**{**found, "candidates": candidates, "launches": [timed(**one) for one in launches]} | more)


MEASURED = document(
    k1=case({"wide": 2e-3, "deep": 1e-3}, {"wide": 2.2e-3, "deep": 1.1e-3}, screen=timed(store=4e-3, deep=1.05e-3)),
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


def test_what_has_no_number_is_named_with_its_reason() -> None:
    wrong = {name: candidate(name) for name in TILES} | {
        "deep": candidate("deep", failed="wrong result: error 3", wrong=True)
    }
    found = document(
        k1=MEASURED.cases["k1"],
        vector=known(note="not tuned: runs another kernel (matvec)"),
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
    refused = candidate("deep", error="shared memory exceeds 101376 bytes", pruned="does not compile")
    found = document(k1=case(candidates={"wide": candidate("wide"), "deep": refused}))
    found.about = structs.replace(found.about, environment={"gpu": "", "triton": "3.8.0"})
    page = report.markdown(found)
    assert page.index("Nothing was measured: no card was used") < page.index("## What was left out")
    assert "triton.Config" not in page
    assert "| wide (present) |  |  | 162 | 0 | 49152 | 2 | 8 | 640 |  |" in page
    assert "| deep |  |  |  |  |  |  |  |  | shared memory exceeds 101376 bytes |" in page


def test_cases_that_no_list_of_four_serves_are_told_apart_from_none() -> None:
    one = candidate("wide")
    cases = {
        f"c{n}": case(
            {f"t{n}": 1.0},
            candidates={f"t{n}": structs.replace(one, config={**one.config, "BLOCK_K": 16 + n})},
            current="",
            start="",
            kept=(),
        )
        for n in range(5)
    }
    assert "No list of 2 to 4 configs serves every measured case" in report.markdown(document(**cases))


@pytest.mark.parametrize("count", [3, 30])
def test_a_long_table_is_cut_but_never_before_the_kept_ones(count: int) -> None:
    many = {f"t{number}": candidate("deep") for number in range(count)} | {"wide": candidate("wide")}
    page = report.markdown(document(k1=case(candidates=many)))
    assert "| wide (present) |" in page
    assert ("more in `tune.json`" in page) == (count > 12)


# Without a card: by the model.

MODELLED = next(case for case in CASES if case.id == "sq1024_fp16")
TILE = {"BLOCK_M": 128, "BLOCK_N": 64, "BLOCK_K": 64, "GROUP_M": 8, "num_warps": 4, "num_stages": 3}


def work(_case: object, kernels: list[KernelFacts]) -> list[Product]:
    config = kernels[0].config
    sizes: Any = {"m": 1024, "n": 1024, "k": 1024, "batch": 1, "operand_bytes": 2, "result_bytes": 2}
    tile = {key.lower(): config[key] for key in ("BLOCK_M", "BLOCK_N", "BLOCK_K")}
    return [Product(**sizes, **tile, group=config["GROUP_M"], stages=config["num_stages"])]


@pytest.fixture
def ranked(monkeypatch: pytest.MonkeyPatch) -> tuple[Document, Any]:
    """A document of three candidates, and what the model says of them."""
    monkeypatch.setattr(modelling, "load_works", lambda _project: work)
    monkeypatch.setattr(report, "load_suite", lambda _project: SimpleNamespace(CASES=[MODELLED]))
    candidates = {
        "slow": made({**TILE, "num_stages": 2}, shared_bytes=24576),
        "fast": made(TILE, shared_bytes=49152),
        "spilled": made(TILE, pruned="spills registers to memory"),
    }
    tuned = known(candidates=candidates, current="slow", start="slow", kept=("slow",))
    found = document(**{MODELLED.id: tuned, "k4": known(note="not tuned: runs another kernel (vector_kernel)")})
    project: Any = None
    return found, report.rank(found, project)


def test_the_fastest_by_the_model_is_first_and_what_is_ruled_out_is_not_ranked(ranked: tuple[Document, Any]) -> None:
    document, times = ranked
    assert list(times[MODELLED.id]) == ["fast", "slow"]
    assert times[MODELLED.id]["fast"].time_s < times[MODELLED.id]["slow"].time_s
    kept = document.cases[MODELLED.id].candidates["fast"].modelled
    assert kept is not None
    assert kept.time_s == times[MODELLED.id]["fast"].time_s
    assert kept.terms_s[kept.bound] == max(kept.terms_s.values())


def test_the_page_says_that_nothing_was_measured_and_shows_why_a_tile_is_where_it_is(
    ranked: tuple[Document, Any],
) -> None:
    page = report.ranked_markdown(*ranked)
    assert "No card: nothing was measured." in page
    assert "nothing of this was measured on one here" in page
    rows = [line for line in page.splitlines() if line.startswith(("| 1 |", "| 2 |"))]
    assert [row.split(" | ")[1] for row in rows] == ["fast", "slow (present)"]
    assert "latency" in rows[1]
    assert "k4: not tuned: runs another kernel (vector_kernel)." in page


def test_a_target_without_a_modelled_card_is_not_ranked(ranked: tuple[Document, Any]) -> None:
    found, project = ranked[0], None
    found.about = structs.replace(found.about, target="sm_100")
    assert report.rank(found, project) == {}  # type: ignore[arg-type]
