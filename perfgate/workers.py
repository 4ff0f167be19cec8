"""Processes that import a kernel or the suite: what they see of the environment, how they start, speak and end.

Owns the list of variables that reach a worker, what a worker tells the gate line by line (`followed`, `Pool`), and that
nothing of a worker outlives it or the gate. On Linux each
worker has a `supervisor` of its own between itself and the gate: that process ends what the worker left behind. It sees
within a moment that the gate has ended, however that came. A worker that kills its supervisor is ended by Linux, and what
it had started becomes the gate's own child, which `end` ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Self

from perfgate import supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import IO

CRASHED = "crashed"
"""Key of an answer that the pool gives for a worker that gave none."""

REACHING_COMPILER = ("ALLOW_", "DISABLE_", "LLVM_", "MLIR_", "NVPTX_", "PTXAS_", "TRITON_", "USE_IR_LOC")
"""How the names of variables begin that Triton and the compilers below it ask for (3.6 to 3.8)."""
_HANDED_DOWN = frozenset({"PERFGATE_CARDS_HELD"})
"""What the gate itself sets for all that it starts (see `gpu_lock`)."""
_KEPT = _HANDED_DOWN | {
    *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SYSTEMROOT", "TERM", "TZ", "USER"),
    *("TEMP", "TMP", "TMPDIR"),
    *("CONDA_PREFIX", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),
    *("CC", "CPATH", "CPLUS_INCLUDE_PATH", "CXX", "C_INCLUDE_PATH", "LIBRARY_PATH"),  # Triton builds its launcher
    *("PYTEST_ADDOPTS", "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_PLUGINS"),  # the gate sees what they leave out
}
_KEPT_BEGINNINGS = (
    *REACHING_COMPILER,
    *("CUBLAS", "CUDA", "CUDNN_", "NVCC_", "NVIDIA_", "NV_"),
    *("PYTORCH_", "TORCH"),
    *("GOMP_", "KMP_", "MKL_", "OMP_", "OPENBLAS_"),
    *("COVERAGE_", "COV_CORE_", "LC_", "PYTHON", "XDG_"),
)
_NEVER = ("CREDENTIAL", "PASSWORD", "SECRET", "TOKEN")
_ENDING_S, _LAST_S, _POLL_S = 10.0, 5.0, 0.05
_MOST_WORKERS = 16
"""Each holds a copy of torch and Triton, half a gigabyte and more."""


@dataclass(frozen=True, kw_only=True)
class _Supervised:
    """What is known of the supervisor of a worker, on Linux."""

    report: int
    """Descriptor that its last word is read from."""
    since: int
    """When it started, in ticks since the machine did."""


_lock = threading.RLock()
_running: dict[subprocess.Popen[bytes], _Supervised | None] = {}
"""Workers that have not been ended."""
_lost: list[int] = []
"""When supervisors started that ended without their last word: something of their workers may still run."""


def environment(**added: str) -> dict[str, str]:
    """A worker's environment: of this process's own what such a process needs, and what is added."""
    return {name: value for name, value in os.environ.items() if _reaches(name)} | added


def _reaches(name: str) -> bool:
    kept = name in _KEPT or name.startswith(_KEPT_BEGINNINGS)
    return kept and not any(word in name.upper() for word in _NEVER)


def start(  # noqa: PLR0913 - as `subprocess.Popen`
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[str] | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[str] | IO[bytes] = subprocess.DEVNULL,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a worker, in a session of its own; the arguments are those of `subprocess.Popen`.

    Its exit code is the worker's. It has ended when all that the worker started has. Call `end` in any case.
    """
    words, passed = list(command), tuple(pass_fds)
    read_end = write_end = None
    if sys.platform == "linux":
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        words = [*(sys.executable, "-I", "-S", supervisor.__file__), str(os.getpid()), str(write_end), *command]
        passed = (*passed, write_end)
    try:
        with _lock:  # `_end_strays` has to know each child of this process
            if sys.platform == "linux":
                with contextlib.suppress(OSError):  # a sandbox may forbid it
                    supervisor.adopt_orphans()
            process = subprocess.Popen(  # noqa: S603 - our own modules
                words,
                cwd=cwd,
                env=dict(environment),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=passed,
                start_new_session=True,
            )
            _running[process] = None
            if read_end is not None:
                _running[process] = _Supervised(report=read_end, since=supervisor.started(process.pid))
    except BaseException:
        if read_end is not None:
            os.close(read_end)
        raise
    finally:
        if write_end is not None:
            os.close(write_end)
    return process


