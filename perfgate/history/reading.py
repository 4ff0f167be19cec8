"""Reads the baselines' past out of git, and saved runs from files. Writes nothing to the repository.

What cannot be read is named with its reason and left out; that is for the reader to know and no reason to stop.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perfgate import git
from perfgate.hardware.gpus import slug
from perfgate.history.points import Past
from perfgate.history.record import BASELINE, RUN, LeftOut, Update
from perfgate.records import GateError, Recording
from perfgate.store.compiled import CompiledBaseline, read_compiled
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from perfgate.settings import Settings

BASELINE_FILE, ANCHOR_FILE, COMPILED_FILES = "matmul.json", "anchor.json", "compiled*.json"
_RECORD, _FIELD = "\x1e", "\x1f"
_HASH = re.compile(r"[0-9a-f]{40,64}")
_SHORT = 12

_Read = TypeVar("_Read")


@dataclass(frozen=True, kw_only=True)
class Commit:
    """One commit that changed a baseline."""

    hash: str
    date: str
    subject: str
    files: tuple[str, ...]
    """Those that it changed, below the baselines folder."""


@dataclass(kw_only=True)
class Found:
    """What was read and what could not be."""

    pasts: list[Past] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def cards(settings: Settings) -> tuple[str, ...]:
    """Slugs of the cards that have, or once had, a baseline in git's history."""
    names = git.ask(settings.root, "log", "--format=", "--name-only", "--relative", "--", _folder(settings)) or ""
    paths = (Path(line) for line in names.splitlines())
    return tuple(sorted({path.parent.name for path in paths if path.name == BASELINE_FILE}))


def commits(settings: Settings, card: str) -> tuple[Commit, ...]:
    """Commits that changed baselines of a card or of the compile target, oldest first; none where git has none."""
    folder = _folder(settings)
    wanted = [f"{folder}/{settings.target}/{COMPILED_FILES}"]
    wanted += [f"{folder}/{card}/{name}" for name in (BASELINE_FILE, ANCHOR_FILE)] if card else []
    form = f"--format={_RECORD}%H{_FIELD}%cI{_FIELD}%s"
    # `-c` lists what a merge changed itself, against all of its parents.
    said = git.ask(settings.root, "log", "--reverse", "-c", "--name-only", "--relative", form, "--", *wanted) or ""
    return tuple(_commits(said, folder))


def _commits(said: str, folder: str) -> Iterator[Commit]:
    for record in said.split(_RECORD)[1:]:
        head, _, names = record.partition("\n")
        fields = head.split(_FIELD, 2)
        if len(fields) == 3 and _HASH.fullmatch(fields[0]):  # noqa: PLR2004 - as the format has it
            files = tuple(line.removeprefix(f"{folder}/") for line in names.splitlines() if line)
            yield Commit(hash=fields[0], date=fields[1], subject=fields[2], files=files)


