"""One card's results: this run's, whole, and judged again from raw samples; what is forged, half or of elsewhere is refused.

A red table: what was done to the files of a run that passes or fails, and the one sentence that the check then says.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from github_world import CASES, KERNEL, LABEL, LISTED, SLUG, World, beside, edit
from perfgate.compare.judge import judge
from perfgate.config import Limits, Runner, read_settings
from perfgate.github import results
from perfgate.github.conclusion import read_conclusion
from perfgate.github.results import artifact, card_report
from perfgate.records import Recording, Status, Verdict
from perfgate.store.recording import write_recording
from perfgate.store.run import StageResult
from recorded import CASES as EVERY_CASE
from recorded import recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from github_world import Ended
    from perfgate.github.conclusion import CardReport

    Forge = Callable[[World, Path], object]

SLOWER = {"k1_sq4096": 1.03}
STAGES = ("Correctness", "Compiled", "Throughput")
OTHER = "b" * 40
TOMORROW = (datetime.now(UTC) + timedelta(days=1)).isoformat()
NO_NUMBERS = dict.fromkeys(("ratio", "low", "high", "limit"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.pull_request({"kernels/matmul.py": KERNEL.replace("pass", "return")})
    made.event("pull_request")
    return made


def _problem(world: World, ended: Ended) -> str:
    report = read_conclusion((world.root / "report.json").read_bytes(), source="report.json")
    assert ended.code == report.exit == 2
    (problem,) = report.cards[0].problems
    assert problem.isprintable()
    return problem


# What is done to a run's files


def run_(change: Callable[[dict[str, Any]], object]) -> Forge:
    return lambda _, folder: edit(folder / "run.json", change)


def samples(change: Callable[[dict[str, Any]], object]) -> Forge:
    return lambda _, folder: edit(folder / "current.json", change)


def samples_of(part: str, **fields: Any) -> Forge:
    """Change what the samples say of their ``run``, ``environment`` or a case's ``contract``."""

    def change(found: dict[str, Any]) -> None:
        ours = found["benchmarks"][0]["extra_info"]["perfgate"] if part == "contract" else found["perfgate"]
        ours.setdefault(part, {}).update(fields)

    return samples(change)


def no_stage(number: int) -> Forge:
    return run_(lambda run: run["stages"].pop(number))


def stage(number: int, **fields: Any) -> Forge:
    return run_(lambda run: run["stages"][number].update(fields))


def both(**told: str) -> Forge:
    """What the files say of their run, in both alike."""

    def forge(_: World, folder: Path) -> None:
        edit(folder / "run.json", lambda run: run["run"].update(told))
        edit(folder / "current.json", lambda found: found["perfgate"]["run"].update(told))

    return forge


def file(name: str, content: str) -> Forge:
    return lambda _, folder: (folder / name).write_bytes(content.encode("utf-8", "surrogateescape"))


def linked(name: str) -> Forge:
    def forge(_: World, folder: Path) -> None:
        (folder / name).rename(folder / "real.json")
        (folder / name).symlink_to(folder / "real.json")

    return forge


def instead_of_samples(what: str) -> Forge:
    def forge(_: World, folder: Path) -> None:
        path = folder / "current.json"
        path.unlink()
        if what == "folder":
            path.mkdir()
        elif what == "link":
            path.symlink_to("/nonexistent")

    return forge


def all_same(then: Forge | None = None) -> Forge:
    """Every verdict says SAME, whatever the samples give."""

    def change(run: dict[str, Any]) -> None:
        for verdict in run["stages"][2]["verdicts"]:
            verdict["status"] = "SAME"
        run["exit"] = 0

    def forge(world: World, folder: Path) -> None:
        edit(folder / "run.json", change)
        if then:
            then(world, folder)

    return forge


