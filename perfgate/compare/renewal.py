"""A baseline update as records: what the change did to the times, and what of its measurement is stored. Pure."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from perfgate.compare import comparability
from perfgate.compare.judge import judge

if TYPE_CHECKING:
    from perfgate.limits import Limits
    from perfgate.records import Recording, Verdict


def old_against_new(stored: Recording | None, recording: Recording, limits: Limits) -> tuple[Verdict, ...]:
    """What the change did; by the old code alone where the old numbers were measured with other settings.

    Args:
        stored: The baseline before; None where this is the card's first.
        recording: The new launches, with the old baseline's code beside them where it could be measured.
        limits: What counts as a change.

    Returns:
        One verdict a case, or none where there is nothing to compare with.
    """
    if stored is None:
        return ()
    if comparability.refusal(stored, recording) is None:
        return judge(stored, recording, limits)
    beside = any(samples.other for samples in recording.samples.values())
    return judge(None, recording, limits) if beside else ()


def alone(recording: Recording) -> Recording:
    """A recording without its other side, which a baseline has no use for."""
    samples = {
        case: dataclasses.replace(
            one,
            other=None,
            code={side: code for side, code in one.code.items() if side != "other"},
            launches=tuple(
                dataclasses.replace(launch, arms={arm: s for arm, s in launch.arms.items() if arm != "other"})
                for launch in one.launches
            ),
        )
        for case, one in recording.samples.items()
    }
    return dataclasses.replace(recording, samples=samples)
