"""A project in git whose card plays recorded launches, for tests of the throughput stage."""

from __future__ import annotations

import dataclasses
import math
import subprocess
from typing import TYPE_CHECKING, Any

from perfgate.config import Settings
from perfgate.gate import throughput
from perfgate.measurement import processes
from perfgate.measurement.processes import Measured, Plan
from perfgate.measurement.session import Request, Session
from perfgate.store.recording import write_recording
from recorded import recording

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pytest

    from perfgate.records import Recording, Verdict
    from perfgate.store.run import StageResult

ENVIRONMENT = {"gpu": "NVIDIA H100 80GB HBM3", "uuid": "GPU-1", "driver": "580", "code_path": "native", "why": ""}
FOLDER = "baselines/nvidia-h100-80gb-hbm3"
CASES = ("k1_sq4096", "k7_small_k")


@dataclasses.dataclass(kw_only=True)
class Gate:
    """A project in git, a card that plays recorded launches, and what it was asked to measure."""

    root: Path
    kernel: str = "A2"
    scale: Mapping[str, float] | float = 1.0
    code: Mapping[str, str] = dataclasses.field(default_factory=dict)
    failed: tuple[Verdict, ...] = ()
    out_of_time: bool = False
    plans: list[Plan] = dataclasses.field(default_factory=list)

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *args], cwd=self.root, check=True, capture_output=True, text=True)  # noqa: S607 - git by name
        return done.stdout.strip()

    def commit(self, text: str) -> str:
        (self.root / "kernels").mkdir(exist_ok=True)
        (self.root / "kernels/matmul.py").write_text(text, encoding="utf-8")
        self.git("add", "kernels")
        self.git("commit", "--quiet", "--message", text)
        return self.git("rev-parse", "HEAD")

    def recorded(self, launches: range, **options: Any) -> Recording:
        made = recording(launches, cases=CASES, environment=ENVIRONMENT, **options)
        return dataclasses.replace(made, settings=Settings(root=self.root).measurement())

    def store(self, name: str = "matmul.json", *, commit: str = "", **options: Any) -> None:
        found = dataclasses.replace(
            self.recorded(range(5), **options), commit=commit, recorded_at="2026-11-01T08:00:00"
        )
        write_recording(self.root / FOLDER / name, found)

    def measure(self, _settings: Settings, output: Path, plan: Plan) -> Measured:
        self.plans.append(plan)
        beside = {"other": "A", "other_kind": plan.other.kind} if plan.other else {}
        found = self.recorded(range(5, 5 + plan.launches), kernel=self.kernel, scale=self.scale, **beside)
        less = {v.case for v in self.failed}
        samples = {
            case: dataclasses.replace(
                one, code=self.code, other={**one.other, "name": plan.other.name} if one.other and plan.other else None
            )
            for case, one in found.samples.items()
            if case in plan.expected and case not in less
        }
        found = dataclasses.replace(found, samples=samples)
        processes.keep(output / "current.json", found)
        return Measured(recording=found, failed=self.failed, launches=plan.launches, out_of_time=self.out_of_time)

    def run(
        self, *, chosen: tuple[str, ...] = CASES, wrong: bool = False, deadline_s: float = math.inf, **request: Any
    ) -> StageResult:
        session = session_of(
            self.root, output=self.root / ".perfgate", deadline_s=deadline_s, request=Request(**request)
        )
        return throughput.throughput(session, chosen, wrong=wrong)


def session_of(root: Path, **changes: Any) -> Session:
    """A session with the card, whose project lies there."""
    known = {"environment": ENVIRONMENT, "output": root, "checked": CASES, "timed": CASES, "request": Request()}
    return Session(**{"settings": Settings(root=root), **known, **changes})


def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **played: Any) -> Gate:
    """A gate on a branch of a repository with one commit on the default branch."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("GITHUB_REF_NAME", raising=False)
    monkeypatch.chdir(tmp_path)
    made = Gate(root=tmp_path, **played)
    made.git("init", "--quiet", "--initial-branch=main")
    (tmp_path / ".git/info/exclude").write_text(".perfgate\n")
    made.commit("base")
    made.git("switch", "--quiet", "--create", "change")
    monkeypatch.setattr(throughput, "measure", made.measure)
    return made
