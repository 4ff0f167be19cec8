"""Compiles what a case may run, in parallel processes, for a card that need not be there.

Owns which jobs the processes get and what comes back: for each case its candidates with the facts of their machine
code. Run as ``python -m perfgate.tuning.compiling`` it is one of those processes. Rules nothing out.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import workers
from perfgate.codegen import extract
from perfgate.config import Settings, read_settings
from perfgate.hardware.occupancy import architecture
from perfgate.progress import Count
from perfgate.project import load_kernel, load_suite
from perfgate.records import GateError
from perfgate.store import codec
from perfgate.tuning.document import Candidate, Case
from perfgate.workers import CRASHED, Pool, processors, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from types import ModuleType

    from perfgate.store.compiled import CompiledCase

CANDIDATES = "candidates"
"""Module beside the tests that knows what the kernel may run; ``perf_tests/candidates.py`` shows what it has to have."""
_JOB_S = 180.0
"""After which a compiler that says nothing is taken for hung."""
# What a kernel file raises for a configuration that it refuses; a fault of the gate itself is a GateError.
_REFUSALS = (ValueError, TypeError, LookupError, AttributeError, NameError, RuntimeError, AssertionError)


def triton_cache(output: Path) -> dict[str, str]:
    """Environment of the processes: a cache of their own, that the measuring ones find the compiled kernels in."""
    return workers.environment(TRITON_CACHE_DIR=str(output / "triton-cache"))


def compile_cases(
    project: Settings, cases: Collection[str], *, target: str, limit: int, output: Path
) -> dict[str, Case]:
    """Survey and compile some cases.

    Args:
        project: The project's settings.
        cases: Their ids.
        target: The architecture to compile for, such as ``sm_89``.
        limit: Candidates to compile for a case, at most.
        output: Folder for logs and Triton's cache.

    Returns:
        What the document keeps of each, nothing of it ruled out yet; one that could not be asked says why.

    Raises:
        GateError: Nothing can be compiled here.
    """
    real = {k: v for k, v in triton_cache(output).items() if k not in {"TRITON_INTERPRET", "TRITON_OVERRIDE_ARCH"}}
    with _pool(project, output, real) as pool:
        found = _survey(pool, cases, target=target, limit=limit)
        _compile(pool, found, target=target)
    return found


def warm(project: Settings, cases: Mapping[str, Mapping[str, Mapping[str, int]]], *, output: Path) -> None:
    """Compile for the processes on the card where Triton lowers for another architecture than the card's own.

    Then what they run is not what the facts are of, and is not in the cache; so it is compiled here, in parallel.

    Args:
        project: The project's settings.
        cases: Configs by case and id.
        output: Folder for logs and Triton's cache.
    """
    jobs = [
        {"do": "warm", "case": case, "config": config} for case, configs in cases.items() for config in configs.values()
    ]
    with _pool(project, output, triton_cache(output)) as pool:
        for _, _, progress in _answered(pool, jobs, "tune: compiled for the card's own assembler:"):
            progress.step()


def _pool(project: Settings, output: Path, environment: dict[str, str]) -> Pool:
    return Pool(
        [sys.executable, "-m", "perfgate.tuning.compiling"],
        workers=processors(),
        cwd=project.root,
        environment=environment,
        logs=output / "logs",
        timeout_s=_JOB_S,
    )


def _answered(pool: Pool, jobs: Sequence[Mapping[str, Any]], said: str) -> Iterator[tuple[int, dict[str, Any], Count]]:
    """Each answer with its job's number; raises where it is that nothing can be compiled here at all."""
    progress = Count(said, len(jobs))
    for number, answer in pool.answers(jobs):
        if "gate_error" in answer:
            raise GateError(*answer["gate_error"])
        yield number, answer, progress


def _survey(pool: Pool, cases: Collection[str], *, target: str, limit: int) -> dict[str, Case]:
    jobs = [{"do": "survey", "case": case, "target": target, "limit": limit} for case in cases]
    found: dict[int, Case] = {}
    for number, answer, progress in _answered(pool, jobs, "tune: asked what it may run of case"):
        if CRASHED in answer:
            found[number] = _case(failed=f"its present choice could not be compiled: {answer[CRASHED]}")
        else:
            found[number] = codec.convert(answer, Case, source="a compiling process's answer")
        progress.step()
    return {case: found[number] for number, case in enumerate(cases)}


