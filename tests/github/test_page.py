"""The pages that an author reads, word for word: what matters, what to do, hostile text inert, never too long; and annotations.

Whole summaries and comments of real results are in ``tests/golden/expected/github-*.txt``.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from typing import Any

import pytest
from markdown_it import MarkdownIt

from perfgate.github.conclusion import CardReport, Conclusion
from perfgate.github.page import (
    MOST_ANNOTATIONS,
    MOST_CHARACTERS,
    as_annotations,
    comment,
    kernel_line,
    of_run,
    plot,
    sentence,
    summary,
)
from perfgate.records import Aside, Status, Verdict
from perfgate.store.run import RunRecord, StageResult

URL = "https://github.example/team/matmul/actions/runs/42"


def _verdict(case: str = "k1", status: Status = Status.SLOWER, ratio: float | None = 1.03, **more: Any) -> Verdict:
    low, high = (ratio - 0.01, ratio + 0.01) if ratio else (None, None)
    known = {"reason": "r", "text": f"{case}: so.", "low": low, "high": high, "limit": 1.005}
    return Verdict(case=case, status=status, ratio=ratio, **(known | more))


def _card(*verdicts: Verdict, **more: Any) -> CardReport:
    known = {"label": "h100", "slug": "nvidia-h100", "machine": "H100, driver 1"}
    return CardReport(verdicts=verdicts, **(known | more))


def _conclusion(*cards: CardReport, **more: Any) -> Conclusion:
    known: dict[str, Any] = {"exit": 1, "base": "a" * 40, "head": "b" * 40, "target": "main"}
    return Conclusion(cards=cards, **(known | more))


def _page(*cards: CardReport, **more: Any) -> list[str]:
    return summary(_conclusion(*cards, **more), run_url=URL).splitlines()


def _advice(page: list[str]) -> list[str]:
    return page[page.index("**What to do**") + 2 :] if "**What to do**" in page else []


# What matters


def test_a_page_of_an_edit_begins_with_it_and_shows_both_verdicts() -> None:
    card = _card(_verdict(status=Status.SAME), proposed=(_verdict("k3", Status.UNSURE),))
    page = _page(card, exit=3, edits=tuple(f"e{number}" for number in range(17)))
    assert page[0] == "## perf: undecided (1 same; 1 card)"
    named = ", ".join(f"`e{number}`" for number in range(15))
    assert page[4:6] == ["> [!IMPORTANT]", f"> **This change edits what judges it:** {named} and 2 more."]
    place = page.index("**By its own baselines, limits and gate:** 1 UNSURE.")
    assert page[place - 1 : place + 3] == ["", page[place], "", "- **UNSURE** k3: so."]
    assert _page(card, edits=tuple("abcdefghijklmno"))[5].endswith("`o`.")


def test_a_page_of_what_was_not_judged_says_why_by_card() -> None:
    card = CardReport(label="h", slug="x", problems=("It was skipped.",), notes=("of main",))
    made = Conclusion(exit=2, base="", head="b" * 40, target="main", cards=(card, card), problems=("No plan.",))
    assert comment(made, run_url=URL).splitlines() == [
        "## perf: could not be judged (no case judged; 3 not judged; 2 cards)",
        "",
        f"change `bbbbbbbbbbbb`; [run and artifacts]({URL}).",
        "",
        "- **Not judged.** No plan.",
        *["", "### x", "", "- **Not judged.** It was skipped.", "- Note: of main"] * 2,
        "",
        "**What to do**",
        "",
        "- Do what the lines above say, and run the failed jobs again.",
    ]


def test_every_finding_has_its_advice_and_the_headline_counts_the_worst_first() -> None:
    verdicts = (
        _verdict("a", Status.SAME),
        _verdict("b", Status.FASTER),
        _verdict("c", Status.UNSURE),
        _verdict("d", Status.INVALID, None),
        _verdict("e", Status.INVALID, None, wrong=True),
        _verdict("f f"),  # in no command, as it is no plain word
    )
    page = _page(_card(*verdicts))
    assert page[0] == "## perf: wrong result (1 wrong, 1 slower, 1 invalid, 1 unsure, 1 faster, 1 same; 1 card)"
    told = [line.split("** ")[0] for line in page if line.startswith("- **")][:5]
    assert told == ["- **WRONG", "- **SLOWER", "- **INVALID", "- **UNSURE", "- **FASTER"]
    advice = _advice(page)
    assert advice[:2] == [
        "- **Wrong result:** mend the kernel; no time is taken of it. `nox -s perf -- --case e` shows it, also without a card.",
        "- **Slower:** fix it. On any CUDA card: `nox -s perf -- --against aaaaaaaaaaaa`.",
    ]
    assert [line.split(" ")[1] for line in advice[2:]] == ["Or,", "**Faster:**", "**Unsure:**", "The"]
    assert "`nox -s perf -- --against aaaaaaaaaaaa --case k1`." in _advice(_page(_card(_verdict())))[0]


@pytest.mark.parametrize("base", ["x; rm", "a" * 40 + " x", "x " + "a" * 40])
def test_a_case_or_base_that_is_no_plain_word_is_in_no_command(base: str) -> None:
    assert _advice(_page(_card(_verdict()), base=base))[0] == "- **Slower:** fix it."
    wrong = _verdict("a; rm", Status.INVALID, None, wrong=True)
    assert _advice(_page(_card(wrong)))[0] == "- **Wrong result:** mend the kernel; no time is taken of it. "


@pytest.mark.parametrize(("length", "counted"), [(15, False), (40, True)])
def test_15_cases_are_told_in_full_and_what_exceeds_that_is_counted(length: int, *, counted: bool) -> None:
    aside = Aside(text="drift: so", matters=True)
    page = _page(_card(*(_verdict(f"c{number}", asides=(aside,)) for number in range(length))))
    assert len([line for line in page if line.startswith("- **SLOWER** ")]) == 15
    assert ("- … and 25 more SLOWER, in the table" in page) == counted
    assert len([line for line in page if line.startswith("- Also c")]) == 15


def test_only_asides_that_matter_and_are_not_of_the_machine_are_told_also_of_a_case_that_is_the_same() -> None:
    asides = (Aside(text="quiet"), Aside(text="machine", ratio=1.01, matters=True), Aside(text="drift", matters=True))
    for status in (Status.SLOWER, Status.SAME):
        page = _page(_card(_verdict(status=status, asides=asides)))
        assert [line for line in page if line.startswith("- Also")] == ["- Also k1: drift"]


def test_commands_of_our_own_are_shown_as_code_and_end_where_they_end() -> None:
    text = 'find out why with nox -s perf -- --case k1.b, or, nox -s update-baselines -- --reason "why". a_b'
    shown = 'find out why with `nox -s perf -- --case k1.b`, or, `nox -s update-baselines -- --reason "why"`. a\\_b'
    assert sentence(text) == shown


def test_a_text_that_would_leave_its_code_is_escaped_in_place_of_it() -> None:
    page = _page(_card(_verdict("a|b*")), edits=("c`d*", "e|f*", "g*"))
    assert page[5] == "> **This change edits what judges it:** c\\`d\\*, e\\|f\\*, `g*`."
    assert "| a\\|b\\* | SLOWER | +3.00 % | +2.00 % | +4.00 % | r |" in page


# Hostile text

OURS = re.compile("h[23]|p|a|code|strong|ul|li|pre|table|thead|tbody|tr|t[hd]|blockquote|details|summary|span")
HOSTILE = [
    "# heading",
    "**bold** _it_ ~~no~~",
    "[click](https://evil.example)",
    "![x](https://evil.example/x.png)",
    "<https://evil.example>",
    "https://evil.example www.evil.example",
    "<img src=x onerror=alert(1)>",
    "<details open><summary>x</summary>",
    "--> <!-- perfgate -->",
    "@everyone #1 team/matmul#2 GH-3",
    "| a | b |",
    "```\nfence\n```",
    "> [!CAUTION]\n> x",
    "$\\sqrt{x}$ $`x`$",
    "::set-output name=a::b\n::error::x",
    "line\r\nline\u2028line",
    "\u202eevil\u2066",
    "\x1b[31mred\x00",
    "` code ` `` code ``",
    "1. item\n- item\n* item",
    "&lt;b&gt; &#64;everyone",
    "nox -s perf -- --case `x`",
    "[a]: https://evil.example",
    "~~~ `` ` ```",
    "</details><h1>Approved</h1><details open>",
    "\u200f \u2029 \ufeff\u00ad \x07\x7f\r",
    "\ud800 lone",
    "\\`\\",
]


def _everywhere(text: str) -> list[str]:
    """A page with a text wherever one can stand, and the page of a run."""
    verdict = _verdict(text=text, reason=text, case=text, asides=(Aside(text=text, matters=True),))
    card = CardReport(
        label=text, slug=text, machine=text, problems=(text,), notes=(text,), verdicts=(verdict,), proposed=(verdict,)
    )
    whole = Conclusion(exit=2, base=text, head=text, target=text, edits=(text,), problems=(text,), cards=(card,))
    stage = StageResult(name=text, done=text, left_out=text, note=text, verdicts=(verdict,))
    run = of_run(RunRecord(environment={"gpu": text, "torch": text}, exit=1, stages=(stage,)))
    return [summary(whole, run_url=URL), f"{run}\n\n[run and artifacts]({URL})"]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    for page, ordinary in zip(_everywhere(text), _everywhere("it is slow"), strict=True):
        _inert(page)
        assert abs(len(page.splitlines()) - len(ordinary.splitlines())) <= 2
        assert _shape(page) == _shape(ordinary)


def _inert(page: str) -> None:
    """Rendered as GitHub does, it holds our own links and markup alone; and nothing that GitHub would make of the rest."""
    rendered = MarkdownIt("gfm-like").render(page)
    tags = Counter(re.findall(r"<([a-z][a-z0-9]*)", rendered))
    assert all(map(OURS.fullmatch, tags)), tags
    assert set(re.findall(r'href="([^"]*)"', rendered)) == {URL}
    assert not re.search(r"<[a-z]+ (?!href=|class=\"language-text\"|style=\"text-align:)", rendered)
    prose = re.sub(r"```text\n.*?\n```", "", page, flags=re.DOTALL)
    prose = re.sub(r"(?<!\\)`[^`\n]*`", "", prose)
    for forbidden in (
        r"<(?!/?(details|summary|span)\b)",
        r"https?://(?!github\.example)",
        "www.evil|<!--",
        r"(?<![\w])@\w|#\d|GH-\d",
        r"(?<!\\)\[(?!run and artifacts\]|!IMPORTANT\])",
        r"(?<!<span>)\$",
    ):
        assert not re.search(forbidden, prose), forbidden
    assert [character for character in page if not character.isprintable() and character not in "\n\u200b"] == []


def _shape(page: str) -> list[str]:
    """How the lines begin outside of code."""
    shown = re.sub(r"```text\n.*?\n```", "", page, flags=re.DOTALL)
    found = [re.match(r"#+ |> \[!|> |- \*\*|- |\| |<details>|\*\*|$|.", line) for line in shown.splitlines()]
    return [one[0] for one in found if one and one[0] in {"## ", "### ", "> [!", "> ", "- **", "- ", "| ", "<details>"}]


# Length


def test_a_comment_leaves_out_the_table_and_then_all_but_the_headline_where_it_is_too_long() -> None:
    many = _conclusion(_card(*(_verdict(f"c{n}{'x' * 60}") for n in range(500))))
    assert "<details>" in summary(many, run_url=URL)
    folded = comment(many, run_url=URL)
    assert ("<details>" in folded, "- **SLOWER**" in folded, len(folded) <= MOST_CHARACTERS) == (False, True, True)
    said = f"The report is too long to be shown here: [run and artifacts]({URL})."
    assert comment(dataclasses.replace(many, problems=("y" * 3900,) * 40), run_url=URL) == (
        f"## perf: regression (500 slower; 40 not judged; 1 card)\n\n{said}"
    )


def test_a_comment_may_be_as_long_as_it_may_be() -> None:
    def made(length: int) -> str:
        return comment(_conclusion(exit=2, problems=("y" * length,)), run_url=URL)

    room = MOST_CHARACTERS - (len(made(1)) - 1)
    assert len(made(room)) == MOST_CHARACTERS == 60_000
    assert "too long" in made(room + 1)


# The plot


def _drawn(  # noqa: PLR0913, PLR0917 - a row of a table
    case: str,
    ratio: float | None,
    low: float | None,
    high: float | None,
    limit: float | None = 1.005,
    status: Status = Status.SAME,
) -> Verdict:
    return Verdict(case=case, status=status, reason="r", text="t", ratio=ratio, low=low, high=high, limit=limit)


def test_an_axis_of_10_percent_shows_what_lies_within_and_where_the_rest_is() -> None:
    verdicts = (
        _drawn("a", 1.04, 1.03, 1.05, 1.02, Status.SLOWER),
        _drawn("b`" + "x" * 30, 0.8, 0.7, 0.9, 1.2, Status.FASTER),
        _drawn("c", 1.0, 1.0, 1.0, None),
        _drawn("d", 1.0, 0.999, 1.02, status=Status.UNSURE),
        _drawn("*", 1.5, 1.4, 1.6),
        _drawn("no low", 1.0, None, 1.0),
        _drawn("no high", 1.0, 1.0, None),
        _drawn("no estimate", None, 1.0, 1.0),
        _drawn("e", 3.0, 2.9, 3.1),
    )
    assert plot(verdicts) == (
        "                         -10.00 %            0            +10.00 %",
        "a                                        :   |   : [-o-]              +4.00 % SLOWER",
        "b'xxxxxxxxxxxxxxxxxxxxx… <                   |                       -20.00 % FASTER",
        "c                                            o                        +0.00 % SAME",
        "d                                           :o---]                    +0.00 % UNSURE",
        "e                                           :|:                  >  +200.00 % SAME",
    )


@pytest.mark.parametrize(
    ("verdicts", "lines"),
    [
        (
            [_drawn("aa", 1.001, 0.9995, 1.002), _drawn("b", 1.0, 0.9995, 1.0005)],
            (
                "   -1.00 %             0             +1.00 %",
                "aa           :        [--o-]     :              +0.10 % SAME",
                "b            :        [o]        :              +0.00 % SAME",
            ),
        ),
        (
            [_drawn("aa", 1.001, 0.9995, 1.002, 1.06)],
            (
                "   -6.00 %             0             +6.00 %",
                "aa :                   o]                  :    +0.10 % SAME",
            ),
        ),
        (
            [_drawn("aa", 0.95, 0.92, 0.97, None)],
            (
                "   -8.00 %             0             +8.00 %",
                "aa [------o----]       |                        -5.00 % SAME",
            ),
        ),
        ([_drawn("a", None, None, None)], ()),
    ],
    ids=["noise on 1 %", "as far as the limit", "as far as the interval", "nothing to draw"],
)
def test_the_axis_reaches_to_the_farthest_of_estimate_interval_and_limit(
    verdicts: list[Verdict], lines: tuple[str, ...]
) -> None:
    assert plot(verdicts) == lines


def test_an_estimate_at_the_very_end_of_the_axis_is_no_arrow() -> None:
    assert plot([_drawn("a", 1.0625, 1.0625, 1.0625, 1.0625)])[1][2:43] == ":" + " " * 19 + "|" + " " * 19 + "o"


def test_the_plot_shows_the_cases_that_matter_and_all_where_none_does() -> None:
    same = _verdict("k2", Status.SAME, 1.0)
    assert [line[:2] for line in _page(_card(_verdict(), same)) if line.endswith(("SLOWER", "SAME"))] == ["k1"]
    assert [line[:2] for line in _page(_card(same), exit=0) if line.endswith(("SLOWER", "SAME"))] == ["k2"]


# Annotations


def _annotated(*cards: CardReport, problems: tuple[str, ...] = (), kernel: str = "k.py") -> tuple[str, ...]:
    return as_annotations(_conclusion(*cards, exit=2, problems=problems), kernel=kernel, line=4)


def test_verdicts_come_first_by_card_and_the_worst_of_each_first_and_then_what_was_not_judged() -> None:
    first = _card(
        _verdict("a", Status.UNSURE),
        _verdict("b", Status.INVALID),
        _verdict("c", Status.INVALID, wrong=True),
        _verdict("d", Status.FASTER),
    )
    second = _card(_verdict("e"), problems=("It was skipped.",), label="a100")
    assert _annotated(first, second, problems=("No plan.",)) == (
        "::error file=k.py,line=4,title=h100%3A c WRONG::c: so.",
        "::warning file=k.py,line=4,title=h100%3A b INVALID::b: so.",
        "::warning file=k.py,line=4,title=h100%3A a UNSURE::a: so.",
        "::error file=k.py,line=4,title=a100%3A e SLOWER::e: so.",
        "::error file=k.py,line=4,title=a100%3A not judged::It was skipped.",
        "::error file=k.py,line=4,title=not judged::No plan.",
    )


def test_as_many_as_are_shown_are_made_and_of_one_more_the_last_counts_the_rest() -> None:
    every = [_verdict(f"c{number}") for number in range(MOST_ANNOTATIONS + 1)]
    assert "SLOWER" in _annotated(_card(*every[:MOST_ANNOTATIONS]))[-1]
    lines = _annotated(_card(*every))
    assert len(lines) == MOST_ANNOTATIONS == 10
    assert lines[-1] == "::warning file=k.py,line=4,title=2 more::2 more cases do not pass; see the summary."


def test_neither_a_text_nor_the_files_name_nor_an_older_command_gets_out_of_its_place() -> None:
    hostile = _verdict("a,b:c%", text="x\n::error::y\r%0A::z")
    assert _annotated(_card(hostile), problems=("##[error]x % y",), kernel="a,b:c.py") == (
        "::error file=a%2Cb%3Ac.py,line=4,title=h100%3A a%2Cb%3Ac%25 SLOWER::x?::error::y?%250A::z",
        "::error file=a%2Cb%3Ac.py,line=4,title=not judged::## [error]x %25 y",
    )


def test_annotations_point_at_the_kernel() -> None:
    assert (kernel_line("import triton\n\n@triton.jit\ndef k(): ...\n"), kernel_line("x = 1\n")) == (3, 1)


# One run by itself


def test_a_run_says_where_it_was_what_each_stage_did_and_how_to_have_the_same() -> None:
    stages = (
        StageResult(name="correctness", done="2 right", note="see nox -s perf", passed=("k1",)),
        StageResult(
            name="compiled", done="2 cases", left_out="half", verdicts=(_verdict("a", Status.SAME), _verdict())
        ),
        StageResult(name="throughput", left_out="no CUDA card"),
    )
    page = of_run(RunRecord(environment={"torch": "2.1", "triton": "3.2"}, exit=1, stages=stages))
    assert page.splitlines() == [
        "## perf: regression",
        "",
        "On a machine without a card, torch 2.1, Triton 3.2.",
        "",
        "- **correctness:** 2 right",
        "  - Note: see `nox -s perf`",
        "- **compiled:** 2 cases (half)",
        "- **throughput:** NOT judged (no CUDA card)",
        "",
        "1 SAME, 1 SLOWER.",
        "",
        "- **SLOWER** k1: so.",
        "",
        "`nox -s perf` gives the same on any machine.",
    ]
    assert of_run(RunRecord(environment={"gpu": "H*"}, exit=2)).splitlines()[:3] == [
        "## perf: could not be judged",
        "",
        "On H\\*, torch unknown, Triton unknown.",
    ]
