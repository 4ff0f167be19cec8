"""What of a baseline job's artifact may be committed: told from everything else, and written anew.

The job ran the kernel's code, so nothing that it left is trusted: a file that a baseline update does not write has to
be the checkout's own, and one that it does write is read into a record and written again from that, so that nothing
travels that the gate does not know.
"""

from __future__ import annotations

import dataclasses
import filecmp
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.compare.roofline import recording_metrics
from perfgate.github.proposal_checks import (
    COMPILED,
    ONLY,
    THROUGHPUT,
    Asked,
    read_anchor,
    read_facts,
    read_times,
    refuse,
)
from perfgate.hardware.gpus import card
from perfgate.records import GateError, Recording
from perfgate.store.compiled import CompiledBaseline, read_compiled, write_compiled
from perfgate.store.recording import read_recording, write_recording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOST_ENTRIES = 1000
"""Files and folders of an artifact; the project has some ten."""


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
