"""What binds results to the run that left them: digests of the files that judge, and of the kernels that were laid.

The gate computes its digest from the very bytes that it writes, in its own process, when every worker has been ended.
It goes into the step's output, which the required check reads from GitHub and not from the machine with the GPU. So a
process that a kernel left behind may rewrite the files later: that is seen, in the next step and in the check.
What stays open: a process of the same user that writes to the step's output file itself. A worker is not told where
that lies (see `workers`). Standard library alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

RUN_FILE, SAMPLES_FILE = "run.json", "current.json"
JUDGING = (RUN_FILE, SAMPLES_FILE)
"""The files that the required check judges by; the rest is for people."""
LAID_FILE = "candidate.json"
"""In the folder of results: which commit's kernels were laid over the base."""
OUTPUT = "evidence"
"""Name of the step's output."""


def sha256(data: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest(hashes: Mapping[str, str]) -> str:
    """One digest of several files, by name and SHA-256: that of the lines that ``sha256sum`` prints, sorted by name."""
    return sha256("".join(f"{found}  {name}\n" for name, found in sorted(hashes.items())).encode())


def of_results(folder: Path) -> str:
    """The digest of the files that judge, as they lie in a folder; empty where there is no run."""
    files = [folder / name for name in JUDGING]
    there = {path.name: sha256(path.read_bytes()) for path in files if path.is_file() and not path.is_symlink()}
    return digest(there) if RUN_FILE in there else ""


def of_kernels(folder: Path) -> str:
    """The digest of every file of a folder of kernels, without what Python left there."""
    files = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return digest({path.relative_to(folder).as_posix(): sha256(path.read_bytes()) for path in files})


def laid_to_json(commit: str, kernels: Path) -> str:
    """The file that says whose kernels these are."""
    return json.dumps({"commit": commit, "kernels": of_kernels(kernels)}) + "\n"


def laid_commit(results: Path, kernels: Path) -> str:
    """The commit whose kernels were laid here; empty where none were, or what lies here is not what was laid."""
    try:
        found: object = json.loads((results / LAID_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(found, dict) or found.get("kernels") != of_kernels(kernels):
        return ""
    return str(found.get("commit", ""))
