"""A run and the list of cases as files: they come back as they were; what they refuse is in ``test_schemas``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from perfgate.config import read_settings
from perfgate.project import load_suite
from perfgate.records import Aside, GateError, Recording, Status, Verdict
from perfgate.store.run import (
    CASES_FILE,
    Cases,
    RunRecord,
    StageResult,
    cases_to_json,
    of_suite,
    read_cases,
    read_run,
    run_to_json,
)

_ROOT = Path(__file__).parents[2]
_SLOWER = Verdict(
    case="b",
    status=Status.SLOWER,
    reason="slower",
    text="b: slower.",
    ratio=1.05,
    low=1.04,
    high=1.06,
    limit=1.005,
    asides=(Aside(text="machine: same.", ratio=1.0, matters=True), Aside(text="bare")),
)
_WRONG = Verdict(case="c", status=Status.INVALID, reason="wrong-result", text="c: wrong.", wrong=True)
RUN = RunRecord(
    environment={"gpu": "NVIDIA H100", "driver": ""},
    exit=1,
    partial=True,
    stages=(
        StageResult(name="correctness", done="2 right", passed=("a", "b"), note="of main"),
        StageResult(name="throughput", left_out="half", verdicts=(_SLOWER, _WRONG), why={"b": ("counters moved",)}),
    ),
    run={"nonce": "0" * 32},
)


def _again(run: RunRecord) -> RunRecord:
    return read_run(json.dumps(run_to_json(run)), source="run.json")


def test_a_run_comes_back_as_it_was() -> None:
    assert _again(RUN) == RUN
    assert RUN.verdicts == (_SLOWER, _WRONG)
    for code in (0, 1, 2, 3):
        bare = RunRecord(environment={}, exit=code)
        assert (_again(bare), bare.verdicts) == (bare, ())


def test_what_is_of_the_run_at_hand_alone_is_not_kept() -> None:
    measured = Recording(samples={}, environment={}, settings={})
    kept = StageResult(name="throughput", done="2 cases")
    stage = dataclasses.replace(kept, recording=measured, sha256="s", baseline="b.json", again="judge", spent="3 s")
    run = RunRecord(environment={}, exit=0, stages=(stage,))
    assert _again(run).stages == (kept,)
    document = run_to_json(run)
    document["stages"][0]["recording"] = {"samples": {}, "environment": {}, "settings": {}}
    assert read_run(json.dumps(document), source="run.json").stages == (kept,)


def test_a_whole_number_is_a_ratio_and_what_older_gates_did_not_say_is_empty() -> None:
    document: Any = run_to_json(RUN)
    document["stages"][1]["verdicts"][0]["ratio"] = 1
    del document["run"], document["stages"][1]["why"]
    found = read_run(json.dumps(document), source="run.json")
    assert (found.run, found.stages[1].why, repr(found.verdicts[0].ratio)) == ({}, {}, "1.0")


@pytest.mark.parametrize("code", [0, 2, 3])
def test_an_exit_code_that_the_verdicts_do_not_give_is_refused(code: int) -> None:
    with pytest.raises(GateError) as caught:
        read_run(json.dumps(run_to_json(RUN) | {"exit": code}), source="run.json")
    assert caught.value.reason == "malformed"
    assert f"the exit code {code}, expected 1, which its verdicts give" in caught.value.text


def test_the_file_of_cases_is_that_of_the_suite() -> None:
    found = read_cases((_ROOT / "baselines" / CASES_FILE).read_bytes(), source=CASES_FILE)
    suite = load_suite(read_settings(_ROOT))
    assert found == of_suite(suite), "the suite's cases changed; write them with python -m perfgate cases"


def test_cases_come_back_as_they_were_and_none_may_be_named_twice() -> None:
    found = Cases(checked=("a", "b"), compiled=("a",), timed=("b",))
    document = cases_to_json(found)
    assert read_cases(json.dumps(document), source=CASES_FILE) == found
    for stage in ("checked", "compiled", "timed"):
        with pytest.raises(GateError, match="names a case twice"):
            read_cases(json.dumps(document | {stage: ["a", "a"]}), source=CASES_FILE)
