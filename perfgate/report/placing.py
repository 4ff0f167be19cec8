"""Where names go beside their dots so that none covers another: the first of a few places that is free, or none. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEIGHT = 12
_DOT = 5
"""Half the room that a dot takes."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle, its corner at the bottom left."""

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
    """A place for each name, in order; None where every place is taken.

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
            (x + _DOT + 2, y - _HEIGHT / 2),
            (x - _DOT - 2 - width, y - _HEIGHT / 2),
            (x - width / 2, y + _DOT + 1),
            (x - width / 2, y - _DOT - 1 - _HEIGHT),
        )
        boxes = (Box(x=left, y=bottom, width=width, height=_HEIGHT) for left, bottom in corners)
        free = next((box for box in boxes if inside.holds(box) and not any(map(box.meets, full))), None)
        found.append(free)
        full += [free] if free else []
    return found
