"""Which candidates are worth measuring, and which of them make the list to propose. Pure.

Owns what facts of the machine code rule out, what a list costs, and the search for the cheapest: few configs, such that
every case has one near its best. Knows no kernel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.tuning.document import Candidate

DOES_NOT_COMPILE = "does not compile"
DOES_NOT_FIT = "no block fits a multiprocessor: too much shared memory or too many registers"
SPILLS = "spills registers to memory"
SAME_CODE = "same machine code as another candidate"
BEATEN = "fewer resident warps and more instructions than the same tile and stages with other warps"
"""Deeper pipelines are not held to this: they trade resident warps for loads in flight, and may well win."""

FEWEST, MOST = 2, 4
"""Configs of an autotune list, by the rules for kernel files."""
_WORTH = 0.005
"""What one more config has to gain in the mean: the gate's own limit for a change."""
_NEAR = 1.1
"""Configs that are within this of the best in no case are not searched."""
_MOST_SUBSETS = 100_000
_ABSENT = 1e6
"""Loss, as a logarithm, of a config in a case that it cannot run: any list without it is better."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A list, and what it costs."""

    configs: tuple[str, ...]
    loss: float
    """Geometric mean over the cases of time over the case's best, less one: 0.01 is 1 %."""
    takes: Mapping[str, str]
    """By case, the config of the list that is fastest there."""


def propose(seconds: Mapping[str, Mapping[str, float]]) -> tuple[Choice, ...]:
    """The best list of each length, shortest first; the same numbers give the same lists.

    Args:
        seconds: By case and config id; a config that is absent cannot run that case, or was not measured there.

    Returns:
        One choice a length from 2 to 4, where there are as many configs and one of that length serves all cases; empty
        where there is no such list.
    """
    timed = {case: times for case, times in sorted(seconds.items()) if times}
    if not timed:
        return ()
    names = sorted({name for times in timed.values() for name in times})
    best = [min(times.values()) for times in timed.values()]
    losses = {
        name: tuple(
            math.log(times[name] / least) if name in times else _ABSENT
            for times, least in zip(timed.values(), best, strict=True)
        )
        for name in names
    }
    pool = [name for name in names if min(losses[name]) <= math.log(_NEAR)]
    pool += sorted({*names} - {*pool}, key=lambda name: (_alone(losses[name]), name))[: max(0, FEWEST - len(pool))]
    found = []
    for length in range(min(FEWEST, len(pool)), min(MOST, len(pool)) + 1):
        configs = _search(losses, sorted(pool), length)
        least = tuple(min(losses[name][number] for name in configs) for number in range(len(timed)))
        if max(least) < _ABSENT:
            takes = {case: _fastest(times, configs) for case, times in timed.items()}
            found.append(Choice(configs=configs, loss=math.expm1(math.fsum(least) / len(least)), takes=takes))
    return tuple(found)


def shortest(choices: Sequence[Choice]) -> Choice | None:
    """The shortest list that a longer one does not beat by more than the gate's limit; None where there is none."""
    least = min((choice.loss for choice in choices), default=math.inf)
    return next((choice for choice in choices if choice.loss <= least + _WORTH), None)


def _search(losses: Mapping[str, Sequence[float]], pool: Sequence[str], length: int) -> tuple[str, ...]:
    """The cheapest list of that length: all are tried, or where those are too many, one is bettered until it cannot be.

    Of equally cheap ones, that whose configs lose least by themselves: one that no case takes is at least the next best.
    """
    alone = {name: _alone(losses[name]) for name in pool}

    def rank(names: tuple[str, ...]) -> tuple[float, float, tuple[str, ...]]:
        rows = [losses[name] for name in names]
        cost = sum(map(min, *rows)) if len(rows) > 1 else sum(rows[0])
        return cost, sum(alone[name] for name in names), names

    if math.comb(len(pool), length) <= _MOST_SUBSETS:
        return min(combinations(pool, length), key=rank)
    names: tuple[str, ...] = ()
    while len(names) < length:
        names = min(((*names, name) for name in pool if name not in names), key=rank)
    while True:
        swaps = (tuple(sorted({*names} - {old} | {new})) for old in names for new in pool if new not in names)
        better = min(swaps, key=rank)
        if rank(better)[:2] >= rank(names)[:2]:
            return tuple(sorted(names))
        names = better


def _fastest(times: Mapping[str, float], names: Sequence[str]) -> str:
    return min(times.keys() & names, key=lambda name: (times[name], name))


def _alone(losses: Sequence[float]) -> float:
    """What a config loses where it is the only one; a case that it cannot run counts as e times as slow."""
    return sum(min(loss, 1.0) for loss in losses)


def prune(candidates: Mapping[str, Candidate], kept: Sequence[str]) -> dict[str, str]:
    """Why each candidate that is left out is, by facts of its machine code.

    Args:
        candidates: By id, in order of promise.
        kept: Ids (the starting tile, the kernel's present configs) that only what cannot run leaves out.

    Returns:
        By id the reason, one of this file's; the others are to be measured.
    """
    found: dict[str, str] = {}
    for name, one in candidates.items():
        if one.error:
            found[name] = DOES_NOT_COMPILE
        elif any(kernel.blocks_per_sm == 0 for kernel in one.kernels):
            found[name] = DOES_NOT_FIT
        elif name not in kept and any(kernel.stack_bytes or kernel.spill_instructions for kernel in one.kernels):
            found[name] = SPILLS
    running = {name: one for name, one in candidates.items() if name not in found}
    seen: dict[object, str] = {}
    for name in sorted(running, key=lambda name: name not in kept):
        code = (_without(running[name], "num_stages"), tuple(kernel.code_hash for kernel in running[name].kernels))
        if seen.setdefault(code, name) != name and name not in kept:
            found[name] = SAME_CODE
    for name, one in running.items():
        if name not in kept and name not in found and any(_beats(other, one) for other in running.values()):
            found[name] = BEATEN
    return found


def warps_per_sm(candidate: Candidate) -> int:
    """Warps that one multiprocessor holds of a candidate; the fewest, where it launches several kernels."""
    return min(int(kernel.blocks_per_sm * kernel.config["num_warps"]) for kernel in candidate.kernels)


def instructions(candidate: Candidate) -> int:
    """Static instructions of a block: those of a warp times its warps, summed over the kernels launched."""
    return sum(int(sum(kernel.instructions.values()) * kernel.config["num_warps"]) for kernel in candidate.kernels)


def _beats(one: Candidate, other: Candidate) -> bool:
    alike = _without(one, "num_warps") == _without(other, "num_warps")
    return alike and warps_per_sm(one) > warps_per_sm(other) and instructions(one) < instructions(other)


def _without(candidate: Candidate, key: str) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, value) for name, value in candidate.config.items() if name != key))
