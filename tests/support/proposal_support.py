"""A checkout with baselines, and the artifact that an update of them leaves, for tests of what is proposed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from facts_support import BASELINE, FACTS
from git_support import Project
from perfgate.compare import drift
from perfgate.compare.drift import alone
from perfgate.compare.judge import old_against_new
from perfgate.compare.roofline import recording_metrics
from perfgate.config import Limits
from perfgate.github.proposal import Asked, collect, read_beside
from perfgate.github.propose import Proposal, proposal, propose_command
from perfgate.hardware.gpus import card
from perfgate.records import GateError, Recording, Status
from perfgate.store.compiled import CompiledBaseline, CompiledCase, write_compiled
from perfgate.store.recording import read_recording, write_recording
from recorded import ENVIRONMENT, FIRST_CARD, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CARD = "nvidia-h100-80gb-hbm3"
TODAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
TIMES, ANCHOR, COMPILED = f"{CARD}/matmul.json", f"{CARD}/anchor.json", "sm_89/compiled.json"
CASES = ("k7_small_k", "sq2048", "k1_sq4096")
REASON = "row-major raster for store-bound shapes"
NOW = "2026-11-23T08:00:00+00:00"
CONTRACT = {"shapes": [[8, 8], [8, 8]], "flops": 1024, "min_bytes": 768, "unit": "tf32"}


def keep(path: Path, found: Recording) -> None:
    """Write a recording as an update does."""
    numbers = recording_metrics(found, card(found.environment["gpu"]))
    write_recording(path, found, metrics={case: one.to_json() for case, one in numbers.items()})


def facts(*, commit: str, reason: str, cases: Mapping[str, CompiledCase] | None = None) -> CompiledBaseline:
    made = {case: CompiledCase(contract=CONTRACT, kernels=(FACTS,)) for case in CASES}
    return dataclasses.replace(BASELINE, commit=commit, reason=reason, cases=made if cases is None else cases)


def other_code() -> dict[str, CompiledCase]:
    """A case that spills, one of the same resources, a new one, and none of another."""
    spilling = structs.replace(FACTS, registers=255, spill_instructions=8, code_hash="c" * 64, normal_hash="c" * 64)
    reordered = structs.replace(FACTS, code_hash="b" * 64, normal_hash="b" * 64)
    kernels = {"sq2048": (spilling,), "k1_sq4096": (reordered,), "k9_8k": (FACTS,)}
    return {case: CompiledCase(contract=CONTRACT, kernels=found) for case, found in kernels.items()}


def measured(commit: str, *, cases: tuple[str, ...] = CASES, scale: Any = 1.0) -> Recording:
    """New launches, with the baseline's code beside them."""
    made = recording(
        FIRST_CARD[4:10],
        other="A2",
        other_kind="baseline-commit",
        scale=scale,
        cases=cases,
        state={"sm_clock_mhz": 1980, "throttle_reasons": []},
    )
    return dataclasses.replace(made, commit=commit, recorded_at=NOW)


