"""What the model knows of each card is possible, and follows from the published numbers that it names."""

from __future__ import annotations

from dataclasses import fields

import pytest

from perfgate.hardware.gpus import CARDS
from perfgate.hardware.occupancy import ARCHITECTURES
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS, ModelCard

EVERY = pytest.mark.parametrize("card", MODEL_CARDS.values(), ids=list(MODEL_CARDS))
SUB_PARTITIONS = 4


def peak_tflops(card: ModelCard, unit: str) -> float:
    """Of the whole card, dense."""
    partitions = card.limits.multiprocessors * SUB_PARTITIONS
    return card.tensor_flops_per_clock[unit] * partitions * card.clock_hz / 1e12


@EVERY
def test_every_number_is_there_and_positive(card: ModelCard) -> None:
    numbers = [getattr(card, field.name) for field in fields(card)]
    assert all(number > 0 for number in numbers if isinstance(number, int | float))
    assert all(flops > 0 for flops in card.tensor_flops_per_clock.values())
    assert {"mma16", "mma32"} <= card.tensor_flops_per_clock.keys()


@EVERY
def test_shares_are_of_a_whole_and_units_overlap_at_least_not_at_all(card: ModelCard) -> None:
    for share in (card.dram_share, card.stream_share, card.store_factor):
        assert share <= 1
    # Even where all of 2**20 rows are written at once, some of the bandwidth is left.
    assert card.row_penalty * 14 < 1
    assert card.overlap >= 1
    assert card.overlap_whole >= 1


@EVERY
def test_no_path_computes_faster_than_the_cards_published_peak(card: ModelCard) -> None:
    (published,) = (known for known in CARDS.values() if known.architecture == card.limits.name)
    for unit in card.tensor_flops_per_clock:
        peak = published.flops_per_s["fp16" if unit.endswith("16") else "tf32"] / 1e12
        # An H100's clock rises from the 1755 MHz of the model to 1980 where power allows it.
        assert peak_tflops(card, unit) < 1.98 / 1.755 * peak, unit
    assert card.dram_bytes_per_s == published.dram_bytes_per_s
    assert card.l2_bytes <= published.l2_bytes


def test_the_4090_computes_at_its_published_peaks_at_boost() -> None:
    card = MODEL_CARDS["rtx-4090"]
    assert peak_tflops(card, "mma16") == pytest.approx(165.2, rel=0.001)
    assert peak_tflops(card, "mma32") == pytest.approx(82.6, rel=0.001)
    assert not any(unit.startswith("wgmma") for unit in card.tensor_flops_per_clock)


def test_every_target_that_code_is_compiled_for_has_a_card_of_its_architecture() -> None:
    assert CARD_OF_TARGET.keys() == {architecture.name for architecture in ARCHITECTURES}
    for target, name in CARD_OF_TARGET.items():
        assert MODEL_CARDS[name].limits.name == target
