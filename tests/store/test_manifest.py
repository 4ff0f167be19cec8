"""The file of cases is the suite's, and one that is not whole is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perf_tests import cases
from perfgate.records import GateError
from perfgate.store.manifest import FILE, Cases, cases_to_json, of_suite, read_cases

_ROOT = Path(__file__).parents[2]


def test_the_file_of_cases_is_that_of_the_suite() -> None:
    path = _ROOT / "baselines" / FILE
    said = "the suite's cases changed; write them with python -m perfgate cases"
    assert read_cases(path.read_bytes(), source=FILE) == of_suite(cases), said


def test_cases_come_back_as_they_were() -> None:
    found = Cases(checked=("a", "b"), compiled=("a",), timed=("b",))
    assert read_cases(json.dumps(cases_to_json(found)), source=FILE) == found


@pytest.mark.parametrize("stage", ["checked", "compiled", "timed"])
@pytest.mark.parametrize("ids", [[], ["a", "a"], "a", [1], None])
def test_a_file_that_is_not_whole_is_refused(stage: str, ids: object) -> None:
    document = cases_to_json(Cases(checked=("a",), compiled=("a",), timed=("a",))) | {stage: ids}
    with pytest.raises(GateError) as caught:
        read_cases(json.dumps(document), source=FILE)
    assert caught.value.reason == "malformed"
