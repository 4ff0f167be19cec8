"""The command that tunes, with stand-ins for compiler and card: its steps, its files, its exit codes, its refusals."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.cli.tune import main
from perfgate.codegen import modelling
from perfgate.harness import machine
from perfgate.measurement import gpu_lock, session
from perfgate.records import GateError
from perfgate.tuning import compiling
from perfgate.tuning import session as tune
from tuning_support import IDS, WORKER, candidate, times
from tuning_support import case as known

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from perfgate.tuning.document import Case

GPU = {"gpu": "NVIDIA GeForce RTX 4090", "why": "", "uuid": "GPU-1", "code_path": "native", "triton": "3.8.0"}
NO_GPU = {"gpu": "", "why": "no NVIDIA driver", "code_path": "native", "triton": "3.8.0"}
_SUITE = """
from types import SimpleNamespace as N
CASES = [N(id="k1", quick=True), N(id="k7", quick=False), N(id="vector", quick=True)]
CHECKED = [*CASES, N(id="edge", quick=False)]
"""


class Project:
    """A project in a folder, whose compiler and whose process on the card are stand-ins."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.environment, self.compiled = root, dict(GPU), list[dict[str, Any]]()
        (root / "pyproject.toml").write_text(
            '[tool.perfgate]\nsuite = "tuned_suite.cases"\ntests = "tuned_suite"\n', encoding="utf-8"
        )
        for folder, files in {
            "kernels": {"matmul.py": "# the kernel\n"},
            "tuned_suite": {"__init__.py": "", "cases.py": _SUITE, "candidates.py": 'KERNEL = "matmul_kernel"\n'},
            "perfgate": {"__init__.py": ""},
            "perfgate/tuning": {"__init__.py": "", "worker.py": WORKER},
        }.items():
            (root / folder).mkdir()
            for name, text in files.items():
                (root / folder / name).write_text(text, encoding="utf-8")
        self.script(k1=times(), k7=times(a=4, c=1))
        monkeypatch.chdir(root)
        monkeypatch.syspath_prepend(root)
        for name in ("tuned_suite", "tuned_suite.cases", "tuned_suite.candidates"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.setattr(session, "look_at_machine", lambda _: self.environment)
        monkeypatch.setattr(tune, "capability", lambda _: "89")
        monkeypatch.setattr(machine, "busy", lambda _: 0)
        monkeypatch.setattr(gpu_lock, "FOLDER", root / "locks")
        monkeypatch.setattr(compiling, "compile_cases", self._compile)

    def script(self, **cases: Any) -> None:
        (self.root / "script.json").write_text(json.dumps(cases), encoding="utf-8")

    def _compile(self, _project: object, cases: list[str], **how: Any) -> dict[str, Case]:
        self.compiled.append({"cases": cases, **how})
        return {case: self._case(case) for case in cases}

    def _case(self, name: str) -> Case:
        if name == "vector":
            return known(note="not tuned: runs another kernel (matvec)")
        candidates = {
            one: candidate(
                {"BLOCK_M": 16 << number, "num_warps": 4, "num_stages": 3},
                code_hash=f"{number:064x}",
                spill_instructions=5 * (one == "spilled"),
            )
            for number, one in enumerate((*IDS, "spilled"))
        }
        asked = {"kernel": "matmul_kernel", "current": "now", "start": "start", "kept": ("start", "now")}
        return known(**asked, allowed=9, left_out={"beyond --limit": 2}, candidates=candidates)

    def document(self, folder: str = ".perfgate/tune") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.root / folder / "tune.json").read_text(encoding="utf-8"))
        return found

    def runs(self) -> list[list[str]]:
        path = self.root / "runs.jsonl"
        return (
            [list(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
        )


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_it_compiles_measures_writes_and_proposes(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--top", "2"]) == 0
    assert [(one["cases"], one["target"], one["limit"]) for one in project.compiled] == [
        (["k1", "k7", "vector"], "sm_89", 64)
    ]
    assert project.runs() == [["k1", "k7"]] * 4
    found = project.document()
    assert found["about"]["environment"]["gpu"] == GPU["gpu"]
    assert found["about"]["settings"]["flush_factor"] == 4
    assert found["cases"]["k1"]["candidates"]["spilled"]["pruned"] == "spills registers to memory"
    out = capsys.readouterr().out
    assert "tune: proposed list, 0.00 % from the best of each case:" in out
    assert '    triton.Config({"BLOCK_M": 64}, num_warps=4, num_stages=3),  # k1\n' in out
    assert '    triton.Config({"BLOCK_M": 256}, num_warps=4, num_stages=3),  # k7\n' in out
    assert "- vector: not tuned: runs another kernel (matvec)." in out
    assert (project.root / ".perfgate/tune/tune.md").read_text(encoding="utf-8") in out


def test_without_a_card_and_a_model_the_facts_are_written_and_one_sentence_ends_it_with_2(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.environment = NO_GPU
    monkeypatch.setattr(modelling, "load_works", lambda _project: None)
    assert main(["--case", "k1"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("INVALID no-card: No card: nothing was measured (no NVIDIA driver); ")
    assert said.err.count("\n") == 1
    assert "Nothing was measured: no card was used" in said.out
    assert project.document()["cases"]["k1"]["candidates"]["spilled"]["pruned"]
    assert project.runs() == []


def test_the_cases_chosen_are_those_of_case_and_quick_together(project: Project) -> None:
    assert main(["-m", "quick", "--launches", "1", "--limit", "7", "--output", "elsewhere"]) == 0
    assert (project.compiled[0]["cases"], project.compiled[0]["limit"]) == (["k1", "vector"], 7)
    assert project.runs() == [["k1"], ["k1"]]
    assert (
        project.document("elsewhere")["about"]["command"] == "python -m perfgate tune -m quick --launches=1 --limit=7"
    )
    assert main(["--case", "k7", "--launches", "1"]) == 0
    assert project.compiled[1]["cases"] == ["k7"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--case", "nothing"], "INVALID unknown-case: There is no case 'nothing'"),
        (["--case", "edge"], "INVALID bad-usage: edge is checked but not timed; expected one of k1, k7, vector"),
        (["--case", "k7", "-m", "quick"], "INVALID bad-usage: No case is left"),
        (["-m", "slow"], "INVALID bad-usage: argument -m: invalid choice: 'slow'"),
        (["--launches", "0"], "INVALID bad-usage: --launches is 0; expected 1 or more"),
        (["--limit", "-3"], "INVALID bad-usage: --limit is -3; expected 1 or more"),
        (["--top", "x"], "INVALID bad-usage: argument --top: invalid int value: 'x'"),
        (["--resume", "missing.json"], "INVALID no-file: missing.json does not exist"),
        (["--fast"], "INVALID bad-usage: unrecognized arguments: --fast"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    project: Project, capsys: pytest.CaptureFixture[str], argv: list[str], said: str
) -> None:
    assert main(argv) == 2
    err = capsys.readouterr().err
    assert err.startswith(said)
    assert err.count("\n") == 1
    assert project.runs() == []


def test_a_present_choice_with_a_wrong_result_is_exit_1_and_another_wrong_candidate_is_not(project: Project) -> None:
    project.script(k1=times(now="wrong"))
    assert main(["--case", "k1"]) == 1
    project.script(k1=times(a="wrong"))
    assert main(["--case", "k1"]) == 0
    assert "wrong result" in (project.root / ".perfgate/tune/tune.md").read_text(encoding="utf-8")


def test_a_case_that_could_not_be_measured_is_exit_2_and_the_others_have_their_list(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.script(k1=times(), k7=times(), busy={"k7": [1, 2]})
    assert main([]) == 2
    out = capsys.readouterr().out
    assert "- k7: 1 other processes used the card, expected it idle." in out
    assert "# k1\n" in out


def test_a_run_that_was_cut_short_goes_on_without_compiling_or_measuring_anything_twice(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings = iter([0, 0, 99])  # busy before the second launch
    monkeypatch.setattr(machine, "busy", lambda _: next(readings, 0))
    assert main([]) == 2
    assert project.runs() == [["k1", "k7"]] * 2
    assert main(["--resume", ".perfgate/tune/tune.json"]) == 0
    assert len(project.compiled) == 1
    assert project.runs() == [["k1", "k7"]] * 4
    (project.root / "kernels/matmul.py").write_text("# another kernel\n", encoding="utf-8")
    assert main(["--resume", ".perfgate/tune/tune.json"]) == 2
    assert len(project.runs()) == 4


def test_the_card_is_held_while_it_is_measured_and_not_yet_while_it_is_compiled_for(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[str] = []
    hold = gpu_lock.hold

    def seen(uuid: str) -> AbstractContextManager[None]:
        held.append(f"{uuid} after {len(project.compiled)} compiled")
        return hold(uuid)

    monkeypatch.setattr(gpu_lock, "hold", seen)
    assert main(["--case", "k1"]) == 0
    assert held == ["GPU-1 after 1 compiled"]


def test_a_card_told_to_lower_for_another_has_that_ones_facts_and_its_own_code_compiled_too(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    warmed: list[Any] = []
    monkeypatch.setattr(tune, "capability", lambda _: "90")
    monkeypatch.setattr(compiling, "warm", lambda _project, cases, **_: warmed.append(cases))
    assert main(["--case", "k1"]) == 0
    assert (project.compiled[0]["target"], warmed) == ("sm_90", [])
    project.environment |= {"code_path": "sm89"}
    assert main(["--case", "k1"]) == 0
    assert project.compiled[1]["target"] == "sm_89"
    assert [list(configs) for configs in warmed[0].values()] == [list(IDS)]
    assert warmed[0]["k1"]["start"] == {"BLOCK_M": 16, "num_warps": 4, "num_stages": 3}


def test_a_card_of_an_unknown_architecture_is_refused(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "capability", lambda _: "75")
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("INVALID unknown-target: Cannot compile for sm_75: no limits are stated")
    assert project.compiled == []


def test_a_project_that_does_not_say_what_its_kernel_may_run_is_refused(project: Project) -> None:
    (project.root / "tuned_suite" / "candidates.py").unlink()
    found: Any = SimpleNamespace(tests="tuned_suite")
    with pytest.raises(GateError, match=r"has no tuned_suite/candidates\.py") as caught:
        compiling.load_candidates(found)
    assert caught.value.reason == "no-candidates"


def test_the_capability_is_the_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByUUID", lambda uuid: f"handle of {uuid}")
    monkeypatch.setattr(
        pynvml, "nvmlDeviceGetCudaComputeCapability", lambda handle: (8, 9) if handle == "handle of GPU-1" else None
    )
    assert tune.capability("GPU-1") == "89"
