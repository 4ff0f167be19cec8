"""The charts of the page: a case's samples with its change, the roofline, and speed beside the vendor's library. Pure.

Those of the whole run are drawn narrow for phones and wide for the rest; the style sheet shows one of them.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from perfgate.report.svg import Plot, Scale, drawing
from perfgate.text import cut, duration, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from perfgate.report.view import CardView, Interval, Point, Side, Speed

_NARROW, _WIDE = 360, 760
"""Units of a chart; narrow is about a phone's pixels, so that 10 units of text are read there."""
_HEIGHT, _STRIP = 200, 88
"""Of a case's samples, and of its change below them."""
_LEFT, _RIGHT, _BELOW = 62, 8, 34
"""Units beside and below the axes of a case."""
_MANY_SAMPLES = 400
"""From here on their dots are smaller, so that columns do not run together."""
_SERIES = ("kernel", "other", "recorded")
_MOST_NAMED = 60
"""Cases that get a line and a name each beside the vendor's library; more are ranked without names."""
_LONGEST_NAME = 26
_LETTER = 5.6
"""Units that a letter of a label takes at most, on average."""
_SPEEDS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10)


def case_chart(speed: Speed, name: str) -> Markup:
    """A case's samples above, its change with interval and limit below."""
    plots = [_samples(speed)]
    label = f"Samples of {name} by launch, {duration(speed.axis_s[0])} to {duration(speed.axis_s[1])}."
    if found := speed.interval:
        ratio, low, high, limit = map(percent, found)
        plots.append(_change(found, speed.shifts))
        label += f" Change {ratio}, interval {low} to {high}, limit {limit}."
    return drawing(
        *plots,
        width=_NARROW,
        height=_HEIGHT + _STRIP * (len(plots) - 1),
        label=f"{label} The same numbers stand in the table of launches.",
    )


def _samples(speed: Speed) -> Plot:
    """Both sides of this run share the columns of their launches; the recorded ones stand to the right."""
    low, high = speed.axis_s
    here = [side for side in speed.sides if side.role != "recorded"]
    recorded = [side for side in speed.sides if side.role == "recorded"]
    columns = len(here[0].launches)
    starts = [float(number) for number in range(columns)]
    starts += [columns + 0.6 + number for side in recorded for number in range(len(side.launches))]
    plot = Plot(
        x=Scale(low=-0.1, high=starts[-1] + 1.1, start=_LEFT, end=_NARROW - _RIGHT),
        y=Scale(low=low, high=high, start=_HEIGHT - _BELOW, end=8),
    )
    step = 1 + len(starts) // 20
    names = [f"{number + 1}" for side in (here[0], *recorded) for number in range(len(side.launches))]
    plot.frame(
        x=[(start + 0.5, name) for start, name in zip(starts, names, strict=True)][::step],
        y=[(value, duration(value)) for value in (low + (high - low) * part for part in (0.1, 0.5, 0.9))],
        x_label="launch of this run, then of the baseline as recorded" if recorded else "launch",
        grid="y",
    )
    for number, side in enumerate(here):
        _draw_side(plot, side, at=number / len(here), width=1 / len(here), high=high)
    for side in recorded:
        _draw_side(plot, side, at=columns + 0.6, width=1.0, high=high)
        plot.line([(columns + 0.3, low), (columns + 0.3, high)], "grid", stroke_width=1)
    return plot


def _draw_side(plot: Plot, side: Side, *, at: float, width: float, high: float) -> None:
    """Every launch a column, its samples from left to right; a bar is their median."""
    room = 0.08 * width
    points, bars = [], []
    for number, samples in enumerate(side.launches):
        left, step = at + number + room, (width - 2 * room) / len(samples)
        points += [(left + step * (n + 0.5), min(seconds, high)) for n, seconds in enumerate(samples)]
        middle = min(statistics.median(samples), high)
        bars.append([(left, middle), (left + width - 2 * room, middle)])
    size = 2.4 if len(points) < _MANY_SAMPLES else 1.8
    cap = "square" if side.role == "other" else "round"
    plot.dots(points, side.role, size=size, stroke_linecap=cap, stroke_opacity=".55")
    plot.bars(bars, side.role, stroke_width=2)


