"""Which files of this project a module's import reaches, found by reading its imports and not by running them.

Owns the answer to "what code decided this result", so that no list of files is kept by hand. Every ``import`` counts,
those inside functions and those for type checkers too: a file too many costs a compilation, one too few a wrong answer.
Pure but for reading files.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


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
