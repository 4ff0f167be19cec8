"""The processes of a table, played by small scripts: who does what, what is made of one that dies, what is kept when."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perf_tests import cases
from perfgate.records import GateError
from perfgate.settings import Settings
from studies.table import workers
from studies.table.cases import ARMS, COMPILE, KERNEL, LIMIT, START, TORCH, arms_of
from studies.table.processes import Plan, Run
from studies.table.recording import Failure, Recording

if TYPE_CHECKING:
    from collections.abc import Callable

PLAYED = """
import json, os, signal, sys, time
job = json.load(open(sys.argv[1]))
if not sys.stdin.readline():
    sys.exit(1)
def say(event, **facts):
    with open(job["events"], "a") as file:
        file.write(json.dumps({"event": event, **facts}) + "\\n")
with open("asked.jsonl", "a") as file:
    about = {key: os.environ.get(key) for key in ("TRITON_OVERRIDE_ARCH", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR",
                                                  "TORCHINDUCTOR_COMPILE_THREADS")}
    file.write(json.dumps({**job, "environment": about}) + "\\n")
tunes = job["task"] == "tune"
for case in job["cases"]:
    for arm in case["arms"]:
        say("begin", case=case["id"], arm=arm, doing="checked")
        exec(SCRIPT)
    if tunes:
        say("tuned", case=case["id"], arms=case["arms"])
    else:
        say("measured", case=case["id"], entry={"seconds": dict.fromkeys(case["arms"], 1.0)})
