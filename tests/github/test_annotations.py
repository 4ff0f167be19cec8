"""Annotations word for word: kind, place, title and text of each, and no more of them than GitHub shows."""

from __future__ import annotations

from perfgate.github.annotations import MOST, as_annotations
from perfgate.github.conclusion import CardReport, Conclusion
from perfgate.records import Status, Verdict


def _verdict(case: str, status: Status, *, wrong: bool = False) -> Verdict:
    return Verdict(case=case, status=status, reason="r", text=f"{case}: so.", wrong=wrong)


def _lines(*cards: CardReport, problems: tuple[str, ...] = (), kernel: str = "k.py") -> tuple[str, ...]:
    made = Conclusion(exit=2, base="", head="", target="", cards=cards, problems=problems)
    return as_annotations(made, kernel=kernel, line=4)


def _card(*verdicts: Verdict, problems: tuple[str, ...] = (), label: str = "h100") -> CardReport:
    return CardReport(label=label, slug="x", verdicts=verdicts, problems=problems)


def test_verdicts_come_first_by_card_and_the_worst_of_each_first_and_then_what_was_not_judged() -> None:
    first = _card(
        _verdict("a", Status.UNSURE),
        _verdict("b", Status.INVALID),
        _verdict("c", Status.INVALID, wrong=True),
        _verdict("d", Status.FASTER),
    )
    second = _card(_verdict("e", Status.SLOWER), problems=("It was skipped.",), label="a100")
    assert _lines(first, second, problems=("No plan.",)) == (
        "::error file=k.py,line=4,title=h100%3A c WRONG::c: so.",
        "::warning file=k.py,line=4,title=h100%3A b INVALID::b: so.",
        "::warning file=k.py,line=4,title=h100%3A a UNSURE::a: so.",
        "::error file=k.py,line=4,title=a100%3A e SLOWER::e: so.",
        "::error file=k.py,line=4,title=a100%3A not judged::It was skipped.",
        "::error file=k.py,line=4,title=not judged::No plan.",
    )


def test_as_many_as_are_shown_are_made_and_of_one_more_the_last_counts_the_rest() -> None:
    every = [_verdict(f"c{number}", Status.SLOWER) for number in range(MOST + 1)]
    assert len(_lines(_card(*every[:MOST]))) == MOST == 10
    assert "SLOWER" in _lines(_card(*every[:MOST]))[-1]
    lines = _lines(_card(*every))
    assert len(lines) == MOST
    assert lines[-2] == "::error file=k.py,line=4,title=h100%3A c8 SLOWER::c8: so."
    assert lines[-1] == "::warning file=k.py,line=4,title=2 more::2 more cases do not pass; see the summary."


def test_neither_the_files_name_nor_an_older_command_gets_out_of_its_place() -> None:
    (line,) = _lines(problems=("##[error]x % y",), kernel="a,b:c.py")
    assert line == "::error file=a%2Cb%3Ac.py,line=4,title=not judged::## [error]x %25 y"
