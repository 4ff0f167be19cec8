"""How the one required check ends: by card, by the label, by what was edited, and by what could not be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perfgate.github.conclusion import CardReport, Conclusion, conclude, read_conclusion, to_json
from perfgate.records import GateError, Status, Verdict

_PASS, _SLOWER, _INVALID, _UNSURE = (
    Verdict(case="k1", status=status, reason="why", text=f"k1: {status}.")
    for status in (Status.SAME, Status.SLOWER, Status.INVALID, Status.UNSURE)
)
_WRONG = Verdict(case="k1", status=Status.INVALID, reason="wrong-result", text="k1: wrong.", wrong=True)
_EDITS = ("baselines/x/matmul.json",)


def _card(*verdicts: Verdict, own: tuple[Verdict, ...] | None = None, problems: tuple[str, ...] = ()) -> CardReport:
    return CardReport(label="a", slug="x", verdicts=verdicts, proposed=own, problems=problems)


def _code(*cards: CardReport, edits: tuple[str, ...] = (), intended: bool = False, problems: Any = ()) -> int:
    return conclude(cards, edits=edits, intended=intended, problems=problems)


@pytest.mark.parametrize(
    ("verdict", "code"), [(_PASS, 0), (_SLOWER, 1), (_INVALID, 2), (_UNSURE, 3), (_WRONG, 1)], ids=str
)
def test_one_card_ends_it_as_its_verdict_does(verdict: Verdict, code: int) -> None:
    assert _code(_card(verdict)) == code


def test_a_card_without_a_verdict_and_a_run_without_a_card_are_no_pass() -> None:
    assert (_code(_card()), _code()) == (2, 2)


def test_the_lowest_code_of_all_cards_counts_and_a_pass_hides_none() -> None:
    assert _code(_card(_PASS), _card(_INVALID), _card(_SLOWER)) == 1
    assert _code(_card(_UNSURE), _card(_INVALID)) == 2
    assert _code(_card(_PASS), _card(_UNSURE)) == 3


def test_a_problem_of_a_card_or_of_all_is_2_whatever_its_verdicts_are() -> None:
    assert _code(_card(_PASS, problems=("p",))) == 2
    assert _code(_card(_PASS), problems=("p",)) == 2
    assert _code(_card(_SLOWER, problems=("p",))) == 2
    assert _code(_card(_PASS, own=(_PASS,), problems=("p",)), edits=_EDITS, intended=True) == 2


def test_an_edit_has_to_pass_by_both_unless_it_is_meant() -> None:
    assert _code(_card(_PASS, own=(_PASS,)), edits=_EDITS) == 0
    assert _code(_card(_SLOWER, own=(_PASS,)), edits=_EDITS) == 1
    assert _code(_card(_PASS, own=(_SLOWER,)), edits=_EDITS) == 1
    assert _code(_card(_INVALID, own=(_UNSURE,)), edits=_EDITS) == 2
    assert _code(_card(_SLOWER, own=(_PASS,)), edits=_EDITS, intended=True) == 0
    assert _code(_card(_PASS, own=(_UNSURE,)), edits=_EDITS, intended=True) == 3


def test_an_edit_that_its_own_gate_did_not_judge_is_red_and_excuses_nothing() -> None:
    assert _code(_card(_PASS), edits=_EDITS) == 2
    assert _code(_card(_PASS), edits=_EDITS, intended=True) == 2
    assert _code(_card(_SLOWER), edits=_EDITS, intended=True) == 1
    assert _code(_card(_PASS, own=()), edits=_EDITS, intended=True) == 2


def test_the_label_excuses_nothing_where_nothing_was_edited() -> None:
    assert _code(_card(_SLOWER, own=(_PASS,)), intended=True) == 1
    assert _code(_card(_PASS, own=(_SLOWER,)), intended=True) == 0  # nobody asked that gate


def test_a_wrong_result_is_wrong_by_either_gate_whatever_the_label_says() -> None:
    assert _code(_card(_WRONG, own=(_PASS,)), edits=_EDITS, intended=True) == 1
    assert _code(_card(_PASS, own=(_WRONG,)), edits=_EDITS, intended=True) == 1
    assert _code(_card(_INVALID, own=(_WRONG,)), edits=_EDITS) == 1


def test_it_passes_as_intended_only_where_the_base_says_no_of_any_card() -> None:
    def excused(code: int, *verdicts: Verdict) -> bool:
        cards = tuple(_card(verdict, own=(_PASS,)) for verdict in verdicts)
        return Conclusion(exit=code, base="", head="", target="", cards=cards).excused

    assert (excused(0, _SLOWER), excused(0, _PASS), excused(1, _SLOWER)) == (True, False, False)
    assert excused(0, _PASS, _SLOWER)


def test_a_card_that_was_not_judged_is_no_pass_by_itself() -> None:
    assert (_card(_PASS, problems=("p",)).by_base, _card(_SLOWER, problems=("p",)).by_base) == (2, 2)
    assert (_card(_PASS).by_itself, _card(_PASS, own=()).by_itself, _card(own=(_UNSURE,)).by_itself) == (None, 2, 3)


def test_a_card_is_wrong_by_either_gate() -> None:
    cards = (_card(_SLOWER), _card(_SLOWER, own=(_INVALID,)), _card(_WRONG), _card(_PASS, own=(_PASS, _WRONG)))
    assert [card.wrong for card in cards] == [False, False, True, True]


def test_nothing_is_meant_and_no_machine_known_unless_it_is_said() -> None:
    assert (Conclusion(exit=0, base="", head="", target="").intended, _card().machine) == (False, "")


def test_a_report_comes_back_as_it_was_with_and_without_a_gate_of_its_own() -> None:
    cards = (
        CardReport(label="a", slug="x", machine="m", notes=("n",), verdicts=(_SLOWER,), proposed=(_PASS,)),
        CardReport(label="b", slug="y", problems=("p",), verdicts=(_PASS,)),
    )
    whole = Conclusion(
        exit=2, base="b", head="h", target="t", edits=_EDITS, intended=True, problems=("q",), cards=cards
    )
    assert read_conclusion(json.dumps(to_json(whole)), source="report.json") == whole


def test_a_report_whose_exit_code_its_cards_do_not_give_is_refused() -> None:
    document = to_json(Conclusion(exit=1, base="b", head="h", target="t", cards=(_card(_SLOWER),)))
    for spoiled in (
        {"exit": 0},
        {"exit": 2},
        {"problems": ["p"], "cards": []},
        {"edits": ["e"], "intended": True, "cards": [document["cards"][0] | {"proposed": []}]},
    ):
        with pytest.raises(GateError) as caught:
            read_conclusion(json.dumps(document | spoiled), source="report.json")
        assert caught.value.reason == "malformed"
        assert caught.value.text.startswith("report.json has the exit code ")
    with pytest.raises(GateError, match="has the exit code 0, expected 1, which its cards give; run again"):
        read_conclusion(json.dumps(document | {"exit": 0}), source="report.json")
