"""How numbers and names are put into words and tables: units, escaping, columns. Pure; the one place where units are chosen."""

from __future__ import annotations

import html
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

NONE = "-"
"""In place of what is not known."""
UPDATE = 'nox -s update-baselines -- --reason "why"'
_MILLI, _SECOND = 1e-3, 1.0
_ALIGN = {"l": ":--", "r": "--:"}


def duration(seconds: float) -> str:
    """Four digits and a fitting unit: ``1.652 ms``."""
    if seconds >= _SECOND:
        return f"{seconds:#.4g} s"
    return f"{seconds * 1e3:#.4g} ms" if seconds >= _MILLI else f"{seconds * 1e6:#.4g} µs"


def size(count: int) -> str:
    """Four digits of bytes and a fitting unit, in steps of a thousand: ``134.2 MB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if count >= factor:
            return f"{count / factor:#.4g} {unit}"
    return f"{count} bytes"


def percent(ratio: float) -> str:
    """A ratio as a signed change: 1.0123 is ``+1.23 %``."""
    return f"{(ratio - 1) * 100:+.2f} %"


def share(value: float) -> str:
    """A share of the roofline: 0.62 is ``62%``."""
    return f"{value:.0%}"


def allowed(limit: float) -> str:
    """A limit on a ratio as the change that it allows: 1.005 is ``0.5 %``."""
    return f"{(limit - 1) * 100:.2g} %"


def change(ratio: float, other: str) -> str:
    """A ratio as a person says it: 1.0123 is ``1.23 % slower than`` the other."""
    points = round(abs(ratio - 1) * 100, 2)
    if not points:
        return f"unchanged from {other}"
    return f"{points:.2f} % {'slower' if ratio > 1 else 'faster'} than {other}"


def measure_again(case: str) -> str:
    """The command that measures one case."""
    return f"nox -s perf -- --case {shlex.quote(case)}"


def plain(text: str) -> str:
    """Text with control characters shown as ``?``: a line stays one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


_MARKS = re.compile(r"@|#|gh(?=-)|:(?=//)|www(?=\.)", re.IGNORECASE)
"""After these, GitHub makes a mention, a reference or a link of what follows."""


_BREAK = "\u200b"
"""A space of no width, which parts what GitHub would otherwise make a mention, a reference or a link of."""


def escaped(text: str) -> str:
    """Text that GitHub's Markdown shows as it is: no markup, HTML, mathematics, mention, reference or link.

    References and links are made of what has been rendered already, where a backslash is gone; so they are parted.
    """
    safe = html.escape(plain(text), quote=False)
    for character in "\\`*_[]|~":
        safe = safe.replace(character, f"\\{character}")
    safe = _MARKS.sub(lambda found: f"{found[0]}{_BREAK}", safe)
    return safe.replace("$", "<span>$</span>")


MOST_SHOWN = 200
"""Characters of a foreign text that a sentence quotes."""


def cut(text: str, most: int = MOST_SHOWN) -> str:
    """A foreign text as a sentence quotes it: one printable line, no longer than ``most``."""
    shown = plain(text)
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def number(value: float | None, form: str) -> str:
    """A number in its format; a dash where it is not known."""
    return NONE if value is None else format(value, form)


def arrow(before: object, after: object) -> str:
    """`118 → 132`, or `118` where it did not move."""
    return str(after) if str(before) == str(after) else f"{before} → {after}"


def aligned(
    widths: Mapping[str, int],
    rows: Iterable[Sequence[str]],
    *,
    words: Collection[str],
    paint: Callable[[str, str], str] = lambda _, cell: cell,
) -> list[str]:
    """A table of plain text, its head first.

    Args:
        widths: Characters of each column, by its name.
        rows: Cells in the order of the columns.
        words: Columns that hold words: these are flush left, and cut where they are too long. Numbers never are.
        paint: What becomes of a column's cell when it has its width, such as a colour.
    """

    def line(row: Iterable[str]) -> str:
        cells = (
            paint(name, f"{cut(cell, width):<{width}}" if name in words else f"{plain(cell):>{width}}")
            for (name, width), cell in zip(widths.items(), row, strict=True)
        )
        return " ".join(cells).rstrip()

    return [line(row) for row in (tuple(widths), *rows)]


def pipes(head: Iterable[str], rows: Iterable[Iterable[str]], *, align: str = "") -> list[str]:
    """A table of Markdown, its head first.

    Args:
        head: Of the columns.
        rows: Their cells, which have to be safe already (see `escaped`).
        align: A letter a column, ``l`` or ``r``; none leaves it to the reader.
    """
    names = list(head)
    marks = [_ALIGN[letter] for letter in align] or ["---"] * len(names)
    return [f"| {' | '.join(row)} |" for row in (names, marks, *rows)]
