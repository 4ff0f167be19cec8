"""The page of one run by itself, word for word."""

from __future__ import annotations

import pytest

from perfgate.github.run_page import run_page
from perfgate.records import Status, Verdict
from perfgate.store.run import RunRecord, StageRecord

_SAME, _SLOWER = (
    Verdict(case=case, status=status, reason="r", text=f"{case}: so.")
    for case, status in (("a", Status.SAME), ("b", Status.SLOWER))
)


def test_a_run_says_where_it_was_what_each_stage_did_and_how_to_have_the_same() -> None:
    stages = (
        StageRecord(name="correctness", done="2 right", note="see nox -s perf"),
        StageRecord(name="compiled", done="2 cases", left_out="half", verdicts=(_SAME, _SLOWER)),
        StageRecord(name="throughput", left_out="no CUDA card"),
    )
    page = run_page(RunRecord(environment={"torch": "2.1", "triton": "3.2"}, exit=1, stages=stages))
    assert page.splitlines() == [
        "## perf: regression",
        "",
        "On a machine without a card, torch 2.1, Triton 3.2.",
        "",
        "- **correctness:** 2 right",
        "  - Note: see `nox -s perf`",
        "- **compiled:** 2 cases (half)",
        "- **throughput:** NOT judged (no CUDA card)",
        "",
        "1 SAME, 1 SLOWER.",
        "",
        "- **SLOWER** b: so.",
        "",
        "`nox -s perf` gives the same on any machine.",
    ]


@pytest.mark.parametrize(
    ("code", "meaning"), list(enumerate(("pass", "regression", "could not be judged", "undecided"))), ids=str
)
def test_a_run_without_a_verdict_says_how_it_ended_and_what_is_not_known(code: int, meaning: str) -> None:
    assert run_page(RunRecord(environment={"gpu": "H*"}, exit=code)).splitlines() == [
        f"## perf: {meaning}",
        "",
        "On H\\*, torch unknown, Triton unknown.",
        "",
        "",
        "`nox -s perf` gives the same on any machine.",
    ]
