"""What the throughput stage holds launches against: the baseline's code, history, a named side, a stored number."""

from __future__ import annotations

import dataclasses
import shlex
import time
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.cli import judge
from perfgate.gate import throughput
from perfgate.records import GateError, Status, Verdict, exit_code
from perfgate.store.recording import merge, write_recording
from throughput_support import CASES, ENVIRONMENT, FOLDER, Gate, begin

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.store.run import StageResult

RECORD = 'nox -s update-baselines -- --only throughput --reason "first baseline of this card"'
EQUAL = {"kernel": "5ab1e", "other": "5ab1e"}


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    return begin(tmp_path, monkeypatch)


def judged(stage: StageResult) -> list[tuple[str, str]]:
    return [(verdict.case, verdict.reason) for verdict in stage.verdicts]


def reasons(stage: StageResult) -> list[str]:
    return [verdict.reason for verdict in stage.verdicts]


def other_text(gate: Gate) -> str:
    (plan,) = gate.plans
    assert plan.other is not None
    return plan.other.path.read_text(encoding="utf-8")


# Without a baseline.


def test_on_its_first_day_a_change_is_compared_with_where_it_left_the_default_branch(gate: Gate) -> None:
    base = gate.git("rev-parse", "HEAD")
    gate.commit("mine")
    gate.commit("mine too")
    stage = gate.run()
    assert (reasons(stage), exit_code(stage.verdicts)) == (["same", "same"], 0)
    assert other_text(gate) == "base"
    assert stage.note == (
        f"NVIDIA H100 80GB HBM3 has no baseline ({FOLDER}/matmul.json); compared with ref {base} instead; "
        f"record one from code you trust: {RECORD}"
    )
    assert stage.done == f"2 cases in 4 launches against ref {base} measured in the same launches"


def test_on_its_first_day_the_default_branch_is_compared_with_the_commit_before(gate: Gate) -> None:
    gate.git("switch", "--quiet", "main")
    gate.commit("next")
    gate.scale = 1.05
    stage = gate.run()
    assert (reasons(stage), exit_code(stage.verdicts)) == (["slower", "slower"], 1)
    assert other_text(gate) == "base"


def test_a_first_day_without_any_history_is_measured_and_exit_2_and_says_how_to_record(gate: Gate) -> None:
    stage = gate.run()
    assert (reasons(stage), exit_code(stage.verdicts)) == (["no-baseline", "no-baseline"], 2)
    assert RECORD in stage.verdicts[0].text
    assert not stage.done
    assert stage.recording is not None
    assert "nothing to compare with" in stage.left_out
    assert gate.plans[0].other is None


# With a baseline.


def test_the_code_of_the_baselines_commit_is_measured_in_the_same_launches(gate: Gate) -> None:
    then = gate.commit("as recorded")
    gate.commit("mine")
    gate.store(commit=then)
    stage = gate.run()
    (plan,) = gate.plans
    assert plan.other is not None
    assert (plan.other.kind, plan.other.name, other_text(gate)) == ("baseline-commit", then, "as recorded")
    assert (plan.launches, plan.most_launches) == (4, 8)
    assert reasons(stage) == ["same", "same"]
    assert stage.verdicts[0].asides[0].text.startswith("machine: ")
    beside = f"the baseline's commit {then[:12]} measured in the same launches"
    assert stage.done == f"2 cases in 4 launches against {FOLDER}/matmul.json, {beside}"
    assert stage.note == f"{FOLDER}/matmul.json has changes that are not committed"
    assert stage.again == f"python -m perfgate judge --baseline {FOLDER}/matmul.json --current .perfgate/current.json"


@pytest.mark.parametrize("commit", ["0123456789abcdef0123456789abcdef01234567", ""])
def test_a_baseline_whose_commit_is_gone_is_judged_by_its_stored_number_and_it_is_said(gate: Gate, commit: str) -> None:
    gate.commit("mine")
    gate.store(commit=commit)
    stage = gate.run()
    (plan,) = gate.plans
    assert reasons(stage) == ["same", "same"]
    assert "the stored" in stage.verdicts[0].text
    assert f"the baseline names {f'commit {commit[:12]}' if commit else 'no commit'}, whose kernel git" in stage.note
    assert "so its stored number is judged, with the limit of other days and cards" in stage.note
    assert plan.launches == 5
    assert other_text(gate) == "base"  # the arbiter


