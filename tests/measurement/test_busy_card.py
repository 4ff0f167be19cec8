"""A card that others use: one run at a time, and nothing is measured while another program computes."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.compare.judge import judge
from perfgate.config import Limits
from perfgate.gate import pipeline, throughput
from perfgate.harness import machine
from perfgate.measurement import gpu_lock, processes
from perfgate.measurement.session import check_idle
from perfgate.records import GateError, Status, exit_code
from recorded import FIRST_CARD, recording
from throughput_support import CASES, ENVIRONMENT, Gate, session_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.store.run import StageResult


@pytest.mark.parametrize(("percent", "refused"), [(None, False), (0, False), (10, False), (11, True), (99, True)])
def test_a_card_that_is_busy_while_nothing_of_ours_runs_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, percent: int | None, *, refused: bool
) -> None:
    monkeypatch.setattr(machine, "busy", {ENVIRONMENT["uuid"]: percent}.get)
    with pytest.raises(GateError) if refused else contextlib.nullcontext() as caught:
        check_idle(session_of(tmp_path))
    if refused:
        assert caught is not None
        assert caught.value.reason == "busy"
        assert f"is {percent} % busy while nothing of this run is on it, expected it idle" in caught.value.text


def test_a_case_that_is_not_timed_is_refused_by_name(tmp_path: Path) -> None:
    session_of(tmp_path).require_timed(CASES)
    with pytest.raises(GateError, match=f"edge_one is checked but not timed; expected one of {', '.join(CASES)}"):
        session_of(tmp_path).require_timed((CASES[0], "edge_one"))


def test_a_card_that_is_busy_after_the_last_launch_has_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = Gate(root=tmp_path, scale=1.2)
    (tmp_path / ".perfgate").mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.store()

    def measure(settings: Settings, output: Path, plan: processes.Plan) -> processes.Measured:
        found = made.measure(settings, output, plan)
        plan.check_idle()
        return found

    monkeypatch.setattr(throughput, "measure", measure)
    monkeypatch.setattr(machine, "busy", lambda _uuid: 60)
    stage = made.run()
    assert [(verdict.case, verdict.reason) for verdict in stage.verdicts] == [("*", "busy")]
    assert (exit_code(stage.verdicts), stage.done) == (2, "")


@pytest.mark.parametrize("other", [None, "A"])
def test_another_process_that_computed_during_a_launch_makes_no_case_slower(other: str | None) -> None:
    state = {"foreign_processes": 0, "foreign_utilization_percent": 40}
    now = recording(FIRST_CARD[:4], kernel="A2", other=other, scale=1.3, state=state)
    found = judge(None if other else recording(FIRST_CARD[4:8]), now, Limits())
    assert {(verdict.status, verdict.reason) for verdict in found} == {(Status.INVALID, "busy")}
    quiet = recording(FIRST_CARD[:4], kernel="A2", other="A", scale=1.3, state={"foreign_utilization_percent": 10})
    assert {verdict.status for verdict in judge(None, quiet, Limits())} == {Status.SLOWER}


def test_a_run_holds_its_card_from_the_first_check_to_the_last_launch(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    said: list[str] = []

    @contextlib.contextmanager
    def hold(uuid: str) -> Iterator[None]:
        said.append(f"hold {uuid}")
        yield
        said.append("let go")

    def work(*_: object) -> list[StageResult]:
        said.append("work")
        return []

    monkeypatch.setattr(gpu_lock, "hold", hold)
    monkeypatch.setattr(pipeline, "_stages", work)
    checks: Any = SimpleNamespace()
    session = session_of(tmp_path, environment={**ENVIRONMENT, "torch": "2", "triton": "3"})
    pipeline._run(session, checks, began_s=0.0)  # noqa: SLF001 - the part of a run that has a card
    assert said == [f"hold {ENVIRONMENT['uuid']}", "work", "let go"]
