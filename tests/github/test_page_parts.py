"""The page word for word: headline, notice, each card, what to do, and what is left out where it grows too long."""

from __future__ import annotations

import pytest

from perfgate.github.conclusion import CardReport, Conclusion
from perfgate.github.page import MOST_CHARACTERS, comment, counted, sentence, summary
from perfgate.records import Aside, Status, Verdict

_URL = "https://github.example/team/matmul/actions/runs/42"


def _verdict(  # noqa: PLR0913 - each is one independent choice, all by name
    case: str = "k1",
    status: Status = Status.SLOWER,
    *,
    ratio: float | None = 1.03,
    wrong: bool = False,
    asides: tuple[Aside, ...] = (),
    text: str = "",
) -> Verdict:
    low, high = (ratio - 0.01, ratio + 0.01) if ratio else (None, None)
    return Verdict(
        case=case,
        status=status,
        reason="r",
        text=text or f"{case}: so.",
        ratio=ratio,
        low=low,
        high=high,
        limit=1.005,
        wrong=wrong,
        asides=asides,
    )


def _card(*verdicts: Verdict, proposed: tuple[Verdict, ...] | None = None) -> CardReport:
    return CardReport(label="h100", slug="nvidia-h100", machine="H100, driver 1", verdicts=verdicts, proposed=proposed)


def _page(*cards: CardReport, code: int = 1, edits: tuple[str, ...] = (), intended: bool = False) -> list[str]:
    made = Conclusion(
        exit=code, base="a" * 40, head="b" * 40, target="main", cards=cards, edits=edits, intended=intended
    )
    return summary(made, run_url=_URL).splitlines()


def test_a_page_of_one_slower_case_is_this() -> None:
    again = Aside(text="Its old code is slower too.", ratio=1.01, matters=True)
    page = _page(_card(_verdict(), _verdict("k2", Status.SAME, ratio=None, asides=(again,))))
    assert page == [
        "## perf: regression (1 slower, 1 same; 1 card)",
        "",
        f"Judged by `main` at `aaaaaaaaaaaa`, change `bbbbbbbbbbbb`; [run and artifacts]({_URL}).",
        "",
        "",
        "### nvidia-h100",
        "",
        "1 SAME, 1 SLOWER on H100, driver 1.",
        "",
        "- **SLOWER** k1: so.",
        (
            "- Machine: the baseline's own code, measured again, is +1.00 % from when it was recorded (median of 1 cases, "
            "+1.00 % to +1.00 %)."
        ),
        "",
        "```text",
        "   -4.00 %             0             +4.00 %",
        "k1                   : | :       [----o----]    +3.00 % SLOWER",
        "```",
        "",
        "<details><summary>All 2 verdicts</summary>",
        "",
        "| case | verdict | change of time | low | high | reason |",
        "| :-- | :-- | --: | --: | --: | :-- |",
        "| `k1` | SLOWER | +3.00 % | +2.00 % | +4.00 % | r |",
        "| `k2` | SAME |  |  |  | r |",
        "",
        "</details>",
        "",
        "**What to do**",
        "",
        "- **Slower:** fix it. On any CUDA card: `nox -s perf -- --against aaaaaaaaaaaa --case k1`.",
        (
            "- Or, if it is meant: record the new baseline with the reason (Actions → `update-baselines` → Run workflow, on "
            "this branch), merge the pull request that it opens into this one, and have the label `baseline-change` set."
        ),
        (
            "- The raw samples are in the artifacts; `python -m perfgate judge --baseline baselines --current current.json` "
            "gives the verdicts on times again anywhere, without a card."
        ),
    ]


