"""Results that were forged or left half: nothing makes the required check green without the samples that it stands on."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from github_world import KERNEL, World
from perfgate.store.recording import write_recording

if TYPE_CHECKING:
    from pathlib import Path

_SLOWER = {"k1_sq4096": 1.03}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    made.event("pull_request")
    return made


def _run(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    return found


def _write(folder: Path, run: dict[str, Any]) -> None:
    (folder / "run.json").write_text(json.dumps(run), encoding="utf-8")


def _forged(world: World) -> Path:
    """A slower kernel's results that say SAME of every case."""
    folder = world.leave(world.measured(scale=_SLOWER))
    run = _run(folder)
    for verdict in run["stages"][2]["verdicts"]:
        verdict["status"] = "SAME"
    _write(folder, run | {"exit": 0})
    return folder


def test_verdicts_without_samples_are_not_believed(world: World) -> None:
    (_forged(world) / "current.json").unlink()
    ended = world.check()
    assert ended.code == 2
    assert "has no samples, expected those of every timed case" in ended.summary


def test_samples_that_are_a_link_to_nowhere_are_refused(world: World) -> None:
    folder = _forged(world)
    (folder / "current.json").unlink()
    (folder / "current.json").symlink_to("/nonexistent")
    assert world.check().code == 2


def test_samples_that_are_a_folder_are_refused(world: World) -> None:
    folder = _forged(world)
    (folder / "current.json").unlink()
    (folder / "current.json").mkdir()
    ended = world.check()
    assert ended.code == 2
    assert ended.summary


def test_a_slower_case_cannot_be_taken_out_of_the_samples(world: World) -> None:
    folder = _forged(world)
    current = world.measured(scale=_SLOWER)
    kept = {case: samples for case, samples in current.samples.items() if case not in _SLOWER}
    (folder / "current.json").unlink()
    write_recording(folder / "current.json", dataclasses.replace(current, samples=kept))
    ended = world.check()
    assert ended.code == 2
    assert "k1\\_sq4096 has no samples" in ended.summary


def test_what_could_not_be_judged_as_a_whole_is_kept_with_its_reason(world: World) -> None:
    folder = world.leave(world.measured())
    run = _run(folder)
    none = {"ratio": None, "low": None, "high": None, "limit": None}
    whole = (
        run["stages"][2]["verdicts"][0] | none | {"case": "*", "status": "INVALID", "text": "3 tests were deselected."}
    )
    run["stages"][2]["verdicts"].append(whole)
    _write(folder, run | {"exit": 2})
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert "- **INVALID** 3 tests were deselected." in ended.summary


def test_a_run_that_lacks_a_stage_is_red_whatever_else_fails(world: World) -> None:
    for number, name in enumerate(("Correctness", "Compiled", "Throughput")):
        folder = world.leave(world.measured(scale=_SLOWER))
        run = _run(folder)
        run["stages"].pop(number)
        _write(folder, run | {"exit": 0 if name == "Throughput" else 1})
        ended = world.check(measure="failure")
        assert ended.code == 2
        assert f"{name} was not judged." in ended.summary
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_a_wrong_kernel_needs_no_throughput_stage(world: World) -> None:
    folder = world.leave(world.measured(), wrong=["sq2048"])
    run = _run(folder)
    run["stages"].pop(2)
    _write(folder, run)
    (folder / "current.json").unlink()
    ended = world.check(measure="failure")
    assert ended.code == 1
    assert "**WRONG** sq2048" in ended.summary


def test_a_run_that_says_nothing_of_any_case_is_red(world: World) -> None:
    folder = world.leave(world.measured())
    run = _run(folder)
    for stage in run["stages"]:
        stage["verdicts"] = []
    _write(folder, run | {"exit": 0})
    assert world.check().code == 2


def test_a_stage_that_failed_before_it_judged_is_excused_by_no_label(world: World) -> None:
    from perfgate.github.conclusion import LABEL

    world.candidate = world.head = world.base
    world.root.joinpath(".git/refs/heads/change").unlink()
    world.pull_request({"baselines/x/matmul.json": "{}"})
    world.event("pull_request", labels=[LABEL])
    folder = world.leave(world.measured())
    run = _run(folder)
    busy = run["stages"][2]["verdicts"][0] | {"status": "INVALID", "reason": "busy", "ratio": None}
    run["stages"][2] |= {"done": "", "verdicts": [busy]}
    _write(folder, run | {"exit": 2})
    (folder / "current.json").unlink()
    world.leave(world.measured(), own=True)
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert "Throughput was not judged (busy)." in ended.summary


def test_a_job_without_outputs_is_named_and_red(world: World) -> None:
    world.leave(world.measured())
    for job in ("admit", "plan"):
        jobs: dict[str, Any] = {job: {"result": "failure", "outputs": None}}
        ended = world.check(**jobs)
        assert ended.code == 2
        assert f"The job {job} is failure" in ended.summary
    assert world.check(plan={"result": "success", "outputs": None}).code == 2


def test_a_case_that_only_the_run_speaks_of_is_refused(world: World) -> None:
    folder = world.leave(world.measured())
    run = _run(folder)
    run["stages"][2]["verdicts"].append(run["stages"][2]["verdicts"][0] | {"case": "k99"})
    _write(folder, run)
    ended = world.check()
    assert ended.code == 2
    assert "Throughput speaks of k99, expected only cases of the base's suite." in ended.summary


@pytest.mark.parametrize("failing", ["k1_sq4096", "*"])
def test_a_failure_elsewhere_hides_no_case_that_was_not_measured(world: World, failing: str) -> None:
    folder = world.leave(world.measured(scale=_SLOWER if failing != "*" else 1.0))
    current = world.measured(scale=_SLOWER if failing != "*" else 1.0)
    kept = {case: samples for case, samples in current.samples.items() if case != "sq2048"}
    (folder / "current.json").unlink()
    write_recording(folder / "current.json", dataclasses.replace(current, samples=kept))
    run = _run(folder)
    for stage in run["stages"][1:]:
        stage["verdicts"] = [verdict for verdict in stage["verdicts"] if verdict["case"] != "sq2048"]
    if failing == "*":
        whole = run["stages"][2]["verdicts"][0] | {"case": "*", "status": "INVALID", "ratio": None}
        run["stages"][2]["verdicts"].append(whole)
        run["exit"] = 2
    _write(folder, run)
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert "sq2048" in ended.summary


def test_a_wrong_result_excuses_no_other_stage_that_is_missing(world: World) -> None:
    folder = world.leave(world.measured(), wrong=["sq2048"])
    run = _run(folder)
    run["stages"].pop(1)
    _write(folder, run)
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert "Compiled was not judged." in ended.summary
