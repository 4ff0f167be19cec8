"""Pairs of a study: drawn the same every time before anything is known of them, compiled as they were drawn, timed apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from perfgate.records import GateError
from studies.cost_model import measured, pairs
from studies.cost_model.pairs import PATHS, Pair

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"BLOCK_M": 64, "BLOCK_N": 64, "BLOCK_K": 32, "GROUP_M": 8, "num_warps": 4, "num_stages": 3}

# Draws of the smallest case, in a process of its own: the kernel is compiled to see what its rule chooses. One draw has
# a process as a study has several; the others a thread in its place, which is quicker.
_DRAW = """
import dataclasses, json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from perf_tests.model_study import pairs

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


def test_the_same_seed_draws_the_same_pairs_and_another_seed_others(drawn: Any) -> None:
    draws, _ = drawn
    assert draws["first"] == draws["again"]
    assert draws["first"] != draws["other"]


def test_the_present_choice_is_always_among_them_once_and_nothing_is_drawn_twice(drawn: Any) -> None:
    draws, _ = drawn
    for found in draws.values():
        assert [pair["current"] for pair in found] == [True, False, False, False, False]
        assert len({pair["id"] for pair in found}) == 5


def test_a_case_that_runs_another_kernel_has_no_pairs(drawn: Any) -> None:
    draws, _ = drawn
    assert {pair["case"] for found in draws.values() for pair in found} == {"sq512_fp16"}


def test_pairs_that_were_looked_at_before_are_not_drawn(drawn: Any) -> None:
    draws, _ = drawn
    avoided = draws["first"][1]
    assert avoided not in draws["avoided"]
    assert len(draws["avoided"]) == 5


def test_some_pairs_differ_in_the_order_of_tiles_alone(drawn: Any) -> None:
    draws, _ = drawn
    tiles = [{key: value for key, value in pair["config"].items() if key != "GROUP_M"} for pair in draws["first"]]
    assert any(tiles.count(tile) == 2 for tile in tiles)


def test_a_pair_is_compiled_as_it_was_drawn_for_the_card_that_will_run_it(drawn: Any) -> None:
    draws, built = drawn
    assert [pair for pair, _, _ in built] == draws["first"][:2]
    for pair, kernels, error in built:
        assert error == ""
        (facts,) = kernels
        assert {key: facts["config"][key] for key in pair["config"]} == pair["config"]
        assert facts["main_loop"]["tensor_unit"] == "mma16"  # the 4090's path, though the card has warp groups


@pytest.mark.parametrize("path", PATHS.values(), ids=list(PATHS))
def test_a_code_path_is_lowered_for_the_card_that_it_is_of(path: pairs.CodePath) -> None:
    assert (path.lowered_for or path.target) == ("sm_90" if path.kernel == "hopper_kernel" else "sm_89")


PAIRS = [
    Pair(case="sq512_fp16", id="64x64x32 w4 s3 g8", config=CONFIG, current=True),
    Pair(case="sq512_fp16", id="64x64x32 w8 s3 g8", config={**CONFIG, "num_warps": 8}, current=False),
    Pair(case="k1_square", id="64x64x32 w4 s3 g8", config=CONFIG, current=False),
]


class Worker:
    """Stands in for the process that times: notes how it was called and leaves its steps."""

    def __init__(self, steps: list[dict[str, Any]], *, returncode: int = 0) -> None:
        self.steps, self.returncode = steps, returncode
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self.plan: dict[str, Any] = {}

    def __call__(self, command: list[str], **options: Any) -> Any:
        self.command, self.environment = command, options["environment"]
        self.plan = json.loads(Path(command[-2]).read_text(encoding="utf-8"))
        Path(command[-1]).write_text("".join(json.dumps(step) + "\n" for step in self.steps), encoding="utf-8")
        return subprocess.CompletedProcess(command, self.returncode)


def launch(monkeypatch: pytest.MonkeyPatch, worker: Worker, output: Path, path: str = "sm89") -> Any:
    monkeypatch.setattr("perfgate.workers.run", worker)
    return measured.launch(ROOT, output, PATHS[path], PAIRS, number=7)


def timed(case: str, **seconds: list[float]) -> dict[str, Any]:
    return {
        "step": "timed",
        "case": case,
        "seconds": {f"64x64x32 {name} s3 g8": runs for name, runs in seconds.items()},
    }


def test_a_launch_gives_the_median_of_each_pairs_runs_and_nothing_for_a_pair_that_did_not_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = [
        {"step": "started", "case": "sq512_fp16"},
        timed("sq512_fp16", w4=[3.0, 1.0, 2.0], w8=[]),
        timed("k1_square", w4=[5.0]),
    ]
    assert launch(monkeypatch, Worker(steps), tmp_path) == {
        ("sq512_fp16", "64x64x32 w4 s3 g8"): 2.0,
        ("k1_square", "64x64x32 w4 s3 g8"): 5.0,
    }


def test_all_pairs_of_a_case_are_planned_for_one_process_in_another_order_each_launch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    worker = Worker([])
    assert launch(monkeypatch, worker, tmp_path) == {}
    assert worker.plan["seed"] == 7
    assert {case: list(one["candidates"]) for case, one in worker.plan["cases"].items()} == {
        "sq512_fp16": ["64x64x32 w4 s3 g8", "64x64x32 w8 s3 g8"],
        "k1_square": ["64x64x32 w4 s3 g8"],
    }
    assert {one["kernel"] for one in worker.plan["cases"].values()} == {"matmul_kernel"}


@pytest.mark.parametrize(("path", "expected"), [("sm89", "sm89"), ("native", None)])
def test_the_process_lowers_as_the_path_says_whatever_the_environment_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, path: str, expected: str | None
) -> None:
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm75")
    worker = Worker([])
    launch(monkeypatch, worker, tmp_path, path)
    assert worker.environment.get("TRITON_OVERRIDE_ARCH") == expected


def test_a_process_that_ended_before_its_end_leaves_no_times(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    worker = Worker([timed("k1_square", w4=[5.0])], returncode=1)
    with pytest.raises(GateError, match=r"ended with 1; its output is in .*launch-sm89-7\.log") as refused:
        launch(monkeypatch, worker, tmp_path)
    assert refused.value.reason == "no-samples"


def test_times_of_a_launch_before_are_not_taken_for_this_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Silent(Worker):
        def __call__(self, command: list[str], **options: Any) -> Any:
            assert not Path(command[-1]).exists()
            return super().__call__(command, **options)

    (tmp_path / "launch-sm89-7.jsonl").write_text(json.dumps(timed("k1_square", w4=[1.0])) + "\n")
    assert launch(monkeypatch, Silent([]), tmp_path) == {}
