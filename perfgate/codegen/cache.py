"""Facts of compiled cases, kept between runs: one file a key, in ``.perfgate/cache/compiled/``.

Owns the form of an entry and how many there may be. An entry that is not whole, or not what its name says, is thrown
away and compiled again. What did not compile is not kept: why it did not may be the machine's doing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfgate import git
from perfgate.files import write_whole
from perfgate.measurement.session import output_folder
from perfgate.records import SCHEMA, GateError
from perfgate.store.compiled import CompiledCase, case_from_json, case_to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from perfgate.settings import Settings

MOST_ENTRIES = 2000
"""Each of a few kilobytes."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What one compilation gave."""

    case: CompiledCase
    versions: Mapping[str, str]
    """`triton`, `torch` and `ptxas`, as they name themselves."""


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

    def __init__(self, folder: Path, *, most: int = MOST_ENTRIES) -> None:
        self._folder, self._most = folder, most

    def get(self, key: str, contract: Mapping[str, Any]) -> Entry | None:
        """The entry of a key, for the case of this contract; None where there is no sound one."""
        path = self._path(key)
        try:
            return _read(path, key, contract)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError, GateError):
            with contextlib.suppress(OSError):  # what cannot be removed is written over
                path.unlink()
            return None

    def put(self, key: str, entry: Entry) -> None:
        """Keep what compiled; whole or not at all."""
        if entry.case.error or not entry.case.kernels:
            return
        held = {"case": case_to_json(entry.case), "versions": dict(entry.versions)}
        text = json.dumps({"schema": SCHEMA, "key": key, "digest": _digest(held), "held": held}, allow_nan=False)
        write_whole(self._path(key), text)

    def drop_oldest(self) -> None:
        """Keep the folder to its bound; other runs may do the same at this time."""
        written: list[tuple[int, Path]] = []
        for path in self._folder.glob("*"):
            with contextlib.suppress(FileNotFoundError):
                written.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(written)[: max(0, len(written) - self._most)]:
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"


def _read(path: Path, key: str, contract: Mapping[str, Any]) -> Entry:
    document = json.loads(path.read_text(encoding="utf-8"))
    held = document["held"]
    if (document["schema"], document["key"], document["digest"]) != (SCHEMA, key, _digest(held)):
        raise ValueError("not the entry of this key")
    case, versions = case_from_json(held["case"], name=key, path=path), held["versions"]
    if case.error or not case.kernels or dict(case.contract) != dict(contract):
        raise ValueError("not an entry of this case")
    return Entry(case=case, versions={name: versions[name] for name in ("triton", "torch", "ptxas")})


def _digest(held: object) -> str:
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()
