"""Compiled facts to verdicts: the rules on machine code, then the modelled time where the suite knows what was launched.

Owns that every command judges compiled code the same way. The rules themselves are in ``compiled_verdict`` and
``modelled_verdict``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate import settings
from perfgate.codegen.modelled_rules import with_model
from perfgate.codegen.rules import judge_compiled
from perfgate.hardware import modelling
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from perfgate.records import Verdict
    from perfgate.settings import Settings
    from perfgate.store.compiled import CompiledBaseline, CompiledCase


def judge(
    project: Settings,
    now: Mapping[str, CompiledCase],
    before: CompiledBaseline | None,
    *,
    versions: Mapping[str, str],
    selected: Collection[str] | None = None,
) -> tuple[Verdict, ...]:
    """One verdict for every case there is on either side.

    Args:
        project: The project's settings; its target is what was compiled for.
        now: What was compiled, by case id.
        before: What it is held against, or None where there is nothing.
        versions: ``triton``, ``torch`` and ``ptxas`` that compiled ``now``.
        selected: The cases that the user chose; None means all, so that a case missing on either side is INVALID.
    """
    found = judge_compiled(now, before, versions=versions, target=project.target, selected=selected)
    works = modelling.load_works(project)
    card = MODEL_CARDS.get(CARD_OF_TARGET.get(project.target, ""))
    if before is None or works is None or card is None:
        return found
    cases = {case.id: case for case in settings.load_suite(project).CASES}
    judged = []
    for verdict in found:
        sides = [side[verdict.case] for side in (before.cases, now) if verdict.case in side]
        if len(sides) != 2 or verdict.case not in cases:  # noqa: PLR2004 - before and now
            judged.append(verdict)
            continue
        old, new = (modelling.modelled(cases[verdict.case], side, works=works, card=card) for side in sides)
        judged.append(with_model(verdict, kernels=(sides[0].kernels, sides[1].kernels), modelled=(old, new)))
    return tuple(judged)
