"""What a check asks of a machine (`Probe`) and what it answers (`Line`). Reads, never sets; a test plays a probe."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import git
from perfgate.config import Settings, read_settings
from perfgate.harness import machine
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.records import Recording

GUIDE = ".github/RUNNER.md"
_COMMAND_S = 10


class Outcome(StrEnum):
    """What a check can come to."""

    OK = "ok"
    FAULT = "FAULT"
    """The gate cannot work here, or not measure rightly, or the machine is not safe."""
    NOTE = "note"
    """It works, but is worth knowing; or it could not be told."""
    UNCHECKED = "-"
    """Not checked, because of another fault."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """What one check came to; expected and remedy are empty where nothing is to be done."""

    name: str = ""
    """What was checked; `report.examine` fills it in."""
    outcome: Outcome
    found: str
    expected: str = ""
    remedy: str = ""


def ok(found: str) -> Line:
    """Nothing to do."""
    return Line(outcome=Outcome.OK, found=found)


def fault(found: str, expected: str, remedy: str) -> Line:
    """To be mended before a number of this machine means anything."""
    return Line(outcome=Outcome.FAULT, found=found, expected=expected, remedy=remedy)


def note(found: str, expected: str = "", remedy: str = "") -> Line:
    """Worth knowing."""
    return Line(outcome=Outcome.NOTE, found=found, expected=expected, remedy=remedy)


def unchecked(why: str) -> Line:
    """Not asked, because of another fault."""
    return Line(outcome=Outcome.UNCHECKED, found=f"not checked: {why}")


class NoAnswerError(Exception):
    """NVIDIA's library has no answer, and its text says why; without the Python package it is asked for nothing."""

    def __init__(self, why: str, *, installed: bool = True, supported: bool = True) -> None:
        super().__init__(why)
        self.installed, self.supported = installed, supported


class Probe:
    """Every question to the machine, asked from the checkout ``root``; ``runner`` is the folder named on the command line.

    What this user may not see, or nobody tells, is None and never a guess.
    """

    def __init__(self, root: Path, runner: Path | None = None) -> None:
        self.root, self.runner = root, runner
        self.python = sys.version_info[:2]
        self.environment: Mapping[str, str] = os.environ
        self.home, self.temporary = Path.home(), Path(tempfile.gettempdir())
        self.uid = os.geteuid()
        self.code_path = machine.code_path()
        # Debian's own scheme names a folder for local packages, in which the headers are not.
        scheme = sysconfig.get_default_scheme()
        self.include = Path(sysconfig.get_path("include", "posix_prefix" if scheme == "posix_local" else scheme))

    def text(self, path: Path | str) -> str | None:
        """A small file's text."""
        with suppress(OSError):
            return Path(path).read_text(encoding="utf-8-sig", errors="replace")
        return None

    def is_file(self, path: Path) -> bool:
        """Whether a file is there; False also where this user may not look."""
        return os.path.isfile(path)  # noqa: PTH113 - Path.is_file raises where it may not look

    def glob(self, folder: Path | str, pattern: str) -> list[Path]:
        """What is in a folder, in order."""
        return sorted(Path(folder).glob(pattern))

    def resolve(self, path: Path) -> Path:
        """Where links lead."""
        return path.resolve()

    def stat(self, path: Path) -> os.stat_result | None:
        """Who owns what a path leads to; None for a link that leads nowhere, which runs nothing."""
        with suppress(FileNotFoundError):
            return path.stat()
        return None

    def free_bytes(self, path: Path) -> int | None:
        """Room in the file system of a folder."""
        with suppress(OSError):
            return shutil.disk_usage(_existing(path)).free
        return None

    def writable(self, path: Path) -> bool:
        """Whether files can be made in a folder."""
        folder = _existing(path)
        return os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)  # noqa: PTH112 - as above

    def which(self, command: str) -> str:
        """Where a command is; empty where there is none."""
        return shutil.which(command) or ""

    def run(self, *words: str) -> tuple[int, str] | None:
        """Exit code and output of a command that changes nothing, run in the checkout."""
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                words, cwd=self.root, capture_output=True, text=True, check=False, timeout=_COMMAND_S
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.returncode, done.stdout

    def user(self, uid: int) -> str:
        """A user's name, or number where it has none."""
        import pwd  # not on Windows, where nothing is measured

        with suppress(KeyError):
            return pwd.getpwuid(uid).pw_name
        return str(uid)

    def gids(self, uid: int, gid: int) -> frozenset[int]:
        """The groups of a user whose file is of group ``gid``."""
        import pwd

        with suppress(KeyError):
            user = pwd.getpwuid(uid)
            return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
        return frozenset({gid})

    def groups(self) -> set[str]:
        """This user's groups, by name."""
        import grp

        found = set()
        for gid in os.getgroups():
            with suppress(KeyError):
                found.add(grp.getgrgid(gid).gr_name)
        return found

    def settings(self) -> Settings:
        """The project's settings; a GateError says why they cannot be read."""
        return read_settings(self.root)

    def recording(self, path: Path) -> Recording:
        """A baseline or a run; a GateError says why it cannot be read."""
        return read_recording(path)

    def commit(self, ref: str) -> str:
        """The commit of that name; empty where this history has none."""
        return git.commit_of(self.root, ref)

    def nvml(self, question: str, *arguments: object, card: int | None = None) -> Any:  # noqa: ANN401 - the library's own types
        """An answer of NVIDIA's library; every question goes here, since each may be refused.

        Raises:
            NoAnswerError: Not installed, not loaded, not supported, not permitted, not known, or lost meanwhile.
        """
        try:
            import pynvml
        except ImportError as error:
            raise NoAnswerError(str(error), installed=False) from None
        try:
            of_it = () if card is None else (pynvml.nvmlDeviceGetHandleByIndex(card),)
            answer = getattr(pynvml, question)(*of_it, *arguments)
        except pynvml.NVMLError as error:
            supported = not isinstance(error, pynvml.NVMLError_NotSupported)
            raise NoAnswerError(str(error), supported=supported) from None
        return answer.decode(errors="replace") if isinstance(answer, bytes) else answer

    def watch(self, uuid: str) -> dict[str, Any]:
        """What a run sees of the card before it measures; a GateError says why it could not be watched."""
        watching = machine.Monitor(uuid)
        watching.sample()
        return {**watching.state(), "utilization_percent": machine.busy(uuid)}


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest above it that is there: in it the rest would be made."""
    absolute = path.absolute()
    return next(folder for folder in (absolute, *absolute.parents) if os.path.lexists(folder))