def test_a_page_of_an_edit_begins_with_it_and_shows_both_verdicts() -> None:
    card = _card(_verdict(status=Status.SAME), proposed=(_verdict("k3", Status.UNSURE),))
    page = _page(card, code=3, edits=tuple(f"e{number}" for number in range(17)))
    assert page[0] == "## perf: undecided (1 same; 1 card)"
    named = ", ".join(f"`e{number}`" for number in range(15))
    assert page[4:8] == [
        "> [!IMPORTANT]",
        f"> **This change edits what judges it:** {named} and 2 more.",
        (
            "> Both verdicts below have to pass. If it is meant, a maintainer sets the label `baseline-change`; then its own "
            "verdict counts."
        ),
        "",
    ]
    place = page.index("**By its own baselines, limits and gate:** 1 UNSURE.")
    assert page[place - 1 : place + 3] == ["", page[place], "", "- **UNSURE** k3: so."]
    assert "and" not in _page(card, edits=tuple("abcdefghijklmno"))[5].partition("`o`")[2]


def test_a_page_of_an_edit_that_is_meant_says_so() -> None:
    page = _page(_card(_verdict(), proposed=(_verdict(status=Status.SAME),)), code=0, edits=("e",), intended=True)
    assert page[0] == "## perf: pass, as intended (1 slower; 1 card)"
    assert page[6] == (
        "> The label `baseline-change` says that this is meant: its own verdict counts. A wrong result would fail all the same."
    )


def test_a_page_of_what_was_not_judged_says_why_by_card() -> None:
    card = CardReport(label="h", slug="x", problems=("It was skipped.",), notes=("of main",))
    made = Conclusion(exit=2, base="", head="b" * 40, target="main", cards=(card, card), problems=("No plan.",))
    assert comment(made, run_url=_URL).splitlines() == [
        "## perf: could not be judged (no case judged; 3 not judged; 2 cards)",
        "",
        f"change `bbbbbbbbbbbb`; [run and artifacts]({_URL}).",
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
        _verdict("d", Status.INVALID, ratio=None),
        _verdict("e", Status.INVALID, ratio=None, wrong=True),
        _verdict("f f"),
    )
    page = _page(_card(*verdicts))
    assert page[0] == "## perf: wrong result (1 wrong, 1 slower, 1 invalid, 1 unsure, 1 faster, 1 same; 1 card)"
    assert [line[:13] for line in page if line.startswith("- **")][:5] == [
        "- **WRONG** e",
        "- **SLOWER** ",
        "- **INVALID**",
        "- **UNSURE** ",
        "- **FASTER** ",
    ]
    advice = page[page.index("**What to do**") + 2 :]
    assert advice[:2] == [
        "- **Wrong result:** mend the kernel; no time is taken of it. `nox -s perf -- --case e` shows it, also without a card.",
        "- **Slower:** fix it. On any CUDA card: `nox -s perf -- --against aaaaaaaaaaaa`.",
    ]
    assert advice[3:5] == [
        (
            "- **Faster:** lock the gain in, so that losing it again is a regression: Actions → `update-baselines` → Run "
            "workflow, on this branch or after the merge, with what made it faster as the reason."
        ),
        "- **Unsure:** too close to tell from the launches there were; run the jobs again.",
    ]
    assert len(advice) == 6


def test_a_page_of_a_pass_has_no_advice_but_where_the_samples_are() -> None:
    page = _page(_card(_verdict(status=Status.SAME, ratio=1.0)), code=0)
    assert page[0] == "## perf: pass (1 same; 1 card)"
    assert [line[:15] for line in page[page.index("**What to do**") :]] == ["**What to do**", "", "- The raw sampl"]
    assert _page(code=0)[-1] != "**What to do**"


def test_a_base_that_is_no_commit_is_not_put_into_a_command() -> None:
    made = Conclusion(exit=1, base="x; rm", head="h", target="main", cards=(_card(_verdict()),))
    assert "- **Slower:** fix it." in summary(made, run_url=_URL).splitlines()


