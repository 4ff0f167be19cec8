"""How launches become one recording, and what happens when one fails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.measurement import processes, pytest_runs
from perfgate.records import GateError
from perfgate.settings import Settings
from perfgate.store import reference

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from perfgate.records import Recording

CASES = ("one", "two")


def launch_file(path: Path, seconds: float, cases: Sequence[str], selected: Sequence[str] = ()) -> None:
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
    ours: dict[str, Any] = {"schema": 1, "environment": {"gpu": "NVIDIA H100 80GB HBM3"}, "settings": {"rounds": 5}}
    if selected:
        ours["selected"] = list(selected)
    path.write_text(json.dumps({"benchmarks": entries, "perfgate": ours}), encoding="utf-8")


class FakeRun:
    """A worker that does what a test says: an outcome for each case it is given."""

    def __init__(self, outcomes: dict[str, str], cases: Collection[str], args: Sequence[str], *, leave: bool) -> None:
        self.path = Path(args[0].removeprefix("--benchmark-json="))
        self.cases = tuple(cases) or CASES
        self.outcomes, self.leave, self.args = outcomes, leave, args
        self.ended = False

    def end(self) -> None:
        self.ended = True

    def finish(self) -> pytest_runs.Results:
        number = int(self.path.stem.partition("-")[2])
        if self.leave:
            passed = [case for case in self.cases if self.outcomes[case] == "passed"]
            selected = self.cases if "--perfgate-continued" in self.args else ()
            launch_file(self.path, 1e-3 * number, passed or CASES, selected)
        items = {
            case: {
                "case": case,
                "outcome": self.outcomes[case],
                "reason": "",
                "text": f"{case}: {self.outcomes[case]}.",
            }
            for case in self.cases
            if case in self.outcomes
        }
        return pytest_runs.Results(items=items, deselected=(), seed=number)


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Measure with such workers, one set of outcomes a launch."""

    def run(outcomes: Sequence[dict[str, str]], *, leave: Sequence[bool] | None = None, **plan: Any) -> Any:
        started: list[FakeRun] = []

        def start(_settings: Settings, _file: str, _results: Path, **options: Any) -> FakeRun:
            number = len(started)
            left = leave is None or leave[number]
            started.append(FakeRun(outcomes[number], options["cases"], options["pytest_args"], leave=left))
            return started[-1]

        monkeypatch.setattr(pytest_runs, "start_tests", start)
        output = tmp_path / "out"
        output.mkdir(exist_ok=True)
        planned = processes.Plan(**{"expected": CASES, "launches": len(outcomes), **plan})
        return processes.measure(Settings(root=tmp_path), output, planned), started

    return run


@pytest.fixture
def measure(measured: Any) -> Any:
    """The recording and what failed."""

    def run(*args: Any, **options: Any) -> Any:
        found, _ = measured(*args, **options)
        return found.recording, found.failed

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
    assert processes.commit(settings) == ""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=tmp_path, check=True, capture_output=True, text=True)  # noqa: S607 - git by name
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "kernel.py").write_text("1\n", encoding="utf-8")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message=one")
    assert processes.commit(settings) == git("rev-parse", "HEAD")
    (tmp_path / "kernel.py").write_text("2\n", encoding="utf-8")
    assert processes.commit(settings) == git("rev-parse", "HEAD") + "-dirty"


def test_only_undecided_cases_are_launched_again(measured: Any) -> None:
    asked = iter([["two"], []])
    found, started = measured([RIGHT] * 8, launches=4, most_launches=8, undecided=lambda _recording: next(asked))
    assert [run.cases for run in started] == [CASES] * 4 + [("two",)] * 4
    assert {case: len(samples.launches) for case, samples in found.recording.samples.items()} == {"one": 4, "two": 8}
    assert found.launches == 8


def test_nothing_is_launched_again_where_all_is_decided(measured: Any) -> None:
    _, started = measured([RIGHT] * 8, launches=4, most_launches=8, undecided=lambda _recording: ())
    assert len(started) == 4


def test_a_case_that_fails_when_launched_again_gives_no_times(measured: Any) -> None:
    outcomes = [RIGHT] * 2 + [{"one": "passed", "two": "failed"}] * 2
    found, _ = measured(outcomes, launches=2, most_launches=4, undecided=lambda _recording: ["two"])
    assert [(verdict.case, verdict.exit_code) for verdict in found.failed] == [("two", 1)]
    assert set(found.recording.samples) == {"one"}


def test_the_first_launch_is_made_whatever_the_budget_and_none_after_it_is_spent(measured: Any) -> None:
    found, started = measured([RIGHT] * 4, deadline_s=0.0)
    assert (found.launches, found.out_of_time) == (1, True)
    assert [run.ended for run in started[1:]] == [True] * (len(started) - 1)


def test_undecided_cases_are_asked_about_with_all_their_launches(measured: Any) -> None:
    seen: list[int] = []

    def undecided(recording: Recording) -> list[str]:
        seen.append(len(recording.samples["two"].launches))
        return ["two"] if len(seen) == 1 else []

    measured([RIGHT] * 8, launches=4, most_launches=8, undecided=undecided)
    assert seen == [4]


def test_the_other_side_is_named_to_every_worker(measured: Any) -> None:
    side = reference.Side(kind="ref", name="main", path=Path("/other/matmul.py"))
    _, started = measured([RIGHT] * 2, other=side)
    for run in started:
        assert "--perfgate-other=/other/matmul.py" in run.args
        assert list(run.args[run.args.index("--perfgate-other-is") :][:3]) == ["--perfgate-other-is", "ref", "main"]


def test_a_line_says_which_launch_runs_and_from_the_second_on_how_long_it_will_take(
    measured: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    measured([RIGHT] * 4, launches=2, most_launches=4, undecided=lambda _recording: ["two"])
    assert [line.split(" …")[0].split(", about")[0] for line in capsys.readouterr().out.splitlines()] == [
        "perf: measuring, launch 1 of 2",
        "perf: measuring, launch 2 of 2",
        "perf: measuring of the 1 undecided, launch 3 of 4",
        "perf: measuring of the 1 undecided, launch 4 of 4",
    ]


def test_a_quiet_measurement_says_nothing(measured: Any, capsys: pytest.CaptureFixture[str]) -> None:
    measured([RIGHT] * 2, quiet=True)
    assert capsys.readouterr().out == ""