def _change(found: Interval, shifts: Sequence[float]) -> Plot:
    """Below nought is faster. The band is what is no change; the limit of FASTER mirrors that of SLOWER."""
    ratio, low, high, limit = map(_percent, found)
    least, moved = _percent(1 / found.limit), [_percent(shift) for shift in shifts]
    ends = [low, high, least, limit, *moved]
    room = (max(ends) - min(ends)) * 0.08 or 1.0
    plot = Plot(
        x=Scale(low=min(ends) - room, high=max(ends) + room, start=_LEFT, end=_NARROW - _RIGHT),
        y=Scale(low=-0.7, high=1.7, start=_HEIGHT + _STRIP - _BELOW, end=_HEIGHT + 8),
    )
    plot.band(least, limit)
    plot.frame(
        x=[(value, f"{value:+g} %" if value else "0") for value in (round(mark, 9) for mark in plot.x.marks())],
        y=[(0, "launches"), (1, "all")] if moved else [(1, "change")],
        x_label="change of time; band: within the limit",
        grid="",
    )
    ends_y = (plot.y.low, plot.y.high)
    plot.bars([[(at, y) for y in ends_y] for at in (least, limit)], "limit", stroke_width=1.2, stroke_dasharray="5 2.5")
    plot.line([(0, y) for y in ends_y], "ink", stroke_width=1)
    plot.line([(low, 1), (high, 1)], "kernel", stroke_width=3)
    plot.dots([(ratio, 1)], "kernel", size=9)
    if moved:
        plot.dots([(shift, 0) for shift in moved], "kernel", size=5)
    return plot


def _percent(ratio: float) -> float:
    return (ratio - 1) * 100


def roofline(card: CardView) -> Markup:
    """Every case below what the card's published peaks allow; empty where these or the cases' work are not known."""
    known, units = card.known, {point.unit for point in card.points}
    peaks = {unit: peak for unit, peak in known.flops_per_s.items() if unit in units} if known else {}
    points = [
        (point, point.numbers.tflops * 1e3 / point.numbers.gb_per_s, point.numbers.tflops * 1e12)
        for point in card.points
        if point.unit in peaks and point.numbers.tflops and point.numbers.gb_per_s
    ]
    if not points or known is None:
        return Markup()
    label = f"Roofline of {card.gpu} with {len(points)} cases; each one's share stands in the table of cases."
    return _both(lambda wide: _roofline(points, peaks, known.dram_bytes_per_s, wide=wide, label=label))


def _both(draw: Callable[[bool], Markup]) -> Markup:
    return draw(False) + draw(True)


def _roofline(
    points: Sequence[tuple[Point, float, float]],
    peaks: Mapping[str, float],
    bandwidth: float,
    *,
    wide: bool,
    label: str,
) -> Markup:
    """Points with their FLOP for each byte and FLOP/s, below FLOP/s by arithmetic unit and the memory's bytes/s."""
    width, height = (_WIDE, 420) if wide else (_NARROW, 330)
    xs = [*(x for _, x, _ in points), *(peak / bandwidth for peak in peaks.values())]
    low, high = min(y for _, _, y in points) / 2, max(peaks.values()) * 2
    plot = Plot(
        x=Scale(low=min(xs) / 2, high=max(xs) * 2.5, start=52, end=width - 12, log=True),
        y=Scale(low=low, high=high, start=height - 40, end=10, log=True),
    )
    plot.frame(
        x=[(value, f"{value:g}") for value in plot.x.marks()],
        y=[(value, f"{value / 1e12:g}") for value in plot.y.marks()],
        x_label="FLOP for each byte of the least traffic",
        y_label="TFLOPS",
    )
    taken: list[Box] = []
    roles: dict[str, str] = {}
    for number, peak in enumerate(sorted(set(peaks.values()))):
        units, role = [unit for unit, one in peaks.items() if one == peak], _SERIES[number % len(_SERIES)]
        roles |= dict.fromkeys(units, role)
        roof = [(plot.x.low, bandwidth * plot.x.low), (peak / bandwidth, peak), (plot.x.high, peak)]
        plot.line(roof, role, stroke_width=1.6)
        said, base = f"{', '.join(units)}: {peak / 1e12:.4g} TFLOPS", plot.y(peak) - 5
        plot.words(said, plot.x.end, base, text_anchor="end")
        taken.append(Box(x=plot.x.end - len(said) * _LETTER, y=base - 11, width=len(said) * _LETTER, height=13))
    _name_memory(plot, bandwidth)
    inside = Box(x=plot.x.start, y=plot.y.end, width=plot.x.end - plot.x.start, height=plot.y.start - plot.y.end)
    dots = [(plot.x(x), plot.y(y)) for _, x, y in points]
    spots = placed(dots, [len(point.name) * _LETTER for point, _, _ in points], taken=taken, inside=inside)
    for (point, x, y), spot in zip(points, spots, strict=True):
        plot.dot((x, y), roles[point.unit], anchor=point.anchor, said=point.said)
        if spot:
            plot.words(point.name, spot.x, spot.y + spot.height - 3, class_="small")
    return drawing(plot, width=width, height=height, label=label, css_class="wide" if wide else "narrow")


