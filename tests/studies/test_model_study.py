"""How well modelled times agree with measured ones, and the pages that say so."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate.compare.estimators import typical_seconds
from perfgate.records import GateError
from studies.cost_model import page, rates
from studies.cost_model.__main__ import main, read
from studies.cost_model.rates import Point

BASELINES = Path(__file__).resolve().parents[2] / "baselines/nvidia-h100-80gb-hbm3"
POINT = Point(case="one", id="a", measured_s=1.0, modelled_s=1.0, current=False, bound="DRAM", share=0.9)


def points(*times: tuple[float, float], case: str = "one") -> list[Point]:
    """Measured and modelled seconds."""
    return [
        replace(POINT, case=case, id=str(number), measured_s=measured, modelled_s=modelled)
        for number, (measured, modelled) in enumerate(times)
    ]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ([1, 2, 3, 4], [10, 20, 30, 40], 1.0),
        ([1, 2, 3, 4], [1, 8, 27, 1000], 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], -1.0),
        ([1, 2, 3, 4, 5], [2, 1, 4, 3, 5], 0.8),  # 1 - 6 Σd² / (n (n² - 1)) with Σd² = 4
        ([1, 1, 2], [5, 5, 9], 1.0),
        ([1, 2, 2, 3], [1, 2, 3, 4], 0.9486832980505138),  # 4.5 / √(4.5 · 5), ranks 1, 2.5, 2.5, 4
    ],
)
def test_rank_correlation_is_that_of_hand_made_examples(left: Any, right: Any, expected: float) -> None:
    assert rates.spearman(left, right) == pytest.approx(expected)


@pytest.mark.parametrize(("left", "right"), [([], []), ([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3])])
def test_of_too_few_and_of_ties_alone_there_is_none(left: Any, right: Any) -> None:
    assert math.isnan(rates.spearman(left, right))


def test_the_pick_is_what_the_model_says_and_costs_what_the_clock_says() -> None:
    (case,) = rates.rates(points((1.0, 3.0), (1.2, 2.0), (0.9, 2.5))).by_case
    assert (case.pick, case.best, case.count) == ("1", "2", 3)
    assert case.loss == pytest.approx(1.2 / 0.9 - 1)
    assert case.spearman == pytest.approx(-0.5)


def test_a_pick_is_close_within_five_percent() -> None:
    near, far = points((1.0, 2.0), (1.05, 1.0)), points((1.0, 2.0), (1.06, 1.0), case="other")
    found = rates.rates([*near, *far])
    assert found.close_picks == 1
    assert len(found.by_case) == 2


def test_errors_are_by_size_whichever_way_they_point() -> None:
    found = rates.rates(
        points(*((1.0, 1.0 + sign * size / 100) for size, sign in zip(range(1, 11), [1, -1] * 5, strict=True)))
    )
    assert found.median_error == pytest.approx(0.055)
    assert found.p90_error == pytest.approx(0.09)
    assert found.by_case[0].median_error == pytest.approx(-0.005)  # with their signs


def test_comparisons_are_within_a_case_and_wrong_where_the_clock_disagrees() -> None:
    one, other = points((1.0, 1.0), (0.9, 1.25), (2.0, 1.3)), points((9.0, 0.1), case="other")
    found = rates.rates([*one, *other], apart=(0.01, 0.2, 0.28, 0.5))
    # 1.25 against 1.0 is wrong; 1.3 against both is right, by 30 and by 4 percent.
    assert found.steps == {0.01: (3, 1), 0.2: (2, 1), 0.28: (1, 0), 0.5: (0, 0)}


def test_equal_times_are_not_the_slower_one_that_was_foretold() -> None:
    assert rates.rates(points((1.0, 1.0), (1.0, 2.0)), apart=(0.1,)).steps == {0.1: (1, 1)}


@pytest.mark.parametrize(
    ("steps", "chance", "expected"),
    [
        ({0.1: (100, 4), 0.2: (50, 0)}, 0.01, 0.2),
        ({0.1: (100, 1), 0.2: (50, 0)}, 0.01, 0.1),
        ({0.1: (100, 0), 0.2: (50, 5)}, 0.01, math.inf),
        ({0.1: (100, 0), 0.2: (0, 0)}, 0.01, 0.1),
        ({0.1: (100, 9)}, 0.1, 0.1),
    ],
    ids=["the next", "the first", "a wrong one beyond", "none beyond", "as many as may be"],
)
def test_the_tolerance_is_the_smallest_step_beyond_which_few_are_wrong(
    steps: dict[float, tuple[int, int]], chance: float, expected: float
) -> None:
    assert rates.tolerance(replace(rates.rates(points((1.0, 1.0))), steps=steps), chance=chance) == expected


def test_times_without_a_relation_have_no_rank_correlation() -> None:
    draw = random.Random(1)  # noqa: S311 - a draw
    assert abs(rates.spearman([draw.random() for _ in range(500)], [draw.random() for _ in range(500)])) < 0.15


@pytest.mark.parametrize("path", ["sm89", "native"])
def test_the_page_that_is_kept_is_what_todays_model_says_of_the_times_that_are_kept(path: str) -> None:
    """So no number of those cards and no formula can change without the page that was measured."""
    kept = (BASELINES / f"model-{path}.md").read_text(encoding="utf-8")
    assert page.markdown(read(BASELINES / f"model-{path}.json.gz"), typical_seconds) == kept


def test_the_pages_numbers_are_those_of_the_projects_claim() -> None:
    found = {
        path: rates.rates(page.points(read(BASELINES / f"model-{path}.json.gz"), typical_seconds))
        for path in ("sm89", "native")
    }
    assert {path: round(one.spearman, 3) for path, one in found.items()} == {"sm89": 0.996, "native": 0.984}
    assert found["sm89"].close_picks == len(found["sm89"].by_case) == 18
    assert (found["native"].close_picks, len(found["native"].by_case)) == (15, 17)


def test_no_pair_of_a_study_was_fitted_to() -> None:
    for path in ("sm89", "native"):
        fitted = {(pair["case"], pair["id"]) for pair in read(BASELINES / f"model-fitted-{path}.json")["pairs"]}
        drawn = [pair for pair in read(BASELINES / f"model-{path}.json.gz")["pairs"] if not pair["current"]]
        assert not fitted & {(pair["case"], pair["id"]) for pair in drawn}
        assert len(drawn) > 100


def test_what_the_page_says_first_is_what_is_right_and_then_what_is_wrong() -> None:
    text = (BASELINES / "model-sm89.md").read_text(encoding="utf-8")
    assert text.index("## What it gets right") < text.index("## What it gets wrong") < text.index("## Each pair")
    assert "**Not a 4090.**" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no study"),
        ("[]", "is no study"),
        ('{"schema": 1}', "is no study"),
        ('{"schema": 2, "path": "sm89", "pairs": []}', "not what a study of schema 1 wrote"),
        ('{"schema": 1, "path": "elsewhere", "pairs": []}', "not what a study"),
        ('{"schema": 1, "path": "sm89", "pairs": [{"case": "k1"}]}', "not what a study"),
        ('{"schema": 1, "path": "sm89", "pairs": [1]}', "is no study"),
    ],
)
def test_what_is_no_study_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "study.json"
    file.write_text(text)
    with pytest.raises(GateError, match=said) as refused:
        read(file)
    assert refused.value.reason == "unreadable"
    assert "\n" not in refused.value.text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--count", "0"], "--count is 0"),
        (["--launches", "-1"], "--launches is -1"),
        (["--case", "k99"], "k99 is not studied"),
        (["--paths", "sm89,rtx"], "--paths has 'rtx'"),
        (["--paths", ""], "--paths has ''"),
        (["--from", "nowhere.json"], "nowhere.json is no study"),
        (["--unknown"], "--unknown"),
    ],
)
def test_bad_usage_is_said_in_one_line_and_ends_with_two(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--output", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("INVALID ")
    assert list(tmp_path.iterdir()) == []


def test_kept_studies_are_judged_again_without_a_card(tmp_path: Path) -> None:
    kept = read(BASELINES / "model-native.json.gz")
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(kept))
    assert main(["--from", str(plain), "--output", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out/native.md").read_bytes() == (BASELINES / "model-native.md").read_bytes()
