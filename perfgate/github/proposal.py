"""What of a baseline job's artifact may be committed: told from everything else, checked, and written anew.

The job ran the kernel's code, so nothing that it left is trusted. A file that a baseline update does not write has to be
the checkout's own. One that it does write is read strictly, has to be of this very commit, card and reason, and sound, and
is written again from its record, so that nothing travels that the gate does not know.
"""

from __future__ import annotations

import dataclasses
import filecmp
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from perfgate.codegen.rules import judge_compiled
from perfgate.compare import comparability
from perfgate.compare.drift import alone
from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card, slug
from perfgate.records import GateError, Recording
from perfgate.store.compiled import CompiledBaseline, read_compiled, write_compiled
from perfgate.store.recording import read_recording, write_recording
from perfgate.text import cut

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


COMPILED, THROUGHPUT = ONLY = ("compiled", "throughput")
"""Kinds of baselines."""
MOST_BYTES = 16 << 20
"""Of one file: sixteen times the H100's 25 cases in 8 launches, and well below the 50 MiB at which GitHub warns."""
MOST_ENTRIES = 1000
"""Files and folders of an artifact; the project has some ten."""
_COMPILED = re.compile(r"compiled(?:-triton-(\d+\.\d+\.\d+))?\.json", re.ASCII)
_SHOWN = 161
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


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Baseline files as records; what is not there, or cannot be read, is None or left out."""

    times: Recording | None = None
    """``matmul.json``."""
    anchor: Recording | None = None
    compiled: Mapping[str, CompiledBaseline] = dataclasses.field(default_factory=dict)
    """Facts of the machine code, by path below the baselines folder."""


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """What is going to be committed, and what the records were and will be."""

    asked: Asked
    files: Mapping[str, bytes]
    """By path below the baselines folder; those alone that differ from the checkout's."""
    before: Stored
    after: Stored
    """What changes, and the anchor wherever the times do."""
    unread: tuple[str, ...] = ()
    """Files of the checkout that are replaced and could not be read."""


def collect(folder: Path, baselines: Path, asked: Asked) -> Proposed:
    """Check an artifact and take from it what is new.

    Args:
        folder: The artifact, unpacked.
        baselines: The checkout's baselines folder, as committed.
        asked: What the files have to be of.

    Raises:
        GateError: The first thing that is not as it should be, or ``nothing-to-propose``.
    """
    there = sorted(_names(folder))
    changed = [name for name in there if not _same(folder / name, baselines / name)]
    for name in changed:
        if name not in {asked.times, asked.anchor} and not asked.is_compiled(name):
            refuse(
                "not-a-baseline",
                f"{name} of the artifact is not as in the checkout",
                f"a change of {asked.times}, {asked.anchor} and {asked.target}/compiled*.json alone",
                "see what the job wrote and start the update again",
            )
    before, unread = _stored(baselines, asked, changed)
    after = _read(folder, asked, there, changed, before)
    files = _written(after, asked, changed)
    files = {name: data for name, data in files.items() if data != _bytes(baselines / name)}
    if not files:
        refuse(
            "nothing-to-propose",
            "The artifact's baselines are the checkout's, so there is nothing to propose",
            "one that changed",
            "see the log of the job that records them",
        )
    if after.times and asked.times not in files:
        refuse("half-an-update", f"{asked.anchor} changed without {asked.times}", "both", "start the update again")
    _refuse_half(files, asked)
    return Proposed(asked=asked, files=files, before=before, after=after, unread=unread)


def _refuse_half(files: Mapping[str, bytes], asked: Asked) -> None:
    """An update writes every file that it was asked for anew, with its date: what is not there was not recorded."""
    found = {COMPILED: any(map(asked.is_compiled, files)), THROUGHPUT: asked.times in files}
    named = {COMPILED: f"{asked.target}/compiled.json", THROUGHPUT: asked.times}
    for kind in ONLY if asked.only is None else (asked.only,):
        if not found[kind]:
            refuse(
                "half-an-update",
                f"The update left no new {named[kind]}",
                "one, since it was asked for",
                "see the log of the job that records them, or propose the other alone with --only",
            )


def _names(folder: Path) -> Iterator[str]:
    """Every file of the artifact by its path; a link could show what lies elsewhere and is refused, as devices are."""
    if not folder.is_dir():
        refuse(
            "no-artifact", f"{folder} is no folder", "the baselines that the job left", "download its artifact there"
        )
    waiting, seen = [folder], 0
    while waiting:
        for path in waiting.pop().iterdir():
            seen += 1
            if seen > MOST_ENTRIES:
                refuse("too-many-files", f"The artifact has more than {MOST_ENTRIES} entries", "some ten", "look at it")
            kind = path.lstat().st_mode
            name = path.relative_to(folder).as_posix()
            if stat.S_ISDIR(kind):
                waiting.append(path)
            elif stat.S_ISREG(kind):
                yield name
            else:
                refuse(
                    "not-a-file", f"{name} of the artifact is no plain file", "neither link nor device", "look at it"
                )


def _same(path: Path, own: Path) -> bool:
    return own.is_file() and path.lstat().st_size == own.stat().st_size and filecmp.cmp(path, own, shallow=False)


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _stored(baselines: Path, asked: Asked, changed: list[str]) -> tuple[Stored, tuple[str, ...]]:
    """What the checkout has in place of what changes; a file that is broken is replaced unread, which mends it."""
    unread: list[str] = []

    def recording(name: str) -> Recording | None:
        try:
            return read_recording(baselines / name) if (baselines / name).is_file() else None
        except GateError:
            unread.append(name)
            return None

    def facts(name: str) -> CompiledBaseline | None:
        try:
            return read_compiled(baselines / name)
        except GateError:
            unread.append(name)
            return None

    compiled = {name: found for name in changed if asked.is_compiled(name) and (found := facts(name))}
    return Stored(times=recording(asked.times), anchor=recording(asked.anchor), compiled=compiled), tuple(unread)


def _read(folder: Path, asked: Asked, there: list[str], changed: list[str], before: Stored) -> Stored:
    compiled = {name: read_facts(folder / name, name, asked) for name in changed if asked.is_compiled(name)}
    if asked.times not in changed and asked.anchor not in changed:
        return Stored(compiled=compiled)
    if asked.times not in changed or asked.anchor not in there:
        found = (
            f"{asked.anchor} changed without {asked.times}"
            if asked.times not in changed
            else f"{asked.times} came without {asked.anchor}"
        )
        refuse("half-an-update", found, "both, as an update writes them", "start the update again")
    times = read_times(folder / asked.times, asked)
    anchor = read_anchor(folder / asked.anchor, asked, times=times, before=before.anchor)
    return Stored(times=times, anchor=anchor, compiled=compiled)


def _written(after: Stored, asked: Asked, changed: list[str]) -> dict[str, bytes]:
    """The files that changed, as this gate writes those records."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, facts in after.compiled.items():
            write_compiled(Path(scratch, name), facts)
        for name, recording in ((asked.times, after.times), (asked.anchor, after.anchor)):
            if recording and name in changed:
                numbers = recording_metrics(recording, card(recording.environment.get("gpu", "")))
                metrics = {case: found.to_json() for case, found in numbers.items()}
                write_recording(Path(scratch, name), recording, metrics=metrics)
        return {name: Path(scratch, name).read_bytes() for name in changed}


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
    stored = dataclasses.replace(alone(recording), reason=times.reason)
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
    raise GateError(reason, f"{cut(found, _SHOWN)}, expected {expected}; {remedy}.")


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