def without(case: str, *, said: bool = True, whole: bool = False) -> Forge:
    """A case is not among the samples; where it is not ``said`` either, the run does not speak of its time."""

    def change(run: dict[str, Any]) -> None:
        first = run["stages"][2]["verdicts"][0]
        for one in run["stages"][1:] if not said else ():
            one["verdicts"] = [verdict for verdict in one["verdicts"] if verdict["case"] != case]
        if whole:
            run["stages"][2]["verdicts"].append(first | {"case": "*", "status": "INVALID", "ratio": None})
            run["exit"] = 2

    def forge(_: World, folder: Path) -> None:
        edit(folder / "run.json", change)
        edit(
            folder / "current.json",
            lambda found: found.update(benchmarks=[b for b in found["benchmarks"] if b["param"] != case]),
        )

    return forge


def again(number: int, **fields: Any) -> Forge:
    """A verdict of a stage a second time, perhaps of another case."""
    return run_(
        lambda run: run["stages"][number]["verdicts"].append({**run["stages"][number]["verdicts"][0], **fields})
    )


def whole_suite(run: dict[str, Any]) -> None:
    run["stages"][2].update(verdicts=[run["stages"][1]["verdicts"][0] | {"case": "*"}])


def made_up(world: World, folder: Path) -> None:
    (folder / "current.json").unlink()
    run_(whole_suite)(world, folder)


def beside_other(reference: str) -> Forge:
    """Without a baseline, measured beside something else than the base."""

    def forge(world: World, folder: Path) -> None:
        told = world.told()
        (world.root / f"baselines/{SLUG}/matmul.json").unlink()
        current = dataclasses.replace(
            beside(world.measured(), reference),
            run={key: text for key, text in told.items() if key != "ended_at"},
            recorded_at=told["began_at"],
        )
        (folder / "current.json").unlink()
        write_recording(folder / "current.json", current)
        edit(folder / "run.json", lambda run: run.update(run=told))

    return forge


def no_cases(world: World, _: Path) -> None:
    for path in (world.root / "baselines").rglob("*.json"):
        path.unlink()


