"""One measurement a card at a time, with real processes that hold and wait."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.measurement import gpu_lock
from perfgate.measurement.gpu_lock import hold
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
CARD, OTHER_CARD = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
_LONG_S = 300
"""A wait that ends a test which would otherwise hang."""

HOLD = """
import sys, time
from pathlib import Path
from perfgate.measurement.gpu_lock import hold
folder, uuid, waits = sys.argv[1:]
with hold(uuid, folder=Path(folder), timeout_s=300):
    print("held", flush=True)
    waits and sys.stdin.readline()
print("done", time.monotonic(), flush=True)
"""
Start = Any


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process that holds a card until it is told to let go; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(uuid: str = CARD, *, waits: bool = True, cwd: Path = ROOT, inherits: bool = True) -> Any:
        command = [sys.executable, "-c", HOLD, str(tmp_path), uuid, "waits" if waits else ""]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if not inherits:
            environment.pop("PERFGATE_CARDS_HELD", None)
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(command, cwd=cwd, env=environment, **pipes))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only moves when somebody sleeps."""
    now = SimpleNamespace(s=1000.0)

    def sleep(seconds: float) -> None:
        now.s += seconds

    monkeypatch.setattr(gpu_lock, "time", SimpleNamespace(monotonic=lambda: now.s, sleep=sleep))
    return now


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_the_second_run_waits_until_the_first_is_done_and_is_told_who_holds_the_card(
    start: Start, tmp_path: Path
) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    first = start(cwd=checkout)
    assert _line(first) == "held"
    second = start(waits=False)
    waiting = _line(second)
    assert waiting.startswith(f"perf: waiting for card {CARD}, in use by pid {first.pid}, since 20")
    assert waiting.endswith(f", in {checkout} …")
    first.stdin.write("\n")
    first.stdin.flush()
    assert _line(second) == "held"
    first_done, second_done = (float(_line(process).removeprefix("done ")) for process in (first, second))
    assert first_done < second_done


def test_a_holder_that_is_killed_frees_the_card_and_another_card_is_free_all_along(
    start: Start, tmp_path: Path
) -> None:
    first = start()
    assert _line(first) == "held"
    said: list[str] = []
    with hold(OTHER_CARD, folder=tmp_path, say=said.append, timeout_s=_LONG_S):
        pass
    first.send_signal(signal.SIGKILL)
    first.wait()
    with hold(CARD, folder=tmp_path, say=said.append, timeout_s=_LONG_S):
        assert f"pid {os.getpid()}" in (tmp_path / f"{CARD}.lock").read_text(encoding="utf-8")
    assert said == []


@pytest.mark.usefixtures("clock")
def test_a_long_wait_is_said_now_and_then_and_after_the_timeout_one_sentence_says_who_and_what_to_do(
    start: Start, tmp_path: Path
) -> None:
    first = start()
    assert _line(first) == "held"
    said: list[str] = []
    refusal = _refused(tmp_path, say=said.append, timeout_s=150)
    assert [line.partition(" for card")[0] for line in said] == [
        "perf: waiting",
        "perf: waiting (1 min so far)",
        "perf: waiting (2 min so far)",
    ]
    assert refusal.reason == "card-in-use"
    assert refusal.text.startswith(f"Card {CARD} is in use after 150 s of waiting, by pid {first.pid}, since 20")
    assert ", expected it free; wait for that run to end" in refusal.text


def test_a_process_that_the_holder_started_goes_ahead(start: Start, tmp_path: Path) -> None:
    with hold(CARD, folder=tmp_path):
        with hold(CARD, folder=tmp_path, timeout_s=0):
            pass
        worker = start(waits=False)
        assert (_line(worker), _line(worker)[:4]) == ("held", "done")
        said: list[str] = []
        with hold(OTHER_CARD, folder=tmp_path, say=said.append):
            assert _line(start(OTHER_CARD, waits=False)) == "held"
            assert _line(start(CARD, waits=False)) == "held"
    assert _line(start()) == "held"  # and nothing is left of it


