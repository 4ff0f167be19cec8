"""The files that a run leaves for whoever was not there: whole, of this run, and none of an earlier one."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from perfgate.gate import pipeline
from perfgate.measurement.session import Request, Session, Stage, output_folder
from perfgate.records import GateError, Status, Verdict
from perfgate.report.junit import junit
from perfgate.settings import Settings, load
from perfgate.store import evidence
from perfgate.store.run import RunRecord, StageRecord, read_run

if TYPE_CHECKING:
    from pathlib import Path

_MACHINE = {"gpu": "", "why": "none", "uuid": "", "driver": "", "torch": "2", "triton": "3"}
_SAME, _SLOWER = (
    Verdict(case=case, status=status, reason="r", text=f"{case}: so.", ratio=1.5, low=1.0, high=2.0, limit=1.1)
    for case, status in (("a", Status.SAME), ("b", Status.SLOWER))
)


class _Checks:
    """Stands in for the process that checks results."""

    def abandon(self) -> None:
        pass


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    (tmp_path / "pyproject.toml").write_text('[tool.perfgate]\nkernel = "kernels/matmul.py"\n', encoding="utf-8")
    found = load(tmp_path)
    output_folder(found).mkdir()
    monkeypatch.setattr(pipeline, "look_at_machine", lambda _: _MACHINE)
    monkeypatch.setattr(pipeline, "start_checks", lambda *_: _Checks())
    monkeypatch.setattr(pipeline, "open_session", _open)
    return found


def _open(settings: Settings, request: Request, *, environment: dict[str, str]) -> Session:
    output = output_folder(settings)
    return Session(settings=settings, request=request, environment=environment, output=output, checked=(), timed=())


def _run(settings: Settings, monkeypatch: pytest.MonkeyPatch, *stages: Stage, **request: Any) -> int:
    monkeypatch.setattr(pipeline, "_stages", lambda *_: list(stages))
    return pipeline.run(settings, Request(**request))


def _kept(settings: Settings) -> RunRecord:
    return read_run((output_folder(settings) / "run.json").read_bytes(), source="run.json")


def test_a_run_is_kept_with_all_that_each_stage_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Stage(name="correctness", done="2 right", passed=("a", "b"), spent="1 s", again="x")
    why = {"b": ("counters of k: L2 hit rate 99.22 → 99.84 %", "machine code for sm_90: registers 90 → 100")}
    second = Stage(name="throughput", left_out="half of it", note="of main", verdicts=(_SAME, _SLOWER), why=why)
    assert _run(settings, monkeypatch, first, second) == 1
    expected = RunRecord(
        environment=_MACHINE,
        exit=1,
        partial=False,
        stages=(
            StageRecord(name="correctness", done="2 right", passed=("a", "b")),
            StageRecord(name="throughput", left_out="half of it", note="of main", verdicts=(_SAME, _SLOWER), why=why),
        ),
    )
    assert dataclasses.replace(_kept(settings), run={}) == expected
    assert (output_folder(settings) / "junit.xml").read_text(encoding="utf-8") == junit(expected)


def test_a_run_of_chosen_cases_is_kept_as_partial(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(settings, monkeypatch, Stage(name="compiled", done="1", verdicts=(_SAME,)), cases=("a",)) == 0
    assert (_kept(settings).partial, _kept(settings).exit) == (True, 0)


def test_a_run_that_lacks_the_card_is_kept_too(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(settings, monkeypatch, require_gpu=True) == 2
    (verdict,) = _kept(settings).verdicts
    assert (verdict.reason, _kept(settings).stages[0].left_out) == ("no-card", "no CUDA card")


@pytest.mark.parametrize("name", ["run.json", "junit.xml"])
def test_a_file_of_an_earlier_run_is_gone_where_this_one_came_to_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def broken(*_: Any, **__: Any) -> NoReturn:
        raise GateError("unknown-case", "There is no case.")

    assert _run(settings, monkeypatch, Stage(name="compiled", done="1", verdicts=(_SAME,))) == 0
    assert (output_folder(settings) / name).exists()
    monkeypatch.setattr(pipeline, "open_session", broken)
    for _ in range(2):  # the second time there is none to remove
        with pytest.raises(GateError):
            pipeline.run(settings, Request())
        assert not (output_folder(settings) / name).exists()


def test_a_run_says_which_it_is_and_leaves_the_digest_of_what_it_wrote(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "output"))
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "3")
    (output_folder(settings) / "current.json").write_text("of an earlier run", encoding="utf-8")
    nonces = set()
    for samples in ("", "{}"):
        stage = Stage(name="throughput", done="1", verdicts=(_SAME,), sha256=evidence.sha256(b"{}") if samples else "")
        assert _run(settings, monkeypatch, stage) == 0
        told = _kept(settings).run
        nonces.add(told["nonce"])
        assert (told["run_id"], told["attempt"], told["base"], told["candidate"]) == ("42", "3", "", "")
        assert datetime.fromisoformat(told["began_at"]) <= datetime.fromisoformat(told["ended_at"])
        if samples:
            (output_folder(settings) / "current.json").write_text(samples, encoding="utf-8")
        left = (tmp_path / "output").read_text(encoding="utf-8").splitlines()[-1]
        assert left == f"evidence={evidence.of_results(output_folder(settings))}"
    assert len(nonces) == 2
