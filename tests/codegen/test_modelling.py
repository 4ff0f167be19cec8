"""What the modelled time makes of a verdict on machine code, and where it keeps out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from facts_support import FACTS
from perfgate.codegen import modelling
from perfgate.codegen.modelling import TOLERANCE, with_model
from perfgate.compare.estimators import typical_seconds
from perfgate.hardware.cost_model import Prediction, Stream
from perfgate.hardware.parameters import MODEL_CARDS
from perfgate.records import Aside, Status, Verdict
from perfgate.report.text import format_text
from perfgate.store.compiled import CompiledCase, Operation
from studies.cost_model.command import read
from studies.cost_model.page import points
from studies.cost_model.rates import rates, tolerance

ROOT = Path(__file__).resolve().parents[2]

AFTER = structs.replace(FACTS, registers=132, normal_hash="e" * 64, code_hash="d" * 64)
HELD = Verdict(case="k1", status=Status.SAME, reason="same-resources", text="k1: the code changed, its resources hold.")


def takes(seconds: float, bound: str = "DRAM") -> Prediction:
    return Prediction(time_s=seconds, terms_s=((bound, seconds),), dram_bytes=1e6, blocks_per_sm=2)


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


WITHIN = "bound by DRAM, within the 25% that the model may be wrong by."


@pytest.mark.parametrize(
    ("after_s", "text", "matters"),
    [
        (1.1e-3, f"modelled 1.000 ms → 1.100 ms a call (+10%), {WITHIN}", True),
        (1.02e-3, f"modelled 1.000 ms → 1.020 ms a call (+2%), {WITHIN}", False),
    ],
)
def test_within_the_tolerance_the_verdict_stays_and_a_line_beside_it_tells_the_model(
    after_s: float,
    text: str,
    matters: bool,  # noqa: FBT001 - a table's column
) -> None:
    found = judged(HELD, takes(1e-3), takes(after_s))
    assert replace(found, asides=()) == HELD
    assert found.asides == (Aside(text=text, matters=matters),)
    assert (f"{HELD.case}: {text}" in " ".join(format_text([found], brief=True).split())) == matters


LOST = replace(HELD, status=Status.SLOWER, reason="blocks-lost", text="k1: 2 → 1 blocks an SM.")


@pytest.mark.parametrize(
    ("verdict", "before_s", "status", "reason", "text"),
    [
        (HELD, 1.3e-3, Status.FASTER, "modelled-faster", "to hold the gain"),
        # What the facts gave is never made milder.
        (LOST, 2e-3, Status.SLOWER, "blocks-lost", "an SM; modelled 2.000 ms → 1.000 ms a call (-50%), bound by DRAM."),
    ],
)
def test_as_much_faster_is_faster_where_the_facts_say_nothing_else(
    verdict: Verdict, before_s: float, status: Status, reason: str, text: str
) -> None:
    found = judged(verdict, takes(before_s), takes(1e-3))
    assert (found.status, found.reason) == (status, reason)
    assert text in found.text


@pytest.mark.parametrize(
    ("verdict", "before", "after"),
    [
        (replace(HELD, reason="same-code"), takes(1e-3), takes(9e-3)),
        (replace(HELD, status=Status.INVALID, reason="does-not-compile", wrong=True), takes(1e-3), takes(9e-3)),
        (HELD, takes(1e-3), takes(1.005e-3)),
        (HELD, None, takes(1.0)),
        (HELD, takes(1.0), None),
    ],
    ids=["same code", "invalid", "half a percent", "not modelled before", "nor now"],
)
def test_where_there_is_nothing_to_tell_the_verdict_is_as_it_was(
    verdict: Verdict, before: Prediction | None, after: Prediction | None
) -> None:
    assert judged(verdict, before, after) is verdict


def test_a_call_lasts_as_long_as_its_launches_and_what_torch_moves_and_has_no_time_where_one_is_not_known() -> None:
    card, known = MODEL_CARDS["sm89"], Stream(read_bytes=3e9, written_bytes=0.0)

    def time_s(*works: Stream | None, operations: tuple[Operation, ...] = ()) -> float:
        built = CompiledCase(contract={}, kernels=(FACTS,) * len(works), operations=operations)
        case: Any = object()
        found = modelling.modelled(case, built, works=lambda _case, _kernels: works, card=card)
        return found.time_s if found else 0.0

    one = time_s(known)
    assert one > 0
    assert time_s(known, known) == pytest.approx(2 * one)
    assert time_s(known, operations=(Operation(name="clone", moved_bytes=3_000_000_000),)) == pytest.approx(2 * one)
    assert time_s(known, None) == time_s() == 0
