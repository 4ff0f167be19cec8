"""The measurement of a tuning: which process times what, and what a crash, a hang or a busy card costs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.records import GateError
from perfgate.tuning import document as tune_document
from perfgate.tuning.measuring import Tuning

if TYPE_CHECKING:
    from pathlib import Path

# Stands in for the process on the card: plays the seconds that script.json has for each case and candidate.
WORKER = """
import json, os, sys, time
plan, script = json.load(open(sys.argv[1])), json.load(open("script.json"))
runs = open("runs.jsonl", "a")
print(json.dumps({case: [one["keep"], *one["candidates"]] for case, one in plan["cases"].items()}), file=runs, flush=True)
number = sum(1 for _ in open("runs.jsonl"))
steps = open(sys.argv[2], "a")
def say(step, **rest):
    print(json.dumps({"step": step, **rest}), file=steps, flush=True)
if script.get("no start"):
    sys.exit("no driver")
for case, one in plan["cases"].items():
    say("case", case=case)
    seconds = {}
    for name in one["candidates"]:
        say("checking", case=case, id=name)
        does = script[case][name]
        if does == "crash":
            os.abort()
        if does == "hang":
            time.sleep(60)
        if does == "wrong":
            say("failed", case=case, id=name, why="wrong result: largest error 3", wrong=True)
            continue
        say("checked", case=case, id=name)
        seconds[name] = [does * 1e-3] * 4
    say("timing", case=case)
    if script.get("dies timing") == [case, number]:
        sys.exit("CUDA error: unspecified launch failure")
    busy = {"foreign_processes": 1} if number in script.get("busy", {}).get(case, []) else {}
    say("timed", case=case, seconds=seconds, state={"unheld": 0, **busy})
