"""One card's results, read strictly and judged again: by the base's baselines, as it is on this branch, for this card."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from github_world import CASES, LABEL, SLUG, World
from perfgate import settings
from perfgate.compare.judge import judge
from perfgate.github import judging
from perfgate.github.judging import artifact, card_report
from perfgate.limits import Limits
from perfgate.records import Recording, Status, Verdict
from perfgate.runners import Runner
from perfgate.store.recording import write_recording
from perfgate.store.run import StageRecord
from recorded import CASES as EVERY_CASE
from recorded import recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perfgate.github.conclusion import CardReport

_RUNNER = Runner(label=LABEL, slug=SLUG)
_STAGES = ("correctness", "compiled", "throughput")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _judged(world: World, *, own: bool = False, on_default_branch: bool = False) -> CardReport:
    return card_report(
        0,
        world.root / "results",
        settings.load(world.root),
        this_run=world.this_run(),
        own=own,
        on_default_branch=on_default_branch,
    )


def _change(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "run.json") -> None:
    document = json.loads((folder / name).read_text(encoding="utf-8"))
    change(document)
    (folder / name).write_text(json.dumps(document), encoding="utf-8")


def _invalid(case: str, *, wrong: bool = False) -> Verdict:
    return Verdict(case=case, status=Status.INVALID, reason="out-of-memory", text=f"{case}: none.", wrong=wrong)


def _live(verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    """Stages of a run whose throughput said these."""
    same = tuple(Verdict(case=case, status=Status.SAME, reason="same-code", text="so.") for case in CASES)
    done = (
        StageRecord(name="correctness", done="all", passed=CASES),
        StageRecord(name="compiled", done="all", verdicts=same),
    )
    return {"stages": (*done, StageRecord(name="throughput", done="4 launches", verdicts=verdicts))}


def test_the_machine_and_the_notes_of_every_stage_are_taken_over(world: World) -> None:
    folder = world.leave(world.measured())
    _change(folder, lambda run: run["stages"][1].update(note="of main"))
    found = _judged(world)
    machine = "NVIDIA H100 80GB HBM3, driver 580.159.04, torch 2.11.0+cu130, Triton 3.6.0"
    assert (found.label, found.slug, found.machine, found.notes) == (LABEL, SLUG, machine, ("compiled: of main",))
    assert (found.problems, found.by_base, found.proposed) == ((), 0, None)


def test_what_is_not_known_of_a_machine_is_said_to_be_unknown(world: World) -> None:
    _change(world.leave(world.measured()), lambda run: run.update(environment={}))
    found = _judged(world)
    assert found.machine == "no card, driver unknown, torch unknown, Triton unknown"
    assert found.problems == (f"It was measured on no card, expected {SLUG}; look at the runner's labels.",)


def test_what_ran_another_architectures_code_is_another_card(world: World) -> None:
    _change(world.leave(world.measured()), lambda run: run["environment"].update(code_path="sm89"))
    assert "It was measured on NVIDIA H100" in _judged(world).problems[0]


@pytest.mark.parametrize("number", range(3), ids=_STAGES)
def test_each_stage_has_to_have_been_judged(world: World, number: int) -> None:
    _change(world.leave(world.measured()), lambda run: run["stages"][number].update(done="", left_out="none"))
    assert _judged(world).problems == (f"{_STAGES[number].capitalize()} was not judged (none).",)


@pytest.mark.parametrize("number", range(3), ids=_STAGES)
def test_each_stage_has_to_be_there(world: World, number: int) -> None:
    _change(world.leave(world.measured()), lambda run: run["stages"].pop(number))
    assert _judged(world).problems == (f"{_STAGES[number].capitalize()} was not judged.",)


def test_a_stage_that_a_failure_left_out_is_no_problem_of_its_own(world: World) -> None:
    folder = world.leave(world.measured(), wrong=["sq2048"])
    (folder / "current.json").unlink()
    _change(folder, lambda run: run["stages"][2].update(done="", left_out="a wrong kernel", verdicts=[]))
    found = _judged(world)
    assert (found.problems, found.by_base, found.wrong) == ((), 1, True)


def test_samples_are_not_looked_at_where_the_run_is_no_whole_one(world: World) -> None:
    folder = world.leave(world.measured(), run={"partial": True})
    (folder / "current.json").write_text("{", encoding="utf-8")
    assert _judged(world).problems == ("Only chosen cases were judged, expected all.",)
    assert [verdict.case for verdict in _judged(world).verdicts] == list(CASES)
    (folder / "run.json").write_text("{", encoding="utf-8")
    assert _judged(world).problems[0].startswith(f"perf-{SLUG}/run.json is not valid JSON")


@pytest.mark.parametrize("name", ["run.json", "current.json"])
def test_a_file_that_is_a_link_or_too_large_is_refused_before_it_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    folder = world.leave(world.measured())
    (folder / name).rename(folder / "real.json")
    (folder / name).symlink_to(folder / "real.json")
    assert _judged(world).problems[0].startswith(f"{name} is a link or larger than 67108864 bytes")
    (folder / name).unlink()
    (folder / "real.json").rename(folder / name)
    size = (folder / name).stat().st_size
    for most, refused in ((size, False), (size - 1, True)):
        monkeypatch.setattr(judging, "_MOST_BYTES", most)
        assert any(problem.startswith(f"{name} is a link or larger") for problem in _judged(world).problems) == refused


@pytest.mark.parametrize(("key", "value"), [("gpu", "NVIDIA H200"), ("uuid", "GPU-9"), ("driver", "1")])
def test_samples_of_another_machine_than_the_runs_are_refused(world: World, key: str, value: str) -> None:
    folder = world.leave(world.measured())
    stored = world.measured()
    (folder / "current.json").unlink()
    write_recording(
        folder / "current.json", dataclasses.replace(stored, environment={**stored.environment, key: value})
    )
    assert _judged(world).problems == (
        "current.json is of another machine than run.json, expected one run; run it again.",
    )


def test_samples_of_another_code_path_than_the_runs_are_refused(world: World) -> None:
    _change(world.leave(world.measured()), lambda run: run["environment"].pop("code_path"))
    assert "another machine" in _judged(world).problems[0]


def test_samples_that_hold_what_no_recording_does_are_refused_by_the_name_of_their_file(world: World) -> None:
    folder = world.leave(world.measured())
    _change(
        folder,
        lambda found: found["benchmarks"][0]["extra_info"]["perfgate"].update(contract={"flops": "many"}),
        "current.json",
    )
    assert _judged(world).problems[0].startswith("current.json has 'many' as flops of k1_sq4096")


def test_a_verdict_on_all_compiled_code_asks_for_no_time_of_its_own(world: World) -> None:
    folder = world.leave(world.measured())
    whole = {"case": "*", "status": "SAME", "reason": "same-code", "text": "all.", "wrong": False, "asides": []}
    numbers = dict.fromkeys(("ratio", "low", "high", "limit"))
    _change(folder, lambda run: run["stages"][1]["verdicts"].append(whole | numbers))
    found = _judged(world)
    assert (found.problems, found.by_base) == ((), 0)
    assert [verdict.case for verdict in found.verdicts] == ["*", *CASES]


def test_a_suite_that_moved_as_a_whole_is_said_once(world: World) -> None:
    (world.root / f"baselines/{SLUG}/matmul.json").unlink()
    world.lists(EVERY_CASE)
    world.leave(world.measured(cases=EVERY_CASE, scale=1.004), against_baseline=False)
    found = _judged(world)
    assert [verdict.case for verdict in found.verdicts] == [*EVERY_CASE, "*"]
    assert (found.problems, found.by_base) == ((), 1)


def test_a_case_that_gave_no_times_keeps_what_the_run_said_of_it_and_the_others_are_judged_again(world: World) -> None:
    current = world.measured(cases=CASES[:2])
    judged = judge(world.baseline, current, Limits(), selected=CASES[:2])
    folder = world.leave(current, run=_live((_invalid(CASES[2]), *judged)))
    same = {"status": "SAME", "reason": "same-code", "text": "so.", "wrong": False, "asides": []}
    compiled = [same | {"case": case} | dict.fromkeys(("ratio", "low", "high", "limit")) for case in CASES]
    _change(folder, lambda run: run["stages"][1].update(verdicts=compiled))
    found = _judged(world)
    assert found.problems == ()
    said = [(verdict.case, verdict.reason) for verdict in found.verdicts]
    assert said == [(CASES[2], "out-of-memory"), (CASES[0], "same"), (CASES[1], "same")]
    assert found.by_base == 2


def test_a_case_of_the_baseline_that_the_run_does_not_speak_of_is_refused(world: World) -> None:
    current = world.measured(cases=CASES[:2])
    judged = judge(world.baseline, current, Limits(), selected=CASES[:2])
    world.leave(current, run=_live(judged))
    (problem,) = _judged(world).problems
    assert problem == f"{CASES[2]} has no samples, expected those of every timed case; run it again."


def test_a_case_that_the_baseline_lacks_is_invalid_by_the_baselines_name(world: World) -> None:
    current = world.measured(cases=(*CASES, "k9_8k"))
    world.leave(current, run=_live(judge(world.baseline, current, Limits())))
    (verdict,) = (verdict for verdict in _judged(world).verdicts if verdict.case == "k9_8k")
    assert (verdict.status, verdict.reason) == (Status.INVALID, "case-not-in-baseline")
    assert f"is not in the baseline baselines/{SLUG}/matmul.json," in verdict.text


def test_the_sentence_and_the_numbers_are_those_of_the_samples_and_not_of_the_run(world: World) -> None:
    folder = world.leave(world.measured(scale={"k1_sq4096": 1.03}))
    _change(folder, lambda run: run["stages"][2]["verdicts"][0].update(text="All is well.", ratio=1.0))
    (verdict,) = (verdict for verdict in _judged(world).verdicts if verdict.exit_code)
    assert verdict.ratio == pytest.approx(1.03, abs=0.002)
    assert "3.00 % slower" in verdict.text


def test_a_case_has_one_line_unless_two_stages_have_something_to_say_of_it(world: World) -> None:
    folder = world.leave(world.measured())
    assert [verdict.case for verdict in _judged(world).verdicts] == list(CASES)
    _change(
        folder,
        lambda run: (run["stages"][1]["verdicts"][0].update(status="SLOWER", reason="spills"), run.update(exit=1)),
    )
    reasons = [verdict.reason for verdict in _judged(world).verdicts if verdict.case == CASES[0]]
    assert reasons == ["spills", "same"]


# Small steps that add up


def _drifted(world: World) -> tuple[Recording, Recording]:
    """A first baseline that today's times are far above, though not above the baseline of now."""
    first = dataclasses.replace(
        recording(range(5), cases=CASES, environment=world.baseline.environment, scale=0.95), commit="1" * 40
    )
    write_recording(world.root / f"baselines/{SLUG}/anchor.json", first)
    return first, world.measured()


