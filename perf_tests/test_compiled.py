"""The machine code of every case's chosen configuration is no worse than the stored facts. Needs no card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perf_tests import cases
from perfgate.codegen import build, judging
from perfgate.harness.correctness import WrongResultError
from perfgate.records import Case, GateError, Verdict
from perfgate.store.compiled import read_compiled
from perfgate.store.locate import compiled_name

if TYPE_CHECKING:
    from perfgate.settings import Settings


@pytest.fixture(scope="session")
def verdicts(
    gate_settings: Settings, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdict]:
    """One verdict a case, from one compilation of all of them."""
    selected = pytestconfig.option.perfgate_case or [case.id for case in cases.CASES]
    built = build.build_apart(gate_settings, tmp_path_factory.mktemp("compiled") / "compiled.json", selected)
    name = compiled_name(gate_settings, built.versions["triton"])
    stored = read_compiled(gate_settings.root / gate_settings.baselines / name)
    found = judging.judge(gate_settings, built.cases, stored, versions=built.versions, selected=selected)
    return {verdict.case: verdict for verdict in found}


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.id, marks=[pytest.mark.quick] if case.quick else []) for case in cases.CASES]
)
def test_machine_code_is_no_worse(case: Case, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[case.id]
    if verdict.exit_code == 1:
        raise WrongResultError(verdict.text)
    if verdict.exit_code:
        raise GateError(verdict.reason, verdict.text)