def test_the_arbiter_of_a_stored_number_says_that_a_slowdown_is_not_this_changes(gate: Gate) -> None:
    gate.commit("mine")
    gate.store(commit="0" * 40, scale=1 / 1.05)
    assert reasons(gate.run()) == ["same-not-this-change", "same-not-this-change"]
    gate.scale = 1.05
    assert reasons(gate.run()) == ["slower", "slower"]


@pytest.mark.parametrize(
    ("changes", "reason", "said"),
    [
        ({"settings": {"rounds": 40}}, "other-settings", "k1_sq4096: would be measured with other settings: "),
        ({"environment": {**ENVIRONMENT, "gpu": "NVIDIA H200"}}, "other-card", "k1_sq4096: would be "),
    ],
)
def test_what_could_not_be_compared_is_refused_before_anything_is_measured(
    gate: Gate, changes: dict[str, Any], reason: str, said: str
) -> None:
    found = dataclasses.replace(gate.recorded(range(5)), **changes)
    write_recording(gate.root / FOLDER / "matmul.json", found)
    stage = gate.run()
    assert (gate.plans, stage.recording) == ([], None)
    assert (reasons(stage), exit_code(stage.verdicts)) == ([reason, reason], 2)
    assert stage.verdicts[0].text.startswith(said)


@pytest.mark.parametrize(
    ("baseline", "reason"),
    [
        ('{"benchmarks": [', "not-json"),
        ('{"benchmarks": []}', "zero-cases"),
        ('{"perfgate": {"schema": 2}, "benchmarks": []}', "other-schema"),
    ],
)
def test_a_broken_baseline_is_exit_2_before_anything_is_measured(gate: Gate, baseline: str, reason: str) -> None:
    (gate.root / FOLDER).mkdir(parents=True)
    (gate.root / FOLDER / "matmul.json").write_text(baseline, encoding="utf-8")
    assert judged(gate.run()) == [("*", reason)]
    assert gate.plans == []


def test_a_case_of_one_side_only_is_exit_2_in_a_whole_run_and_left_alone_in_a_chosen_one(gate: Gate) -> None:
    gate.store()
    assert ("k7_small_k", "case-not-measured") in judged(gate.run(chosen=CASES[:1]))
    assert judged(gate.run(chosen=CASES[:1], cases=CASES[:1])) == [("k1_sq4096", "same")]
    less = gate.recorded(range(5))
    less = dataclasses.replace(less, samples={"k1_sq4096": less.samples["k1_sq4096"]})
    write_recording(gate.root / FOLDER / "matmul.json", less)
    assert ("k7_small_k", "case-not-in-baseline") in judged(gate.run())


def test_a_wrong_kernel_gets_no_speed_number(gate: Gate) -> None:
    gate.store()
    stage = gate.run(wrong=True)
    assert (stage.verdicts, stage.recording, gate.plans) == ((), None, [])
    assert stage.left_out == "a wrong kernel gets no speed number"


def test_a_named_side_takes_the_place_of_every_baseline(gate: Gate) -> None:
    gate.commit("mine")
    gate.store(scale=0.5)
    gate.store("anchor.json", scale=0.5)
    stage = gate.run(against="main", fail_on_drift=True)
    assert other_text(gate) == "base"
    assert reasons(stage) == ["same", "same"]
    assert "than ref main" in stage.verdicts[0].text or "from ref main" in stage.verdicts[0].text
    assert stage.note == ""
    assert stage.done == "2 cases in 4 launches against ref main, in the same launches"


def test_a_named_side_that_does_not_exist_is_exit_2_and_measures_nothing(gate: Gate) -> None:
    stage = gate.run(against="mian")
    assert [(v.case, v.reason) for v in stage.verdicts] == [("*", "no-other-side")]
    assert (exit_code(stage.verdicts), gate.plans) == (2, [])


# The plan.


def test_only_sides_of_the_same_launches_are_continued_and_only_for_what_is_undecided(gate: Gate) -> None:
    gate.commit("mine")
    gate.store(commit="0" * 40)
    gate.run()
    gate.store(commit=gate.git("rev-parse", "main"))
    gate.run()
    gate.run(against="main")
    stored, anchored, named = gate.plans
    assert stored.undecided is None
    for plan in (anchored, named):
        assert plan.undecided is not None
        beside = plan.other.kind if plan.other else ""
        calm, slow = (
            gate.recorded(range(n, n + 1), kernel="A2", other="A", other_kind=beside, scale={"k7_small_k": scale})
            for n, scale in enumerate((1.0, 1.02), 5)  # not the stored ones
        )
        assert list(plan.undecided(merge([calm, slow]))) == ["k7_small_k"]
        assert list(plan.undecided(gate.recorded(range(5, 12), kernel="A2", other="A", other_kind=beside))) == []


