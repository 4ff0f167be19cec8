"""Reads the baselines' past out of git, and saved runs from files. Needs git; no card and no torch. Writes nothing.

What cannot be read is named with its reason and left out; fatal is only that nothing is left to show.
"""

from __future__ import annotations

import dataclasses
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perfgate import git
from perfgate.config import read_limits
from perfgate.hardware.gpus import CARDS, slug
from perfgate.history.points import BASELINE, RUN, History, LeftOut, Past, Update, case_histories
from perfgate.records import GateError, Recording
from perfgate.store.compiled import read_compiled
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from perfgate.config import Settings

BASELINE_FILE, ANCHOR_FILE, COMPILED_FILES = "matmul.json", "anchor.json", "compiled*.json"
_RECORD, _FIELD = "\x1e", "\x1f"
_HASH = re.compile(r"[0-9a-f]{40,64}")
_SHORT = 12

_Read = TypeVar("_Read")


def history(project: Settings, *, gpu: str = "", runs: Sequence[Path] = (), cases: Collection[str] = ()) -> History:
    """The history of a card's baselines and of the compile target's.

    Args:
        project: The project's settings.
        gpu: The card's slug; empty takes that of the runs, or the only one that git has a baseline of.
        runs: Files of saved runs, a point each.
        cases: Only these; empty means all.

    Raises:
        GateError: ``no-git``, ``no-history``, ``no-baseline``, ``several-cards`` or ``unknown-case``.
    """
    notes = list[str]()
    known = _cards(project)
    card = gpu or next(filter(None, map(_card_of, runs)), "")
    if not card and len(known) > 1:
        raise GateError(
            "several-cards", f"Git has baselines of {', '.join(known)}, expected one card; name it with --gpu."
        )
    card = card or "".join(known)
    has_git = bool(git.commit_of(project.root, "HEAD"))
    shallow = has_git and git.is_shallow(project.root)
    if shallow:
        notes.append("this clone is shallow, so commits before its first are not here (git fetch --unshallow)")
    if not has_git:
        notes.append("there is no git history here, so there are only the runs that were named")
    found = _Collected(settings=project, card=card)
    found.read_commits()
    found.read_runs(runs)
    timed = any(past.recording for past in found.pasts)
    # A card that was named has to have times; a history of the compile target alone will do where none was named.
    if not timed and (gpu or not found.pasts):
        raise _nothing(found, known=known, has_git=has_git, shallow=shallow)
    if not timed:
        notes.append(f"no time of {card or 'any card'} is stored, so there is machine code only")
    elif card in CARDS and CARDS[card].architecture != project.target:
        notes.append(f"the machine code is that for {project.target}, not what {card} itself runs")
    made = case_histories(found.pasts, read_limits(project.root), selected=cases)
    if missing := sorted(set(cases) - {one.case for one in made}):
        held = ", ".join(one.case for one in case_histories(found.pasts, read_limits(project.root)))
        raise GateError("unknown-case", f"{missing[0]} is in no baseline of the past; known are {held}.")
    return History(
        card=card,
        target=project.target,
        updates=tuple(past.update for past in found.pasts),
        cases=made,
        left_out=tuple(found.left_out),
        notes=tuple(notes),
    )


def _nothing(found: _Collected, *, known: Sequence[str], has_git: bool, shallow: bool) -> GateError:
    """Why nothing of what was asked for is left."""
    project, card = found.settings, found.card
    first = next(iter(found.left_out), None)
    why = f" ({first.file} of {first.where}: {first.text})" if first else ""
    if not has_git:
        return GateError(
            "no-git",
            f"There is no git history at {project.root} and no run that could be read{why}; run this in a clone.",
        )
    depth = "; this clone is shallow, so fetch the rest (git fetch --unshallow)" if shallow else ""
    if card and card not in known:
        return GateError(
            "no-baseline",
            f"Git has no baseline of {card}, expected {project.baselines}/{card}/matmul.json in a commit (there are ones of "
            f"{', '.join(known) or 'no card'}){depth}; name another card with --gpu, or record one.",
        )
    return GateError(
        "no-history",
        f"No commit here holds a baseline that could be read{why}, expected one in {project.baselines}{depth}; record one.",
    )


def _cards(settings: Settings) -> tuple[str, ...]:
    """Slugs of the cards that have, or once had, a baseline in git's history."""
    names = git.ask(settings.root, "log", "--format=", "--name-only", "--relative", "--", _folder(settings)) or ""
    paths = (Path(line) for line in names.splitlines())
    return tuple(sorted({path.parent.name for path in paths if path.name == BASELINE_FILE}))


