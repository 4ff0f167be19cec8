"""How the one required check ends: by card, by the label, by what was edited, and by what could not be judged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perfgate.github.conclusion import CardReport, Conclusion, conclude, read_conclusion, to_json
from perfgate.records import GateError, Status, Verdict

PASS, SLOWER, INVALID, UNSURE = (
    Verdict(case="k1", status=status, reason="why", text=f"k1: {status}.")
    for status in (Status.SAME, Status.SLOWER, Status.INVALID, Status.UNSURE)
)
WRONG = Verdict(case="k1", status=Status.INVALID, reason="wrong-result", text="k1: wrong.", wrong=True)
EDITS = ("baselines/x/matmul.json",)
JUDGED_BY_BOTH = {"edits": EDITS}
MEANT = {"edits": EDITS, "intended": True}


def _card(*verdicts: Verdict, own: tuple[Verdict, ...] | None = None, problems: tuple[str, ...] = ()) -> CardReport:
    return CardReport(label="a", slug="x", verdicts=verdicts, proposed=own, problems=problems)


ENDS: list[tuple[str, list[CardReport], dict[str, Any], int]] = [
    ("a pass", [_card(PASS)], {}, 0),
    ("slower", [_card(SLOWER)], {}, 1),
    ("invalid", [_card(INVALID)], {}, 2),
    ("unsure", [_card(UNSURE)], {}, 3),
    ("wrong", [_card(WRONG)], {}, 1),
    ("no verdict", [_card()], {}, 2),
    ("no card", [], {}, 2),
    ("the lowest code of all cards", [_card(PASS), _card(INVALID), _card(SLOWER)], {}, 1),
    ("invalid before unsure", [_card(UNSURE), _card(INVALID)], {}, 2),
    ("a pass hides none", [_card(PASS), _card(UNSURE)], {}, 3),
    ("a problem of a card", [_card(PASS, problems=("p",))], {}, 2),
    ("a problem of all", [_card(PASS)], {"problems": ("p",)}, 2),
    ("a problem, whatever the verdict", [_card(SLOWER, problems=("p",))], {}, 2),
    ("a problem, though meant", [_card(PASS, own=(PASS,), problems=("p",))], MEANT, 2),
    ("edited: both pass", [_card(PASS, own=(PASS,))], JUDGED_BY_BOTH, 0),
    ("edited: slower by base", [_card(SLOWER, own=(PASS,))], JUDGED_BY_BOTH, 1),
    ("edited: slower by its own", [_card(PASS, own=(SLOWER,))], JUDGED_BY_BOTH, 1),
    ("edited: the lower code", [_card(INVALID, own=(UNSURE,))], JUDGED_BY_BOTH, 2),
    ("meant: its own counts", [_card(SLOWER, own=(PASS,))], MEANT, 0),
    ("meant: its own has to pass", [_card(PASS, own=(UNSURE,))], MEANT, 3),
    ("edited: not judged by its own", [_card(PASS)], JUDGED_BY_BOTH, 2),
    ("meant: not judged by its own", [_card(PASS)], MEANT, 2),
    ("meant: slower, not judged by its own", [_card(SLOWER)], MEANT, 1),
    ("meant: nothing by its own", [_card(PASS, own=())], MEANT, 2),
    ("label, nothing edited", [_card(SLOWER, own=(PASS,))], {"intended": True}, 1),
    ("label, nothing edited, nobody asked that gate", [_card(PASS, own=(SLOWER,))], {"intended": True}, 0),
    ("meant: wrong by base", [_card(WRONG, own=(PASS,))], MEANT, 1),
    ("meant: wrong by its own", [_card(PASS, own=(WRONG,))], MEANT, 1),
    ("edited: wrong by its own", [_card(INVALID, own=(WRONG,))], JUDGED_BY_BOTH, 1),
]


@pytest.mark.parametrize(("cards", "given", "code"), [end[1:] for end in ENDS], ids=[end[0] for end in ENDS])
def test_the_check_ends_so(cards: list[CardReport], given: dict[str, Any], code: int) -> None:
    known: dict[str, Any] = {"edits": (), "intended": False, "problems": ()}
    assert conclude(tuple(cards), **(known | given)) == code


def test_it_passes_as_intended_only_where_the_base_says_no_of_any_card() -> None:
    found = []
    for code, verdicts in ((0, (SLOWER,)), (0, (PASS,)), (1, (SLOWER,)), (0, (PASS, SLOWER))):
        cards = tuple(_card(verdict, own=(PASS,)) for verdict in verdicts)
        found.append(Conclusion(exit=code, base="", head="", target="", cards=cards).excused)
    assert found == [True, False, False, True]


def test_a_card_that_was_not_judged_is_no_pass_by_itself_and_is_wrong_by_either_gate() -> None:
    assert [_card(verdict, problems=("p",)).by_base for verdict in (PASS, SLOWER)] == [2, 2]
    assert [_card(PASS).by_itself, _card(PASS, own=()).by_itself, _card(own=(UNSURE,)).by_itself] == [None, 2, 3]
    cards = (_card(SLOWER), _card(SLOWER, own=(INVALID,)), _card(WRONG), _card(PASS, own=(PASS, WRONG)))
    assert [card.wrong for card in cards] == [False, False, True, True]


def test_a_report_comes_back_as_it_was_with_and_without_a_gate_of_its_own() -> None:
    cards = (
        CardReport(label="a", slug="x", machine="m", notes=("n",), verdicts=(SLOWER,), proposed=(PASS,)),
        CardReport(label="b", slug="y", problems=("p",), verdicts=(PASS,)),
    )
    known: dict[str, Any] = {"exit": 2, "base": "b", "head": "h", "target": "t", "edits": EDITS, "intended": True}
    whole = Conclusion(problems=("q",), cards=cards, **known)
    assert read_conclusion(json.dumps(to_json(whole)), source="report.json") == whole


def test_a_report_whose_exit_code_its_cards_do_not_give_is_refused() -> None:
    document = to_json(Conclusion(exit=1, base="b", head="h", target="t", cards=(_card(SLOWER),)))
    for spoiled in (
        {"exit": 0},
        {"exit": 2},
        {"problems": ["p"], "cards": []},
        {"edits": ["e"], "intended": True, "cards": [document["cards"][0] | {"proposed": []}]},
    ):
        with pytest.raises(GateError, match=r"the exit code [012], expected [012], which its cards give") as caught:
            read_conclusion(json.dumps(document | spoiled), source="report.json")
        assert caught.value.reason == "malformed"