def test_launches_that_were_asked_for_are_made_within_the_budget_and_a_cut_is_said(gate: Gate) -> None:
    gate.run(launches=2, against="main")
    gate.out_of_time = True
    deadline_s = time.monotonic() + 5
    stage = gate.run(launches=12, against="main", deadline_s=deadline_s)
    assert [(plan.launches, plan.most_launches) for plan in gate.plans] == [(2, 8), (12, 12)]
    assert gate.plans[1].deadline_s == deadline_s
    assert stage.done.startswith("2 cases in 12 launches (the budget allowed no more) against ref main")


def test_equal_code_is_counted_in_the_summary(gate: Gate) -> None:
    gate.code = EQUAL
    assert gate.run(against="main").done.endswith("; 2 run equal machine code on both sides")
    gate.code = {"kernel": "5ab1e"}
    assert "equal" not in gate.run(against="main").done


# Drift, which fails on the default branch.


@pytest.mark.parametrize(
    ("runner", "asked", "fails"),
    [
        ("main", False, True),
        ("change", False, False),
        ("change", True, True),
        ("12/merge", False, False),
        ("", False, False),
    ],
)
def test_drift_fails_on_the_branch_that_the_runner_calls_default(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, runner: str, *, asked: bool, fails: bool
) -> None:
    gate.store(commit=gate.git("rev-parse", "main"))
    gate.store("anchor.json", scale=1 / 1.03)
    if runner:  # else git says which branch it is
        monkeypatch.setenv("GITHUB_REF_NAME", runner)
    stage = gate.run(fail_on_drift=asked)
    assert exit_code(stage.verdicts) == (1 if fails else 0)
    assert reasons(stage) == (["drift"] * 2 if fails else ["same"] * 2)
    assert fails or all("drift: " in verdict.asides[-1].text for verdict in stage.verdicts)
    if not runner:
        gate.git("switch", "--quiet", "main")
        assert exit_code(gate.run().verdicts) == 1


# The saved files give the same verdicts.


def bytes_again(stage: StageResult, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    words = shlex.split(stage.again)
    assert words[:4] == ["python", "-m", "perfgate", "judge"]
    assert judge.main([*words[4:], "--format", "json"]) == exit_code(stage.verdicts)
    return capsys.readouterr().out


@pytest.mark.parametrize("kind", ["stored", "anchored", "named", "first day", "chosen", "some failed", "drift", "base"])
def test_the_printed_command_judges_the_saved_files_to_the_same_bytes(
    gate: Gate, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    gate.commit("mine")
    gate.code, gate.scale = EQUAL, {"k7_small_k": 1.05}
    options: dict[str, Any] = {}
    if kind not in {"first day", "named"}:
        gate.store(commit="0" * 40 if kind == "stored" else gate.git("rev-parse", "main"), scale=1 / 1.01)
    if kind == "named":
        options = {"against": "main"}
    if kind == "chosen":
        options = {"cases": CASES[:1], "chosen": CASES[:1]}
    if kind == "some failed":
        gate.failed = (Verdict(case=CASES[1], status=Status.INVALID, reason="does-not-fit", text="too big."),)
    if kind == "drift":
        gate.store("anchor.json", scale=1 / 1.04)
        options = {"fail_on_drift": True}
    if kind == "base":
        gate.git("add", FOLDER)
        gate.git("commit", "--quiet", "--message=baseline")
        options = {"base": "HEAD"}
    stage = gate.run(**options)
    written = (gate.root / ".perfgate/verdicts.json").read_text(encoding="utf-8")
    assert gate.plans[0].cases == options.get("chosen", ())
    if not gate.failed:
        assert written == bytes_again(stage, capsys)
        return
    assert [verdict.case for verdict in stage.verdicts] == [CASES[1], CASES[0]]
    judged = dataclasses.replace(stage, verdicts=tuple(v for v in stage.verdicts if v not in gate.failed))
    assert written == bytes_again(judged, capsys)


def test_files_of_an_earlier_run_are_gone_where_this_one_gives_no_verdicts(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.store()
    gate.run()
    kept = [gate.root / ".perfgate" / name for name in ("current.json", "verdicts.json")]
    assert all(path.is_file() for path in kept)

    def crash(*_: object) -> None:
        raise GateError("no-samples", "A launch left nothing.")

    monkeypatch.setattr(throughput, "measure", crash)
    assert reasons(gate.run()) == ["no-samples"]
    assert not any(path.exists() for path in kept)