RED: dict[str, tuple[Forge, str]] = {
    # Of another run.
    "another run": (both(run_id="41"), "are of run 41, expected this run 42"),
    "no run": (both(run_id=""), "are of run unknown, expected this run 42"),
    "a later attempt": (both(attempt="2"), "are of attempt 2, expected one up to 1"),
    "no attempt": (both(attempt="x"), "are of attempt x, expected one up to 1"),
    "another candidate": (both(candidate=OTHER), f"are of the candidate {OTHER}, expected the plan's"),
    "no candidate": (both(candidate=""), "are of the candidate unknown, expected the plan's"),
    "another base": (both(base=OTHER), f"are of the base {OTHER}, expected the plan's"),
    "begun tomorrow": (both(began_at=TOMORROW), "expected an end after the beginning"),
    "begun long ago": (both(began_at="2020-01-01T00:00:00+00:00"), "expected an end after the beginning"),
    "no time zone": (both(began_at="2026-01-01T00:00:00"), "of no known time (began_at is '2026-01-01T00:00:00')"),
    "ended tomorrow": (run_(lambda run: run["run"].update(ended_at=TOMORROW)), "expected an end after the beginning"),
    "no nonce": (both(nonce="1"), "are of no one run (it has no nonce)"),
    **{
        f"two runs by {key}": (
            samples_of("run", **{key: "0" * 32}),
            f"are of two runs: current.json has another {key} than run.json",
        )
        for key in ("nonce", "candidate", "base", "began_at", "run_id", "attempt")
    },
    "samples of another time": (
        samples(lambda found: found["perfgate"].update(recorded_at="2026-01-01T00:00:00+00:00")),
        "expected samples taken during the run",
    ),
    "a run that says nothing of itself": (run_(lambda run: run.pop("run")), "The results in perf-"),
    "samples that say nothing of theirs": (samples(lambda found: found["perfgate"].pop("run")), "The results in perf-"),
    # Not of the base's suite, or not whole.
    "nothing was checked": (
        stage(0, passed=[], done="0"),
        "Correctness says nothing of k1_sq4096 and 2 more, expected",
    ),
    "one was not checked": (
        stage(0, passed=[*CASES[1:]]),
        "Correctness says nothing of k1_sq4096, expected each of the base's 3 cases.",
    ),
    "checked twice": (
        stage(0, passed=[*CASES, CASES[0]]),
        "Correctness speaks twice of k1_sq4096, expected each case once.",
    ),
    "checked another": (
        stage(0, passed=[*CASES, "k99"]),
        "Correctness speaks of k99, expected only cases of the base's suite.",
    ),
    "nothing compiled": (stage(1, verdicts=[]), "Compiled says nothing of k1_sq4096 and 2 more, expected each of the"),
    "one not compiled": (run_(lambda run: run["stages"][1]["verdicts"].pop()), "Compiled says nothing of sq2048"),
    "compiled another": (again(1, case="k99"), "Compiled speaks of k99, expected only cases of the base's suite."),
    "timed twice": (again(2), "Throughput speaks twice of k1_sq4096, expected each case once."),
    "timed another": (again(2, case="k99"), "Throughput speaks of k99, expected only cases of the base's suite."),
    "no cases known": (no_cases, "The base does not say which cases it has, expected baselines/cases.json"),
    "partial": (run_(lambda run: run.update(partial=True)), "Only chosen cases were judged, expected all."),
    **{
        f"{name} left out": (
            stage(number, done="", left_out="none", passed=[], verdicts=[]),
            f"{name} was not judged (none).",
        )
        for number, name in enumerate(STAGES)
    },
    **{f"no {name}": (no_stage(number), f"{name} was not judged.") for number, name in enumerate(STAGES)},
    "no card": (
        run_(lambda run: run.update(environment={})),
        f"It was measured on no card, expected {SLUG}; look at the runner's labels.",
    ),
    "another code path": (
        run_(lambda run: run["environment"].update(code_path="sm89")),
        "It was measured on NVIDIA H100",
    ),
    # Without the samples that it stands on.
    **{
        f"samples of another {key}": (
            samples_of("environment", **{key: value}),
            "current.json is of another machine than run.json, expected one run; run it again.",
        )
        for key, value in (("gpu", "NVIDIA H200"), ("uuid", "GPU-9"), ("driver", "1"))
    },
    "no samples": (
        instead_of_samples("nothing"),
        "k1_sq4096 has no samples, expected those of every timed case; run it again.",
    ),
    "samples that are a link to nowhere": (instead_of_samples("link"), ""),
    "samples that are a folder": (instead_of_samples("folder"), ""),
    "one made-up verdict on all": (made_up, "k1_sq4096 has no samples, expected those of every timed case"),
    "a case taken out": (without("sq2048"), "sq2048 has no samples"),
    "a case never spoken of": (without("sq2048", said=False), "Compiled says nothing of sq2048"),
    "hidden by a failure of all": (without("sq2048", whole=True), "sq2048 has no samples"),
    "beside another commit": (beside_other(OTHER), f"k1_sq4096 was measured beside ref {OTHER}, expected ref "),
    "beside a branch": (beside_other("main"), "k1_sq4096 was measured beside ref main, expected ref "),
    # Files that cannot be used.
    **{
        f"{name} {content!r}": (file(name, content), name)
        for name in ("run.json", "current.json")
        for content in ("", "{", "[]", '{"schema": 2}', "\udcff")
    },
    **{f"{name} a link": (linked(name), f"{name} is a link or larger") for name in ("run.json", "current.json")},
    **{f"flops {str(value)[:6]}": (samples_of("contract", flops=value), "current.json") for value in ("many", 10**400)},
}


@pytest.mark.parametrize(("forge", "said"), RED.values(), ids=RED)
def test_results_that_are_not_what_a_run_leaves_are_red_and_said(world: World, forge: Forge, said: str) -> None:
    forge(world, world.leave(world.measured()))
    assert said in _problem(world, world.check())