@dataclass(frozen=True, kw_only=True)
class World:
    """Both sides."""

    checkout: Project
    old: str
    """Commit that the baselines before were recorded of."""
    head: str
    artifact: Path
    samples: Path
    only: str | None = None
    """The one kind of baselines that was asked for."""

    @property
    def root(self) -> Path:
        return self.checkout.root

    @property
    def baselines(self) -> Path:
        return self.root / "baselines"

    @property
    def asked(self) -> Asked:
        return Asked(card=CARD, target="sm_89", commit=self.head, reason=REASON, only=self.only)

    def update(self, *, scale: Any = 1.0, cases: tuple[str, ...] = CASES, **changed: Any) -> Recording:
        """What an update leaves: new times, the anchor that goes with them, new machine code, and the launches."""
        found = dataclasses.replace(measured(self.head, cases=cases, scale=scale), **changed)
        samples = {
            case: dataclasses.replace(one, other={"kind": "baseline-commit", "name": self.old}, contract=CONTRACT)
            for case, one in found.samples.items()
        }
        found = dataclasses.replace(found, samples=samples)
        keep(self.samples / "current.json", found)
        stored = self.baselines / TIMES
        old = read_recording(stored) if stored.is_file() else None
        verdicts = old_against_new(old, found, Limits())
        new = dataclasses.replace(alone(found), reason=REASON)
        first = self.baselines / ANCHOR
        anchor, _ = drift.renewed(
            read_recording(first) if first.is_file() else None,
            new,
            meant=[verdict.case for verdict in verdicts if verdict.status in {Status.SLOWER, Status.FASTER}],
        )
        keep(self.artifact / TIMES, new)
        keep(self.artifact / ANCHOR, anchor)
        write_compiled(self.artifact / COMPILED, facts(commit=self.head, reason=REASON))
        return new

    def spoil(self, name: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the JSON of one file of the artifact."""
        path = self.artifact / name
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")


def begin(folder: Path, *, first: bool = False) -> World:
    """A checkout with stored baselines, or with none of the card yet, and an artifact that is the same."""
    project = Project.begin(folder / "checkout")
    old = project.commit("a kernel")
    baselines = project.root / "baselines"
    baselines.mkdir()
    (baselines / "README.md").write_text("What they are.\n", encoding="utf-8")
    (project.root / "pyproject.toml").write_text('[tool.perfgate]\ntarget = "sm_89"\n', encoding="utf-8")
    if not first:
        before = recording(FIRST_CARD[:4], kernel="A", cases=CASES, environment=ENVIRONMENT)
        samples = {case: dataclasses.replace(one, contract=CONTRACT) for case, one in before.samples.items()}
        before = dataclasses.replace(before, samples=samples, commit=old, reason="first", recorded_at="2026-11-22")
        keep(baselines / TIMES, before)
        keep(baselines / ANCHOR, before)
        write_compiled(baselines / COMPILED, facts(commit=old, reason="first"))
    project.git("add", "-A")
    project.git("commit", "--quiet", "--message", "baselines")
    artifact = folder / "artifact"
    shutil.copytree(baselines, artifact)
    (folder / "samples").mkdir()
    return World(
        checkout=project,
        old=old,
        head=project.git("rev-parse", "HEAD"),
        artifact=artifact,
        samples=folder / "samples",
    )


def refused(world: World) -> GateError:
    """The one sentence that an artifact is refused with."""
    with pytest.raises(GateError) as caught:
        collect(world.artifact, world.baselines, world.asked)
    assert caught.value.text.endswith(".")
    assert "\n" not in caught.value.text
    return caught.value


def ours(document: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """Our record of one benchmark of a file."""
    found: dict[str, Any] = document["benchmarks"][number]["extra_info"]["perfgate"]
    return found


def words(world: World, *, with_samples: bool = True, **options: Any) -> Proposal:
    """The pull request, on one day; ``proposed`` and ``run`` replace what it is made of."""
    proposed = options.pop("proposed", None) or collect(world.artifact, world.baselines, world.asked)
    times = proposed.after.times
    beside = read_beside(world.samples, times) if times and with_samples else None
    return proposal(proposed, beside, Limits(), **{"base": "main", "run": "4711", "now": TODAY, **options})


ENVIRONMENT_OF_A_JOB = {
    "REASON": REASON,
    "GITHUB_REF_NAME": "trunk",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_REPOSITORY": "someone/kernels",
    "GITHUB_TOKEN": "secret",
}
URL = "https://github.com/someone/kernels/pull/7"


class GitHub:
    """Stands in for `Api`: keeps what is sent, answers as GitHub does, and fails where it is told to."""

    repository = "someone/kernels"

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.failing = ""
        self.silent = ""

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        prefix = "/repos/someone/kernels/"
        assert (method, path.startswith(prefix)) == ("POST", True)
        step = path.removeprefix(prefix)
        if step == self.failing:
            raise GateError("github-api", f"POST {path} was answered 422 (no); check what was sent.")
        self.sent.append((step, dict(body)))
        if step == self.silent:
            return None
        if step == "pulls":
            return {"number": 7, "html_url": URL}
        return None if step.endswith("/dispatches") else {"sha": f"sha{len(self.sent)}"}

    def body(self, step: str) -> dict[str, Any]:
        return next(body for sent, body in self.sent if sent == step)


def run(world: World, *more: str, **environment: str) -> int:
    """The command that proposes, as the workflow calls it."""
    argv = ["--from", str(world.artifact), "--samples", str(world.samples), "--card", CARD, *more]
    return propose_command(argv, ENVIRONMENT_OF_A_JOB | environment)
