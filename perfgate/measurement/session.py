"""What the stages of a run share: the request, the machine, the suite, and which run it is."""

from __future__ import annotations

import json
import math
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git, workers
from perfgate.compare import comparability
from perfgate.hardware.gpus import slug
from perfgate.harness import machine
from perfgate.project import load_suite, output_folder
from perfgate.records import GateError, Status, Verdict
from perfgate.store import evidence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from perfgate.config import Settings

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
    """What the run's files carry (see `of_run`)."""

    @property
    def partial(self) -> bool:
        """Whether the user selected cases, so that the rest is left out on purpose."""
        return bool(self.request.cases or self.request.choosing)

    def require_timed(self, cases: Collection[str]) -> None:
        """Refuse cases that are not timed.

        Raises:
            GateError: ``bad-usage``.
        """
        for case in cases:
            if case not in self.timed:
                text = f"{case} is checked but not timed; expected one of {', '.join(self.timed)}."
                raise GateError("bad-usage", text)


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


def invalid(case: str, reason: str, text: str, *, wrong: bool = False) -> Verdict:
    """The verdict on what could not be compared; ``*`` is every case."""
    return Verdict(case=case, status=Status.INVALID, reason=reason, text=text, wrong=wrong)


def broken(error: GateError) -> Verdict:
    """The verdict on a stage that could not be done."""
    return invalid("*", error.reason, error.text)


def check_idle(session: Session) -> None:
    """Refuse to measure on a card that works for others; asked when nothing of this run is on it.

    Raises:
        GateError: ``busy``.
    """
    percent = machine.busy(session.environment["uuid"])
    if percent is not None and percent > comparability.BUSY_PERCENT:
        raise GateError(
            "busy",
            f"{session.environment['gpu']} is {percent} % busy while nothing of this run is on it, expected it idle (at most "
            f"{comparability.BUSY_PERCENT} %); see who uses it (nvidia-smi), stop that, and measure again.",
        )


def baseline_name(session: Session, file: str = "matmul.json") -> str:
    """Path of a baseline file of the card present, below the baselines folder."""
    return f"{slug(session.environment['gpu'], session.environment['code_path'])}/{file}"


def shown(session: Session, path: Path) -> str:
    """A path as a person would give it: from the project's root, where it lies in it."""
    return str(path.relative_to(session.settings.root)) if path.is_relative_to(session.settings.root) else str(path)


def current_commit(settings: Settings) -> str:
    """The commit of the working tree, with ``-dirty`` where the kernel under test is not that commit's; empty without git."""
    head = git.commit_of(settings.root, "HEAD")
    return f"{head}-dirty" if head and git.is_changed(settings.root, settings.kernel) else head


def of_run(settings: Settings) -> dict[str, str]:
    """Which run a measurement is of; made before any process starts that could touch what it is made of.

    The candidate is the commit whose kernels were laid over this one's (see ``github.lay``), where just those lie here;
    else the commit at hand, with ``-dirty`` where its kernel is changed. The nonce is what the run's files share.
    """
    kernels = settings.root / Path(settings.kernel).parent
    return {
        "nonce": secrets.token_hex(16),
        "base": git.commit_of(settings.root, "HEAD"),
        "candidate": evidence.laid_commit(output_folder(settings), kernels) or current_commit(settings),
        "began_at": now(),
        "run_id": os.environ.get("GITHUB_RUN_ID", ""),
        "attempt": os.environ.get("GITHUB_RUN_ATTEMPT", ""),
    }


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
