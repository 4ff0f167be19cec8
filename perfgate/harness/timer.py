"""The GPU stopwatch: event stamps that pytest-benchmark can use as its timer, L2 flush, held stream.

Owns how one launch is timed. Knows nothing of arms, cases or what is launched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


class Stamp:
    """A recorded CUDA event; the difference of two is device time in seconds."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        self._event = torch.cuda.Event(enable_timing=True)
        self._event.record()

    def __sub__(self, start: Stamp) -> float:
        # Asked the moment the end event is queued: if the start event has fired already, the stream was not
        # held and the pair has timed the host as well.
        if start._event.query():
            self._watch.unheld += 1
        self._event.synchronize()
        milliseconds: float = start._event.elapsed_time(self._event)
        return milliseconds / 1000


@dataclass
class Stopwatch:
    """Times single launches on the current device's current stream.

    ``prepare`` empties the L2 cache and holds the stream, so that the launch that follows is queued whole
    before its start event fires; ``stamp`` is the timer.
    """

    flush_bytes: int
    hold_cycles: int
    unheld: int = 0
    """Timed launches whose start event had fired before the end event was queued."""

    def __post_init__(self) -> None:
        # Read, not written: a memset leaves dirty lines in L2 that the timed kernel would have to write back.
        self._flush = torch.ones(self.flush_bytes // 4, dtype=torch.float32, device="cuda")
        self._sum = torch.zeros((), dtype=torch.float32, device="cuda")

    def prepare(self) -> None:
        """Flush the L2 cache, then hold the stream."""
        torch.sum(self._flush, dim=0, out=self._sum)
        torch.cuda._sleep(self.hold_cycles)  # noqa: SLF001 - torch offers no public way to hold a stream

    def stamp(self) -> Stamp:
        """Record an event now."""
        return Stamp(self)

    def time(self, launch: Callable[[], object]) -> float:
        """Seconds of one launch, prepared and timed."""
        self.prepare()
        start = self.stamp()
        launch()
        return self.stamp() - start