def read_commits(settings: Settings, card: str, found: Found) -> None:
    """Read every commit's files: the card's baseline with its anchor, and the compiled facts that it changed."""
    with tempfile.TemporaryDirectory() as scratch:
        for commit in commits(settings, card):
            reader = _Reader(settings=settings, commit=commit, scratch=Path(scratch), found=found)
            recording = anchor = None
            own = {f"{card}/{BASELINE_FILE}", f"{card}/{ANCHOR_FILE}"}
            if card and own & set(commit.files):
                recording = reader.read(f"{card}/{BASELINE_FILE}", read_recording, _recording_of(card))
                anchor = reader.read(f"{card}/{ANCHOR_FILE}", read_recording, _recording_of(card), needed=False)
            compiled = {
                name: file
                for name in commit.files
                if name.startswith(f"{settings.target}/")
                and (file := reader.read(name, _compiled, lambda _file: "")) is not None
            }
            reasons = [*((recording.reason,) if recording else ()), *(file.reason for file in compiled.values())]
            update = Update(
                kind=BASELINE,
                commit=commit.hash,
                date=commit.date,
                subject=commit.subject,
                files=commit.files,
                reasons=tuple(dict.fromkeys(filter(None, reasons))),
            )
            if recording or compiled:
                found.pasts.append(Past(update=update, recording=recording, anchor=anchor, compiled=compiled))


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """Reads files as of one commit; what it cannot read it names."""

    settings: Settings
    commit: Commit
    scratch: Path
    found: Found

    def read(
        self, name: str, read: Callable[[Path], _Read], fault: Callable[[_Read], str], *, needed: bool = True
    ) -> _Read | None:
        """One file, or None where there is none as of this commit or it is left out.

        Args:
            name: Its path below the baselines folder.
            read: Reads it from a path.
            fault: What is wrong with what was read; empty where nothing is.
            needed: Name it where this commit has none.
        """
        held = git.bytes_at(self.settings.root, self.commit.hash, f"{_folder(self.settings)}/{name}")
        if held is None:
            if needed:
                self._leave_out(name, "gone", f"{name} is gone as of this commit.")
            return None
        # The store's own readers take a path; this one's name says what it is in their sentences.
        path = self.scratch / f"{Path(name).name} of {self.commit.hash[:_SHORT]}"
        path.write_bytes(held)
        try:
            one = read(path)
        except GateError as error:
            self._leave_out(name, error.reason, error.text.replace(f"{self.scratch}/", ""))
            return None
        if wrong := fault(one):
            self._leave_out(name, "other-card", wrong)
            return None
        return one

    def _leave_out(self, name: str, reason: str, text: str) -> None:
        where = f"{self.commit.hash[:_SHORT]}, {self.commit.date[:10]}"
        self.found.left_out.append(LeftOut(where=where, file=name, reason=reason, text=text))


def read_runs(paths: Sequence[Path], card: str, anchor: Recording | None, found: Found) -> None:
    """Read saved runs, each a point of its own, in the order in which they were recorded.

    Args:
        paths: Files such as ``.perfgate/current.json``.
        card: Whose history this is; empty takes any.
        anchor: The card's first baseline as of the last commit.
        found: Where they go.
    """
    runs = []
    for path in dict.fromkeys(paths):
        try:
            run = read_recording(path)
        except GateError as error:
            found.left_out.append(LeftOut(where=str(path), file=str(path), reason=error.reason, text=error.text))
            continue
        if wrong := _recording_of(card)(run) if card else "":
            found.left_out.append(LeftOut(where=str(path), file=str(path), reason="other-card", text=wrong))
            continue
        update = Update(
            kind=RUN,
            commit=run.commit,
            date=run.recorded_at,
            subject=str(path),
            files=(str(path),),
            reasons=(run.reason,) if run.reason else (),
        )
        runs.append(Past(update=update, recording=run, anchor=anchor, compiled={}))
    found.pasts += sorted(runs, key=lambda past: past.update.date)


def card_of(path: Path) -> str:
    """The slug of the card that a saved run was measured on; empty where it cannot be read or does not say."""
    try:
        return _slug(read_recording(path))
    except GateError:
        return ""


def _recording_of(card: str) -> Callable[[Recording], str]:
    """Says what is wrong with a recording that is not of a card."""

    def fault(recording: Recording) -> str:
        found = _slug(recording)
        return "" if found == card else f"It was measured on {found or 'a card that is not recorded'}, expected {card}."

    return fault


def _slug(recording: Recording) -> str:
    gpu = recording.environment.get("gpu", "")
    return slug(gpu, recording.environment.get("code_path") or "native") if gpu else ""


def _compiled(path: Path) -> CompiledBaseline:
    found = read_compiled(path)
    if found is None:
        raise GateError("no-file", f"{path} does not exist, expected the facts of machine code; run this again.")
    return found


def _folder(settings: Settings) -> str:
    return settings.baselines.rstrip("/")
