"""Two arms of the same launches: their shift for every case, and the noise that all cases of a run show together. Pure.

Where both sides launched the same machine code the true shift is nil, so those cases show how far a shift strays by
itself in this very run. If they stray further than their own errors say, every case's error is widened by as much;
it is never narrowed.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.compare.decision import Decision, decide, look
from perfgate.compare.estimators import Effect, clock_tick, paired_effect, shift_within_launch, typical_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from perfgate.config import Limits
    from perfgate.records import Recording, Samples

_FEWEST = 5
"""Cases that it takes to say something of them all."""
_CONSISTENT = 1.4826
"""Makes the median of absolute values the deviation, were they normal: one odd case must not widen them all."""
_CHANCE = 2 * 1.17
"""Two standard errors of that median for one value; it goes with the root of their number (Rousseeuw and Croux, J. Am.
Stat. Assoc. 1993: the median absolute deviation has 37 % efficiency)."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One case's kernel against its other side."""

    effect: Effect
    launches: int
    tick_share: float
    """The clock's step as a share of the kernel's time."""
    equal_code: bool
    """Both sides launched the same machine code; False also where that is not recorded."""
    widened: float = 1.0
    """By what factor the error was widened, since cases with equal code strayed further than theirs."""

    def decide(self, limits: Limits, *, cases: int) -> Decision:
        """The rule for sides of the same launches, among ``cases`` cases."""
        return decide(
            self.effect,
            tolerance=limits.against_tolerance,
            tick_share=self.tick_share,
            launches=self.launches,
            cases=cases,
            this_look=look(self.launches, limits),
            limits=limits,
        )


def pairs(current: Recording, cases: Iterable[str], limits: Limits) -> Mapping[str, Pair]:
    """The pair of every one of ``cases`` that has another side."""
    known = (current.samples[case] for case in cases if case in current.samples)
    found = {samples.case: _pair(samples, limits) for samples in known if samples.other is not None}
    factor = noise_factor(found.values())
    if factor == 1:
        return found
    return {
        case: dataclasses.replace(
            pair, effect=dataclasses.replace(pair.effect, error=pair.effect.error * factor), widened=factor
        )
        for case, pair in found.items()
    }


def noise_factor(known: Iterable[Pair]) -> float:
    """How much further than their errors, and than chance, the cases with equal code stray; 1 where they are few."""
    strays = [abs(pair.effect.shift) / pair.effect.error for pair in known if pair.equal_code]
    if len(strays) < _FEWEST:
        return 1.0
    return max(1.0, _CONSISTENT * statistics.median(strays) - _CHANCE / math.sqrt(len(strays)))


def mean_shift(known: Iterable[Pair]) -> Effect | None:
    """The mean shift over cases, for a small change that all of them share; None for fewer than `_FEWEST`.

    Its error is the larger of what the cases' own errors give and what their scatter gives, so that cases which moved
    in different directions speak for no common change.
    """
    effects = [pair.effect for pair in known]
    count = len(effects)
    if count < _FEWEST:
        return None
    shifts = [effect.shift for effect in effects]
    own = math.sqrt(sum(effect.error**2 for effect in effects)) / count
    scatter = statistics.stdev(shifts) / math.sqrt(count)
    return Effect(shift=statistics.fmean(shifts), error=max(own, scatter), df=count - 1)


def tick_share(samples: Samples) -> float:
    """The clock's step as a share of the kernel's time."""
    kernel = [launch.arms["kernel"] for launch in samples.launches]
    return clock_tick(sample for one in kernel for sample in one) / typical_seconds(kernel)


def _pair(samples: Samples, limits: Limits) -> Pair:
    effect = paired_effect(
        [shift_within_launch(launch.arms["kernel"], launch.arms["other"]) for launch in samples.launches],
        launch_df=limits.launch_df,
        least_scatter=limits.paired_scatter,
        disagreement=limits.disagreement,
    )
    return Pair(
        effect=effect,
        launches=len(samples.launches),
        tick_share=tick_share(samples),
        equal_code=samples.equal_code,
    )