@pytest.mark.parametrize("fails", [True, False])
def test_small_steps_that_add_up_fail_on_the_default_branch_alone(world: World, *, fails: bool) -> None:
    anchor, current = _drifted(world)
    verdicts = judge(world.baseline, current, Limits(), anchor=anchor, fail_on_drift=fails)
    world.leave(current, run=_live(verdicts))
    found = _judged(world, on_default_branch=fails)
    assert (found.problems, found.by_base) == ((), 1 if fails else 0)
    reasons = {verdict.reason for verdict in found.verdicts}
    assert reasons == ({"drift"} if fails else {"same"})
    asides = [aside.text for verdict in found.verdicts for aside in verdict.asides]
    assert fails or any(text.startswith("drift: ") for text in asides)


def test_a_default_branch_that_kept_silent_on_its_drift_is_not_believed(world: World) -> None:
    _, current = _drifted(world)
    world.leave(current)
    (problem,) = _judged(world, on_default_branch=True).problems
    assert problem.startswith(f"The run says SAME of {CASES[0]} and its samples give SLOWER, expected the same;")
    assert _judged(world).problems == ()


def test_a_card_without_a_baseline_has_no_past_to_drift_from(world: World) -> None:
    _, current = _drifted(world)
    (world.root / f"baselines/{SLUG}/matmul.json").unlink()
    world.leave(current, against_baseline=False)
    assert (_judged(world, on_default_branch=True).problems, _judged(world, on_default_branch=True).by_base) == ((), 0)


