"""The model of a kernel's time: what may not make it slower, what must, and what it refuses. No number of a card is a test's."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from model_support import CARD, FACTS, MEMORY_FREE, PRODUCT, SMS, TILE_BYTES, card, facts, product, terms
from perfgate.hardware import cost_model
from perfgate.hardware.cost_model import Prediction, Product, Stream, Traffic
from perfgate.hardware.parameters import MODEL_CARDS

LOOP = FACTS.main_loop
ONE_AN_SM = facts(registers=255, shared_bytes=200_000)
"""Of these a multiprocessor of the card holds one."""
TILES = [1, 2, SMS - 1, SMS, SMS + 1, 2 * SMS, 5 * SMS + 7, 64 * SMS]


def seconds(tiles: int, kernel: Any = FACTS, on: Any = MEMORY_FREE, **changes: Any) -> float:
    return cost_model.predict(kernel, product(batch=tiles, **changes), on).time_s


def test_one_tile_more_than_multiprocessors_takes_as_long_as_twice_as_many() -> None:
    assert cost_model.predict(ONE_AN_SM, PRODUCT, CARD).blocks_per_sm == 1
    assert seconds(SMS + 1, ONE_AN_SM) == pytest.approx(seconds(2 * SMS, ONE_AN_SM), rel=1e-12)
    assert seconds(SMS + 1, ONE_AN_SM) == pytest.approx(2 * seconds(SMS, ONE_AN_SM), rel=1e-12)
    assert seconds(1, ONE_AN_SM) == pytest.approx(seconds(SMS, ONE_AN_SM), rel=1e-12)


def test_a_round_is_as_many_blocks_as_are_resident() -> None:
    resident = cost_model.predict(FACTS, PRODUCT, CARD).blocks_per_sm
    latency = [
        terms(cost_model.predict(FACTS, product(batch=blocks * SMS), MEMORY_FREE))["latency"]
        for blocks in (1, resident, resident + 1)
    ]
    assert resident == 4
    assert latency[0] == latency[1]
    assert latency[2] == pytest.approx(2 * latency[0], rel=1e-12)


def test_of_very_many_tiles_one_more_is_no_round_more() -> None:
    assert seconds(64 * SMS + 1, ONE_AN_SM) / seconds(64 * SMS, ONE_AN_SM) < 1.001
    assert seconds(2 * SMS + 1, ONE_AN_SM) / seconds(2 * SMS, ONE_AN_SM) > 1.4


@pytest.mark.parametrize("on", MODEL_CARDS.values(), ids=list(MODEL_CARDS))
@pytest.mark.parametrize("warps", [4, 8])
@pytest.mark.parametrize("tiles", TILES)
def test_more_blocks_resident_are_never_slower_where_all_else_is_equal(on: Any, warps: int, tiles: int) -> None:
    found = [
        cost_model.predict(
            facts(registers=registers, shared_bytes=TILE_BYTES, config={"num_warps": warps}), product(batch=tiles), on
        )
        for registers in (255, 168, 128, 96, 64, 48)
    ]
    assert len({one.blocks_per_sm for one in found}) > 3
    for fewer, more in pairwise(found):
        assert fewer.blocks_per_sm <= more.blocks_per_sm
        assert more.time_s <= fewer.time_s * (1 + 1e-12)
    if tiles >= 5 * SMS:  # and where there are several a multiprocessor, they hide each other's waiting
        assert found[-1].time_s < found[0].time_s


def test_one_buffer_exposes_the_whole_load_in_every_trip() -> None:
    """A trip of one buffer waits for its load and for itself; of two, for half of both at least."""
    trips = PRODUCT.k // PRODUCT.block_k
    slow = card(block_clocks=0.0, load_clocks=4000.0)
    latency_s = {n: terms(cost_model.predict(FACTS, product(stages=n), slow))["latency"] for n in (1, 2, 3)}
    clocks = {stages: one_s * CARD.clock_hz / trips for stages, one_s in latency_s.items()}
    waiting = clocks[1] - 4000.0
    assert waiting > 0
    assert clocks[2] == pytest.approx((4000.0 + waiting) / 2, rel=1e-9)
    assert clocks[3] == pytest.approx((4000.0 + waiting) / 3, rel=1e-9)


def test_buffers_that_shared_memory_does_not_hold_do_not_count_and_loads_that_buffers_cover_cost_nothing() -> None:
    one = facts(shared_bytes=TILE_BYTES)
    assert seconds(SMS, one, stages=4) == seconds(SMS, one, stages=1) > seconds(SMS, facts(), stages=4)
    assert seconds(SMS, on=card(load_clocks=1.0)) == seconds(SMS, on=card(load_clocks=0.0))


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (facts(main_loop={}), "no tensor cores in a loop"),
        (facts(main_loop={**LOOP, "tensor_flops": 0, "tensor_unit": ""}), "no tensor cores in a loop"),
        (facts(spill_instructions=1), "spills"),
        (facts(shared_bytes=300_000), "does not fit the card"),
        (facts(registers=255, config={"num_warps": 16}), "does not fit the card"),
    ],
    ids=["no loop", "no tensor cores", "spills", "too much shared memory", "too many registers"],
)
def test_a_product_without_tensor_cores_in_a_loop_or_without_room_or_that_spills_is_refused(
    kernel: Any, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        cost_model.predict(kernel, PRODUCT, CARD)


@pytest.mark.parametrize("kernel", [FACTS, facts(registers=32, instructions={"integer": 9}, main_loop={})])
def test_a_stream_is_its_bytes_over_the_rate_whatever_the_code_or_bound_by_its_launch(kernel: Any) -> None:
    found = cost_model.predict(kernel, Stream(read_bytes=3e9, written_bytes=1e9), CARD)
    passed_s = 4e9 / (CARD.dram_bytes_per_s * CARD.stream_share)
    assert found.time_s == pytest.approx(passed_s + CARD.launch_s, rel=1e-12)
    assert cost_model.passed_s(4e9, CARD) == pytest.approx(passed_s, rel=1e-12)
    assert (found.bound, found.dram_bytes, found.hit_percent) == ("DRAM", 4e9, None)
    assert cost_model.predict(kernel, Stream(read_bytes=4.0, written_bytes=4.0), CARD).bound == "launch"


@pytest.mark.parametrize("on", MODEL_CARDS.values(), ids=list(MODEL_CARDS))
@pytest.mark.parametrize("tiles", TILES)
def test_terms_are_in_order_and_none_is_longer_than_the_whole(on: Any, tiles: int) -> None:
    found = cost_model.predict(FACTS, product(batch=tiles), on)
    times = [time for _, time in found.terms_s]

    assert times == sorted(times, reverse=True)
    assert found.bound == found.terms_s[0][0]
    assert {"tensor cores", "issue", "shared memory", "L2", "latency", "DRAM", "launch"} == set(terms(found))
    assert times[0] <= found.time_s <= 2 * sum(times)
    assert found.share == pytest.approx(times[0] / found.time_s)


def test_a_call_of_several_launches_is_the_sum_of_them_and_bound_by_the_longest() -> None:
    short = cost_model.predict(FACTS, Stream(read_bytes=1e6, written_bytes=0.0), CARD)
    long = cost_model.predict(FACTS, product(batch=1000), CARD)
    for order in ([short, long], [long, short]):
        whole = cost_model.total(order)
        assert whole.time_s == pytest.approx(short.time_s + long.time_s, rel=1e-12)
        assert whole.dram_bytes == short.dram_bytes + long.dram_bytes
        assert (whole.bound, whole.hit_percent, whole.blocks_per_sm) == (long.bound, long.hit_percent, 4)


def test_the_norm_of_several_times_lies_between_the_longest_and_their_sum() -> None:
    """Work, latency and DRAM: with the exponent 1 they are added, with a very large one the longest remains."""

    def whole(exponent: float) -> Prediction:
        return cost_model.predict(FACTS, product(batch=500), card(overlap_whole=exponent, launch_s=0.0))

    by_exponent = [whole(exponent).time_s for exponent in (1.0, 1.5, 3.0, 8.0, 400.0)]
    assert by_exponent == sorted(by_exponent, reverse=True)
    parts = terms(whole(1.0))
    work = by_exponent[0] - parts["latency"] - parts["DRAM"]
    assert work > parts["tensor cores"]
    assert by_exponent[-1] == pytest.approx(max(work, parts["latency"], parts["DRAM"]), rel=0.01)
    # The units of a multiprocessor among themselves.
    apart = [seconds(64 * SMS, on=card(overlap=exponent, store_factor=0.0)) for exponent in (1.0, 8.0, 400.0)]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 1.2 * apart[-1]


@pytest.mark.parametrize(
    "slower",
    [
        {"main_loop": {**LOOP, "total": 2000}, "instructions": {"integer": 2300, "tensor_core": 128}},
        {"main_loop": {**LOOP, "shared_bytes": 8192 * 20}},
        {"main_loop": {**LOOP, "tensor_unit": "mma32"}},
        {"instructions": {"integer": 500_000, "tensor_core": 128}},
    ],
    ids=["more instructions a trip", "more shared memory a trip", "slower tensor cores", "more outside the loop"],
)
def test_code_that_does_more_for_the_same_result_is_slower(slower: dict[str, Any]) -> None:
    assert seconds(16 * SMS, facts(**slower)) > 1.2 * seconds(16 * SMS)


@pytest.mark.parametrize(
    ("bound", "kernel", "on"),
    [
        ("issue", {"main_loop": {**LOOP, "total": 9000}, "instructions": {"integer": 9300}}, MEMORY_FREE),
        ("shared memory", {"main_loop": {**LOOP, "shared_bytes": 8192 * 50}}, MEMORY_FREE),
        ("tensor cores", {}, MEMORY_FREE),
        ("L2", {}, card(l2_bytes_per_clock=1.0)),
        ("DRAM", {}, card(dram_bytes_per_s=1e9)),
        ("latency", {}, card(load_clocks=1e6)),
        ("launch", {}, card(launch_s=1.0)),
    ],
)
def test_what_binds_is_named(bound: str, kernel: dict[str, Any], on: Any) -> None:
    assert cost_model.predict(facts(**kernel), product(batch=16 * SMS), on).bound == bound


def test_of_triangles_only_the_steps_that_are_left_take_time() -> None:
    whole, half = (
        terms(cost_model.predict(FACTS, product(batch=640, share=share), MEMORY_FREE)) for share in (1.0, 0.5)
    )
    for unit in ("tensor cores", "issue", "shared memory", "L2"):
        assert half[unit] == pytest.approx(whole[unit] / 2, rel=1e-12)
    ends = CARD.block_clocks / CARD.clock_hz * math.ceil(640 / SMS / 4)
    assert half["latency"] - ends == pytest.approx((whole["latency"] - ends) / 2, rel=1e-9)


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
    assert read(replace(LARGE, group=8)).dram_read_bytes == operand + tiles // 8 * operand


def test_a_larger_l2_is_never_asked_for_more() -> None:
    for work in (SMALL_K, LARGE, replace(LARGE, group=8), replace(SMALL_K, group=1)):
        reads = [read(work, on=card(l2_bytes=size)).dram_read_bytes for size in (1e5, 1e6, 1e7, 1e8, 1e9, 1e10)]
        assert reads == sorted(reads, reverse=True)
        assert reads[-1] == (work.m + work.n) * work.k * work.operand_bytes


def test_what_another_launch_just_wrote_is_still_there_if_it_is_little() -> None:
    small = product(m=1024, n=1024, k=1024)
    assert read(small).dram_read_bytes == 2 * 1024 * 1024 * 2
    assert read(replace(small, warm=True)).dram_read_bytes == 0
    assert read(replace(SMALL_K, warm=True)).dram_read_bytes == 9 * OPERAND - 2 * OPERAND
    assert read(replace(LARGE, warm=True)).dram_read_bytes == read(LARGE).dram_read_bytes


def test_a_batch_reads_each_of_its_matrices_and_triangles_the_steps_that_are_left() -> None:
    one, many = read(SMALL_K), read(replace(SMALL_K, batch=6))
    for name in ("dram_read_bytes", "l2_read_bytes", "result_bytes"):
        assert getattr(many, name) == 6 * getattr(one, name)
    assert read(replace(LARGE, share=1 / 6)).l2_read_bytes == pytest.approx(read(LARGE).l2_read_bytes / 6)


@pytest.mark.parametrize("group", [1, 8, 64, 512])
def test_more_rows_written_at_once_make_dram_slower(group: int) -> None:
    """Of two orders that read alike, that with more rows takes longer: each row lies in another page."""
    few, many = (
        dict(cost_model.predict(FACTS, product(m=32768, n=32768, k=32, group=rows), on).terms_s)["DRAM"]
        for on in [card(l2_bytes=1e12)]
        for rows in (group, 4 * group)
    )
    assert many > few if group < 512 else many == few
