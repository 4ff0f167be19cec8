"""A card that others use: one run at a time, and nothing is measured while another program computes."""

from __future__ import annotations

import contextlib
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.compare.judge import judge
from perfgate.gate import pipeline, throughput
from perfgate.harness import machine
from perfgate.limits import Limits
from perfgate.measurement import gpu_lock, processes, pytest_runs
from perfgate.measurement.session import Request, Session, Stage
from perfgate.records import GateError, Status, exit_code
from perfgate.settings import Settings
from recorded import FIRST_CARD, recording
from throughput_support import CASES, ENVIRONMENT, Gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def session(root: Path) -> Session:
    return Session(
        settings=Settings(root=root),
        request=Request(),
        environment={**ENVIRONMENT, "torch": "2", "triton": "3"},
        output=root,
        checked=CASES,
        timed=CASES,
    )


@pytest.mark.parametrize(("percent", "refused"), [(None, False), (0, False), (10, False), (11, True), (99, True)])
def test_a_card_that_is_busy_while_nothing_of_ours_runs_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, percent: int | None, *, refused: bool
) -> None:
    monkeypatch.setattr(machine, "busy", lambda uuid: percent if uuid == ENVIRONMENT["uuid"] else None)
    with pytest.raises(GateError) if refused else contextlib.nullcontext() as caught:
        throughput.check_idle(session(tmp_path))
    if refused:
        assert caught is not None
        assert caught.value.reason == "busy"
        assert f"is {percent} % busy while nothing of this run is on it, expected it idle" in caught.value.text


class Worker:
    """A process that waits for its turn on the card."""

    def __init__(self) -> None:
        self.ran = self.ended = False

    def end(self) -> None:
        self.ended = True

    def finish(self) -> pytest_runs.Results:
        self.ran = True
        items = {"one": {"case": "one", "outcome": "passed", "reason": "", "text": ""}}
        return pytest_runs.Results(items=items, deselected=(), seed=1)


@pytest.mark.parametrize("free_for", [0, 1, 2])
def test_a_card_that_gets_busy_ends_the_measurement_and_leaves_no_process_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free_for: int
) -> None:
    started: list[Worker] = []

    def start(*_: Any, **__: Any) -> Worker:
        started.append(Worker())
        return started[-1]

    looks = iter([*[None] * free_for, GateError("busy", "It is busy.")])

    def check_idle() -> None:
        if error := next(looks):
            raise error

    monkeypatch.setattr(pytest_runs, "start_tests", start)
    plan = processes.Plan(expected=("one",), launches=4, check_idle=check_idle)
    with pytest.raises(GateError, match="busy"):
        processes.measure(Settings(root=tmp_path), tmp_path, plan)
    assert [worker.ran for worker in started].count(True) == free_for
    assert all(worker.ended for worker in started if not worker.ran)


def test_a_card_that_is_busy_after_the_last_launch_has_no_verdict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = Gate(root=tmp_path)
    (tmp_path / ".perfgate").mkdir()
    made.git("init", "--quiet", "--initial-branch=main")
    made.store()
    made.scale = 1.2

    def measure(settings: Settings, output: Path, plan: processes.Plan) -> processes.Measured:
        found = made.measure(settings, output, plan)
        assert plan.check_idle is not None
        plan.check_idle()
        return found

    monkeypatch.setattr(throughput, "measure", measure)
    monkeypatch.setattr(machine, "busy", lambda _uuid: 60)
    stage = made.run()
    assert [(verdict.case, verdict.reason) for verdict in stage.verdicts] == [("*", "busy")]
    assert exit_code(stage.verdicts) == 2
    assert not stage.done


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

    def work(_session: Session, _checks: object) -> list[Stage]:
        said.append("work")
        return []

    monkeypatch.setattr(gpu_lock, "hold", hold)
    monkeypatch.setattr(pipeline, "_stages", work)
    read_end, write_end = os.pipe()
    os.close(read_end)
    process: Any = SimpleNamespace()
    checks = pytest_runs.TestRun(name="x", results=tmp_path / "x", process=process, go=write_end, timeout_s=None)
    pipeline._run(session(tmp_path), checks, began_s=0.0)  # noqa: SLF001 - the part of a run that has a card
    checks.abandon()
    assert said == [f"hold {ENVIRONMENT['uuid']}", "work", "let go"]
