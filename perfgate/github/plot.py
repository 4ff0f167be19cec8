"""Changes and their intervals drawn in text, which GitHub shows as it is wherever it shows Markdown. Pure.

Text because it holds intervals and limits and cannot break: GitHub draws Mermaid's charts, but their bars begin at the
end of the axis rather than at zero, and they know no intervals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.report.markdown import plain
from perfgate.text import percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.records import Verdict

_HALF = 20
"""Characters from zero to either end of the axis."""
_LEAST, _MOST = 0.01, 0.10
"""Bounds of the axis as shares: 1 % shows noise as noise, 10 % leaves small changes visible beside a large one."""
_NAME = 24


def plot(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Lines of a plot: one a case that has a number, the interval in brackets, ``o`` the estimate, ``:`` the limits.

    Nothing where no case has a number. What lies beyond the axis is an arrow at its end.
    """
    shown = [v for v in verdicts if v.ratio is not None and v.low is not None and v.high is not None and v.case != "*"]
    if not shown:
        return ()
    far = max(abs(edge - 1) for v in shown for edge in (v.low or 1, v.high or 1, v.ratio or 1, v.limit or 1))
    scale = min(max(far, _LEAST), _MOST)
    width = min(max(len(v.case) for v in shown), _NAME)
    ends = f"{percent(1 - scale)}{'0'.center(2 * _HALF + 1 - 2 * len(percent(1 + scale)))}{percent(1 + scale)}"
    return (f"{'':{width}} {ends}", *(f"{_name(v.case, width)} {_axis(v, scale)}  {_said(v)}" for v in shown))


def _name(case: str, width: int) -> str:
    name = plain(case).replace("`", "'")  # a fence of backticks would end the block
    return f"{name if len(name) <= width else f'{name[: width - 1]}…':{width}}"


def _said(verdict: Verdict) -> str:
    return f"{percent(verdict.ratio or 1):>9} {verdict.status}"


def _axis(verdict: Verdict, scale: float) -> str:
    ratio, low, high = verdict.ratio or 1.0, verdict.low or 1.0, verdict.high or 1.0
    cells = [" "] * (2 * _HALF + 1)
    if verdict.limit is not None:
        for side in (verdict.limit, 2 - verdict.limit):
            if abs(side - 1) <= scale:
                cells[_cell(side, scale)] = ":"
    cells[_HALF] = "|"
    left, right = _cell(low, scale), _cell(high, scale)
    if left < right:
        cells[left : right + 1] = ["[", *"-" * (right - left - 1), "]"]
    middle = _cell(ratio, scale)
    cells[middle] = "o" if abs(ratio - 1) <= scale else (">" if ratio > 1 else "<")
    return "".join(cells)


def _cell(ratio: float, scale: float) -> int:
    return _HALF + round(max(-1.0, min(1.0, (ratio - 1) / scale)) * _HALF)