# The change's own gate


def test_what_the_changes_own_gate_left_out_is_said_to_be_its_own(world: World) -> None:
    world.leave(world.measured())
    world.leave(world.measured(), own=True, run={"partial": True})
    found = _judged(world, own=True)
    assert found.problems == ("Its own gate: Only chosen cases were judged, expected all.",)
    assert found.proposed is not None
    assert found.by_base == 2


def test_problems_of_both_gates_are_said(world: World) -> None:
    world.leave(world.measured(), run={"partial": True})
    world.leave(world.measured(), own=True, run={"partial": True})
    only = "Only chosen cases were judged, expected all."
    assert _judged(world, own=True).problems == (only, f"Its own gate: {only}")


def test_a_gate_of_its_own_without_results_leaves_the_bases_verdicts(world: World) -> None:
    world.leave(world.measured(), run={"partial": True})
    found = _judged(world, own=True)
    assert [problem[:23] for problem in found.problems] == ["Only chosen cases were ", "The change's own gate l"]
    assert found.verdicts


def test_a_case_has_one_line_by_its_own_gate_too(world: World) -> None:
    world.leave(world.measured())
    world.leave(world.measured(), own=True)
    found = _judged(world, own=True)
    assert [verdict.case for verdict in found.proposed or ()] == list(CASES)


def test_results_lie_in_a_folder_named_by_the_card_and_the_gate(world: World) -> None:
    assert (artifact(_RUNNER), artifact(_RUNNER, own=True)) == (f"perf-{SLUG}", f"perf-{SLUG}-own")
    (problem,) = _judged(world).problems
    assert problem.startswith(f"The job on the runner {LABEL} left no results")
