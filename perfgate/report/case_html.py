"""The cases' table, and each case with its samples. Pure; charts come drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from perfgate.report.inputs import TIMED
from perfgate.report.markup import Html, element, joined, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.report.view import CaseView, Cell, Sentence, Side

_HISTORY_HEAD = ("date", "commit", "time", "since the one before", "reason")
_COUNTERS_HEAD = ("counter", "before", "after", "moved")


def link(anchor: str, words: str) -> Html:
    """A link within the page."""
    return element("a", words, href=f"#{quote(anchor)}")


def badge(status: str) -> Html:
    """A status by its word, and coloured."""
    return element("span", status, class_=f"badge b-{status.lower()}")


def sentence(found: Sentence) -> Html:
    """A verdict as it was said, its lines below it."""
    word, _, rest = found.text.partition(":")
    parts = [badge(found.status), _reason(word, found.status), text(rest.strip())]
    if found.stage != TIMED:
        parts.append(element("span", f"({found.stage})", class_="quiet"))
    if found.name:
        parts.append(link(found.anchor, f"See {found.name}"))
    head = element("p", *(Html(f"{part} ") for part in parts if part))
    return joined((head, *(element("p", aside, class_="aside") for aside in found.asides)))


def _reason(word: str, status: str) -> Html:
    """The reason beside a status, where there is one."""
    reason = word.removeprefix(status).strip()
    return element("code", reason) if reason else Html("")


def cases_table(head: Sequence[str], cases: Sequence[CaseView]) -> Html:
    """Every case a row; complete without a script."""
    top = element("tr", *(element("th", name, scope="col") for name in head))
    rows = joined(
        element(
            "tr",
            element("th", link(case.anchor, case.name), scope="row"),
            *map(_cell, case.cells),
            data_status=case.status.lower(),
            data_for=case.anchor,
        )
        for case in cases
    )
    made = element(
        "table", element("caption", "All cases"), element("thead", top), element("tbody", rows), id="page-table"
    )
    return element("div", made, class_="scroll", role="region", aria_label="All cases", tabindex="0")


def _cell(cell: Cell) -> Html:
    shown = badge(cell.text) if cell.status and cell.text.isupper() else text(cell.text)
    return element("td", shown, data_key=None if cell.key is None else repr(float(cell.key)))


def case(found: CaseView, chart: str) -> Html:
    """One case, folded unless it needs attention."""
    name = joined((badge(found.status), Html(" "), text(found.name), Html(" "), element("small", found.change)))
    body = [element("div", sentence(one), class_="said") for one in found.sentences]
    if not found.sentences:
        body.append(element("p", "Its result is right; no other stage has it."))
    body += _times(found, Html(chart))
    if found.moved_with_it:
        body.append(element("h4", "What moved with it"))
        body.append(element("ul", *(element("li", one) for one in found.moved_with_it)))
    if found.counters:
        rows = [(one.name, one.before or "-", one.after or "-", "moved" if one.moved else "") for one in found.counters]
        body.append(table(_COUNTERS_HEAD, rows, caption=f"Counters beside times, {found.name}"))
    if found.history:
        steps = [(date, element("code", commit), *rest) for date, commit, *rest in found.history]
        past = table(_HISTORY_HEAD, steps, caption=f"History, {found.name}")
        body.append(element("div", past, class_="past"))
    if found.facts:
        facts = joined(joined((element("dt", key), element("dd", value))) for key, value in found.facts)
        body.append(element("dl", facts, class_="facts"))
    return element(
        "details",
        element("summary", element("h3", name)),
        element("div", *body, id=found.anchor, class_="body"),
        class_="case",
        data_status=found.status.lower(),
        open=found.attention,
    )


def _times(found: CaseView, chart: Html) -> list[Html]:
    if found.speed is None:
        return []
    speed = found.speed
    shown = [*speed.sides, *([speed.recorded] if speed.recorded else [])]
    parts = [joined((element("ul", *map(_legend, shown), class_="legend"), chart))] if chart else []
    figure = element("figure", *parts, element("figcaption", speed.caption)) if chart else Html("")
    rows = table(speed.launches_head, speed.launches, caption=f"Launch by launch, {found.name}")
    return [element("div", figure, rows, class_="times")]


def _legend(side: Side) -> Html:
    return element(
        "li", element("span", "", class_=f"key k-{side.role}", aria_hidden="true"), Html(" "), text(side.name)
    )
