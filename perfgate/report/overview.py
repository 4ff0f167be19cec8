"""The charts of the whole run: the roofline, speed beside the vendor's library, and the calibration's curve.

Each is drawn narrow for phones and wide for the rest; the style sheet shows one of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from perfgate.report.charts import axes_at, dots, figure, path, written
from perfgate.report.placing import Box, placed
from perfgate.report.svg import COLOURS, inline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perfgate.report.view import CardView, Curve, Point

_NARROW, _WIDE = 360, 760
_SERIES = ("kernel", "other", "recorded")
_MOST_NAMED = 60
"""Cases that get a line and a name each beside the vendor's library; more are ranked without names."""
_LETTER = 5.6
"""Units that a letter of a label takes at most, on average."""


def roofline(card: CardView) -> str:
    """Every case below what the card's published peaks allow; empty where these or the cases' work are not known."""
    points = [point for point in card.points if point.intensity and point.flops_per_s and point.unit in card.peaks]
    if not points or card.dram_bytes_per_s is None:
        return ""
    label = f"Roofline of {card.gpu} with {len(points)} cases; each one's share stands in the table of cases."
    return _both(lambda wide: _roofline(card, points, wide=wide, label=label))


def _both(draw: Callable[[bool], str]) -> str:
    return draw(False) + draw(True)


def _roofline(card: CardView, points: Sequence[Point], *, wide: bool, label: str) -> str:
    width, height = (_WIDE, 420) if wide else (_NARROW, 330)
    bandwidth = card.dram_bytes_per_s or 0.0
    xs, ys = [point.intensity or 1.0 for point in points], [point.flops_per_s or 1.0 for point in points]
    knees = [peak / bandwidth for peak in card.peaks.values()]
    x_range = min(*xs, *knees) / 2, max(*xs, *knees) * 2.5
    y_range = min(ys) / 2, max(card.peaks.values()) * 2
    with figure(width, height) as made:
        axes = axes_at(made, 52, 40, 12, 10)
        axes.set(xscale="log", yscale="log", xlim=x_range, ylim=y_range)
        axes.set(xlabel="FLOP for each byte of the least traffic", ylabel="TFLOPS")
        axes.minorticks_off()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value / 1e12:g}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.grid(visible=True)
        taken = []
        by_peak: dict[float, list[str]] = {}
        for unit, peak in card.peaks.items():
            by_peak.setdefault(peak, []).append(unit)
        roles: dict[str, str] = {}
        for number, (peak, units) in enumerate(sorted(by_peak.items())):
            role = _SERIES[number % len(_SERIES)]
            roles |= dict.fromkeys(units, role)
            knee = peak / bandwidth
            roof = [(x_range[0], bandwidth * x_range[0], False), (knee, peak, True), (x_range[1], peak, True)]
            axes.add_patch(path(roof, edgecolor=COLOURS[role], lw=1.6))
            said = f"{', '.join(units)}: {peak / 1e12:.4g} TFLOPS"
            axes.annotate(
                said,
                (x_range[1], peak),
                (0, 4),
                textcoords="offset points",
                ha="right",
                va="bottom",
                annotation_clip=False,
            )
            right, base = axes.transData.transform((x_range[1], peak))
            taken.append(Box(x=right - len(said) * _LETTER, y=base + 2, width=len(said) * _LETTER, height=13))
        _name_memory(axes, bandwidth, x_range[0])
        _draw_points(axes, points, roles, taken)
        return inline(
            written(made),
            label=label,
            titles=[(point.anchor, point.said) for point in points],
            css_class="wide" if wide else "narrow",
        )


def _name_memory(axes: Any, bandwidth: float, least: float) -> None:  # noqa: ANN401 - matplotlib's
    """The memory's peak along its line."""
    (left, bottom), (right, top) = axes.transData.transform([(x, bandwidth * x) for x in (least, least * 10)])
    axes.annotate(
        f"memory: {bandwidth / 1e9:.4g} GB/s",
        (least * 1.1, bandwidth * least * 1.1),
        (-4, 6),
        textcoords="offset points",
        rotation=math.degrees(math.atan2(top - bottom, right - left)),
        rotation_mode="anchor",
    )


