"""The file of a whole run: it comes back as it was, and what is not as it should be is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perfgate.records import Aside, GateError, Status, Verdict
from perfgate.store.run import RunRecord, StageRecord, read_run, run_to_json

RUN = RunRecord(
    environment={"gpu": "NVIDIA H100"},
    exit=1,
    partial=True,
    stages=(
        StageRecord(
            name="throughput",
            done="1 case",
            left_out="",
            note="n",
            passed=("a",),
            verdicts=(
                Verdict(
                    case="a",
                    status=Status.SLOWER,
                    reason="slower",
                    text="a is slower.",
                    ratio=1.02,
                    low=1.01,
                    high=1.03,
                    limit=1.005,
                    asides=(Aside(text="machine", ratio=1.0, matters=True),),
                ),
            ),
            why={"a": ("machine code: registers 90 → 100", "counters: none moved")},
        ),
    ),
)


def _document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(run_to_json(RUN)))
    return found


def test_a_run_comes_back_as_it_was() -> None:
    assert read_run(json.dumps(run_to_json(RUN)), source="run.json") == RUN


def test_a_run_of_a_gate_that_did_not_say_why_yet_is_read() -> None:
    document = _document()
    del document["stages"][0]["why"]
    assert read_run(json.dumps(document), source="run.json").stages[0].why == {}


def _spoiled() -> list[tuple[str, Any, str]]:
    def stage(document: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = document["stages"][0]
        return found

    def verdict(document: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = stage(document)["verdicts"][0]
        return found

    return [
        ("another schema", lambda d: d.update(schema=2), "other-schema"),
        ("a schema that is true", lambda d: d.update(schema=True), "other-schema"),
        ("no schema", lambda d: d.pop("schema"), "other-schema"),
        ("no environment", lambda d: d.pop("environment"), "malformed"),
        ("a number in the environment", lambda d: d["environment"].update(gpu=1), "malformed"),
        ("an exit code that is none", lambda d: d.update(exit=4), "malformed"),
        ("an exit code that is true", lambda d: d.update(exit=True), "malformed"),
        ("an exit code that hides a verdict", lambda d: d.update(exit=0), "malformed"),
        ("stages that are no list", lambda d: d.update(stages={}), "malformed"),
        ("a stage that is no object", lambda d: d.update(stages=[1]), "malformed"),
        ("too many stages", lambda d: d.update(stages=[stage(d)] * 2001), "malformed"),
        ("partial that is a number", lambda d: d.update(partial=1), "malformed"),
        ("a stage without a name", lambda d: stage(d).pop("name"), "malformed"),
        ("a passed case that is a number", lambda d: stage(d).update(passed=[1]), "malformed"),
        ("passed that is text", lambda d: stage(d).update(passed="ab"), "malformed"),
        ("an unknown status", lambda d: verdict(d).update(status="GREEN"), "malformed"),
        ("a ratio that is text", lambda d: verdict(d).update(ratio="1"), "malformed"),
        ("a ratio that is no number", lambda d: verdict(d).update(ratio=float("nan")), "malformed"),
        ("a limit without end", lambda d: verdict(d).update(limit=float("inf")), "malformed"),
        ("a whole number too large to be one", lambda d: verdict(d).update(low=10**400), "malformed"),
        ("wrong that is a number", lambda d: verdict(d).update(wrong=0), "malformed"),
        ("a text too long to be a sentence", lambda d: verdict(d).update(text="x" * 4001), "malformed"),
        ("what moved that is a list", lambda d: stage(d).update(why=[]), "malformed"),
        ("what moved that is one text", lambda d: stage(d).update(why={"a": "x"}), "malformed"),
        ("what moved that is a number", lambda d: stage(d).update(why={"a": [1]}), "malformed"),
        ("an aside that is text", lambda d: verdict(d).update(asides=["x"]), "malformed"),
    ]


@pytest.mark.parametrize(("_name", "spoil", "reason"), _spoiled(), ids=[name for name, _, _ in _spoiled()])
def test_what_is_not_as_it_should_be_is_refused(_name: str, spoil: Any, reason: str) -> None:
    document = _document()
    spoil(document)
    with pytest.raises(GateError) as caught:
        read_run(json.dumps(document), source="run.json")
    assert caught.value.reason == reason
    assert "run.json" in caught.value.text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_object_of_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(GateError):
        read_run(text, source="run.json")


def test_a_run_without_a_verdict_is_one_too_and_what_is_not_said_is_empty() -> None:
    for code in (0, 1, 2, 3):
        bare = RunRecord(environment={}, exit=code)
        assert read_run(json.dumps(run_to_json(bare)), source="run.json") == bare
        assert (bare.partial, bare.stages, bare.verdicts) == (False, (), ())
    bare_document = run_to_json(RunRecord(environment={}, exit=0))
    for code in (-1, 4):
        with pytest.raises(GateError, match="no usable exit"):
            read_run(json.dumps(bare_document | {"exit": code}), source="run.json")
    stage = StageRecord(name="compiled")
    assert (stage.done, stage.left_out, stage.note, stage.passed, stage.verdicts) == ("", "", "", (), ())


def test_the_verdicts_of_a_run_are_those_of_all_its_stages_and_a_number_may_be_missing() -> None:
    bare = Verdict(case="b", status=Status.INVALID, reason="r", text="t", wrong=True)
    stages = (RUN.stages[0], StageRecord(name="x", left_out="why", verdicts=(bare,)))
    run = RunRecord(environment={"gpu": ""}, exit=1, stages=stages)
    assert read_run(json.dumps(run_to_json(run)), source="run.json") == run
    assert run.verdicts == (*RUN.verdicts, bare)
    document = _document()
    document["stages"][0]["verdicts"][0]["ratio"] = 1
    (verdict,) = read_run(json.dumps(document), source="run.json").verdicts
    assert (verdict.ratio, type(verdict.ratio)) == (1.0, float)


@pytest.mark.parametrize(
    ("most", "spoil"),
    [
        (4000, lambda d, n: d["stages"][0]["verdicts"][0].update(text="x" * n)),
        (2000, lambda d, n: d.update(environment={str(i): "" for i in range(n)})),
        (2000, lambda d, n: d["stages"][0].update(passed=["a"] * n)),
        (2000, lambda d, n: d["stages"][0].update(verdicts=d["stages"][0]["verdicts"] * n)),
        (1e9, lambda d, n: d["stages"][0]["verdicts"][0].update(ratio=n)),
        (1e9, lambda d, n: d["stages"][0]["verdicts"][0].update(ratio=-n)),
    ],
    ids=["a text", "the environment", "passed", "verdicts", "a number", "a negative number"],
)
def test_every_bound_is_where_it_is_said_to_be(most: int, spoil: Any) -> None:
    document = _document()
    spoil(document, most)
    read_run(json.dumps(document), source="run.json")
    spoil(document := _document(), most + 1)
    with pytest.raises(GateError) as caught:
        read_run(json.dumps(document), source="run.json")
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: d.update(schema="x" * 99), f"has schema {'x' * 40!r}, expected version 1"),
        (lambda d: d.update(exit=0), "has the exit code 0, expected 1, which its verdicts give"),
        (lambda d: d.update(exit="0"), "has no usable exit, expected 0, 1, 2 or 3"),
        (lambda d: d.update(environment=3), "has no usable environment, expected an object"),
        (lambda d: d.update(stages=3), "has no usable stages, expected a list of objects"),
        (lambda d: d.update(stages=[{}] * 2001), "has 2001 entries in stages, expected at most 2000"),
        (lambda d: d.update(partial=None), "has no usable partial, expected true or false"),
        (lambda d: d.update(environment={"k" * 99: 1}), f"has no usable {'k' * 80!r}, expected text"),
        (
            lambda d: d.update(environment={"k" * 99: "x" * 4001}),
            f"has 4001 characters in {'k' * 80!r}, expected at most 4000",
        ),
        (lambda d: d["stages"][0].update(passed={}), "has no usable passed, expected a list of at most 2000 texts"),
        (lambda d: d["stages"][0]["verdicts"][0].update(low=True), "has no usable low, expected a number or null"),
        (
            lambda d: d["stages"][0]["verdicts"][0].update(status="x" * 99),
            f"has the status {'x' * 40!r}, expected one of SAME, FASTER, SLOWER, UNSURE, INVALID",
        ),
    ],
)
def test_a_refusal_says_what_was_found_and_what_was_expected(spoil: Any, said: str) -> None:
    document = _document()
    spoil(document)
    with pytest.raises(GateError) as caught:
        read_run(json.dumps(document), source="run.json")
    assert caught.value.text == f"run.json {said}; run again."


def test_a_refusal_of_what_is_no_json_says_so() -> None:
    for text, reason, said in (
        ("{", "not-json", "is not valid JSON, expected a whole file; it may be truncated"),
        ("[" * 100_000, "not-json", "is not valid JSON, expected a whole file; it may be truncated"),
        ("[]", "malformed", "holds a list, expected an object"),
    ):
        with pytest.raises(GateError) as caught:
            read_run(text, source="run.json")
        assert (caught.value.reason, caught.value.text) == (reason, f"run.json {said}; run again.")


def test_a_refusal_is_short_whatever_was_found() -> None:
    document = _document()
    document["stages"][0]["verdicts"][0]["status"] = "x" * 3000
    with pytest.raises(GateError) as caught:
        read_run(json.dumps(document), source="run.json")
    assert len(caught.value.text) < 200
