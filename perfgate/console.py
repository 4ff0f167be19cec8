"""What a stream can show: how wide, in colour, and whether a line of it can be rewritten. Only looks; prints nothing.

Anything that is no terminal gets plain lines: a file, a pipe, and a job of a CI service even where that has a terminal.
"""

from __future__ import annotations

import dataclasses
import shutil
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_USUAL = (80, 24)
_NARROWEST, _WIDEST = 40, 120
"""Columns that are made use of: below, words break; above, eyes do."""
_CODES = {"red": 31, "green": 32, "yellow": 33}


@dataclass(frozen=True, kw_only=True)
class Look:
    """What may be done with a stream."""

    width: int = _USUAL[0]
    """Columns that a table may take."""
    colour: bool = False
    rewrites: bool = False
    """A line can be drawn again in place."""
    folds: bool = False
    """Lines of text are broken at the width; where they are not, each stays one line for whoever searches them."""

    def narrower(self, columns: int) -> Look:
        """The same with so many columns less, for what is indented."""
        return dataclasses.replace(self, width=self.width - columns)

    def painted(self, text: str, colour: str) -> str:
        """The text in a colour (``red``, ``green``, ``yellow``), where there are colours and one is named."""
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m" if self.colour and colour else text

    def folded(self, text: str, *, indent: str = "", hang: str = "  ") -> list[str]:
        """A line of text, broken where this look breaks lines."""
        if not self.folds:
            return [f"{indent}{text}"]
        return self.wrapped(text, indent=indent, hang=hang)

    def wrapped(self, text: str, *, indent: str = "", hang: str = "  ") -> list[str]:
        """Text broken at the width whatever this look is; words that are longer stay whole."""
        return textwrap.wrap(
            text,
            self.width,
            initial_indent=indent,
            subsequent_indent=f"{indent}{hang}",
            break_long_words=False,
            break_on_hyphens=False,
        )


PLAIN = Look()
"""Of what is no terminal."""


def look(stream: TextIO, environment: Mapping[str, str]) -> Look:
    """What may be done with a stream.

    Args:
        stream: Standard output or the like.
        environment: ``NO_COLOR`` (no-color.org: set and not empty), ``CI`` and ``TERM`` are respected.
    """
    if not stream.isatty() or environment.get("CI", "").lower() not in {"", "0", "false"}:
        return PLAIN
    able = environment.get("TERM", "") not in {"", "dumb"}
    columns = shutil.get_terminal_size(_USUAL).columns
    return Look(
        width=max(_NARROWEST, min(columns, _WIDEST)),
        colour=able and not environment.get("NO_COLOR"),
        rewrites=able,
        folds=True,
    )
