"""The required check and the jobs before it: how each ended, what is said of it, and what their files say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from github_world import CASES, KERNEL, PROJECT_FILE, SLUG, Ended, World
from perfgate.github.check import read_needs, unfinished
from perfgate.github.conclusion import LABEL, Conclusion, read_conclusion
from recorded import recording

if TYPE_CHECKING:
    from pathlib import Path

_SLOWER = {"k1_sq4096": 1.03}
_BASELINE = {f"baselines/{SLUG}/matmul.json": "{}"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    made.event("pull_request")
    return made


@pytest.fixture
def edited(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.pull_request(_BASELINE)
    made.event("pull_request")
    return made


def _report(world: World) -> Conclusion:
    return read_conclusion((world.root / "report.json").read_bytes(), source="report.json")


def _check_without(world: World, *jobs: str) -> Ended:
    """The check where these jobs are not in NEEDS at all."""
    world.check()
    needs = json.loads(world.environment["NEEDS"])
    world.environment["NEEDS"] = json.dumps({name: job for name, job in needs.items() if name not in jobs})
    return world.run("check", "results")


# Jobs that did not get so far


@pytest.mark.parametrize("name", ["plan", "admit"])
def test_a_job_before_the_cards_that_did_not_succeed_is_named_with_how_it_ended(world: World, name: str) -> None:
    world.leave(world.measured())
    world.check()
    needs = json.loads(world.environment["NEEDS"])
    for result in ("failure", "skipped", "cancelled"):
        assert world.check(**{name: needs[name] | {"result": result}}).code == 2
        assert _report(world).problems == (f"The job {name} is {result}; look at its log.",)


@pytest.mark.parametrize("name", ["plan", "admit"])
def test_a_job_before_the_cards_that_is_not_there_is_missing(world: World, name: str) -> None:
    world.leave(world.measured())
    assert _check_without(world, name).code == 2
    assert _report(world).problems == (f"The job {name} is missing; look at its log.",)
    nothing: dict[str, Any] = {name: {}}
    assert world.check(**nothing).code == 2
    assert _report(world).problems == (f"The job {name} is missing; look at its log.",)


def test_what_a_job_said_stands_in_place_of_its_state(world: World) -> None:
    assert world.check(admit={"result": "failure", "outputs": {"said": "Nobody let it in."}}).code == 2
    assert _report(world).problems == ("Nobody let it in.",)


def test_jobs_with_cards_that_are_not_there_were_not_run(world: World) -> None:
    world.leave(world.measured())
    said = ("The jobs with the cards are missing, so nothing was judged; run them again.",)
    assert _check_without(world, "measure").code == 2
    assert _report(world).problems == said
    needs = json.loads(world.environment["NEEDS"]) | {"measure": {}}
    world.environment["NEEDS"] = json.dumps(needs)
    assert world.run("check", "results").code == 2
    assert _report(world).problems == said


def test_a_reviewers_refusal_is_all_that_is_said(world: World) -> None:
    assert world.check(approve={"result": "failure"}, admit={"result": "skipped"}).code == 2
    assert _report(world).problems == ("A reviewer refused to let this run onto the card; nothing was judged.",)


def test_a_job_for_forks_that_was_skipped_stops_nothing(world: World) -> None:
    world.leave(world.measured())
    assert world.check(approve={"result": "skipped"}).code == 0


@pytest.mark.parametrize("job", [{"result": "success"}, {"result": "success", "outputs": {"cards": "[]"}}])
def test_a_plan_that_is_not_whole_is_said(world: World, job: dict[str, Any]) -> None:
    world.leave(world.measured())
    assert world.check(plan=job).code == 2
    (problem,) = _report(world).problems
    assert problem.startswith("The job `plan` left no whole plan (")
    assert _report(world).base == world.base  # the event's, as there is no plan


def test_a_plan_without_a_card_is_no_pass(world: World) -> None:
    world.check()
    outputs = json.loads(world.environment["NEEDS"])["plan"]["outputs"] | {"cards": "[]"}
    assert world.check(plan={"result": "success", "outputs": outputs}).code == 2


# Jobs that ended otherwise than their files say


def test_a_job_that_hid_a_failing_step_is_told_from_one_that_failed_by_itself(world: World) -> None:
    world.leave(world.measured(scale=_SLOWER))
    assert world.check(measure="success").code == 1
    assert _report(world).problems == (
        "The jobs with the cards succeeded although their verdicts fail: a step hid its exit code.",
    )
    assert world.check(measure="failure").code == 1
    assert _report(world).problems == ()


def test_a_job_that_failed_though_its_verdicts_pass_is_told_so(world: World) -> None:
    world.leave(world.measured())
    assert world.check(measure="failure").code == 2
    assert _report(world).problems == ("A job with a card failed although every verdict passes; look at its log.",)
    assert world.check(measure="success").code == 0
    assert _report(world).problems == ()


def test_what_a_card_could_not_judge_is_said_once(world: World) -> None:
    world.leave(world.measured(), run={"partial": True})
    for ended_as in ("success", "failure"):
        assert world.check(measure=ended_as).code == 2
        found = _report(world)
        assert (found.problems, len(found.cards[0].problems)) == ((), 1)


def test_one_card_that_could_not_judge_says_it_for_all(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    two = f'{PROJECT_FILE}rtx-4090 = "nvidia-geforce-rtx-4090"\n'
    world.base = world.head = world.candidate = world.commit({"pyproject.toml": two})
    world.event("push")
    world.leave(world.measured())
    for ended_as in ("failure", "success"):
        assert world.check(measure=ended_as).code == 2
        assert _report(world).problems == ()
        assert [len(card.problems) for card in _report(world).cards] == [0, 1]


def test_one_card_that_fails_is_why_the_jobs_failed(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.base = world.head = world.candidate = world.commit(
        {"pyproject.toml": f'{PROJECT_FILE}h200 = "nvidia-h200"\n'}
    )
    world.event("push")
    world.leave(world.measured())
    machine = {"gpu": "NVIDIA H200", "driver": "1", "code_path": "native", "uuid": "GPU-2"}
    slower = recording(range(5, 9), cases=CASES, other="A2", environment=machine, scale=_SLOWER)
    world.cards = (SLUG, "nvidia-h200")
    world.leave(slower, slug="nvidia-h200", against_baseline=False)
    assert world.check(measure="failure").code == 1
    assert _report(world).problems == ()
    assert world.check(measure="success").code == 1
    assert len(_report(world).problems) == 1


def test_a_job_that_failed_by_its_own_gate_alone_did_as_it_says(edited: World) -> None:
    edited.leave(edited.measured())
    edited.leave(edited.measured(scale=_SLOWER), own=True)
    assert edited.check(measure="failure").code == 1
    assert _report(edited).problems == ()
    assert edited.check(measure="success").code == 1
    assert len(_report(edited).problems) == 1


# What is put on record


def test_the_report_says_which_commit_judged_which_and_where_it_goes(world: World) -> None:
    world.leave(world.measured())
    world.check()
    found = _report(world)
    assert (found.base, found.head, found.target, found.edits) == (world.base, world.head, "main", ())
    assert (found.intended, [card.slug for card in found.cards]) == (False, [SLUG])


def test_the_report_names_the_commit_of_the_plan_where_the_event_names_none(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.event("push")
    world.leave(world.measured())
    assert world.check().code == 0
    assert _report(world).base == world.base


def test_the_report_names_what_was_edited_and_that_it_is_meant(edited: World) -> None:
    edited.event("pull_request", labels=[LABEL])
    edited.leave(edited.measured())
    edited.leave(edited.measured(), own=True)
    assert edited.check().code == 0
    assert (_report(edited).intended, _report(edited).edits) == (True, tuple(_BASELINE))


# What NEEDS holds


@pytest.mark.parametrize("text", ["", "[]", "3", "null", '{"a": 1}', '{"a": {"result": "success"}, "b": []}'])
def test_needs_that_are_no_object_of_jobs_are_refused_by_name(world: World, text: str) -> None:
    world.environment["NEEDS"] = text
    for words in (("check", "results"), ("all",)):
        ended = world.run(*words)
        assert (ended.code, ended.errors.split(":")[0]) == (2, "INVALID no-needs")


def test_jobs_are_unfinished_unless_they_succeeded() -> None:
    needs = read_needs('{"a": {"result": "success"}, "b": {"result": "skipped"}, "c": {}}')
    assert unfinished(needs) == ("b: skipped", "c: missing")