FORGED: dict[str, tuple[Forge, str]] = {
    "other verdicts": (all_same(), "The run says SAME of k1_sq4096 and its samples give SLOWER, expected the same;"),
    "no samples": (all_same(instead_of_samples("nothing")), "k1_sq4096 has no samples"),
    "samples that are a link": (all_same(instead_of_samples("link")), ""),
    "the slower case taken out": (all_same(without("k1_sq4096")), "k1_sq4096 has no samples"),
    "another case taken out": (without("sq2048", said=False), "Compiled says nothing of sq2048"),
}


@pytest.mark.parametrize(("forge", "said"), FORGED.values(), ids=FORGED)
def test_a_slower_kernel_is_not_made_green_by_what_its_files_say(world: World, forge: Forge, said: str) -> None:
    forge(world, world.leave(world.measured(scale=SLOWER)))
    assert said in _problem(world, world.check())


def test_samples_of_the_stored_baseline_are_no_measurement(world: World) -> None:
    world.leave(dataclasses.replace(world.baseline, commit=""))
    ended = world.check(measure="failure")
    assert ended.code == 2
    assert "are those of kernel in launch 1 of the baseline, number for number" in ended.summary


def test_results_of_another_card_than_the_runners_are_red(world: World) -> None:
    world.leave(world.measured(environment={"gpu": "NVIDIA H200", "driver": "1"}))
    assert f"expected {SLUG}" in _problem(world, world.check(measure="failure"))


# Changed after the gate's end


@pytest.mark.parametrize("name", ["run.json", "current.json", "samples that came later"])
def test_a_file_that_was_written_after_the_gates_end_is_refused(world: World, name: str) -> None:
    folder = world.leave(world.measured())
    path = folder / (name if name.endswith(".json") else "current.json")
    content = path.read_text(encoding="utf-8")
    if path.name != name:
        path.unlink()
    left = world.digests()
    path.write_text(content + " ", encoding="utf-8")
    assert "which their gate left: they were changed" in _problem(world, world.check(outputs=left))


@pytest.mark.parametrize("outputs", [{}, {"evidence_1": "a" * 64}, {"evidence_0": ""}])
def test_results_without_a_digest_in_the_jobs_outputs_are_refused(world: World, outputs: dict[str, str]) -> None:
    world.leave(world.measured())
    problem = _problem(world, world.check(outputs=outputs))
    assert problem.startswith(f"The job left no digest of perf-{SLUG} (evidence_0), expected one")


