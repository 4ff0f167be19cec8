"""The command ``nox -s table``: what it refuses before the card is touched, what it writes, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.gate import throughput
from perfgate.measurement import gpu_lock, session
from perfgate.records import GateError
from studies.table import __main__ as table
from studies.table import processes
from studies.table.cases import KERNEL, START, TORCH, arms_of
from studies.table.recording import Failure, read

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "why": "",
    "uuid": "GPU-1",
    "memory_bytes": "85000000000",
    "driver": "580",
}
ENVIRONMENT |= {"torch": "2.14.1", "triton": "3.8.0", "code_path": "native"}


class Work:
    """Plays the processes: every arm takes as long as it is named here; what fails is told."""

    failed: tuple[Failure, ...] = ()
    cut_after = 99

    def __init__(self, run: processes.Run) -> None:
        self.run = run

    def tune(self) -> None:
        print(f"tuning for {self.run.plan.tune_s:.0f} s without {self.run.plan.without}")

    def launch(self, write: Callable[[str], None]) -> None:
        taken = {KERNEL: 1e-3, START: 16e-3, TORCH: 1.1e-3}
        for number in range(self.run.plan.launches):
            for path, recording in self.run.recordings.items():
                if number >= self.cut_after:
                    raise GateError("busy", "someone came")
                recording.failed[:] = self.failed
                recording.launches.append(
                    {
                        case.id: {
                            "seconds": {arm: taken.get(arm, 2e-3) for arm in arms_of(case, self.run.plan.without)},
                            "rounds": 10,
                            "errors": {},
                            "config": {},
                            "state": {},
                        }
                        for case in self.run.plan.cases
                        if Failure(case=case.id, arm=KERNEL, why="wrong", wrong=True) not in self.failed
                    }
                )
                write(path)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, idle and ours, whose processes are played."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(session, "look_at_machine", lambda _: dict(ENVIRONMENT))
    monkeypatch.setattr(throughput, "check_idle", lambda _: None)
    monkeypatch.setattr(gpu_lock, "hold", lambda _: nullcontext())
    monkeypatch.setattr(Work, "failed", ())
    monkeypatch.setattr(Work, "cut_after", 99)

    def make(**parts: Any) -> Work:
        return Work(processes.Run(**parts))

    monkeypatch.setattr(table, "Run", make)


@pytest.mark.usefixtures("played")
def test_a_run_writes_recording_and_table_of_each_path_and_says_which_targets_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--case", "k7_small_k", "--case", "k6_large_k", "--launches", "2", "--output", str(tmp_path)]
    assert table.main(words) == 0
    out = capsys.readouterr().out
    assert "tuning for 300 s without ()" in out
    for path in ("native", "sm89"):
        kept = read(tmp_path / f"{path}.json")
        assert (kept.path, len(kept.launches), list(kept.cases)) == (path, 2, ["k6_large_k", "k7_small_k"])
        assert kept.about["command"] == f"nox -s table -- {' '.join(words)}"
        assert kept.about["settings"]["warmup_rounds"] > 0
        assert (tmp_path / f"{path}.md").read_text(encoding="utf-8") in out
    assert "sm89: holds: #6 at least 15 × start; the least of 1 case is k6_large_k 16.000." in out
    assert "native: holds: #6 at least 0.9 × torch" in out
    assert "native: not measured: FP16 and BF16 from 2048³ up" in out


@pytest.mark.usefixtures("played")
def test_a_saved_recording_gives_the_same_table_without_a_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table.main(["--case", "k7_small_k", "--paths", "sm89", "--without", "compile", "--output", str(tmp_path)])
    capsys.readouterr()
    page = (tmp_path / "sm89.md").read_text(encoding="utf-8")
    code = (
        "import sys; from perf_tests import table; code = table.main(sys.argv[1:]); "
        "print([name for name in ('torch', 'triton', 'pytest') if name in sys.modules]); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--from", str(tmp_path / "sm89.json")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert page.strip() in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"  # nor does it need torch


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("failed", "code"),
    [
        (Failure(case="k7_small_k", arm=TORCH, why="out of memory"), 0),
        (Failure(case="k7_small_k", arm=KERNEL, why="wrong", wrong=True), 1),
        (Failure(case="k7_small_k", arm=KERNEL, why="does not fit"), 2),
    ],
    ids=["contender", "wrong kernel", "no room"],
)
def test_a_contender_may_fail_and_the_kernel_may_not(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    failed: Failure,
    code: int,
) -> None:
    monkeypatch.setattr(Work, "failed", (failed,))
    words = ["--case", "k7_small_k", "--case", "k9_tall_skinny", "--paths", "native", "--output", str(tmp_path)]
    assert table.main(words) == code
    out = capsys.readouterr().out.replace("\\", "")
    assert f"k7_small_k: no number for {failed.arm}: {failed.why}" in out
    assert table.main(["--from", str(tmp_path / "native.json")]) == code


@pytest.mark.usefixtures("played")
def test_a_run_that_is_cut_short_keeps_its_launches_and_no_earlier_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--case", "k7_small_k", "--paths", "native", "--output", str(tmp_path)]
    table.main(words)
    monkeypatch.setattr(Work, "cut_after", 1)
    assert table.main(words) == 2
    assert capsys.readouterr().err == "INVALID busy: someone came\n"
    assert [path.name for path in tmp_path.iterdir()] == ["native.json"]
    assert len(json.loads((tmp_path / "native.json").read_text(encoding="utf-8"))["launches"]) == 1
    table.main(["--from", str(tmp_path / "native.json")])
    assert "1 of 3 launches were made before the run was cut short" in capsys.readouterr().out


@pytest.mark.usefixtures("played")
def test_a_busy_card_is_refused_before_anything_is_tuned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def busy(_: object) -> None:
        raise GateError("busy", "99 % busy")

    monkeypatch.setattr(throughput, "check_idle", busy)
    assert table.main(["--output", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.err == "INVALID busy: 99 % busy\n"
    assert "tuning" not in said.out


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--launches", "0"], "bad-usage: --launches is 0; expected 1 or more."),
        (["--compile-timeout", "0"], "bad-usage: --compile-timeout is 0; expected more than 0 seconds."),
        (["--paths", "native,ada"], "bad-usage: --paths has 'ada'; expected native or an architecture such as sm89"),
        (["--without", "kernel"], "bad-usage: argument --without: invalid choice: 'kernel'"),
        (["-m", "slow"], "bad-usage: argument -m: invalid choice: 'slow'"),
        (["--cases", "k1_square"], "bad-usage: unrecognized arguments: --cases k1_square"),
        (["--case", "edge_odd"], "unknown-case: There is no case 'edge_odd' in the table; known are"),
        (["--from", "nothing.json"], "unreadable: nothing.json cannot be read"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert table.main(words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"INVALID {said}")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("played")
def test_without_a_card_it_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(session, "look_at_machine", lambda _: {**ENVIRONMENT, "gpu": "", "why": "no NVIDIA driver"})
    assert table.main([]) == 2
    said = "INVALID no-card: The table needs a CUDA card and there is none (no NVIDIA driver).\n"
    assert capsys.readouterr().err == said
