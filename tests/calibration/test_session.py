"""The command that calibrates: launches by stand-ins, what is kept of them, and what is never published."""

from __future__ import annotations

import dataclasses
import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from perfgate.calibration.rates import KNOBS_FILE
from perfgate.cli.calibrate import main
from perfgate.measurement import gpu_lock, pytest_runs, session

GPU = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "why": "",
    "uuid": "GPU-1",
    "driver": "580",
    "triton": "3.6.0",
    "code_path": "native",
}
KNOBS = {"+1": {"extra": 640, "slowdown": 0.0101, "reached": True}}
SUITE = "from types import SimpleNamespace as N\nCASES = [N(id='one'), N(id='two')]\nCHECKED = [*CASES, N(id='edge')]\n"


class Workers:
    """Plays the processes: each leaves what a launch of the calibration leaves, and some fail."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.knobs: list[Any] = []
        self.outcomes: dict[int, str] = {}
        self.leave = True
        self.ended = 0

    def start(self, _settings: object, file: str, results: Path, **options: Any) -> Worker:
        assert file == "test_calibration.py"
        return Worker(self, results, options)


@dataclasses.dataclass
class Worker:
    """One of them."""

    workers: Workers
    results: Path
    options: dict[str, Any]

    def end(self) -> None:
        self.workers.ended += 1

    def finish(self) -> pytest_runs.Results:
        workers = self.workers
        workers.begun.append(self.options)
        workers.knobs.append(json.loads(Path(self.options["environment"][KNOBS_FILE]).read_text(encoding="utf-8")))
        number = len(workers.begun)
        outcome = workers.outcomes.get(number, "passed")
        cases = self.options["cases"] or ("one", "two")
        items = {
            case: {
                "case": case,
                "outcome": outcome if case == "two" else "passed",
                "reason": "",
                "text": f"{case}: bad.",
            }
            for case in cases
        }
        if workers.leave:
            path = self.options["pytest_args"][0].removeprefix("--benchmark-json=")
            passed = [case for case, item in items.items() if item["outcome"] == "passed"]
            Path(path).write_text(json.dumps({"benchmarks": [benchmark(case, number) for case in passed]}))
        return pytest_runs.Results(items=items, deselected=(), seed=1)


def benchmark(case: str, number: int) -> dict[str, Any]:
    """What a launch leaves of one case in pytest-benchmark's JSON; the slowed arm takes 2 % more."""
    seconds = [1e-3 * (1 + (i * 7 + number) % 11 * 1e-4) for i in range(20)]
    arms = {"kernel": seconds, "A2": seconds[::-1], "+0": seconds, "+1": [s * 1.02 for s in seconds]}
    return {"extra_info": {"perfgate": {"case": case, "launches": [{"arms": arms, "state": {"knobs": KNOBS}}]}}}


