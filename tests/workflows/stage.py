"""The stage: a repository made of this working tree, as GitHub would have it, and the machine's folder beside it.

Owns what is replaced for the play: the list of cards has one H100, whose baseline is half of the recorded launches. The
repository is reached as ``https://github.com/team/matmul``, which git is told to look for on this disk.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from github_world import LABEL, REPOSITORY, SLUG
from perfgate.store.recording import read_recording, write_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NUMBER = 7
"""Of the pull request."""
_BASELINES = f"baselines/{SLUG}"
_CARDS = re.compile(r"(?<=\[tool\.perfgate\.cards\]\n)(?:[^\[\n].*\n)+")
_LAUNCHES = 4


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One copy of the repository, for one scenario."""

    root: Path
    base: str
    """Head of ``main``."""

    @property
    def repository(self) -> Path:
        """Where git finds what GitHub has."""
        return self.root / "host" / REPOSITORY

    @property
    def machine(self) -> Path:
        """The stand-in's folder: what it does, and what it saw."""
        return self.root / "machine"

    def copy(self, root: Path) -> Stage:
        """The same elsewhere, with the stand-in's programs."""
        shutil.copytree(self.root, root, symlinks=True)
        made = dataclasses.replace(self, root=root)
        programs = made.machine / "bin"
        programs.mkdir()
        for name, role in (("pipx", "pipx"), ("card-python", "python")):
            words = (sys.executable, str(Path(__file__).with_name("card.py")), str(made.machine), role)
            (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
            (programs / name).chmod(0o755)
        return made

    def pull_request(self, change: Mapping[str, Callable[[str], str]]) -> tuple[str, str]:
        """A branch with this change; returns its head and the merge commit that GitHub makes of it and ``main``."""
        folder = self.repository
        git(folder, "checkout", "-q", "-b", "change")
        for name, made_of in change.items():
            path = folder / name
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(made_of(text), encoding="utf-8")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "--allow-empty", "-m", "change")
        head = git(folder, "rev-parse", "HEAD")
        git(folder, "checkout", "-q", "--detach", "main")
        git(folder, "merge", "-q", "--no-ff", "-m", "merge", "change")
        merged = git(folder, "rev-parse", "HEAD")
        git(folder, "update-ref", f"refs/pull/{NUMBER}/merge", merged)
        git(folder, "checkout", "-q", "main")
        return head, merged

    def clone(self, commit: str) -> Path:
        """A checkout of a commit, from which act takes the workflow and the commit of the event."""
        folder = self.root / f"clone-{commit[:12]}"
        if not folder.exists():
            git(self.root, "clone", "-q", str(self.repository), str(folder))
            git(folder, "fetch", "-q", "origin", commit)
            git(folder, "checkout", "-q", "-B", "main", commit)
            git(folder, "remote", "set-url", "origin", f"https://github.com/{REPOSITORY}.git")
        return folder

    def variables(self) -> dict[str, str]:
        """For git, in every step: GitHub is on this disk."""
        host = f"url.{(self.root / 'host').as_uri()}/.insteadOf"
        return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": host, "GIT_CONFIG_VALUE_0": "https://github.com/"}

    def set_machine(self, *, api: str, gpu: bool = True, scale: float = 1.0, **more: Any) -> None:
        """Say what the machine with the card does."""
        document = {"api": api, "gpu": gpu, "scale": scale, **more}
        (self.machine / "machine.json").write_text(json.dumps(document), encoding="utf-8")


def begin(root: Path, project: Path) -> Stage:
    """Make the repository of the working tree: what git knows there, and what it does not ignore."""
    stage = Stage(root=root, base="")
    folder = stage.repository
    folder.mkdir(parents=True)
    stage.machine.mkdir()
    names = git(project, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if (project / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, folder / name)
    project_file = folder / "pyproject.toml"
    text, count = _CARDS.subn(f'{LABEL} = "{SLUG}"\n', project_file.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit("pyproject.toml has no [tool.perfgate.cards], expected the list of cards.")
    project_file.write_text(text, encoding="utf-8")
    git(folder, "init", "-q", "-b", "main")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "kernel")
    recorded = read_recording(project / _BASELINES / "matmul.json")
    shutil.copy(project / _BASELINES / "matmul.json", stage.machine / "recorded.json")
    kept = {case: dataclasses.replace(one, launches=one.launches[:_LAUNCHES]) for case, one in recorded.samples.items()}
    first = dataclasses.replace(recorded, samples=kept, commit=git(folder, "rev-parse", "HEAD"))
    for name in ("matmul.json", "anchor.json"):
        write_recording(folder / _BASELINES / name, first)
    git(folder, "commit", "-q", "-a", "-m", "baseline")
    return dataclasses.replace(stage, base=git(folder, "rev-parse", "HEAD"))


def git(folder: Path, *words: str) -> str:
    """Run git by itself: nothing of this machine's settings counts."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(
        ["git", *identity, *words],  # noqa: S607 - by its name
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
