"""Kernels that are right and slow: what the facts of their code and the modelled time say, and why where that is too little."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import torch

from kernel_support import DEVICE, integers
from perf_tests import cases, modelled
from perfgate.codegen.rules import judge_compiled
from perfgate.hardware import cost_model
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS
from perfgate.records import Status, Verdict
from perfgate.settings import load_kernel
from perfgate.store.compiled import CompiledBaseline, CompiledCase
from slow_mutants import KERNEL, MUTANTS, compile_all, text

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.hardware.cost_model import Prediction

    Built = dict[tuple[str, str, str], CompiledCase]

TELLING = 1.1
"""A modelled ratio that is worth telling; the gate itself calls nothing SLOWER by the model below its own, wider tolerance."""
BY_ID = {case.id: case for case in cases.CASES}
HALF, ONE_STAGE, ORDER, MASKS, COPIES, EIGHT_WARPS, DEFAULT_WARPS = MUTANTS
ADA, HOPPER = "sm_89", "sm_90"
MODELLED_SLOWER = [(ONE_STAGE, "sq1024_fp16"), (COPIES, "k17_transposed_b"), (COPIES, "k18_transposed_both")]


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """A mutant that does more of one thing, which another hides in this case."""

    mutant: str
    case: str
    grows: str
    """The term that grew."""
    bound: str
    """What binds before and after."""
    told: str
    """What the verdict on the facts says of it."""


HIDDEN = [
    Hidden(mutant=HALF, case="k1_square", grows="issue", bound="tensor cores", told="BLOCK_K 32 → 16"),
    Hidden(mutant=HALF, case="k1_square", grows="latency", bound="tensor cores", told="BLOCK_K 32 → 16"),
    Hidden(mutant=HALF, case="k7_small_k", grows="latency", bound="DRAM", told="BLOCK_K 32 → 16"),
    # Its shorter steps leave room for a third block, which makes up for most.
    Hidden(mutant=HALF, case="sq1024_fp16", grows="latency", bound="latency", told="2 → 3 blocks an SM"),
    Hidden(mutant=ONE_STAGE, case="k1_square", grows="latency", bound="tensor cores", told="num_stages 4 → 1"),
    Hidden(mutant=ONE_STAGE, case="k7_small_k", grows="latency", bound="DRAM", told="num_stages 3 → 1"),
    Hidden(mutant=MASKS, case="sq512_fp32", grows="issue", bound="L2", told="EVEN_K True → False"),
    Hidden(mutant=MASKS, case="k7_small_k", grows="issue", bound="DRAM", told="EVEN_K True → False"),
    Hidden(mutant=EIGHT_WARPS, case="sq512_fp32", grows="shared memory", bound="L2", told="num_warps 4 → 8"),
    Hidden(mutant=EIGHT_WARPS, case="sq512_fp16", grows="shared memory", bound="L2", told="num_warps 4 → 8"),
]
WANTED = {
    *((mutant, case, ADA) for mutant, case in MODELLED_SLOWER),
    *((one.mutant, one.case, ADA) for one in HIDDEN),
    *((ORDER, case, ADA) for case in ("k1_square", "k7_small_k")),
    *((DEFAULT_WARPS, case, ADA) for case in ("k1_square", "sq512_fp32", "k4_matrix_vector")),
    (COPIES, "k16_transposed_a", ADA),
    (COPIES, "k1_square", ADA),
    (DEFAULT_WARPS, "sq2048_fp16", HOPPER),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    kernel = {(KERNEL, case, target) for _, case, target in WANTED}
    return compile_all(tmp_path_factory.mktemp("mutants"), WANTED | kernel)


def verdict(built: Built, mutant: str, case: str, target: str = ADA) -> Verdict:
    """On the facts alone, with the kernel itself as the baseline."""
    baseline = CompiledBaseline(
        target=target, versions={}, recorded_at="", commit="", reason="", cases={case: built[KERNEL, case, target]}
    )
    (found,) = judge_compiled({case: built[mutant, case, target]}, baseline, versions={}, target=target)
    return found


def launches(built: Built, name: str, case: str, target: str = ADA) -> list[Prediction]:
    found = built[name, case, target]
    card = MODEL_CARDS[CARD_OF_TARGET[target]]
    works = modelled.works(BY_ID[case], found.kernels)
    assert None not in works
    return [cost_model.predict(facts, work, card) for facts, work in zip(found.kernels, works, strict=True) if work]


def ratio(built: Built, mutant: str, case: str) -> float:
    """Modelled time of the mutant's calls, copies included, over that of the kernel's."""
    card = MODEL_CARDS[CARD_OF_TARGET[ADA]]
    before, after = (
        cost_model.total(launches(built, name, case)).time_s
        + sum(cost_model.passed_s(one.moved_bytes, card) + card.launch_s for one in built[name, case, ADA].operations)
        for name in (KERNEL, mutant)
    )
    return after / before


@pytest.mark.skipif(
    torch.cuda.is_available(), reason="asks the interpreter; on a card the mutants' speed is what counts"
)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_every_mutant_is_right(mutant: str, tmp_path: Path) -> None:
    path = tmp_path / "mutant.py"
    path.write_text(text(mutant), encoding="utf-8")
    module = load_kernel(path, "right_mutant")
    a, b = integers(150, 70, seed=1), integers(140, 70, seed=2).T
    assert a.device.type == DEVICE
    with cases.chosen_as(module, BY_ID["k1_square"]):
        assert torch.equal(module.triton_matmul(a, b), a @ b)


@pytest.mark.parametrize(("mutant", "case"), MODELLED_SLOWER)
def test_a_mutant_is_told_as_slower_by_its_modelled_time(built: Built, mutant: str, case: str) -> None:
    assert ratio(built, mutant, case) > TELLING


@pytest.mark.parametrize("one", HIDDEN, ids=lambda one: f"{one.mutant}, {one.case}, {one.grows}")
def test_a_mutant_that_does_more_of_what_does_not_bind_is_told_and_not_flagged(built: Built, one: Hidden) -> None:
    before, after = (
        max(launches(built, name, one.case), key=lambda launch: launch.time_s) for name in (KERNEL, one.mutant)
    )
    assert dict(after.terms_s)[one.grows] > 1.03 * dict(before.terms_s)[one.grows]
    assert (before.bound, after.bound) == (one.bound, one.bound)
    assert 0.999 < ratio(built, one.mutant, one.case) < TELLING
    found = verdict(built, one.mutant, one.case)
    assert (found.status, found.reason) == (Status.SAME, "same-resources")
    assert one.told in found.text


@pytest.mark.parametrize("case", ["k1_square", "k7_small_k"])
def test_an_order_of_tiles_that_the_code_does_not_take_from_its_group_is_not_seen_by_the_model(
    built: Built, case: str
) -> None:
    """Column after column, which DRAM pays for in the published profiles; the model reads the order from GROUP_M."""
    assert built[ORDER, case, ADA].kernels[-1].config == built[KERNEL, case, ADA].kernels[-1].config
    works = [modelled.works(BY_ID[case], built[name, case, ADA].kernels) for name in (KERNEL, ORDER)]
    assert works[0] == works[1]
    assert ratio(built, ORDER, case) == pytest.approx(1, abs=0.001)
    assert "the code changed" in verdict(built, ORDER, case).text


def test_the_same_order_told_by_the_group_is_seen(built: Built) -> None:
    facts = built[KERNEL, "k7_small_k", ADA].kernels
    (*_, row_major) = modelled.works(BY_ID["k7_small_k"], facts)
    (*_, columns) = modelled.works(
        BY_ID["k7_small_k"], [*facts[:-1], replace(facts[-1], config={**facts[-1].config, "GROUP_M": 1 << 15})]
    )
    card = MODEL_CARDS["rtx-4090"]
    assert row_major is not None
    assert columns is not None
    assert (
        cost_model.predict(facts[-1], columns, card).time_s
        > 1.07 * cost_model.predict(facts[-1], row_major, card).time_s
    )


@pytest.mark.parametrize(
    ("case", "moved"),
    [
        ("k16_transposed_a", 2048 * 8192),
        ("k17_transposed_b", 4096 * 8192),
        ("k18_transposed_both", (2048 + 4096) * 8192),
    ],
)
def test_copies_of_operands_are_seen_with_their_bytes_and_are_slower(built: Built, case: str, moved: int) -> None:
    assert built[KERNEL, case, ADA].operations == ()
    operations = built[COPIES, case, ADA].operations
    assert {one.name for one in operations} == {"clone"}
    assert sum(one.moved_bytes for one in operations) == 2 * 4 * moved  # read and written, in FP32
    found = verdict(built, COPIES, case)
    assert (found.status, found.reason, found.exit_code) == (Status.SLOWER, "memory-moved", 1)
    assert f"torch moves 0 bytes → {8 * moved / 1e6:.1f} MB a call (nothing → clone)" in found.text


def test_of_what_lies_in_order_nothing_is_copied_and_the_code_is_the_same(built: Built) -> None:
    assert built[COPIES, "k1_square", ADA] == built[KERNEL, "k1_square", ADA]


def test_the_model_would_call_a_copy_that_spares_a_launch_the_quicker_way_without_its_bytes(built: Built) -> None:
    """A copied A needs no launch that looks for the largest of its rows; the copy takes longer than that did."""
    case = "k16_transposed_a"
    kernels = [cost_model.total(launches(built, name, case)).time_s for name in (KERNEL, COPIES)]
    assert kernels[1] < kernels[0]
    assert 1.03 < ratio(built, COPIES, case) < TELLING


@pytest.mark.parametrize("case", ["k1_square", "sq512_fp32"])
def test_warps_left_to_the_default_are_the_same_code_where_the_default_is_the_number(built: Built, case: str) -> None:
    assert built[DEFAULT_WARPS, case, ADA] == built[KERNEL, case, ADA]
    assert verdict(built, DEFAULT_WARPS, case).reason == "same-code"


def test_warps_left_to_the_default_are_told_where_a_launch_only_passes_over_memory(built: Built) -> None:
    """The time of such a launch is its bytes over the rate, whatever its code."""
    assert ratio(built, DEFAULT_WARPS, "k4_matrix_vector") == 1
    assert "num_warps 8 → 4" in verdict(built, DEFAULT_WARPS, "k4_matrix_vector").text


def test_warps_left_to_the_default_spill_on_hopper_which_the_model_refuses_and_the_facts_flag(built: Built) -> None:
    with pytest.raises(ValueError, match="spills"):
        launches(built, DEFAULT_WARPS, "sq2048_fp16", HOPPER)
    found = verdict(built, DEFAULT_WARPS, "sq2048_fp16", HOPPER)
    assert (found.status, found.reason) == (Status.SLOWER, "spills")
    assert "num_warps 8 → 4" in found.text
