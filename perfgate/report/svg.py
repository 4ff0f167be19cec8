"""matplotlib's SVG made fit to stand in a page: no style attributes, no ids, no fonts of its own, short numbers. Pure.

A colour is drawn as one of `ROLES` and comes out as a class, so that the page's style sheet colours it by day, by night
and in print, and no inline style has to be allowed. Elements that are not known are refused, as are their attributes.
"""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROLES = ("ink", "grid", "kernel", "other", "recorded", "limit", "band", "faint")
COLOURS: Mapping[str, str] = {role: f"#0000{number:02x}" for number, role in enumerate(ROLES, 1)}
"""What a chart draws in; stands for a role and is seen by nobody."""
_ROLE_OF = {colour: role for role, colour in COLOURS.items()}
_KEPT = {"g", "path", "text"}
_DROPPED = {"defs", "metadata", "style", "title"}
_STYLES = {
    "stroke-width",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-dasharray",
    "stroke-dashoffset",
    "stroke-opacity",
    "fill-opacity",
    "opacity",
    "text-anchor",
    "font-size",
}
_PLAIN_VALUES = {"stroke-dashoffset": "0", "stroke-linejoin": "miter", "stroke-linecap": "butt", "text-anchor": "start"}
"""What SVG takes where nothing is said."""
_NUMBER = re.compile(r"-?\d+\.?\d*(?:e-?\d+)?")
_POINT = re.compile(r"M (\S+) (\S+)\s+L \1 \2\s+")
_DOT = "dot-"
"""Begins the id of a group that has a title, by its number."""


def inline(text: str, *, label: str, titles: Sequence[tuple[str, str]] = (), css_class: str = "") -> str:
    """One chart as an ``<svg>`` for a page.

    Args:
        text: As matplotlib wrote it, with ``svg.fonttype`` none.
        label: What it shows, for who cannot see it.
        titles: Of the groups whose id is ``dot-N``: the anchor that it stands for, and its words.
        css_class: Of the whole.

    Raises:
        ValueError: It holds what no chart of this package draws.
    """
    root = ET.fromstring(text)  # noqa: S314 - what matplotlib has just written
    body = "".join(_element(child, titles) for child in root)
    return (
        f'<svg viewBox="{root.attrib["viewBox"]}" class="chart {css_class}" role="img" aria-label="{escape(label)}" '
        f'stroke-linejoin="round">{body}</svg>'
    )


def _element(element: ET.Element, titles: Sequence[tuple[str, str]]) -> str:
    name = element.tag.rpartition("}")[2]
    if name in _DROPPED:
        return ""
    if name not in _KEPT:
        raise ValueError(f"an SVG element {name!r} that no chart draws")
    inner = "".join(_element(child, titles) for child in element)
    if name == "g":
        return _group(element.get("id", ""), inner, titles)
    attributes = _style(element.get("style", ""))
    if name == "path":
        attributes = {"d": compact(element.attrib["d"]), **attributes}
        return f"<path{_written(attributes)}/>" if attributes["d"] else ""
    for key in ("x", "y"):
        attributes[key] = _short(element.attrib[key])
    turned = element.get("transform", "")
    if turned and not turned.startswith("rotate(-0 "):
        attributes["transform"] = _NUMBER.sub(lambda found: _short(found[0]), turned)
    return f"<text{_written(attributes)}>{escape(element.text or '')}</text>"


def _group(identity: str, inner: str, titles: Sequence[tuple[str, str]]) -> str:
    if not identity.startswith(_DOT):
        return inner
    anchor, said = titles[int(identity.removeprefix(_DOT))]
    return f'<g class="dot" data-case="{escape(anchor)}"><title>{escape(said)}</title>{inner}</g>'


def _style(style: str) -> dict[str, str]:
    """A style attribute as attributes of its own, its colours as classes."""
    found, classes = {}, []
    for part in filter(None, (part.strip() for part in style.split(";"))):
        key, _, value = (word.strip() for word in part.partition(":"))
        if key in {"fill", "stroke"}:
            if value == "none":
                found[key] = value
            else:
                classes.append(f"{key[0]}-{_ROLE_OF[value]}")
        elif key in _STYLES and value != _PLAIN_VALUES.get(key):
            found[key] = value.removesuffix("px")
        elif key not in _STYLES and not key.startswith("font"):
            raise ValueError(f"an SVG style {key!r} that no chart uses")
    if not any(name.startswith("s-") for name in classes):
        found = {key: value for key, value in found.items() if not key.startswith("stroke")}
    return {**found, **({"class": " ".join(classes)} if classes else {})}


def _written(attributes: Mapping[str, str]) -> str:
    return "".join(f' {key}="{escape(value)}"' for key, value in attributes.items())


def compact(path: str) -> str:
    """A path with a tenth of a unit's precision; a line that leads nowhere is a dot, each given from the one before."""
    dots = _POINT.findall(f"{path.strip()} ")
    if dots and not _POINT.sub("", f"{path.strip()} ").strip():
        at, said = (0, 0), []
        for x, y in dots:
            to = (round(float(x) * 10), round(float(y) * 10))
            said.append(f"m{_tenths(to[0] - at[0])} {_tenths(to[1] - at[1])}h0")
            at = to
        return "".join(said)
    return _NUMBER.sub(lambda found: _short(found[0]), " ".join(path.split()))


def _short(number: str) -> str:
    return _tenths(round(float(number) * 10))


def _tenths(count: int) -> str:
    sign, whole, part = "-" if count < 0 else "", abs(count) // 10, abs(count) % 10
    return f"{sign}{whole or ('' if part else 0)}{f'.{part}' if part else ''}"
