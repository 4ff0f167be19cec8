"""A counter moved beyond the noise of both sides and its floor, or it did not; kernels of both sides find each other."""

from __future__ import annotations

import pytest
from msgspec import structs

from counters_support import MATMUL, PREPARE, counted
from perfgate.profiling import report
from perfgate.profiling.compare import Change, compare, gathered, seconds
from perfgate.profiling.metrics import (
    BY_NAME,
    DRAM_READ,
    DRAM_THROUGHPUT,
    DRAM_WRITTEN,
    DURATION,
    GRID_SIZE,
    INSTRUCTIONS,
    L2_HIT_RATE,
    L2_SECTORS_READ,
    WARPS_ACTIVE,
)
from perfgate.profiling.ncu import Profiled
from perfgate.records import GateError


def changed(name: str, before: float, after: float, *, apart: float = 0.0) -> Change:
    """One counter, each side of which shows a spread."""
    old, new = (counted({"k": {**MATMUL, name: value}}) for value in (before, after))
    wide = [structs.replace(one.kernels[0], spread={**one.kernels[0].spread, name: apart}) for one in (old, new)]
    (kernel,) = compare(*(structs.replace(old, kernels=(one,)) for one in wide))
    return next(change for change in kernel.changes if change.metric.name == name)


@pytest.mark.parametrize(
    ("name", "before", "still", "moved"),
    [
        (GRID_SIZE, 131072, 131072, 131073),
        (INSTRUCTIONS, 1e8, 1.0045e8, 1.0055e8),
        (L2_SECTORS_READ, 5e7, 5.09e7, 5.12e7),
        (L2_HIT_RATE, 99.22, 99.33, 99.35),
        (L2_HIT_RATE, 40.0, 38.8, 38.6),
        (DRAM_READ, 75.5e6, 73.1e6, 72.9e6),
        (DRAM_WRITTEN, 256, 200_000, 280_000),
        (WARPS_ACTIVE, 21.0, 21.9, 21.96),
        (DRAM_THROUGHPUT, 58.4, 61.2, 61.5),
        (DURATION, 2.29e6, 2.35e6, 2.37e6),
    ],
)
def test_every_floor_is_where_it_is_said_to_be(name: str, before: float, still: float, moved: float) -> None:
    assert not changed(name, before, still).moved
    assert changed(name, before, moved).moved


def test_the_noise_of_both_sides_is_added() -> None:
    assert changed(L2_HIT_RATE, 99.22, 99.5, apart=0.08).moved
    assert not changed(L2_HIT_RATE, 99.22, 99.5, apart=0.085).moved


def test_calls_become_a_median_and_how_far_they_lie_apart() -> None:
    calls = [(Profiled(name="k", grid=(4, 1, 1), metrics={"m": value}),) for value in (5.0, 1.0, 2.0)]
    (kernel,) = gathered(calls)
    assert (kernel.metrics, kernel.spread, kernel.grid) == ({"m": 2.0}, {"m": 4.0}, (4, 1, 1))


def test_calls_that_launch_other_kernels_cannot_be_one_case() -> None:
    one, other = (Profiled(name="k", grid=(size, 1, 1), metrics={}) for size in (4, 5))
    with pytest.raises(GateError, match=r"launched k \(4, 1, 1\) and k \(5, 1, 1\), expected the same kernels"):
        gathered([(one,), (other,)])


def test_time_is_what_is_explained_and_explains_nothing() -> None:
    assert list(report.compared("k7", counted(code="a"), counted(code="a", time=3e-3))) == [
        "k7: 2.290 ms → 3.000 ms under ncu (+31.00 %), the same machine code",
        "  hopper_kernel: time 2.290 ms → 3.000 ms",
        "    no counter moved with it",
    ]
    # Code that is not known on either side is not called the same.
    assert "other machine code" in next(report.compared("k7", counted(), counted()))


def test_kernels_are_found_by_name_and_a_renamed_one_by_its_place() -> None:
    before = counted({"prepare_kernel": PREPARE, "matmul_kernel": MATMUL})
    found = compare(before, counted({"prepare_kernel": PREPARE, "hopper_kernel": MATMUL}))
    assert {kernel.title for kernel in found} == {"prepare_kernel", "matmul_kernel → hopper_kernel"}
    assert not any(kernel.has_moved for kernel in found)
    split = compare(counted({"one": MATMUL}), counted({"two": MATMUL, "three": MATMUL}))
    assert sorted((one.title, one.presence) for one in split) == [
        ("one", "no longer launched"),
        ("three", "new"),
        ("two", "new"),
    ]


def test_a_kernel_of_one_side_alone_is_said_and_the_largest_change_comes_first() -> None:
    both, alone = counted({"hopper_kernel": MATMUL, "prepare_kernel": PREPARE}), counted({"hopper_kernel": MATMUL})
    for sides, presence, cells in (
        ((both, alone), "no longer launched", ("6.620 µs", "")),
        ((alone, both), "new", ("", "6.620 µs")),
    ):
        found = compare(*sides)
        assert [(one.title, one.presence) for one in found] == [("prepare_kernel", presence), ("hopper_kernel", "")]
        assert f"  prepare_kernel: {presence}, 6.620 µs" in list(report.compared("c", *sides))
        row = dict(zip(("before", "after"), cells, strict=True)) | {"name": "prepare_kernel: time", "moved": True}
        assert next(report.rows(found)) == row


def test_a_kernel_that_is_launched_twice_is_numbered() -> None:
    (one,) = counted().kernels
    twice = structs.replace(counted(), kernels=(one, one))
    assert [title for title, _ in twice.titled()] == ["hopper_kernel", "hopper_kernel#2"]
    assert seconds(twice) == pytest.approx(2 * 2.29e-3)
    assert len(compare(twice, twice)) == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (DRAM_READ, 75.5e6, "75.5 MB"),
        (DRAM_READ, 256, "256 bytes"),
        (DRAM_READ, 4.295e9, "4.295 GB"),
        (INSTRUCTIONS, 6.1e8, "610 million"),
        (GRID_SIZE, 131072, "131072"),
        (L2_HIT_RATE, 99.216, "99.22 %"),
        (DURATION, 2.29e-3, "2.290 ms"),
    ],
)
def test_values_are_said_with_their_unit(name: str, value: float, said: str) -> None:
    assert BY_NAME[name].worded(value) == said


def test_a_change_says_its_unit_once_where_both_sides_have_it() -> None:
    assert changed(DRAM_READ, 75.5e6, 16.8e6).said() == "DRAM reads 75.5 → 16.8 MB"
    assert changed(DRAM_READ, 75.5e6, 1.2e9).said() == "DRAM reads 75.5 MB → 1.2 GB"
    assert changed(GRID_SIZE, 512, 1024).said() == "programs 512 → 1024"