def _commits(settings: Settings, card: str) -> Iterator[Update]:
    """Commits that changed baselines of a card or of the compile target, oldest first; none where git has none."""
    folder = _folder(settings)
    wanted = [f"{folder}/{settings.target}/{COMPILED_FILES}"]
    wanted += [f"{folder}/{card}/{name}" for name in (BASELINE_FILE, ANCHOR_FILE)] if card else []
    form = f"--format={_RECORD}%H{_FIELD}%cI{_FIELD}%s"
    # `-c` lists what a merge changed itself, against all of its parents.
    said = git.ask(settings.root, "log", "--reverse", "-c", "--name-only", "--relative", form, "--", *wanted) or ""
    for record in said.split(_RECORD)[1:]:
        head, _, names = record.partition("\n")
        fields = head.split(_FIELD, 2)
        if len(fields) == 3 and _HASH.fullmatch(fields[0]):  # noqa: PLR2004 - as the format has it
            files = tuple(line.removeprefix(f"{folder}/") for line in names.splitlines() if line)
            commit, date, subject = fields
            yield Update(kind=BASELINE, commit=commit, date=date, subject=subject, files=files, reasons=())


@dataclass(kw_only=True)
class _Collected:
    """What was read of a card's past, and what could not be."""

    settings: Settings
    card: str
    """Whose history this is; empty takes saved runs of any."""
    pasts: list[Past] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def read_commits(self) -> None:
        """Read every commit's files: the card's baseline with its anchor, and the compiled facts that it changed."""
        baseline, anchor_file = f"{self.card}/{BASELINE_FILE}", f"{self.card}/{ANCHOR_FILE}"
        for update in _commits(self.settings, self.card):
            recording = anchor = None
            if self.card and {baseline, anchor_file} & set(update.files):
                recording = self._at(update, baseline, read_recording)
                anchor = self._at(update, anchor_file, read_recording, needed=False)
            compiled = {
                name: file
                for name in update.files
                if name.startswith(f"{self.settings.target}/")
                and (file := self._at(update, name, read_compiled)) is not None
            }
            if recording or compiled:
                reasons = filter(None, (one.reason for one in (recording, *compiled.values()) if one))
                update = dataclasses.replace(update, reasons=tuple(dict.fromkeys(reasons)))  # noqa: PLW2901
                self.pasts.append(Past(update=update, recording=recording, anchor=anchor, compiled=compiled))

    def read_runs(self, paths: Sequence[Path]) -> None:
        """Read saved runs, such as ``.perfgate/current.json``: each a point of its own, in the order of their recording."""
        anchor = next((past.anchor for past in reversed(self.pasts) if past.anchor), None)
        runs = []
        for path in map(str, dict.fromkeys(paths)):
            run = self._read(path, path, read_recording, Path(path))
            if run:
                reasons = (run.reason,) if run.reason else ()
                update = Update(
                    kind=RUN, commit=run.commit, date=run.recorded_at, subject=path, files=(path,), reasons=reasons
                )
                runs.append(Past(update=update, recording=run, anchor=anchor, compiled={}))
        self.pasts += sorted(runs, key=lambda past: past.update.date)

    def _at(
        self, update: Update, name: str, read: Callable[[Path], _Read | None], *, needed: bool = True
    ) -> _Read | None:
        """One file as of a commit, or None where there is none or it is left out.

        Args:
            update: The commit.
            name: Its path below the baselines folder.
            read: Reads it from a path.
            needed: Name it where this commit has none.
        """
        where = f"{update.commit[:_SHORT]}, {update.date[:10]}"
        held = git.bytes_at(self.settings.root, update.commit, f"{_folder(self.settings)}/{name}")
        if held is None:
            if needed:
                self._leave_out(where, name, "gone", f"{name} is gone as of this commit.")
            return None
        with tempfile.TemporaryDirectory() as scratch:
            # The store's own readers take a path; this one's name says what it is in their sentences.
            path = Path(scratch) / f"{Path(name).name} of {update.commit[:_SHORT]}"
            path.write_bytes(held)
            return self._read(where, name, read, path)

    def _read(self, where: str, name: str, read: Callable[[Path], _Read | None], path: Path) -> _Read | None:
        """What a reader gives, or None where it is left out."""
        try:
            one = read(path)
        except GateError as error:
            hidden = "" if str(path) == name else f"{path.parent}/"
            self._leave_out(where, name, error.reason, error.text.replace(hidden, ""))
            return None
        of = _slug(one) if isinstance(one, Recording) else self.card
        if self.card and of != self.card:
            text = f"It was measured on {of or 'a card that is not recorded'}, expected {self.card}."
            self._leave_out(where, name, "other-card", text)
            return None
        return one

    def _leave_out(self, where: str, file: str, reason: str, text: str) -> None:
        self.left_out.append(LeftOut(where=where, file=file, reason=reason, text=text))


def _card_of(path: Path) -> str:
    """The slug of the card that a saved run was measured on; empty where it cannot be read or does not say."""
    try:
        return _slug(read_recording(path))
    except GateError:
        return ""


def _slug(recording: Recording) -> str:
    gpu = recording.environment.get("gpu", "")
    return slug(gpu, recording.environment.get("code_path") or "native") if gpu else ""


def _folder(settings: Settings) -> str:
    return settings.baselines.rstrip("/")
