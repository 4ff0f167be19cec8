"""Which (case, tile, raster) pairs are measured, drawn before anything of them is known, and the facts of their code.

Owns the draw and the compiling. Nothing is timed or modelled here.
"""

from __future__ import annotations

import multiprocessing
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from perf_tests import candidates
from perf_tests import cases as suite
from perfgate.codegen import extract
from perfgate.hardware.occupancy import architecture
from perfgate.project import load_kernel
from perfgate.workers import processors

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import ModuleType

    from perfgate.records import Case
    from perfgate.store.compiled import CompiledCase

STUDIED = tuple(
    case.id
    for case in suite.CASES
    if case.id not in {"k13_symmetric", "k15_lower_triangular"} and "bf16" not in case.id
)
"""Each kind of problem once: those left out run the code of another case."""
_POOL = 400
"""Candidates, the most promising by their numbers, of which pairs are drawn."""


@dataclass(frozen=True, kw_only=True)
class CodePath:
    """How code gets to the card: which kernel, for which card, lowered for which architecture."""

    name: str
    kernel: str
    target: str
    lowered_for: str = ""


PATHS = {
    "sm89": CodePath(name="sm89", kernel="matmul_kernel", target="sm_90", lowered_for="sm_89"),
    "native": CodePath(name="native", kernel="hopper_kernel", target="sm_90"),
    "rtx-4090": CodePath(name="rtx-4090", kernel="matmul_kernel", target="sm_89"),
}
"""The 4090's code path on an H100, an H100's own, and a 4090."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One configuration of one case."""

    case: str
    id: str
    config: dict[str, int]
    current: bool
    """It is what the kernel's rule chooses."""


def draw(  # noqa: PLR0913 - each is one independent choice, all by name
    kernel_file: Path,
    path: CodePath,
    *,
    count: int,
    seed: int,
    cases: Collection[str] = STUDIED,
    avoided: Collection[tuple[str, str]] = (),
) -> list[Pair]:
    """The present choice of every studied case that runs the path's kernel, and ``count`` configurations drawn at random.

    Every second one of those comes with its twin, which walks the tiles in the other order.

    Args:
        kernel_file: The kernel.
        path: How code gets to the card.
        count: How many to draw for a case.
        seed: Of the draw.
        cases: Ids of those to draw for.
        avoided: Pairs (case, id) that were looked at before.
    """
    jobs = [(str(kernel_file), path, name, count, seed, frozenset(avoided)) for name in cases]
    with _processes() as pool:
        return [pair for pairs in pool.map(_draw, jobs) for pair in pairs]


def _draw(job: tuple[str, CodePath, str, int, int, frozenset[tuple[str, str]]]) -> list[Pair]:
    kernel_file, path, name, count, seed, avoided = job
    module = load_kernel(Path(kernel_file))
    case = next(case for case in suite.CASES if case.id == name)
    with candidates.watched(module, case, kernel=path.kernel) as asked:
        _build(module, case, path)
    if not asked:  # it runs another kernel
        return []
    current, problem = asked[-1]
    space = candidates.space(module, problem, arch=architecture(path.target), limit=_POOL, kernel=path.kernel)
    chosen = {current.id: current}
    order = random.Random(f"{seed} {path.name} {name}").sample(space.candidates, len(space.candidates))  # noqa: S311 - a draw
    for number, one in enumerate(order):
        twin = candidates.candidate({**one.config, "GROUP_M": 1 if one.meta["GROUP_M"] > 1 else 8}, path.kernel)
        for new in (one, twin)[: 1 + number % 2]:
            if len(chosen) <= count and (name, new.id) not in avoided:
                chosen.setdefault(new.id, new)
    return [Pair(case=name, id=one.id, config=one.config, current=one.id == current.id) for one in chosen.values()]


def _build(module: ModuleType, case: Case, path: CodePath) -> CompiledCase:
    launch = suite.call_on_meta(module, case)
    return extract.compile_case(launch, contract={}, target=path.target, lowered_for=path.lowered_for)


def _processes() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processors(), mp_context=multiprocessing.get_context("spawn"))


def compile_pairs(
    kernel_file: Path, path: CodePath, pairs: Collection[Pair]
) -> Iterator[tuple[Pair, list[dict[str, Any]], str]]:
    """Facts of every kernel that a pair launches, and why there are none; in parallel processes.

    The compiled kernels stay in Triton's cache, where a process on the card finds them.
    """
    jobs = [(str(kernel_file), path, pair) for pair in pairs]
    with _processes() as pool:
        for pair, (kernels, error) in zip(pairs, pool.map(_compile, jobs, chunksize=2), strict=True):
            yield pair, kernels, error


def _compile(job: tuple[str, CodePath, Pair]) -> tuple[list[dict[str, Any]], str]:
    kernel_file, path, pair = job
    module = load_kernel(Path(kernel_file))
    case = next(case for case in suite.CASES if case.id == pair.case)
    with candidates.forced(module, candidates.candidate(pair.config, path.kernel)):
        built = _build(module, case, path)
    return [structs.asdict(facts) for facts in built.kernels], built.error
