"""Whether results are those that this run's gate left: by digest, by GitHub's number, by commit, and by time.

The digest comes from the jobs' outputs, which the machine with the GPU cannot change afterwards. The rest is what the
gate wrote into its files, so that results of another run or commit are told apart by name. Reads files; writes none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.records import GateError
from perfgate.store import evidence

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from perfgate.github.plan import Plan
    from perfgate.records import Recording
    from perfgate.store.run import RunRecord

_NONCE = re.compile(r"[0-9a-f]{32}")
_SKEW = timedelta(minutes=10)
"""That the clocks of two machines may differ by."""
_OLDEST = timedelta(days=31)
"""GitHub runs no job again after 30 days."""
_ENDED = "ended_at"


@dataclass(frozen=True, kw_only=True)
class ThisRun:
    """What results have to be of."""

    plan: Plan
    id: str
    """GitHub's number of the workflow's run."""
    attempt: int
    """Of the job that judges; results may be of an earlier one, where that job alone was run again."""
    outputs: Mapping[str, Any]
    """Of the jobs with the cards: a digest of each card's results."""
    now: datetime

    @property
    def reference(self) -> str:
        """The commit beside which a card without a baseline is measured; ``^`` stands for its parent."""
        return self.plan.base if self.plan.base != self.plan.candidate else f"{self.plan.base}^"

    def check(self, folder: Path, run: RunRecord, *, index: int, own: bool = False) -> None:
        """Refuse results that are not those that the gate left in this run.

        Args:
            folder: Where they lie.
            run: The run's file, as read.
            index: Of the card in the plan, and so of its job.
            own: They are of the change's own gate.

        Raises:
            GateError: ``no-digest``, ``changed-results`` or ``foreign``.
        """
        name = output_name(index, own=own)
        left, found = str(self.outputs.get(name) or ""), evidence.of_results(folder)
        if not left:
            _refuse(
                "no-digest", f"The job left no digest of {folder.name} ({name})", "one that its gate made at its end"
            )
        if left != found:
            _refuse(
                "changed-results",
                f"The files of {folder.name} have the digest {found[:12]}",
                f"{left[:12]}, which their gate left: they were changed, or are of another attempt",
            )
        told = run.run
        if told.get("run_id") != self.id:
            _foreign(folder, f"run {told.get('run_id') or 'unknown'}", f"this run {self.id}")
        attempt = told.get("attempt", "")
        if not (attempt.isascii() and attempt.isdecimal() and 1 <= int(attempt[:9]) <= self.attempt):
            _foreign(folder, f"attempt {attempt[:20] or 'unknown'}", f"one up to {self.attempt}")
        base = self.plan.candidate if own else self.plan.base
        for key, commit in (("candidate", self.plan.candidate), ("base", base)):
            if told.get(key) != commit:
                _foreign(folder, f"the {key} {told.get(key, '')[:46] or 'unknown'}", f"the plan's {commit[:40]}")
        began, ended = _time(folder, told, "began_at"), _time(folder, told, _ENDED)
        if not self.now - _OLDEST <= began <= ended <= self.now + _SKEW:
            _foreign(folder, f"{began} to {ended}", f"an end after the beginning, and both before {self.now}")
        if not _NONCE.fullmatch(told.get("nonce", "")):
            _foreign(folder, "no one run (it has no nonce)", "the number that every file of a run carries")

    @staticmethod
    def check_samples(folder: Path, run: RunRecord, samples: Recording) -> None:
        """Refuse samples that are of another run than the file of verdicts beside them.

        Raises:
            GateError: ``foreign``.
        """
        told = {key: value for key, value in run.run.items() if key != _ENDED}
        if differing := sorted(key for key in {*told, *samples.run} if told.get(key) != samples.run.get(key)):
            _foreign(folder, f"two runs: current.json has another {differing[0]} than run.json", "files of one run")
        recorded = _time(folder, {"recorded_at": samples.recorded_at}, "recorded_at")
        if not _time(folder, run.run, "began_at") <= recorded <= _time(folder, run.run, _ENDED):
            _foreign(folder, f"{recorded}, when its run was not under way", "samples taken during the run")


def output_name(index: int, *, own: bool = False) -> str:
    """Name of the output of ``measure`` that holds one job's digest: each job of the matrix sets one of its own."""
    return f"{evidence.OUTPUT}_{'own_' if own else ''}{index}"


def _time(folder: Path, told: Mapping[str, str], key: str) -> datetime:
    try:
        found = datetime.fromisoformat(told.get(key, ""))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        _foreign(folder, f"no known time ({key} is {told.get(key, '')[:40]!r})", "one in UTC")
    return found.astimezone(UTC)


def _foreign(folder: Path, found: str, expected: str) -> NoReturn:
    _refuse("foreign", f"The results in {folder.name} are of {found}", expected)


def _refuse(reason: str, found: str, expected: str) -> NoReturn:
    raise GateError(reason, f"{found}, expected {expected}; run all jobs again.")