@pytest.fixture
def workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workers:
    """A project of two cases on a machine with a card, whose launches are played."""
    (tmp_path / "pyproject.toml").write_text('[tool.perfgate]\nsuite = "calibrated_suite"\nkernel = "kernel.py"\n')
    (tmp_path / "calibrated_suite.py").write_text(SUITE)
    (tmp_path / "kernel.py").write_text("1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(session, "look_at_machine", lambda _: dict(GPU))
    monkeypatch.setattr(gpu_lock, "FOLDER", tmp_path / "locks")
    played = Workers()
    monkeypatch.setattr(pytest_runs, "start_tests", played.start)
    return played


def recorded(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(gzip.decompress(Path(path).read_bytes()))
    return found


KEPT, PUBLISHED = ".perfgate/calibration.json.gz", "baselines/nvidia-h100-80gb-hbm3/calibration.json.gz"


def run(*options: str) -> int:
    return main([*options, "--runs=5"])


def test_recording_table_and_plot_are_kept_with_the_baselines(workers: Workers) -> None:
    assert run("--launches=9") == 0
    assert len(workers.begun) == 9
    found = recorded(PUBLISHED)
    assert len(found["launches"]) == 9
    assert found["launches"][0]["samples"]["one"].keys() == {"A", "A2", "+0", "+1"}
    assert {key: found["about"][key] for key in ("gpu", "uuid", "suite", "command")} == {
        "gpu": GPU["gpu"],
        "uuid": "GPU-1",
        "suite": 2,
        "command": "python -m perfgate calibrate --launches=9",
    }
    page = Path(PUBLISHED).with_name("calibration.md").read_text(encoding="utf-8")
    assert "| one | 1.000 ms | 0 % [0–84] | not reached | +2.00 %: 100 % [16–100] |" in page
    assert Path(PUBLISHED).with_name("calibration.svg").is_file()


def test_only_the_first_launch_has_no_work_told_and_an_added_launch_does_the_same_work(workers: Workers) -> None:
    run("--launches=8")
    assert workers.knobs[0] == {}
    assert run("--launches=2", f"--add={KEPT}") == 0
    assert workers.knobs[8] == {"one": KNOBS, "two": KNOBS}
    found = recorded(PUBLISHED)
    assert len(found["launches"]) == 10
    assert found["about"]["command"].endswith(f"--launches=8 && python -m perfgate calibrate --launches=2 --add={KEPT}")
    assert len({launch["occasion"] for launch in found["launches"]}) == 1


def test_launches_are_not_added_to_those_of_another_kernel_or_toolchain(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--launches=8")
    Path("kernel.py").write_text("2\n")
    assert run("--launches=2", f"--add={KEPT}") == 2
    assert (
        "INVALID other-recording: .perfgate/calibration.json.gz was recorded with kernel_sha256"
        in capsys.readouterr().err
    )
    Path("kernel.py").write_text("1\n")
    monkeypatch.setattr(session, "look_at_machine", lambda _: {**GPU, "triton": "3.8.0"})
    assert run("--launches=2", f"--add={KEPT}") == 2
    assert "recorded with triton '3.6.0', expected the '3.8.0' of now" in capsys.readouterr().err
    assert len(workers.begun) == 8


def test_another_card_of_the_model_is_another_occasion(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    run("--launches=8")
    monkeypatch.setattr(session, "look_at_machine", lambda _: {**GPU, "uuid": "GPU-2"})
    assert run("--launches=8", f"--add={KEPT}") == 0
    assert len({launch["occasion"] for launch in recorded(PUBLISHED)["launches"]}) == 2
    assert len(workers.begun) == 16


def test_a_case_that_fails_in_one_launch_is_said_and_ends_with_its_exit_code(
    workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.outcomes = {3: "failed"}
    assert run("--launches=9") == 1
    assert "calibrate: INVALID wrong-result: two: bad;" in capsys.readouterr().out
    assert "- two: bad;" in Path(PUBLISHED).with_name("calibration.md").read_text(encoding="utf-8")


def test_a_skipped_case_is_not_left_out_in_silence(workers: Workers, capsys: pytest.CaptureFixture[str]) -> None:
    workers.outcomes = dict.fromkeys(range(1, 9), "skipped")
    assert run("--launches=8") == 2
    assert "calibrate: INVALID skipped: two: its test was skipped" in capsys.readouterr().out


def test_a_selection_never_takes_the_place_of_the_whole(workers: Workers) -> None:
    assert run("--launches=8", "--case=one") == 0
    assert not Path("baselines").exists()
    assert Path(".perfgate/calibration.md").is_file()
    assert workers.begun[0]["cases"] == ("one",)


def test_too_few_launches_are_kept_and_nothing_is_published(
    workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--launches=6") == 2
    assert "add to them: python -m perfgate calibrate --add .perfgate/calibration.json.gz --launches 2." in (
        capsys.readouterr().err
    )
    assert len(recorded(KEPT)["launches"]) == len(workers.begun) == 6
    assert not Path("baselines").exists()
    assert run("--launches=2", f"--add={KEPT}") == 0


def test_a_launch_that_leaves_nothing_ends_the_run_and_what_was_recorded_stays(workers: Workers) -> None:
    run("--launches=8")
    workers.leave = False
    assert run("--launches=8") == 2
    assert len(workers.begun) == 9
    assert workers.ended == 1  # the next one was waiting
    assert len(recorded(KEPT)["launches"]) == 8


def test_where_no_case_gave_times_the_first_reason_is_said(
    workers: Workers, capsys: pytest.CaptureFixture[str]
) -> None:
    workers.leave = False
    workers.outcomes = {1: "failed"}
    assert run("--launches=8") == 2
    assert (
        "INVALID no-samples: Launch 1 left no samples, expected those of every case: two: bad;"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--launches=0",), "bad-usage: --launches is 0; expected 1 or more."),
        (("--case=edge",), "bad-usage: edge is checked but not timed; expected one of one, two."),
        (("--case=three",), "unknown-case: There is no case 'three'"),
        (("--add=nothing.json",), "no-file: nothing.json does not exist"),
        (("--from=nothing.json",), "no-file: nothing.json does not exist"),
        (("--no-such-option",), "bad-usage: unrecognized arguments: --no-such-option"),
    ],
)
def test_bad_usage_is_one_line(
    workers: Workers, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], says: str
) -> None:
    assert run(*options) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"INVALID {says}")
    assert error.count("\n") == 1
    assert workers.begun == []


def test_without_a_card_nothing_is_made_up(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "look_at_machine", lambda _: {**GPU, "gpu": "", "why": "none here"})
    assert run() == 2
    assert "INVALID no-card: Calibration needs a CUDA card and there is none (none here)." in capsys.readouterr().err
    assert workers.begun == []


def test_where_matplotlib_is_missing_the_table_is_made_and_the_plot_said_to_be_missing(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert run("--launches=8") == 0
    assert "the plot is NOT drawn" in capsys.readouterr().out
    assert "svg" not in Path(PUBLISHED).with_name("calibration.md").read_text(encoding="utf-8")
    assert len(workers.begun) == 8
