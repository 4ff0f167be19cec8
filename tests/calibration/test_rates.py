"""The gate's error rates from a recording: real launches of two cards, in the form that the calibration writes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.calibration import report
from perfgate.calibration.rates import AGAIN, CHANGED, Calibration, Rates, rates, read_calibration
from perfgate.config import Limits
from perfgate.records import GateError, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    Spoil = Callable[[dict[str, Any]], object]

LIMITS = Limits()
DATA = Path(__file__).parents[1] / "data/h100-launches.json.gz"
CASES = ("k7_small_k", "k1_sq4096", "tiny512")


@pytest.fixture
def document() -> dict[str, Any]:
    """Recorded launches in the calibration's form: `B1` is called +1 and `B3` +3."""
    recorded = json.loads(gzip.decompress(DATA.read_bytes()))
    launches = []
    for launch in recorded["launches"]:
        samples = {}
        for case in CASES:
            arms = launch["samples"][case]
            samples[case] = {"A": arms["A"], "A2": arms["A2"], "+0": arms["A"], "+1": arms["B1"], "+3": arms["B3"]}
        launches.append({"occasion": launch["occasion"], "samples": samples, "states": {}})
    return {"schema": 1, "about": {"suite": 25, "gpu": "NVIDIA H100 80GB HBM3"}, "launches": launches}


@pytest.fixture
def read(document: dict[str, Any], tmp_path: Path) -> Callable[..., Calibration]:
    """Read the document as a file, after it was changed in some way."""

    def written(spoil: Spoil = lambda _: None) -> Calibration:
        spoil(document)
        path = tmp_path / "calibration.json.gz"
        path.write_bytes(gzip.compress(json.dumps(document).encode()))
        return read_calibration(path)

    return written


@pytest.fixture
def found(read: Callable[..., Calibration]) -> Rates:
    return rates(read(), LIMITS, runs=20)


def test_the_kernel_against_itself_raises_no_alarm_and_real_work_is_found(found: Rates) -> None:
    assert [one.case for one in found.cases] == list(CASES)
    for one in found.cases:
        assert one.same.rate(*CHANGED).share == 0
        assert one.slower["+1"].rate(Status.SLOWER).share == 1
        assert one.slower["+3"].rate(Status.SLOWER).share == 1


def test_sizes_are_those_measured_not_those_wanted(found: Rates) -> None:
    k7, k1, tiny = found.cases
    assert k7.slower["+1"].ratio == pytest.approx(1.01, abs=5e-4)
    assert k1.slower["+1"].ratio == pytest.approx(1.007, abs=5e-4)
    assert tiny.slower["+3"].ratio == pytest.approx(1.05, abs=5e-3)
    assert set(k7.slower) == {"+1", "+3"}
    assert k7.same.ratio == pytest.approx(1, abs=1e-3)
    assert k7.knob == 1


def test_a_gate_that_called_everything_slower_would_show(read: Callable[..., Calibration]) -> None:
    def same_is_slower(document: dict[str, Any]) -> None:
        for launch in document["launches"]:
            arms = launch["samples"]["k7_small_k"]
            arms["A2"], arms["+1"] = arms["+3"], arms["A2"]

    k7 = rates(read(same_is_slower), LIMITS, runs=20).cases[0]
    assert k7.same.rate(*CHANGED).share == 1
    assert k7.slower["+1"].rate(Status.SLOWER).share == 0


def test_runs_one_after_another_share_no_launch_and_the_interval_rests_on_their_number(found: Rates) -> None:
    k7 = found.cases[0]
    # Twelve launches of one card and eight of the other, decided at the first look of four.
    assert k7.slower["+3"].live == {Status.SLOWER: 5}
    rate = k7.slower["+3"].rate(Status.SLOWER)
    assert (rate.runs, rate.independent) == (20, 5)
    assert rate.interval() == pytest.approx((0.025 ** (1 / 5), 1.0))


def test_an_undecided_run_takes_four_more_launches_and_the_last_one_stays_unsure(
    read: Callable[..., Calibration],
) -> None:
    def one_card_whose_launches_contradict_each_other(document: dict[str, Any]) -> None:
        document["launches"] = document["launches"][:12]
        for number, launch in enumerate(document["launches"]):
            arms = launch["samples"]["k7_small_k"]
            arms["+3"] = [s * (1.02 if number % 2 else 0.99) for s in arms["+0"]]

    k7 = rates(read(one_card_whose_launches_contradict_each_other), LIMITS, runs=5).cases[0]
    assert k7.slower["+3"].live == {Status.UNSURE: 2}  # of launches 1 to 8, and of 9 to 12