def test_neither_another_card_nor_a_holder_that_has_ended_holds_this_one(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _line(start()) == "held"
    with hold(OTHER_CARD, folder=tmp_path):
        assert _refused(tmp_path, timeout_s=0).reason == "card-in-use"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    monkeypatch.setenv("PERFGATE_CARDS_HELD", f"{CARD}={int(ended.stdout)}")
    assert _refused(tmp_path, say=lambda _: None, timeout_s=0).reason == "card-in-use"


def test_a_failed_measurement_frees_the_card(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(CARD, folder=tmp_path):
        raise ZeroDivisionError
    with hold(CARD, folder=tmp_path, timeout_s=0):
        pass
    assert (tmp_path / f"{CARD}.lock").read_text(encoding="utf-8") == ""


def test_the_folder_and_the_file_are_for_all_users_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        with hold(CARD, folder=tmp_path / "locks"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777
    assert (tmp_path / "locks" / f"{CARD}.lock").stat().st_mode & 0o777 == 0o666


def _refused(folder: Path, **options: Any) -> GateError:
    """Why the card cannot be held."""
    with pytest.raises(GateError) as caught, hold(CARD, folder=folder, **options):
        pytest.fail("held")
    return caught.value


def _only(monkeypatch: pytest.MonkeyPatch, *allowed: int) -> None:
    """Lets files be opened with these flags only, as the rights of another user's file do (root may do anything)."""
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_EXCL and path.exists():
            raise FileExistsError(17, "File exists")
        if Path(path).suffix == ".lock" and flags & ~os.O_NOFOLLOW not in allowed:
            raise PermissionError(13, "Permission denied")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refuse)


def test_a_file_that_may_only_be_read_locks_as_well(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{CARD}.lock").write_text("", encoding="utf-8")
    _only(monkeypatch, os.O_RDONLY)
    with hold(CARD, folder=tmp_path):
        stranger = start(waits=False, inherits=False)
        assert _line(stranger) == f"perf: waiting for card {CARD}, in use by another run, which left no name …"
    assert _line(stranger) == "held"


def test_a_file_that_may_not_even_be_read_is_refused_rather_than_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"{CARD}.lock"
    path.write_text("", encoding="utf-8")
    _only(monkeypatch)
    refusal = _refused(tmp_path)
    assert refusal.reason == "no-card-lock"
    assert refusal.text == (
        f"{path} cannot be locked (Permission denied), expected a file that every user may read, in a "
        "folder that every user may write; have its owner remove it."
    )
    path.unlink()
    _only(monkeypatch, os.O_RDWR, os.O_RDONLY)  # neither finds the file, and it may not be made
    assert "Permission denied" in _refused(tmp_path).text


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert _refused(tmp_path / "file" / "locks").reason == "no-card-lock"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    (tmp_path / f"{CARD}.lock").symlink_to(tmp_path / "precious")
    assert _refused(tmp_path).reason == "no-card-lock"
    assert (tmp_path / "precious").read_text(encoding="utf-8") == "kept"


def test_a_file_removed_before_it_was_locked_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else this run would hold a file that is gone, and the next one another."""
    path, real = tmp_path / f"{CARD}.lock", fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            path.unlink()
        calls.append(operation)
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(CARD, folder=tmp_path):
        assert f"pid {os.getpid()}" in path.read_text(encoding="utf-8")
    assert len(calls) == 2


def test_what_a_holder_wrote_is_shown_in_one_printable_line(start: Start, tmp_path: Path) -> None:
    assert _line(start()) == "held"
    (tmp_path / f"{CARD}.lock").write_bytes(b"\x1b[31mme\nand \xff you" + b"x" * 10_000)
    said: list[str] = []
    _refused(tmp_path, say=said.append, timeout_s=0.1)
    assert said[0].isprintable()
    assert len(said[0]) < 400


def test_the_name_of_a_card_cannot_leave_the_folder(tmp_path: Path) -> None:
    with hold("../MIG-1/2", folder=tmp_path / "locks"):
        pass
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["___MIG-1_2.lock"]


def test_the_module_can_be_imported_where_there_is_no_flock() -> None:
    code = "import sys; sys.modules['fcntl'] = None; import perfgate.measurement.gpu_lock"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
