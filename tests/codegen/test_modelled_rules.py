"""What the modelled time makes of a verdict on machine code, and where it keeps out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.codegen.modelled_rules import TOLERANCE, with_model
from perfgate.compare.estimators import typical_seconds
from perfgate.hardware import modelling
from perfgate.hardware.cost_model import Prediction, Stream
from perfgate.hardware.parameters import MODEL_CARDS
from perfgate.records import KernelFacts, Status, Verdict
from perfgate.report.text import format_text
from perfgate.store.compiled import CompiledCase, Operation
from studies.cost_model.__main__ import read
from studies.cost_model.page import points
from studies.cost_model.rates import rates, tolerance

ROOT = Path(__file__).resolve().parents[2]

FACTS = KernelFacts(
    name="matmul_kernel",
    config={"BLOCK_M": 128, "num_warps": 4, "num_stages": 3},
    code_hash="a" * 64,
    normal_hash="b" * 64,
    registers=118,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=49152,
    blocks_per_sm=2,
    limited_by="registers",
    occupancy_percent=16.67,
    instructions={"tensor_core": 64, "integer": 40},
    main_loop={},
    grid=64,
    arguments={"M": 1024},
)
AFTER = replace(FACTS, registers=132, normal_hash="c" * 64, code_hash="d" * 64)
HELD = Verdict(case="k1", status=Status.SAME, reason="same-resources", text="k1: the code changed, its resources hold.")


def takes(seconds: float, bound: str = "DRAM") -> Prediction:
    return Prediction(time_s=seconds, bound=bound, terms_s=((bound, seconds),), dram_bytes=1e6, blocks_per_sm=2)


def judged(verdict: Verdict, before: Prediction | None, after: Prediction | None) -> Verdict:
    return with_model(verdict, kernels=((FACTS,), (AFTER,)), modelled=(before, after))


def test_a_time_that_grew_beyond_the_tolerance_is_slower_and_says_what_moved() -> None:
    found = judged(HELD, takes(1e-3), takes(1.3e-3, "latency"))
    assert (found.status, found.reason, found.exit_code) == (Status.SLOWER, "modelled-slower", 1)
    assert found.text == (
        "k1: modelled 1.000 ms → 1.300 ms a call (+30%), bound by DRAM → latency, limit +25%: registers 118 → 132; if it is "
        "meant, record it with `nox -s update-baselines -- --reason …`."
    )


@pytest.mark.parametrize(("change", "status"), [(TOLERANCE + 0.001, "SLOWER"), (TOLERANCE - 0.001, "SAME")])
def test_the_tolerance_is_where_it_says(change: float, status: str) -> None:
    assert judged(HELD, takes(1.0), takes(1 + change)).status == status


def test_the_tolerance_is_the_smallest_step_of_the_study_with_one_in_a_hundred_the_wrong_way_round() -> None:
    kept = ROOT / "baselines" / "nvidia-h100-80gb-hbm3" / "model-sm89.json.gz"
    found = rates(points(read(kept), typical_seconds))
    assert tolerance(found, chance=0.01) == TOLERANCE
    assert tolerance(found, chance=0.03) < TOLERANCE


def test_within_the_tolerance_the_verdict_stays_and_a_line_beside_it_tells_the_model() -> None:
    found = judged(HELD, takes(1e-3), takes(1.1e-3))
    assert (found.status, found.reason, found.text) == (Status.SAME, "same-resources", HELD.text)
    (aside,) = found.asides
    assert aside.text == (
        "modelled 1.000 ms → 1.100 ms a call (+10%), bound by DRAM, within the 25% that the model may be wrong by."
    )
    assert aside.matters
    assert f"{HELD.case}: {aside.text}" in " ".join(format_text([found], brief=True).split())


def test_a_small_change_is_told_and_not_shown_where_sentences_are_left_out() -> None:
    (aside,) = judged(HELD, takes(1e-3), takes(1.02e-3)).asides
    assert not aside.matters
    assert judged(HELD, takes(1e-3), takes(1.005e-3)) is HELD


def test_as_much_faster_is_faster() -> None:
    found = judged(HELD, takes(1.3e-3), takes(1e-3))
    assert (found.status, found.reason) == (Status.FASTER, "modelled-faster")
    assert "to hold the gain" in found.text


def test_a_verdict_that_the_facts_gave_is_never_made_milder() -> None:
    lost = replace(HELD, status=Status.SLOWER, reason="blocks-lost", text="k1: 2 → 1 blocks an SM.")
    found = judged(lost, takes(2e-3), takes(1e-3))
    assert (found.status, found.reason) == (Status.SLOWER, "blocks-lost")
    assert found.text == "k1: 2 → 1 blocks an SM; modelled 2.000 ms → 1.000 ms a call (-50%), bound by DRAM."


@pytest.mark.parametrize(
    "verdict",
    [
        replace(HELD, reason="same-code"),
        replace(HELD, status=Status.INVALID, reason="does-not-compile", wrong=True),
    ],
    ids=["same code", "invalid"],
)
def test_where_nothing_is_to_be_modelled_the_verdict_is_as_it_was(verdict: Verdict) -> None:
    assert judged(verdict, takes(1e-3), takes(9e-3)) is verdict


def test_a_side_that_cannot_be_modelled_leaves_the_verdict_alone() -> None:
    assert judged(HELD, None, takes(1.0)) is HELD
    assert judged(HELD, takes(1.0), None) is HELD


def test_a_launch_that_the_suite_does_not_know_leaves_the_whole_case_without_a_time() -> None:
    case: Any = object()
    card = MODEL_CARDS["sm89"]
    known = Stream(read_bytes=3e9, written_bytes=0.0)
    both = modelling.of_launches(case, [FACTS, FACTS], works=lambda _case, _kernels: [known, known], card=card)
    one = modelling.of_launches(case, [FACTS], works=lambda _case, _kernels: [known], card=card)
    assert both is not None
    assert one is not None
    assert both.time_s == pytest.approx(2 * one.time_s)
    assert modelling.of_launches(case, [FACTS, FACTS], works=lambda _case, _kernels: [known, None], card=card) is None
    assert modelling.of_launches(case, [], works=lambda _case, _kernels: [], card=card) is None


def test_what_torch_moves_beside_the_launches_is_time_of_the_call() -> None:
    case: Any = object()
    card = MODEL_CARDS["sm89"]

    def works(_case: object, _kernels: object) -> list[Stream]:
        return [Stream(read_bytes=3e9, written_bytes=0.0)]

    copied = CompiledCase(
        contract={}, kernels=(FACTS,), operations=(Operation(name="clone", moved_bytes=3_000_000_000),)
    )
    alone, beside = (
        modelling.modelled(case, built, works=works, card=card) for built in (replace(copied, operations=()), copied)
    )
    assert alone is not None
    assert beside is not None
    assert beside.time_s == pytest.approx(2 * alone.time_s)
