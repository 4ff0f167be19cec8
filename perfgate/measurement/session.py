"""What the stages of a run share: the request, the machine, the suite, and the form of their results."""

from __future__ import annotations

import json
import math
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perfgate import workers
from perfgate.records import GateError, Recording, Status, Verdict
from perfgate.settings import load_suite

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from perfgate.settings import Settings

NOTHING_CHOSEN = "no case that is compiled and timed was chosen, or none could be checked before"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for."""

    cases: tuple[str, ...] = ()
    """Chosen by id; empty means all."""
    choosing: tuple[str, ...] = ()
    """Pytest's own ``-k`` and ``-m`` with their values, for choosing cases by name or marker."""
    launches: int | None = None
    """Worker processes before the first look; None takes the project's setting."""
    require_gpu: bool = False
    base: str | None = None
    """Git ref whose baselines judge; None takes those of the working tree."""
    against: str | None = None
    """Kernel file or git ref to measure in the same launches and to compare with, in place of a baseline."""
    budget_s: float | None = None
    """Seconds from the start of the run after which no launch is begun that would end later."""
    quiet: bool = False
    """Say only what needs attention, and how it ended."""
    fail_on_drift: bool = False
    """Small steps that add up to too much fail, as they do on the default branch."""
    pytest_args: tuple[str, ...] = ()
    cached: bool = True
    """Take facts of compiled cases from the cache, where they are of the same files by the same tools."""


@dataclass(kw_only=True)
class Stage:
    """One part of the summary."""

    name: str
    done: str = ""
    """What was judged, in a few words."""
    left_out: str = ""
    """Why it could not be, where it could not."""
    verdicts: tuple[Verdict, ...] = ()
    passed: tuple[str, ...] = ()
    """Cases that simply passed, where there are no verdicts on those."""
    note: str = ""
    """What the reader has to know of the baseline that judged."""
    recording: Recording | None = None
    sha256: str = ""
    """Of the file that the recording was written to."""
    baseline: str = ""
    """The stored file that the recording was compared with, where there is one."""
    again: str = ""
    """The command that judges the saved files to the same verdicts."""
    spent: str = ""
    """Where its seconds went."""
    why: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By case id, what moved with the time of one that is slower or faster."""


@dataclass(frozen=True, kw_only=True)
class Session:
    """What the stages share."""

    settings: Settings
    request: Request
    environment: dict[str, str]
    output: Path
    checked: tuple[str, ...]
    """Ids of all cases whose result is checked."""
    timed: tuple[str, ...]
    """Ids of those that are compiled and timed as well."""

    deadline_s: float = math.inf
    """On the monotonic clock."""
    run: Mapping[str, str] = field(default_factory=dict)
    """What the run's files carry (see `binding`)."""

    @property
    def partial(self) -> bool:
        """Whether the user selected cases, so that the rest is left out on purpose."""
        return bool(self.request.cases or self.request.choosing)


def look_at_machine(settings: Settings) -> dict[str, str]:
    """The environment of this machine, asked in a process of its own (see ``machine``)."""
    command = [sys.executable, "-m", "perfgate.harness.machine"]
    done = workers.run(command, cwd=settings.root, environment=workers.environment())
    if done.returncode:
        line = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise GateError(
            "no-environment", f"The machine could not be looked at: {line}; install the gate's packages (nox -s perf)."
        )
    found: dict[str, str] = json.loads(done.stdout)
    return found


def open_session(settings: Settings, request: Request, *, environment: dict[str, str] | None = None) -> Session:
    """Look at the suite, and at the machine unless that was done; refuse cases that do not exist."""
    suite = load_suite(settings)
    checked = tuple(case.id for case in suite.CHECKED)
    for case in request.cases:
        if case not in checked:
            raise GateError("unknown-case", f"There is no case {case!r}; known are {', '.join(checked)}.")
    output = output_folder(settings)
    output.mkdir(exist_ok=True)
    return Session(
        settings=settings,
        request=request,
        environment=look_at_machine(settings) if environment is None else environment,
        output=output,
        checked=checked,
        timed=tuple(case.id for case in suite.CASES),
        deadline_s=math.inf if request.budget_s is None else time.monotonic() + request.budget_s,
    )


def output_folder(settings: Settings) -> Path:
    """Where a run leaves its samples, logs and facts."""
    return settings.root / ".perfgate"


def broken(error: GateError) -> Verdict:
    """The verdict on a stage that could not be done."""
    return Verdict(case="*", status=Status.INVALID, reason=error.reason, text=error.text)
