"""One measurement a card at a time, with real processes that hold and wait."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perfgate.measurement import gpu_lock
from perfgate.measurement.gpu_lock import hold
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(gpu_lock.__file__).parent.parent
CARD, OTHER_CARD = "GPU-11111111-aaaa", "GPU-22222222-bbbb"
_LONG_S = 20
"""A wait that ends a test which would otherwise hang."""

HOLD = """
import sys, time
from pathlib import Path
from perfgate.measurement.gpu_lock import hold
folder, uuid, seconds = sys.argv[1:]
with hold(uuid, folder=Path(folder), timeout_s=20):
    print("held", flush=True)
    time.sleep(float(seconds))
print("done", time.monotonic(), flush=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process that holds a card for some seconds; whatever is left of it ends with the test."""
    started: list[subprocess.Popen[str]] = []

    def run(
        uuid: str = CARD, seconds: float = _LONG_S, *, cwd: Path = ROOT, inherits: bool = True
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(tmp_path), uuid, str(seconds)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if not inherits:
            environment.pop("PERFGATE_CARDS_HELD", None)
        process = subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_the_second_run_waits_until_the_first_is_done(start: Callable[..., subprocess.Popen[str]]) -> None:
    first = start(seconds=1.5)
    assert _line(first) == "held"
    second = start(seconds=0)
    waiting = _line(second)
    assert waiting.startswith(f"perf: waiting for card {CARD}, in use by pid {first.pid}, since 20")
    assert _line(second) == "held"
    first_done, second_done = (float(_line(process).removeprefix("done ")) for process in (first, second))
    assert first_done < second_done


def test_who_waits_is_told_which_checkout_holds_the_card(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    checkout = tmp_path / "a checkout"
    checkout.mkdir()
    assert _line(start(cwd=checkout)) == "held"
    assert _line(start()).endswith(f", in {checkout} …")


def test_a_holder_that_is_killed_frees_the_card(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    first = start()
    assert _line(first) == "held"
    first.send_signal(signal.SIGKILL)
    first.wait()
    said: list[str] = []
    with hold(CARD, folder=tmp_path, say=said.append, timeout_s=_LONG_S):
        assert f"pid {os.getpid()}" in (tmp_path / f"{CARD}.lock").read_text(encoding="utf-8")
    assert said == []


def test_runs_on_two_cards_do_not_wait_for_each_other(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    assert _line(start(CARD)) == "held"
    said: list[str] = []
    with hold(OTHER_CARD, folder=tmp_path, say=said.append, timeout_s=_LONG_S):
        pass
    assert said == []


def test_after_the_timeout_one_sentence_says_who_and_what_to_do(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = start()
    assert _line(first) == "held"
    with pytest.raises(GateError) as caught, hold(CARD, folder=tmp_path, say=lambda _: None, timeout_s=0.5):
        pytest.fail("held twice")
    assert caught.value.reason == "card-in-use"
    assert re.match(rf"Card {CARD} is in use after \d+ s of waiting, by pid {first.pid}, since 20", caught.value.text)
    assert ", expected it free; wait for that run to end" in caught.value.text
    assert caught.value.text.endswith(".")


def test_a_long_wait_is_said_again_but_not_at_every_look(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _line(start()) == "held"
    monkeypatch.setattr(gpu_lock, "_AGAIN_S", 0.6)
    said: list[str] = []
    with pytest.raises(GateError), hold(CARD, folder=tmp_path, say=said.append, timeout_s=2):
        pass
    assert {line.partition(" for card")[0] for line in said} == {"perf: waiting", "perf: waiting (0 min so far)"}
    assert len(said) <= 4  # of ten looks


def test_a_process_that_the_holder_started_goes_ahead(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    with hold(CARD, folder=tmp_path):
        with hold(CARD, folder=tmp_path, timeout_s=0):
            pass
        worker = start(seconds=0)
        assert (_line(worker), _line(worker)[:4]) == ("held", "done")
        said: list[str] = []
        with hold(OTHER_CARD, folder=tmp_path, say=said.append):
            assert _line(start(OTHER_CARD, seconds=0)) == "held"
            assert _line(start(CARD, seconds=0)) == "held"
    assert _line(start()) == "held"  # and nothing is left of it


def test_holding_one_card_is_not_holding_another(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    assert _line(start(OTHER_CARD)) == "held"
    with hold(CARD, folder=tmp_path), pytest.raises(GateError), hold(OTHER_CARD, folder=tmp_path, timeout_s=0):
        pytest.fail("held twice")


def test_a_process_whose_holder_has_ended_locks_for_itself(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _line(start()) == "held"
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    monkeypatch.setenv("PERFGATE_CARDS_HELD", f"{CARD}={int(ended.stdout)}")
    with pytest.raises(GateError, match="in use"), hold(CARD, folder=tmp_path, say=lambda _: None, timeout_s=0):
        pass


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
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{CARD}.lock").write_text("", encoding="utf-8")
    _only(monkeypatch, os.O_RDONLY)
    with hold(CARD, folder=tmp_path):
        stranger = start(seconds=0, inherits=False)
        assert _line(stranger) == f"perf: waiting for card {CARD}, in use by another run, which left no name …"
    assert _line(stranger) == "held"


def test_a_file_that_may_not_even_be_read_is_refused_rather_than_not_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{CARD}.lock").write_text("", encoding="utf-8")
    _only(monkeypatch)
    with pytest.raises(GateError) as caught, hold(CARD, folder=tmp_path):
        pytest.fail("not locked")
    assert caught.value.reason == "no-card-lock"
    assert caught.value.text == (
        f"{tmp_path}/{CARD}.lock cannot be locked (Permission denied), expected a file that every user may read, in a "
        "folder that every user may write; have its owner remove it."
    )


def test_a_folder_that_may_not_be_written_is_refused_for_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _only(monkeypatch, os.O_RDWR, os.O_RDONLY)  # neither finds the file, and it may not be made
    with pytest.raises(GateError, match="Permission denied"), hold(CARD, folder=tmp_path):
        pytest.fail("not locked")


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(GateError) as caught, hold(CARD, folder=tmp_path / "file" / "locks"):
        pytest.fail("not locked")
    assert caught.value.reason == "no-card-lock"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept", encoding="utf-8")
    (tmp_path / f"{CARD}.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(GateError), hold(CARD, folder=tmp_path):
        pytest.fail("not locked")
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


def test_what_a_holder_wrote_is_shown_in_one_printable_line(
    start: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    assert _line(start()) == "held"
    (tmp_path / f"{CARD}.lock").write_bytes(b"\x1b[31mme\nand \xff you" + b"x" * 10_000)
    said: list[str] = []
    with pytest.raises(GateError), hold(CARD, folder=tmp_path, say=said.append, timeout_s=0.1):
        pass
    assert said[0].isprintable()
    assert len(said[0]) < 400


def test_the_name_of_a_card_cannot_leave_the_folder(tmp_path: Path) -> None:
    with hold("../MIG-1/2", folder=tmp_path / "locks"):
        pass
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["___MIG-1_2.lock"]


def test_the_module_can_be_imported_where_there_is_no_flock() -> None:
    code = "import sys; sys.modules['fcntl'] = None; import perfgate.measurement.gpu_lock"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
