"""Which tiles the matmul may run, which of them are worth a try, and how one is forced.

Owns all that `perfgate.tuning.session` needs to know of this kernel being a matmul. Estimates here are from a tile's numbers
alone and only decide what is compiled, and in what order; what is proposed has been measured.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import ModuleType

    from perfgate.hardware.occupancy import Architecture
    from perfgate.records import Case

KERNEL = "matmul_kernel"
"""The kernel that is tuned; a case that launches others is left alone."""
_RULES = {"matmul_kernel": "choose_config", "hopper_kernel": "choose_hopper_config"}
"""What of the kernel file chooses each kernel's config."""
STARTING_TILE = {"BLOCK_M": 64, "BLOCK_N": 256, "BLOCK_K": 32, "num_warps": 4, "num_stages": 3}
"""What the kernel began with; it stays a valid candidate whatever else is found."""

_WARPS, _STAGES, _GROUPS = (2, 4, 8), (2, 3, 4, 5), (8, 1)
_EDGES = {4: (32, 64, 128, 256), 2: (16, 32, 64, 128, 256)}
_DEPTHS = {4: (16, 32, 64), 2: (16, 32, 64, 128)}
"""Tile sizes allowed along M and N, and along K, by bytes of an operand's element."""
_MOST_ACCUMULATORS, _LEAST_OUTPUTS, _PADDING = 128, 256, 2.0
_MULTIPLY_ADDS, _L2_BYTES, _STORE_BOUND_K = {4: 128, 2: 256}, 16, 160
"""A multiprocessor of Ada a clock: multiply-adds by bytes of an element, bytes from L2; and up to which K stores last longer."""
_SPILLS = "accumulators alone take over 128 registers a thread: it would spill"
_BUFFERS = "buffers alone take more shared memory than a block may have"
_THIN = "fewer than 256 outputs a warp: operands are loaded for too little arithmetic"
_PADDED = "at least twice the padding of the tile that fits best"
_EMPTY = "more stages than steps along K: buffers that stay empty"
_UNGROUPED = "one row or column of tiles: grouping rows changes nothing"
_UNUSUAL, _ALIKE = 0.03, 0.1
"""What an estimate grows by for each step off the rules of thumb, and for each candidate of the same tile before it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One configuration of the kernel."""

    kernel: str
    meta: Mapping[str, int]
    """The config's own arguments, such as ``BLOCK_M``."""
    num_warps: int
    num_stages: int

    @property
    def id(self) -> str:
        """Short and unambiguous: ``128x128x32 w4 s3 g8``."""
        meta = dict(self.meta)
        tile = "x".join(str(meta.pop(f"BLOCK_{x}", "?")) for x in "MNK")
        words = [tile, f"w{self.num_warps}", f"s{self.num_stages}", f"g{meta.pop('GROUP_M', 1)}"]
        return " ".join([*words, *(f"{key}={value}" for key, value in meta.items())])

    @property
    def config(self) -> dict[str, int]:
        """All of it as JSON types: the arguments, ``num_warps`` and ``num_stages``."""
        return {**self.meta, "num_warps": self.num_warps, "num_stages": self.num_stages}


def candidate(config: Mapping[str, int], kernel: str = KERNEL) -> Candidate:
    """The candidate of a config as `Candidate.config` gives it."""
    meta = {key: value for key, value in config.items() if key not in {"num_warps", "num_stages"}}
    return Candidate(kernel=kernel, meta=meta, num_warps=config["num_warps"], num_stages=config["num_stages"])


@dataclass(frozen=True, kw_only=True)
class Space:
    """What one case may run."""

    candidates: tuple[Candidate, ...]
    """Those to compile: the kept ones, then the most promising first."""
    kept: tuple[str, ...]
    """Ids of the starting tile, first, and of the kernel's present configs; estimates never leave them out."""
    allowed: int
    """Configurations that the rules for tiles allow."""
    left_out: Mapping[str, int]
    """How many of them are not compiled, by reason."""


@dataclass
class Forced:
    """Whether a forced configuration was asked for."""

    asked: int = 0
    """Times; while it is 0, the calls ran another kernel or a choice made before."""


class Problem(NamedTuple):
    """A product as the tuned kernel is given it, which may be prepared or in parts, unlike the case's own."""

    m: int
    n: int
    k: int  # of one part, where the sums are added in parts
    batch: int  # products, times their parts
    size: int  # bytes of an operand's element


class _Tile(NamedTuple):
    """A candidate's numbers by name."""

    m: int
    n: int
    k: int
    group: int
    warps: int
    stages: int


