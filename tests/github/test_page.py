"""The page that an author reads: one line a case that matters, hostile text inert, never too long, and the plot."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter

import pytest
from markdown_it import MarkdownIt

from perfgate.github.annotations import MOST, as_annotations, kernel_line
from perfgate.github.conclusion import LABEL, CardReport, Conclusion
from perfgate.github.page import MOST_CHARACTERS, comment, summary
from perfgate.github.plot import plot
from perfgate.github.run_page import run_page
from perfgate.records import Aside, Status, Verdict
from perfgate.report.markdown import escaped
from perfgate.store.run import RunRecord, StageRecord

_URL = "https://github.example/team/matmul/actions/runs/42"


def _verdict(case: str = "k1", status: Status = Status.SLOWER, ratio: float | None = 1.03, **more: object) -> Verdict:
    low, high = (ratio - 0.001, ratio + 0.001) if ratio else (None, None)
    made = Verdict(
        case=case,
        status=status,
        reason=str(status).lower(),
        text=f"{case}: so.",
        ratio=ratio,
        low=low,
        high=high,
        limit=1.005,
    )
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def _conclusion(*verdicts: Verdict, code: int = 1, **more: object) -> Conclusion:
    card = CardReport(label="h100", slug="nvidia-h100", machine="NVIDIA H100", verdicts=verdicts)
    made = Conclusion(exit=code, base="a" * 40, head="b" * 40, target="main", cards=(card,))
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def test_a_case_that_is_the_same_has_no_line_but_a_row_in_the_table() -> None:
    page = comment(_conclusion(_verdict(), _verdict("k2", Status.SAME, 1.0)), run_url=_URL)
    assert [line for line in page.splitlines() if line.startswith("- **")][:1] == ["- **SLOWER** k1: so."]
    assert "| `k2` | SAME |" in page
    assert "k2: so" not in page


def test_commands_of_our_own_are_shown_as_code_and_end_where_they_end() -> None:
    text = 'k1: slow; find out why with nox -s perf -- --case k1.b, or, nox -s update-baselines -- --reason "why".'
    page = comment(_conclusion(_verdict(text=text)), run_url=_URL)
    assert 'with `nox -s perf -- --case k1.b`, or, `nox -s update-baselines -- --reason "why"`.' in page


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (_verdict(), "**Slower:** fix it. On any CUDA card: `nox -s perf -- --against aaaaaaaaaaaa --case k1`."),
        (_verdict(status=Status.FASTER, ratio=0.9), "**Faster:** lock the gain in"),
        (_verdict(status=Status.UNSURE, ratio=1.004), "**Unsure:**"),
        (_verdict(status=Status.INVALID, ratio=None, wrong=True), "**Wrong result:** mend the kernel"),
    ],
)
def test_what_to_do_goes_with_what_was_found(verdict: Verdict, said: str) -> None:
    assert said in comment(_conclusion(verdict, code=verdict.exit_code), run_url=_URL)


def test_drift_is_said_of_a_case_that_is_the_same() -> None:
    drifting = _verdict(status=Status.SAME, ratio=1.0, asides=(Aside(text="drift: +2.1 %", matters=True),))
    assert "- Also k1: drift: +2.1 %" in comment(_conclusion(drifting, code=0), run_url=_URL)


def test_what_judges_and_was_edited_is_the_first_thing_after_the_headline() -> None:
    page = comment(_conclusion(_verdict(), edits=("limits.missed (0.1 → 0.2)",)), run_url=_URL)
    assert page.index("edits what judges it:** `limits.missed (0.1 → 0.2)`") < page.index("### ")
    assert f"label `{LABEL}`" in page


_OURS = {
    "h2",
    "h3",
    "p",
    "a",
    "code",
    "strong",
    "ul",
    "li",
    "pre",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "blockquote",
    "details",
    "summary",
    "span",
}
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
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_it_is_wherever_it_stands(text: str) -> None:
    verdict = _verdict(text=text, reason=text, case=text, asides=(Aside(text=text, matters=True),))
    card = CardReport(
        label=text, slug=text, machine=text, problems=(text,), notes=(text,), verdicts=(verdict,), proposed=(verdict,)
    )
    page = summary(
        Conclusion(exit=2, base=text, head=text, target=text, edits=(text,), problems=(text,), cards=(card,)),
        run_url=_URL,
    )
    _inert(page)
    ordinary = _conclusion(_verdict(), code=2, edits=("e",), problems=("p",))
    ours = summary(
        dataclasses.replace(
            ordinary,
            cards=(dataclasses.replace(ordinary.cards[0], problems=("p",), notes=("n",), proposed=(_verdict(),)),),
        ),
        run_url=_URL,
    )
    assert abs(len(page.splitlines()) - len(ours.splitlines())) <= 2


def _inert(page: str) -> None:
    """Rendered as GitHub does, it holds our own links and markup alone; and nothing that GitHub would make of the rest."""
    rendered = MarkdownIt("gfm-like").render(page)
    tags = Counter(re.findall(r"<([a-z][a-z0-9]*)", rendered))
    assert set(tags) <= _OURS, tags
    assert set(re.findall(r'href="([^"]*)"', rendered)) == {_URL}
    assert not re.search(r"<[a-z]+ (?!href=|class=\"language-text\"|style=\"text-align:)", rendered)
    prose = re.sub(r"```text\n.*?\n```", "", page, flags=re.DOTALL)
    prose = re.sub(r"(?<!\\)`[^`\n]*`", "", prose)
    assert not re.search(r"<(?!/?(details|summary|span)\b)", prose)
    assert not re.search(r"https?://(?!github\.example)", prose)
    assert "www.evil" not in prose
    assert not re.search(r"(?<![\w])@\w", prose)
    assert not re.search(r"#\d", prose)
    assert not re.search(r"GH-\d", prose)
    assert not re.search(r"(?<!\\)\[(?!run and artifacts\]|!IMPORTANT\])", prose)
    assert not re.search(r"(?<!<span>)\$", prose)
    assert "<!--" not in prose
    assert [character for character in page if not character.isprintable() and character not in "\n\u200b"] == []


def test_every_line_of_a_hostile_page_begins_as_one_of_ours() -> None:
    for text in HOSTILE:
        page = comment(_conclusion(_verdict(text=text, case=text), problems=(text,), edits=(text,)), run_url=_URL)
        fence = False
        for line in page.splitlines():
            if line.startswith("```"):
                fence = not fence
            elif not fence and line:
                assert re.match(r"(## perf: |### |Judged by |> |- |\| |<details>|</details>|\*\*|NVIDIA|\d+ )", line), (
                    line
                )


def test_a_page_is_never_longer_than_a_comment_may_be() -> None:
    many = tuple(_verdict(f"case{number}", text="x" * 3000) for number in range(400))
    conclusion = _conclusion(*many)
    assert len(comment(conclusion, run_url=_URL)) <= MOST_CHARACTERS
    more = dataclasses.replace(conclusion, problems=("y" * 3900,) * 40)
    page = comment(more, run_url=_URL)
    assert len(page) <= MOST_CHARACTERS
    assert _URL in page
    assert page.startswith("## perf: regression")


def test_cases_that_exceed_what_is_told_are_counted() -> None:
    page = comment(_conclusion(*(_verdict(f"case{number}") for number in range(40))), run_url=_URL)
    assert page.count("- **SLOWER**") == 15
    assert "… and 25 more SLOWER, in the table" in page


def test_escaping_leaves_a_plain_sentence_alone() -> None:
    assert escaped("1.02 % slower (limit 0.5 %), see below.") == "1.02 % slower (limit 0.5 %), see below."


# The plot


def test_the_plot_has_the_estimate_its_interval_the_limits_and_zero_where_they_belong() -> None:
    _, line = plot([_verdict(ratio=1.01)])
    axis = line[len("k1 ") :][:41]
    scale = 0.011
    assert axis.index("o") == 20 + round(0.01 / scale * 20)
    assert axis[20] == "|"
    assert [place for place, mark in enumerate(axis) if mark == ":"] == [
        20 - round(0.005 / scale * 20),
        20 + round(0.005 / scale * 20),
    ]
    assert axis.index("[") < axis.index("o") < axis.index("]")


def test_what_lies_beyond_the_axis_is_an_arrow_at_its_end() -> None:
    lines = plot([_verdict("a", ratio=3.0), _verdict("b", ratio=0.5)])
    assert lines[1][2:43].rstrip()[-1] == ">"
    assert lines[2][2] == "<"


def test_every_line_of_a_plot_is_as_wide_as_the_next() -> None:
    lines = plot([_verdict("a" * 60), _verdict("b", ratio=0.97)])
    assert len({line.index("%") for line in lines[1:]}) == 1


def test_a_case_without_a_number_is_not_drawn() -> None:
    assert plot([_verdict(ratio=None)]) == ()


# Annotations


def test_an_annotation_cannot_hold_a_second_command() -> None:
    text = "x\n::error::y\r%0A::z"
    (line,) = as_annotations(_conclusion(_verdict(case="a,b:c%", text=text)), kernel="kernels/m.py", line=3)
    assert line == "::error file=kernels/m.py,line=3,title=h100%3A a%2Cb%3Ac%25 SLOWER::x?::error::y?%250A::z"


def test_what_could_not_be_judged_is_a_warning_and_passing_cases_are_nothing() -> None:
    lines = as_annotations(
        _conclusion(_verdict(status=Status.SAME), _verdict(status=Status.UNSURE)), kernel="k.py", line=1
    )
    assert [line.split(" ")[0] for line in lines] == ["::warning"]


def test_no_more_annotations_are_made_than_are_shown() -> None:
    lines = as_annotations(_conclusion(*(_verdict(f"c{n}") for n in range(30))), kernel="k.py", line=1)
    assert len(lines) == MOST
    assert "21 more cases do not pass" in lines[-1]


def test_annotations_point_at_the_kernel() -> None:
    assert kernel_line("import triton\n\n@triton.jit\ndef k(): ...\n") == 3
    assert kernel_line("x = 1\n") == 1


# One run by itself


def test_a_run_by_itself_says_what_was_judged_what_was_not_and_each_case_that_matters() -> None:
    stages = (
        StageRecord(name="correctness", done="52 cases right", passed=("k1",)),
        StageRecord(name="compiled", done="2 cases", verdicts=(_verdict("k2", Status.SAME), _verdict(wrong=True))),
        StageRecord(name="throughput", left_out="no CUDA card"),
    )
    page = run_page(RunRecord(environment={"torch": "2"}, exit=1, stages=stages))
    assert "- **throughput:** NOT judged (no CUDA card)" in page
    assert [line for line in page.splitlines() if line.startswith("- **WRONG**")] == ["- **WRONG** k1: so."]
    assert "1 SAME, 1 WRONG." in page


@pytest.mark.parametrize("text", HOSTILE)
def test_a_run_by_itself_shows_hostile_text_as_it_is(text: str) -> None:
    stage = StageRecord(name=text, done=text, left_out=text, note=text, verdicts=(_verdict(case=text, text=text),))
    page = run_page(RunRecord(environment={"gpu": text, "torch": text}, exit=1, stages=(stage,)))
    _inert(page + f"\n\n[run and artifacts]({_URL})")
