"""Programs on a terminal of a given size, for tests of what is printed there."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_DECIDE = {"CI", "NO_COLOR", "TERM", "COLUMNS", "LINES", "GITHUB_ACTIONS"}


def on_terminal(
    words: Sequence[str], *, columns: int = 80, environment: Mapping[str, str] | None = None, cwd: Path = ROOT
) -> str:
    """What a program writes to a terminal of so many columns, with the terminal's own line ends made plain."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    inherited = {key: value for key, value in os.environ.items() if key not in _DECIDE}
    asked = {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT), **(environment or {})}
    with subprocess.Popen(words, stdin=other, stdout=other, stderr=other, cwd=cwd, env={**inherited, **asked}):
        os.close(other)
        written = b""
        with contextlib.suppress(OSError):  # how Linux says that the last writer has gone
            while chunk := os.read(main, 65536):
                written += chunk
    os.close(main)
    return written.decode("utf-8").replace("\r\n", "\n")


def visible(text: str) -> str:
    """The text without what moves the cursor or colours."""
    return _ESCAPES.sub("", text)


def widest(text: str) -> int:
    """Columns of the longest line, each drawing of a rewritten one counted by itself."""
    return max(len(line) for line in re.split(r"[\r\n]", visible(text)))
