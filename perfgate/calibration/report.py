"""Error rates as a table and a plot. Decides nothing; matplotlib is imported only where the plot is drawn."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from perfgate.calibration import SIZES
from perfgate.calibration.rates import AGAIN, CHANGED, CaseRates, Compared, Rates, rate_of
from perfgate.records import GateError, Status
from perfgate.text import duration, percent, pipes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from perfgate.calibration.rates import Calibration
    from perfgate.calibration.resampling import Rate
    from perfgate.config import Limits

_FACTS = ("gpu", "uuid", "driver", "cuda", "torch", "triton", "code_path", "recorded_at", "commit", "command")

_TOTALS_HEAD = ("change", "measured", "called changed", "UNSURE", "called SAME", "sharing no launch", "whole runs")
_TEXT = """\
The rates of `nox -s perf` on the card named below, and of no other, with both sides in the same launches: limit
{limit}, {suite} cases judged together, 4 launches and 8 where those are undecided. They come from {launches} recorded
launches. A slowdown is extra arithmetic inside the kernel (`perf_tests/slowed.py`), held against the same program with
none added; its size is what was measured, the median of the launches.

A share is that of {runs} runs drawn from the launches for each case and size. In brackets is its 95 % interval (Clopper
and Pearson), which counts only as many runs as were made one after another without using a launch twice; so it is wide
for one case."""
_TOTALS = """\
Sharing no launch: runs of one case made one after another, as far as the launches go, and how many called it changed.
Whole runs: 4 launches of all cases judged together, none used twice, and how many called any case, or the suite as a
whole, changed. Two sides with the same machine code, which the gate knows to be SAME, are judged by their times here."""
_EACH = """\
Under each size stands what was measured, then the share called SLOWER, and after `?` the share that was UNSURE. The knob
is the slowed program with nothing added, held against the kernel."""


def markdown(calibration: Calibration, found: Rates, limits: Limits, *, plot: str = "") -> str:
    """The whole page: what was measured where, all cases together, each case, and what is left out.

    Args:
        calibration: What was recorded.
        found: Its rates.
        limits: Those that the gate judged by.
        plot: Name of the plot's file beside the page; empty where there is none.
    """
    about, limit = calibration.about, f"{limits.against_tolerance * 100:g} %"
    sizes = [size for size in SIZES if size in about.get("sizes", ",".join(SIZES)).split(",")]
    rows = [_row(one, sizes) for one in found.cases]
    runs = max((one.same.drawn.total() for one in found.cases), default=0)
    paragraphs = [
        "# How often the gate is right",
        _TEXT.format(launches=len(calibration.launches), limit=limit, suite=calibration.suite, runs=runs),
        *([f"![Detection by size]({plot})"] if plot else []),
        "## All cases",
        "\n".join(pipes(_TOTALS_HEAD, _totals(found))),
        _TOTALS,
        "## Each case",
        _EACH,
        "\n".join(pipes(("case", "time", "false alarms", *(f"{size} %" for size in sizes), "knob"), rows)),
        *(["## Left out", "\n".join(f"- {text}" for text in calibration.left_out)] if calibration.left_out else []),
        "## Recorded",
        "\n".join(pipes(("", ""), [(key, about[key]) for key in _FACTS if about.get(key)])),
    ]
    return "\n\n".join(paragraphs) + "\n"


def _totals(found: Rates) -> list[tuple[str, ...]]:
    """A row of words for each size of change, all cases together, with the columns of `_TOTALS_HEAD`."""
    same = _total("none (false alarms)", [one.same for one in found.cases], CHANGED, found.whole[AGAIN])
    groups = {size: [one.slower[size] for one in found.cases if size in one.slower] for size in SIZES}
    sized = [_total(f"{size} %", group, {Status.SLOWER}, found.whole[size]) for size, group in groups.items() if group]
    return [same, *sized]


def _total(name: str, group: Sequence[Compared], called: Collection[Status], whole: Rate) -> tuple[str, ...]:
    ratios = [one.ratio for one in group]
    live = sum(one.live[status] for one in group for status in called)
    return (
        name,
        f"{percent(statistics.median(ratios))} ({percent(min(ratios))} to {percent(max(ratios))})",
        _share(rate_of(group, *called)),
        f"{_percent(rate_of(group, Status.UNSURE).share)} %",
        f"{_percent(rate_of(group, Status.SAME).share)} %",
        f"{live} of {sum(one.live.total() for one in group)}",
        f"{whole.flagged} of {whole.runs}",
    )


def _row(one: CaseRates, sizes: Sequence[str]) -> tuple[str, ...]:
    found = [
        f"{percent(slower.ratio)}: {_called(slower, Status.SLOWER)}"
        if (slower := one.slower.get(size))
        else "not reached"
        for size in sizes
    ]
    return one.case, duration(one.seconds), _called(one.same, *CHANGED), *found, percent(one.knob)


def _called(compared: Compared, *statuses: Status) -> str:
    """The share of runs that said one of these, and after ``?`` that of those that were unsure."""
    unsure = compared.rate(Status.UNSURE)
    return f"{_share(compared.rate(*statuses))}{f' ?{_percent(unsure.share)}' if unsure.flagged else ''}"


def _share(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{_percent(rate.share)} % [{_percent(low)}–{_percent(high)}]"


def _percent(share: float) -> str:
    """Whole percent, but finer where that would make a rare thing none, or a frequent one all."""
    text = f"{share * 100:.0f}"
    return (
        f"{share * 100:.2g}" if text == "0" and share else f"{share * 100:.4g}" if text == "100" and share < 1 else text
    )


def draw(found: Sequence[CaseRates], limits: Limits, path: Path, *, title: str) -> None:
    """Draw detection against measured size: a faint line a case, all cases bold; equal input gives equal bytes.

    Args:
        found: The rates.
        limits: Those that the gate judged by.
        path: Where to write; the ending (``.svg``, ``.png``) says what.
        title: What was measured where.

    Raises:
        GateError: ``no-matplotlib``.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        raise GateError(
            "no-matplotlib", "The plot needs matplotlib and it is not installed; use nox -s calibrate, or install it."
        ) from None
    with mpl.rc_context({"svg.hashsalt": "perfgate", "svg.fonttype": "path", "font.size": 12}):
        figure = Figure(figsize=(8.4, 4.8), layout="constrained")
        axes = figure.add_subplot()
        _draw_lines(axes, found)
        limit = limits.against_tolerance * 100
        axes.axvline(limit, color="tab:red", ls="--", lw=1.5, label=f"limit {limit:g} %")
        axes.set(ylim=(-3, 103), xlabel="measured slowdown, %", ylabel="called SLOWER, % of runs")
        axes.set_title(title, fontsize=12, loc="left")
        axes.grid(visible=True, color="0.92")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right", frameon=False)
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=110)


