"""How launches become one recording, and what happens when one fails or the card is busy."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.config import Settings
from perfgate.measurement import processes, pytest_runs
from perfgate.measurement.session import current_commit
from perfgate.records import GateError
from perfgate.store import reference

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perfgate.records import Recording

CASES = ("one", "two")
RIGHT = {"one": "passed", "two": "passed"}


def launch_file(path: Path, seconds: float, cases: Sequence[str], selected: Sequence[str] = ()) -> None:
    """What one worker's pytest-benchmark leaves, in the gate's format."""
    ours = {
        "launches": [{"arms": {"kernel": [seconds] * 5, "control": [seconds / 2] * 5}}],
        "contract": {"flops": 10**9, "min_bytes": 10**6, "unit": "tf32"},
    }
    entries = [
        {"name": case, "stats": {"data": [seconds] * 5}, "extra_info": {"perfgate": {"case": case, **ours}}}
        for case in cases
    ]
    known: dict[str, Any] = {"schema": 1, "environment": {"gpu": "NVIDIA H100 80GB HBM3"}, "settings": {"rounds": 5}}
    known |= {"selected": list(selected)} if selected else {}
    path.write_text(json.dumps({"benchmarks": entries, "perfgate": known}), encoding="utf-8")


class FakeRun:
    """A worker that does what a test says: an outcome for each case it is given."""

    def __init__(self, outcomes: dict[str, str], options: dict[str, Any], *, leave: bool) -> None:
        self.args: Sequence[str] = options["pytest_args"]
        self.path = Path(self.args[0].removeprefix("--benchmark-json="))
        self.cases = tuple(options["cases"]) or CASES
        self.outcomes, self.leave = outcomes, leave
        self.ran = self.ended = False

    def end(self) -> None:
        self.ended = True

    def finish(self) -> pytest_runs.Results:
        self.ran = True
        number = int(self.path.stem.partition("-")[2])
        if self.leave:
            passed = [case for case in self.cases if self.outcomes[case] == "passed"]
            selected = self.cases if "--perfgate-continued" in self.args else ()
            launch_file(self.path, 1e-3 * number, passed or CASES, selected)
        said = {case: self.outcomes[case] for case in self.cases if case in self.outcomes}
        items = {
            case: {"case": case, "outcome": outcome, "reason": "", "text": f"{case}: {outcome}."}
            for case, outcome in said.items()
        }
        return pytest_runs.Results(items=items, deselected=(), seed=number)


@pytest.fixture
def started() -> list[FakeRun]:
    return []


@pytest.fixture
def measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[FakeRun]
) -> Callable[..., processes.Measured]:
    """Measure with such workers, one set of outcomes a launch."""

    def run(
        outcomes: Sequence[dict[str, str]], *, leave: Sequence[bool] | None = None, **plan: Any
    ) -> processes.Measured:
        started.clear()

        def start(_settings: Settings, _file: str, _results: Path, **options: Any) -> FakeRun:
            number = len(started)
            started.append(FakeRun(outcomes[number], options, leave=leave is None or leave[number]))
            return started[-1]

        monkeypatch.setattr(pytest_runs, "start_tests", start)
        output = tmp_path / "out"
        output.mkdir(exist_ok=True)
        planned = processes.Plan(**{"expected": CASES, "launches": len(outcomes), **plan})
        return processes.measure(Settings(root=tmp_path), output, planned)

    return run


Measure = Any


def test_every_process_is_one_launch_of_the_recording_and_the_samples_are_kept(
    measure: Measure, tmp_path: Path
) -> None:
    found = measure([RIGHT, RIGHT, RIGHT])
    assert found.failed == ()
    assert [launch.arms["kernel"][0] for launch in found.recording.samples["one"].launches] == [1e-3, 2e-3, 3e-3]
    kept = json.loads((tmp_path / "out/current.json").read_text(encoding="utf-8"))
    assert [entry["extra_info"]["perfgate"]["case"] for entry in kept["benchmarks"]] == ["one", "two"]
    assert kept["benchmarks"][0]["extra_info"]["perfgate"]["metrics"]["tflops"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("second", "reason", "code"),
    [("failed", "wrong-result", 1), ("skipped", "skipped", 2), ("not run", "not-run", 2)],
)
def test_a_case_that_does_not_pass_in_some_launch_gets_a_verdict_and_no_times(
    measure: Measure, second: str, reason: str, code: int
) -> None:
    found = measure([RIGHT, {"one": second, "two": "passed"}])
    assert [(verdict.case, verdict.reason, verdict.exit_code) for verdict in found.failed] == [("one", reason, code)]
    assert set(found.recording.samples) == {"two"}


def test_a_launch_without_samples_is_an_error_though_its_tests_passed_and_an_older_ones_are_there(
    measure: Measure, tmp_path: Path
) -> None:
    measure([RIGHT, RIGHT])
    assert (tmp_path / "out/launch-2.json").is_file()
    with pytest.raises(GateError, match="1 of 2 launches left samples"):
        measure([RIGHT, RIGHT], leave=[True, False])


def test_a_recording_names_its_commit_and_says_when_the_kernel_is_not_that_commits(tmp_path: Path) -> None:
    settings = Settings(root=tmp_path, kernel="kernel.py")
    assert current_commit(settings) == ""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=tmp_path, check=True, capture_output=True, text=True)  # noqa: S607 - git by name
        return done.stdout.strip()

    git("init", "--quiet")
    (tmp_path / "kernel.py").write_text("1\n", encoding="utf-8")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message=one")
    assert current_commit(settings) == git("rev-parse", "HEAD")
    (tmp_path / "kernel.py").write_text("2\n", encoding="utf-8")
    assert current_commit(settings) == git("rev-parse", "HEAD") + "-dirty"


def test_only_undecided_cases_are_launched_again_once_they_are_asked_about(
    measure: Measure, started: list[FakeRun]
) -> None:
    asked: list[int] = []

    def undecided(recording: Recording) -> list[str]:
        asked.append(len(recording.samples["two"].launches))
        return ["two"]

    found = measure([RIGHT] * 8, launches=4, most_launches=8, undecided=undecided)
    assert asked == [4]
    assert [run.cases for run in started] == [CASES] * 4 + [("two",)] * 4
    assert {case: len(samples.launches) for case, samples in found.recording.samples.items()} == {"one": 4, "two": 8}
    assert found.launches == 8
    assert measure([RIGHT] * 8, launches=4, most_launches=8, undecided=lambda _: ()).launches == 4


def test_a_case_that_fails_when_launched_again_gives_no_times(measure: Measure) -> None:
    outcomes = [RIGHT] * 2 + [{"one": "passed", "two": "failed"}] * 2
    found = measure(outcomes, launches=2, most_launches=4, undecided=lambda _recording: ["two"])
    assert [(verdict.case, verdict.exit_code) for verdict in found.failed] == [("two", 1)]
    assert set(found.recording.samples) == {"one"}


def test_the_first_launch_is_made_whatever_the_budget_and_none_after_it_is_spent(
    measure: Measure, started: list[FakeRun]
) -> None:
    found = measure([RIGHT] * 4, deadline_s=0.0)
    assert (found.launches, found.out_of_time) == (1, True)
    assert [(run.ran, run.ended) for run in started[1:]] == [(False, True)] * (len(started) - 1)


@pytest.mark.parametrize("free_for", [0, 1, 2])
def test_a_card_that_gets_busy_ends_the_measurement_and_leaves_no_process_waiting(
    measure: Measure, started: list[FakeRun], free_for: int
) -> None:
    looks = iter([*[None] * free_for, GateError("busy", "It is busy.")])

    def check_idle() -> None:
        if error := next(looks):
            raise error

    with pytest.raises(GateError, match="busy"):
        measure([RIGHT] * 4, check_idle=check_idle)
    assert [run.ran for run in started].count(True) == free_for
    assert all(run.ended for run in started)


def test_a_process_is_started_while_the_one_before_measures_and_none_is_left() -> None:
    class Run:
        def __init__(self, number: int) -> None:
            self.number, self.ended = number, False
            log.append(number)

        def end(self) -> None:
            self.ended = True

    log: list[int] = []
    ahead: Any = processes.started_ahead
    assert [(run.number, log[-1]) for run in ahead(Run, range(1, 4))] == [(1, 2), (2, 3), (3, 3)]
    runs = ahead(Run, range(1, 9))
    next(runs)
    waiting = runs.gi_frame.f_locals["ahead"]
    runs.close()
    assert waiting.ended
    assert list(ahead(Run, ())) == []


def test_the_other_side_is_named_to_every_worker(measure: Measure, started: list[FakeRun]) -> None:
    measure([RIGHT] * 2, other=reference.Side(kind="ref", name="main", path=Path("/other/matmul.py")))
    for run in started:
        assert "--perfgate-other=/other/matmul.py" in run.args
        assert list(run.args[run.args.index("--perfgate-other-is") :][:3]) == ["--perfgate-other-is", "ref", "main"]


@pytest.mark.parametrize("quiet", [False, True])
def test_a_line_says_which_launch_runs_and_from_the_second_on_how_long_it_will_take(
    measure: Measure, capsys: pytest.CaptureFixture[str], *, quiet: bool
) -> None:
    measure([RIGHT] * 4, launches=2, most_launches=4, undecided=lambda _recording: ["two"], quiet=quiet)
    said = [line.split(" …")[0].split(", about")[0] for line in capsys.readouterr().out.splitlines()]
    expected = [
        "perf: measuring, launch 1 of 2",
        "perf: measuring, launch 2 of 2",
        "perf: measuring of the 1 undecided, launch 3 of 4",
        "perf: measuring of the 1 undecided, launch 4 of 4",
    ]
    assert said == ([] if quiet else expected)