def run(  # noqa: PLR0913 - as `subprocess.run`
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    stdout: int | IO[str] | IO[bytes] = subprocess.PIPE,
    stderr: int | IO[str] | IO[bytes] = subprocess.PIPE,
    timeout_s: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a worker to its end, as `subprocess.run` would.

    Raises:
        subprocess.TimeoutExpired: It took too long and was ended.
    """
    with start(command, cwd=cwd, environment=environment, stdout=stdout, stderr=stderr) as process:
        try:
            out, errors = process.communicate(timeout=timeout_s)
        finally:
            end(process)
    said = [(text or b"").decode("utf-8", errors="replace") for text in (out, errors)]
    return subprocess.CompletedProcess(list(command), process.returncode, *said)


def end(*processes: subprocess.Popen[bytes]) -> None:
    """End workers and all that they started, where that has not ended by itself; harmless to call again.

    Other workers, and what they started, go on.
    """
    for process in processes:  # all at once, then one after the other
        _ask_to_end(process)
    for process in processes:
        _see_it_end(process)


def _see_it_end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:  # its supervisor was stopped, or waits for what cannot be killed
        process.kill()
        process.wait()
    with _lock:
        known = _running.pop(process, None)
        if known is None:
            return
        with os.fdopen(known.report, "rb", buffering=0) as report:
            nothing_left = report.read(1) == supervisor.NOTHING_LEFT  # None where nothing was written
        if not nothing_left and process.returncode != -signal.SIGTERM:  # that ends one before it has its worker
            _lost.append(known.since)
        _end_strays()


def end_all() -> None:
    """End every worker, and whatever any of them left behind; for the end of a run, however it ended."""
    with _lock:
        left = list(_running)
    end(*left)
    with _lock:
        _end_strays()


def keep_private() -> None:
    """On GitHub, keep this process's environment and memory from other processes of its user; its children's are not.

    GitHub's own processes above it, and nox, hold the same variables and stay readable.
    """
    if os.environ.get("GITHUB_ACTIONS") and sys.platform == "linux":
        with contextlib.suppress(OSError):
            supervisor.keep_private()


def _ask_to_end(process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "linux":
        process.terminate()
    elif process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _end_strays() -> None:
    """End what became this process's child when a supervisor was lost.

    Such a process is in a session that is not this one's, and cannot join it. What else this process starts stays in
    its session, and a worker's supervisor is known.
    """
    if not _lost:
        return
    ours, known, since = os.getsid(0), {process.pid for process in _running}, min(_lost)

    def stray(child: supervisor.Child) -> bool:
        return child.session != ours and child.pid not in known and child.start > since

    supervisor.end_children(stray)
    if not any(map(stray, supervisor.children())):
        _lost.clear()


class LostError(Exception):
    """A worker died, or was ended as it was silent for too long; the message says which, in a few words."""


def last_words(code: int | None, log: Path) -> str:
    """Why a worker ended, in a few words: its signal, or the last line that it wrote."""
    if code is not None and code < 0:
        return f"killed by signal {-code}"
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip().rstrip(".") if lines else f"exit code {code}"


def followed(  # noqa: PLR0913 - each is one independent choice, all by name
    command: Sequence[str], *, steps: Path, log: Path, cwd: Path, environment: Mapping[str, str], silent_s: float
) -> Iterator[dict[str, Any]]:
    """What a worker does, as it says it in lines of JSON that it appends to the file ``steps``; its output goes to ``log``.

    Raises:
        LostError: After its last line, where it failed, or took no step for ``silent_s``.
    """
    steps.write_text("", encoding="utf-8")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output, steps.open(encoding="utf-8", errors="replace") as stream:
        process = start(command, cwd=cwd, environment=environment, stdout=output, stderr=output)
        try:
            heard_s, text, over = time.monotonic(), "", False
            while not over:
                over = process.poll() is not None  # asked first: what it wrote before its end is read below
                *whole, text = (text + stream.read()).split("\n")
                for line in whole:
                    heard_s = time.monotonic()
                    yield json.loads(line)
                if not over and time.monotonic() - heard_s > silent_s:
                    raise LostError(f"took no step for {silent_s:g} s")
                if not over and not whole:
                    time.sleep(_POLL_S)
            if process.returncode:
                raise LostError(last_words(process.returncode, log))
        finally:
            end(process)


def processors() -> int:
    """Processors that this process may use, at most as many as there should be workers."""
    return min(_MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@dataclass
class Pool:
    """Workers that `serve`: one job in, one answer out; started when there is work, kept until the pool is left.

    One that dies, hangs or cannot be started takes down its own job and no other.
    """

    command: Sequence[str]
    _: KW_ONLY
    workers: int
    cwd: Path
    environment: Mapping[str, str]
    logs: Path
    """Folder for what workers print for people."""
    timeout_s: float
    """For one answer."""

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(self.workers, thread_name_prefix="worker")
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._left = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with _lock:
            self._left = True  # from now on none is started
        end(*self._processes.values())  # whatever they do: whoever waits for an answer goes on
        self._threads.shutdown(cancel_futures=True)
        for name in list(self._processes):
            self._end(name)

    def answers(self, jobs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and answer of each job, in the order of their ends; ``{"crashed": why}`` for one that gave none."""
        asked = {self._threads.submit(self._answer, job): number for number, job in enumerate(jobs)}
        for done in as_completed(asked):
            yield asked[done], done.result()

    def _answer(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of this thread's worker, or why there is none, such as a process or a log that cannot be made."""
        name = threading.current_thread().name
        try:
            return self._ask(name, job)
        except Exception as error:  # noqa: BLE001 - whoever asked waits for an answer
            self._end(name)
            return {CRASHED: f"{type(error).__name__}: {error}".rstrip(".")}

    def _ask(self, name: str, job: Mapping[str, Any]) -> dict[str, Any]:
        log = self.logs / f"{name}.log"
        process = self._started(name, log)
        overdue = threading.Event()

        def end_overdue() -> None:
            overdue.set()
            end(process)

        alarm = threading.Timer(self.timeout_s, end_overdue)
        alarm.start()
        try:
            line = _exchanged(process, json.dumps(job).encode() + b"\n")
        finally:
            alarm.cancel()
        if line.endswith(b"\n") and not overdue.is_set():
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise TypeError(f"{line[:80]!r} is no object")
            return answer
        with contextlib.suppress(subprocess.TimeoutExpired):  # its output has ended, so it is about to end by itself
            process.wait(_LAST_S)
        self._end(name)
        late = f"gave no answer within {self.timeout_s:.0f} s"
        return {CRASHED: late if overdue.is_set() else last_words(process.returncode, log)}

    def _started(self, name: str, log: Path) -> subprocess.Popen[bytes]:
        with _lock:
            if self._left:
                raise LostError("the pool was left")
            if name not in self._processes:
                log.parent.mkdir(parents=True, exist_ok=True)
                with log.open("wb") as messages:
                    self._processes[name] = start(
                        self.command,
                        cwd=self.cwd,
                        environment=self.environment,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=messages,
                    )
            return self._processes[name]

    def _end(self, name: str) -> None:
        if process := self._processes.pop(name, None):
            end(process)
            for pipe in filter(None, (process.stdin, process.stdout)):
                with contextlib.suppress(OSError):  # what could not be written is of no use any more
                    pipe.close()


def _exchanged(process: subprocess.Popen[bytes], line: bytes) -> bytes:
    """The line that a worker answers to a line; none, or half of one, where it is gone."""
    if process.stdin and process.stdout:
        with contextlib.suppress(OSError):
            process.stdin.write(line)
            process.stdin.flush()
            return process.stdout.readline()
    return b""


def serve(answer: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """A worker's own side of a pool: answer each line of the input; what else it prints goes where errors go."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as channel:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=channel, flush=True)
