"""Error rates as a table and a plot. Decides nothing; matplotlib is imported only where the plot is drawn."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from perfgate.calibration.rates import AGAIN, CHANGED, SIZES, CaseRates, Compared, Rates, rate_of
from perfgate.records import GateError, Status
from perfgate.text import duration, percent

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from perfgate.calibration.rates import Calibration
    from perfgate.calibration.resampling import Rate
    from perfgate.limits import Limits

_FACTS = ("gpu", "uuid", "driver", "cuda", "torch", "triton", "code_path", "recorded_at", "commit", "command")

TOTALS_HEAD = ("change", "measured", "called changed", "UNSURE", "called SAME", "sharing no launch", "whole runs")
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
    runs = max((one.same.drawn.total() for one in found.cases), default=0)
    paragraphs = [
        "# How often the gate is right",
        _TEXT.format(launches=len(calibration.launches), limit=limit, suite=calibration.suite, runs=runs),
        *([f"![Detection by size]({plot})"] if plot else []),
        "## All cases",
        _table(TOTALS_HEAD, totals(found)),
        _TOTALS,
        "## Each case",
        _EACH,
        _table(
            ("case", "time", "false alarms", *(f"{size} %" for size in sizes), "knob"),
            [_row(one, sizes) for one in found.cases],
        ),
        *(["## Left out", "\n".join(f"- {text}" for text in calibration.left_out)] if calibration.left_out else []),
        "## Recorded",
        _table(("", ""), [(key, about[key]) for key in _FACTS if about.get(key)]),
    ]
    return "\n\n".join(paragraphs) + "\n"


def totals(found: Rates) -> list[tuple[str, ...]]:
    """A row of words for each size of change, all cases together, with the columns of `TOTALS_HEAD`."""
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
    alarms = f"{_share(one.same.rate(*CHANGED))}{_unsure(one.same)}"
    return (
        one.case,
        duration(one.seconds),
        alarms,
        *(_cell(one.slower.get(size)) for size in sizes),
        percent(one.knob),
    )


def _cell(compared: Compared | None) -> str:
    if compared is None:
        return "not reached"
    return f"{percent(compared.ratio)}: {_share(compared.rate(Status.SLOWER))}{_unsure(compared)}"


def _unsure(compared: Compared) -> str:
    unsure = compared.rate(Status.UNSURE)
    return f" ?{_percent(unsure.share)}" if unsure.flagged else ""


def _share(rate: Rate) -> str:
    low, high = rate.interval()
    return f"{_percent(rate.share)} % [{_percent(low)}–{_percent(high)}]"


def _percent(share: float) -> str:
    """Whole percent, but finer where that would make a rare thing none, or a frequent one all."""
    text = f"{share * 100:.0f}"
    return (
        f"{share * 100:.2g}" if text == "0" and share else f"{share * 100:.4g}" if text == "100" and share < 1 else text
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


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


def case_curves(found: Sequence[CaseRates]) -> list[list[tuple[float, float]]]:
    """Of each case: measured slowdown in percent, and percent of runs that called it SLOWER, by rising slowdown."""
    steps = [sorted((c.ratio, c.rate(Status.SLOWER).share) for c in (one.same, *one.slower.values())) for one in found]
    return [[((ratio - 1) * 100, share * 100) for ratio, share in one] for one in steps]


def whole_curve(found: Sequence[CaseRates]) -> list[tuple[float, float, float, float]]:
    """Of all cases together, by size: median slowdown, share called SLOWER, and the share's 95 % interval; in percent."""
    groups = [[one.same for one in found]]
    groups += [[one.slower[size] for one in found if size in one.slower] for size in SIZES]
    points = []
    for group in filter(None, groups):
        rate = rate_of(group, Status.SLOWER)
        low, high = rate.interval()
        points.append(
            ((statistics.median(one.ratio for one in group) - 1) * 100, rate.share * 100, low * 100, high * 100)
        )
    return points


def _draw_lines(axes: Any, found: Sequence[CaseRates]) -> None:  # noqa: ANN401 - matplotlib is imported only to draw
    for number, curve in enumerate(case_curves(found)):
        x, y = zip(*curve, strict=True)
        axes.plot(x, y, color="tab:blue", alpha=0.25, lw=1, marker=".", ms=4, label="" if number else "one case")
    x, y, low, high = zip(*whole_curve(found), strict=True)
    off = [[abs(end - at) for end, at in zip(ends, y, strict=True)] for ends in (low, high)]
    label = "all cases, with 95 % interval"
    axes.errorbar(
        x, y, yerr=off, color="black", lw=2.5, marker="o", ms=6, capsize=4, elinewidth=1.5, label=label, zorder=3
    )
