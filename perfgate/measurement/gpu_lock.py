"""One measurement a card at a time: a lock file named after the card, shared by all users and checkouts of a machine.

Owns the file, who waits for whom, and what a waiting run says. Two runs on one card would slow each other, and both
would look like a regression. The lock is the kernel's (flock): it goes with the process that held it, however that
ended, so a file left behind locks nothing and is never removed. It is seen by processes that see the same folder: a
container has to be given the host's.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Not tempfile.gettempdir(): TMPDIR is often a user's or a job's own, and two runs would lock two files.
FOLDER = Path("/tmp/perfgate-locks")  # noqa: S108 - shared on purpose; what is in it is never executed nor believed
_HELD = "PERFGATE_CARDS_HELD"
"""Environment variable that tells a holder's worker processes what is held for them: ``UUID=PID``, by commas."""
_POLL_S = 0.2
_NAMELESS_S = 1.0
"""How long a holder may take to write its name before it is spoken of without one."""
_AGAIN_S = 60.0
_MOST_CHARACTERS = 300


def _print(text: str) -> None:
    print(text, flush=True)  # a line about waiting is of no use after the wait


@contextmanager
def hold(
    uuid: str, *, folder: Path | None = None, say: Callable[[str], object] = _print, timeout_s: float | None = None
) -> Iterator[None]:
    """Hold a card while the block runs; waits, and says so, while another run holds it.

    A process whose parent holds the card, and a nested call, go ahead at once: the outermost holder locks for all.

    Args:
        uuid: The card, as the driver names it.
        folder: Where the lock files are; every run of a machine has to use the same.
        say: Takes each line about waiting: one at once, then one a minute.
        timeout_s: Seconds to wait; None waits for ever.

    Raises:
        GateError: ``card-in-use`` after the timeout, ``no-card-lock`` where the file cannot be opened or locked.
    """
    held_before = os.environ.get(_HELD, "")
    if _held_for_us(uuid, held_before):
        yield
        return
    path = (folder or FOLDER) / f"{re.sub(r'[^A-Za-z0-9-]', '_', uuid)}.lock"
    descriptor = _locked(path, uuid, say=say, timeout_s=timeout_s)
    try:
        _write(
            descriptor, f"pid {os.getpid()}, since {datetime.now(UTC).isoformat(timespec='seconds')}, in {Path.cwd()}"
        )
        os.environ[_HELD] = f"{held_before},{uuid}={os.getpid()}"
        yield
    finally:
        os.environ[_HELD] = held_before
        _write(descriptor, "")
        os.close(descriptor)  # and with it goes the lock


def _held_for_us(uuid: str, held: str) -> bool:
    """Whether this process or one that started it holds the card; one that has ended since holds nothing."""
    return any(
        _runs(int(pid))
        for name, _, pid in (e.rpartition("=") for e in held.split(","))
        if name == uuid and pid.isdigit()
    )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True


def _locked(path: Path, uuid: str, *, say: Callable[[str], object], timeout_s: float | None) -> int:
    """Descriptor of the file, locked."""
    import fcntl  # not on Windows, where nothing is measured

    started = time.monotonic()
    next_line_s = 0.0
    while True:
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(descriptor)
            os.close(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise _no_lock(path, error) from None
        except BaseException:
            os.close(descriptor)
            raise
        else:
            if _is(descriptor, path):
                return descriptor
            os.close(descriptor)  # removed between opening and locking: others would lock another file
            continue
        waited_s = time.monotonic() - started
        named = holder or "another run, which left no name"
        if timeout_s is not None and waited_s >= timeout_s:
            raise GateError(
                "card-in-use",
                f"Card {uuid} is in use after {waited_s:.0f} s of waiting, by {named}, expected it free; wait for that run "
                "to end, or end it, and measure again.",
            )
        if waited_s >= next_line_s and (holder or waited_s >= _NAMELESS_S):
            so_far = f" ({waited_s / 60:.0f} min so far)" if next_line_s else ""
            say(f"perf: waiting{so_far} for card {uuid}, in use by {named} …")
            next_line_s = waited_s + _AGAIN_S
        time.sleep(_POLL_S)


def _opened(path: Path) -> int:
    """Open the file so that any user can lock it: whoever comes first makes it, the next may be someone else.

    Linux refuses O_CREAT for another's file in a shared folder (fs.protected_regular), and another's file may be read
    only; a lock needs neither writing nor owning.
    """
    try:
        if not path.parent.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o1777)  # mkdir's mode is narrowed by the umask
    except OSError as error:
        raise _no_lock(path, error) from None
    refused: list[OSError] = []
    # Created only where it is not there, and tried once more where someone else has just made it.
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDWR, os.O_RDONLY):
        try:
            descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            refused.append(error)
            continue
        if flags & os.O_CREAT:
            os.fchmod(descriptor, 0o666)  # open's mode is narrowed by the umask
        return descriptor
    telling = [error for error in refused if not isinstance(error, (FileExistsError, FileNotFoundError))]
    raise _no_lock(path, (telling or refused)[0])


def _no_lock(path: Path, error: OSError) -> GateError:
    return GateError(
        "no-card-lock",
        f"{path} cannot be locked ({error.strerror}), expected a file that every user may read, in a folder that every "
        "user may write; have its owner remove it.",
    )


def _is(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _read(descriptor: int) -> str:
    """Who holds the lock, in its own words; anyone may have written them, so they are only ever shown."""
    text = os.pread(descriptor, 4 * _MOST_CHARACTERS, 0).decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() else "?" for c in text.strip()[:_MOST_CHARACTERS])


def _write(descriptor: int, text: str) -> None:
    """Leave word of who holds the lock; a file that is someone else's and read-only keeps what it says."""
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
    except OSError:
        return
