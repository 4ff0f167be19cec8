"""Recorded launches drawn again and again: how they are read, how runs are drawn, and how sure the shares are."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from perfgate.calibration import resampling
from perfgate.calibration.resampling import Rate, RecordedLaunch, against, read_recorded
from perfgate.config import Limits
from perfgate.records import GateError, Recording, Status, Verdict

RECORDED = Path(__file__).parents[1] / "data" / "h100-launches.json.gz"
LIMITS = Limits()
LAUNCHES = read_recorded(RECORDED).launches


def _launches(*sizes: int, arms: tuple[str, ...] = ("A", "A2", "control")) -> list[RecordedLaunch]:
    """Made-up launches whose one sample names occasion, launch and arm: arm ``n`` of occasion 2's launch 3 is 203.n."""
    return [
        RecordedLaunch(occasion, {"case": {arm: (100 * occasion + launch + n / 10,) for n, arm in enumerate(arms)}})
        for occasion, size in enumerate(sizes, 1)
        for launch in range(size)
    ]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recording | None, Recording, int]]:
    """What was put before the judge, who here is unsure of everything."""
    seen: list[tuple[Recording | None, Recording, int]] = []

    def judge(baseline: Recording | None, current: Recording, _limits: Limits, *, suite: int) -> tuple[Verdict, ...]:
        seen.append((baseline, current, suite))
        return (Verdict(case="case", status=Status.UNSURE, reason="unsure", text=""),)

    monkeypatch.setattr(resampling, "judge", judge)
    return seen


def _arms(recording: Recording, arm: str) -> list[float]:
    return [launch.arms[arm][0] for launch in recording.samples["case"].launches]


def test_recorded_launches_are_read_with_occasion_case_and_arm() -> None:
    assert len(LAUNCHES) == 20
    assert Counter(launch.occasion for launch in LAUNCHES) == {1: 12, 2: 8}
    assert set(LAUNCHES[0].samples["sq1024"]) == {"A", "A2", "B1", "B3", "control"}
    assert len(LAUNCHES[0].samples["sq1024"]["A"]) == 40


def test_a_file_is_read_gzipped_or_not(tmp_path: Path) -> None:
    plain = tmp_path / "launches.json"
    plain.write_bytes(gzip.decompress(RECORDED.read_bytes()))
    assert read_recorded(plain).launches == LAUNCHES


def launches(samples: object, occasion: object = 1) -> dict[str, Any]:
    """A file of one launch."""
    return {"launches": [{"occasion": occasion, "samples": samples}]}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"launches": []},
        {"launches": [{"occasion": 1}]},
        {"launches": [{"samples": {"c": {"A": [1.0]}}}]},
        *(launches({"c": {"A": [1.0]}}, occasion) for occasion in ("", True, None)),
        launches({}),
        launches({"c": {}}),
        launches({"c": {"A": []}}),
        *(launches({"c": {"A": [value]}}) for value in (0, -1.0, "1", True, float("nan"))),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "launches.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(GateError) as refused:
        read_recorded(path)
    assert refused.value.reason == "malformed"
    assert refused.value.text.startswith(str(path))
    assert refused.value.text.endswith("record it anew.")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", b"{", "not-json"),
        ("a.json", b"\xff", "not-json"),
        ("a.json.gz", b"{}", "unreadable"),
        ("a.json.gz", b"\x1f\x8b", "unreadable"),
        ("a.json.gz", gzip.compress(b"{}" * 99)[:-9], "unreadable"),
        ("a.json", None, "no-file"),
    ],
)
def test_what_is_no_whole_file_of_json_is_refused(
    tmp_path: Path, name: str, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GateError, match=r"expected|record it anew") as refused:
        read_recorded(tmp_path / name)
    assert refused.value.reason == reason


