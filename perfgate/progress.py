"""What is under way and how long it will take: on a terminal one line that is drawn again, elsewhere a line each time."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from perfgate import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_REDRAWN_S = 1.0
"""Between two drawings: as fine as the time left is said, and next to nothing for the host beside a measurement."""
_SAID_S = 3.0
"""Between two lines of a count."""
_CLEAR = "\r\x1b[K"


class Progress:
    """Says what is under way; says nothing where that was asked for."""

    def __init__(
        self,
        stream: TextIO,
        environment: Mapping[str, str],
        *,
        quiet: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream, self._quiet, self._now_s = stream, quiet, now_s
        self._look = console.look(stream, environment)

    @contextlib.contextmanager
    def running(self, text: str, *, left_s: float | None = None) -> Iterator[None]:
        """Show the text while what is within is under way.

        Args:
            text: What it is, such as ``perf: measuring, launch 1 of 4``.
            left_s: Seconds until all of it is done, where that can be said; counted down.
        """
        if self._quiet:
            yield
            return
        if not self._look.rewrites:
            print(_line(text, left_s), file=self._stream, flush=True)
            yield
            return
        done = threading.Event()
        began_s = self._now_s()
        drawing = threading.Thread(target=self._draw_until, args=(done, text, left_s, began_s), daemon=True)
        drawing.start()
        try:
            yield
        finally:
            done.set()
            drawing.join()
            self._put(_CLEAR)

    def _draw_until(self, done: threading.Event, text: str, left_s: float | None, began_s: float) -> None:
        while not done.is_set():
            left = None if left_s is None else max(0.0, left_s - (self._now_s() - began_s))
            # The last column stays free: a terminal may break the line there.
            self._put(f"{_CLEAR}{_line(text, left)[: self._look.width - 1]}")
            done.wait(_REDRAWN_S)

    def _put(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # the stream is gone, and a progress line is no reason to stop
            self._stream.write(text)
            self._stream.flush()


class Count:
    """Prints how many of some work are done and how long the rest will take, every few seconds."""

    def __init__(self, what: str, total: int, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._what, self.total, self._now_s = what, total, now_s
        self._began_s = self._said_s = now_s()
        self.done = 0

    def step(self, note: str = "") -> None:
        """One more is done."""
        self.done += 1
        now_s = self._now_s()
        if now_s - self._said_s >= _SAID_S or self.done == self.total:
            self._said_s = now_s
            took_s = now_s - self._began_s
            rest_s = took_s / self.done * (self.total - self.done)
            left = f", about {rest_s:.0f} s left" if self.done < self.total else f" in {took_s:.0f} s"
            print(f"{self._what} {self.done} of {self.total}{note}{left}", flush=True)


def on_standard_output(*, quiet: bool) -> Progress:
    """Progress of this process."""
    return Progress(sys.stdout, os.environ, quiet=quiet)


def _line(text: str, left_s: float | None) -> str:
    return f"{text}{'' if left_s is None else f', about {math.ceil(left_s)} s left'} …"
