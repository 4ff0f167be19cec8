"""A case's chart: every sample, launch by launch, and the interval with its limit. Drawn by matplotlib, imported only here.

Static SVG: it needs no script, prints as it is, is as sharp on a phone as on paper, and takes its colours from the page.
"""

from __future__ import annotations

import io
import statistics
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from perfgate.records import GateError
from perfgate.report.svg import COLOURS, inline
from perfgate.text import duration, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from perfgate.report.view import Interval, Launches, Side, Speed

_DPI = 72
"""A point is then a unit of the SVG."""
_WIDTH = 360
"""Units, about a phone's pixels, so that 10 units of text are read there."""
_HEIGHT, _STRIP = 200, 88
"""Of the samples, and of the change below them."""
_FONT = 10
_LEFT, _RIGHT = 62, 8
"""Units beside the axes."""
_SETTINGS = {
    "svg.fonttype": "none",
    "path.simplify": False,
    "text.parse_math": False,
    "font.size": _FONT,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["ink"],
    "xtick.color": COLOURS["ink"],
    "ytick.color": COLOURS["ink"],
    "text.color": COLOURS["ink"],
    "grid.color": COLOURS["grid"],
    "axes.linewidth": 1,
    "grid.linewidth": 1,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def check() -> None:
    """Say whether charts can be drawn here.

    Raises:
        GateError: ``no-matplotlib``.
    """
    try:
        import matplotlib as mpl  # noqa: F401
    except ImportError:
        raise GateError(
            "no-matplotlib",
            "The page's charts need matplotlib and it is not installed; use nox -s perf, or install the group plots of "
            "pyproject.toml.",
        ) from None


@contextmanager
def figure(width: float, height: float) -> Iterator[Any]:
    """A figure of so many units of the SVG, with nothing behind its charts."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_SETTINGS):
        made = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
        made.patch.set_visible(False)
        yield made


def axes_at(figure: Any, left: float, bottom: float, right: float, top: float) -> Any:  # noqa: ANN401 - matplotlib's
    """Axes with so many units left free on each side."""
    width, height = figure.get_size_inches() * _DPI
    axes = figure.add_axes(
        (left / width, bottom / height, (width - left - right) / width, (height - bottom - top) / height)
    )
    axes.patch.set_visible(False)
    axes.tick_params(length=0)
    return axes


def written(figure: Any) -> str:  # noqa: ANN401 - matplotlib's
    """The figure as matplotlib's SVG."""
    import warnings

    stream = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph", UserWarning
        )  # widths alone are asked; the reader's font has the sign
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def path(points: Sequence[tuple[float, float, bool]], **style: Any) -> Any:  # noqa: ANN401 - matplotlib's
    """One path through (x, y, pen is down) points: thousands of marks as one element."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    codes = [Path.LINETO if down else Path.MOVETO for _, _, down in points]
    return PathPatch(Path([(x, y) for x, y, _ in points], codes), fill=False, clip_on=False, **style)


def dots(points: Sequence[tuple[float, float]], **style: Any) -> Any:  # noqa: ANN401 - matplotlib's
    """Dots as lines that lead nowhere, drawn by their round ends (or square ones, by ``capstyle``)."""
    twice = [(x, y, down) for x, y in points for down in (False, True)]
    return path(twice, **{"capstyle": "round", **style})


def case_chart(speed: Speed, *, name: str) -> str:
    """A case's samples above, its change with interval and limit below."""
    strip = _STRIP if speed.interval else 0
    with figure(_WIDTH, _HEIGHT + strip) as made:
        axes = axes_at(made, _LEFT, 34 + strip, _RIGHT, 8)
        _draw_samples(axes, speed)
        if speed.interval:
            _draw_interval(axes_at(made, _LEFT, 34, _RIGHT, _HEIGHT + 8), speed.interval)
        return inline(written(made), label=_label(speed, name))


