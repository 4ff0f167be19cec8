"""Whether the records of a baseline job are what was asked for: card, commit, reason, soundness, and what goes with what.

Owns the refusals; a record that passes is that of an update of this very commit, on this card, for this reason.
"""

from __future__ import annotations

import dataclasses
import re
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from perfgate.codegen.rules import judge_compiled
from perfgate.compare import comparability, renewal
from perfgate.github import bearable
from perfgate.hardware.gpus import slug
from perfgate.records import GateError, Recording
from perfgate.report.markdown import plain
from perfgate.store.compiled import CompiledBaseline, read_compiled
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from pathlib import Path

COMPILED, THROUGHPUT = ONLY = ("compiled", "throughput")
"""Kinds of baselines."""
MOST_BYTES = 16 << 20
"""Of one file: sixteen times the H100's 25 cases in 8 launches, and well below the 50 MiB at which GitHub warns."""
_COMPILED = re.compile(r"compiled(?:-triton-(\d+\.\d+\.\d+))?\.json", re.ASCII)
_SHOWN = 160
_AGAIN = "start the update again"


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the person who started the update asked for, and the commit that it was started on."""

    card: str
    """Its folder among the baselines."""
    target: str
    """Architecture of the machine code."""
    commit: str
    reason: str
    only: str | None = None
    """One of `ONLY`; None where both kinds were asked for."""

    @property
    def times(self) -> str:
        """The file with the card's times, below the baselines folder."""
        return f"{self.card}/matmul.json"

    @property
    def anchor(self) -> str:
        """The file from which drift is counted."""
        return f"{self.card}/anchor.json"

    def is_compiled(self, name: str) -> bool:
        """Whether a path below the baselines folder is one of the machine code's files."""
        folder, _, file = name.partition("/")
        return folder == self.target and _COMPILED.fullmatch(file) is not None


def read_times(path: Path, asked: Asked) -> Recording:
    """The new times: of the card, commit and reason asked for, every case sound."""
    name = asked.times
    recording = read_recording(bounded(path, name))
    environment = recording.environment
    found = slug(environment.get("gpu", ""), environment.get("code_path") or "native")
    if found != asked.card:
        refuse("other-card", f"{name} was recorded on {found or 'no card'}", asked.card, "start it on that card")
    _check_origin(name, recording.commit, recording.reason, asked)
    if recording.selected:
        refuse("malformed", f"{name} holds selected cases alone", "every case", _AGAIN)
    bearable.check(recording, name)
    for case, samples in recording.samples.items():
        disturbed = comparability.disturbance(samples)
        if disturbed or comparability.is_wrong(samples):
            what = disturbed[1] if disturbed else "a wrong result"
            refuse("not-sound", f"{name} has for {case}: {what}", "a sound measurement of a right kernel", _AGAIN)
    return recording


def read_anchor(path: Path, asked: Asked, *, times: Recording, before: Recording | None) -> Recording:
    """The anchor that goes with new times: those themselves, or the anchor before with some of their cases.

    Args:
        path: Where it is.
        asked: What the files have to be of.
        times: The new times.
        before: The checkout's anchor; None where there is none that can be read.
    """
    anchor = read_recording(bounded(path, asked.anchor))
    whole = _headless(anchor) == _headless(times) and anchor.samples == times.samples
    mixed = (  # see `drift.renewed`
        before is not None
        and _headless(anchor) == _headless(before)
        and anchor.samples.keys() == times.samples.keys()
        and all(one in (before.samples.get(case), times.samples[case]) for case, one in anchor.samples.items())
    )
    if not (whole or mixed):
        refuse(
            "other-anchor",
            f"{asked.anchor} is neither the new matmul.json nor the anchor before with cases of it",
            "one of the two, with the cases of matmul.json",
            _AGAIN,
        )
    return anchor


def read_facts(path: Path, name: str, asked: Asked) -> CompiledBaseline:
    """New facts of the machine code: of the target, compiler, commit and reason that they should be of."""
    facts = read_compiled(bounded(path, name))
    if facts is None:
        refuse("malformed", f"{name} is not there", "a file", _AGAIN)
    if facts.target != asked.target:
        refuse("other-target", f"{name} is of {facts.target}", asked.target, _AGAIN)
    named = _COMPILED.fullmatch(path.name)
    if named and named[1] and named[1] != facts.versions["triton"]:
        refuse("other-compiler", f"{name} is of Triton {facts.versions['triton']}", named[1], _AGAIN)
    _check_origin(name, facts.commit, facts.reason, asked)
    bearable.check(facts, name)
    wrong = [v for v in judge_compiled(facts.cases, None, versions=facts.versions, target=facts.target) if v.wrong]
    if wrong:
        refuse("not-sound", f"{name} has {wrong[0].text.rstrip('.')}", "code that can run", "mend the kernel")
    return facts


def read_beside(folder: Path, times: Recording) -> Recording | None:
    """The new launches with the old baseline's code beside them, as the update left them; None where it left none.

    Args:
        folder: What the update left in ``.perfgate``.
        times: The baseline that was stored of these launches.
    """
    path = folder / "current.json"
    if not path.is_symlink() and not path.exists():
        return None
    recording = read_recording(bounded(path, path.name))
    stored = dataclasses.replace(renewal.alone(recording), reason=times.reason)
    if _headless(stored) != _headless(times) or stored.samples != times.samples:
        refuse(
            "other-measurement",
            f"{path.name} of the samples holds other launches than matmul.json",
            "those that the baseline was stored of",
            _AGAIN,
        )
    return recording


def bounded(path: Path, name: str) -> Path:
    """A path that is a plain file of bearable size."""
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode):
        refuse("not-a-file", f"{name} is no plain file", "neither link nor device", _AGAIN)
    if found.st_size > MOST_BYTES:
        refuse("too-large", f"{name} has {found.st_size} bytes", f"at most {MOST_BYTES}", "record fewer launches")
    return path


def refuse(reason: str, found: str, expected: str, remedy: str) -> NoReturn:
    """Raise the one sentence; what was found may hold texts of files, so it is made plain and cut."""
    shown = plain(found if len(found) <= _SHOWN else f"{found[:_SHOWN]}…")
    raise GateError(reason, f"{shown}, expected {expected}; {remedy}.")


def _headless(recording: Recording) -> Recording:
    """All that a recording says besides its samples."""
    return dataclasses.replace(recording, samples={}, source="")


def _check_origin(name: str, commit: str, reason: str, asked: Asked) -> None:
    if commit != asked.commit:
        why = ", with a kernel that was not as committed" if commit == f"{asked.commit}-dirty" else ""
        refuse(
            "other-commit",
            f"{name} was recorded of commit {commit or 'unknown'}{why}",
            f"{asked.commit}, which is checked out",
            "start the update again on the branch as it is",
        )
    if reason != asked.reason:
        refuse("other-reason", f"{name} gives the reason {reason!r}", repr(asked.reason), _AGAIN)
