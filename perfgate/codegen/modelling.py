"""The modelled time of a case, of its launches joined with the model, and what it makes of a verdict on machine code.

Owns the way to the suite's knowledge (`modelled` beside the tests: ``works(case, kernels)``), what becomes of a launch that
is not known there, the tolerance and the sentence. SLOWER where the time grew by more than the model can be wrong; a verdict
that the facts alone gave is never made milder, and one that is INVALID stays.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from perfgate.codegen import diff
from perfgate.hardware import cost_model
from perfgate.records import Aside, Status, Verdict
from perfgate.text import arrow, duration

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perfgate.config import Settings
    from perfgate.hardware.cost_model import Prediction
    from perfgate.hardware.parameters import ModelCard
    from perfgate.records import Case
    from perfgate.store.compiled import CompiledCase, KernelFacts

    Works = Callable[[Case, Sequence[KernelFacts]], Sequence[Any]]

MODELLED = "modelled"
"""Module beside the tests that says what each launch computes; ``perf_tests/modelled.py`` shows what it has to have."""
TOLERANCE = 0.25
"""Of the pairs that the study on the 4090's code path put that far apart, it had 1 in 288 the wrong way round: the smallest
step with at most 1 in 100 (`baselines/nvidia-h100-80gb-hbm3/model-sm89.md`; 2 in 100 at 0.2, 4 in 100 at 0.1)."""
_WORTH_TELLING, _WORTH_SHOWING = 0.01, 0.05
"""Changes that a verdict tells, and that are shown where the verdict's sentence is not."""


def load_works(project: Settings) -> Works | None:
    """What the suite knows of its kernels' launches; None where it says nothing."""
    name = f"{project.tests}.{MODELLED}".replace("/", ".")
    try:
        return cast("Works", importlib.import_module(name).works)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None


def modelled(case: Case, built: CompiledCase, *, works: Works, card: ModelCard) -> Prediction | None:
    """The time of a call, of its launches and of what torch moves beside them; None where one cannot be modelled."""
    launches = of_launches(case, built.kernels, works=works, card=card)
    if launches is None:
        return None
    beside_s = sum(cost_model.passed_s(one.moved_bytes, card) + card.launch_s for one in built.operations)
    return replace(launches, time_s=launches.time_s + beside_s)


def of_launches(case: Case, kernels: Sequence[KernelFacts], *, works: Works, card: ModelCard) -> Prediction | None:
    """The time of these launches alone; None where one of them is not known or cannot be modelled."""
    known = works(case, kernels)
    if not kernels or any(work is None for work in known):
        return None
    try:
        return cost_model.total(
            [cost_model.predict(facts, work, card) for facts, work in zip(kernels, known, strict=True)]
        )
    except ValueError:
        return None


def with_model(
    verdict: Verdict,
    *,
    kernels: tuple[Sequence[KernelFacts], Sequence[KernelFacts]],
    modelled: tuple[Prediction | None, Prediction | None],
) -> Verdict:
    """The verdict with what the model says of the same change.

    Args:
        verdict: On the facts alone.
        kernels: Launches before and now.
        modelled: Their modelled times; None where there is none.
    """
    before, after = modelled
    if before is None or after is None or verdict.status is Status.INVALID or verdict.reason == "same-code":
        return verdict
    change = after.time_s / before.time_s - 1
    if abs(change) < _WORTH_TELLING:
        return verdict
    times = f"{duration(before.time_s)} → {duration(after.time_s)} a call"
    told = f"modelled {times} ({change:+.0%}), bound by {arrow(before.bound, after.bound)}"
    slower, faster = change > TOLERANCE, 1 / (1 + change) - 1 > TOLERANCE
    if slower and verdict.status is not Status.SLOWER:
        return replace(
            verdict,
            status=Status.SLOWER,
            reason="modelled-slower",
            text=f"{verdict.case}: {told}, limit +{TOLERANCE:.0%}: {_moved(*kernels)}; if it is meant, "
            "record it with `nox -s update-baselines -- --reason …`.",
        )
    if faster and verdict.status is Status.SAME:
        return replace(
            verdict,
            status=Status.FASTER,
            reason="modelled-faster",
            text=f"{verdict.case}: {told}: {_moved(*kernels)}; to hold the gain, `nox -s update-baselines -- --reason …`.",
        )
    within = "" if slower or faster else f", within the {TOLERANCE:.0%} that the model may be wrong by"
    if verdict.status is Status.SAME:  # a line of its own, which a brief report shows too
        aside = Aside(text=f"{told}{within}.", matters=abs(change) >= _WORTH_SHOWING)
        return replace(verdict, asides=(*verdict.asides, aside))
    return replace(verdict, text=f"{verdict.text.rstrip('.')}; {told}{within}.")


def _moved(before: Sequence[KernelFacts], after: Sequence[KernelFacts]) -> str:
    """What moved in the code, the launch that lasts longest first in the reader's eye: the last, which multiplies."""
    old_by_name = {facts.name: facts for facts in before}
    for facts in reversed(after):
        old = old_by_name.get(facts.name)
        if old is not None and (old.normal_hash != facts.normal_hash or old.config != facts.config):
            return diff.one_line(old, facts)
    new = [facts.name for facts in after if facts.name not in old_by_name]
    gone = [name for name in old_by_name if name not in {facts.name for facts in after}]
    said = [f"{', '.join(names)} is {what}" for names, what in ((new, "new"), (gone, "gone")) if names]
    return "; ".join(said) or "the launches changed"