def _compile(pool: Pool, found: Mapping[str, Case], *, target: str) -> None:
    candidates = [(case, name, entry) for case, one in found.items() for name, entry in one.candidates.items()]
    jobs = [
        {"do": "compile", "case": case, "target": target, "id": name, "config": entry.config}
        for case, name, entry in candidates
    ]
    failed = 0
    for number, answer, progress in _answered(pool, jobs, f"tune: compiled for {target}:"):
        case, name, entry = candidates[number]
        if CRASHED in answer:
            entry.error = f"the compiler was lost: {answer[CRASHED]}"
        else:
            entry = codec.convert(answer, Candidate, source="a compiling process's answer")
            found[case].candidates[name] = entry
        failed += bool(entry.error)
        progress.step(f", {failed} did not compile" if failed else "")


def _case(note: str = "", **known: Any) -> Case:  # noqa: ANN401 - its fields
    return Case(**{"candidates": {}, "left_out": {}, "launches": [], "note": note} | known)


def answers(project: Settings) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What one process does with a job; imports the suite, and the kernel file at the first job."""
    suite = load_suite(project)
    candidates = load_candidates(project)
    cases = {case.id: case for case in suite.CASES}
    loaded: list[ModuleType] = []
    from triton.errors import TritonError

    def done(job: dict[str, Any]) -> Case | Candidate | None:
        if not loaded:
            loaded.append(load_kernel(project.root / project.kernel))
        launch = suite.call_on_meta(loaded[0], cases[job["case"]])
        if job["do"] == "survey":
            with candidates.watched(loaded[0], cases[job["case"]]) as chosen:
                built = extract.compile_case(launch, contract={}, target=job["target"])
            return _surveyed(candidates, loaded[0], job, built, chosen)
        with candidates.forced(loaded[0], candidates.candidate(job["config"])) as asked:
            if job["do"] == "warm":
                launch()
                return None
            built = extract.compile_case(launch, contract={}, target=job["target"])
        return _compiled(job["config"], built, kernel=candidates.KERNEL, asked=asked.asked)

    def answer(job: dict[str, Any]) -> dict[str, Any]:
        try:
            found = done(job)
        except GateError as error:
            return {"gate_error": [error.reason, error.text]}
        except (*_REFUSALS, TritonError) as error:
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            found = _case(failed=said) if job["do"] == "survey" else _refused(job["config"], said)
        answered: dict[str, Any] = codec.encode(found) if found else {}
        return answered

    return answer


def load_candidates(project: Settings) -> ModuleType:
    """Import the module that knows what the kernel may run.

    Raises:
        GateError: ``no-candidates`` where the project has none.
    """
    name = f"{project.tests}.{CANDIDATES}".replace("/", ".")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise GateError(
            "no-candidates",
            f"The project has no {project.tests}/{CANDIDATES}.py, expected it to say what the kernel may run.",
        ) from None


def _surveyed(
    candidates: ModuleType, kernel: ModuleType, job: Mapping[str, Any], built: CompiledCase, chosen: Sequence[Any]
) -> Case:
    """What a case may run, beside what its kernel's own rule chose."""
    if not chosen:
        others = ", ".join(sorted({one.name for one in built.kernels})) or "no Triton kernel"
        return _case(f"not tuned: runs another kernel ({others})")
    current, problem = chosen[-1]
    space = candidates.space(kernel, problem, arch=architecture(job["target"]), limit=job["limit"])
    return _case(
        kernel=candidates.KERNEL,
        current=current.id,
        start=space.kept[0],
        kept=tuple(dict.fromkeys((*space.kept, current.id))),
        allowed=space.allowed,
        left_out=dict(space.left_out),
        candidates={one.id: _refused(one.config, "") for one in (*space.candidates, current)},
    )


def _compiled(config: dict[str, int], built: CompiledCase, *, kernel: str, asked: int) -> Candidate:
    """Facts of one candidate, and whether it is really what was compiled; of other kernels of the call it decides nothing."""
    error = built.error
    if not error and not asked:
        error = f"{kernel} did not ask for its config"
    kernels = tuple(one for one in built.kernels if one.name == kernel)
    for one in kernels:
        ran = {key: one.config[key] for key in config if key in one.config}
        if not error and ran.items() - config.items():
            error = f"the kernel ran {ran} instead"
    return Candidate(config=config, kernels=kernels, error=error, pruned="")


def _refused(config: dict[str, int], error: str) -> Candidate:
    return Candidate(config=config, kernels=(), error=error, pruned="")


def main() -> int:
    """One of the compiling processes."""
    serve(answers(read_settings(Path.cwd())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
