"""The rule: an effect and its limits in, one of SAME, FASTER, SLOWER and UNSURE out. Pure numbers, no words.

SLOWER: the shift is above the limit *and* the interval excludes no change, at the share of false alarms that this
case and this look may spend. FASTER: the mirror image. SAME: the shift is within the limit *and* a change of twice
the limit is ruled out, at its own error rate (equivalence, not absence of significance). All else is UNSURE.

A change of exactly the limit is thus called either way, one of twice the limit is found, no change is left alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.compare.estimators import t_quantile
from perfgate.records import Estimate, Status

if TYPE_CHECKING:
    from perfgate.compare.estimators import Effect
    from perfgate.config import Limits


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A status with the numbers behind it."""

    status: Status
    estimate: Estimate
    """With the interval at the level of false alarms that was spent."""
    limit: float
    """The ratio that a slowdown has to exceed, such as 1.005."""
    confidence: float
    """Of the interval, such as 0.999."""
    widened: str = ""
    """What made the limit wider than the configured tolerance: ``clock`` or ``noise``; empty where nothing did."""


@dataclass(frozen=True, kw_only=True)
class Look:
    """Which share of the error rates one look at the data may spend, and what the final look will have."""

    share: float = 1.0
    final_share: float = 1.0
    final_launches: int | None = None
    """Launches of the final look; None where this is the final one."""


def look(launches: int, limits: Limits) -> Look:
    """The look that ``launches`` launches amount to: an early one, or the final one."""
    final = 1 - limits.early_share
    if launches < limits.final_launches:
        return Look(share=limits.early_share, final_share=final, final_launches=limits.final_launches)
    return Look(share=final, final_share=final)


def decide(  # noqa: PLR0913 - each is one independent fact, all by name
    effect: Effect,
    *,
    tolerance: float,
    tick_share: float,
    launches: int,
    cases: int,
    this_look: Look,
    limits: Limits,
    errors_in_floor: float = 0.0,
) -> Decision:
    """Apply the rule to one case.

    Args:
        effect: The shift and its error.
        tolerance: Configured smallest change worth reporting.
        tick_share: The clock's step as a share of the time; a shift of one step may be the clock's rounding.
        launches: How many launches the effect rests on.
        cases: How many cases are judged together.
        this_look: What this look may spend.
        limits: Error rates and how far the floor may widen.
        errors_in_floor: How many standard errors are added to the tolerance in quadrature, where it stands for a
            shift of its own (days and cards) that comes on top of the launches' noise.
    """
    alarms_all = min(limits.false_alarms_case, limits.false_alarms_suite / cases)
    alarms = alarms_all * this_look.share
    significant = t_quantile(1 - alarms / 2, effect.df)
    powerful = t_quantile(1 - limits.missed * this_look.share, effect.df)
    # Noise that would leave a change of twice the tolerance undecided even after the final look widens the floor to
    # half of what can be told apart then.
    spent = t_quantile(1 - alarms_all * this_look.final_share / 2, effect.df)
    spent += t_quantile(1 - limits.missed * this_look.final_share, effect.df)
    rest = launches / this_look.final_launches if this_look.final_launches else 1.0
    noise = 0.0 if effect.disagreeing else spent / 2 * effect.error * math.sqrt(rest)
    wanted = max((math.hypot(tolerance, errors_in_floor * effect.error), ""), (tick_share, "clock"), (noise, "noise"))
    floor, widened = min(wanted[0], tolerance * limits.widest_floor), wanted[1]
    shift, reach = effect.shift, significant * effect.error
    limit = math.log1p(floor)
    if shift > limit and shift > reach:
        status = Status.SLOWER
    elif shift < -limit and shift < -reach:
        status = Status.FASTER
    elif abs(shift) <= limit and abs(shift) + powerful * effect.error < math.log1p(2 * floor):
        status = Status.SAME
    else:
        status = Status.UNSURE
    return Decision(
        status=status,
        estimate=effect.estimate(1 - alarms / 2),
        limit=1 + floor,
        confidence=1 - alarms,
        widened=widened,
    )