def _draw_samples(axes: Any, speed: Speed) -> None:  # noqa: ANN401 - matplotlib's
    low, high = speed.axis_s
    columns = len(speed.sides[0].launches)
    share = 1 / len(speed.sides)
    for number, side in enumerate(speed.sides):
        _draw_side(axes, side, at=number * share, width=share, high=high)
    ticks = [float(number) for number in range(columns)]
    if speed.recorded:
        gap = columns + 0.6
        _draw_side(axes, speed.recorded, at=gap, width=1.0, high=high)
        ticks += [gap + number for number in range(len(speed.recorded.launches))]
        axes.axvline(columns + 0.3, color=COLOURS["grid"], lw=1)
    names = [
        f"{number + 1}" for side in (speed.sides[0], speed.recorded) if side for number in range(len(side.launches))
    ]
    axes.set(xlim=(-0.1, ticks[-1] + 1.1), ylim=(low, high), xlabel="launch")
    step = 1 + len(ticks) // 20
    axes.set_xticks([tick + 0.5 for tick in ticks][::step], names[::step])
    if speed.recorded:
        axes.set_xlabel("launch of this run, then of the baseline as recorded")
    axes.set_yticks([low + (high - low) * part for part in (0.1, 0.5, 0.9)])
    axes.yaxis.set_major_formatter(lambda value, _: duration(value))
    axes.grid(visible=True, axis="y")


def _draw_side(axes: Any, side: Side, *, at: float, width: float, high: float) -> None:  # noqa: ANN401 - matplotlib's
    """Every launch a column, its samples from left to right; a bar is their median."""
    room = 0.08 * width
    points, bars = [], []
    for number, samples in enumerate(side.launches):
        left, step = at + number + room, (width - 2 * room) / len(samples)
        points += [(left + step * (n + 0.5), min(seconds, high)) for n, seconds in enumerate(samples)]
        middle = min(statistics.median(samples), high)
        bars += [(left, middle, False), (left + width - 2 * room, middle, True)]
    square = {"capstyle": "projecting"} if side.role == "other" else {}
    axes.add_patch(dots(points, edgecolor=COLOURS[side.role], lw=_dot_size(side.launches), alpha=0.55, **square))
    axes.add_patch(path(bars, edgecolor=COLOURS[side.role], lw=2, capstyle="butt"))


def _dot_size(launches: Launches) -> float:
    return 2.4 if sum(map(len, launches)) < 400 else 1.8  # noqa: PLR2004 - so that columns do not run together


def _draw_interval(axes: Any, found: Interval) -> None:  # noqa: ANN401 - matplotlib's
    """Below nought is faster. The band is what is no change; the limit of FASTER mirrors that of SLOWER."""
    least, most = 1 / found.limit, found.limit
    ends = [found.low, found.high, least, most, *found.shifts]
    room = (max(ends) - min(ends)) * 0.08
    axes.set(xlim=((min(ends) - room - 1) * 100, (max(ends) + room - 1) * 100), ylim=(-0.7, 1.7))
    axes.axvspan((least - 1) * 100, (most - 1) * 100, color=COLOURS["band"], lw=0)
    for at in (least, most):
        axes.axvline((at - 1) * 100, color=COLOURS["limit"], lw=1.2, ls=(0, (4, 2)))
    axes.axvline(0, color=COLOURS["ink"], lw=1)
    low, high, ratio = ((value - 1) * 100 for value in (found.low, found.high, found.ratio))
    axes.add_patch(path([(low, 1, False), (high, 1, True)], edgecolor=COLOURS["kernel"], lw=3))
    axes.add_patch(dots([(ratio, 1)], edgecolor=COLOURS["kernel"], lw=9))
    if found.shifts:
        axes.add_patch(dots([((shift - 1) * 100, 0) for shift in found.shifts], edgecolor=COLOURS["kernel"], lw=5))
    axes.set_yticks([0, 1] if found.shifts else [1], ["launches", "all"] if found.shifts else ["change"])
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+g} %" if value else "0")
    axes.set_xlabel("change of time; band: within the limit")


def _label(speed: Speed, name: str) -> str:
    """The chart in words."""
    said = f"Samples of {name} by launch, {duration(speed.axis_s[0])} to {duration(speed.axis_s[1])}."
    if found := speed.interval:
        said += (
            f" Change {percent(found.ratio)}, interval {percent(found.low)} to {percent(found.high)}, limit "
            f"{percent(found.limit)}."
        )
    return f"{said} The same numbers stand in the table of launches."