"""
IDS = ("start", "now", "a", "b", "c", "d")


def document(*cases: str, note: str = "") -> dict[str, Any]:
    found = tune_document.begin({"limit": 6})
    plain: dict[str, Any] = {"kernels": [], "error": "", "pruned": ""}
    for case in cases:
        found["cases"][case] = {
            "note": note,
            "current": "now",
            "start": "start",
            "kept": ["start", "now"],
            "left_out": {},
            "candidates": {name: {"config": {"BLOCK": number}, **plain} for number, name in enumerate(IDS)},
            "launches": [],
        }
    return found


class Card:
    """A project whose process on the card is the stand-in."""

    def __init__(self, tmp_path: Path, found: dict[str, Any], **script: Any) -> None:
        (tmp_path / "perfgate").mkdir(exist_ok=True)
        (tmp_path / "perfgate" / "__init__.py").touch()
        (tmp_path / "perfgate" / "tune_worker.py").write_text(WORKER, encoding="utf-8")
        (tmp_path / "script.json").write_text(json.dumps(script), encoding="utf-8")
        self.document, self.kept, self.asked = found, list[str](), 0
        self.tuning = Tuning(
            root=tmp_path,
            output=tmp_path / "out",
            document=found,
            top=2,
            launches=2,
            keep=lambda: self.kept.append(tune_document.as_text(found)),
            check_idle=self._ask,
            silent_s=5.0,
        )
        (tmp_path / "out").mkdir(exist_ok=True)
        self._runs = tmp_path / "runs.jsonl"

    def _ask(self) -> None:
        self.asked += 1

    def run(self) -> dict[str, dict[str, Any]]:
        self.tuning.run()
        cases: dict[str, dict[str, Any]] = self.document["cases"]
        return cases

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._runs.read_text(encoding="utf-8").splitlines()]


def times(**changed: Any) -> dict[str, Any]:
    return {"start": 9, "now": 5, "a": 1, "b": 2, "c": 3, "d": 4} | changed


def test_a_first_pass_times_all_and_launches_the_best_the_present_choice_and_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = Card(tmp_path, document("k"), k=times())
    found = card.run()["k"]
    assert card.runs()[0] == {"k": [4, *IDS]}
    assert card.runs()[1:] == [{"k": [0, "a", "b", "now", "start"]}] * 2
    assert [set(launch["seconds"]) for launch in found["launches"]] == [{"a", "b", "now", "start"}] * 2
    assert tune_document.times(found)["a"] == (1e-3, 2)
    assert tune_document.times(found)["d"] == (4e-3, 0)
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


def test_a_case_that_runs_another_kernel_is_left_alone(tmp_path: Path) -> None:
    found = document("k") | {}
    found["cases"] |= document("vector", note="not tuned: runs another kernel (matvec)")["cases"]
    card = Card(tmp_path, found, k=times())
    card.run()
    assert {case for run in card.runs() for case in run} == {"k"}


def test_a_candidate_that_takes_its_process_down_is_out_and_nothing_else_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = Card(tmp_path, document("j", "k", "l"), j=times(), k=times(b="crash"), l=times())
    found = card.run()
    assert found["k"]["candidates"]["b"]["failed"] == "its process died (killed by signal 6) in the first pass"
    assert [list(run) for run in card.runs()] == [["j", "k", "l"], ["k", "l"], *[["j", "k", "l"]] * 2]
    assert "b" not in tune_document.times(found["k"])
    assert {len(case["launches"]) for case in found.values()} == {2}
    assert "k: b is out, its process died (killed by signal 6)" in capsys.readouterr().out


def test_a_candidate_that_hangs_is_out(tmp_path: Path) -> None:
    card = Card(tmp_path, document("k"), k=times(c="hang"))
    card.tuning.silent_s = 0.5
    assert card.run()["k"]["candidates"]["c"]["failed"] == "its process took no step for 0.5 s in the first pass"


def test_a_wrong_candidate_gets_no_number_and_is_reported(tmp_path: Path) -> None:
    found = Card(tmp_path, document("k"), k=times(a="wrong")).run()["k"]
    assert found["candidates"]["a"] | {"config": 0} == {
        "config": 0,
        "kernels": [],
        "error": "",
        "pruned": "",
        "failed": "wrong result: largest error 3",
        "wrong": True,
    }
    assert "a" not in {name for launch in found["launches"] for name in launch["seconds"]}
    assert found["finalists"] == ["b", "c", "now", "start"]


def test_a_process_that_dies_while_timing_ends_its_case_alone(tmp_path: Path) -> None:
    card = Card(tmp_path, document("j", "k", "l"), j=times(), k=times(), l=times(), **{"dies timing": ["k", 2]})
    found = card.run()
    assert found["k"]["failed"] == "its process died (CUDA error: unspecified launch failure) in launch 1"
    assert [len(case["launches"]) for case in found.values()] == [2, 0, 2]


def test_a_disturbed_measurement_is_not_kept_and_made_once_more(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = Card(tmp_path, document("k", "l"), k=times(), l=times(), busy={"k": [1]})
    found = card.run()
    assert [list(run) for run in card.runs()] == [["k", "l"], ["k"], ["k", "l"], ["k", "l"]]
    assert "failed" not in found["k"]
    assert "k: not kept, 1 other processes used the card, expected it idle" in capsys.readouterr().out


def test_a_card_that_stays_disturbed_ends_the_case(tmp_path: Path) -> None:
    found = Card(tmp_path, document("k", "l"), k=times(), l=times(), busy={"k": [1, 2]}).run()
    assert found["k"]["failed"] == "1 other processes used the card, expected it idle"
    assert len(found["l"]["launches"]) == 2


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
    resumed = json.loads(after_one)
    assert ["screen" in case for case in resumed["cases"].values()] == [True, False]
    (tmp_path / "runs.jsonl").unlink()
    again = Card(tmp_path, resumed, k=times(), l=times())
    found = again.run()
    assert [list(run) for run in again.runs()] == [["l"], ["k", "l"], ["k", "l"]]
    assert {len(case["launches"]) for case in found.values()} == {2}


def test_a_case_with_nothing_left_to_time_is_said(tmp_path: Path) -> None:
    found = document("k")
    for one in found["cases"]["k"]["candidates"].values():
        one["pruned"] = "spills"
    card = Card(tmp_path, found, k=times())
    assert card.run()["k"]["failed"] == "no candidate is left"
