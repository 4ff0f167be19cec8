"""Compiles what a case may run, in parallel processes, for a card that need not be there.

Owns which jobs the processes get and what comes back: for each case its candidates with the facts of their machine
code. Run as ``python -m perfgate.tuning.compiling`` it is one of those processes. Rules nothing out.
"""

from __future__ import annotations

import importlib
import sys
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import settings, workers
from perfgate.codegen import extract
from perfgate.hardware.occupancy import architecture
from perfgate.pool import CRASHED, Pool, Progress, processors, serve
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from types import ModuleType

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
    project: settings.Settings, cases: Collection[str], *, target: str, limit: int, output: Path
) -> dict[str, dict[str, Any]]:
    """Survey and compile some cases; the answer is what the document keeps of each.

    Args:
        project: The project's settings.
        cases: Their ids.
        target: The architecture to compile for, such as ``sm_89``.
        limit: Candidates to compile for a case, at most.
        output: Folder for logs and Triton's cache.

    Returns:
        By case: ``note`` (why it is not tuned; empty where it is), ``failed`` where it could not be asked, ``kernel``, ``current`` (id of the config that the
        rule chooses), ``start``, ``kept``, ``allowed``, ``left_out`` (counts by reason) and ``candidates`` by id, each with
        ``config``, ``kernels`` (the facts) and ``error`` (empty where it compiled).

    Raises:
        GateError: Nothing can be compiled here.
    """
    real = {k: v for k, v in triton_cache(output).items() if k not in {"TRITON_INTERPRET", "TRITON_OVERRIDE_ARCH"}}
    with _pool(project, output, real) as pool:
        found = _survey(pool, cases, target=target, limit=limit)
        _compile(pool, found, target=target)
    return found


def warm(project: settings.Settings, cases: Mapping[str, Mapping[str, Mapping[str, int]]], *, output: Path) -> None:
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
    progress = Progress("compiled for the card's own assembler:", len(jobs))
    with _pool(project, output, triton_cache(output)) as pool:
        for _, answer in pool.answers(jobs):
            _sound(answer)
            progress.step()


def _pool(project: settings.Settings, output: Path, environment: dict[str, str]) -> Pool:
    return Pool(
        [sys.executable, "-m", "perfgate.tuning.compiling"],
        workers=processors(),
        cwd=project.root,
        environment=environment,
        logs=output / "logs",
        timeout_s=_JOB_S,
    )


def _survey(pool: Pool, cases: Collection[str], *, target: str, limit: int) -> dict[str, dict[str, Any]]:
    jobs = [{"do": "survey", "case": case, "target": target, "limit": limit} for case in cases]
    answers: dict[int, dict[str, Any]] = {}
    progress = Progress("asked what it may run of case", len(jobs))
    for number, answer in pool.answers(jobs):
        answers[number] = _sound(answer)
        if CRASHED in answer:
            answers[number] = {"note": "", "failed": f"its present choice could not be compiled: {answer[CRASHED]}"}
        progress.step()
    return {case: {"candidates": {}, "left_out": {}, **answers[number]} for number, case in enumerate(cases)}


def _compile(pool: Pool, found: dict[str, dict[str, Any]], *, target: str) -> None:
    jobs: list[dict[str, Any]] = []
    jobs += [
        {"do": "compile", "case": case, "target": target, "id": name, "config": entry["config"]}
        for case, one in found.items()
        for name, entry in one["candidates"].items()
    ]
    progress = Progress(f"compiled for {target}:", len(jobs))
    failed = 0
    for number, answer in pool.answers(jobs):
        _sound(answer)
        entry = found[jobs[number]["case"]]["candidates"][jobs[number]["id"]]
        entry |= {"kernels": [], "error": f"the compiler was lost: {answer[CRASHED]}"} if CRASHED in answer else answer
        failed += bool(entry["error"])
        progress.step(f", {failed} did not compile" if failed else "")


def _sound(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer, where it is not that nothing can be compiled here at all."""
    if "gate_error" in answer:
        raise GateError(*answer["gate_error"])
    return answer


def answers(project: settings.Settings) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What one process does with a job; imports the suite, and the kernel file at the first job."""
    suite = settings.load_suite(project)
    candidates = load_candidates(project)
    cases = {case.id: case for case in suite.CASES}
    loaded: list[ModuleType] = []
    from triton.errors import TritonError

    def answer(job: dict[str, Any]) -> dict[str, Any]:
        try:
            if not loaded:
                loaded.append(settings.load_kernel(project.root / project.kernel))
            launch = suite.call_on_meta(loaded[0], cases[job["case"]])
            if job["do"] == "compile":
                return _facts(candidates, loaded[0], job, launch)
            if job["do"] == "warm":
                with candidates.forced(loaded[0], candidates.candidate(job["config"])):
                    launch()
                return {}
            with candidates.watched(loaded[0], cases[job["case"]]) as chosen:
                built = extract.compile_case(launch, contract={}, target=job["target"])
            if not chosen:
                others = ", ".join(sorted({kernel.name for kernel in built.kernels})) or "no Triton kernel"
                return {"note": f"not tuned: runs another kernel ({others})"}
            current, problem = chosen[-1]
            space = candidates.space(loaded[0], problem, arch=architecture(job["target"]), limit=job["limit"])
        except GateError as error:
            return {"gate_error": [error.reason, error.text]}
        except (*_REFUSALS, TritonError) as error:
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            return {"note": "", "failed": said} if job["do"] == "survey" else {"kernels": [], "error": said}
        return {
            "note": "",
            "kernel": candidates.KERNEL,
            "current": current.id,
            "start": space.kept[0],
            "kept": list(dict.fromkeys((*space.kept, current.id))),
            "allowed": space.allowed,
            "left_out": dict(space.left_out),
            "candidates": {one.id: {"config": one.config} for one in (*space.candidates, current)},
        }

    return answer


def load_candidates(project: settings.Settings) -> ModuleType:
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


def _facts(
    candidates: ModuleType, kernel: ModuleType, job: dict[str, Any], launch: Callable[[], object]
) -> dict[str, Any]:
    """Facts of one candidate, and whether it is really what was compiled; of other kernels of the call it decides nothing."""
    with ExitStack() as stack:
        asked = stack.enter_context(candidates.forced(kernel, candidates.candidate(job["config"])))
        built = extract.compile_case(launch, contract={}, target=job["target"])
    error = built.error
    if not error and not asked.asked:
        error = f"{candidates.KERNEL} did not ask for its config"
    kernels = [one for one in built.kernels if one.name == candidates.KERNEL]
    for one in kernels:
        ran = {key: one.config[key] for key in job["config"] if key in one.config}
        if not error and ran.items() - job["config"].items():
            error = f"the kernel ran {ran} instead"
    return {"kernels": [asdict(one) for one in kernels], "error": error}


def main() -> int:
    """One of the compiling processes."""
    serve(answers(settings.load(Path.cwd())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
