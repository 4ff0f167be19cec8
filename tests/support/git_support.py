"""Real git repositories of a few commits, for tests of what is taken out of git."""

from __future__ import annotations

import dataclasses
import subprocess
from typing import TYPE_CHECKING

from perfgate.config import Settings

if TYPE_CHECKING:
    from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Project:
    """A repository with one kernel file."""

    root: Path

    @property
    def settings(self) -> Settings:
        return Settings(root=self.root)

    @property
    def scratch(self) -> Path:
        return self.root / ".perfgate"

    @property
    def kernel(self) -> Path:
        return self.root / "kernels/matmul.py"

    @classmethod
    def begin(cls, root: Path) -> Project:
        """An empty repository whose branch is main."""
        root.mkdir(parents=True)
        made = cls(root)
        made.git("init", "--quiet", "--initial-branch=main")
        return made

    def git(self, *args: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *args], cwd=self.root, check=True, capture_output=True, text=True)  # noqa: S607 - git by name
        return done.stdout.strip()

    def write(self, text: str) -> None:
        self.kernel.parent.mkdir(parents=True, exist_ok=True)
        self.kernel.write_text(text, encoding="utf-8")

    def commit(self, text: str) -> str:
        """Commit a kernel; returns the commit's hash."""
        self.write(text)
        self.git("add", "kernels")
        self.git("commit", "--quiet", "--allow-empty", "--message", text)
        return self.git("rev-parse", "HEAD")
