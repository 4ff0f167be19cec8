"""Results that are not of this run, not of the base's suite, or no measurement: each is refused, and says why."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, serving
from github_told import beside
from github_world import CASES, KERNEL, LISTED, REPOSITORY, SLUG, World
from perfgate.github.conclusion import LABEL, read_conclusion
from perfgate.store.recording import write_recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from github_world import Ended

_OTHER = "b" * 40
_TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    made.event("pull_request")
    return made


def _document(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def _both(folder: Path, **told: str) -> None:
    """Change what the files say of their run, in both alike."""
    _document(folder / "run.json", lambda run: run["run"].update(told))
    _document(folder / "current.json", lambda found: found["perfgate"]["run"].update(told))


def _problem(world: World, ended: Ended) -> str:
    report = read_conclusion((world.root / "report.json").read_bytes(), source="report.json")
    assert ended.code == report.exit == 2
    (problem,) = report.cards[0].problems
    return problem


# Of another run


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"run_id": "41"}, "are of run 41, expected this run 42"),
        ({"run_id": ""}, "are of run unknown, expected this run 42"),
        ({"attempt": "2"}, "are of attempt 2, expected one up to 1"),
        ({"attempt": "x"}, "are of attempt x, expected one up to 1"),
        ({"candidate": _OTHER}, f"are of the candidate {_OTHER}, expected the plan's"),
        ({"candidate": ""}, "are of the candidate unknown, expected the plan's"),
        ({"base": _OTHER}, f"are of the base {_OTHER}, expected the plan's"),
        ({"began_at": _TOMORROW}, "expected an end after the beginning"),
        ({"began_at": "2020-01-01T00:00:00+00:00"}, "expected an end after the beginning"),
        ({"began_at": "2026-01-01T00:00:00"}, "are of no known time (began_at is '2026-01-01T00:00:00')"),
        ({"nonce": "1"}, "are of no one run (it has no nonce)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_results_of_another_run_are_refused_by_what_they_say_of_it(
    world: World, told: dict[str, str], problem: str
) -> None:
    _both(world.leave(world.measured()), **told)
    assert problem in _problem(world, world.check())


def test_a_run_that_ends_in_the_future_is_refused(world: World) -> None:
    _document(world.leave(world.measured()) / "run.json", lambda run: run["run"].update(ended_at=_TOMORROW))
    assert "expected an end after the beginning, and both before" in _problem(world, world.check())


@pytest.mark.parametrize("key", ["nonce", "candidate", "base", "began_at", "run_id", "attempt"])
def test_samples_of_another_run_than_its_verdicts_are_refused(world: World, key: str) -> None:
    folder = world.leave(world.measured())
    _document(folder / "current.json", lambda found: found["perfgate"]["run"].update({key: "0" * 32}))
    assert f"are of two runs: current.json has another {key} than run.json" in _problem(world, world.check())


def test_samples_taken_when_their_run_was_not_under_way_are_refused(world: World) -> None:
    folder = world.leave(world.measured())
    _document(folder / "current.json", lambda found: found["perfgate"].update(recorded_at="2026-01-01T00:00:00+00:00"))
    assert "expected samples taken during the run" in _problem(world, world.check())


@pytest.mark.parametrize("name", ["run.json", "current.json"])
def test_files_that_say_nothing_of_their_run_are_read_and_refused_here(world: World, name: str) -> None:
    folder = world.leave(world.measured())
    _document(folder / name, lambda found: (found if name == "run.json" else found["perfgate"]).pop("run"))
    assert "The results in perf-" in _problem(world, world.check())


def test_only_the_job_that_judges_may_be_run_again(world: World) -> None:
    world.leave(world.measured())
    with serving() as server:  # which knows of no other branch that the pull request was sent into since
        world.environment |= {"GITHUB_RUN_ATTEMPT": "2", "GITHUB_API_URL": server.url}
        own = {"id": 42, "created_at": "2026-03-01T10:00:00Z"}
        server.answers[f"GET /repos/{REPOSITORY}/actions/runs/42"] = Answer(body=own)
        server.answers[f"GET /repos/{REPOSITORY}/issues/7/events"] = Answer(body=[])
        assert world.check().code == 0


# Changed after the gate's end


def _with_outputs(world: World, outputs: dict[str, str]) -> Ended:
    return world.check(outputs=outputs)


@pytest.mark.parametrize("name", ["run.json", "current.json"])
def test_a_file_that_was_written_again_after_the_gates_end_is_refused(world: World, name: str) -> None:
    folder = world.leave(world.measured())
    left = world.digests()
    (folder / name).write_text((folder / name).read_text(encoding="utf-8") + " ", encoding="utf-8")
    assert "which their gate left: they were changed" in _problem(world, _with_outputs(world, left))


def test_samples_that_came_to_be_after_the_gates_end_are_refused(world: World) -> None:
    folder = world.leave(world.measured())
    samples = (folder / "current.json").read_bytes()
    (folder / "current.json").unlink()
    left = world.digests()
    (folder / "current.json").write_bytes(samples)
    assert "they were changed" in _problem(world, _with_outputs(world, left))


@pytest.mark.parametrize("outputs", [{}, {"evidence_1": "a" * 64}, {"evidence_0": ""}])
def test_results_without_a_digest_in_the_jobs_outputs_are_refused(world: World, outputs: dict[str, str]) -> None:
    world.leave(world.measured())
    problem = _problem(world, _with_outputs(world, outputs))
    assert problem.startswith(f"The job left no digest of perf-{SLUG} (evidence_0), expected one")


def test_the_changes_own_results_have_a_digest_and_commits_of_their_own(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.pull_request({LISTED: "{}"})
    world.event("pull_request")
    world.leave(world.measured())
    world.leave(world.measured(), own=True)
    assert world.check().code == 0
    outputs = world.digests()
    assert "(evidence_own_0)" in _problem(world, _with_outputs(world, outputs | {"evidence_own_0": ""}))
    assert "they were changed" in _problem(world, _with_outputs(world, outputs | {"evidence_own_0": "a" * 64}))
    _both(world.root / f"results/perf-{SLUG}-own", base=world.base)
    assert f"the base {world.base}, expected the plan's {world.candidate}" in _problem(world, world.check())


# Not of the base's suite


def _stage(number: int, **fields: Any) -> Callable[[dict[str, Any]], object]:
    return lambda run: run["stages"][number].update(fields)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (_stage(0, passed=[], done="0 cases right"), "Correctness says nothing of k1_sq4096 and 2 more, expected each"),
        (_stage(0, passed=[*CASES[1:]]), "Correctness says nothing of k1_sq4096, expected each of the base's 3 cases."),
        (_stage(0, passed=[*CASES, CASES[0]]), "Correctness speaks twice of k1_sq4096, expected each case once."),
        (_stage(0, passed=[*CASES, "k99"]), "Correctness speaks of k99, expected only cases of the base's suite."),
        (_stage(1, verdicts=[]), "Compiled says nothing of k1_sq4096 and 2 more, expected each of the base's 3 cases."),
        (lambda run: run["stages"][1]["verdicts"].pop(), "Compiled says nothing of sq2048, expected each of the"),
        (
            lambda run: run["stages"][2]["verdicts"].append(run["stages"][2]["verdicts"][0]),
            "Throughput speaks twice of k1_sq4096, expected each case once.",
        ),
    ],
    ids=lambda value: value.partition(",")[0] if isinstance(value, str) else "",
)
def test_a_stage_has_each_case_of_the_base_once_and_no_other(
    world: World, change: Callable[[dict[str, Any]], object], problem: str
) -> None:
    _document(world.leave(world.measured()) / "run.json", change)
    assert _problem(world, world.check()).startswith(problem)


def test_one_made_up_verdict_on_the_whole_suite_is_no_measurement(world: World) -> None:
    folder = world.leave(world.measured())
    (folder / "current.json").unlink()
    _document(
        folder / "run.json",
        lambda run: run["stages"][2].update(verdicts=[run["stages"][1]["verdicts"][0] | {"case": "*"}]),
    )
    assert _problem(world, world.check()).startswith("k1_sq4096 has no samples, expected those of every timed case")


def test_the_order_of_cases_does_not_matter(world: World) -> None:
    folder = world.leave(world.measured())
    _document(folder / "run.json", lambda run: [stage["verdicts"].reverse() for stage in run["stages"]])
    _document(folder / "current.json", lambda found: found["benchmarks"].reverse())
    assert world.check().code == 0


def test_a_base_that_does_not_say_which_cases_it_has_judges_nothing(world: World) -> None:
    world.leave(world.measured())
    (world.root / LISTED).unlink()
    assert world.check().code == 0  # its baselines say it
    for path in (world.root / "baselines").rglob("*.json"):
        path.unlink()
    assert "The base does not say which cases it has, expected baselines/cases.json" in _problem(world, world.check())


# Without a baseline


def _without_baseline(world: World, cases: tuple[str, ...] = CASES) -> Path:
    (world.root / f"baselines/{SLUG}/matmul.json").unlink()
    return world.leave(world.measured(cases=cases), against_baseline=False)


def test_a_card_without_a_baseline_is_judged_by_the_base_beside_it(world: World) -> None:
    _without_baseline(world)
    assert world.check().code == 0


def test_one_case_of_many_is_not_enough_without_a_baseline(world: World) -> None:
    _without_baseline(world, CASES[:1])
    assert _problem(world, world.check()).startswith("k7_small_k has no samples")


@pytest.mark.parametrize("reference", [_OTHER, "main"])
def test_a_reference_that_is_not_the_base_is_refused(world: World, reference: str) -> None:
    folder = _without_baseline(world)
    told = world.told()
    current = dataclasses.replace(
        beside(world.measured(), reference),
        run={key: text for key, text in told.items() if key != "ended_at"},
        recorded_at=told["began_at"],
    )
    write_recording(folder / "current.json", current)
    _document(folder / "run.json", lambda run: run.update(run=told))
    said = f"k1_sq4096 was measured beside ref {reference}, expected ref {world.base}, which this change starts from"
    assert _problem(world, world.check()).startswith(said)


def test_the_default_branch_is_measured_beside_the_commit_before(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.event("push")
    _without_baseline(world)
    assert world.reference != world.base
    assert world.check().code == 0


# No measurement


def test_samples_of_the_stored_baseline_are_no_measurement(world: World) -> None:
    current = dataclasses.replace(world.baseline, commit="")
    world.leave(current)
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert "are those of kernel in launch 1 of the baseline, number for number" in ended.summary


# The label


def _no_answer(*_: object) -> None:
    from perfgate.records import GateError

    raise GateError("github-api", "GitHub did not answer.")


@pytest.mark.parametrize("edited", [False, True])
def test_a_label_that_cannot_be_looked_up_is_said_where_it_could_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, edited: bool
) -> None:
    world = World.begin(tmp_path / "repository")
    world.pull_request({LISTED: "{}"} if edited else {"kernels/matmul.py": KERNEL.replace("pass", "return")})
    world.event("pull_request", labels=[LABEL])
    world.leave(world.measured())
    if edited:
        world.leave(world.measured(), own=True)
    monkeypatch.setattr("perfgate.github.__main__.label_of", _no_answer)
    world.environment |= {"GITHUB_TOKEN": "t", "GITHUB_API_URL": "https://api.github.example"}
    ended = world.check()
    report = read_conclusion((world.root / "report.json").read_bytes(), source="report.json")
    assert (ended.code, report.exit, bool(ended.summary)) == (2 if edited else 0,) * 2 + (True,)
    said = f"Whether the label {LABEL} is set could not be asked: GitHub did not answer."
    assert report.problems == ((said,) if edited else ())
    assert report.cards[0].verdicts
