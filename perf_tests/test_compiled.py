"""The machine code of every case's chosen configuration is no worse than the stored facts. Needs no card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perf_tests import cases
from perfgate import building
from perfgate.compiled_baseline import read_compiled
from perfgate.compiled_verdict import judge_compiled
from perfgate.correctness import WrongResultError
from perfgate.records import Case, GateError, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.settings import Settings


@pytest.fixture(scope="session")
def verdicts(
    gate_settings: Settings, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Verdict]:
    """One verdict a case, from one compilation of all of them."""
    selected = pytestconfig.option.perfgate_case or [case.id for case in cases.CASES]
    output: Path = pytestconfig.option.perfgate_compiled or tmp_path_factory.mktemp("compiled") / "compiled.json"
    built = building.build_apart(gate_settings, output, selected)
    stored = read_compiled(gate_settings.root / gate_settings.baselines / gate_settings.target / "compiled.json")
    found = judge_compiled(built.cases, stored, versions=built.versions, target=gate_settings.target, selected=selected)
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
