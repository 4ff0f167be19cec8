"""How a scenario is played: its files in a folder, its commands on some checkout of the project, what came out as one text.

Owns what is taken out of that text because it changes from one run to the next: times, dates, places, commits, seeds.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest

EXPECTED = Path(__file__).with_name("expected")
INPUTS = Path(__file__).with_name("inputs")
_DAY = "2026-01-02T03:04:05+00:00"
_ENVIRONMENT = {
    "COLUMNS": "80",
    "CUDA_VISIBLE_DEVICES": "",
    "GIT_AUTHOR_DATE": _DAY,
    "GIT_COMMITTER_DATE": _DAY,
    "PYTHONDONTWRITEBYTECODE": "1",
}
_NOT_INHERITED = ("CI", "FORCE_COLOR", "GITHUB_ACTIONS", "NO_COLOR", "PYTEST_ADDOPTS", "PYTHONPATH", "TRITON_INTERPRET")
_SHRUNK = """

CASES = tuple(case for case in CASES if case.id == "k4_matrix_vector")
EDGE_CASES = tuple(case for case in EDGE_CASES if case.id == "edge_one")
CHECKED = (*CASES, *EDGE_CASES)
"""


@dataclass(frozen=True)
class World:
    """A folder that a scenario has for itself, and the checkout whose commands it runs."""

    folder: Path
    tree: Path
    patched: pytest.MonkeyPatch

    def write(self, name: str, text: str) -> str:
        """Write a file; returns its name."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return name

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=self.folder, check=True, capture_output=True)  # noqa: S607 - git by name

    def project(self) -> None:
        """This project with two cases, which are enough to see every stage, in a repository of one commit."""
        for part in ("kernels", "perf_tests"):
            shutil.copytree(self.tree / part, self.folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(self.tree / "pyproject.toml", self.folder)
        cases = self.folder / "perf_tests/cases.py"
        cases.write_text(cases.read_text(encoding="utf-8") + _SHRUNK, encoding="utf-8")
        self.write(".gitignore", ".perfgate/\n.benchmarks/\n__pycache__/\nout/\n")
        shutil.copytree(INPUTS / "baselines", self.folder / "baselines")
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", ".")
        self.git("commit", "--quiet", "--message=base")

    def change(self, name: str, old: str, new: str) -> None:
        """Replace the one place of a file where something stands."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} has changed: {old!r} stands there {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Files, and commands on them one after another."""

    name: str
    build: Callable[[World], object]
    commands: Sequence[Sequence[str] | Callable[[World], object]]
    """What follows ``python -m perfgate``, or what changes the files before the next."""
    files: Sequence[str] = ()
    """What is shown of what the commands wrote."""
    pages: Sequence[str] = ()
    """Written HTML, of which only the words are shown."""
    apart: bool = False
    """Each command in a process of its own: it compiles and runs the kernel, which takes the pinned torch and Triton."""
    taken_out: Sequence[tuple[str, str]] = field(default=())
    """More that is not held: expressions and what stands for them."""


def play(scenario: Scenario, folder: Path, *, tree: Path, patched: pytest.MonkeyPatch) -> str:
    """All that the scenario's commands say and write, as its golden file has it."""
    for name in _NOT_INHERITED:
        patched.delenv(name, raising=False)
    for name, value in _ENVIRONMENT.items():
        patched.setenv(name, value)
    patched.chdir(folder)
    patched.setitem(sys.modules, "matplotlib", None)  # pages without charts: drawing is slow, and no text
    world = World(folder=folder, tree=tree, patched=patched)
    scenario.build(world)
    shown = []
    for command in scenario.commands:
        if callable(command):
            command(world)
        else:
            shown.append((_apart if scenario.apart else _here)(command, tree))
    shown += [f"[file {name}]\n{_read(folder / name)}" for name in scenario.files]
    shown += [f"[words of {name}]\n{_words(_read(folder / name))}" for name in scenario.pages]
    return _held("\n".join(shown), scenario, {str(folder): "<folder>", str(tree): "<tree>"})


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else "not written\n"


def _here(argv: Sequence[str], _: Path) -> str:
    main = importlib.import_module("perfgate.__main__").main  # where it has always been found
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(argv))
    return _shown(argv, out.getvalue(), err.getvalue(), code)


def _apart(argv: Sequence[str], tree: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "perfgate", *argv],
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    return _shown(argv, done.stdout, done.stderr, done.returncode)


def _shown(argv: Sequence[str], out: str, err: str, code: int) -> str:
    return f"$ perfgate {' '.join(argv)}\n{out}{f'[stderr]{chr(10)}{err}' if err else ''}[exit {code}]\n"


def _in_one_line(found: re.Match[str]) -> str:
    """Text whose line breaks hang on numbers that are not held."""
    return found[1] + " ".join(found[2].split())


def _sorted(found: re.Match[str]) -> str:
    """Lines of two things that begin at the same time."""
    return "".join(sorted(found[0].splitlines(keepends=True)))


_VOLATILE = (
    (r"^(?:perf: (?:compiling|checking) .*\n)+", _sorted),
    (r"^()(time: .*(?:\n  .*)*)", _in_one_line),
    (r"^(  )(INVALID wrong-result: .*(?:\n    .*)*)", _in_one_line),
    (r"(largest error |at most |own |tf32 \+ )\d[\d.e+-]*", r"\1<x>"),
    (r"\b\d+(\.\d+)? s\b", "<n> s"),
    (r"\bseed \d+", "seed <n>"),
    (r"\b\d{4}-\d\d-\d\d(T[\d:.]+(\+00:00|Z)?)?", "<date>"),
    (r"\b[0-9a-f]{40}\b", "<commit>"),
    (r"\b[0-9a-f]{32}\b", "<nonce>"),
    (r"\+cu\d+|\+cpu", ""),
    (r'("cuda": |"python": |\bcuda )"?[\d.]+"?', r"\1<version>"),
)
"""Of commands that run something here; the words of the others are held whole."""


def _held(text: str, scenario: Scenario, places: dict[str, str]) -> str:
    for place, name in places.items():
        text = text.replace(place, name)
    for pattern, instead in (*(_VOLATILE if scenario.apart else ()), *scenario.taken_out):
        text = re.sub(pattern, instead, text, flags=re.MULTILINE)
    return text


class _Words(HTMLParser):
    """A page's words, without what draws it."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self._silent += tag in {"style", "script", "svg"}
        self.words.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in {"style", "script", "svg"}
        self.words.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words.append(data)


def _words(page: str) -> str:
    """What a page says, one sentence or part of one a line, whatever its markup."""
    found = _Words()
    found.feed(page)
    return re.sub(r"(?<=[.;]) ", "\n", " ".join("".join(found.words).split())) + "\n"
