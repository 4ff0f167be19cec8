"""The page as a file: self-contained, escaped, with a policy that allows its own style and script alone."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

import page_support
from perfgate.report.build import view
from perfgate.report.document import document
from perfgate.report.extras import Counter, Extras, Step
from perfgate.report.inputs import of_run
from perfgate.report.markup import Html, element, table, text

NASTY = "<img src=x onerror=alert(1)>\"'&\x1b[31m\u202e"


class _Parsed(HTMLParser):
    """Tags with their attributes, and what stands in style and script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, str] = {}
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for key, value in attrs if key == "id" and value]

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in {"style", "script"}:
            self.raw.setdefault(self.tags[-1][0], data)


@pytest.fixture(scope="module")
def page() -> str:
    recording, then = page_support.measured(), page_support.baseline()
    return document(view(of_run(page_support.run_of(recording, then), recording, then), Extras(), ()), {})


def test_the_policy_names_the_hashes_of_the_only_style_and_script(page: str) -> None:
    parsed = _Parsed(page)
    (policy,) = (a["content"] for tag, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy
    for tag in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(parsed.raw[tag].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert [name for name, _ in parsed.tags].count(tag) == 1
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy


def test_nothing_is_fetched_and_nothing_has_a_style_or_a_handler_of_its_own(page: str) -> None:
    for tag, attributes in _Parsed(page).tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form"}
        assert not {"src", "style", "srcset"} & set(attributes)
        assert not [key for key in attributes if key.startswith("on")]
        assert attributes.get("href", "#").startswith("#")  # type: ignore[union-attr]


def test_every_id_is_there_once_and_every_link_leads_to_one(page: str) -> None:
    parsed = _Parsed(page)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {a["href"][1:] for _, a in parsed.tags if a.get("href")} <= set(parsed.ids)  # type: ignore[index]
    assert "k7_small_k" in parsed.ids


def test_a_header_says_what_it_heads(page: str) -> None:
    scopes = [attributes.get("scope") for tag, attributes in _Parsed(page).tags if tag == "th"]
    assert set(scopes) == {"col", "row"}


def test_whatever_comes_from_files_is_only_text() -> None:
    recording = page_support.renamed(page_support.measured(), {"k1_square": NASTY, "sq1024_fp32": "page-cases"})
    run = page_support.run_of(recording)
    extras = Extras(
        counters={NASTY: (Counter(name=NASTY, before=NASTY, after=NASTY, moved=True),)},
        moved_with_it={NASTY: (NASTY,)},
        history={NASTY: (Step(commit=NASTY, date=NASTY, reason=NASTY, time_s=1.0),)},
    )
    parsed = _Parsed(made := document(view(of_run(run, recording, None), extras, ()), {}))
    assert not [tag for tag, _ in parsed.tags if tag == "img"]
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "\x1b" not in made
    assert "\u202e" not in made
    assert made.count("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;?[31m?") > 12


def test_text_is_escaped_unless_it_is_markup_already() -> None:
    assert element("p", "<&", Html("<b>x</b>"), title='"<') == '<p title="&quot;&lt;">&lt;&amp;<b>x</b></p>'
    assert element("input", type="search", hidden=True, value=None) == '<input type="search" hidden>'
    assert text(text("<")) == "&lt;"
    assert "<script>" not in table(("<script>",), [("<script>", "<script>")], caption="<script>")


def test_without_charts_it_says_so_and_has_every_number(page: str) -> None:
    assert "Drawn without charts, as matplotlib is not installed" in page
    assert "<svg" not in page
    assert "+1.00 %" in page


def test_a_run_of_nothing_is_a_page_too() -> None:
    made = document(view(of_run(page_support.wrong_run(), None, None), Extras(), ()), {})
    assert "largest error 1.02 against float64" in made
    assert "Drawn without charts" not in made
    assert re.search(r"exit 1; judged: correctness; NOT judged: throughput", made)
