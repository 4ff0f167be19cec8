"""Jobs for worker processes: each has its answer, and one that dies or hangs takes down only its own."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.pool import CRASHED, Pool, Progress, processors

if TYPE_CHECKING:
    from pathlib import Path

_WORKER = """
import os, signal, sys, time
from perfgate.pool import serve
def answer(job):
    print("a compiler that talks")
    if job["x"] == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job["x"] == "hang":
        time.sleep(60)
    if job["x"] == "raise":
        raise RuntimeError("no such pass.")
    return {"twice": 2 * job["x"], "by": os.getpid()}
serve(answer)
"""


def pool(tmp_path: Path, *, workers: int = 2, timeout_s: float = 20) -> Pool:
    command = [sys.executable, "-c", _WORKER]
    logs = tmp_path / "logs"
    return Pool(
        command,
        workers=workers,
        cwd=tmp_path,
        environment={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        logs=logs,
        timeout_s=timeout_s,
    )


def ask(asked: Pool, *jobs: Any) -> list[dict[str, Any]]:
    found = dict(asked.answers([{"x": job} for job in jobs]))
    return [found[number] for number in range(len(jobs))]


def test_every_job_has_its_answer_and_a_process_does_many(tmp_path: Path) -> None:
    with pool(tmp_path) as workers:
        found = [*ask(workers, *range(8)), *ask(workers, 8)]
    assert [one["twice"] for one in found] == [2 * x for x in range(9)]
    assert len({one["by"] for one in found}) <= 2


def test_a_process_that_dies_loses_its_job_and_no_other_and_is_replaced(tmp_path: Path) -> None:
    with pool(tmp_path, workers=1) as workers:
        found = ask(workers, 1, "segfault", 2, "raise", 3)
    assert [one.get("twice") for one in found] == [2, None, 4, None, 6]
    assert found[1] == {CRASHED: "killed by signal 11"}
    assert found[3] == {CRASHED: "RuntimeError: no such pass"}
    assert len({one["by"] for one in found if "by" in one}) == 3


def test_a_process_that_hangs_is_ended(tmp_path: Path) -> None:
    with pool(tmp_path, workers=1, timeout_s=1.0) as workers:
        assert ask(workers, "hang") == [{CRASHED: "gave no answer within 1 s"}]


def test_leaving_the_pool_ends_its_processes_and_starts_no_more_though_jobs_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[Path] = []
    start = Pool.start

    def count(asked: Pool, log: Path) -> Any:
        starts.append(log)
        return start(asked, log)

    monkeypatch.setattr(Pool, "start", count)
    with pool(tmp_path) as workers:
        answers = workers.answers([{"x": x} for x in (1, *["hang"] * 9)])
        pid = next(answers)[1]["by"]
    assert len(starts) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_progress_says_how_far_and_how_long_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = iter([0.0, 1.0, 4.0, 5.0, 8.0])
    progress = Progress("compiled", 4, clock=lambda: next(now_s))
    for note in ("", ", 1 spilled", "", ""):
        progress.step(note)
    assert capsys.readouterr().out.splitlines() == [
        "tune: compiled 2 of 4, 1 spilled, about 4 s left",
        "tune: compiled 4 of 4 in 8 s",
    ]


def test_there_are_no_more_processes_than_processors() -> None:
    assert 1 <= processors() <= min(16, os.cpu_count() or 1)
