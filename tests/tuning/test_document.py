"""What a tuning keeps: written whole, read strictly, and what its numbers say together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.files import write_whole
from perfgate.records import GateError
from perfgate.tuning import document as kept

if TYPE_CHECKING:
    from pathlib import Path


def candidate(number: int, **facts: Any) -> dict[str, Any]:
    config = {"BLOCK": number, "num_warps": 4, "num_stages": 3}
    kernel = {"config": config, "stack_bytes": 0, "spill_instructions": 0, "blocks_per_sm": 1, "code_hash": str(number)}
    return {"config": config, "error": "", "kernels": [{**kernel, "instructions": {"other": 1}, **facts}]}


def compiled() -> dict[str, dict[str, Any]]:
    candidates = {"a": candidate(1), "b": candidate(2, spill_instructions=9), "c": candidate(3)}
    asked = {"note": "", "current": "a", "start": "c", "kept": ["c", "a"], "allowed": 7, "left_out": {"--limit": 4}}
    return {"k": {**asked, "candidates": candidates}, "v": {"note": "not tuned", "left_out": {}, "candidates": {}}}


def document(**screen: float) -> dict[str, Any]:
    found = kept.begin({"target": "sm_89"})
    kept.add_cases(found, compiled())
    if screen:
        found["cases"]["k"]["screen"] = {"seconds": {name: [s, s, 9.0] for name, s in screen.items()}, "state": {}}
    return found


def test_what_facts_rule_out_is_marked_and_counted_beside_what_was_left_out_before() -> None:
    case = document()["cases"]["k"]
    assert kept.running(case) == ["a", "c"]
    assert case["left_out"] == {"--limit": 4, "spills registers to memory": 1}
    assert list(kept.tuned(document())) == ["k"]


def test_a_document_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "tune.json"
    write_whole(path, kept.as_text(document(a=1.0)))
    assert kept.read(path, same={"target": "sm_89"}) == document(a=1.0)
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "tune.json"
    write_whole(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "half a text \ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 1, "about": {}, "cases": []}',
        '{"schema": 1, "about": {}, "cases": {"k": {}}}',
        '{"schema": 9, "about": {}, "cases": {}}',
        '{"schema": 1, "about": {}, "cases": {"k": {"note": "", "left_out": {}, "candidates": {"a": {"config": 1}}}}}',
    ],
)
def test_what_is_no_document_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tune.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GateError, match="tune anew without --resume") as caught:
        kept.read(path, same={})
    assert caught.value.reason == "unreadable"
    assert "\n" not in caught.value.text


def test_a_document_of_another_kernel_or_card_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "tune.json"
    write_whole(path, kept.as_text(document()))
    with pytest.raises(GateError, match="made with target 'sm_89', expected the 'sm_90' of now") as caught:
        kept.read(path, same={"target": "sm_90"})
    assert caught.value.reason == "other-recording"


def test_a_case_that_could_not_be_measured_is_tried_again_and_a_candidate_that_failed_is_not(tmp_path: Path) -> None:
    found = document()
    found["cases"]["k"]["failed"] = "the card throttled"
    found["cases"]["k"]["candidates"]["a"]["failed"] = "its process died"
    found["cases"]["unasked"] = {"note": "", "failed": "the compiler died", "candidates": {}, "left_out": {}}
    write_whole(tmp_path / "tune.json", json.dumps(found))
    cases = kept.read(tmp_path / "tune.json", same={})["cases"]
    assert list(cases) == ["k", "v"]
    case = cases["k"]
    assert "failed" not in case
    assert kept.running(case) == ["c"]


def test_a_time_is_of_the_launches_where_there_are_any_and_the_first_pass_is_moved_beside_them() -> None:
    found = document(a=1.0, c=3.0)["cases"]["k"]
    assert kept.screened(found) == {"a": 1.0, "c": 3.0}
    assert kept.times(found) == {"a": (1.0, 0), "c": (3.0, 0)}
    found["launches"] = [{"seconds": {"a": [1.1, 1.1, 7.0]}}, {"seconds": {"a": [1.3]}}, {"seconds": {"a": [1.2]}}]
    times = kept.times(found)
    assert times["a"] == (1.2, 3)
    assert times["c"].seconds == pytest.approx(3.0 * 1.2)
    assert times["c"].launches == 0


def test_a_candidate_that_failed_has_no_time_though_it_was_timed_before() -> None:
    found = document(a=1.0, c=3.0)["cases"]["k"]
    found["candidates"]["a"]["failed"] = "its process died in launch 2"
    found["launches"] = [{"seconds": {"a": [1.0], "c": [3.0]}}]
    assert kept.times(found) == {"c": (3.0, 1)}


def test_finalists_are_the_fastest_the_present_choice_the_start_and_what_is_asked_for_where_it_runs() -> None:
    found = document(a=2.0, c=1.0)
    kept.set_finalists(found, top=1, also=("b", "elsewhere"))
    assert found["cases"]["k"]["finalists"] == ["c", "a"]
    found["cases"]["k"]["finalists"] = ["a"]
    kept.set_finalists(found, top=2, also=())
    assert found["cases"]["k"]["finalists"] == ["a"]
