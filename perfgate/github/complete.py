"""Whether every case of the base's suite is in each stage of a run, once, and no other: what is left out is not passed.

Which cases there are is the base's to say: in its file of cases, or else in its baselines. Reads files; writes none.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from perfgate.records import GateError
from perfgate.store.compiled import read_compiled
from perfgate.store.manifest import FILE, Cases, read_cases
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perfgate.settings import Settings
    from perfgate.store.run import RunRecord, StageRecord

ALL = "*"
"""Stands for no case but for the run, or the suite, as a whole."""


def known_cases(project: Settings, slug: str) -> Cases:
    """The ids of the base's suite, by stage.

    Raises:
        GateError: ``unknown-cases`` where neither the file nor a baseline says which there are; or as the readers do.
    """
    folder = project.root / project.baselines
    if (listed := folder / FILE).is_file():
        return read_cases(listed.read_bytes(), source=f"{project.baselines}/{FILE}")
    stored, machine_code = folder / slug / "matmul.json", folder / project.target / "compiled.json"
    timed = tuple(read_recording(stored).samples) if stored.is_file() else ()
    compiled = read_compiled(machine_code) if machine_code.is_file() else None
    compiled_ids = tuple(compiled.cases) if compiled else timed
    if not timed and not compiled_ids:
        raise GateError(
            "unknown-cases",
            f"The base does not say which cases it has, expected {project.baselines}/{FILE}; write it there with "
            "python -m perfgate cases.",
        )
    return Cases(checked=timed or compiled_ids, compiled=compiled_ids, timed=timed or compiled_ids, whole=False)


def problems(run: RunRecord, cases: Cases) -> tuple[str, ...]:
    """What each stage that was judged leaves out, says twice or made up, a sentence each; times are for the samples.

    Args:
        run: As its file says.
        cases: Of the base's suite.
    """
    found = []
    for stage in run.stages:
        if not stage.done:
            continue
        expected = {"correctness": cases.checked, "compiled": cases.compiled}.get(stage.name, ())
        ids = [*stage.passed, *(verdict.case for verdict in stage.verdicts)]
        if missing := [case for case in expected if case not in ids]:
            found.append(_said(stage, "says nothing of", missing, f"each of the base's {len(expected)} cases"))
        if twice := [case for case, count in Counter(ids).items() if count > 1 and case != ALL]:
            found.append(_said(stage, "speaks twice of", twice, "each case once"))
        passed = {*stage.passed, *(verdict.case for verdict in stage.verdicts if not verdict.exit_code)}
        if cases.whole and (made_up := sorted(passed - {*cases.checked, *cases.compiled, *cases.timed, ALL})):
            found.append(_said(stage, "speaks of", made_up, "only cases of the base's suite"))
    return tuple(found)


def _said(stage: StageRecord, what: str, cases: Iterable[str], expected: str) -> str:
    first, *others = cases
    more = f" and {len(others)} more" if others else ""
    return f"{stage.name.capitalize()} {what} {first[:80]}{more}, expected {expected}."
