"""The search for the tiles that suit a GPU: compile what a case may run, time it, propose the kernel's list of configs.

Here stands what a user of ``tune`` can choose. Light to import: a command's help reads it.
"""

from __future__ import annotations

from pathlib import Path

LAUNCHES, TOP, LIMIT = 3, 4, 64
FOLDER = Path(".perfgate") / "tune"