def _draw_lines(axes: Any, found: Sequence[CaseRates]) -> None:  # noqa: ANN401 - matplotlib is imported only to draw
    """Measured slowdown in percent, and percent of runs that called it SLOWER: of each case, and of all by size."""
    for number, one in enumerate(found):
        steps = sorted((c.ratio, c.rate(Status.SLOWER).share) for c in (one.same, *one.slower.values()))
        curve = zip(*(((ratio - 1) * 100, share * 100) for ratio, share in steps), strict=True)
        axes.plot(*curve, color="tab:blue", alpha=0.25, lw=1, marker=".", ms=4, label="" if number else "one case")
    groups = [[one.same for one in found], *([one.slower[s] for one in found if s in one.slower] for s in SIZES)]
    groups = [group for group in groups if group]
    rates = [rate_of(group, Status.SLOWER) for group in groups]
    x = [(statistics.median(one.ratio for one in group) - 1) * 100 for group in groups]
    y = [rate.share * 100 for rate in rates]
    ends = zip(*(rate.interval() for rate in rates), strict=True)
    off = [[abs(end * 100 - at) for end, at in zip(side, y, strict=True)] for side in ends]
    label = "all cases, with 95 % interval"
    axes.errorbar(
        x, y, yerr=off, color="black", lw=2.5, marker="o", ms=6, capsize=4, elinewidth=1.5, label=label, zorder=3
    )
