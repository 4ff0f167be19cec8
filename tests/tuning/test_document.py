"""What a tuning keeps: read strictly as it was written, and what its numbers say together."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from perfgate.records import GateError
from perfgate.tuning import document as kept
from tuning_support import ABOUT, candidate, case, document, timed

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.tuning.document import Case, Document


def compiled(**screen: list[float]) -> Document:
    """A document of a case that is tuned and one that is not, perhaps with a first pass."""
    configs = {name: {"BLOCK": number, "num_warps": 4, "num_stages": 3} for number, name in enumerate("abc")}
    candidates = {name: candidate(config, code_hash=f"{config['BLOCK']:064x}") for name, config in configs.items()}
    candidates["b"] = candidate(configs["b"], spill_instructions=9)
    tuned = case(current="a", start="c", kept=("c", "a"), allowed=7, left_out={"--limit": 4}, candidates=candidates)
    found = document()
    found.add({"k": tuned, "v": case(note="not tuned")})
    if screen:
        tuned.screen = timed(**screen)
    return found


def screened() -> Case:
    return compiled(a=[1.0, 1.0, 9.0], c=[3.0, 3.0, 9.0]).cases["k"]


def written(path: Path, found: Document, **changes: Any) -> Path:
    """A document's file, perhaps with some of its top changed."""
    path.write_text(json.dumps(json.loads(found.as_text()) | changes), encoding="utf-8")
    return path


def test_what_facts_rule_out_is_marked_and_counted_beside_what_was_left_out_before() -> None:
    found = compiled()
    assert list(found.cases["k"].running()) == ["a", "c"]
    assert found.cases["k"].left_out == {"--limit": 4, "spills registers to memory": 1}
    assert list(found.tuned()) == ["k"]


def test_a_document_is_read_as_it_was_written_and_what_is_not_known_is_not_in_it(tmp_path: Path) -> None:
    found = compiled(a=[1.0])
    text = found.as_text()
    assert kept.read(written(tmp_path / "tune.json", found), now=ABOUT) == found
    assert json.loads(text)["cases"]["v"] == {"candidates": {}, "left_out": {}, "note": "not tuned", "launches": []}
    assert json.loads(text)["cases"]["k"]["candidates"]["b"].keys() == {"config", "kernels", "error", "pruned"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": 9}, "other-schema"),
        ({"cases": []}, "malformed"),
        ({"cases": {"k": {}}}, "malformed"),
        (
            {"cases": {"k": {"note": "", "left_out": {}, "launches": [], "candidates": {"a": {"config": 1}}}}},
            "malformed",
        ),
        ({"about": {}}, "malformed"),
    ],
)
def test_what_is_no_document_is_refused_in_one_sentence(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(GateError, match="tune anew without --resume") as caught:
        kept.read(written(tmp_path / "tune.json", compiled(), **changes), now=ABOUT)
    assert caught.value.reason == reason
    assert "\n" not in caught.value.text


def test_a_document_of_another_kernel_or_card_is_not_gone_on_with(tmp_path: Path) -> None:
    path = written(tmp_path / "tune.json", compiled())
    with pytest.raises(GateError, match="made with target 'sm_89', expected the 'sm_90' of now") as caught:
        kept.read(path, now=structs.replace(ABOUT, target="sm_90"))
    assert caught.value.reason == "other-recording"
    assert kept.read(path, now=structs.replace(ABOUT, top=9)).about.top == 9


def test_a_case_that_could_not_be_measured_is_tried_again_and_a_candidate_that_failed_is_not(tmp_path: Path) -> None:
    found = compiled()
    found.cases["k"].failed = "the card throttled"
    found.cases["k"].candidates["a"].failed = "its process died"
    found.cases["unasked"] = case(failed="the compiler died")
    cases = kept.read(written(tmp_path / "tune.json", found), now=ABOUT).cases
    assert list(cases) == ["k", "v"]
    assert (cases["k"].failed, list(cases["k"].running())) == ("", ["c"])


def test_a_time_is_of_the_launches_where_there_are_any_and_the_first_pass_is_moved_beside_them() -> None:
    found = screened()
    assert found.screened() == {"a": 1.0, "c": 3.0}
    assert found.times() == {"a": (1.0, 0), "c": (3.0, 0)}
    found.launches = [timed(a=[1.1, 1.1, 7.0]), timed(a=1.3), timed(a=1.2)]
    assert found.times() == {"a": (1.2, 3), "c": (pytest.approx(3.0 * 1.2), 0)}


def test_a_candidate_that_failed_has_no_time_though_it_was_timed_before() -> None:
    found = screened()
    found.candidates["a"].failed = "its process died in launch 2"
    found.launches = [timed(a=1.0, c=3.0)]
    assert found.times() == {"c": (3.0, 1)}


def test_finalists_are_the_fastest_the_present_choice_the_start_and_what_is_asked_for_where_it_runs() -> None:
    found = compiled(a=[2.0], c=[1.0])
    found.choose_finalists(top=1, also=("b", "elsewhere"))
    assert found.cases["k"].finalists == ("c", "a")
    found.cases["k"].finalists = ("a",)
    found.choose_finalists(top=2, also=())
    assert found.cases["k"].finalists == ("a",)
