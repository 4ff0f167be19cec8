"""Which compiled candidates are not worth measuring, by facts of their machine code. Pure.

A kept candidate (the starting tile, the kernel's present configs) is left out only where it cannot run at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DOES_NOT_COMPILE = "does not compile"
DOES_NOT_FIT = "no block fits a multiprocessor: too much shared memory or too many registers"
SPILLS = "spills registers to memory"
SAME_CODE = "same machine code as another candidate"
BEATEN = "fewer resident warps and more instructions than the same tile and stages with other warps"
"""Deeper pipelines are not held to this: they trade resident warps for loads in flight, and may well win."""


def prune(candidates: Mapping[str, Mapping[str, Any]], kept: tuple[str, ...]) -> dict[str, str]:
    """Why each candidate that is left out is.

    Args:
        candidates: By id, in order of promise: ``config``, ``kernels`` (facts, as `records.KernelFacts` has them) and
            ``error``.
        kept: Ids that only what cannot run leaves out.

    Returns:
        By id the reason, one of this file's; the others are to be measured.
    """
    found: dict[str, str] = {}
    for name, one in candidates.items():
        if one["error"]:
            found[name] = DOES_NOT_COMPILE
        elif any(kernel["blocks_per_sm"] == 0 for kernel in one["kernels"]):
            found[name] = DOES_NOT_FIT
        elif name not in kept and any(k["stack_bytes"] or k["spill_instructions"] for k in one["kernels"]):
            found[name] = SPILLS
    running = {name: one for name, one in candidates.items() if name not in found}
    seen: dict[object, str] = {}
    for name in sorted(running, key=lambda name: name not in kept):
        code = (_without(running[name], "num_stages"), tuple(k["code_hash"] for k in running[name]["kernels"]))
        if seen.setdefault(code, name) != name and name not in kept:
            found[name] = SAME_CODE
    for name, one in running.items():
        if name not in kept and name not in found and any(_beats(other, one) for other in running.values()):
            found[name] = BEATEN
    return found


def warps_per_sm(candidate: Mapping[str, Any]) -> int:
    """Warps that one multiprocessor holds of a candidate; the fewest, where it launches several kernels."""
    return min(int(k["blocks_per_sm"] * k["config"]["num_warps"]) for k in candidate["kernels"])


def instructions(candidate: Mapping[str, Any]) -> int:
    """Static instructions of a block: those of a warp times its warps, summed over the kernels launched."""
    return sum(int(sum(k["instructions"].values()) * k["config"]["num_warps"]) for k in candidate["kernels"])


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    alike = _without(one, "num_warps") == _without(other, "num_warps")
    return alike and warps_per_sm(one) > warps_per_sm(other) and instructions(one) < instructions(other)


def _without(candidate: Mapping[str, Any], key: str) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((name, value) for name, value in candidate["config"].items() if name != key))
