"""The files that a run leaves for whoever was not there: whole, of this run, and none of an earlier one."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from perfgate.config import read_settings
from perfgate.gate import pipeline
from perfgate.measurement import session as sessions
from perfgate.measurement.session import Request
from perfgate.project import output_folder
from perfgate.records import GateError, Status, Verdict
from perfgate.report.verdicts import junit
from perfgate.store import evidence
from perfgate.store.run import RunRecord, StageResult, read_run
from throughput_support import session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.measurement.session import Session

    Run = Callable[..., int]

_MACHINE = {"gpu": "", "why": "none", "uuid": "", "driver": "", "torch": "2", "triton": "3"}
_SAME, _SLOWER = (
    Verdict(case=case, status=status, reason="r", text=f"{case}: so.", ratio=1.5, low=1.0, high=2.0, limit=1.1)
    for case, status in (("a", Status.SAME), ("b", Status.SLOWER))
)
_COMPILED = StageResult(name="compiled", done="1", verdicts=(_SAME,))


class _Checks:
    """Stands in for the process that checks results."""

    def abandon(self) -> None:
        pass


@pytest.fixture
def output(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[tool.perfgate]\nkernel = "kernels/matmul.py"\n', encoding="utf-8")
    found = output_folder(read_settings(tmp_path))
    found.mkdir()
    return found


@pytest.fixture
def run(output: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Make a run whose stages come to this."""

    def opened(settings: Settings, request: Request, *, environment: dict[str, str]) -> Session:
        return session_of(settings.root, output=output, request=request, environment=environment)

    def made(*stages: StageResult, **request: Any) -> int:
        monkeypatch.setattr(pipeline, "_stages", lambda *_: list(stages))
        return pipeline.run(read_settings(output.parent), Request(**request))

    monkeypatch.setattr(sessions, "look_at_machine", lambda _: _MACHINE)
    monkeypatch.setattr(sessions, "open_session", opened)
    monkeypatch.setattr(pipeline, "start_checks", lambda *_: _Checks())
    return made


def kept(output: Path) -> RunRecord:
    return read_run((output / "run.json").read_bytes(), source="run.json")


def test_a_run_is_kept_with_all_that_each_stage_said_and_leaves_a_page(run: Run, output: Path) -> None:
    first = StageResult(name="correctness", done="2 right", passed=("a", "b"))
    why = {"b": ("counters of k: L2 hit rate 99.22 → 99.84 %", "machine code for sm_90: registers 90 → 100")}
    second = StageResult(name="throughput", left_out="half of it", note="of main", verdicts=(_SAME, _SLOWER), why=why)
    assert run(dataclasses.replace(first, spent="1 s", again="x"), second) == 1
    expected = RunRecord(environment=_MACHINE, exit=1, partial=False, stages=(first, second))
    assert dataclasses.replace(kept(output), run={}) == expected
    assert (output / "junit.xml").read_text(encoding="utf-8") == junit(expected)
    assert (output / "report.html").is_file()


def test_a_run_of_chosen_cases_is_kept_as_partial(run: Run, output: Path) -> None:
    assert run(_COMPILED, cases=("a",)) == 0
    assert (kept(output).partial, kept(output).exit) == (True, 0)


def test_a_run_that_lacks_the_card_is_kept_too(run: Run, output: Path) -> None:
    assert run(require_gpu=True) == 2
    (verdict,) = kept(output).verdicts
    assert (verdict.reason, kept(output).stages[0].left_out) == ("no-card", "no CUDA card")


def test_files_of_an_earlier_run_are_gone_where_this_one_came_to_nothing(
    run: Run, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> NoReturn:
        raise GateError("unknown-case", "There is no case.")

    assert run(_COMPILED) == 0
    assert {"run.json", "junit.xml", "report.html"} == {path.name for path in output.iterdir() if path.is_file()}
    monkeypatch.setattr(sessions, "open_session", broken)
    for _ in range(2):  # the second time there is none to remove
        with pytest.raises(GateError):
            run()
        assert not any(path.is_file() for path in output.iterdir())


def test_a_run_says_which_it_is_and_leaves_the_digest_of_what_it_wrote(
    run: Run, output: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = tmp_path / "output"
    for name, value in {"OUTPUT": str(left), "RUN_ID": "42", "RUN_ATTEMPT": "3"}.items():
        monkeypatch.setenv(f"GITHUB_{name}", value)
    (output / "current.json").write_text("of an earlier run", encoding="utf-8")
    nonces = set()
    for samples in ("", "{}"):
        digest = evidence.sha256(b"{}") if samples else ""
        assert run(StageResult(name="throughput", done="1", verdicts=(_SAME,), sha256=digest)) == 0
        told = kept(output).run
        nonces.add(told["nonce"])
        assert (told["run_id"], told["attempt"], told["base"], told["candidate"]) == ("42", "3", "", "")
        assert datetime.fromisoformat(told["began_at"]) <= datetime.fromisoformat(told["ended_at"])
        if samples:
            (output / "current.json").write_text(samples, encoding="utf-8")
        assert left.read_text(encoding="utf-8").splitlines()[-1] == f"evidence={evidence.of_results(output)}"
    assert len(nonces) == 2