def _name_memory(plot: Plot, bandwidth: float) -> None:
    """The memory's peak along its line."""
    x = plot.x.low * 1.1
    start, end = ((plot.x(at), plot.y(bandwidth * at)) for at in (x, x * 10))
    turn = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
    plot.words(f"memory: {bandwidth / 1e9:.4g} GB/s", start[0] - 4, start[1] - 6, turn=turn)


def beside_vendor(card: CardView) -> Markup:
    """Speed over the control's by case, the fastest first; empty where no case has a control."""
    points = [(point.numbers.vs_control, point) for point in card.points if point.numbers.vs_control]
    if not points:
        return Markup()
    points.sort(key=lambda one: -one[0])
    label = f"Speed over the control's of {len(points)} cases; the table of cases has each under vs ctl."
    return _both(lambda wide: _beside_vendor(points, wide=wide, label=label))


def _beside_vendor(points: Sequence[tuple[float, Point]], *, wide: bool, label: str) -> Markup:
    named = len(points) <= _MOST_NAMED
    longest = min(max(len(point.name) for _, point in points), _LONGEST_NAME)
    width, height = _WIDE if wide else _NARROW, 15 * len(points) + 56 if named else 260
    speeds = [speed for speed, _ in points]
    plot = Plot(
        x=Scale(
            low=min(*speeds, 1.0) / 1.15,
            high=max(*speeds, 1.0) * 1.15,
            start=longest * _LETTER + 10 if named else 40,
            end=width - 12,
            log=True,
        ),
        y=Scale(low=len(points) - 0.4, high=-0.6, start=height - 40, end=6),
    )
    plot.frame(
        x=[(mark, f"{mark:g}×") for mark in _SPEEDS if plot.x.low <= mark <= plot.x.high],
        y=[(number, cut(point.name, _LONGEST_NAME)) for number, (_, point) in enumerate(points)] if named else [],
        x_label="speed over the control's",
        y_label="" if named else "cases by rank",
        grid="x",
    )
    plot.line([(1, plot.y.low), (1, plot.y.high)], "limit", stroke_width=1.5)
    plot.bars([[(1.0, number), (speed, number)] for number, speed in enumerate(speeds)], "faint", stroke_width=2)
    for number, (speed, point) in enumerate(points):
        plot.dot((speed, number), "kernel", anchor=point.anchor, said=point.said)
    return drawing(plot, width=width, height=height, label=label, css_class="wide" if wide else "narrow")


_NAME_HEIGHT = 12
_DOT = 5
"""Half the room that a dot takes."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle, its corner at the top left."""

    x: float
    y: float
    width: float
    height: float

    def meets(self, other: Box) -> bool:
        """Whether the two share any room."""
        beside = self.x + self.width <= other.x or other.x + other.width <= self.x
        return not (beside or self.y + self.height <= other.y or other.y + other.height <= self.y)

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside."""
        across = self.x <= other.x and other.x + other.width <= self.x + self.width
        return across and self.y <= other.y and other.y + other.height <= self.y + self.height


def placed(
    at: Sequence[tuple[float, float]], widths: Sequence[float], *, taken: Sequence[Box], inside: Box
) -> list[Box | None]:
    """A place for each name beside its dot, so that none covers another; None where every place is taken.

    Args:
        at: Of the dots.
        widths: Of the names.
        taken: What may not be covered, besides the dots.
        inside: What a name has to stay in.
    """
    full = [*taken, *(Box(x=x - _DOT, y=y - _DOT, width=2 * _DOT, height=2 * _DOT) for x, y in at)]
    found: list[Box | None] = []
    for (x, y), width in zip(at, widths, strict=True):
        corners = (
            (x + _DOT + 2, y - _NAME_HEIGHT / 2),
            (x - _DOT - 2 - width, y - _NAME_HEIGHT / 2),
            (x - width / 2, y - _DOT - 1 - _NAME_HEIGHT),
            (x - width / 2, y + _DOT + 1),
        )
        boxes = (Box(x=left, y=top, width=width, height=_NAME_HEIGHT) for left, top in corners)
        free = next((box for box in boxes if inside.holds(box) and not any(map(box.meets, full))), None)
        found.append(free)
        full += [free] if free else []
    return found
