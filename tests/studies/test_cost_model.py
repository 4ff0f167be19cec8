"""The model of a kernel's time against the clock: how well they agree, the pages that say so, and the pairs that were drawn."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfgate import workers
from perfgate.records import GateError
from studies.cost_model import rates
from studies.cost_model.command import launch, main, read
from studies.cost_model.pairs import PATHS, Pair
from studies.cost_model.rates import Point

ROOT = Path(__file__).resolve().parents[2]
BASELINES = ROOT / "baselines/nvidia-h100-80gb-hbm3"
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


def test_of_too_few_and_of_ties_alone_there_is_none() -> None:
    assert all(math.isnan(rates.spearman(left, [1, 2, 3][: len(left)])) for left in ([], [1, 2], [1, 1, 1]))


def test_the_pick_is_what_the_model_says_and_costs_what_the_clock_says() -> None:
    (case,) = rates.rates(points((1.0, 3.0), (1.2, 2.0), (0.9, 2.5))).by_case
    assert (case.pick, case.best, case.count) == ("1", "2", 3)
    assert case.loss == pytest.approx(1.2 / 0.9 - 1)
    assert case.spearman == pytest.approx(-0.5)


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
    assert rates.rates(points((1.0, 1.0), (1.0, 2.0)), apart=(0.1,)).steps == {0.1: (1, 1)}  # equal is not slower


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


def test_no_pair_of_a_study_was_fitted_to() -> None:
    for path in ("sm89", "native"):
        fitted = {(pair["case"], pair["id"]) for pair in read(BASELINES / f"model-fitted-{path}.json")["pairs"]}
        drawn = [pair for pair in read(BASELINES / f"model-{path}.json.gz")["pairs"] if not pair["current"]]
        assert not fitted & {(pair["case"], pair["id"]) for pair in drawn}
        assert len(drawn) > 100


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


def test_the_pages_that_are_kept_are_what_todays_model_says_of_the_times_that_are_kept(tmp_path: Path) -> None:
    """So no number of those cards and no formula can change without the page that was measured."""
    kept = [BASELINES / f"model-{path}.json.gz" for path in ("sm89", "native")]
    assert main(["--from", *map(str, kept), "--output", str(tmp_path)]) == 0
    for name in ("sm89.md", "native.md"):
        assert (tmp_path / name).read_bytes() == (BASELINES / f"model-{name}").read_bytes()


# --- pairs


CONFIG = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8, "num_warps": 4, "num_stages": 3}

# Draws of the smallest case, in a process of its own: the kernel is compiled to see what its rule chooses. One draw has
# a process as a study has several; the others a thread in its place, which is quicker.
_DRAW = """
import dataclasses, json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from studies.cost_model import pairs

KERNEL, PATH = Path("kernels/matmul.py"), pairs.PATHS["sm89"]

def draw(**options):
    return pairs.draw(KERNEL, PATH, cases=("sq512_fp16", "k4_matrix_vector"), count=4, **options)

