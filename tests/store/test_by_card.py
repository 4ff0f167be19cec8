"""``python -m perfgate judge`` on files of several cards: each group by its own baseline, and none left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.cli import judge
from recorded import CASES, ENVIRONMENT, FIRST_CARD, SECOND_CARD, document

if TYPE_CHECKING:
    from collections.abc import Mapping

H100, ADA = "nvidia-h100-80gb-hbm3", "nvidia-geforce-rtx-4090"
ON_ADA = {**ENVIRONMENT, "gpu": "NVIDIA GeForce RTX 4090"}
FIRST = {**ENVIRONMENT, "uuid": "GPU-11111111-aaaa"}
SECOND = {**ENVIRONMENT, "uuid": "GPU-22222222-bbbb"}
TWO = ("k7_small_k", "sq2048")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _file(name: str, launches: Any, environment: Mapping[str, str] = ENVIRONMENT, **options: Any) -> str:
    options.setdefault("cases", TWO)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(json.dumps(document(launches, environment=environment, **options)), encoding="utf-8")
    return name


def _judged(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    code = judge.main([*argv, "--format", "json"])
    found = json.loads(capsys.readouterr().out)
    assert found["exit"] == code
    return code, {verdict["case"]: verdict for verdict in found["verdicts"]}


def _said(found: dict[str, Any]) -> dict[str, str]:
    return {case: verdict["reason"] for case, verdict in found.items()}


def test_each_card_is_judged_by_its_own_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    then = [_file("then-h100.json", FIRST_CARD[:6]), _file("then-ada.json", FIRST_CARD[:6], ON_ADA, scale=2.0)]
    now = [_file("now-ada.json", SECOND_CARD[:5], ON_ADA, scale=2.0), _file("now-h100.json", SECOND_CARD[:5])]
    code, found = _judged(capsys, "--baseline", then[0], "--baseline", then[1], "--current", *now)
    assert code == 0
    assert _said(found) == {
        f"k7_small_k@{ADA}": "same",
        f"sq2048@{ADA}": "same",
        f"k7_small_k@{H100}": "same",
        f"sq2048@{H100}": "same",
    }


def test_a_group_gets_the_verdicts_that_it_would_get_alone(capsys: pytest.CaptureFixture[str]) -> None:
    then = [_file("then-h100.json", FIRST_CARD[:6]), _file("then-ada.json", FIRST_CARD[:6], ON_ADA)]
    slow = {"sq2048": 1.05}
    now = [_file("now-h100.json", FIRST_CARD[6:], scale=slow), _file("now-ada.json", SECOND_CARD[:5], ON_ADA)]
    code, together = _judged(capsys, "--baseline", then[0], "--baseline", then[1], "--current", *now)
    alone = [_judged(capsys, "--baseline", a, "--current", b)[1] for a, b in zip(then, now, strict=True)]
    assert code == 1
    for label, group in zip((H100, ADA), alone, strict=True):
        for case, verdict in group.items():
            text = verdict["text"].replace(f"{case}: ", f"{case}@{label}: ", 1)
            assert together[f"{case}@{label}"] == {**verdict, "case": f"{case}@{label}", "text": text}
    assert together[f"sq2048@{H100}"]["status"] == "SLOWER"
    assert "--case sq2048," in together[f"sq2048@{H100}"]["text"]  # a command that can be run


def test_launches_of_one_card_are_put_together_wherever_they_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    apart = [
        _file(f"{name}-{n}.json", [n], environment, kernel="B1", other="A")
        for n in range(4)
        for name, environment in (("h100", ENVIRONMENT), ("ada", ON_ADA))
    ]
    whole = [
        _file(f"{name}.json", range(4), environment, kernel="B1", other="A")
        for name, environment in (("h100", ENVIRONMENT), ("ada", ON_ADA))
    ]
    assert _judged(capsys, "--current", *apart) == _judged(capsys, "--current", *whole)


def test_without_a_baseline_each_card_is_judged_by_its_own_other_side(capsys: pytest.CaptureFixture[str]) -> None:
    now = [
        _file("h100.json", range(8), kernel="B1", other="A", cases=("sq2048",)),
        _file("ada.json", range(8), ON_ADA, kernel="A2", other="A", cases=("sq2048",)),
    ]
    code, found = _judged(capsys, "--current", *now)
    assert code == 1
    assert _said(found) == {f"sq2048@{H100}": "slower", f"sq2048@{ADA}": "same"}


@pytest.mark.parametrize(("scale", "exit_code"), [(1.0, 2), (1.05, 1)])
def test_a_card_without_a_baseline_is_invalid_and_never_left_out(
    capsys: pytest.CaptureFixture[str], scale: float, exit_code: int
) -> None:
    now = [_file("now-h100.json", FIRST_CARD[6:], scale=scale), _file("now-ada.json", SECOND_CARD[:5], ON_ADA)]
    code, found = _judged(capsys, "--baseline", _file("then.json", FIRST_CARD[:6]), "--current", *now)
    assert code == exit_code
    assert len(found) == 4
    assert found[f"sq2048@{ADA}"]["reason"] == "no-baseline"
    assert found[f"sq2048@{ADA}"]["text"] == (
        f"sq2048@{ADA}: NVIDIA GeForce RTX 4090 has no baseline among then.json, expected one of this card; give its "
        f"file, or a folder that holds {ADA}/matmul.json, or record one on it: "
        'nox -s update-baselines -- --reason "first baseline".'
    )


def test_a_wrong_result_is_wrong_with_or_without_a_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    now = [_file("h100.json", range(5)), _file("ada.json", range(5), ON_ADA, state={"correct": False})]
    code, found = _judged(capsys, "--baseline", _file("then.json", range(5, 10)), "--current", *now)
    assert (code, found[f"sq2048@{ADA}"]["reason"]) == (1, "wrong-result")


def test_a_folder_holds_the_baseline_of_each_card(capsys: pytest.CaptureFixture[str]) -> None:
    _file(f"baselines/{H100}/matmul.json", FIRST_CARD[:6])
    _file(f"baselines/{ADA}/matmul.json", FIRST_CARD[:6], ON_ADA, scale=2.0)
    now = [_file("ada.json", SECOND_CARD[:5], ON_ADA, scale=2.0), _file("h100.json", SECOND_CARD[:5])]
    code, found = _judged(capsys, "--baseline", "baselines/", "--current", *now)
    assert (code, len(found), {verdict["status"] for verdict in found.values()}) == (0, 4, {"SAME"})


def test_a_folder_and_its_file_judge_one_card_alike(capsys: pytest.CaptureFixture[str]) -> None:
    then, now = _file(f"baselines/{H100}/matmul.json", FIRST_CARD[:6]), _file("now.json", SECOND_CARD[:5])
    by_file = _judged(capsys, "--baseline", then, "--current", now)
    assert by_file[0] == 0
    assert _judged(capsys, "--baseline", "baselines", "--current", now) == by_file


def test_a_folder_without_this_cards_baseline_judges_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    _file(f"baselines/{ADA}/matmul.json", FIRST_CARD[:6], ON_ADA)
    code, found = _judged(capsys, "--baseline", "baselines", "--current", _file("now.json", range(5)))
    assert (code, _said(found)) == (2, dict.fromkeys(TWO, "no-baseline"))
    assert f"a folder that holds {H100}/matmul.json" in found["sq2048"]["text"]


def test_a_file_in_the_folder_of_another_card_is_refused_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    _file(f"baselines/{H100}/matmul.json", FIRST_CARD[:6], ON_ADA)
    code, found = _judged(capsys, "--baseline", "baselines", "--current", _file("now.json", range(5)))
    assert (code, _said(found)) == (2, dict.fromkeys(TWO, "other-card"))


def test_one_card_and_one_baseline_of_another_are_refused_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    then = _file("then.json", range(5), ON_ADA)
    code, found = _judged(capsys, "--baseline", then, "--current", _file("now.json", range(5, 10)))
    assert (code, _said(found)) == (2, dict.fromkeys(TWO, "other-card"))


def test_of_several_baselines_one_card_takes_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    then = [_file("ada.json", range(5), ON_ADA, scale=3.0), _file("h100.json", range(5))]
    now = _file("now.json", range(5, 10))
    argv = [word for path in then for word in ("--baseline", path)]
    alone = _judged(capsys, "--baseline", then[1], "--current", now)
    assert alone[0] == 0
    assert _judged(capsys, *argv, "--current", now) == alone
    other = _file("other.json", range(5), {**ENVIRONMENT, "gpu": "NVIDIA A100"})
    assert set(_said(_judged(capsys, *argv, "--current", other)[1]).values()) == {"no-baseline"}


def test_two_baselines_of_one_card_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    argv = [w for n in range(2) for w in ("--baseline", _file(f"then-{n}.json", [n]))]
    code, found = _judged(capsys, *argv, "--current", _file("now.json", range(5, 10)))
    assert (code, _said(found)) == (2, {"*": "two-baselines"})
    assert "then-0.json and then-1.json are both baselines of NVIDIA H100 80GB HBM3, expected one" in found["*"]["text"]


def test_a_file_and_a_folder_with_the_same_card_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    then = [_file("then.json", range(5)), str(Path(_file(f"stored/{H100}/matmul.json", range(5))).parent.parent)]
    argv = [word for path in then for word in ("--baseline", path)]
    code, found = _judged(capsys, *argv, "--current", _file("now.json", range(5, 10)))
    assert (code, _said(found)) == (2, {"*": "two-baselines"})


def test_two_cards_of_a_model_are_two_groups_under_one_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    now = [_file("a.json", FIRST_CARD[6:], FIRST), _file("b.json", SECOND_CARD[:5], SECOND, scale=1.1)]
    code, found = _judged(capsys, "--baseline", _file("then.json", FIRST_CARD[:6], FIRST), "--current", *now)
    assert code == 1
    assert _said(found) == {
        f"k7_small_k@{H100}#11111111": "same",
        f"sq2048@{H100}#11111111": "same",
        f"k7_small_k@{H100}#22222222": "slower",
        f"sq2048@{H100}#22222222": "slower",
    }


def test_cards_that_their_uuids_begin_do_not_tell_apart_are_numbered(capsys: pytest.CaptureFixture[str]) -> None:
    alike = [{**FIRST, "uuid": f"GPU-11111111-{end}"} for end in "ab"]
    now = [_file(f"{n}.json", range(5), one) for n, one in enumerate([*alike, ENVIRONMENT, SECOND])]
    found = _judged(capsys, "--current", *now)[1]
    assert [case.partition("@")[2] for case in found][::2] == [f"{H100}#{x}" for x in ("1", "2", "3", "22222222")]


def test_another_code_path_is_another_group_with_a_baseline_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    as_ada = {**ENVIRONMENT, "code_path": "sm89"}
    _file(f"baselines/{H100}/matmul.json", FIRST_CARD[:6], {**ENVIRONMENT, "code_path": "native"})
    now = [_file("native.json", SECOND_CARD[:5]), _file("as.json", SECOND_CARD[:5], as_ada, scale=1.5)]
    code, found = _judged(capsys, "--baseline", "baselines", "--current", *now)
    assert (code, found[f"sq2048@{H100}"]["status"]) == (2, "SAME")
    assert found[f"sq2048@{H100}-as-sm89"]["reason"] == "no-baseline"
    _file(f"baselines/{H100}-as-sm89/matmul.json", FIRST_CARD[:6], as_ada, scale=1.5)
    assert _judged(capsys, "--baseline", "baselines", "--current", *now)[0] == 0


def test_files_that_record_no_card_are_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    now = [_file("a.json", [5, 6, 7], {}), _file("b.json", [8, 9, 10], {}), _file("c.json", range(12, 17))]
    then = [_file("then.json", FIRST_CARD[:5]), _file("then-none.json", FIRST_CARD[:5], {})]
    code, found = _judged(capsys, "--baseline", then[0], "--baseline", then[1], "--current", *now)
    assert (code, len(found)) == (0, 4)
    assert "card not recorded" in found["sq2048@card-not-recorded"]["text"]
    found = _judged(capsys, "--baseline", then[0], "--current", *now)[1]
    assert "a card that is not recorded has no baseline" in found["sq2048@card-not-recorded"]["text"]
    assert found[f"sq2048@{H100}"]["status"] == "SAME"


def test_a_folder_has_no_baseline_for_files_that_record_no_card(capsys: pytest.CaptureFixture[str]) -> None:
    _file("baselines/matmul.json", range(5), {})
    found = _judged(capsys, "--baseline", "baselines", "--current", _file("now.json", range(5, 10), {}))[1]
    assert _said(found) == dict.fromkeys(TWO, "no-baseline")
    assert "CARD/matmul.json" in found["sq2048"]["text"]


def test_a_whole_suite_that_moved_is_not_judged_without_a_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    moved: dict[str, Any] = {"kernel": "A2", "other": "A", "scale": 1.004, "cases": CASES}
    now = [_file("a.json", range(8), **moved), _file("b.json", range(8), ON_ADA, **moved)]
    assert _said(_judged(capsys, "--current", *now)[1])["*"] != "no-baseline"
    found = _judged(capsys, "--baseline", _file("then.json", range(5), {}), "--current", *now)[1]
    assert (len(found), set(_said(found).values())) == (2 * len(CASES), {"no-baseline"})


def test_one_cards_files_that_disagree_are_refused_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    now = [_file("a.json", [0]), _file("b.json", [1], settings={"rounds": 3})]
    assert judge.main(["--current", *now, "--case", "sq2048"]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "perfgate: 1 INVALID; could not compare, exit 2"


def test_what_spoils_one_cards_files_spoils_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    now = [
        _file("a.json", [0], ON_ADA),
        _file("b.json", [1], ON_ADA, settings={"rounds": 3}),
        _file("c.json", FIRST_CARD[6:]),
    ]
    code, found = _judged(capsys, "--baseline", _file("then.json", FIRST_CARD[:6]), "--current", *now)
    assert (code, found[f"sq2048@{H100}"]["status"]) == (2, "SAME")
    assert (found["*"]["reason"], found["*"]["text"].startswith(f"{ADA}: b.json has settings")) == (
        "files-disagree",
        True,
    )


def test_a_chosen_case_is_counted_on_every_card(capsys: pytest.CaptureFixture[str]) -> None:
    now = [_file(f"{n}.json", range(8), one, kernel="A2", other="A") for n, one in enumerate((ENVIRONMENT, ON_ADA))]
    assert judge.main(["--current", *now, "--case", "sq2048"]) == 0
    assert "partial: 2 of 4 cases" in capsys.readouterr().out
    assert judge.main(["--current", *now, *(word for case in TWO for word in ("--case", case))]) == 0
    assert "partial: 4 of 4 cases" in capsys.readouterr().out
    code, found = _judged(capsys, "--current", *now, "--case", "none")
    assert (code, set(found)) == (2, {f"none@{H100}", f"none@{ADA}"})


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_the_table_has_numbers_for_every_card(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    cards = enumerate((ENVIRONMENT, ON_ADA))
    now = [_file(f"{n}.json", range(8), one, kernel="A2", other="A", cases=("sq2048",)) for n, one in cards]
    assert judge.main(["--current", *now, "--format", form]) == 0
    out = capsys.readouterr().out.replace("\u200b", "")
    assert all(f"sq2048@{name}" in out for name in (H100, ADA))
    rows = [line for line in out.splitlines() if line.lstrip("| ").startswith("sq2048@")]
    assert ["218.9 µs" in row for row in rows] == [True, True]


def test_every_case_of_every_card_is_in_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    now = [_file(f"{n}.json", [n, n + 3, n + 6], one, cases=CASES) for n, one in enumerate((FIRST, SECOND, ON_ADA))]
    found = _judged(capsys, "--baseline", _file("then.json", FIRST_CARD, cases=CASES), "--current", *now)[1]
    assert len([case for case in found if case != "*"]) == 3 * len(CASES)
