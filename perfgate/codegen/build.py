"""Compiles every case's chosen configuration for the target, in parallel processes, and only what was not before.

Owns which cases are compiled and which come from the cache, and that all facts are of the same files. The processes are
`compiling`; nothing here imports torch or Triton. Judges nothing.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import settings, workers
from perfgate.codegen.cache import Entry, open_cache
from perfgate.codegen.key import COMPILER, gather, triton_package
from perfgate.pool import CRASHED, Pool, processors
from perfgate.records import GateError
from perfgate.store.compiled import CompiledCase, case_from_json, case_to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from perfgate.codegen.key import Ingredients
    from perfgate.records import Case

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
    project: settings.Settings,
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
    cache = open_cache(project) if cached else None
    ingredients = _gather(project, source, environment)
    chosen = [case for case in settings.load_suite(project).CASES if not cases or case.id in cases]
    keys = {case.id: ingredients.key(case) for case in chosen}
    held: dict[str, Entry] = {}
    if cache:
        held = {case.id: entry for case in chosen if (entry := cache.get(keys[case.id], case.contract()))}
    missing = [case for case in chosen if case.id not in held]
    answers = _compile(project, missing, source=source, environment=environment, logs=output.parent / "compiling")
    fresh = {name: _entry(name, answer) for name, answer in answers.items()}
    if fresh:
        _same_all_along(ingredients, _gather(project, source, environment))
        _known_triton(answers, source)
    if cache and all(ingredients.paths.issuperset(map(Path, answer["loaded"])) for answer in answers.values()):
        for name, entry in fresh.items():
            cache.put(keys[name], entry)
        cache.drop_oldest()
    entries = {case.id: (fresh | held)[case.id] for case in chosen}
    built = Built(
        cases={name: entry.case for name, entry in entries.items()},
        versions=next((entry.versions for entry in entries.values()), {}),
        cached=len(held),
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "cases": {name: case_to_json(case) for name, case in built.cases.items()},
        "versions": dict(built.versions),
    }
    output.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return built


def _environment(source: Source) -> dict[str, str]:
    """Of the processes: without the interpreter, and with the Triton of the source first on the path."""
    inherited = workers.environment()
    found = {name: value for name, value in inherited.items() if name not in _NOT_FOR_COMPILING}
    if source.triton is not None:
        found["PYTHONPATH"] = os.pathsep.join([str(source.triton), *filter(None, [found.get("PYTHONPATH")])])
    return found


def _gather(project: settings.Settings, source: Source, environment: Mapping[str, str]) -> Ingredients:
    return gather(project, kernel=source.kernel, environment=environment, triton=source.triton)


def _compile(
    project: settings.Settings,
    cases: Sequence[Case],
    *,
    source: Source,
    environment: Mapping[str, str],
    logs: Path,
) -> dict[str, dict[str, Any]]:
    """Answers of the processes by case; Triton's own cache, which they share, is made for that: it renames whole files."""
    if not cases:
        return {}
    jobs = [{"case": case.id, "kernel": str(source.kernel), "target": project.target} for case in cases]
    found = {}
    with Pool(
        [sys.executable, "-m", COMPILER],
        workers=min(processors(), len(jobs)),
        cwd=project.root,
        environment=environment,
        logs=logs,
        timeout_s=_JOB_S,
    ) as pool:
        for number, answer in pool.answers(jobs):
            name = jobs[number]["case"]
            if "gate_error" in answer:
                raise GateError(*answer["gate_error"])
            if CRASHED in answer:
                text = f"{name} could not be compiled for {project.target}, its compiler was lost: {answer[CRASHED]}."
                raise GateError("not-compiled", text)
            found[name] = answer
    return found


def _entry(name: str, answer: Mapping[str, Any]) -> Entry:
    return Entry(
        case=case_from_json(answer["case"], name=name, path=Path("a compiler's answer")), versions=answer["versions"]
    )


def _same_all_along(before: Ingredients, after: Ingredients) -> None:
    """Refuse facts of which nobody knows what they are of."""
    if before == after:
        return
    pairs = ((before.kernel, after.kernel), (before.code, after.code))
    written = [name for old, new in pairs for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
    what = written[0] if written else "the installed Triton"
    raise GateError(
        "changed-meanwhile", f"{what} was written to while it was compiled, expected it to stay; run again."
    )


def _known_triton(answers: Mapping[str, Mapping[str, Any]], source: Source) -> None:
    """The Triton that compiled has to be the one that the key was made of."""
    expected = triton_package(source.triton)
    for answer in answers.values():
        if expected is None or Path(answer["triton"]).resolve() != expected.resolve():
            raise GateError(
                "other-triton",
                f"Triton of {answer['triton']} compiled, expected the one of {expected}; look at PYTHONPATH.",
            )
