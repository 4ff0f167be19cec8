"""What a time means: arithmetic and memory rates, share of the roofline, speed relative to the control. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from perfgate.compare.estimators import typical_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.hardware.gpus import Card
    from perfgate.records import Recording


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """One case's time and what follows from it; None where an ingredient is not known."""

    seconds: float
    control_seconds: float | None
    tflops: float | None
    gb_per_s: float | None
    """Least DRAM traffic over time, in 1e9 bytes a second."""
    roofline_share: float | None
    """Time that the card's published peaks allow over time taken; 1.0 is the roofline."""
    vs_control: float | None
    """Control's time over the kernel's: above 1 the kernel is faster."""

    def to_json(self) -> dict[str, float | None]:
        """The numbers as JSON types, for the recording."""
        return asdict(self)


def metrics(
    contract: Mapping[str, Any], seconds: float, *, control_seconds: float | None = None, card: Card | None = None
) -> Metrics:
    """Work out one case's rates.

    The roofline (Williams, Waterman and Patterson, CACM 2009) is the longer of the work at the arithmetic peak of
    the case's unit and the least traffic at the memory's peak.

    Args:
        contract: ``Case.contract()``: ``flops``, ``min_bytes`` and ``unit`` are used, each where it is there.
        seconds: The kernel's time.
        control_seconds: The vendor library's time for the same work.
        card: Published peaks of the card, if it is listed.
    """
    flops, moved_bytes = contract.get("flops"), contract.get("min_bytes")
    peak = card.flops_per_s.get(str(contract.get("unit"))) if card else None
    share = None
    if card and peak and flops is not None and moved_bytes is not None:
        share = max(flops / peak, moved_bytes / card.dram_bytes_per_s) / seconds
    return Metrics(
        seconds=seconds,
        control_seconds=control_seconds,
        tflops=None if flops is None else flops / seconds / 1e12,
        gb_per_s=None if moved_bytes is None else moved_bytes / seconds / 1e9,
        roofline_share=share,
        vs_control=None if control_seconds is None else control_seconds / seconds,
    )


def recording_metrics(recording: Recording, card: Card | None) -> dict[str, Metrics]:
    """Metrics of every case of a recording, by case id; times are the median of the launches' medians."""
    found = {}
    for case, samples in recording.samples.items():
        launches = samples.launches
        control = (
            typical_seconds(launch.arms["control"] for launch in launches)
            if all("control" in launch.arms for launch in launches)
            else None
        )
        kernel = typical_seconds(launch.arms["kernel"] for launch in launches)
        found[case] = metrics(samples.contract, kernel, control_seconds=control, card=card)
    return found