def test_a_run_beside_the_old_code_is_4_launches_and_where_undecided_the_same_4_and_4_more(
    judged: list[tuple[Recording | None, Recording, int]],
) -> None:
    found = against(_launches(9), case="case", now="A2", before="A", limits=LIMITS, cases=25, runs=1)
    (none, first, suite), (_, both, _) = judged
    assert found == {Status.UNSURE: 1}
    assert none is None
    assert suite == 25
    assert len(_arms(first, "kernel")) == 4
    assert len(set(_arms(both, "kernel"))) == 8
    assert _arms(both, "kernel")[:4] == _arms(first, "kernel")
    assert _arms(both, "kernel") == pytest.approx([x + 0.1 for x in _arms(both, "other")])
    assert _arms(both, "kernel") == pytest.approx([x - 0.1 for x in _arms(both, "control")])


def test_the_launches_of_a_run_beside_are_of_one_occasion_and_occasions_take_turns(
    judged: list[tuple[Recording | None, Recording, int]],
) -> None:
    against(_launches(8, 9, 7), case="case", now="A", before="A2", limits=LIMITS, cases=25, runs=4)
    of = [{int(x) // 100 for x in _arms(current, "kernel")} for _, current, _ in judged[1::2]]
    assert of == [{1}, {2}, {1}, {2}]


def test_where_no_occasion_has_8_launches_those_of_all_are_drawn(
    judged: list[tuple[Recording | None, Recording, int]],
) -> None:
    against(_launches(4, 4), case="case", now="A", before="A2", limits=LIMITS, cases=25, runs=1)
    assert {int(x) // 100 for x in _arms(judged[1][1], "kernel")} == {1, 2}


def test_a_factor_slows_the_kernel_alone_and_each_launch_is_made_once(
    judged: list[tuple[Recording | None, Recording, int]],
) -> None:
    against(_launches(8), case="case", now="A2", before="A", limits=LIMITS, cases=25, runs=2, scale=2)
    kernels = [launch.arms["kernel"] for _, current, _ in judged for launch in current.samples["case"].launches]
    assert _arms(judged[0][1], "kernel") == pytest.approx([2 * (x + 0.1) for x in _arms(judged[0][1], "other")])
    assert len({id(kernel) for kernel in kernels}) == 8


def test_too_few_launches_are_refused_with_what_there_is() -> None:
    with pytest.raises(GateError, match=r"case: found .*: 3 of occasion 1, 4 of occasion 2, expected 8 or more"):
        against(_launches(3, 4), case="case", now="A", before="A2", limits=LIMITS, cases=25, runs=1)
    with pytest.raises(GateError, match=r"found launches with its arms: none"):
        against(_launches(9), case="other", now="A", before="A2", limits=LIMITS, cases=25, runs=1)


@pytest.mark.parametrize(
    ("flagged", "runs", "low", "high"),
    [
        (0, 10, 0, 0.3085),  # Clopper and Pearson: 1 - 0.025 ** (1 / 10)
        (10, 10, 0.6915, 1),
        (3, 10, 0.0667, 0.6525),
        (1, 20, 0.0013, 0.2487),
        (990, 1000, 0.9817, 0.9952),
    ],
)
def test_the_interval_is_that_of_published_tables(flagged: int, runs: int, low: float, high: float) -> None:
    assert Rate(flagged=flagged, runs=runs, independent=runs).interval() == pytest.approx((low, high), abs=5e-5)


def test_resampling_makes_no_share_surer_than_its_disjoint_runs() -> None:
    thousand = Rate(flagged=300, runs=1000, independent=10)
    assert thousand.share == 0.3
    assert thousand.interval() == Rate(flagged=3, runs=10, independent=10).interval()


def test_a_share_between_two_counts_gets_the_wider_interval() -> None:
    low, high = Rate(flagged=350, runs=1000, independent=10).interval()
    assert low == Rate(flagged=3, runs=10, independent=10).interval()[0]
    assert high == Rate(flagged=4, runs=10, independent=10).interval()[1]


def test_on_recorded_launches_one_percent_is_found_and_no_change_is_not() -> None:
    options: dict[str, Any] = {"now": "A2", "before": "A", "limits": LIMITS, "cases": 25, "runs": 40}
    assert against(LAUNCHES, case="k1_sq4096", scale=1.01, **options) == {Status.SLOWER: 40}
    assert against(LAUNCHES, case="k1_sq4096", **options) == {Status.SAME: 40}
