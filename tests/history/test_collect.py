"""The baselines' past out of git: times with their reasons, drift by the gate's rule, machine code beside them."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from history_support import CARD, CASES, COMPILED, Past, facts, measured
from perfgate.cli.history import main
from perfgate.compare.judge import judge
from perfgate.config import Limits, Settings
from perfgate.history import collect
from perfgate.records import GateError, Status
from perfgate.store.recording import write_recording

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.history.points import History

TIMES = f"{CARD}/matmul.json"


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path / "project")


def of(past: Past, **options: Any) -> History:
    return collect.history(Settings(root=past.root), **options)


def times(found: History, case: str = "sq2048") -> list[float]:
    return [point.time_s for one in found.cases if one.case == case for point in one.times]


# What it says.


def test_every_update_is_a_point_with_its_reason_commit_and_date(past: Past) -> None:
    commits = [past.baseline(scale, f"step {n}", anchor=not n) for n, scale in enumerate((1.0, 1.01, 0.9))]
    found = of(past)
    assert found.card == CARD
    assert [update.commit for update in found.updates] == commits
    assert [update.reasons for update in found.updates] == [("step 0",), ("step 1",), ("step 2",)]
    assert all(update.date.startswith("20") for update in found.updates)
    first, second, third = times(found)
    assert [second / first, third / first] == pytest.approx([1.01, 0.9])
    assert {one.case for one in found.cases} == set(CASES)
    point = found.cases[0].times[0]
    assert point.low_s <= point.time_s <= point.high_s
    assert (point.launches, point.measured_commit) == (4, "c" * 40)
    assert found.left_out == ()


def test_drift_is_what_the_gate_would_have_said(past: Past) -> None:
    scales = (1.0, 1.0045, 1.0045**5, 1.0045**8)
    for number, scale in enumerate(scales):
        past.baseline(scale, anchor=not number, launch=3 * number)
    points = {one.case: one.times for one in of(past).cases}
    for number, scale in enumerate(scales):
        # Held against other launches of itself it is the same, so that the gate says drift or nothing.
        now, baseline = measured(scale, launch=3 * number), measured(scale, launch=3 * number + 4)
        for verdict in judge(baseline, now, Limits(), anchor=measured(1.0)):
            assert verdict.status is Status.SAME
            drift = points[verdict.case][number].drift
            assert drift is not None
            assert drift.exceeded == any(aside.text.startswith("drift: ") for aside in verdict.asides)
            assert drift.low < drift.ratio < drift.high
    assert [point.drift and point.drift.exceeded for point in points["sq2048"]] == [False, False, True, True]


def test_drift_starts_anew_where_the_anchor_did(past: Past) -> None:
    past.baseline(1.0, anchor=True)
    past.baseline(1.1)
    past.baseline(1.1, "meant", anchor=True)
    ratios = [point.drift.ratio for point in of(past).cases[0].times if point.drift]
    assert ratios == [pytest.approx(1.0), pytest.approx(1.1), pytest.approx(1.0)]


def test_why_there_is_no_drift_is_said(past: Past) -> None:
    past.baseline(1.0)
    past.baseline(1.0, anchor=True)
    past.baseline(1.0, settings={"rounds": 80})
    said = [point.drift_left_out for point in of(past).cases[0].times]
    assert said == [
        "there was no first baseline of it",
        "",
        "the first baseline cannot be compared (other-settings)",
    ]


def test_a_point_that_was_measured_otherwise_than_the_one_before_is_marked(past: Past) -> None:
    for settings in ({"rounds": 40}, {"rounds": 80}, {"rounds": 80}):
        past.baseline(1.0, settings=settings, launch=settings["rounds"])
        past.commit()
    past.baseline(1.2, settings={"rounds": 80})
    assert [point.break_before for point in of(past).cases[0].times] == ["", "other-settings", ""]


def test_machine_code_alone_is_a_history_where_no_card_was_asked_for(past: Past) -> None:
    past.compiled(facts(162), reason="first")
    found = of(past)
    assert (found.card, found.cases[0].times) == ("", ())
    assert any("machine code only" in note for note in found.notes)
    past.baseline(1.0)
    assert any("the machine code is that for sm_89" in note for note in of(past).notes)


def test_an_update_that_came_by_a_merge_is_one_point(past: Past) -> None:
    past.baseline(1.0, "first")
    past.project.git("checkout", "--quiet", "-b", "update")
    past.baseline(1.1, "on a branch")
    past.project.git("checkout", "--quiet", "main")
    (past.root / "other").write_text("x", encoding="utf-8")
    past.commit()
    past.project.git("merge", "--quiet", "--no-ff", "--no-edit", "update")
    assert [update.reasons for update in of(past).updates] == [("first",), ("on a branch",)]


# A past that is not whole.


def test_a_commit_whose_file_cannot_be_read_is_named_and_left_out(past: Past) -> None:
    past.baseline(1.0)
    broken = past.spoil(TIMES, b'{"benchmarks": [')
    past.baseline(1.1)
    found = of(past)
    assert len(times(found)) == 2
    (one,) = found.left_out
    assert (one.file, one.reason, one.where[:12]) == (TIMES, "not-json", broken[:12])
    assert one.text.startswith(f"matmul.json of {broken[:12]} ")


def test_a_commit_that_took_the_file_away_or_put_another_cards_there_is_named(past: Past) -> None:
    past.baseline(1.0)
    past.path().unlink()
    past.commit()
    past.baseline(1.0, environment={"gpu": "NVIDIA L4"})
    past.baseline(1.1)
    found = of(past)
    assert len(times(found)) == 2
    assert [one.reason for one in found.left_out] == ["gone", "other-card"]


def test_a_broken_compiled_file_and_a_broken_anchor_leave_the_times(past: Past) -> None:
    past.compiled(facts())
    past.spoil(COMPILED, b'{"schema": 7}')
    past.path(f"{CARD}/anchor.json").write_bytes(b"{")
    past.baseline(1.0)
    found = of(past)
    assert len(times(found)) == 1
    assert [(one.file, one.reason) for one in found.left_out] == [
        (COMPILED, "other-schema"),
        (f"{CARD}/anchor.json", "not-json"),
    ]


def test_a_shallow_clone_says_that_it_is_shallow(past: Past, tmp_path: Path) -> None:
    past.baseline(1.0)
    past.baseline(1.1)
    shallow = tmp_path / "shallow"
    words = ["git", "clone", "--quiet", "--depth=1", past.root.as_uri(), str(shallow)]
    subprocess.run(words, check=True, capture_output=True)
    found = collect.history(Settings(root=shallow))
    assert len(times(found)) == 1
    assert any("this clone is shallow" in note for note in found.notes)
    with pytest.raises(GateError, match="this clone is shallow, so fetch the rest"):
        collect.history(Settings(root=shallow), gpu="nvidia-l4")


# Saved runs.


def run(path: Path, scale: float, **options: Any) -> Path:
    write_recording(path, dataclasses.replace(measured(scale, **options), recorded_at="2026-11-25T09:00:00+00:00"))
    return path


def test_saved_runs_come_after_the_commits_each_a_point(past: Past, tmp_path: Path) -> None:
    past.baseline(1.0, anchor=True)
    found = of(past, runs=[run(tmp_path / "a.json", 1.02), run(tmp_path / "b.json", 1.05)])
    first, *later = times(found)
    assert [later[0] / first, later[1] / first] == pytest.approx([1.02, 1.05])
    assert [update.kind for update in found.updates] == ["baseline", "run", "run"]
    drift = found.cases[0].times[2].drift
    assert drift is not None
    assert drift.ratio == pytest.approx(1.05)
    assert drift.exceeded


def test_a_run_beside_the_baselines_code_drifts_by_the_way_and_the_step(past: Past, tmp_path: Path) -> None:
    past.baseline(1.0, anchor=True)
    past.baseline(1.03)
    path = run(tmp_path / "a.json", 1.5, kernel="A2", other="A", other_kind="baseline-commit")
    text = path.read_text(encoding="utf-8").replace('"name": "main"', f'"name": "{"c" * 40}"')
    path.write_text(text, encoding="utf-8")
    drift = of(past, runs=[path]).cases[0].times[-1].drift
    assert drift is not None
    assert drift.ratio == pytest.approx(1.03 * 1.5, rel=0.01)


def test_runs_that_are_broken_or_of_another_card_are_named_and_left_out(past: Past, tmp_path: Path) -> None:
    past.baseline(1.0)
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    other = run(tmp_path / "other.json", 1.0, environment={"gpu": "NVIDIA L4"})
    found = of(past, gpu=CARD, runs=[broken, other, tmp_path / "none.json"])
    assert len(times(found)) == 1
    assert [one.reason for one in found.left_out] == ["not-json", "other-card", "no-file"]


def test_runs_alone_are_a_history_where_there_is_no_git(tmp_path: Path) -> None:
    path = run(tmp_path / "a.json", 1.0)
    found = collect.history(Settings(root=tmp_path), runs=[path])
    assert (found.card, len(times(found))) == (CARD, 1)
    assert any("there is no git history here" in note for note in found.notes)


# What is refused.


def test_the_card_is_asked_for_where_there_are_several(past: Past) -> None:
    past.baseline(1.0)
    past.store(measured(1.0, environment={"gpu": "NVIDIA L4"}), name="nvidia-l4/matmul.json")
    past.commit()
    with pytest.raises(GateError, match="Git has baselines of nvidia-h100-80gb-hbm3, nvidia-l4, expected one"):
        of(past)
    assert of(past, gpu="nvidia-l4").card == "nvidia-l4"


def test_nothing_left_is_exit_2_with_one_line(
    past: Past, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(root: Path, *argv: str) -> str:
        monkeypatch.chdir(root)
        assert main(list(argv)) == 2
        shown = capsys.readouterr()
        assert (shown.out, len(shown.err.splitlines())) == ("", 1)
        return shown.err

    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "pyproject.toml").write_text("")
    assert said(bare).startswith("INVALID no-git: There is no git history at ")
    assert said(past.root).startswith("INVALID no-history: ")
    past.spoil(TIMES, b"{")
    assert "matmul.json of " in said(past.root)
    past.baseline(1.0)
    assert said(past.root, "--gpu", "nvidia-l4").startswith("INVALID no-baseline: Git has no baseline of nvidia-l4")
    assert "known are " in said(past.root, "--case", "k99")
    assert said(past.root, "--format", "xml").startswith("INVALID bad-usage: ")
