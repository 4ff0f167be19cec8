"""The one required check, through the workflows' own commands: red when anything was skipped, and why in the summary."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import pytest

from github_world import CASES, KERNEL, PROJECT_FILE, SLUG, Ended, World
from github_world import LABEL as RUNNER
from perfgate.github.conclusion import LABEL, read_conclusion
from perfgate.records import SCHEMA

if TYPE_CHECKING:
    from pathlib import Path

_SLOWER = {"k1_sq4096": 1.03}
_EDITED = {f"baselines/{SLUG}/matmul.json": "{}"}
_NEW_KERNEL = {"kernels/matmul.py": KERNEL.replace("pass", "return")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _pull_request(world: World, *, labels: tuple[str, ...] = (), edited: bool = False, fork: bool = False) -> None:
    world.pull_request(_NEW_KERNEL | (_EDITED if edited else {}))
    world.event("pull_request", labels=labels, fork=fork)


def _report(world: World) -> object:
    return read_conclusion((world.root / "report.json").read_bytes(), source="report.json")


def test_an_unchanged_kernel_passes_and_every_case_is_in_the_summary(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured())
    ended = world.check()
    assert ended.code == 0, ended.said
    assert all(case in ended.summary for case in CASES)
    assert "## perf: pass" in ended.summary


def test_a_slower_kernel_fails_with_one_line_a_case_that_matters_and_an_annotation_on_the_kernel(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured(scale=_SLOWER))
    ended = world.check(measure="failure")
    assert ended.code == 1
    lines = [line for line in ended.summary.splitlines() if line.startswith("- **SLOWER** ")]
    assert len(lines) == 1
    assert "k1\\_sq4096" in lines[0]
    assert f"--against {world.base[:12]}" in ended.summary
    marks = [line for line in ended.said.splitlines() if line.startswith("::")]
    assert len(marks) == 1
    assert marks[0].startswith("::error file=kernels/matmul.py,line=4,title=h100%3A k1_sq4096 SLOWER::")


def test_a_faster_kernel_passes_and_is_asked_to_lock_the_gain_in(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured(scale=dict.fromkeys(CASES, 0.95)))
    ended = world.check()
    assert ended.code == 0
    assert "lock the gain in" in ended.summary


def test_a_wrong_kernel_fails_and_is_said_to_be_wrong(world: World) -> None:
    _pull_request(world)
    folder = world.leave(world.measured(), wrong=["sq2048"])
    (folder / "current.json").unlink()
    ended = world.check(measure="failure")
    assert ended.code == 1
    assert "## perf: wrong result" in ended.summary
    assert "raw samples" not in ended.summary  # there are none
    assert "**WRONG**" in ended.summary


def test_a_slow_machine_is_told_from_a_slow_change_on_the_spot(world: World) -> None:
    _pull_request(world)
    slow = world.measured()
    slow = dataclasses.replace(
        slow,
        samples={
            case: dataclasses.replace(
                one,
                launches=tuple(
                    dataclasses.replace(
                        launch, arms={arm: tuple(s * 1.04 for s in t) for arm, t in launch.arms.items()}
                    )
                    for launch in one.launches
                ),
            )
            for case, one in slow.samples.items()
        },
    )
    world.leave(slow)
    ended = world.check()
    assert ended.code == 0
    assert "Machine: the baseline's own code, measured again, is +3.88 %" in ended.summary


@pytest.mark.parametrize("kind", ["merge_group", "push", "schedule"])
def test_other_events_are_judged_by_the_same_commands(world: World, kind: str) -> None:
    if kind == "merge_group":
        world.pull_request(_NEW_KERNEL)
    world.event(kind)
    world.leave(world.measured())
    assert world.check().code == 0


# A change that edits what judges it


def test_a_change_that_edits_its_baseline_is_told_so_first_and_shown_both_verdicts(world: World) -> None:
    _pull_request(world, edited=True)
    world.leave(world.measured(scale=_SLOWER))
    world.leave(world.measured(), own=True)
    ended = world.check(measure="failure")
    assert ended.code == 1
    before, _, after = ended.summary.partition("edits what judges it")
    assert "SLOWER" not in before
    assert f"baselines/{SLUG}/matmul.json" in after.splitlines()[0]
    assert "**By its own baselines, limits and gate:** 3 SAME" in after
    assert LABEL in after


def test_the_label_lets_its_own_verdict_count(world: World) -> None:
    _pull_request(world, edited=True, labels=("docs", LABEL))
    world.leave(world.measured(scale=_SLOWER))
    world.leave(world.measured(), own=True)
    ended = world.check(measure="failure")
    assert ended.code == 0
    assert "pass, as intended" in ended.summary


def test_the_label_alone_excuses_no_change_that_edits_nothing(world: World) -> None:
    _pull_request(world, labels=(LABEL,))
    world.leave(world.measured(scale=_SLOWER))
    assert world.check(measure="failure").code == 1


def test_the_label_excuses_no_wrong_result(world: World) -> None:
    _pull_request(world, edited=True, labels=(LABEL,))
    world.leave(world.measured(), wrong=["sq2048"])
    world.leave(world.measured(), own=True)
    assert world.check(measure="failure").code == 1


def test_a_change_that_would_make_the_branch_red_by_its_own_baseline_fails(world: World) -> None:
    _pull_request(world, edited=True, labels=(LABEL,))
    world.leave(world.measured())
    world.leave(world.measured(scale=_SLOWER), own=True)
    assert world.check(measure="failure").code == 1


def test_a_change_that_edits_what_judges_it_and_was_not_judged_by_that_is_red(world: World) -> None:
    _pull_request(world, edited=True, labels=(LABEL,))
    world.leave(world.measured())
    ended = world.check()
    assert ended.code == 2
    assert "own gate left no results" in ended.summary


def test_limits_that_the_change_loosens_do_not_judge_it(world: World) -> None:
    world.pull_request({"pyproject.toml": f"{PROJECT_FILE}[tool.perfgate.limits]\nagainst_tolerance = 0.1\n"})
    world.event("pull_request")
    world.leave(world.measured(scale=_SLOWER))
    world.leave(world.measured(), own=True)
    ended = world.check(measure="failure")
    assert ended.code == 1
    assert "limits.against_tolerance (default → 0.1)" in ended.summary


def test_the_report_is_read_back_as_it_was_written(world: World) -> None:
    _pull_request(world, edited=True)
    world.leave(world.measured(scale=_SLOWER))
    world.leave(world.measured(), own=True)
    ended = world.check(measure="failure")
    document = json.loads((world.root / "report.json").read_text(encoding="utf-8"))
    assert (SCHEMA, ended.code, RUNNER) == (document["schema"], document["exit"], document["cards"][0]["label"])
    assert _report(world) is not None


def test_nothing_that_is_printed_can_be_taken_for_a_command_but_the_annotations(world: World) -> None:
    _pull_request(world)
    folder = world.leave(world.measured())
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    document["environment"]["gpu"] = "x\n::error::y"
    document["stages"][0]["note"] = "\n::set-output name=a::b"
    (folder / "run.json").write_text(json.dumps(document), encoding="utf-8")
    ended: Ended = world.check()
    commands = [line for line in ended.said.splitlines() if line.lstrip().startswith("::")]
    assert all(line.startswith("::error file=kernels/matmul.py,line=4,title=") for line in commands)


@pytest.mark.parametrize("needs", ["", "[]", "3", '{"a": 1}'])
def test_jobs_that_are_none_are_refused(world: World, needs: str) -> None:
    world.event("push")
    world.environment["NEEDS"] = needs
    assert world.run("check", "results").code == 2


def test_every_job_has_to_have_succeeded(world: World) -> None:
    world.event("push")
    world.environment["NEEDS"] = json.dumps({"lint": {"result": "success"}, "tests": {"result": "success"}})
    assert world.run("all").code == 0
    for result in ("failure", "skipped", "cancelled"):
        world.environment["NEEDS"] = json.dumps({"lint": {"result": "success"}, "tests": {"result": result}})
        ended = world.run("all")
        assert (ended.code, f"tests: {result}" in ended.errors) == (2, True)
    world.environment["NEEDS"] = "{}"
    assert world.run("all").code == 2


def test_a_command_that_does_not_exist_or_has_too_many_words_is_refused(world: World) -> None:
    world.event("push")
    assert [world.run(*words).code for words in ((), ("nothing",), ("plan", "x"), ("comment", "x"), ("check",))] == [
        2
    ] * 5
