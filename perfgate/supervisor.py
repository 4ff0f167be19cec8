"""The process between the gate and one worker: when the worker or the gate ends, all that the worker started ends.

Owns what a process tree is on Linux and how it is ended. `workers` runs this file as a script, so it stands alone: it
finds neither the project nor any installed package. As a child subreaper it becomes the parent of every orphan beneath
it, so that leaving the session or forking twice leads nowhere. It ends nothing but its own children: their numbers
cannot become another's before it has reaped them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NOTHING_LEFT = b"1"
"""What it tells the gate as its last word; without it, something of the worker may still run."""
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36
_LOOK_S, _POLL_S, _ENDING_S = 0.2, 0.01, 5.0
_TICK_S = 0.01
"""Of the times in /proc, on every Linux."""
_NOT_FOUND = 127
_PPID, _SESSION, _START = 1, 3, 19
"""Places in /proc/PID/stat, counted from the state of the process."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process whose parent is this one."""

    pid: int
    session: int
    start: int
    """In ticks since the machine started."""


def adopt_orphans() -> None:
    """Become the parent of every process beneath this one whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def keep_private() -> None:
    """Let no other process of this user read this one's environment and memory, or trace it."""
    _prctl(_PR_SET_DUMPABLE, 0)


def children() -> list[Child]:
    """The processes whose parent is this one, those that ended and are not reaped included."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208 - hundreds, often
        with contextlib.suppress(OSError):  # it is gone
            fields = stat_of(int(name))
            if int(fields[_PPID]) == os.getpid():
                found.append(Child(pid=int(name), session=int(fields[_SESSION]), start=int(fields[_START])))
    return found


def started(pid: int) -> int:
    """When a process started, in ticks since the machine did."""
    return int(stat_of(pid)[_START])


def stat_of(pid: int) -> list[str]:
    """What /proc/PID/stat says after the name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def end_children(which: Callable[[Child], bool]) -> dict[int, int]:
    """Kill and reap this process's children, and theirs as they become its own, for a few seconds at most.

    Args:
        which: Says whether a child is to end; one that is not, is left alone.

    Returns:
        Wait status by process, of those that ended.
    """
    ended: dict[int, int] = {}
    deadline_s = time.monotonic() + _ENDING_S
    while found := [child for child in children() if which(child)]:
        for child in found:
            with contextlib.suppress(PermissionError):  # it runs as another user
                os.kill(child.pid, signal.SIGKILL)
        for child in found:
            with contextlib.suppress(ChildProcessError):
                pid, status = os.waitpid(child.pid, os.WNOHANG)
                ended |= {pid: status} if pid else {}
        if time.monotonic() > deadline_s:
            break
        time.sleep(_POLL_S)
    return ended


def main(gate: int, report: int, command: Sequence[str]) -> NoReturn:
    """Run the command as a worker of the gate, then end as it ended.

    Args:
        gate: The process that has to stay the parent of this one.
        report: Descriptor for the last word.
        command: Program and arguments of the worker.
    """
    with contextlib.suppress(OSError):  # a sandbox may forbid it; what stays a child is ended all the same
        adopt_orphans()
        keep_private()  # or the worker could open the descriptor for the last word
    os.set_inheritable(report, False)
    heard = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    own = os.getpid()
    time.sleep(_TICK_S)  # so that the worker starts in a later tick than what was there before this process
    worker = os.fork()
    if not worker:
        _become(command, parent=own, mask=usual)
    _drop_files(report)
    ended = _reaped(worker, gate=gate, heard=heard)
    ended |= end_children(lambda _: True)
    if not children():
        with contextlib.suppress(OSError):  # the gate is gone
            os.write(report, NOTHING_LEFT)
    _end_as(ended.get(worker, signal.SIGKILL))


def _become(command: Sequence[str], *, parent: int, mask: set[int | signal.Signals]) -> NoReturn:
    """Turn the forked process into the worker, which does not outlive the one that forked it."""
    try:
        os.setsid()
        with contextlib.suppress(OSError):
            _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # by Python; a program expects them to be as usual
            signal.signal(ignored, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if os.getppid() == parent:
            os.execvp(command[0], list(command))  # noqa: S606 - what the gate asked for
    except OSError as error:
        os.write(2, f"{command[0]} could not be started: {error.strerror}\n".encode())
    finally:
        os._exit(_NOT_FOUND)


def _drop_files(report: int) -> None:
    """Hold none of the worker's files: whoever reads its output sees the end of it when the worker ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    for path in list(Path("/proc/self/fd").iterdir()):
        if int(path.name) not in {0, 1, 2, report}:
            with contextlib.suppress(OSError):
                os.close(int(path.name))


def _reaped(worker: int, *, gate: int, heard: set[signal.Signals]) -> dict[int, int]:
    """Reap until the worker has ended; empty where it has to be ended: it was asked for, or the gate is gone."""
    while os.getppid() == gate:
        got = signal.sigtimedwait(heard, _LOOK_S)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == worker:
                    return {worker: ended[1]}
        if got and got.si_signo != signal.SIGCHLD:
            break
    return {}


def _end_as(status: int) -> NoReturn:
    """End with the exit code or by the signal of a wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _prctl(option: int, value: int) -> None:
    arguments = (ctypes.c_ulong(number) for number in (value, 0, 0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(option, *arguments):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
