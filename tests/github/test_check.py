"""The one required check, through the workflows' own commands: red when anything was skipped, hidden or left out, and why.

Whole summaries and reports, of what passes and of what fails, are in ``tests/golden/expected/github-check.txt``; results that
are not what they should be are in ``test_results.py``.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, serving
from github_world import CASES, KERNEL, LISTED, PROJECT_FILE, REPOSITORY, SLUG, World, edit
from perfgate.github.check import read_needs, unfinished
from perfgate.github.conclusion import LABEL, Conclusion, read_conclusion
from perfgate.records import GateError
from recorded import recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SLOWER = {"k1_sq4096": 1.03}
EDITED = {f"baselines/{SLUG}/matmul.json": "{}"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    made.event("pull_request")
    return made


@pytest.fixture
def edited(tmp_path: Path) -> World:
    """A pull request that edits its baseline."""
    made = World.begin(tmp_path / "repository")
    made.pull_request(EDITED)
    made.event("pull_request")
    return made


def _report(world: World) -> Conclusion:
    return read_conclusion((world.root / "report.json").read_bytes(), source="report.json")


def _problems(world: World) -> tuple[str, ...]:
    found = _report(world)
    return (*found.problems, *(problem for card in found.cards for problem in card.problems))


# Jobs that did not get so far

JOBS: dict[str, tuple[dict[str, Any], str]] = {
    **{
        f"{name} {result}": (
            {name: {"result": result, "outputs": None}},
            f"The job {name} is {result}; look at its log.",
        )
        for name in ("plan", "admit")
        for result in ("failure", "skipped", "cancelled", "missing")
    },
    **{
        f"measure {result}": (
            {"measure": result},
            f"The jobs with the cards are {result}, so nothing was judged; run them again.",
        )
        for result in ("skipped", "cancelled", "missing")
    },
    "admission that said why": (
        {"measure": "skipped", "admit": {"result": "failure", "outputs": {"said": "Nobody let it in."}}},
        "Nobody let it in.",
    ),
    "refused by a reviewer": (
        {"measure": "skipped", "approve": {"result": "failure"}, "admit": {"result": "skipped"}},
        "A reviewer refused to let this run onto the card; nothing was judged.",
    ),
    "no outputs of the plan": ({"plan": {"result": "success"}}, "The job `plan` left no whole plan ("),
    "outputs that are none": ({"plan": {"result": "success", "outputs": None}}, "The job `plan` left no whole plan ("),
    "half a plan": ({"plan": {"result": "success", "outputs": {"cards": "[]"}}}, "The job `plan` left no whole plan ("),
}


@pytest.mark.parametrize(("jobs", "said"), JOBS.values(), ids=JOBS)
def test_a_job_before_the_cards_that_did_not_succeed_is_named(world: World, jobs: dict[str, Any], said: str) -> None:
    world.leave(world.measured())
    assert world.check(**jobs).code == 2
    (problem,) = _problems(world)
    assert problem.startswith(said)
    assert _report(world).base == world.base  # the event's, where there is no plan


@pytest.mark.parametrize("name", ["plan", "admit", "measure"])
def test_a_job_that_is_not_there_is_missing(world: World, name: str) -> None:
    world.leave(world.measured())
    world.check()
    needs = json.loads(world.environment["NEEDS"])
    for changed in ({key: job for key, job in needs.items() if key != name}, needs | {name: {}}):
        world.environment["NEEDS"] = json.dumps(changed)
        assert world.run("check", "results").code == 2
        (problem,) = _problems(world)
        assert "missing" in problem


def test_a_job_for_forks_that_was_skipped_stops_nothing(world: World) -> None:
    world.leave(world.measured())
    assert world.check(approve={"result": "skipped"}).code == 0


def test_a_plan_without_a_card_is_no_pass(world: World) -> None:
    world.check()
    outputs = json.loads(world.environment["NEEDS"])["plan"]["outputs"] | {"cards": "[]"}
    assert world.check(plan={"result": "success", "outputs": outputs}).code == 2


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '{"a": 1}', '{"a": {"result": "success"}, "b": []}'])
def test_needs_that_are_no_object_of_jobs_are_refused_by_name(world: World, text: str) -> None:
    world.environment["NEEDS"] = text
    for words in (("check", "results"), ("all",)):
        ended = world.run(*words)
        assert (ended.code, ended.errors.split(":")[0]) == (2, "INVALID no-needs")


def test_every_job_has_to_have_succeeded(world: World) -> None:
    assert unfinished(read_needs('{"a": {"result": "success"}, "b": {"result": "skipped"}, "c": {}}')) == (
        "b: skipped",
        "c: missing",
    )
    for result, code in (("success", 0), ("failure", 2), ("skipped", 2), ("cancelled", 2)):
        world.environment["NEEDS"] = json.dumps({"lint": {"result": "success"}, "tests": {"result": result}})
        ended = world.run("all")
        assert (ended.code, f"tests: {result}" in ended.errors) == (code, bool(code))
    world.environment["NEEDS"] = "{}"
    assert world.run("all").code == 2


# Jobs that ended otherwise than their files say

HIDDEN = "The jobs with the cards succeeded although their verdicts fail: a step hid its exit code."
FAILED = "A job with a card failed although every verdict passes; look at its log."


@pytest.mark.parametrize(
    ("scale", "measure", "code", "problems"),
    [
        (SLOWER, "success", 1, (HIDDEN,)),
        (SLOWER, "failure", 1, ()),
        (1.0, "failure", 2, (FAILED,)),
        (1.0, "success", 0, ()),
    ],
)
def test_a_job_that_ended_otherwise_than_its_verdicts_say_is_told_so(
    world: World, scale: Any, measure: str, code: int, problems: tuple[str, ...]
) -> None:
    world.leave(world.measured(scale=scale))
    assert (world.check(measure=measure).code, _problems(world)) == (code, problems)


@pytest.mark.parametrize("measure", ["success", "failure"])
def test_what_a_card_could_not_judge_is_said_once(world: World, measure: str) -> None:
    world.leave(world.measured(), run={"partial": True})
    assert (world.check(measure=measure).code, len(_problems(world))) == (2, 1)


def test_a_job_that_failed_by_its_own_gate_alone_did_as_it_says(edited: World) -> None:
    edited.leave(edited.measured())
    edited.leave(edited.measured(scale=SLOWER), own=True)
    assert (edited.check(measure="failure").code, _problems(edited)) == (1, ())
    assert (edited.check(measure="success").code, _problems(edited)) == (1, (HIDDEN,))


# Several cards


def _with_two_cards(folder: Path, second: str) -> World:
    world = World.begin(folder / "repository")
    files = {"pyproject.toml": f'{PROJECT_FILE}second = "{second}"\n'}
    world.base = world.head = world.candidate = world.commit(files)
    world.event("push")
    world.leave(world.measured())
    return world


@pytest.mark.parametrize("measure", ["success", "failure"])
def test_a_card_without_results_is_red_and_named(tmp_path: Path, measure: str) -> None:
    world = _with_two_cards(tmp_path, "nvidia-geforce-rtx-4090")
    assert world.check(measure=measure).code == 2
    assert [len(card.problems) for card in _report(world).cards] == [0, 1]
    assert _problems(world)[0].startswith("The job on the runner second left no results")


def test_two_cards_are_judged_together_and_the_worse_counts(tmp_path: Path) -> None:
    world = _with_two_cards(tmp_path, "nvidia-h200")
    machine = {"gpu": "NVIDIA H200", "driver": "1", "code_path": "native", "uuid": "GPU-2"}
    slower = recording(range(5, 9), cases=CASES, other="A2", environment=machine, scale=SLOWER)
    world.cards = (SLUG, "nvidia-h200")
    world.leave(slower, slug="nvidia-h200", against_baseline=False)
    ended = world.check(measure="failure")
    assert (ended.code, _problems(world)) == (1, ())
    assert "second%3A k1_sq4096 SLOWER" in ended.said
    assert f"### {SLUG}" in ended.summary
    assert (world.check(measure="success").code, _problems(world)) == (1, (HIDDEN,))


# Other events, and a change that edits what judges it


@pytest.mark.parametrize("kind", ["merge_group", "push", "schedule"])
def test_other_events_are_judged_by_the_same_commands(tmp_path: Path, kind: str) -> None:
    world = World.begin(tmp_path / "repository")
    if kind == "merge_group":
        world.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    world.event(kind)
    world.leave(world.measured())
    assert (world.check().code, _report(world).base) == (0, world.base)


def test_a_slow_machine_is_told_from_a_slow_change_on_the_spot(world: World) -> None:
    found = world.measured()
    slow = {
        case: dataclasses.replace(
            one,
            launches=tuple(
                dataclasses.replace(launch, arms={arm: tuple(s * 1.04 for s in t) for arm, t in launch.arms.items()})
                for launch in one.launches
            ),
        )
        for case, one in found.samples.items()
    }
    world.leave(dataclasses.replace(found, samples=slow))
    ended = world.check()
    assert (ended.code, "measured again, is +3.88 %" in ended.summary) == (0, True)


MEANT = [LABEL]


@pytest.mark.parametrize(
    ("labels", "by_base", "by_itself", "code"),
    [
        ([], {}, {}, 0),
        ([], {}, {"scale": SLOWER}, 1),
        (MEANT, {}, {"scale": SLOWER}, 1),
        (MEANT, {"wrong": ["sq2048"]}, {}, 1),
        (MEANT, {}, None, 2),
        ([], {}, None, 2),
    ],
    ids=[
        "both pass",
        "its own fails",
        "meant, and its own fails",
        "meant, and wrong",
        "meant, not judged",
        "not judged",
    ],
)
def test_a_change_that_edits_what_judges_it_is_judged_by_both_and_the_label_excuses_the_bases_verdict_alone(
    edited: World, labels: list[str], by_base: dict[str, Any], by_itself: dict[str, Any] | None, code: int
) -> None:
    edited.event("pull_request", labels=labels)
    edited.leave(edited.measured(), **by_base)
    if by_itself is not None:
        edited.leave(edited.measured(**by_itself), own=True)
    ended = edited.check(measure="success" if code in {0, 2} else "failure")
    assert (ended.code, _report(edited).edits, _report(edited).intended) == (code, tuple(EDITED), bool(labels))
    assert ("own gate left no results" in ended.summary) == (by_itself is None)


def test_the_label_alone_excuses_no_change_that_edits_nothing(world: World) -> None:
    world.event("pull_request", labels=MEANT)
    world.leave(world.measured(scale=SLOWER))
    assert (world.check(measure="failure").code, _report(world).intended) == (1, False)


def test_limits_that_the_change_loosens_do_not_judge_it(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.pull_request({"pyproject.toml": f"{PROJECT_FILE}[tool.perfgate.limits]\nagainst_tolerance = 0.1\n"})
    world.event("pull_request")
    world.leave(world.measured(scale=SLOWER))
    world.leave(world.measured(), own=True)
    ended = world.check(measure="failure")
    assert (ended.code, "limits.against_tolerance (default → 0.1)" in ended.summary) == (1, True)


def test_a_stage_that_failed_before_it_judged_is_excused_by_no_label(edited: World) -> None:
    edited.event("pull_request", labels=MEANT)
    folder = edited.leave(edited.measured())

    def busy(run: dict[str, Any]) -> None:
        said = run["stages"][2]["verdicts"][0] | {"status": "INVALID", "reason": "busy", "ratio": None}
        run["stages"][2] |= {"done": "", "verdicts": [said]}
        run["exit"] = 2

    edit(folder / "run.json", busy)
    (folder / "current.json").unlink()
    edited.leave(edited.measured(), own=True)
    assert (edited.check(measure="failure").code, _problems(edited)) == (2, ("Throughput was not judged (busy).",))


# What is asked of GitHub


@pytest.mark.parametrize("edits", [False, True])
def test_a_label_that_cannot_be_looked_up_is_said_where_it_could_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, edits: bool
) -> None:
    world = World.begin(tmp_path / "repository")
    world.pull_request({LISTED: "{}"} if edits else {"kernels/matmul.py": KERNEL.replace("pass", "return")})
    world.event("pull_request", labels=MEANT)
    world.leave(world.measured())
    if edits:
        world.leave(world.measured(), own=True)

    def no_answer(*_: object) -> None:
        raise GateError("github-api", "GitHub did not answer.")

    monkeypatch.setattr("perfgate.github.pulls.label_of", no_answer)
    world.environment |= {"GITHUB_TOKEN": "t", "GITHUB_API_URL": "https://api.github.example"}
    said = f"Whether the label {LABEL} is set could not be asked: GitHub did not answer."
    assert (world.check().code, _problems(world)) == ((2, (said,)) if edits else (0, ()))
    assert _report(world).cards[0].verdicts


def test_only_the_job_that_judges_may_be_run_again(world: World) -> None:
    world.leave(world.measured())
    with serving() as server:  # which knows of no other branch that the pull request was sent into since
        world.environment |= {"GITHUB_RUN_ATTEMPT": "2", "GITHUB_API_URL": server.url}
        own = {"id": 42, "created_at": "2026-03-01T10:00:00Z"}
        server.answers[f"GET /repos/{REPOSITORY}/actions/runs/42"] = Answer(body=own)
        server.answers[f"GET /repos/{REPOSITORY}/issues/7/events"] = Answer(body=[])
        assert world.check().code == 0


# What is printed


def _hostile(run: dict[str, Any]) -> None:
    run["environment"]["gpu"] = "x\n::error::y"
    run["stages"][0]["note"] = "\n::set-output name=a::b"


@pytest.mark.parametrize("change", [_hostile, lambda run: run["stages"][2]["verdicts"][0].update(text="\n::error::z")])
def test_nothing_that_is_printed_can_be_taken_for_a_command_but_the_annotations(
    world: World, change: Callable[[dict[str, Any]], object]
) -> None:
    edit(world.leave(world.measured(scale=SLOWER)) / "run.json", change)
    commands = [line for line in world.check().said.splitlines() if line.lstrip().startswith("::")]
    assert all(line.startswith("::error file=kernels/matmul.py,line=4,title=") for line in commands)
