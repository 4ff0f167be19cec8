"""The required check is red when anything was skipped, hidden or forged, and says what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from github_world import CASES, KERNEL, PROJECT_FILE, SLUG, World
from recorded import recording

if TYPE_CHECKING:
    from pathlib import Path

_SLOWER = {"k1_sq4096": 1.03}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _pull_request(world: World, *, fork: bool = False) -> None:
    world.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    world.event("pull_request", fork=fork)


@pytest.mark.parametrize("ended_as", ["skipped", "cancelled", "missing"])
def test_jobs_with_cards_that_were_not_run_make_it_red(world: World, ended_as: str) -> None:
    _pull_request(world)
    ended = world.check(measure=ended_as)
    assert ended.code == 2
    assert ended_as in ended.summary


def test_a_forks_commit_that_waits_for_nobody_any_more_is_red_and_says_what_a_maintainer_does(world: World) -> None:
    _pull_request(world, fork=True)
    said = "Commit aaaa of #7 comes from a fork; a maintainer approves this run."
    ended = world.check(measure="skipped", admit={"result": "failure", "outputs": {"said": said}})
    assert ended.code == 2
    assert "## perf: could not be judged (nothing was measured)" in ended.summary
    assert (
        "- **Not judged.** Commit aaaa of #\u200b7 comes from a fork; a maintainer approves this run." in ended.summary
    )


def test_a_reviewers_refusal_is_red_and_said(world: World) -> None:
    _pull_request(world, fork=True)
    ended = world.check(measure="skipped", approve={"result": "failure"}, admit={"result": "skipped"})
    assert ended.code == 2
    assert "reviewer refused" in ended.summary


def test_a_plan_that_failed_is_red(world: World) -> None:
    _pull_request(world)
    assert world.check(plan={"result": "failure", "outputs": {}}).code == 2
    assert world.check(plan={"result": "success", "outputs": {}}).code == 2


def test_a_card_without_results_is_red_and_named(world: World) -> None:
    world.base = world.commit({"pyproject.toml": f'{PROJECT_FILE}rtx-4090 = "nvidia-geforce-rtx-4090"\n'})
    _pull_request(world)
    world.leave(world.measured())
    ended = world.check()
    assert ended.code == 2
    assert "rtx-4090 left no results" in ended.summary
    assert "h100" not in "".join(line for line in ended.summary.splitlines() if "Not judged" in line)


def test_two_cards_are_judged_together_and_the_worse_counts(world: World) -> None:
    other = "nvidia-h200"
    world.base = world.commit({"pyproject.toml": f'{PROJECT_FILE}h200 = "{other}"\n'})
    _pull_request(world)
    world.leave(world.measured())
    environment = {"gpu": "NVIDIA H200", "driver": "1", "code_path": "native", "uuid": "GPU-2"}
    second = recording(range(5, 9), cases=CASES, other="A2", environment=environment, scale=_SLOWER)
    world.cards = (SLUG, other)
    world.leave(second, slug=other, against_baseline=False)
    ended = world.check(measure="failure")
    assert ended.code == 1
    assert "h200%3A k1_sq4096 SLOWER" in ended.said
    assert f"### {SLUG}" in ended.summary


def test_results_of_another_card_than_the_runners_are_red(world: World) -> None:
    _pull_request(world)
    current = world.measured(environment={"gpu": "NVIDIA H200", "driver": "1"})
    world.leave(current)
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert f"expected {SLUG}" in ended.summary


def test_a_stage_that_was_left_out_is_red(world: World) -> None:
    _pull_request(world)
    folder = world.leave(world.measured())
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    document["stages"][1] |= {"done": "", "left_out": "nothing chosen", "verdicts": []}
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    ended = world.check()
    assert ended.code == 2
    assert "Compiled was not judged (nothing chosen)" in ended.summary


def test_a_partial_run_is_red(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured(), run={"partial": True})
    ended = world.check()
    assert ended.code == 2
    assert "Only chosen cases" in ended.summary


def test_a_case_that_was_compiled_and_is_not_of_the_suite_is_red(world: World) -> None:
    _pull_request(world)
    folder = world.leave(world.measured())
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    extra = document["stages"][1]["verdicts"][0] | {"case": "k99"}
    document["stages"][1]["verdicts"].append(extra)
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    ended = world.check()
    assert ended.code == 2
    assert "Compiled speaks of k99, expected only cases of the base's suite." in ended.summary


def test_a_job_that_hid_a_failing_step_is_red(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured(scale=_SLOWER))
    ended = world.check(measure="success")
    assert ended.code == 1
    assert "hid its exit code" in ended.summary


def test_a_job_that_failed_though_its_verdicts_pass_is_red(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured())
    assert world.check(measure="failure").code == 2


def test_verdicts_that_the_samples_do_not_give_are_not_believed(world: World) -> None:
    _pull_request(world)
    folder = world.leave(world.measured(scale=_SLOWER))
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for verdict in document["stages"][2]["verdicts"]:
        verdict["status"] = "SAME"
    document["exit"] = 0
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    ended = world.check()
    assert ended.code == 2
    assert "its samples give SLOWER" in ended.summary.replace("\\", "")


@pytest.mark.parametrize("name", ["run.json", "current.json"])
@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', "\udcff"])
def test_a_results_file_that_cannot_be_read_is_red_and_named(world: World, name: str, text: str) -> None:
    _pull_request(world)
    folder = world.leave(world.measured())
    (folder / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    ended = world.check()
    assert ended.code == 2
    assert name in ended.summary.replace("\\", "")


def test_a_results_file_that_is_a_link_is_refused(world: World) -> None:
    _pull_request(world)
    folder = world.leave(world.measured())
    (folder / "run.json").rename(folder / "real.json")
    (folder / "run.json").symlink_to(folder / "real.json")
    assert world.check().code == 2


@pytest.mark.parametrize(("key", "value"), [("flops", "many"), ("flops", 10**400)])
def test_samples_with_a_contract_that_is_none_are_refused_in_a_sentence(world: World, key: str, value: object) -> None:
    _pull_request(world)
    folder = world.leave(world.measured())
    document = json.loads((folder / "current.json").read_text(encoding="utf-8"))
    document["benchmarks"][0]["extra_info"]["perfgate"]["contract"] = {key: value}
    (folder / "current.json").write_text(json.dumps(document), encoding="utf-8")
    assert world.check().code == 2