if __name__ == "__main__":
    pairs.processors = lambda: 1
    draws = {"again": draw(seed=1)}
    pairs._processes = lambda: ThreadPoolExecutor(1)
    first = draws["first"] = draw(seed=1)
    draws["other"] = draw(seed=2)
    draws["avoided"] = draw(seed=1, avoided={(first[1].case, first[1].id)})
    built = [[dataclasses.asdict(pair), kernels, error] for pair, kernels, error in pairs.compile_pairs(KERNEL, PATH, first[:2])]
    print(json.dumps([{name: [dataclasses.asdict(pair) for pair in drawn] for name, drawn in draws.items()}, built]))
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Any:
    script = tmp_path_factory.mktemp("draw") / "draw.py"
    script.write_text(_DRAW)
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run(
        [sys.executable, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_seed_draws_the_same_pairs_the_present_choice_first_none_twice_and_none_that_was_looked_at(
    drawn: Any,
) -> None:
    draws, _ = drawn
    assert draws["first"] == draws["again"] != draws["other"]
    for found in draws.values():
        assert [pair["current"] for pair in found] == [True, False, False, False, False]
        assert len({pair["id"] for pair in found}) == 5
    assert draws["first"][1] not in draws["avoided"]
    # A case that runs another kernel has no pairs.
    assert {pair["case"] for found in draws.values() for pair in found} == {"sq512_fp16"}
    tiles = [{key: value for key, value in pair["config"].items() if key != "GROUP_M"} for pair in draws["first"]]
    assert any(tiles.count(tile) == 2 for tile in tiles)  # some differ in the order of tiles alone


def test_a_pair_is_compiled_as_it_was_drawn_for_the_card_that_will_run_it(drawn: Any) -> None:
    draws, built = drawn
    assert [pair for pair, _, _ in built] == draws["first"][:2]
    for pair, kernels, error in built:
        assert error == ""
        (facts,) = kernels
        assert {key: facts["config"][key] for key in pair["config"]} == pair["config"]
        assert facts["main_loop"]["tensor_unit"] == "mma16"  # the 4090's path, though the card has warp groups
    for path in PATHS.values():
        assert (path.lowered_for or path.target) == ("sm_90" if path.kernel == "hopper_kernel" else "sm_89")


PAIRS = [
    Pair(case="sq512_fp16", id="64x64x32 w4 s3 g8", config=CONFIG, current=True),
    Pair(case="sq512_fp16", id="64x64x32 w8 s3 g8", config={**CONFIG, "num_warps": 8}, current=False),
    Pair(case="k1_square", id="64x64x32 w4 s3 g8", config=CONFIG, current=False),
]


@pytest.mark.parametrize(("path", "expected"), [("sm89", "sm89"), ("native", None)])
def test_a_launch_gives_the_median_of_each_pairs_runs_in_a_process_of_the_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, expected: str | None
) -> None:
    """Played by a process that notes how it was called and leaves its steps."""
    called: dict[str, Any] = {}
    (tmp_path / f"launch-{path}-7.jsonl").write_text("of a launch before\n")
    steps = [
        {"step": "started", "case": "sq512_fp16"},
        {
            "step": "timed",
            "case": "sq512_fp16",
            "seconds": {"64x64x32 w4 s3 g8": [3.0, 1.0, 2.0], "64x64x32 w8 s3 g8": []},
        },
        {"step": "timed", "case": "k1_square", "seconds": {"64x64x32 w4 s3 g8": [5.0]}},
    ]

    def work(words: list[str], **options: Any) -> Any:
        plan, left = map(Path, words[-2:])
        assert not left.exists()
        called.update(options, plan=json.loads(plan.read_text(encoding="utf-8")))
        left.write_text("".join(json.dumps(step) + "\n" for step in steps), encoding="utf-8")
        return subprocess.CompletedProcess(words, called.get("returncode", 0))

    monkeypatch.setattr(workers, "run", work)
    assert launch(ROOT, tmp_path, PATHS[path], PAIRS, number=7) == {
        ("sq512_fp16", "64x64x32 w4 s3 g8"): 2.0,
        ("k1_square", "64x64x32 w4 s3 g8"): 5.0,
    }
    assert called["environment"].get("TRITON_OVERRIDE_ARCH") == expected
    assert called["plan"]["seed"] == 7
    assert {case: list(one["candidates"]) for case, one in called["plan"]["cases"].items()} == {
        "sq512_fp16": ["64x64x32 w4 s3 g8", "64x64x32 w8 s3 g8"],
        "k1_square": ["64x64x32 w4 s3 g8"],
    }
    called["returncode"] = 1
    with pytest.raises(GateError, match=r"ended with 1; its output is in .*launch-.*-7\.log"):
        launch(ROOT, tmp_path, PATHS[path], PAIRS, number=7)