def test_whole_runs_judge_all_cases_together(found: Rates) -> None:
    assert {name: (rate.flagged, rate.runs) for name, rate in found.whole.items()} == {
        AGAIN: (0, 5),
        "+1": (5, 5),
        "+3": (5, 5),
    }


def test_a_disturbed_case_is_left_out_of_its_launch_and_said(read: Callable[..., Calibration]) -> None:
    state = {"k1_sq4096": {"throttle_reasons": ["power brake"]}, "tiny512": {"foreign_processes": 1}}
    found = read(lambda document: document["launches"][2].update(states=state))
    assert set(found.launches[2].samples) == {"k7_small_k"}
    assert found.left_out == (
        "k1_sq4096: the card throttled in launch 3 of 20 (power brake), expected full clocks.",
        "tiny512: 1 other processes used the card in launch 3 of 20, expected it idle.",
    )


def test_a_size_that_was_not_reached_and_a_case_that_failed_are_said(read: Callable[..., Calibration]) -> None:
    knobs = {"+0.5": {"extra": 1, "slowdown": 0.0091, "reached": False}, "+1": {"extra": 9, "reached": True}}

    def spoil(document: dict[str, Any]) -> None:
        document["launches"][0]["states"] = {"tiny512": {"knobs": knobs}}
        document["about"]["failed"] = ["k2: its process died."]

    found = read(spoil)
    assert found.left_out == (
        "k2: its process died.",
        "tiny512: no extra work was found that slows it by +0.5 %, the nearest gave +0.91 %.",
    )
    page = report.markdown(found, rates(found, LIMITS, runs=5), LIMITS)
    assert "- k2: its process died." in page
    assert "| k7_small_k | " in page
    assert " | not reached | +1.00 %: " in page
    assert "![" not in page


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda document: document.pop("schema"), "other-schema"),
        (lambda document: document.pop("about"), "malformed"),
        (lambda document: document["about"].update(suite=0), "malformed"),
        (lambda document: document.update(launches=[]), "malformed"),
    ],
)
def test_a_recording_that_cannot_be_trusted_is_refused(
    read: Callable[..., Calibration], spoil: Spoil, reason: str
) -> None:
    with pytest.raises(GateError, match="record it anew") as caught:
        read(spoil)
    assert caught.value.reason == reason


def test_too_few_launches_give_no_rates(read: Callable[..., Calibration]) -> None:
    few = read(lambda document: document.update(launches=document["launches"][:7]))
    assert few.left_out[0] == "k7_small_k: 7 of 7 launches could be used, expected 8 or more."
    with pytest.raises(GateError, match="7 launches are recorded and none of the cases has 8"):
        rates(few, LIMITS, runs=5)


def test_a_case_with_too_few_sound_launches_is_left_out_and_the_others_are_judged(
    read: Callable[..., Calibration],
) -> None:
    def throttled(document: dict[str, Any]) -> None:
        document["launches"] = document["launches"][:10]
        for launch in document["launches"][:3]:
            launch["states"] = {"tiny512": {"throttle_reasons": ["power brake"]}}

    found = read(throttled)
    assert found.left_out[-1] == "tiny512: 7 of 10 launches could be used, expected 8 or more."
    assert [one.case for one in rates(found, LIMITS, runs=5).cases] == ["k7_small_k", "k1_sq4096"]


def test_a_rare_alarm_is_never_rounded_to_none_nor_a_missed_slowdown_to_all(found: Rates) -> None:
    same = found.cases[0].same
    same.drawn.update({Status.SAME: 980, Status.SLOWER: 2})
    assert report._share(same.rate(Status.SLOWER)).startswith("0.2 % [")  # noqa: SLF001 - its rounding is the point
    assert report._share(same.rate(Status.SAME)).startswith("99.8 % [")  # noqa: SLF001 - the same


def test_equal_rates_give_equal_bytes_of_the_plot(found: Rates, tmp_path: Path) -> None:
    drawn = [tmp_path / name for name in ("one.svg", "two.svg")]
    for path in drawn:
        report.draw(found.cases, LIMITS, path, title="H100")
    one, two = (path.read_bytes() for path in drawn)
    assert one == two
    assert b"<dc:date>" not in one
