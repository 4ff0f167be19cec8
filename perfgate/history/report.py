"""A history put before a reader: text on 80 columns, JSON. Decides nothing.

What comes from files and commits is untrusted text: control characters are shown as ``?``.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

from perfgate.history.points import RUN
from perfgate.text import aligned, duration, percent, plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from perfgate.history.points import CaseHistory, CompiledPoint, History, TimePoint, Update

_WIDTH = 80
_BARS = "▁▂▃▄▅▆▇█"
_LEAST_SPAN = 0.05
"""A span of times below 5 % is drawn as if it were 5 %, so that noise does not look like a cliff."""
_MOST_BARS = 10
_OVERVIEW = {"case": 20, "times": _MOST_BARS, "last": 8, "change": 11, "drift": 10, "regs": 4, "spills": 6, "blk": 3}
_TIMES = {"#": 3, "date": 10, "commit": 8, "time": 9, "lowest": 9, "highest": 9, "step": 11, "drift": 10}
_COMPILED = {"#": 3, "date": 10, "Triton": 8, "kernel": 20, "regs": 5, "spills": 6, "shared": 7, "blk": 3, "warps": 6}
"""Heads of columns and their widths; with a space between, each fits 80 columns."""
_WORDS = frozenset({"case", "times", "date", "commit", "Triton", "kernel"})
"""These columns hold words, which stand left; numbers stand right."""
_OVERVIEW_LEGEND = (
    "times: oldest to newest, drawn from the case's lowest to its highest; change: last over first, ~ where they were "
    "measured otherwise or are of other work; drift: since the card's first baseline, ! beyond its limit; regs: the most "
    "registers a thread of its kernels; blk: the fewest blocks an SM. One case in full: --case ID."
)
_DETAILS_LEGEND = (
    "time: the median of the launches' medians, with the lowest and the highest of these; step: over the point before, ~ "
    "where that was measured otherwise or is of other work; drift: since the card's first baseline, ! beyond its limit; regs: "
    "registers a thread; shared: bytes of shared memory a block; blk: blocks an SM."
)


def sparkline(values: Sequence[float]) -> str:
    """The last few values as a row of bars."""
    shown = values[-_MOST_BARS:]
    low, high = min(shown), max(shown)
    span = max(high - low, _LEAST_SPAN * low)
    return "".join(_BARS[min(len(_BARS) - 1, int((value - low) / span * len(_BARS)))] for value in shown)


def format_json(history: History) -> str:
    """One object with everything; in ASCII."""
    return json.dumps(history.to_json(), indent=1, allow_nan=False)


def format_text(history: History, *, details: bool) -> str:
    """Tables that fit 80 columns.

    Args:
        history: What to show.
        details: Every point of every case, rather than a line a case.
    """
    title = f"history of {history.card or 'no card'}, and of machine code for {history.target}"
    lines = [*_wrapped(title), *(line for note in history.notes for line in _wrapped(f"note: {note}"))]
    lines += ["", "updates"]
    for number, update in enumerate(history.updates, 1):
        lines += _wrapped(f"{number:>3} {_update(update)}", hang=" " * 4)
    lines += [""]
    for case in history.cases if details else ():
        times = [point.time_s for point in case.times]
        lines += [plain(f"{case.case}  {sparkline(times) if times else 'no times'}")[:_WIDTH]]
        lines += aligned(_TIMES, _time_rows(case, history), words=_WORDS) if times else []
        for reason in dict.fromkeys(point.drift_left_out for point in case.times if point.drift_left_out):
            numbers = ", ".join(str(point.update + 1) for point in case.times if point.drift_left_out == reason)
            lines += _wrapped(f"no drift of {numbers}: {reason}")
        lines += [""] if times and case.compiled else []
        lines += aligned(_COMPILED, _compiled_rows(case, history), words=_WORDS) if case.compiled else []
        lines += [""]
    lines += [] if details else [*aligned(_OVERVIEW, map(_overview, history.cases), words=_WORDS), ""]
    lines += [*_wrapped(_DETAILS_LEGEND if details else _OVERVIEW_LEGEND), ""]
    for one in history.left_out:
        where = f"{one.file} of {one.where}" if one.file != one.where else one.file
        lines += _wrapped(f"left out: {where} ({one.reason}): {one.text}")
    runs = sum(update.kind == RUN for update in history.updates)
    said = f"{_count(len(history.cases), 'case')} in {_count(len(history.updates) - runs, 'commit')}"
    said += f" and {_count(runs, 'run')}" if runs else ""
    left_out = f"; {_count(len(history.left_out), 'file')} left out, named above" if history.left_out else ""
    return "\n".join([*lines, f"history: {said}{left_out}"])


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _update(update: Update) -> str:
    date = update.date[:10] or "no date"
    if update.kind == RUN:
        return f"{date:<10} {update.commit[:8] or 'no commit'} run {update.subject}"
    reasons = "; ".join(update.reasons) or f"no reason in it ({update.subject})"
    return f"{date:<10} {update.commit[:8]} {reasons} [{', '.join(update.files)}]"


def _overview(case: CaseHistory) -> tuple[str, ...]:
    times = [point.time_s for point in case.times]
    # By the pinned compiler where there is one, else by any.
    pinned = [point for point in case.compiled if point.file.endswith("/compiled.json")]
    kernels = (pinned or case.compiled)[-1].kernels if case.compiled else ()
    broken = any(point.break_before for point in case.times)
    return (
        case.case,
        sparkline(times) if times else "-",
        duration(times[-1]) if times else "-",
        _change(times[0], times[-1], broken=broken) if len(times) > 1 else "-",
        _drift(case.times[-1]) if times else "-",
        str(max(kernel.registers for kernel in kernels)) if kernels else "-",
        str(sum(kernel.spill_instructions for kernel in kernels)) if kernels else "-",
        str(min(kernel.blocks_per_sm for kernel in kernels)) if kernels else "-",
    )


def _time_rows(case: CaseHistory, history: History) -> Iterator[tuple[str, ...]]:
    before: TimePoint | None = None
    for point in case.times:
        update = history.updates[point.update]
        yield (
            str(point.update + 1),
            update.date[:10],
            update.commit[:8] or "-",
            duration(point.time_s),
            duration(point.low_s),
            duration(point.high_s),
            _change(before.time_s, point.time_s, broken=bool(point.break_before)) if before else "-",
            _drift(point),
        )
        before = point


def _change(before_s: float, now_s: float, *, broken: bool) -> str:
    return f"{'~' if broken else ''}{percent(now_s / before_s)}"


def _drift(point: TimePoint) -> str:
    return "-" if point.drift is None else f"{percent(point.drift.ratio)}{'!' if point.drift.exceeded else ''}"


def _compiled_rows(case: CaseHistory, history: History) -> Iterator[tuple[str, ...]]:
    """A row a kernel; one row for a point that compiled to what its file held before."""
    before: dict[str, CompiledPoint] = {}
    for point in case.compiled:
        start = (str(point.update + 1), history.updates[point.update].date[:10], point.triton)
        last = before.get(point.file)
        before[point.file] = point
        if last is not None and last.shown() == point.shown():
            yield (*start, f"as in {last.update + 1}", "", "", "", "", "")
            continue
        for kernel in point.kernels:
            yield (
                *start,
                kernel.name,
                str(kernel.registers),
                str(kernel.spill_instructions),
                str(kernel.shared_bytes),
                str(kernel.blocks_per_sm),
                f"{kernel.occupancy_percent:.0f} %",
            )


def _wrapped(text: str, *, hang: str = "  ") -> list[str]:
    return textwrap.wrap(plain(text), _WIDTH, subsequent_indent=hang, break_on_hyphens=False)
