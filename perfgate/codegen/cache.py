"""Facts of compiled cases, kept between runs under a key: where all that decides them is equal, so are the facts.

Owns the list of ingredients, which files of this project are among them, the form of an entry (one file a key, in
``.perfgate/cache/compiled/``) and how many there may be. Imports neither torch nor Triton, and asks no tool: an installed
Triton, its assembler included, is known by its version and by name, size and time of change of each of its files. An entry
that is not whole, or not what its name says, is thrown away. What did not compile is not kept: the machine may be why.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

import perfgate
from perfgate import git
from perfgate.files import write_whole
from perfgate.project import output_folder
from perfgate.records import SCHEMA, GateError
from perfgate.store import codec
from perfgate.store.compiled import CompiledCase
from perfgate.workers import REACHING_COMPILER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from perfgate.config import Settings
    from perfgate.records import Case

COMPILER = "perfgate.codegen.worker"
"""The module that compiles and reads code; what it imports of this project is an ingredient."""
MOST_ENTRIES = 2000
"""Each of a few kilobytes."""
_PLACES = frozenset({"TRITON_CACHE_DIR", "TRITON_HOME"})
"""Of the variables that reach the compiler, those that say where compiled kernels are kept, and not what they are."""


_Tool = Annotated[str, msgspec.Meta(pattern=r"\A(triton|torch|ptxas)\Z")]


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one compilation gave."""

    case: CompiledCase
    versions: Annotated[Mapping[_Tool, str], msgspec.Meta(min_length=3)]
    """As they name themselves."""


class Answer(Entry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a compiling process says of a case."""

    triton: str
    """Where its package lies."""
    loaded: tuple[str, ...]
    """Files that were imported and are no installed package's."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry's file."""

    schema: int = SCHEMA
    key: str
    digest: str
    """Of what is held."""
    held: Entry


def cache_folder(settings: Settings) -> Path:
    """Where this project's caches lie."""
    return output_folder(settings) / "cache"


def open_cache(settings: Settings) -> CompiledCache:
    """The project's cache.

    Raises:
        GateError: ``cache-in-git``: the repository holds files there, so that a change could bring facts of its own.
    """
    name = output_folder(settings).name
    if held := (git.ask(settings.root, "ls-files", "--", name) or "").splitlines():
        raise GateError(
            "cache-in-git",
            f"git holds {held[0]}, expected nothing in {name}, whose facts would be taken for compiled ones; remove it "
            f"(git rm -r --cached {name}) or compile without the cache (--no-cache).",
        )
    return CompiledCache(cache_folder(settings) / "compiled")


class CompiledCache:
    """A folder of entries."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str, contract: Mapping[str, Any]) -> Entry | None:
        """The entry of a key, for the case of this contract; None where there is no sound one."""
        path = self._path(key)
        try:
            kept = codec.decode(codec.read_bytes(path, what="facts"), _Kept, source=str(path))
        except GateError:
            kept = None
        if kept and (kept.key, kept.digest) == (key, _digest(kept.held)):
            case = kept.held.case
            if case.kernels and not case.error and dict(case.contract) == dict(contract):
                return kept.held
        with contextlib.suppress(OSError):  # what cannot be removed is written over
            path.unlink()
        return None

    def put(self, key: str, entry: Entry) -> None:
        """Keep what compiled; whole or not at all."""
        if entry.case.kernels and not entry.case.error:
            held = Entry(case=entry.case, versions=entry.versions)
            kept = _Kept(key=key, digest=_digest(held), held=held)
            write_whole(self._path(key), msgspec.json.encode(kept).decode())

    def drop_oldest(self) -> None:
        """Keep the folder to its bound; other runs may do the same at this time."""
        written: list[tuple[int, Path]] = []
        for path in self._folder.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                written.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(written)[: max(0, len(written) - MOST_ENTRIES)]:
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _digest(held: Entry) -> str:
    return hashlib.sha256(msgspec.json.encode(held, order="deterministic")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What decides the facts of every case of one kernel file; equal twice, nothing was written between."""

    files: Mapping[str, tuple[str, int]]
    """Digest and time of writing, which tells of what was edited and put back while it was compiled. By name the kernel file
    and every other Python file beside it; by module those of this project that compile, that read machine code and that
    list the cases."""
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
            "files": {name: digest for name, (digest, _) in self.files.items()},
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
    files = {path.name: path for path in (kernel, *kernel.parent.glob("*.py"))} | modules
    return Ingredients(
        files={name: _content(path) for name, path in files.items()},
        paths=frozenset(path.resolve() for path in files.values()),
        tools={
            "python": sys.version,
            "machine": platform.machine(),
            "torch": _version("torch", sys.path),
            "triton": triton_version(triton),
            "triton files": _listing(package) if (package := triton_package(triton)) else "",
        },
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
    return _version("triton", sys.path if folder is None else [str(folder)])


def _version(name: str, path: list[str]) -> str:
    return next((one.version for one in importlib.metadata.distributions(name=name, path=path)), "")


def _listing(package: Path) -> str:
    """A digest of what `ls -lR` would show of a package; its ptxas and cuobjdump are among its files."""
    lines = []
    for folder, folders, files in os.walk(package):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        lines += [f"{Path(folder, name).relative_to(package)} {_state(Path(folder, name))}" for name in sorted(files)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _content(path: Path) -> tuple[str, int]:
    """A file's bytes as a digest, and when it was written; none is its own, which compiling it will say."""
    try:
        changed_ns = path.stat().st_mtime_ns
        return hashlib.sha256(path.read_bytes()).hexdigest(), changed_ns
    except OSError:
        return "", 0


def _state(path: Path) -> str:
    """Size and time of change where this is a file, for a variable may name a tool; empty where it is not."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def reached(modules: Sequence[str], files: Sequence[Path], *, roots: Sequence[Path]) -> dict[str, Path]:
    """Files by their module's name: these modules, and all that they and the files import, as far as it lies in a root.

    Args:
        modules: Names to begin with, such as ``perfgate.codegen.extract``.
        files: Files to begin with that are no module's, such as a kernel that is imported by path; not in the answer.
        roots: Folders that names are looked for in, in this order; what is in none of them is an installed package.
    """
    found: dict[str, Path] = {}
    waiting = list(modules)
    for file in files:
        waiting += _imports(file, package="")
    while waiting:
        name = waiting.pop()
        if not name or name in found or (path := _file_of(name, roots)) is None:
            continue
        found[name] = path
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [name.rpartition(".")[0], *_imports(path, package=package)]
    return found


def _file_of(name: str, roots: Sequence[Path]) -> Path | None:
    """Where a module lies; of ``from package import x`` the name with x is tried too, and may be no module."""
    for root in roots:
        base = root.joinpath(*name.split("."))
        for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
            if path.is_file():
                return path
    return None


def _imports(path: Path, *, package: str) -> Iterator[str]:
    """Names that a file's imports may be of; none where it cannot be read as Python, which its import will say."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
