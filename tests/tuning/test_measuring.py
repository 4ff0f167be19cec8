"""The measurement of a tuning: which process times what, and what a crash, a hang or a busy card costs."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.records import GateError
from perfgate.store import codec
from perfgate.tuning.document import Case, Document
from perfgate.tuning.measuring import Tuning
from tuning_support import IDS, WORKER, candidate, case, times
from tuning_support import document as empty

if TYPE_CHECKING:
    from pathlib import Path


def document(*cases: str, note: str = "") -> Document:
    candidates = {name: candidate({"BLOCK": number}) for number, name in enumerate(IDS)}
    known = {"note": note, "current": "now", "start": "start", "kept": ("start", "now")}
    return empty(**{name: case(**known, candidates=copy.deepcopy(candidates)) for name in cases})


class Card:
    """A project whose process on the card is the stand-in."""

    def __init__(self, root: Path, found: Document, **script: Any) -> None:
        for name, text in {"__init__.py": "", "tuning/__init__.py": "", "tuning/worker.py": WORKER}.items():
            (root / "perfgate" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "perfgate" / name).write_text(text, encoding="utf-8")
        (root / "script.json").write_text(json.dumps(script), encoding="utf-8")
        self.document, self.kept, self.asked = found, list[str](), 0
        self.tuning = Tuning(
            root=root,
            output=root / "out",
            document=found,
            top=2,
            launches=2,
            keep=lambda: self.kept.append(found.as_text()),
            check_idle=self._ask,
            silent_s=5.0,
        )
        (root / "out").mkdir(exist_ok=True)
        self._runs = root / "runs.jsonl"

    def _ask(self) -> None:
        self.asked += 1

    def run(self) -> dict[str, Case]:
        self.tuning.run()
        return self.document.cases

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._runs.read_text(encoding="utf-8").splitlines()]


def test_a_first_pass_times_all_and_launches_the_best_the_present_choice_and_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = Card(tmp_path, document("k"), k=times())
    found = card.run()["k"]
    assert card.runs()[0] == {"k": [4, *IDS]}
    assert card.runs()[1:] == [{"k": [0, "a", "b", "now", "start"]}] * 2
    assert [set(launch.seconds) for launch in found.launches] == [{"a", "b", "now", "start"}] * 2
    assert found.times()["a"] == (1e-3, 2)
    assert found.times()["d"] == (4e-3, 0)
    assert card.asked == 3
    said = [re.sub(r"\d+ s", "# s", line) for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "tune: first pass: candidate 6 of 6 (k) in # s",
        "tune: launch 1 of 2: candidate 4 of 4 (k) in # s",
        "tune: about # s of launches left",
        "tune: launch 2 of 2: candidate 4 of 4 (k) in # s",
    ]


def test_a_launch_is_one_process_for_all_cases_and_the_list_of_the_first_pass_is_timed_in_each(tmp_path: Path) -> None:
    card = Card(tmp_path, document("k", "l"), k=times(), l=times(a=4, b=4, c=1.5, d=1))
    card.run()
    assert [list(run) for run in card.runs()] == [["k", "l"]] * 3
    assert {"a", "d"} <= set(card.runs()[1]["k"]) & set(card.runs()[1]["l"])


def test_a_candidate_that_takes_its_process_down_is_out_and_nothing_else_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = Card(tmp_path, document("j", "k", "l"), j=times(), k=times(b="crash"), l=times())
    found = card.run()
    assert found["k"].candidates["b"].failed == "its process died (killed by signal 6) in the first pass"
    assert [list(run) for run in card.runs()] == [["j", "k", "l"], ["k", "l"], *[["j", "k", "l"]] * 2]
    assert "b" not in found["k"].times()
    assert {len(case.launches) for case in found.values()} == {2}
    assert "k: b is out, its process died (killed by signal 6)" in capsys.readouterr().out
    hung = Card(tmp_path / "hung", document("k"), k=times(c="hang"))
    hung.tuning.silent_s = 0.5
    assert hung.run()["k"].candidates["c"].failed == "its process took no step for 0.5 s in the first pass"


def test_a_wrong_candidate_gets_no_number_and_is_reported(tmp_path: Path) -> None:
    found = Card(tmp_path, document("k"), k=times(a="wrong")).run()["k"]
    assert (found.candidates["a"].failed, found.candidates["a"].wrong) == ("wrong result: largest error 3", True)
    assert "a" not in {name for launch in found.launches for name in launch.seconds}
    assert found.finalists == ("b", "c", "now", "start")


def test_a_process_that_dies_while_timing_ends_its_case_alone(tmp_path: Path) -> None:
    card = Card(tmp_path, document("j", "k", "l"), j=times(), k=times(), l=times(), **{"dies timing": ["k", 2]})
    found = card.run()
    assert found["k"].failed == "its process died (CUDA error: unspecified launch failure) in launch 1"
    assert [len(case.launches) for case in found.values()] == [2, 0, 2]


@pytest.mark.parametrize(("busy", "failed"), [([1], False), ([1, 2], True)])
def test_a_disturbed_measurement_is_not_kept_and_made_once_more_and_then_ends_its_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], busy: list[int], *, failed: bool
) -> None:
    card = Card(tmp_path, document("k", "l"), k=times(), l=times(), busy={"k": busy})
    found, said = card.run(), "1 other processes used the card, expected it idle"
    assert [list(run) for run in card.runs()] == [["k", "l"], ["k"], *[["l"] if failed else ["k", "l"]] * 2]
    assert (found["k"].failed, len(found["l"].launches)) == (said if failed else "", 2)
    assert f"k: not kept, {said}" in capsys.readouterr().out


def test_a_process_that_cannot_begin_is_an_error_not_a_loop(tmp_path: Path) -> None:
    card = Card(tmp_path, document("k"), k=times(), **{"no start": True})
    with pytest.raises(GateError, match=r"ended before it began a case \(no driver\)") as caught:
        card.run()
    assert caught.value.reason == "no-samples"


def test_a_busy_card_is_refused_before_anything_is_timed(tmp_path: Path) -> None:
    card = Card(tmp_path, document("k"), k=times())

    def busy() -> None:
        raise GateError("busy", "99 % busy")

    card.tuning.check_idle = busy
    with pytest.raises(GateError, match="99 % busy"):
        card.run()
    assert not (tmp_path / "runs.jsonl").exists()


def test_what_was_measured_is_kept_after_every_case_and_gone_on_with(tmp_path: Path) -> None:
    card = Card(tmp_path, document("k", "l"), k=times(), l=times())
    card.run()
    after_one = next(text for text in card.kept if '"screen"' in text)
    resumed = codec.decode(after_one, Document, source="kept")
    assert [case.screen is not None for case in resumed.cases.values()] == [True, False]
    (tmp_path / "runs.jsonl").unlink()
    again = Card(tmp_path, resumed, k=times(), l=times())
    found = again.run()
    assert [list(run) for run in again.runs()] == [["l"], ["k", "l"], ["k", "l"]]
    assert {len(case.launches) for case in found.values()} == {2}


def test_a_case_with_nothing_left_to_time_is_said(tmp_path: Path) -> None:
    found = document("k")
    for one in found.cases["k"].candidates.values():
        one.pruned = "spills"
    card = Card(tmp_path, found, k=times())
    assert card.run()["k"].failed == "no candidate is left"
