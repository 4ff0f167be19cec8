"""How launches become one recording, and what happens when one fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate import measuring, stages
from perfgate.records import GateError
from perfgate.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

CASES = ("one", "two")


def launch_file(path: Path, seconds: float, cases: Sequence[str]) -> None:
    """What one worker's pytest-benchmark leaves, in the gate's format."""
    entries = [
        {
            "name": f"test[{case}]",
            "stats": {"data": [seconds] * 5},
            "extra_info": {
                "perfgate": {
                    "case": case,
                    "launches": [{"arms": {"kernel": [seconds] * 5, "control": [seconds / 2] * 5}}],
                    "contract": {"flops": 10**9, "min_bytes": 10**6, "unit": "tf32"},
                }
            },
        }
        for case in cases
    ]
    ours = {"schema": 1, "environment": {"gpu": "NVIDIA H100 80GB HBM3"}, "settings": {"rounds": 5}}
    path.write_text(json.dumps({"benchmarks": entries, "perfgate": ours}), encoding="utf-8")


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Measure with workers that do what a test says: an outcome for each case, by launch."""

    def run(outcomes: Sequence[dict[str, str]], *, leave: Sequence[bool] | None = None) -> Any:
        started: list[Path] = []

        def worker(_settings: Settings, _file: str, _results: Path, **options: Any) -> stages.Results:
            number = len(started)
            path = Path(options["pytest_args"][0].removeprefix("--benchmark-json="))
            started.append(path)
            if leave is None or leave[number]:
                passed = [case for case in CASES if outcomes[number][case] == "passed"]
                launch_file(path, 1e-3 * (number + 1), passed or CASES)
            items = {
                case: {"case": case, "outcome": outcome, "reason": "", "text": f"{case}: {outcome}."}
                for case, outcome in outcomes[number].items()
            }
            return stages.Results(items=items, deselected=(), seed=number)

        monkeypatch.setattr(stages, "run_tests", worker)
        output = tmp_path / "out"
        output.mkdir(exist_ok=True)
        return measuring.measure(Settings(root=tmp_path), output, expected=CASES, launches=len(outcomes))

    return run


RIGHT = {"one": "passed", "two": "passed"}


def test_every_process_is_one_launch_of_the_recording_and_the_samples_are_kept(measure: Any, tmp_path: Path) -> None:
    recording, failed = measure([RIGHT, RIGHT, RIGHT])
    assert failed == ()
    assert [launch.arms["kernel"][0] for launch in recording.samples["one"].launches] == [1e-3, 2e-3, 3e-3]
    kept = json.loads((tmp_path / "out/current.json").read_text(encoding="utf-8"))
    assert [entry["extra_info"]["perfgate"]["case"] for entry in kept["benchmarks"]] == ["one", "two"]
    assert kept["benchmarks"][0]["extra_info"]["perfgate"]["metrics"]["tflops"] == pytest.approx(0.5)


def test_a_case_that_fails_in_any_launch_gets_a_verdict_and_no_times(measure: Any) -> None:
    wrong = {"one": "failed", "two": "passed"}
    recording, failed = measure([wrong, wrong])
    assert [(verdict.case, verdict.exit_code) for verdict in failed] == [("one", 1)]
    assert set(recording.samples) == {"two"}


def test_a_skipped_case_is_not_a_pass(measure: Any) -> None:
    _, failed = measure([{"one": "skipped", "two": "passed"}] * 2)
    assert [(verdict.case, verdict.reason) for verdict in failed] == [("one", "skipped")]


def test_a_case_that_no_worker_knows_is_not_run(measure: Any) -> None:
    _, failed = measure([{"two": "passed", "one": "passed"}, {"two": "passed", "one": "not run"}])
    assert [(verdict.case, verdict.reason) for verdict in failed] == [("one", "not-run")]


def test_a_launch_without_samples_is_an_error_though_its_tests_passed(measure: Any) -> None:
    with pytest.raises(GateError, match="1 of 2 launches left samples"):
        measure([RIGHT, RIGHT], leave=[True, False])


def test_an_older_launchs_file_is_never_taken_for_a_new_one(measure: Any, tmp_path: Path) -> None:
    measure([RIGHT, RIGHT])
    assert (tmp_path / "out/launch-2.json").is_file()
    with pytest.raises(GateError, match="1 of 2 launches left samples"):
        measure([RIGHT, RIGHT], leave=[True, False])


def test_a_recording_names_its_commit_and_says_when_the_kernel_is_not_that_commits(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, kernel="kernel.py")
    assert measuring.commit(settings) == ""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=tmp_path, check=True, capture_output=True, text=True)  # noqa: S607 - git by name
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "kernel.py").write_text("1\n", encoding="utf-8")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message=one")
    assert measuring.commit(settings) == git("rev-parse", "HEAD")
    (tmp_path / "kernel.py").write_text("2\n", encoding="utf-8")
    assert measuring.commit(settings) == git("rev-parse", "HEAD") + "-dirty"
