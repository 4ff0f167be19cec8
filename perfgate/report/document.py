"""The whole page as one HTML document: nothing is fetched, and nothing runs or colours but what its hashes name. Pure."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.report.case_html import case, cases_table, link, sentence
from perfgate.report.cases import own_anchor
from perfgate.report.markup import Html, element, joined, table, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.report.view import CardView, Curve, View

_HERE = Path(__file__).parent
_NO_CHARTS = "Drawn without charts, as matplotlib is not installed; the tables have every number."
_PARTS = (
    ("verdicts", "What needs a look"),
    ("cases", "Cases"),
    ("roofline", "How far from the card's limit"),
    ("vendor", "Beside the vendor's library"),
    ("each", "Case by case"),
    ("curves", "How sure: what the gate finds"),
    ("environment", "Environment"),
)


def document(view: View, charts: Mapping[str, str]) -> str:
    """The page.

    Args:
        view: What it shows.
        charts: SVG by key (see ``command.drawn``); none where they could not be drawn.
    """
    style = (_HERE / "page.css").read_text(encoding="utf-8")
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", view.title),
        element("style", Html(style)),
    )
    body = element("body", *_body(view, charts), element("script", Html(script)))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def _hash(source: str) -> str:
    digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
    return f"sha256-{digest}"


def _body(view: View, charts: Mapping[str, str]) -> list[Html]:
    titles = dict(_PARTS)
    sections = {
        "verdicts": _verdicts(view),
        "cases": joined((_controls(), cases_table(view.head, view.cases)))
        if view.cases
        else text("No case was judged."),
        "roofline": _by_card(
            view, charts, "roofline", "Published peaks of this card, or the work of its cases, are not known."
        ),
        "vendor": _by_card(view, charts, "vendor", "No times of the vendor's library beside this kernel's."),
        "each": element(
            "div", *(case(one, charts.get(f"case {one.name}", "")) for one in view.cases), id="page-each-list"
        ),
        "curves": joined(_curve(number, curve, charts) for number, curve in enumerate(view.curves))
        if view.curves
        else element("p", "No calibration of this card was given; nox -s calibrate measures one."),
        "environment": joined(map(_environment, view.cards)),
    }
    nav = element(
        "nav",
        element("ul", *(element("li", link(own_anchor(name), title)) for name, title in _PARTS)),
        aria_label="Parts",
    )
    top = element(
        "header", element("h1", view.title), element("p", view.outcome, class_=f"outcome exit-{view.code}"), nav
    )
    parts = (
        element("section", element("h2", titles[name]), made, id=own_anchor(name), tabindex="-1")
        for name, made in sections.items()
    )
    note = [] if charts or not any(one.speed for one in view.cases) else [element("p", _NO_CHARTS, class_="note")]
    return [
        element("a", "To the cases", class_="skip", href=f"#{own_anchor('cases')}"),
        top,
        element("main", *note, _answers(view), *parts),
    ]


def _answers(view: View) -> Html:
    rows = joined(
        element("div", element("dt", link(one.link, one.question)), element("dd", one.text)) for one in view.answers
    )
    return element("section", element("h2", "At a glance"), element("dl", rows, class_="answers"))


def _verdicts(view: View) -> Html:
    said = [element("li", sentence(one)) for one in view.sentences]
    said += [element("li", joined((text(one), text(", in the table")))) for one in view.unsaid]
    found = (
        element("ol", *said, class_="verdicts") if said else element("p", "Nothing: every case that was judged passed.")
    )
    stages = joined(
        joined((element("dt", name), element("dd", done, *([element("p", f"note: {note}")] if note else []))))
        for name, done, note in view.stages
    )
    return joined((found, element("h3", "What was judged"), element("dl", stages, class_="stages")))


def _controls() -> Html:
    """What works by script alone; shown by it."""
    words = (
        ("", "every verdict"),
        ("look", "what needs a look"),
        *((name, name.upper()) for name in ("slower", "faster", "same", "unsure", "invalid", "wrong")),
    )
    options = [element("option", word, value=value) for value, word in words]
    return element(
        "div",
        element("label", "Search ", element("input", type="search", id="page-search", autocomplete="off")),
        element("label", "Show ", element("select", *options, id="page-status")),
        element("button", "Open all shown", type="button", id="page-open"),
        element("button", "Close all", type="button", id="page-close"),
        element("p", "", id="page-count", role="status"),
        class_="controls",
        id="page-controls",
        hidden=True,
    )


def _by_card(view: View, charts: Mapping[str, str], kind: str, none: str) -> Html:
    parts = []
    for number, one in enumerate(view.cards):
        if drawn := charts.get(f"{kind} {number}", ""):
            parts.append(_named(one, element("figure", Html(drawn), element("figcaption", _CAPTIONS[kind]))))
    return (
        joined(parts)
        if parts
        else element("p", none if charts or not any(one.points for one in view.cards) else _NO_CHARTS)
    )


_CAPTIONS = {
    "roofline": "A dot is a case; the lines are the card's published peaks of memory and arithmetic, which nothing passes. Names stand "
    "where there is room; point at a dot for the rest, choose it to go to the case. Each share stands in the table under roof.",
    "vendor": "The vendor's library (cuBLAS) at the same precision, measured in the same launches: the control. Right of 1× this kernel is faster. The table has it under vs ctl.",
}


def _named(card: CardView, made: Html) -> Html:
    return joined((element("h3", f"{card.label}: {card.gpu}"), made)) if card.label else made


def _curve(number: int, curve: Curve, charts: Mapping[str, str]) -> Html:
    drawn = charts.get(f"curve {number}", "")
    caption = (
        "Thick: all cases together, with 95 % intervals; thin: one case; dashed: the limit. Slowdowns are real extra work, measured on the "
        "card, not set."
    )
    figure = element("figure", Html(drawn), element("figcaption", caption)) if drawn else Html("")
    facts = joined(joined((element("dt", key), element("dd", value))) for key, value in curve.facts)
    rows = table(curve.head, curve.rows, caption=f"Rates of {curve.name}")
    return joined((element("h3", f"{curve.gpu}, {curve.name}"), figure, rows, element("dl", facts, class_="facts")))


def _environment(card: CardView) -> Html:
    if card.has_baseline:
        rows = [
            (key, now or "-", then or "-", "differs" if now != then else "equal") for key, now, then in card.environment
        ]
        return _named(
            card, table(("what", "this run", "baseline", "equal"), rows, caption=f"Environment {card.label}".strip())
        )
    return _named(
        card,
        table(("what", "this run"), [row[:2] for row in card.environment], caption=f"Environment {card.label}".strip()),
    )
