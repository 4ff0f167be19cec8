"""What the studies share: the command that repeats one, where its files go, and the environment of its processes."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line, workers
from perfgate.files import write_whole
from perfgate.records import GateError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

NATIVE = "native"
"""The code path of the card present; others are architectures that Triton lowers for, such as ``sm89``."""
WRONG = 1
"""Exit code where the kernel was wrong."""


def parser(study: str, description: str, *, output: str = "") -> command_line.Parser:
    """The parser of one study, with the folder that its files go to; ``.perfgate/`` and its name where none is usual."""
    made = command_line.Parser(prog=f"python -m studies {study}", description=description, allow_abbrev=False)
    usual = output or f".perfgate/{study}"
    made.add_argument("--output", type=Path, metavar="DIR", help=f"where its files go ({usual})")
    made.set_defaults(usual=Path(usual))
    return made


def folder(options: argparse.Namespace) -> Path:
    """Where a study's files go.

    Raises:
        GateError: ``bad-usage``, it is a file.
    """
    chosen: Path = options.output or options.usual
    if chosen.exists() and not chosen.is_dir():
        raise GateError("bad-usage", f"--output is {chosen}, which is no folder; name a folder.")
    return chosen.absolute()


def keep(output: Path, files: Mapping[str, str]) -> None:
    """Write files whole, by name.

    Raises:
        GateError: ``unwritable``.
    """
    try:
        for name, text in files.items():
            write_whole(output / name, text)
    except OSError as error:
        raise GateError("unwritable", f"{output} cannot be written ({error}); name another folder.") from None


def again(study: str, words: Sequence[str], *, code_path: str = NATIVE) -> str:
    """The command that repeats a study."""
    before = "" if code_path == NATIVE else f"TRITON_OVERRIDE_ARCH={code_path} "
    return before + shlex.join(["nox", "-s", "study", "--", study, *words])


def environment(code_path: str, **added: str) -> dict[str, str]:
    """A process's environment on a code path, whatever that of its parent is."""
    inherited = {name: value for name, value in workers.environment().items() if name != "TRITON_OVERRIDE_ARCH"}
    return inherited | ({} if code_path == NATIVE else {"TRITON_OVERRIDE_ARCH": code_path}) | added
