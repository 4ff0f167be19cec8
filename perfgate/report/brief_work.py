"""What a case asks of a card, and how much of a time is still to be had. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import prod
from typing import TYPE_CHECKING

from perfgate.records import GateError

if TYPE_CHECKING:
    from perfgate.hardware.gpus import Card
    from perfgate.records import Case

_ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


class Situation(StrEnum):
    """What holds a case back on a card, by the card's published peaks."""

    STORES = "writing the result"
    READS = "reading the operands"
    ARITHMETIC = "arithmetic"


@dataclass(frozen=True, kw_only=True)
class Work:
    """A case's least work and what the card's peaks make of it."""

    flops: int
    min_bytes: int
    result_bytes: int
    unit: str
    memory_s: float
    """Least DRAM traffic at the memory's peak."""
    arithmetic_s: float
    """Work at the peak of the case's arithmetic unit."""
    bytes_per_s: float
    """The memory's peak."""

    @property
    def bound_s(self) -> float:
        """No kernel that moves and computes all of it is faster (the roofline: the longer of the two)."""
        return max(self.memory_s, self.arithmetic_s)

    @property
    def situation(self) -> Situation:
        """Which of the two it is, and of the memory, which side of it."""
        if self.arithmetic_s > self.memory_s:
            return Situation.ARITHMETIC
        return Situation.STORES if 2 * self.result_bytes > self.min_bytes else Situation.READS


def work(case: Case, card: Card) -> Work:
    """Work out a case's limit on a card.

    Raises:
        GateError: ``no-peak`` where the card's peak for the case's arithmetic is not stated.
    """
    peak = card.flops_per_s.get(case.unit)
    if peak is None or case.dtype not in _ELEMENT_BYTES:
        raise GateError(
            "no-peak",
            f"{case.id} computes in {case.unit} on {case.dtype}, expected one of {', '.join(card.flops_per_s)}; state its peak "
            "in perfgate/hardware/gpus.py.",
        )
    operand_bytes = sum(prod(shape) for shape in case.shapes) * _ELEMENT_BYTES[case.dtype]
    return Work(
        flops=case.flops,
        min_bytes=case.min_bytes,
        result_bytes=case.min_bytes - operand_bytes,
        unit=case.unit,
        memory_s=case.min_bytes / card.dram_bytes_per_s,
        arithmetic_s=case.flops / peak,
        bytes_per_s=card.dram_bytes_per_s,
    )


def left(seconds: float, bound_s: float) -> float:
    """Share of a time that its limit would save; negative for a time below the limit."""
    return 1 - bound_s / seconds
