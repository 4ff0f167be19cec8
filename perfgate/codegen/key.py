"""What decides the facts of a compiled case, and the key that it makes: where all of it is equal, so are the facts.

Owns the list of ingredients. Imports neither torch nor Triton, and asks no tool: an installed Triton, its assembler
included, is known by its version and by name, size and time of change of each of its files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import perfgate
from perfgate.codegen.sources import reached
from perfgate.workers import REACHING_COMPILER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.records import Case
    from perfgate.settings import Settings

COMPILER = "perfgate.codegen.worker"
"""The module that compiles and reads code; what it imports of this project is an ingredient."""
_PLACES = frozenset({"TRITON_CACHE_DIR", "TRITON_HOME"})
"""Of the variables that reach the compiler, those that say where compiled kernels are kept, and not what they are."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """One file that was read."""

    digest: str
    """SHA-256 of its bytes."""
    changed_ns: int
    """When it was last written: what was edited and put back while it was compiled is seen by it."""


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What decides the facts of every case of one kernel file; equal twice, nothing was written between."""

    kernel: Mapping[str, Content]
    """The kernel file and every other Python file beside it, by name."""
    code: Mapping[str, Content]
    """Files of this project that compile, that read machine code and that list the cases, by module."""
    paths: frozenset[Path]
    """Where all of these lie."""
    tools: Mapping[str, str]
    """Versions and states of what is installed."""
    environment: Mapping[str, str]
    """Variables that reach the compiler."""
    target: str

    def key(self, case: Case) -> str:
        """SHA-256 for one case."""
        whole = {
            "kernel": {name: content.digest for name, content in self.kernel.items()},
            "code": {name: content.digest for name, content in self.code.items()},
            "tools": dict(self.tools),
            "environment": dict(self.environment),
            "target": self.target,
            "case": asdict(case),
        }
        return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def gather(
    project: Settings, *, kernel: Path, environment: Mapping[str, str], triton: Path | None = None
) -> Ingredients:
    """Read everything that decides what compiling this kernel file gives.

    Args:
        project: The project's settings.
        kernel: The kernel file; the name of its own folder is no ingredient.
        environment: Of the processes that compile.
        triton: Folder that Triton is installed in; None for the one that this interpreter finds.
    """
    roots = (project.root, Path(perfgate.__file__).parent.parent)
    modules = reached([COMPILER, project.suite], [kernel], roots=roots)
    beside = {path.name: path for path in {kernel, *kernel.parent.glob("*.py")} if path.is_file()}
    return Ingredients(
        kernel={kernel.name: _content(kernel), **{name: _content(path) for name, path in beside.items()}},
        code={name: _content(path) for name, path in modules.items()},
        paths=frozenset(path.resolve() for path in (kernel, *beside.values(), *modules.values())),
        tools=_tools(triton_package(triton), triton_version(triton)),
        environment={
            name: f"{value} {_state(Path(value))}"
            for name, value in environment.items()
            if name.startswith(REACHING_COMPILER) and name not in _PLACES
        },
        target=project.target,
    )


def triton_package(folder: Path | None = None) -> Path | None:
    """Where Triton's files lie, without importing it; None where there is none."""
    if folder is not None:
        return folder / "triton"
    spec = importlib.util.find_spec("triton")
    return Path(spec.origin).parent if spec and spec.origin else None


def triton_version(folder: Path | None = None) -> str:
    """The version that its installer recorded; empty where none did."""
    return _version("triton", None if folder is None else [str(folder)])


def _tools(package: Path | None, version: str) -> dict[str, str]:
    return {
        "python": sys.version,
        "machine": platform.machine(),
        "torch": _version("torch", None),
        "triton": version,
        "triton files": _listing(package) if package else "",
    }


def _version(name: str, path: Sequence[str] | None) -> str:
    found = (
        importlib.metadata.distributions(name=name)
        if path is None
        else importlib.metadata.distributions(name=name, path=list(path))
    )
    return next((one.version for one in found), "")


def _listing(package: Path) -> str:
    """A digest of what `ls -lR` would show of a package; its ptxas and cuobjdump are among its files."""
    lines = []
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        lines += [f"{Path(folder, name).relative_to(package)} {_state(Path(folder, name))}" for name in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(path: Path) -> Content:
    """A file's bytes as a digest; a file that is not there is one of its own, which compiling it will say."""
    try:
        changed_ns = path.stat().st_mtime_ns
        return Content(digest=hashlib.sha256(path.read_bytes()).hexdigest(), changed_ns=changed_ns)
    except OSError:
        return Content(digest="", changed_ns=0)


def _state(path: Path) -> str:
    """Size and time of change where this is a file, for a variable may name a tool; empty where it is not."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"
