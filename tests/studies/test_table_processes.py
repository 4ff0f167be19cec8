"""The processes of a table, played by a small script: what is asked of which, what is made of one that dies, what is kept."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from perf_tests import cases
from perfgate.config import Settings
from perfgate.records import GateError
from studies.table import processes
from studies.table.cases import ARMS, COMPILE, KERNEL, LIMIT, START, TORCH, About, Failure, Recording, arms_of
from studies.table.processes import Plan, Run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PLAYED = """
import json, os, sys, time
def fail(why, wrong=True):
    failed.append({"case": job["case"], "arm": arm, "why": why, "wrong": wrong})
for line in sys.stdin:
    job, failed, entry = json.loads(line), [], None
    with open("asked.jsonl", "a") as file:
        names = ("TRITON_OVERRIDE_ARCH", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS")
        file.write(json.dumps({**job, "environment": {name: os.environ.get(name) for name in names}}) + "\\n")
    checks = job["task"] == "check"
    for arm in job.get("arms", ()):
        exec(SCRIPT)
    if job["task"] == "measure":
        arms = [arm for arm in job["arms"] if arm not in [one["arm"] for one in failed]]
        entry = {"seconds": dict.fromkeys(arms, 1.0), "rounds": 1, "errors": {}, "config": {}, "state": {}}
        entry = entry if "kernel" in arms else None
    print(json.dumps({"failed": failed, "entry": entry}), flush=True)
"""
CHOSEN = tuple(case for case in cases.CASES if case.id in {"k1_square", "k13_symmetric", "k7_small_k"})
WHOLE = {case.id: set(arms_of(case)) for case in CHOSEN}


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """A run whose processes do ``script`` for every arm of every case."""
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm75")  # of whoever started it, which is not for the workers

    def make(
        script: str = "pass",
        *,
        timeout_s: int = 60,
        paths: tuple[str, ...] = ("native",),
        without: tuple[str, ...] = (),
        **plan: Any,
    ) -> Run:
        file = tmp_path / "played.py"
        file.write_text(PLAYED.replace("SCRIPT", repr(script)), encoding="utf-8")
        monkeypatch.setattr(processes, "COMMAND", (sys.executable, str(file)))
        recordings = {
            path: Recording(
                about=About(
                    environment={"code_path": path}, settings={}, recorded_at="", command="", commit="", launches=1
                ),
                cases={case.id: case.contract() for case in CHOSEN},
                launches=[],
                failed=[],
            )
            for path in paths
        }
        arms = {case.id: arms_of(case, without) for case in CHOSEN}
        asked: dict[str, Any] = {"cases": CHOSEN, "arms": arms, "launches": 1, "tune_s": 30.0, **plan}
        project = Settings(root=tmp_path, launch_timeout_s=timeout_s)
        return Run(project=project, plan=Plan(**asked), recordings=recordings, output=tmp_path / "out")

    return make


def asked(tmp_path: Path, task: str) -> list[dict[str, Any]]:
    lines = (tmp_path / "asked.jsonl").read_text(encoding="utf-8").splitlines()
    return [job for job in map(json.loads, lines) if job["task"] == task]


def measured(run: Run, path: str = "native") -> list[dict[str, set[str]]]:
    launches = run.recordings[path].launches
    return [{case: set(entry.seconds) for case, entry in launch.cases.items()} for launch in launches]


def whole_run(run: Run) -> list[Failure]:
    run.tune()
    run.launch()
    return run.recordings["native"].failed


def test_every_launch_holds_every_arm_of_every_case_and_is_written_before_the_next(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    looks: list[int] = []
    written: list[tuple[str, list[Any]]] = []
    run = play(launches=2, paths=("native", "sm89"), cores=16, check_idle=lambda: looks.append(len(written)))
    run.tune()
    run.launch(lambda path: written.append((path, measured(run, path))))
    assert [path for path, _ in written] == ["native", "sm89", "native", "sm89"]
    assert [kept for _, kept in written] == [[WHOLE], [WHOLE], [WHOLE, WHOLE], [WHOLE, WHOLE]]
    assert looks == [0, 1, 2, 3, 4]  # before each launch and after the last
    assert [recording.failed for recording in run.recordings.values()] == [[], []]
    assert [job["seed"] for job in asked(tmp_path, "measure")] == [1] * 6 + [2] * 6
    for job in (*asked(tmp_path, "check"), *asked(tmp_path, "measure")):
        environment = job["environment"]
        path = environment["TRITON_OVERRIDE_ARCH"] or "native"
        cache = tmp_path / ".perfgate" / "table" / f"cache-{path}"
        assert path in {"native", "sm89"}
        assert environment["TRITON_CACHE_DIR"] == str(cache / "triton")
        assert environment["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "inductor")
        assert environment["TORCHINDUCTOR_COMPILE_THREADS"] == ("16" if job["task"] == "check" else "1")


def test_equal_cases_are_tuned_once(play: Callable[..., Run], tmp_path: Path) -> None:
    assert whole_run(play()) == []
    tuned = [job["case"] for job in asked(tmp_path, "check") if job["arms"] == [COMPILE]]
    assert tuned == ["k1_square", "k7_small_k"]


def test_what_was_not_tuned_in_time_is_not_measured(play: Callable[..., Run]) -> None:
    run = play("time.sleep(3 * (checks and arm == 'start'))", tune_s=2.0)
    failed = {failure.arm: failure.why for failure in whole_run(run) if failure.case == "k13_symmetric"}
    assert "not tuned: no time within 2 s (--compile-timeout)" in failed[COMPILE]
    assert COMPILE not in measured(run)[0]["k13_symmetric"]


def test_a_contender_that_takes_its_process_down_loses_its_number_alone(play: Callable[..., Run]) -> None:
    run = play(
        "if arm == 'start' and job['case'] == 'k7_small_k' and os.path.exists('tuned'): os.kill(os.getpid(), 11)",
        launches=2,
    )
    run.tune()
    (run.project.root / "tuned").touch()
    run.launch()
    without = {**WHOLE, "k7_small_k": WHOLE["k7_small_k"] - {START}}
    assert measured(run) == [without, without]
    (failed,) = run.recordings["native"].failed
    assert (failed.case, failed.arm, failed.wrong) == ("k7_small_k", START, True)
    assert failed.why == "its process ended while start was checked (killed by signal 11)"


@pytest.mark.parametrize(
    ("script", "why", "wrong"),
    [
        ("if not checks and job['case'] == 'k7_small_k': os.kill(os.getpid(), 11)", "killed by signal 11", False),
        ("if arm == 'kernel' and job['case'] == 'k7_small_k': fail('wrong')", "wrong", True),
    ],
    ids=["dies while it is timed", "wrong"],
)
def test_a_kernel_that_fails_is_remembered_and_its_case_measured_no_more(
    play: Callable[..., Run], script: str, why: str, *, wrong: bool
) -> None:
    run = play(script, launches=2, without=(COMPILE,))
    (failed,) = whole_run(run)
    assert (failed.case, failed.arm, failed.wrong) == ("k7_small_k", KERNEL, wrong)
    assert why in failed.why
    assert [set(launch) for launch in measured(run)] == [{"k1_square", "k13_symmetric"}] * 2
    assert measured(run)[0]["k1_square"] == set(ARMS) - {COMPILE, LIMIT}


def test_a_launch_that_hangs_is_ended_and_goes_on_without_what_hung(play: Callable[..., Run]) -> None:
    run = play("if arm == 'torch' and job['case'] == 'k1_square': time.sleep(60)", timeout_s=2, without=(COMPILE,))
    run.launch()
    (failed,) = run.recordings["native"].failed
    assert (failed.case, failed.arm) == ("k1_square", TORCH)
    assert "gave no answer within 2 s" in failed.why
    assert measured(run)[0]["k1_square"] == WHOLE["k1_square"] - {TORCH, COMPILE}


def test_a_contender_that_fails_while_it_is_tuned_is_not_tried_again_nor_are_equal_ones(
    play: Callable[..., Run],
) -> None:
    run = play("if arm == 'compile' and job['case'] == 'k1_square': fail('no')")
    assert {failure.case: failure.why for failure in whole_run(run)} == {
        "k1_square": "no",
        "k13_symmetric": "no (as for k1_square)",
    }
    assert [case for case in WHOLE if COMPILE in measured(run)[0][case]] == ["k7_small_k"]


def test_a_process_that_does_no_work_ends_the_run_with_its_last_line(play: Callable[..., Run], tmp_path: Path) -> None:
    run = play()
    (tmp_path / "played.py").write_text("import torch_that_is_not_there", encoding="utf-8")
    with pytest.raises(GateError, match=r"did no work \(ModuleNotFoundError: .*torch_that_is_not_there"):
        run.tune()


def test_a_refusal_of_a_process_is_that_of_the_run_and_so_is_a_busy_card(play: Callable[..., Run]) -> None:
    def busy() -> None:
        raise GateError("busy", "the card works for others")

    with pytest.raises(GateError, match="it is gone"):
        play("print(json.dumps({'refused': ['no-card', 'it is gone']}), flush=True); os._exit(0)").tune()
    with pytest.raises(GateError, match="works for others"):
        play(check_idle=busy).launch()
