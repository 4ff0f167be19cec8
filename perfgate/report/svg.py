"""Charts as SVG elements: scales, lines, dots and words. Pure; knows nothing of what is drawn.

A colour is a role: a class that the page's style sheet colours by day, by night and in print, so that no inline style has to
be allowed. Elements have no ids, and numbers a tenth of a unit's precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from perfgate.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Points = Sequence[tuple[float, float]]
    Marks = Sequence[tuple[float, str]]
    Value = str | float

_STEPS = (1, 2, 2.5, 5, 10)
_FEW = 3
"""Marks of a logarithmic axis below which those between its decades are added."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Where a value stands along an axis."""

    low: float
    high: float
    start: float
    """In units of the drawing, of the lowest value."""
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Its place in units of the drawing."""
        low, high, at = map(math.log, (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def marks(self, most: int = 5) -> list[float]:
        """Round values within, so many at most on a linear axis; of a logarithmic one its decades, or finer where these are few."""
        if self.log:
            decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            for digits in ((1,), (1, 2, 5)):
                found = [digit * 10.0**power for power in decades for digit in digits]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) >= _FEW:
                    break
            return found
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(step * power for step in _STEPS if step * power >= rough)
        return [number * step for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


class Plot:
    """A pair of axes and what is drawn in them; ``style`` is attributes of SVG, ``_`` for ``-``."""

    def __init__(self, *, x: Scale, y: Scale) -> None:
        self.x, self.y = x, y
        self.parts: list[str] = []

    def frame(self, *, x: Marks, y: Marks, x_label: str, y_label: str = "", grid: str = "xy") -> None:
        """Both axes with their marks, a line of the grid at each mark of the axes named in ``grid``."""
        left, right, base, top = self.x.start, self.x.end, self.y.start, self.y.end
        lines = [[(left, base), (right, base)]]
        lines += [[(left, base), (left, top)]] if y_label or "y" in grid else []
        lines += [[(self.x(value), base), (self.x(value), top)] for value, _ in x if "x" in grid]
        lines += [[(left, self.y(value)), (right, self.y(value))] for value, _ in y if "y" in grid]
        self.parts.append(_element("path", d=_lines(lines), class_="s-grid", stroke_width=1.0))
        for value, text in x:
            self.words(text, self.x(value), base + 13, text_anchor="middle")
        for value, text in y:
            self.words(text, left - 5, self.y(value) + 3.5, text_anchor="end")
        self.words(x_label, (left + right) / 2, base + 28, text_anchor="middle")
        if y_label:
            self.words(y_label, 11, (base + top) / 2, turn=-90, text_anchor="middle")

    def line(self, points: Points, role: str, **style: Value) -> None:
        """One line through points."""
        self.bars([points], role, **style)

    def bars(self, lines: Iterable[Points], role: str, **style: Value) -> None:
        """Many lines as one element."""
        d = _lines([(self.x(x), self.y(y)) for x, y in points] for points in lines)
        self.parts.append(_element("path", d=d, class_=f"s-{role}", **style))

    def dots(self, points: Points, role: str, *, size: float, **style: Value) -> None:
        """Thousands of dots as one element, round unless ``stroke_linecap`` says otherwise."""
        self.parts.append(self._dots(points, role, size=size, **style))

    def dot(self, point: tuple[float, float], role: str, *, anchor: str, said: str) -> None:
        """A dot that stands for a case: its words for who points at it, its anchor for who chooses it."""
        inner = f"{_element('title', _safe(said))}{self._dots([point], role, size=8.0)}"
        self.parts.append(_element("g", inner, class_="dot", data_case=anchor))

    def band(self, low: float, high: float) -> None:
        """What lies between two values of x."""
        left, right, base, top = map(short, (self.x(low), self.x(high), self.y.start, self.y.end))
        self.parts.append(_element("path", d=f"M{left} {base}H{right}V{top}H{left}z", class_="f-band"))

    def words(self, text: str, x: float, y: float, *, turn: float = 0, **style: Value) -> None:
        """Words at a place in units of the drawing, turned by so many degrees."""
        turned: dict[str, Value] = {"transform": f"rotate({short(turn)} {short(x)} {short(y)})"} if turn else {}
        self.parts.append(_element("text", _safe(text), x=x, y=y, **turned, **style))

    def _dots(self, points: Points, role: str, *, size: float, **style: Value) -> str:
        """Lines that lead nowhere, drawn by their ends, each from the one before in tenths, so that rounding does not add up."""
        written, at_x, at_y = [], 0, 0
        for x, y in points:
            to_x, to_y = round(self.x(x) * 10), round(self.y(y) * 10)
            written.append(f"m{_tenths(to_x - at_x)} {_tenths(to_y - at_y)}h0")
            at_x, at_y = to_x, to_y
        style = {"stroke_linecap": "round", **style}
        return _element("path", d="".join(written), class_=f"s-{role}", stroke_width=size, **style)


def drawing(*plots: Plot, width: float, height: float, label: str, css_class: str = "") -> Markup:
    """Plots as one ``<svg>`` for a page.

    Args:
        plots: One above the other.
        width: Of the whole, in units.
        height: The same.
        label: What it shows, for who cannot see it.
        css_class: Beside ``chart``.
    """
    made = _element(
        "svg",
        "".join(part for plot in plots for part in plot.parts),
        viewBox=f"0 0 {short(width)} {short(height)}",
        class_=f"chart {css_class}".rstrip(),
        role="img",
        aria_label=label,
        stroke_linejoin="round",
    )
    return Markup(made)  # noqa: S704 - every text in it has been escaped


def short(value: float) -> str:
    """A number with a tenth of a unit's precision, in as few characters as will do."""
    return _tenths(round(value * 10))


def _tenths(count: int) -> str:
    sign, whole, part = "-" if count < 0 else "", abs(count) // 10, abs(count) % 10
    return f"{sign}{whole or ('' if part else 0)}{f'.{part}' if part else ''}"


def _safe(text: str) -> str:
    return str(escape(plain(text)))


def _element(tag: str, inner: str = "", /, **attributes: Value) -> str:
    """An element; ``inner`` is markup, attributes are text or numbers."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_safe(value) if isinstance(value, str) else short(value)}"'
        for key, value in attributes.items()
    )
    return f"<{tag}{written}>{inner}</{tag}>" if inner else f"<{tag}{written}/>"


def _lines(lines: Iterable[Points]) -> str:
    return "".join(f"M{'L'.join(f'{short(x)} {short(y)}' for x, y in points)}" for points in lines)
