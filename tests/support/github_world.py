"""A repository with a pull request, and what its jobs leave, as GitHub would have them: for the workflows' commands."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import secrets
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.compare.judge import judge
from perfgate.config import Limits, Runner
from perfgate.github.__main__ import main
from perfgate.github.overlay import output_name
from perfgate.github.plan import Plan
from perfgate.github.results import ThisRun
from perfgate.records import BASELINE_COMMIT, Recording, Status, Verdict, exit_code
from perfgate.store.evidence import of_results
from perfgate.store.recording import write_recording
from perfgate.store.run import Cases, RunRecord, StageResult, cases_to_json, run_to_json
from recorded import ENVIRONMENT, recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REPOSITORY = "team/matmul"
LABEL, SLUG = "h100", "nvidia-h100-80gb-hbm3"
CASES = ("k1_sq4096", "k7_small_k", "sq2048")
PROJECT_FILE = f'[tool.perfgate]\nkernel = "kernels/matmul.py"\n\n[tool.perfgate.cards]\n{LABEL} = "{SLUG}"\n'
KERNEL = "import triton\n\n\n@triton.jit\ndef matmul_kernel():\n    pass\n"
_MACHINE = {**ENVIRONMENT, "code_path": "native", "uuid": "GPU-1"}
_BASELINE = f"baselines/{SLUG}/matmul.json"
LISTED = "baselines/cases.json"
RUN_ID = "42"


def pull_payload(head: str, base: str, *, labels: Sequence[str] = ()) -> dict[str, Any]:
    """The payload of a pull request from a branch of the repository itself."""
    return {
        "repository": {"full_name": REPOSITORY, "default_branch": "main"},
        "pull_request": {
            "number": 7,
            "head": {"sha": head, "ref": "change", "repo": {"full_name": REPOSITORY, "default_branch": "main"}},
            "base": {"sha": base, "ref": "main"},
            "labels": [{"name": name} for name in labels],
        },
    }


@dataclass(kw_only=True)
class Ended:
    """What a command left."""

    code: int
    said: str
    errors: str
    outputs: dict[str, str]
    summary: str


@dataclass(kw_only=True)
class World:
    """A checkout of the base in ``root``, of the candidate in ``root/candidate``, and results in ``root/results``."""

    root: Path
    base: str
    head: str = ""
    candidate: str = ""
    baseline: Recording
    environment: dict[str, str] = field(default_factory=dict)
    cards: tuple[str, ...] = (SLUG,)
    """Slugs in the project file's order, which is that of the jobs."""
    cases: tuple[str, ...] = CASES
    """Of the base's suite."""

    @classmethod
    def begin(cls, root: Path) -> World:
        """A default branch with a kernel, settings and a baseline."""
        root.mkdir()
        git(root, "init", "-q", "-b", "main")
        git(root, "commit", "-q", "--allow-empty", "-m", "before")
        baseline = dataclasses.replace(
            recording(range(5), cases=CASES, environment=_MACHINE), commit="0" * 40, reason="first"
        )
        world = cls(root=root, base="", baseline=baseline)
        files = {"pyproject.toml": PROJECT_FILE, "kernels/matmul.py": KERNEL, LISTED: listed(CASES)}
        world.base = world.commit(files, stored=baseline)
        world.head = world.candidate = world.base
        return world

    def commit(self, files: Mapping[str, str | None], *, stored: Recording | None = None) -> str:
        """Commit files (None removes one) and perhaps a baseline; returns the hash."""
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True) if text is None else path.write_text(text, encoding="utf-8")
        if stored:
            write_recording(self.root / _BASELINE, stored)
        git(self.root, "add", "-A", "--", ".", ":!candidate", ":!results")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "change")
        return git(self.root, "rev-parse", "HEAD")

    def pull_request(self, files: Mapping[str, str | None], *, stored: Recording | None = None) -> None:
        """A branch with these files, and the merge commit that GitHub makes of it and the base."""
        git(self.root, "checkout", "-q", "-b", "change")
        self.head = self.commit(files, stored=stored)
        git(self.root, "checkout", "-q", "--detach", "main")
        git(self.root, "merge", "-q", "--no-ff", "-m", "merge", "change")
        self.candidate = git(self.root, "rev-parse", "HEAD")
        git(self.root, "checkout", "-q", "main")

    def checked_out(self) -> None:
        """The candidate beside the base, as the workflows lay them out."""
        git(self.root, "clone", "-q", str(self.root), str(self.root / "candidate"))
        git(self.root / "candidate", "fetch", "-q", "origin", self.candidate)
        git(self.root / "candidate", "checkout", "-q", "--detach", self.candidate)

    def event(
        self,
        kind: str,
        *,
        fork: bool = False,
        labels: Sequence[str] = (),
        action: str = "synchronize",
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        """Let what follows be a run of this event."""
        payload: dict[str, Any] = {"repository": {"full_name": REPOSITORY, "default_branch": "main"}, "action": action}
        ref = "main"
        if kind == "pull_request":
            ref = "7/merge"
            payload |= pull_payload(self.head, self.base, labels=labels) | {"changes": changes}
            if fork:
                payload["pull_request"]["head"]["repo"] = {"full_name": "stranger/matmul"}
        elif kind == "merge_group":
            ref = f"gh-readonly-queue/main/pr-7-{self.base}"
            payload["merge_group"] = {
                "head_sha": self.candidate,
                "head_ref": f"refs/heads/{ref}",
                "base_sha": self.base,
                "base_ref": "refs/heads/main",
            }
        path = self.root.parent / "event.json"
        path.write_text(json.dumps(payload), encoding="utf-8")
        self.environment = {
            "GITHUB_EVENT_NAME": kind,
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_SHA": self.candidate,
            "GITHUB_REF_NAME": ref,
            "GITHUB_REPOSITORY": REPOSITORY,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": RUN_ID,
            "GITHUB_RUN_ATTEMPT": "1",
        }

    def measured(self, **options: Any) -> Recording:
        """Launches of another day with the baseline's own code beside them."""
        options = {"cases": CASES, "environment": _MACHINE, "other": "A2", "other_kind": BASELINE_COMMIT} | options
        found = recording(range(5, 9), **options)
        samples = {
            case: dataclasses.replace(one, other={"kind": BASELINE_COMMIT, "name": self.baseline.commit})
            for case, one in found.samples.items()
        }
        return dataclasses.replace(found, samples=samples)

    def leave(  # noqa: PLR0913 - each is one independent choice, all by name
        self,
        current: Recording,
        *,
        against_baseline: bool = True,
        own: bool = False,
        wrong: Sequence[str] = (),
        slug: str = SLUG,
        run: Mapping[str, Any] | None = None,
    ) -> Path:
        """What a job with the card leaves of a run that judged these samples; ``run`` replaces fields of its record.

        Judged against the world's baseline, or against the base in the same launches.
        """
        said = self.told(own=own)
        began, ended = (datetime.fromisoformat(said[key]) for key in ("began_at", "ended_at"))
        current = dataclasses.replace(
            current,
            run={key: text for key, text in said.items() if key != "ended_at"},
            recorded_at=(began + (ended - began) / 2).isoformat(),
        )
        if not against_baseline:
            current = beside(current, self.reference)
        folder = self.root / "results" / f"perf-{slug}{'-own' if own else ''}"
        folder.mkdir(parents=True)
        verdicts = judge(self.baseline if against_baseline else None, current, Limits())
        write_recording(folder / "current.json", current)
        record = dataclasses.replace(
            RunRecord(
                environment=dict(current.environment),
                exit=0,
                stages=(
                    StageResult(
                        name="correctness",
                        done="right",
                        passed=tuple(case for case in self.cases if case not in wrong),
                        verdicts=tuple(map(_wrong, wrong)),
                    ),
                    StageResult(name="compiled", done="compiled", verdicts=tuple(map(_same_code, self.cases))),
                    StageResult(name="throughput", done="4 launches", verdicts=verdicts),
                ),
            ),
            **{"run": said, **dict(run or {})},
        )
        record = dataclasses.replace(record, exit=exit_code(record.verdicts))
        (folder / "run.json").write_text(json.dumps(run_to_json(record)), encoding="utf-8")
        return folder

    @property
    def reference(self) -> str:
        """The commit that a card without a baseline is measured beside."""
        return self.base if self.base != self.candidate else git(self.root, "rev-parse", f"{self.base}^")

    def told(self, *, own: bool = False) -> dict[str, str]:
        """What the gate writes of a run of this moment."""
        return told(self.candidate if own else self.base, self.candidate)

    def lists(self, cases: tuple[str, ...]) -> None:
        """Let the base's suite have these cases."""
        self.cases = cases
        (self.root / LISTED).write_text(listed(cases), encoding="utf-8")

    def this_run(self, **changed: Any) -> ThisRun:
        """What results have to be of."""
        runner = Runner(label=LABEL, slug=SLUG)
        plan = Plan(base=self.base, candidate=self.candidate, edits=(), runners=(runner,))
        found = ThisRun(plan=plan, id=RUN_ID, attempt=1, outputs=self.digests(), now=datetime.now(UTC))
        return dataclasses.replace(found, **changed)

    def digests(self) -> dict[str, str]:
        """Outputs of the jobs with the cards: of the files as they lie now, so that a test may forge the whole run."""
        found = {}
        for index, slug in enumerate(self.cards):
            for own in (False, True):
                folder = self.root / "results" / f"perf-{slug}{'-own' if own else ''}"
                found[output_name(index, own=own)] = of_results(folder)
        return found

    def run(self, *words: str) -> Ended:
        """Run a command of ``python -m perfgate.github`` in the base's checkout."""
        files = {name: self.root.parent / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            path.unlink(missing_ok=True)
        environment = self.environment | {name: str(path) for name, path in files.items()}
        out, errors, before = io.StringIO(), io.StringIO(), Path.cwd()
        os.chdir(self.root)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                code = main(list(words), environment)
        finally:
            os.chdir(before)
        read = {name: path.read_text(encoding="utf-8") if path.exists() else "" for name, path in files.items()}
        outputs = dict(line.split("=", 1) for line in read["GITHUB_OUTPUT"].splitlines())
        return Ended(
            code=code,
            said=out.getvalue(),
            errors=errors.getvalue(),
            outputs=outputs,
            summary=read["GITHUB_STEP_SUMMARY"],
        )

    def check(self, *, measure: str = "success", outputs: Mapping[str, str] | None = None, **jobs: Any) -> Ended:
        """Plan, then the required check on what the jobs left; ``jobs`` replace what others of ``needs`` say.

        The jobs with the cards gave the digests of what lies there, or else ``outputs``.
        """
        if not (self.root / "candidate").exists():
            self.checked_out()
        planned = self.run("plan").outputs
        needs = {
            "plan": {"result": "success", "outputs": planned},
            "admit": {"result": "success", "outputs": {"said": ""}},
            "measure": {"result": measure, "outputs": self.digests() if outputs is None else outputs},
        } | jobs
        self.environment["NEEDS"] = json.dumps(needs)
        return self.run("check", "results")


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S607 - git by name
    return done.stdout.strip()


def _wrong(case: str) -> Verdict:
    return Verdict(
        case=case,
        status=Status.INVALID,
        reason="wrong-result",
        text=f"{case}: largest error 3, expected 1.",
        wrong=True,
    )


def _same_code(case: str) -> Verdict:
    return Verdict(case=case, status=Status.SAME, reason="same-code", text=f"{case}: the same machine code.")


def told(base: str, candidate: str) -> dict[str, str]:
    """What the gate writes of a run that ends now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return {
        "nonce": secrets.token_hex(16),
        "base": base,
        "candidate": candidate,
        "began_at": (now - timedelta(minutes=8)).isoformat(),
        "ended_at": now.isoformat(),
        "run_id": RUN_ID,
        "attempt": "1",
    }


def listed(cases: tuple[str, ...]) -> str:
    """The base's file of cases."""
    return json.dumps(cases_to_json(Cases(checked=cases, compiled=cases, timed=cases)))


def beside(found: Recording, reference: str) -> Recording:
    """The same, with a commit as what the other side was."""
    other = {"kind": "ref", "name": reference}
    return dataclasses.replace(
        found, samples={case: dataclasses.replace(one, other=other) for case, one in found.samples.items()}
    )


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a file."""
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")