def test_the_changes_own_results_have_a_digest_and_commits_of_their_own(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    world.pull_request({LISTED: "{}"})
    world.event("pull_request")
    world.leave(world.measured())
    world.leave(world.measured(), own=True)
    assert world.check().code == 0
    outputs = world.digests()
    assert "(evidence_own_0)" in _problem(world, world.check(outputs=outputs | {"evidence_own_0": ""}))
    assert "they were changed" in _problem(world, world.check(outputs=outputs | {"evidence_own_0": "a" * 64}))
    both(base=world.base)(world, world.root / f"results/perf-{SLUG}-own")
    assert f"the base {world.base}, expected the plan's {world.candidate}" in _problem(world, world.check())


# What is green, or keeps its own verdict


@pytest.mark.parametrize("way", ["another order", "cases by baselines", "no baseline", "first commit's parent"])
def test_what_is_whole_is_green(tmp_path: Path, world: World, way: str) -> None:
    if way == "first commit's parent":  # on the default branch, a card without a baseline is measured beside it
        world = World.begin(tmp_path / "another")
        world.event("push")
        assert world.reference != world.base
    if way in {"no baseline", "first commit's parent"}:
        (world.root / f"baselines/{SLUG}/matmul.json").unlink()
    folder = world.leave(world.measured(), against_baseline=way not in {"no baseline", "first commit's parent"})
    if way == "another order":
        edit(folder / "run.json", lambda run: [stage["verdicts"].reverse() for stage in run["stages"]])
        edit(folder / "current.json", lambda found: found["benchmarks"].reverse())
    elif way == "cases by baselines":
        (world.root / LISTED).unlink()
    assert world.check().code == 0


def test_one_case_of_many_is_not_enough_without_a_baseline(world: World) -> None:
    (world.root / f"baselines/{SLUG}/matmul.json").unlink()
    world.leave(world.measured(cases=CASES[:1]), against_baseline=False)
    assert _problem(world, world.check()).startswith("k7_small_k has no samples")


@pytest.mark.parametrize(("stages", "code"), [((2,), 1), ((1,), 2)], ids=["no time needed", "compiling is"])
def test_a_wrong_kernel_needs_no_time_and_excuses_no_other_stage(
    world: World, stages: tuple[int, ...], code: int
) -> None:
    folder = world.leave(world.measured(), wrong=["sq2048"])
    edit(folder / "run.json", lambda run: [run["stages"].pop(number) for number in stages])
    (folder / "current.json").unlink()
    ended = world.check(measure="failure")
    assert (ended.code, "**WRONG** sq2048" in ended.summary) == (code, True)


def test_what_could_not_be_judged_as_a_whole_is_kept_with_its_reason(world: World) -> None:
    folder = world.leave(world.measured())
    again(2, case="*", status="INVALID", text="3 tests were deselected.", **NO_NUMBERS)(world, folder)
    edit(folder / "run.json", lambda run: run.update(exit=2))
    ended = world.check(measure="failure")
    assert (ended.code, "- **INVALID** 3 tests were deselected." in ended.summary) == (2, True)


# The report of one card


def _judged(world: World, *, own: bool = False, on_default_branch: bool = False) -> CardReport:
    return card_report(
        0,
        world.root / "results",
        read_settings(world.root),
        this_run=world.this_run(),
        own=own,
        on_default_branch=on_default_branch,
    )


def _live(verdicts: tuple[Verdict, ...]) -> dict[str, Any]:
    """Stages of a run whose throughput said these."""
    same = tuple(Verdict(case=case, status=Status.SAME, reason="same-code", text="so.") for case in CASES)
    done = (
        StageResult(name="correctness", done="all", passed=CASES),
        StageResult(name="compiled", done="all", verdicts=same),
    )
    return {"stages": (*done, StageResult(name="throughput", done="4 launches", verdicts=verdicts))}


def test_the_machine_and_the_notes_of_every_stage_are_taken_over(world: World) -> None:
    folder = world.leave(world.measured())
    stage(1, note="of main")(world, folder)
    found = _judged(world)
    machine = "NVIDIA H100 80GB HBM3, driver 580.159.04, torch 2.11.0+cu130, Triton 3.6.0"
    assert (found.label, found.slug, found.machine, found.notes) == (LABEL, SLUG, machine, ("compiled: of main",))
    assert (found.problems, found.by_base, found.proposed) == ((), 0, None)
    edit(folder / "run.json", lambda run: run.update(environment={}))
    assert _judged(world).machine == "no card, driver unknown, torch unknown, Triton unknown"


def test_samples_are_not_looked_at_where_the_run_is_no_whole_one(world: World) -> None:
    folder = world.leave(world.measured(), run={"partial": True})
    (folder / "current.json").write_text("{", encoding="utf-8")
    found = _judged(world)
    assert found.problems == ("Only chosen cases were judged, expected all.",)
    assert [verdict.case for verdict in found.verdicts] == list(CASES)


@pytest.mark.parametrize("name", ["run.json", "current.json"])
def test_a_file_that_is_too_large_is_refused_before_it_is_read(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    size = (world.leave(world.measured()) / name).stat().st_size
    for most, refused in ((size, False), (size - 1, True)):
        monkeypatch.setattr(results, "_MOST_BYTES", most)
        assert any(problem.startswith(f"{name} is a link or larger") for problem in _judged(world).problems) == refused


def test_a_case_has_one_line_unless_two_stages_have_something_to_say_of_it(world: World) -> None:
    folder = world.leave(world.measured())
    assert [verdict.case for verdict in _judged(world).verdicts] == list(CASES)
    again(1, case="*", **NO_NUMBERS)(world, folder)  # on all compiled code, which asks for no time of its own
    assert [verdict.case for verdict in _judged(world).verdicts] == ["*", *CASES]

    def slower(run: dict[str, Any]) -> None:
        run["stages"][1]["verdicts"][0].update(status="SLOWER", reason="spills")
        run["exit"] = 1

    edit(folder / "run.json", slower)
    assert [verdict.reason for verdict in _judged(world).verdicts if verdict.case == CASES[0]] == ["spills", "same"]


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
    failed = Verdict(case=CASES[2], status=Status.INVALID, reason="out-of-memory", text=f"{CASES[2]}: none.")
    folder = world.leave(current, run=_live((failed, *judged)))
    found = _judged(world)
    said = [(verdict.case, verdict.reason) for verdict in found.verdicts if verdict.reason != "same-code"]
    assert said == [(CASES[2], "out-of-memory"), (CASES[0], "same"), (CASES[1], "same")]
    assert (found.problems, found.by_base) == ((), 2)
    edit(folder / "run.json", lambda run: (run["stages"][2]["verdicts"].pop(0), run.update(exit=0)))
    assert _judged(world).problems == (f"{CASES[2]} has no samples, expected those of every timed case; run it again.",)


def test_a_case_that_the_baseline_lacks_is_invalid_by_the_baselines_name(world: World) -> None:
    current = world.measured(cases=(*CASES, "k9_8k"))
    world.leave(current, run=_live(judge(world.baseline, current, Limits())))
    (verdict,) = (verdict for verdict in _judged(world).verdicts if verdict.case == "k9_8k")
    assert (verdict.status, verdict.reason) == (Status.INVALID, "case-not-in-baseline")
    assert f"is not in the baseline baselines/{SLUG}/matmul.json," in verdict.text


def test_the_sentence_and_the_numbers_are_those_of_the_samples_and_not_of_the_run(world: World) -> None:
    folder = world.leave(world.measured(scale=SLOWER))
    edit(folder / "run.json", lambda run: run["stages"][2]["verdicts"][0].update(text="All is well.", ratio=1.0))
    (verdict,) = (verdict for verdict in _judged(world).verdicts if verdict.exit_code)
    assert verdict.ratio == pytest.approx(1.03, abs=0.002)
    assert "3.00 % slower" in verdict.text


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
    assert {verdict.reason for verdict in found.verdicts} == ({"drift"} if fails else {"same"})
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
    found = _judged(world, on_default_branch=True)
    assert (found.problems, found.by_base) == ((), 0)


# The change's own gate


@pytest.mark.parametrize("by_base", [{}, {"partial": True}])
@pytest.mark.parametrize("by_itself", [{}, {"partial": True}, None])
def test_problems_of_both_gates_are_said_and_whose_they_are(
    world: World, by_base: dict[str, Any], by_itself: dict[str, Any] | None
) -> None:
    world.leave(world.measured(), run=by_base)
    if by_itself is not None:
        world.leave(world.measured(), own=True, run=by_itself)
    found, only = _judged(world, own=True), "Only chosen cases were judged, expected all."
    own = (
        (f"Its own gate: {only}",) if by_itself else () if by_itself is not None else ("The change's own gate left no",)
    )
    expected = (*((only,) if by_base else ()), *own)
    assert [said[: len(want)] for said, want in zip(found.problems, expected, strict=True)] == list(expected)
    assert [verdict.case for verdict in found.verdicts] == list(CASES)
    assert [verdict.case for verdict in found.proposed or ()] == (list(CASES) if by_itself is not None else [])


def test_results_lie_in_a_folder_named_by_the_card_and_the_gate(world: World) -> None:
    runner = Runner(label=LABEL, slug=SLUG)
    assert (artifact(runner), artifact(runner, own=True)) == (f"perf-{SLUG}", f"perf-{SLUG}-own")
    (problem,) = _judged(world).problems
    assert problem.startswith(f"The job on the runner {LABEL} left no results")
