"""The actions that the workflows use, as folders that act can run: from a folder that was given, or from GitHub by commit.

Owns which commit really runs, and the bundles that a source lacks: those are built by the action's own scripts. All is
cached outside the repository, by commit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

_USES = re.compile(r"uses: (?P<name>actions/[a-z-]+)@(?P<commit>[0-9a-f]{40})")
_RUN_S = 300
_SCRIPTS = ("release", "package", "build")


class NoSourcesError(Exception):
    """What has to be there cannot be had; says why in a sentence."""


def cache_folder() -> Path:
    """Where what is built once is kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfgate-workflows"


def actions(workflows: Iterable[Path], sources: Path | None) -> dict[str, str]:
    """Every action that the workflows pin: its option for act, and which commit runs and what of it was built here.

    Raises:
        NoSourcesError: One of them can neither be found nor fetched, or not be built.
    """
    texts = [path.read_text(encoding="utf-8") for path in workflows]
    pins = sorted({(found["name"], found["commit"]) for text in texts for found in _USES.finditer(text)})
    return dict(_action(name, commit, sources) for name, commit in pins)


def _action(name: str, pinned: str, sources: Path | None) -> tuple[str, str]:
    folder = cache_folder() / "actions" / name.replace("/", "+")
    source = _given(name, sources) if sources else None
    if sources and source is None:
        raise NoSourcesError(f"{sources} has no {name.partition('/')[2]}")
    commit, note = pinned, ""
    if source and _is_repository(source):
        if _git(source, "cat-file", "-e", f"{pinned}^{{commit}}").returncode:
            commit = _git(source, "rev-parse", "HEAD").stdout.strip()
            note = ", the newest there; the pinned one is missing"
    elif source:
        commit, note = "given", f": the folder {source}, whatever its commit is"
    made = folder / commit
    said = made / ".built"
    if commit == "given" or not said.is_file():
        _make(made, name, commit, source)
    built = said.read_text(encoding="utf-8")
    option = f"--local-repository={name}@{pinned}={made}"
    return option, f"{name} pinned {pinned[:12]}, runs {commit[:12]}{note}{built}"


def _given(name: str, sources: Path) -> Path | None:
    """The folder of an action, by any of the names that such folders have."""
    short = name.partition("/")[2]
    flat = name.replace("/", "+")
    for candidate in (short, name, f"{flat}/repo", flat, f"{short}.git"):
        if (sources / candidate).is_dir():
            return sources / candidate
    return None


def _is_repository(folder: Path) -> bool:
    return (folder / ".git").exists() or (folder / "HEAD").is_file()


def _make(made: Path, name: str, commit: str, source: Path | None) -> None:
    """Fill the folder of the cache, whole or not at all."""
    made.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=made.parent) as scratch:
        work = Path(scratch, "action")
        work.mkdir()
        if source is None:
            source = Path(scratch, "cloned")
            _git(made.parent, "init", "-q", "--bare", str(source))
            done = _git(source, "fetch", "-q", "--depth", "1", f"https://github.com/{name}", commit)
            if done.returncode:
                why = (done.stderr.strip().splitlines() or ["no message"])[-1]
                raise NoSourcesError(f"none given, and {name} cannot be fetched: {why}")
        if _is_repository(source):
            _unpack(source, commit, work)
        else:
            shutil.copytree(source, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", ".git"))
        built = _build(work) if _missing(work) else ""
        (work / ".built").write_text(built, encoding="utf-8")
        shutil.rmtree(work / "node_modules", ignore_errors=True)
        shutil.rmtree(made, ignore_errors=True)
        work.replace(made)


def _unpack(source: Path, commit: str, into: Path) -> None:
    """The commit's files; a mirror may lack the largest, which are left out and built anew."""
    listed = _git(source, "ls-tree", "-r", "-l", "-z", commit).stdout.split("\0")
    for line in filter(None, listed):
        facts, _, name = line.partition("\t")
        if not facts.split()[3].isdecimal():
            continue
        shown = subprocess.run(
            ["git", "-c", "safe.directory=*", "show", f"{commit}:{name}"],  # noqa: S607 - by its name
            cwd=source,
            capture_output=True,
            check=True,
        )
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_bytes(shown.stdout)


def _missing(action: Path) -> list[str]:
    """The programs that ``action.yml`` names and that are not there."""
    path = next((action / name for name in ("action.yml", "action.yaml") if (action / name).is_file()), None)
    if path is None:
        raise NoSourcesError(f"{action} has no action.yml")
    runs = yaml.safe_load(path.read_text(encoding="utf-8"))["runs"]
    named = [runs[key] for key in ("main", "pre", "post") if key in runs]
    return [name for name in named if not (action / name).is_file()]


def _build(action: Path) -> str:
    """Build what is missing with the action's own scripts; says what was done."""
    lacking = ", ".join(_missing(action))
    if not shutil.which("npm"):
        raise NoSourcesError(f"{lacking} is missing in the sources, and there is no npm to build it")
    how = "its locked packages"
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund")
    if run(action, "npm", "ci", *quiet).returncode:
        how = "packages chosen anew, as the locked ones cannot be had"
        (action / "package-lock.json").unlink(missing_ok=True)
        run(action, "npm", "install", "--no-save", "--no-package-lock", *quiet)
    for script in _SCRIPTS:  # judged by what it leaves: some of them end with a git command that fails here
        run(action, "npm", "run", script)
        if not _missing(action):
            return f"; {lacking} built here with {how}"
    raise NoSourcesError(f"{lacking} is missing in the sources and could not be built")


def run(folder: Path, *words: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, whatever its end."""
    return subprocess.run(words, cwd=folder, input=given, capture_output=True, text=True, check=False, timeout=_RUN_S)


def _git(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "git", "-c", "safe.directory=*", *words)
