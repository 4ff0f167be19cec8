"""The study of the gate's own error rates: reading recorded launches, drawing runs, and how sure the shares are."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from perfgate.calibration import resampling
from perfgate.calibration.resampling import (
    Rate,
    RecordedLaunch,
    against,
    disjoint_against,
    disjoint_stored,
    rate,
    read_launches_file,
    stored,
)
from perfgate.limits import Limits
from perfgate.records import GateError, Recording, Status, Verdict

RECORDED = Path(__file__).parents[1] / "data" / "h100-launches.json.gz"
LIMITS = Limits()
LAUNCHES = read_launches_file(RECORDED)


def _launches(*sizes: int, arms: tuple[str, ...] = ("A", "A2", "control")) -> list[RecordedLaunch]:
    """Made-up launches whose one sample names occasion, launch and arm: arm ``n`` of occasion 2's launch 3 is 203.n."""
    return [
        RecordedLaunch(
            str(occasion), {"case": {arm: (100 * occasion + launch + n / 10,) for n, arm in enumerate(arms)}}
        )
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
    assert Counter(launch.occasion for launch in LAUNCHES) == {"1": 12, "2": 8}
    assert set(LAUNCHES[0].samples["sq1024"]) == {"A", "A2", "B1", "B3", "control"}
    assert len(LAUNCHES[0].samples["sq1024"]["A"]) == 40


def test_a_file_is_read_gzipped_or_not(tmp_path: Path) -> None:
    plain = tmp_path / "launches.json"
    plain.write_bytes(gzip.decompress(RECORDED.read_bytes()))
    assert read_launches_file(plain) == LAUNCHES


@pytest.mark.parametrize(
    ("document", "reason", "found"),
    [
        ([], "malformed", "has no list of launches"),
        ({"launches": []}, "malformed", "has no list of launches"),
        ({"launches": [{"occasion": 1}]}, "malformed", "has no samples in launches[0]"),
        ({"launches": [{"samples": {"c": {"A": [1.0]}}}]}, "malformed", "has None as the occasion of launches[0]"),
        ({"launches": [{"occasion": 1, "samples": {"c": {}}}]}, "malformed", "has no arms of c in launches[0]"),
        ({"launches": [{"occasion": 1, "samples": {"c": {"A": []}}}]}, "malformed", "has no samples of A of c"),
        ({"launches": [{"occasion": 1, "samples": {"c": {"A": [0]}}}]}, "malformed", "has 0 as a sample of A of c"),
        ({"launches": [{"occasion": 1, "samples": {"c": {"A": ["1"]}}}]}, "malformed", "has '1' as a sample"),
        ({"launches": [{"occasion": 1, "samples": {"c": {"A": [float("nan")]}}}]}, "malformed", "has nan as a sample"),
    ],
)
def test_a_malformed_file_is_refused_in_one_sentence(tmp_path: Path, document: Any, reason: str, found: str) -> None:
    path = tmp_path / "launches.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(GateError) as refused:
        read_launches_file(path)
    assert refused.value.reason == reason
    assert refused.value.text.startswith(f"{path} {found}")
    assert "expected" in refused.value.text
    assert refused.value.text.endswith("record it anew.")


@pytest.mark.parametrize(
    ("name", "content"), [("a.json", b"{"), ("a.json", b"\xff"), ("a.json.gz", b"{}"), ("a.json.gz", b"\x1f\x8b")]
)
def test_an_unreadable_file_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(GateError, match="cannot be read") as refused:
        read_launches_file(tmp_path / name)
    assert refused.value.reason == "unreadable"


def test_a_missing_file_is_refused() -> None:
    with pytest.raises(GateError, match="cannot be read"):
        read_launches_file("nowhere.json")


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


def test_a_stored_number_is_of_another_occasion_and_all_ordered_pairs_take_turns(
    judged: list[tuple[Recording | None, Recording, int]],
) -> None:
    stored(_launches(5, 6, 4), case="case", arm="A", limits=LIMITS, cases=25, runs=3)
    pairs = []
    for baseline, current, suite in judged:
        assert baseline is not None
        assert suite == 25
        assert len(set(_arms(baseline, "kernel"))) == len(set(_arms(current, "kernel"))) == 5
        pairs.append(tuple({int(x) // 100 for x in _arms(side, "kernel")} for side in (baseline, current)))
    assert pairs == [({1}, {2}), ({2}, {1}), ({1}, {2})]


@pytest.mark.parametrize(
    ("arm", "before", "then", "now"),
    [("A", None, "0", "1"), ("A2", None, "1", "1"), ("B1", "A", "0", "3"), ("A", "A2", "1", "0")],
)
def test_a_stored_number_is_of_the_arm_and_what_is_held_against_it_of_its_twin(
    judged: list[tuple[Recording | None, Recording, int]], arm: str, before: str | None, then: str, now: str
) -> None:
    launches = _launches(5, 5, arms=("A", "A2", "control", "B1"))
    stored(launches, case="case", arm=arm, before=before, limits=LIMITS, cases=25, runs=1)
    baseline, current, _ = judged[0]
    assert baseline is not None
    assert [{f"{x:.1f}"[-1] for x in _arms(side, "kernel")} for side in (baseline, current)] == [{then}, {now}]


def test_an_arm_without_a_twin_is_held_against_itself(judged: list[tuple[Recording | None, Recording, int]]) -> None:
    stored(_launches(5, 5, arms=("A", "control")), case="case", arm="A", limits=LIMITS, cases=25, runs=1)
    assert len(judged) == 1


def test_too_few_launches_are_refused_with_what_there_is() -> None:
    with pytest.raises(GateError, match=r"case: found .*: 3 of occasion 1, 4 of occasion 2, expected 8 or more"):
        against(_launches(3, 4), case="case", now="A", before="A2", limits=LIMITS, cases=25, runs=1)
    with pytest.raises(GateError, match=r"9 of occasion 1, 4 of occasion 2, expected two occasions of 5 or more"):
        stored(_launches(9, 4), case="case", arm="A", limits=LIMITS, cases=25, runs=1)
    with pytest.raises(GateError, match=r"found launches with its arms: none"):
        against(_launches(9), case="other", now="A", before="A2", limits=LIMITS, cases=25, runs=1)


@pytest.mark.parametrize(
    ("sizes", "beside", "of_stored"),
    [((12, 8), 2, 1), ((16, 20, 8), 5, 4), ((4, 4), 1, 0), ((5, 5, 5), 1, 1), ((7,), 0, 0), ((40, 5), 5, 1)],
)
def test_disjoint_runs_are_counted(sizes: tuple[int, ...], beside: int, of_stored: int) -> None:
    assert disjoint_against(_launches(*sizes), case="case") == beside
    assert disjoint_stored(_launches(*sizes), case="case") == of_stored


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


def test_a_rate_counts_the_statuses_asked_for() -> None:
    found = Counter({Status.SAME: 7, Status.SLOWER: 2, Status.FASTER: 1})
    assert rate(found, Status.SLOWER, Status.FASTER, independent=2) == Rate(flagged=3, runs=10, independent=2)


def test_the_same_seed_draws_the_same_runs_and_another_seed_others(
    judged: list[tuple[Recording | None, Recording, int]],
) -> None:
    for seed in (1, 1, 2):
        against(_launches(20), case="case", now="A", before="A2", limits=LIMITS, cases=25, runs=1, seed=seed)
    first, again, other = (_arms(current, "kernel") for _, current, _ in judged[1::2])
    assert first == again
    assert first != other


def test_on_recorded_launches_one_percent_is_found_and_no_change_is_not() -> None:
    options: dict[str, Any] = {"now": "A2", "before": "A", "limits": LIMITS, "cases": 25, "runs": 40}
    assert against(LAUNCHES, case="k1_sq4096", scale=1.01, **options) == {Status.SLOWER: 40}
    assert against(LAUNCHES, case="k1_sq4096", **options) == {Status.SAME: 40}


def test_on_recorded_launches_five_percent_is_found_against_another_card() -> None:
    options: dict[str, Any] = {"arm": "A", "limits": LIMITS, "cases": 25, "runs": 40}
    assert stored(LAUNCHES, case="k7_small_k", scale=1.05, **options) == {Status.SLOWER: 40}
    assert stored(LAUNCHES, case="k7_small_k", **options) == {Status.SAME: 40}
