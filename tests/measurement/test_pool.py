"""Workers that answer line by line: each job has its answer, and one that dies, hangs or babbles loses only its own."""

from __future__ import annotations

import os
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perfgate import workers
from perfgate.progress import Count
from perfgate.workers import CRASHED, LostError, Pool, processors

if TYPE_CHECKING:
    from pathlib import Path

_WORKER = """
import os, signal, sys, time
from perfgate.workers import serve
channel = os.dup(1)
def answer(job):
    print("a compiler that talks")
    if job["x"] == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job["x"] == "hang":
        time.sleep(600)
    if job["x"] == "raise":
        raise RuntimeError("no such pass.")
    if isinstance(job["x"], str):
        os.write(channel, job["x"].encode("latin-1") + b"\\n")
    return {"twice": 2 * job["x"], "by": os.getpid()}
serve(answer)
"""


def pool(tmp_path: Path, *, workers: int = 2, timeout_s: float = 120, code: str = _WORKER) -> Pool:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command, logs = [sys.executable, "-c", code], tmp_path / "logs"
    return Pool(command, workers=workers, cwd=tmp_path, environment=environment, logs=logs, timeout_s=timeout_s)


def ask(asked: Pool, *jobs: Any) -> list[dict[str, Any]]:
    found = dict(asked.answers([{"x": job} for job in jobs]))
    return [found[number] for number in range(len(jobs))]


def test_every_job_has_its_answer_and_a_process_does_many(tmp_path: Path) -> None:
    with pool(tmp_path) as asked:
        found = [*ask(asked, *range(8)), *ask(asked, 8)]
    assert [one["twice"] for one in found] == [2 * x for x in range(9)]
    assert len({one["by"] for one in found}) <= 2


def test_a_process_that_dies_loses_its_job_and_no_other_and_is_replaced(tmp_path: Path) -> None:
    with pool(tmp_path, workers=1) as asked:
        found = ask(asked, 1, "segfault", 2, "raise", 3)
    assert [one.get("twice") for one in found] == [2, None, 4, None, 6]
    assert found[1] == {CRASHED: "killed by signal 11"}
    assert found[3] == {CRASHED: "RuntimeError: no such pass"}
    assert len({one["by"] for one in found if "by" in one}) == 3


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    with pool(tmp_path, workers=1, timeout_s=1.0) as asked:
        assert ask(asked, "hang") == [{CRASHED: "gave no answer within 1 s"}]


@pytest.mark.parametrize("line", ["\xff\xfe", "no JSON", "[3]", "[" * 100_000])
def test_a_line_that_is_no_answer_loses_its_job_and_no_other(tmp_path: Path, line: str) -> None:
    with pool(tmp_path, workers=1) as asked:
        found = ask(asked, 1, line, 2)
    assert [one.get("twice") for one in found] == [2, None, 4]
    assert "Error: " in found[1][CRASHED]


def test_a_process_that_cannot_be_started_answers_for_every_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs").write_text("a file, no folder")
    with pool(tmp_path) as asked:
        assert all("FileExistsError: " in one[CRASHED] for one in ask(asked, 1, 2, 3))

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    (tmp_path / "logs").unlink()
    monkeypatch.setattr(workers, "start", refuse)
    with pool(tmp_path) as asked:
        assert ask(asked, 1) == [{CRASHED: "BlockingIOError: [Errno 11] Resource temporarily unavailable"}]


def test_a_program_that_is_not_there_answers_for_every_job(tmp_path: Path) -> None:
    with pool(tmp_path) as asked:
        asked.command = ["no-such-program"]
        said = "no-such-program could not be started: No such file or directory"
        assert ask(asked, 1, 2) == [{CRASHED: said}] * 2


def test_leaving_the_pool_ends_its_processes_and_starts_no_more_though_jobs_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, start = [], workers.start

    def count(*args: Any, **options: Any) -> Any:
        started.append(start(*args, **options))
        return started[-1]

    monkeypatch.setattr(workers, "start", count)
    with pool(tmp_path) as asked:
        pid = next(asked.answers([{"x": x} for x in (1, *["hang"] * 9)]))[1]["by"]
    assert len(started) <= 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert all(process.returncode is not None for process in started)


def test_there_are_no_more_processes_than_processors() -> None:
    assert 1 <= processors() <= min(16, os.cpu_count() or 1)


# A worker whose steps are followed.

_STEPS = """
import os, sys, time
steps = open(sys.argv[1], "a")
print('{"step": 1}\\n{"st', end="", file=steps, flush=True)
while not os.path.exists("go"):
    time.sleep(0.01)
print('ep": 2}', file=steps, flush=True)
"""


@pytest.mark.parametrize(
    ("then", "lost"),
    [
        ("", ""),
        ("print('a warning', flush=True); sys.exit('no driver.')", "no driver"),
        ("os.abort()", "killed by signal 6"),
        ("os._exit(3)", "exit code 3"),
        ("time.sleep(600)", "took no step for 60 s"),
    ],
)
def test_steps_are_given_as_they_come_and_then_how_the_worker_was_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, lost: str
) -> None:
    clock = SimpleNamespace(now_s=0.0)
    monkeypatch.setattr(workers, "time", SimpleNamespace(monotonic=lambda: clock.now_s, sleep=time.sleep))
    steps = tmp_path / "steps.jsonl"
    steps.write_text("of an earlier run")
    found = workers.followed(
        [sys.executable, "-c", f"{_STEPS}\n{then}", str(steps)],
        steps=steps,
        log=tmp_path / "logs/log",
        cwd=tmp_path,
        environment=workers.environment(),
        silent_s=60,
    )
    assert next(found) == {"step": 1}
    (tmp_path / "go").touch()
    assert next(found) == {"step": 2}
    clock.now_s = 61.0 if "sleep" in then else 60.0
    with pytest.raises(LostError if lost else StopIteration) as caught:
        next(found)
    assert str(caught.value) == lost


def test_a_count_says_how_far_and_how_long_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = iter([0.0, 1.0, 4.0, 5.0, 8.0])
    count = Count("tune: compiled", 4, now_s=lambda: next(now_s))
    for note in ("", ", 1 spilled", "", ""):
        count.step(note)
    assert capsys.readouterr().out.splitlines() == [
        "tune: compiled 2 of 4, 1 spilled, about 4 s left",
        "tune: compiled 4 of 4 in 8 s",
    ]
