"""The modelled time of a case: what the suite knows of its launches, joined with the model.

Owns the way to the suite's knowledge (`modelled` beside the tests: ``works(case, kernels)``) and what becomes of a launch that
is not known there. Nothing is judged here.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from perfgate.hardware import cost_model

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perfgate.hardware.cost_model import Prediction
    from perfgate.hardware.parameters import ModelCard
    from perfgate.records import Case, KernelFacts
    from perfgate.settings import Settings
    from perfgate.store.compiled import CompiledCase

    Works = Callable[[Case, Sequence[KernelFacts]], Sequence[Any]]

MODELLED = "modelled"
"""Module beside the tests that says what each launch computes; ``perf_tests/modelled.py`` shows what it has to have."""


def load_works(project: Settings) -> Works | None:
    """What the suite knows of its kernels' launches; None where it says nothing."""
    name = f"{project.tests}.{MODELLED}".replace("/", ".")
    try:
        works: Works = importlib.import_module(name).works
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return None
    return works


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
