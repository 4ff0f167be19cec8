"""Compiles every case's chosen configuration for the target, in parallel processes, and only what was not before.

Owns which cases are compiled and which come from the cache, and that all facts are of the same files. The processes are
`worker`; nothing here imports torch or Triton. Judges nothing.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import workers
from perfgate.codegen.cache import COMPILER, Answer, gather, open_cache, triton_package
from perfgate.files import write_whole
from perfgate.project import load_suite
from perfgate.records import GateError
from perfgate.store import codec
from perfgate.store.compiled import CompiledCase, check_loops
from perfgate.workers import CRASHED, Pool, processors

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from perfgate.codegen.cache import Entry, Ingredients
    from perfgate.config import Settings

_JOB_S = 300.0
"""After which a compiler that says nothing is taken for hung; the first job of a process imports torch as well."""
_NOT_FOR_COMPILING = frozenset({"TRITON_INTERPRET", "TRITON_OVERRIDE_ARCH"})


@dataclass(frozen=True, kw_only=True)
class Built:
    """Facts of every case, and the versions that compiled them."""

    cases: Mapping[str, CompiledCase]
    versions: Mapping[str, str]
    cached: int = 0
    """Cases whose facts were compiled by an earlier run, from the same files by the same tools."""

    @property
    def said(self) -> str:
        """For a line: ``3 cases compiled, 22 from the cache``."""
        fresh = len(self.cases) - self.cached
        return f"{fresh} case{'s' if fresh != 1 else ''} compiled, {self.cached} from the cache"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What is compiled, by what."""

    kernel: Path
    """The kernel file."""
    triton: Path | None = None
    """Folder of the Triton that compiles; None for the one that is installed."""


def build_apart(
    project: Settings,
    output: Path,
    cases: Collection[str] = (),
    *,
    source: Source | None = None,
    cached: bool = True,
) -> Built:
    """Facts of the cases (all when none is named); one that does not compile carries its error.

    Args:
        project: The project's settings.
        output: File that the facts are written to, for whoever was not there; logs go beside it.
        cases: Ids.
        source: The other side of a comparison; None for the kernel under test and the installed Triton.
        cached: Take what an earlier run compiled, and keep what this one compiles.

    Raises:
        GateError: ``not-compiled`` where a compiler crashed or hung, ``changed-meanwhile``, ``other-triton``,
            ``cache-in-git``, or why nothing can be compiled here.
    """
    source = source or Source(kernel=project.root / project.kernel)
    environment = _environment(source)
    gathered = partial(gather, project, kernel=source.kernel, environment=environment, triton=source.triton)
    cache = open_cache(project) if cached else None
    ingredients = gathered()
    chosen = [case for case in load_suite(project).CASES if not cases or case.id in cases]
    keys = {case.id: ingredients.key(case) for case in chosen}
    held: dict[str, Entry] = {}
    if cache:
        held = {case.id: entry for case in chosen if (entry := cache.get(keys[case.id], case.contract()))}
    missing = [name for name in keys if name not in held]
    fresh = _compile(project, missing, source=source, environment=environment, logs=output.parent / "compiling")
    if fresh:
        _same_all_along(ingredients, gathered())
        _known_triton(fresh, triton_package(source.triton))
    if cache and all(ingredients.paths.issuperset(map(Path, answer.loaded)) for answer in fresh.values()):
        for name, answer in fresh.items():
            cache.put(keys[name], answer)
        cache.drop_oldest()
    entries: dict[str, Entry] = {name: held.get(name) or fresh[name] for name in keys}
    built = Built(
        cases={name: entry.case for name, entry in entries.items()},
        versions=next((entry.versions for entry in entries.values()), {}),
        cached=len(held),
    )
    document = codec.encode({"cases": built.cases, "versions": built.versions})
    write_whole(output, json.dumps(document, indent=1, sort_keys=True) + "\n")
    return built


def _environment(source: Source) -> dict[str, str]:
    """Of the processes: without the interpreter, and with the Triton of the source first on the path."""
    inherited = workers.environment()
    found = {name: value for name, value in inherited.items() if name not in _NOT_FOR_COMPILING}
    if source.triton is not None:
        found["PYTHONPATH"] = os.pathsep.join([str(source.triton), *filter(None, [found.get("PYTHONPATH")])])
    return found


def _compile(
    project: Settings, cases: Sequence[str], *, source: Source, environment: Mapping[str, str], logs: Path
) -> dict[str, Answer]:
    """Answers of the processes by case; Triton's own cache, which they share, is made for that: it renames whole files."""
    if not cases:
        return {}
    found = {}
    with Pool(
        [sys.executable, "-m", COMPILER],
        workers=min(processors(), len(cases)),
        cwd=project.root,
        environment=environment,
        logs=logs,
        timeout_s=_JOB_S,
    ) as pool:
        jobs = [{"case": name, "kernel": str(source.kernel), "target": project.target} for name in cases]
        for number, answer in pool.answers(jobs):
            name = cases[number]
            if "gate_error" in answer:
                raise GateError(*answer["gate_error"])
            if CRASHED in answer:
                text = f"{name} could not be compiled for {project.target}, its compiler was lost: {answer[CRASHED]}."
                raise GateError("not-compiled", text)
            found[name] = codec.convert(answer, Answer, source=f"the compiler's answer of {name}")
            check_loops(answer["case"]["kernels"], source=f"the compiler's answer of {name}")
    return found


def _same_all_along(before: Ingredients, after: Ingredients) -> None:
    """Refuse facts of which nobody knows what they are of."""
    if before != after:
        written = sorted(name for name, _ in before.files.items() ^ after.files.items())
        what = written[0] if written else "the installed Triton"
        raise GateError(
            "changed-meanwhile", f"{what} was written to while it was compiled, expected it to stay; run again."
        )


def _known_triton(answers: Mapping[str, Answer], expected: Path | None) -> None:
    """The Triton that compiled has to be the one that the key was made of."""
    for answer in answers.values():
        if expected is None or Path(answer.triton).resolve() != expected.resolve():
            raise GateError(
                "other-triton",
                f"Triton of {answer.triton} compiled, expected the one of {expected}; look at PYTHONPATH.",
            )
