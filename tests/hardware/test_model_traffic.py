"""Bytes that a tiled product reads from L2 and from DRAM, by the order in which tiles are walked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from model_support import FACTS, card, product
from perfgate.hardware import cost_model
from perfgate.hardware.cost_model import Product, Traffic

L2 = card(l2_bytes=72e6)
# 32768 x 32768 x 64 in FP32, of which a 4090's profiles are published.
SMALL_K = Product(
    m=32768,
    n=32768,
    k=64,
    batch=1,
    block_m=64,
    block_n=256,
    block_k=32,
    group=64,
    operand_bytes=4,
    result_bytes=4,
    stages=3,
)
OPERAND = 32768 * 64 * 4
# Operands of 512 MB each, which no L2 holds.
LARGE = product(m=65536, n=65536, k=4096, block_m=128, block_n=128, operand_bytes=2)


def read(work: Product, *, at_once: int = 128, on: Any = L2) -> Traffic:
    return cost_model.traffic(work, on, at_once=at_once)


@pytest.mark.parametrize(
    ("order", "group", "expected"),
    [
        ("row-major: B stays, as a row of tiles and its results fit", 1, 2 * OPERAND),
        ("M fastest: A stays, as a column of tiles and its results fit", 512, 2 * OPERAND),
        ("M fastest, however many rows a group could have", 4096, 2 * OPERAND),
        ("groups of 64: all of B comes again for each of eight", 64, 9 * OPERAND),
        ("groups of 8: what eight rows write throws B out", 8, 65 * OPERAND),
    ],
)
def test_what_dram_is_asked_for_follows_the_order_of_tiles(order: str, group: int, expected: int) -> None:
    assert read(replace(SMALL_K, group=group)).dram_read_bytes == expected, order


def test_the_result_is_written_once_and_every_tile_reads_its_operands_from_l2() -> None:
    found = read(SMALL_K)
    tiles = 512 * 128

    assert found.result_bytes == 32768 * 32768 * 4
    assert found.l2_read_bytes == tiles * (64 + 256) * 64 * 4
    assert found.hit_percent == pytest.approx(100 * (1 - 9 * OPERAND / (found.l2_read_bytes + found.result_bytes)))


def test_operands_that_no_cache_holds_come_again_for_every_row_unless_rows_run_at_once() -> None:
    operand = 65536 * 4096 * 2
    tiles = 512
    assert read(LARGE).dram_read_bytes == operand + tiles * operand
    assert read(LARGE, at_once=4 * tiles).dram_read_bytes == operand + tiles // 4 * operand
    grouped = read(replace(LARGE, group=8))
    assert grouped.dram_read_bytes == operand + tiles // 8 * operand


def test_groups_as_high_as_the_card_is_wide_read_less_than_both_orders_by_lines() -> None:
    rows, columns, grouped = (read(replace(LARGE, group=group)).dram_read_bytes for group in (1, 512, 16))
    assert grouped < rows / 8
    assert grouped < columns / 4


def test_a_larger_l2_is_never_asked_for_more() -> None:
    for work in (SMALL_K, LARGE, replace(LARGE, group=8), replace(SMALL_K, group=1)):
        reads = [read(work, on=card(l2_bytes=size)).dram_read_bytes for size in (1e5, 1e6, 1e7, 1e8, 1e9, 1e10)]
        assert reads == sorted(reads, reverse=True)
        assert reads[-1] == (work.m + work.n) * work.k * work.operand_bytes


def test_larger_tiles_read_less_from_l2() -> None:
    reads = [read(replace(LARGE, block_m=edge, block_n=edge)).l2_read_bytes for edge in (32, 64, 128, 256)]
    assert reads == [reads[0] / factor for factor in (1, 2, 4, 8)]


def test_what_another_launch_just_wrote_is_still_there_if_it_is_little() -> None:
    small = product(m=1024, n=1024, k=1024)
    assert read(small).dram_read_bytes == 2 * 1024 * 1024 * 2
    assert read(replace(small, warm=True)).dram_read_bytes == 0
    assert read(replace(SMALL_K, warm=True)).dram_read_bytes == 9 * OPERAND - 2 * OPERAND
    assert read(replace(LARGE, warm=True)).dram_read_bytes == read(LARGE).dram_read_bytes


def test_a_batch_reads_each_of_its_matrices() -> None:
    one, many = read(SMALL_K), read(replace(SMALL_K, batch=6))
    assert many.dram_read_bytes == 6 * one.dram_read_bytes
    assert many.l2_read_bytes == 6 * one.l2_read_bytes
    assert many.result_bytes == 6 * one.result_bytes
    assert many.hit_percent == pytest.approx(one.hit_percent)


def test_of_triangles_l2_is_asked_for_the_steps_that_are_left() -> None:
    whole, part = read(LARGE), read(replace(LARGE, share=1 / 6))
    assert part.l2_read_bytes == pytest.approx(whole.l2_read_bytes / 6)


@pytest.mark.parametrize("group", [1, 8, 64, 512])
def test_more_rows_written_at_once_make_dram_slower(group: int) -> None:
    """Of two orders that read alike, that with more rows takes longer: each row lies in another page."""
    few, many = (
        dict(cost_model.predict(FACTS, product(m=32768, n=32768, k=32, group=rows), on).terms_s)["DRAM"]
        for on in [card(l2_bytes=1e12)]
        for rows in (group, 4 * group)
    )
    assert many > few if group < 512 else many == few