def _draw_points(axes: Any, points: Sequence[Point], roles: dict[str, str], taken: list[Box]) -> None:  # noqa: ANN401 - matplotlib's
    """A dot a case, and its name where there is room for it."""
    at = [tuple(axes.transData.transform((point.intensity, point.flops_per_s))) for point in points]
    frame = axes.get_window_extent()
    inside = Box(x=frame.x0, y=frame.y0, width=frame.width, height=frame.height)
    spots = placed(at, [len(point.name) * _LETTER for point in points], taken=taken, inside=inside)
    for number, (point, spot) in enumerate(zip(points, spots, strict=True)):
        mark = dots([(point.intensity or 1, point.flops_per_s or 1)], edgecolor=COLOURS[roles[point.unit]], lw=8)
        mark.set_gid(f"dot-{number}")
        axes.add_patch(mark)
        if spot:
            x, y = axes.transData.inverted().transform((spot.x, spot.y + 3))
            axes.text(x, y, point.name, fontsize=9)


def beside_vendor(card: CardView) -> str:
    """Speed over the control's by case, the fastest first; empty where no case has a control."""
    points = sorted(
        (point for point in card.points if point.vs_control), key=lambda point: point.vs_control or 0, reverse=True
    )
    if not points:
        return ""
    label = f"Speed over the control's of {len(points)} cases; the table of cases has each under vs ctl."
    return _both(lambda wide: _beside_vendor(points, wide=wide, label=label))


def _beside_vendor(points: Sequence[Point], *, wide: bool, label: str) -> str:
    named = len(points) <= _MOST_NAMED
    left = min(max(len(point.name) for point in points), 26) * _LETTER + 10 if named else 40
    with figure(_WIDE if wide else _NARROW, 15 * len(points) + 56 if named else 260) as made:
        axes = axes_at(made, left, 40, 12, 6)
        speeds = [point.vs_control or 1.0 for point in points]
        at = list(range(len(points)))
        ends = min(*speeds, 1.0), max(*speeds, 1.0)
        axes.set(xscale="log", xlim=(ends[0] / 1.15, ends[1] * 1.15), ylim=(len(points) - 0.4, -0.6))
        axes.minorticks_off()
        marks = [
            mark for mark in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if ends[0] / 1.15 <= mark <= ends[1] * 1.15
        ]
        axes.set_xticks(marks, [f"{mark:g}×" for mark in marks])
        axes.set_xlabel("speed over the control's")
        axes.axvline(1, color=COLOURS["limit"], lw=1.5)
        axes.grid(visible=True, axis="x")
        axes.add_patch(
            path(
                [(x, y, down) for y, speed in enumerate(speeds) for x, down in ((1.0, False), (speed, True))],
                edgecolor=COLOURS["faint"],
                lw=2,
            )
        )
        for number, (y, speed) in enumerate(zip(at, speeds, strict=True)):
            mark = dots([(speed, y)], edgecolor=COLOURS["kernel"], lw=8)
            mark.set_gid(f"dot-{number}")
            axes.add_patch(mark)
        names = [point.name if len(point.name) <= 26 else f"{point.name[:25]}…" for point in points]  # noqa: PLR2004 - as `left`
        axes.set_yticks(at if named else [], names if named else [], fontsize=9)
        if not named:
            axes.set_ylabel("cases by rank")
        return inline(
            written(made),
            label=label,
            titles=[(point.anchor, point.said) for point in points],
            css_class="wide" if wide else "narrow",
        )


def detection(curve: Curve) -> str:
    """How often a slowdown of which size is called one."""
    label = f"Share of runs called SLOWER by measured slowdown, on {curve.gpu}; the table beside it has the numbers."
    return _both(lambda wide: _detection(curve, wide=wide, label=label))


def _detection(curve: Curve, *, wide: bool, label: str) -> str:
    with figure(_WIDE if wide else _NARROW, 340 if wide else 280) as made:
        axes = axes_at(made, 46, 40, 12, 10)
        for one in curve.cases:
            axes.add_patch(path([(x, y, bool(n)) for n, (x, y) in enumerate(one)], edgecolor=COLOURS["faint"], lw=1.2))
        axes.axvline(curve.limit, color=COLOURS["limit"], lw=1.5, ls=(0, (4, 2)))
        for x, _, low, high in curve.whole:
            axes.add_patch(path([(x, low, False), (x, high, True)], edgecolor=COLOURS["kernel"], lw=2))
        line = [(x, y, bool(n)) for n, (x, y, _, _) in enumerate(curve.whole)]
        axes.add_patch(path(line, edgecolor=COLOURS["kernel"], lw=2))
        axes.add_patch(dots([(x, y) for x, y, _, _ in curve.whole], edgecolor=COLOURS["kernel"], lw=8))
        most = max(x for one in (curve.whole, *curve.cases) for x, *_ in one)
        axes.set(xlim=(-most * 0.03 - 0.1, most * 1.03), ylim=(-4, 104))
        axes.set(xlabel="measured slowdown", ylabel="called SLOWER, % of runs")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} %")
        axes.grid(visible=True)
        return inline(written(made), label=label, css_class="wide" if wide else "narrow")