def space(module: ModuleType, problem: Problem, *, arch: Architecture, limit: int, kernel: str = KERNEL) -> Space:
    """The allowed configurations of a product, less those that its numbers rule out, at most ``limit`` of them.

    Args:
        module: The kernel file, imported.
        problem: What the tuned kernel is given.
        arch: Limits of the card that it is for.
        limit: How many to compile; the kept ones count and are there even beyond it.
        kernel: Whose configs.
    """
    configs = getattr(module, kernel).configs
    values = _values(configs, problem.size)
    allowed = [
        candidate({**dict(zip(values, chosen, strict=True)), "num_warps": warps, "num_stages": stages}, kernel)
        for *chosen, warps, stages in product(*values.values(), _WARPS, _STAGES)
    ]
    present = [candidate({**c.kwargs, "num_warps": c.num_warps, "num_stages": c.num_stages}, kernel) for c in configs]
    start = next(one for one in (*present, *allowed) if STARTING_TILE.items() <= one.config.items())
    kept = {one.id: one for one in (start, *present)}
    left_out: dict[str, int] = {}
    ranked: list[tuple[float, Candidate]] = []
    least = _padding(problem, values["BLOCK_M"][0], values["BLOCK_N"][0], values["BLOCK_K"][0])
    for one in allowed:
        if one.id in kept:
            continue
        if why := _objection(problem, _tile(one), arch=arch, least_padding=least):
            left_out[why] = left_out.get(why, 0) + 1
        else:
            ranked.append((_estimate(problem, _tile(one), arch=arch), one))
    best = _varied(ranked, max(0, limit - len(kept)))
    if beyond := len(ranked) - len(best):
        left_out[f"behind the {limit} most promising by estimate (--limit)"] = beyond
    count = len({one.id for one in (*allowed, *present)})
    return Space(candidates=(*kept.values(), *best), kept=tuple(kept), allowed=count, left_out=left_out)


@contextmanager
def forced(module: ModuleType, one: Candidate) -> Iterator[Forced]:
    """Within it, every launch of the candidate's kernel runs this configuration."""
    import triton

    config = triton.Config(dict(one.meta), num_warps=one.num_warps, num_stages=one.num_stages)
    found = Forced()

    def rule(_configs: object, _named: object) -> object:
        found.asked += 1
        return config

    with _ruled(module, one.kernel, rule):
        yield found


@contextmanager
def watched(module: ModuleType, case: Case, *, kernel: str = KERNEL) -> Iterator[list[tuple[Candidate, Problem]]]:
    """Within it, what the kernel's own rule chooses is noted, and for what; empty where that kernel is not launched."""
    own: Callable[..., Any] = getattr(module, _RULES[kernel])
    found: list[tuple[Candidate, Problem]] = []

    def rule(configs: object, named: Mapping[str, Any]) -> object:
        chosen = own(configs, named)
        config = {**chosen.kwargs, "num_warps": chosen.num_warps, "num_stages": chosen.num_stages}
        found.append((candidate(config, kernel), problem(case, named)))
        return chosen

    with _ruled(module, kernel, rule):
        yield found