say("end")
"""
CHOSEN = tuple(case for case in cases.CASES if case.id in {"k1_square", "k13_symmetric", "k7_small_k"})


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """A run whose processes do ``script`` for every arm of every case."""
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm75")  # of whoever started it, which is not for the workers

    def make(script: str = "pass", *, timeout_s: int = 60, paths: tuple[str, ...] = ("native",), **plan: Any) -> Run:
        file = tmp_path / "played.py"
        file.write_text(PLAYED.replace("SCRIPT", repr(script)), encoding="utf-8")
        monkeypatch.setattr(workers, "COMMAND", (sys.executable, str(file)))
        recordings = {
            path: Recording(
                about={"environment": {"code_path": path}}, cases={case.id: case.contract() for case in CHOSEN}
            )
            for path in paths
        }
        asked: dict[str, Any] = {"cases": CHOSEN, "launches": 1, "tune_s": 30.0, **plan}
        return Run(
            project=Settings(root=tmp_path, launch_timeout_s=timeout_s),
            plan=Plan(**asked),
            recordings=recordings,
            output=tmp_path / "out",
        )

    return make


def asked(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text(encoding="utf-8").splitlines()]


def measured(run: Run, path: str = "native") -> list[dict[str, set[str]]]:
    return [{case: set(entry["seconds"]) for case, entry in launch.items()} for launch in run.recordings[path].launches]


WHOLE = {case.id: set(arms_of(case)) for case in CHOSEN}


def test_every_launch_holds_every_arm_of_every_case_and_is_written_before_the_next(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    looks: list[int] = []
    run = play(launches=2, paths=("native", "sm89"), check_idle=lambda: looks.append(len(written)))
    written: list[tuple[str, list[Any]]] = []
    run.tune()
    run.launch(lambda path: written.append((path, measured(run, path))))
    assert [path for path, _ in written] == ["native", "sm89", "native", "sm89"]
    assert [kept for _, kept in written] == [[WHOLE], [WHOLE], [WHOLE, WHOLE], [WHOLE, WHOLE]]
    assert looks == [0, 1, 2, 3, 4]  # before each launch and after the last
    assert [recording.failed for recording in run.recordings.values()] == [[], []]
    launches = [job for job in asked(tmp_path) if job["task"] == "measure"]
    assert [job["seed"] for job in launches] == [1, 1, 2, 2]
    assert WHOLE["k7_small_k"] - WHOLE["k1_square"] == {LIMIT}


def test_a_process_lowers_for_its_own_path_and_keeps_what_it_compiled_with_that_path(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    run = play(paths=("native", "sm89"), cores=16, memory_bytes=80e9)
    run.tune()
    run.launch(lambda _: None)
    for job in asked(tmp_path):
        environment = job["environment"]
        path = environment["TRITON_OVERRIDE_ARCH"] or "native"
        cache = tmp_path / ".perfgate" / "table" / f"cache-{path}"
        assert path in {"native", "sm89"}
        assert environment["TRITON_CACHE_DIR"] == str(cache / "triton")
        assert environment["TORCHINDUCTOR_CACHE_DIR"] == str(cache / "inductor")
        assert environment["TORCHINDUCTOR_COMPILE_THREADS"] == ("4" if job["task"] == "tune" else "1")
    assert {bool(job["environment"]["TRITON_OVERRIDE_ARCH"]) for job in asked(tmp_path)} == {True, False}


def test_tuning_is_dealt_so_that_the_largest_cases_meet_in_one_process_and_equal_ones_are_tuned_once(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    play(cores=8, memory_bytes=80e9).tune()
    jobs = sorted(
        ([(case["id"], COMPILE in case["arms"]) for case in job["cases"]] for job in asked(tmp_path)), key=len
    )
    assert jobs == [[("k13_symmetric", False)], [("k7_small_k", True), ("k1_square", True)]]


def test_a_small_card_tunes_in_one_process_a_code_path_at_a_time(play: Callable[..., Run], tmp_path: Path) -> None:
    first_has_ended = (
        "native = os.path.join(os.path.dirname(job['events']), 'native-tune-1.jsonl')\n"
        "time.sleep(0.2 * (native == job['events']))\n"
        "assert native == job['events'] or '\"end\"' in open(native).read()"
    )
    run = play(first_has_ended, cores=64, memory_bytes=24e9, paths=("native", "sm89"))
    run.tune()
    assert [recording.failed for recording in run.recordings.values()] == [[], []]
    assert [len(job["cases"]) for job in asked(tmp_path)] == [3, 3]


def test_what_was_not_tuned_in_time_is_not_measured_and_its_processes_are_gone(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    pids = tmp_path / "pids"
    # A compiler that the worker started outlives it unless the whole group is ended.
    hangs = (
        "if tunes and arm == 'compile' and case['id'] == 'k1_square':\n"
        "    child = os.fork()\n"
        f"    open({str(pids)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "    time.sleep(60)"
    )
    run = play(hangs, tune_s=2.0)
    run.tune()
    run.launch(lambda _: None)
    assert measured(run) == [
        {case: arms - ({COMPILE} if case != "k7_small_k" else set()) for case, arms in WHOLE.items()}
    ]
    failed = {failure.case: failure for failure in run.recordings["native"].failed}
    assert set(failed) == {"k1_square", "k13_symmetric"}
    assert "not tuned: no time within 2 s (--compile-timeout)" in failed["k1_square"].why
    for pid in pids.read_text(encoding="utf-8").split():
        assert not runs(int(pid))


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def test_a_contender_that_takes_its_process_down_loses_its_number_alone(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    run = play("if not tunes and arm == 'start' and case['id'] == 'k7_small_k': os.kill(os.getpid(), 11)", launches=2)
    run.tune()
    run.launch(lambda _: None)
    without = {**WHOLE, "k7_small_k": WHOLE["k7_small_k"] - {START}}
    assert measured(run) == [without, without]
    (failed,) = run.recordings["native"].failed
    assert (failed.case, failed.arm) == ("k7_small_k", START)
    assert "its process ended while start was checked (killed by signal 11)" in failed.why
    # What had been measured before it died is not measured again.
    again = [job for job in asked(tmp_path) if job["task"] == "measure"][1]
    assert "k1_square" not in {case["id"] for case in again["cases"]}


def test_a_contender_that_fails_while_it_is_tuned_is_not_tried_again_nor_are_equal_ones(
    play: Callable[..., Run],
) -> None:
    script = "if arm == 'compile' and case['id'] == 'k1_square': say('failed', case=case['id'], arm=arm, why='no', wrong=True)"
    run = play(script)
    run.tune()
    run.launch(lambda _: None)
    assert [COMPILE in measured(run)[0][case] for case in ("k1_square", "k13_symmetric", "k7_small_k")] == [
        *(False, False),
        True,
    ]
    assert {failure.case: failure.why for failure in run.recordings["native"].failed} == {
        "k1_square": "no",
        "k13_symmetric": "no (as for k1_square)",
    }


def test_an_arm_without_room_beside_others_that_tune_is_tried_again_alone(play: Callable[..., Run]) -> None:
    run = play("if tunes and arm == 'torch': say('failed', case=case['id'], arm=arm, why='no room', wrong=False)")
    run.tune()
    run.launch(lambda _: None)
    assert measured(run) == [WHOLE]


def test_a_wrong_kernel_is_remembered_and_its_case_measured_no_more(play: Callable[..., Run]) -> None:
    script = (
        "if arm == 'kernel' and case['id'] == 'k7_small_k':\n"
        "    say('failed', case=case['id'], arm=arm, why='wrong', wrong=True)"
    )
    run = play(script, launches=2, without=(COMPILE,))
    run.tune()
    run.launch(lambda _: None)
    assert run.recordings["native"].failed == [Failure(case="k7_small_k", arm=KERNEL, why="wrong", wrong=True)]
    assert [set(launch) for launch in measured(run)] == [{"k1_square", "k13_symmetric"}] * 2
    assert measured(run)[0]["k1_square"] == set(ARMS) - {COMPILE, LIMIT}


def test_a_launch_that_hangs_is_ended_and_taken_up_behind_what_hung(play: Callable[..., Run]) -> None:
    run = play("if not tunes and arm == 'torch' and case['id'] == 'k1_square': time.sleep(60)", timeout_s=1)
    run.tune()
    run.launch(lambda _: None)
    (failed,) = run.recordings["native"].failed
    assert (failed.case, failed.arm) == ("k1_square", TORCH)
    assert "ended after 1 s" in failed.why
    assert measured(run)[0]["k1_square"] == WHOLE["k1_square"] - {TORCH}


def test_a_process_that_does_no_work_ends_the_run_with_the_last_line_of_its_log(
    play: Callable[..., Run], tmp_path: Path
) -> None:
    run = play()
    (tmp_path / "played.py").write_text("import torch_that_is_not_there", encoding="utf-8")
    with pytest.raises(GateError, match=r"did no work \(exit 1: ModuleNotFoundError: .*torch_that_is_not_there"):
        run.tune()


def test_a_refusal_of_a_process_is_that_of_the_run(play: Callable[..., Run]) -> None:
    run = play("say('refused', reason='no-card', text='it is gone'); sys.exit(2)")
    with pytest.raises(GateError, match="it is gone"):
        run.tune()


def test_a_busy_card_ends_the_run_and_no_process_stays(play: Callable[..., Run]) -> None:
    started = []
    real = workers.start

    def start(*words: Any, **options: Any) -> workers.Worker:
        started.append(real(*words, **options))
        return started[-1]

    def busy() -> None:
        raise GateError("busy", "the card works for others")

    run = play(check_idle=busy, launches=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "start", start)
        with pytest.raises(GateError, match="works for others"):
            run.launch(lambda _: None)
    assert started
    assert not any(runs(worker.process.pid) for worker in started)


def test_half_a_line_is_left_for_the_next_look(tmp_path: Path) -> None:
    worker = workers.start(
        "any", {}, path="native", root=tmp_path, output=tmp_path / "out", threads=1
    )  # it finds no module of ours there and ends
    worker.kill()
    worker.events.write_text('{"event": "begin", "case": "k1", "arm": "start", "doing": "checked"}\n{"event": "e')
    assert [event["event"] for event in worker.news()] == ["begin"]
    assert worker.doing["arm"] == START
    with worker.events.open("a") as file:
        file.write('nd"}\n')
    assert [event["event"] for event in worker.news()] == ["end"]
    assert worker.ended
