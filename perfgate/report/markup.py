"""HTML from text: whatever is no `Html` is escaped, so that what comes from files can only ever be read. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from perfgate.report.markdown import plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_VOID = {"meta", "input", "col"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def text(found: str) -> Html:
    """Text as it is to be read; control characters are shown as ``?``."""
    return found if isinstance(found, Html) else Html(escape(plain(found)))


def joined(parts: Iterable[str]) -> Html:
    """Parts one after another."""
    return Html("".join(map(text, parts)))


def element(tag: str, /, *parts: str, **attributes: str | bool | None) -> Html:
    """An element; ``class_`` is ``class``, ``aria_label`` is ``aria-label``, True is an attribute by itself, None is none."""
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        called = key.rstrip("_").replace("_", "-")
        written.append(f" {called}" if value is True else f' {called}="{escape(plain(str(value)))}"')
    opened = f"<{tag}{''.join(written)}>"
    return Html(opened) if tag in _VOID else Html(f"{opened}{joined(parts)}</{tag}>")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, caption: str, region: bool = True) -> Html:
    """A table whose first column names its rows, in a box that scrolls by itself where the page is narrow."""
    top = element("thead", element("tr", *(element("th", name, scope="col") for name in head)))
    body = joined(
        element("tr", element("th", row[0], scope="row"), *(element("td", cell) for cell in row[1:])) for row in rows
    )
    made = element("table", element("caption", caption), top, element("tbody", body))
    if not region:
        return made
    return element("div", made, class_="scroll", role="region", aria_label=caption, tabindex="0")
