"""Jobs for worker processes that speak JSON lines: one job in, one answer out, until their input ends.

Owns how many run, that a worker which dies or hangs takes down only its own job, and the sentence about the time left.
Knows nothing of what a job is.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from perfgate import workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_MOST_WORKERS = 16
"""Each holds a copy of torch and Triton, half a gigabyte and more."""
_PRINTED_S, _ENDING_S, _POLL_S = 3.0, 5.0, 0.02
CRASHED = "crashed"
"""Key of an answer that the pool gives for a worker that gave none."""


def processors() -> int:
    """Processors that this process may use, at most as many as there should be workers."""
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class Progress:
    """Prints how far some work is and how long the rest will take, every few seconds."""

    def __init__(self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self.total, self._clock = what, total, clock
        self._began_s = self._printed_s = clock()
        self.done = 0

    def step(self, note: str = "") -> None:
        """One more is done."""
        self.done += 1
        now_s = self._clock()
        if now_s - self._printed_s >= _PRINTED_S or self.done == self.total:
            self._printed_s = now_s
            took_s = now_s - self._began_s
            rest_s = took_s / self.done * (self.total - self.done)
            left = f", about {rest_s:.0f} s left" if self.done < self.total else f" in {took_s:.0f} s"
            print(f"tune: {self._what} {self.done} of {self.total}{note}{left}", flush=True)


class Pool:
    """Worker processes, started when there is work and kept until the pool is left."""

    def __init__(  # noqa: PLR0913 - each is one independent choice, all by name
        self,
        command: Sequence[str],
        *,
        workers: int,
        cwd: Path,
        environment: Mapping[str, str],
        logs: Path,
        timeout_s: float,
    ) -> None:
        self._command, self._cwd, self._environment = list(command), cwd, dict(environment)
        self._workers = [_Worker(self, logs / f"worker-{number}.log", timeout_s) for number in range(workers)]
        self._threads: list[threading.Thread] = []
        self._left = False
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        while any(thread.is_alive() for thread in self._threads):  # one may be just about to start its process
            self._end_processes()
            time.sleep(_POLL_S)
        self._end_processes()
        for worker in self._workers:
            worker.end()

    def _end_processes(self) -> None:
        """Whatever they do, they will not answer; whoever waits for that goes on."""
        workers.end(*(process for worker in self._workers if (process := worker.process)))

    def answers(self, jobs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and answer of each job, in the order of their ends; ``{"crashed": why}`` for one that gave none."""
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        answered: queue.SimpleQueue[tuple[int, dict[str, Any]]] = queue.SimpleQueue()
        for number in range(len(jobs)):
            waiting.put(number)

        def work(worker: _Worker) -> None:
            with contextlib.suppress(queue.Empty):
                while not self._left:
                    number = waiting.get_nowait()
                    answered.put((number, worker.ask(jobs[number])))

        busy = self._workers[: len(jobs)]
        self._threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in busy]
        for thread in self._threads:
            thread.start()
        for _ in jobs:
            yield answered.get()

    def start(self, log: Path) -> subprocess.Popen[bytes]:
        """A new worker process, whose messages for people go to the log."""
        with log.open("w", encoding="utf-8") as stream:
            return workers.start(
                self._command,
                cwd=self._cwd,
                environment=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
            )


class _Worker:
    """One process, and the next one where it died."""

    def __init__(self, pool: Pool, log: Path, timeout_s: float) -> None:
        self._pool, self._log, self._timeout_s = pool, log, timeout_s
        self.process: subprocess.Popen[bytes] | None = None

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Give it a job and wait for the answer."""
        process = self.process = self.process or self._pool.start(self._log)
        overdue = threading.Event()

        def end_overdue() -> None:
            overdue.set()
            workers.end(process)

        alarm = threading.Timer(self._timeout_s, end_overdue)
        alarm.start()
        line = b""
        if process.stdin and process.stdout:
            with contextlib.suppress(OSError):  # it is gone; the empty line says so
                process.stdin.write(json.dumps(job).encode() + b"\n")
                process.stdin.flush()
                line = process.stdout.readline()
        alarm.cancel()
        with contextlib.suppress(ValueError):  # half a line, or none
            answer: dict[str, Any] = json.loads(line)
            return answer
        with contextlib.suppress(subprocess.TimeoutExpired):  # its output has ended, so it is about to end by itself
            process.wait(_ENDING_S)
        self.end()
        if overdue.is_set():
            return {CRASHED: f"gave no answer within {self._timeout_s:.0f} s"}
        return {CRASHED: ended(process.returncode, self._log)}

    def end(self) -> None:
        """End the process."""
        process, self.process = self.process, None
        if process:
            workers.end(process)
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what could not be written is of no use any more
                    pipe.close() if pipe else None


def ended(code: int | None, log: Path) -> str:
    """Why a process ended, in a few words: its signal, or the last line that it wrote."""
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip().rstrip(".") if lines else f"exit code {code}"


def serve(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """A worker's own side: answer each line of the input; what anything else prints goes where errors go."""
    import sys

    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=channel, flush=True)