def problem(case: Case, named: Mapping[str, Any]) -> Problem:
    """What the tuned kernel is given: as its arguments have it by name, else as the case has it."""
    import torch

    a, b = case.shapes
    batched = len(b) > 2  # noqa: PLR2004 - a matrix
    tensors = (getattr(value, "base", value) for value in named.values())  # of a descriptor, its tensor
    operand = next((tensor for tensor in tensors if hasattr(tensor, "element_size")), None)
    parts = named.get("SPLITS", 1)
    return Problem(
        m=named.get("M", a[-2] if batched else math.prod(a[:-1])),
        n=named.get("N", b[-1]),
        k=-(-named.get("K", a[-1]) // parts),
        batch=named.get("BATCH", math.prod(b[:-2])) * parts,
        size=getattr(torch, case.dtype).itemsize if operand is None else operand.element_size(),
    )


@contextmanager
def _ruled(module: ModuleType, kernel: str, rule: Callable[..., object]) -> Iterator[None]:
    """Within it, this rule chooses the config; neither side sees what was chosen or prepared under the other."""
    name = _RULES[kernel]
    own = getattr(module, name)
    setattr(module, name, rule)
    _forget(module, kernel)
    try:
        yield
    finally:
        setattr(module, name, own)
        _forget(module, kernel)


def _forget(module: ModuleType, kernel: str) -> None:
    getattr(module, kernel).cache.clear()
    if hasattr(module, "forget_launches"):
        module.forget_launches()


def _values(configs: list[Any], size: int) -> dict[str, tuple[int, ...]]:
    """Allowed values of every argument that the kernel's configs have; of one not known here, those in use."""
    edges, depths = _EDGES[size], _DEPTHS[size]
    known = {"BLOCK_M": edges, "BLOCK_N": edges, "BLOCK_K": depths, "GROUP_M": _GROUPS}
    return {key: known.get(key) or tuple(sorted({c.kwargs[key] for c in configs})) for key in configs[0].kwargs}


def _tile(one: Candidate) -> _Tile:
    m, n, k = (one.meta[f"BLOCK_{x}"] for x in "MNK")
    return _Tile(m, n, k, one.meta.get("GROUP_M", 1), one.num_warps, one.num_stages)


def _padding(problem: Problem, *blocks: int) -> float:
    """Multiply-adds done over those asked for: tiles that stick out compute with zeros."""
    return math.prod(-(-x // b) * b / x for x, b in zip((problem.m, problem.n, problem.k), blocks, strict=True))


def _objection(problem: Problem, tile: _Tile, *, arch: Architecture, least_padding: float) -> str:
    """Why a configuration is not worth compiling; empty where nothing speaks against it."""
    outputs = tile.m * tile.n
    steps = -(-problem.k // tile.k)
    buffers = (tile.stages - 1) * (tile.m + tile.n) * tile.k * problem.size  # the least that any compiler allocates
    one_line = problem.m <= tile.m or problem.n <= tile.n
    objections = (
        (_SPILLS, outputs > _MOST_ACCUMULATORS * 32 * tile.warps),
        (_BUFFERS, buffers > arch.shared_per_block),
        (_THIN, outputs < _LEAST_OUTPUTS * tile.warps),
        (_PADDED, _padding(problem, tile.m, tile.n, tile.k) >= _PADDING * least_padding),
        (_EMPTY, tile.stages > steps + 1),
        (_UNGROUPED, tile.group > 1 and one_line),
    )
    return next((why for why, applies in objections if applies), "")


def _estimate(problem: Problem, tile: _Tile, *, arch: Architecture) -> float:
    """About how many clocks a configuration takes, and a little for each step off the rules of thumb. For ranking only.

    The busiest multiprocessor's tiles, each as long as its arithmetic or its reads from L2 take on Ada, whichever is
    longer. Thumb: 4 warps, 8 from 32768 outputs on, three stages,
    128 bytes along K; and where storing C takes longer than computing it, one step along K, row-major order, and a second
    block that computes while the first one stores.
    """
    tiles = -(-problem.m // tile.m) * -(-problem.n // tile.n) * problem.batch
    depth = -(-problem.k // tile.k) * tile.k
    arithmetic = tile.m * tile.n * depth / _MULTIPLY_ADDS[problem.size]
    reads = (tile.m + tile.n) * depth * problem.size / _L2_BYTES
    clocks = -(-tiles // arch.multiprocessors) * max(arithmetic, reads)
    stores = problem.k <= _STORE_BOUND_K
    buffers = (tile.stages - 1) * (tile.m + tile.n) * tile.k * problem.size
    off = [
        abs(math.log2(tile.warps / min(8, max(4, tile.m * tile.n // 4096)))) / 2,
        abs(tile.stages - min(3, -(-depth // tile.k) + 1)) / 2,
        abs(math.log2(tile.k / (problem.k if stores else 128 // problem.size))),
        float((tile.group == 1) != stores),
        float(stores and 2 * (buffers + arch.shared_reserved) > arch.shared_per_sm) * 2,
    ]
    return clocks * (1 + _UNUSUAL * sum(off))


def _varied(ranked: list[tuple[float, Candidate]], count: int) -> tuple[Candidate, ...]:
    """The best ``count`` by estimate, where one of a tile already taken counts as worse with every one taken."""
    groups: dict[tuple[int, int], list[tuple[float, str, Candidate]]] = {}
    for estimate, one in ranked:
        groups.setdefault((_tile(one).m, _tile(one).n), []).append((estimate, one.id, one))
    waiting = [sorted(group, key=lambda entry: entry[:2], reverse=True) for group in groups.values()]
    taken = [0] * len(waiting)
    found: list[Candidate] = []
    while len(found) < count and any(waiting):
        open_groups = [i for i, group in enumerate(waiting) if group]
        best = min(open_groups, key=lambda i: (waiting[i][-1][0] * (1 + _ALIKE) ** taken[i], waiting[i][-1][1]))
        found.append(waiting[best].pop()[2])
        taken[best] += 1
    return tuple(found)
