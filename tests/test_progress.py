"""What is under way: one line drawn again on a terminal, a line each elsewhere, none where that was asked for."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from perfgate import progress
from perfgate.progress import Progress
from pty_support import on_terminal, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

TEXT = "perf: measuring, launch 2 of 4"


class Clock:
    """Seconds that pass with every look."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        self.now_s += 1
        return self.now_s


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Progress, list[str]]]:
    """Progress on a terminal of this process, and what it wrote once that is closed."""
    monkeypatch.setattr(progress, "_REDRAWN_S", 0.005)
    main, other = pty.openpty()
    written: list[str] = []

    def read() -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(main, 4096):
                written.append(chunk.decode())

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(other, "w", encoding="utf-8") as stream:
        yield Progress(stream, {"TERM": "xterm"}, now_s=Clock()), written
    reader.join()
    os.close(main)


def test_on_a_terminal_one_line_counts_down_and_is_gone_at_the_end(shown: tuple[Progress, list[str]]) -> None:
    made, written = shown
    with made.running(TEXT, left_s=3.0):
        while "about 0 s" not in "".join(written):
            pass
    while not "".join(written).endswith("\r\x1b[K"):
        pass
    text = "".join(written)
    assert [f"about {n} s left" in text for n in (2, 1, 0)] == [True] * 3
    assert "\n" not in text
    assert "about -" not in text


def test_what_is_within_may_fail_and_the_line_is_gone_all_the_same(shown: tuple[Progress, list[str]]) -> None:
    made, written = shown
    with pytest.raises(KeyError), made.running(TEXT):
        raise KeyError
    while not "".join(written).endswith("\r\x1b[K"):
        pass
    assert threading.active_count() <= 3


def test_elsewhere_it_is_a_line() -> None:
    stream = io.StringIO()
    made = Progress(stream, {})
    with made.running("first"), made.running(TEXT, left_s=12.3):
        pass
    assert stream.getvalue() == f"first …\n{TEXT}, about 13 s left …\n"


def test_quiet_says_nothing() -> None:
    stream = io.StringIO()
    with Progress(stream, {}, quiet=True).running(TEXT, left_s=1.0):
        pass
    assert stream.getvalue() == ""


def test_a_stream_that_is_gone_stops_nothing(shown: tuple[Progress, list[str]]) -> None:
    made, _ = shown
    with made.running(TEXT):
        made._stream.close()  # noqa: SLF001 - as a closed window would


PROGRAM = """
from perfgate.progress import on_standard_output
for number in (1, 2):
    with on_standard_output(quiet=False).running(f"{'launch ' * 30}{number}", left_s=60.0):
        pass
print("the end")
"""


@pytest.mark.parametrize(
    ("environment", "rewrites"),
    [({}, True), ({"NO_COLOR": "1"}, True), ({"CI": "true"}, False), ({"TERM": "dumb"}, False)],
    ids=["terminal", "no-color", "ci", "dumb"],
)
def test_a_carriage_return_is_written_only_where_a_line_can_be_rewritten(
    environment: dict[str, str], *, rewrites: bool
) -> None:
    text = on_terminal([sys.executable, "-c", PROGRAM], environment=environment)
    assert ("\r" in text) == rewrites
    assert visible(text).splitlines()[-1].endswith("the end")
    if rewrites:
        assert max(len(part) for part in visible(text).replace("\n", "\r").split("\r")) <= 79
    else:
        assert len(text.splitlines()) == 3