@pytest.mark.parametrize(("length", "kept"), [(15, True), (16, False)])
def test_15_cases_are_told_in_full_and_what_exceeds_that_is_counted(length: int, *, kept: bool) -> None:
    aside = Aside(text="drift: so", matters=True)
    page = _page(_card(*(_verdict(f"c{number}", asides=(aside,)) for number in range(length))))
    assert len([line for line in page if line.startswith("- **SLOWER** ")]) == 15
    assert ("- … and 1 more SLOWER, in the table" not in page) == kept
    assert len([line for line in page if line.startswith("- Also c")]) == 15


def test_only_asides_that_matter_and_are_not_of_the_machine_are_told() -> None:
    asides = (Aside(text="quiet"), Aside(text="machine", ratio=1.01, matters=True), Aside(text="drift", matters=True))
    page = _page(_card(_verdict(asides=asides)))
    assert [line for line in page if line.startswith("- Also")] == ["- Also k1: drift"]


def test_a_comment_leaves_out_the_table_and_then_all_but_the_headline_where_it_is_too_long() -> None:
    many = Conclusion(
        exit=1, base="", head="h", target="m", cards=(_card(*(_verdict(f"c{n}{'x' * 60}") for n in range(500))),)
    )
    assert "<details>" in summary(many, run_url=_URL)
    folded = comment(many, run_url=_URL)
    assert "<details>" not in folded
    assert "- **SLOWER**" in folded
    long = Conclusion(exit=2, base="", head="h", target="m", problems=("y" * MOST_CHARACTERS,))
    assert comment(long, run_url=_URL) == (
        "## perf: could not be judged (nothing was measured)\n\n"
        f"The report is too long to be shown here: [run and artifacts]({_URL})."
    )


def test_a_comment_may_be_as_long_as_it_may_be() -> None:
    def made(length: int) -> str:
        return comment(Conclusion(exit=2, base="", head="h", target="m", problems=("y" * length,)), run_url=_URL)

    room = MOST_CHARACTERS - (len(made(1)) - 1)
    assert len(made(room)) == MOST_CHARACTERS == 60_000
    assert "too long" in made(room + 1)


def test_counts_are_in_order_and_nothing_is_said_to_be_nothing() -> None:
    assert counted([]) == "Nothing"
    assert counted([_verdict(), _verdict(wrong=True), _verdict(status=Status.SAME), _verdict()]) == (
        "1 SAME, 2 SLOWER, 1 WRONG"
    )
    assert sentence("see nox -s perf, or a_b") == "see `nox -s perf`, or a\\_b"


def test_a_text_that_would_leave_its_code_is_escaped_in_place_of_it() -> None:
    page = _page(_card(_verdict("a|b*")), edits=("c`d*", "e|f*", "g*"))
    assert page[5] == "> **This change edits what judges it:** c\\`d\\*, e\\|f\\*, `g*`."
    assert "| a\\|b\\* | SLOWER | +3.00 % | +2.00 % | +4.00 % | r |" in page
    made = Conclusion(exit=2, base="", head="", target="main", problems=("p",))
    assert comment(made, run_url=_URL).splitlines()[2] == f"change ; [run and artifacts]({_URL})."


def test_the_plot_shows_the_cases_that_matter_and_all_where_none_does() -> None:
    same = _verdict("k2", Status.SAME, ratio=1.0)
    assert [line[:2] for line in _page(_card(_verdict(), same)) if line.endswith(("SLOWER", "SAME"))] == ["k1"]
    assert [line[:2] for line in _page(_card(same), code=0) if line.endswith(("SLOWER", "SAME"))] == ["k2"]


def test_a_case_or_base_that_is_no_plain_word_is_in_no_command() -> None:
    page = _page(_card(_verdict("a; rm", Status.INVALID, ratio=None, wrong=True)))
    assert "- **Wrong result:** mend the kernel; no time is taken of it. " in page
    for base in ("a" * 40 + " x", "x " + "a" * 40):
        made = Conclusion(exit=1, base=base, head="h", target="main", cards=(_card(_verdict()),))
        assert "- **Slower:** fix it." in summary(made, run_url=_URL).splitlines()
