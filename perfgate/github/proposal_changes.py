"""What a proposed baseline changes, as facts: times before and after by case, machine code, versions, drift. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.codegen.rules import judge_compiled, pairs
from perfgate.compare import comparability as comparable
from perfgate.compare import renewal
from perfgate.compare.roofline import recording_metrics

if TYPE_CHECKING:
    from perfgate.github.proposal_files import Proposed
    from perfgate.limits import Limits
    from perfgate.records import KernelFacts, Recording, Status, Verdict
    from perfgate.store.compiled import CompiledBaseline, CompiledCase

NEW, GONE = "NEW", "GONE"
"""Status of a case that one side alone has."""


@dataclass(frozen=True, kw_only=True)
class CaseChange:
    """One case's time before and after."""

    case: str
    status: str
    """Of the verdict; `NEW` or `GONE`; empty where nothing could be compared."""
    before_s: float | None = None
    after_s: float | None = None
    comparable: bool = True
    """The stored numbers stand for the same work, measured the same way."""
    beside: float | None = None
    """Time of the new code over that of the old in the same launches; None where they did not run side by side."""

    @property
    def stored(self) -> float | None:
        """Time stored now over time stored before."""
        both = self.comparable and self.before_s is not None and self.after_s is not None
        return self.after_s / self.before_s if both and self.after_s and self.before_s else None

    @property
    def ratio(self) -> float | None:
        """The better known of the two."""
        return self.stored if self.beside is None else self.beside


@dataclass(frozen=True, kw_only=True)
class CodeChange:
    """One kernel of one case whose resources changed; each cell is one value, or ``before → after``."""

    case: str
    status: str
    registers: str
    spills: str
    shared: str
    blocks: str


@dataclass(frozen=True, kw_only=True)
class CodeChanges:
    """One file of machine code."""

    name: str
    first: bool
    """There was none before that could be read."""
    versions: str
    cases: int
    rows: tuple[CodeChange, ...] = ()
    other_code: int = 0
    """Cases whose instructions changed and whose resources did not."""
    new: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Changes:
    """All that a reviewer has to see."""

    times: tuple[CaseChange, ...] = ()
    """In the new baseline's order, then what is gone; empty where the times stay."""
    verdicts: tuple[Verdict, ...] = ()
    """Of the new launches, by this checkout's limits."""
    anchored: bool = False
    """The old baseline's code ran in the same launches."""
    refused: str = ""
    """Why the stored numbers cannot be compared."""
    versions: tuple[str, ...] = ()
    """What changed of the machine and the toolchain: ``triton 3.7.1 → 3.8.0``."""
    restarted: tuple[str, ...] = ()
    """Cases whose drift is counted anew."""
    code: tuple[CodeChanges, ...] = ()

    @property
    def counts(self) -> Counter[str]:
        """Cases by status."""
        return Counter(change.status for change in self.times)

    def most(self, status: Status) -> CaseChange | None:
        """The case that changed most among those of a status."""
        known = [change for change in self.times if change.status == status and change.ratio is not None]
        return max(known, key=lambda change: abs((change.ratio or 1.0) - 1.0), default=None)


def changes(proposed: Proposed, beside: Recording | None, limits: Limits) -> Changes:
    """Hold what is proposed against what was stored.

    Args:
        proposed: Both sides.
        beside: The new launches with the old baseline's code in them, where that was kept.
        limits: What counts as a change.
    """
    old, new = proposed.before.times, proposed.after.times
    code = tuple(_code(name, proposed.before.compiled.get(name), now) for name, now in proposed.after.compiled.items())
    if new is None:
        return Changes(code=code, versions=_versions(proposed))
    verdicts = renewal.old_against_new(old, beside or new, limits)
    refused = comparable.refusal(old, new) if old else None
    anchored = _anchored(beside, old)
    return Changes(
        times=_times(old, new, verdicts, same_settings=refused is None, anchored=anchored),
        verdicts=verdicts,
        anchored=bool(anchored),
        refused=refused[1] if refused else "",
        versions=_versions(proposed),
        restarted=_restarted(proposed.after.anchor, new) if old else (),
        code=code,
    )


def _anchored(beside: Recording | None, old: Recording | None) -> frozenset[str]:
    """Cases whose old code, which is that of the stored baseline, ran in the same launches."""
    if beside is None or old is None:
        return frozenset()
    found = beside.samples.items()
    return frozenset(case for case, one in found if one.is_anchored and not comparable.other_anchor(one, old.commit))


def _times(
    old: Recording | None,
    new: Recording,
    verdicts: tuple[Verdict, ...],
    *,
    same_settings: bool,
    anchored: frozenset[str],
) -> tuple[CaseChange, ...]:
    said = {verdict.case: verdict for verdict in verdicts}
    before = {case: found.seconds for case, found in recording_metrics(old, None).items()} if old else {}
    after = {case: found.seconds for case, found in recording_metrics(new, None).items()}
    made = []
    for case in [*after, *(case for case in before if case not in after)]:
        verdict = said.get(case)
        one_side = (GONE if case not in after else NEW) if old and not (case in before and case in after) else ""
        contracts = [side.samples[case].contract for side in (old, new) if side and case in side.samples]
        made.append(
            CaseChange(
                case=case,
                status=one_side or (str(verdict.status) if verdict else ""),
                before_s=before.get(case),
                after_s=after.get(case),
                comparable=same_settings and not comparable.contract_change(contracts[0], contracts[-1]),
                beside=verdict.ratio if verdict and case in anchored and not one_side else None,
            )
        )
    return tuple(made)


def _versions(proposed: Proposed) -> tuple[str, ...]:
    """What differs between both sides of any file, each difference once."""
    found: dict[str, None] = {}
    old, new = proposed.before.times, proposed.after.times
    if old and new:
        a, b = old.environment, new.environment
        found |= {
            f"{key} {_arrow(a.get(key), b.get(key))}": None for key in comparable.VERSIONS if a.get(key) != b.get(key)
        }
        if a.get("uuid") != b.get("uuid"):
            found["another card of the same model"] = None
    for name, now in proposed.after.compiled.items():
        if before := proposed.before.compiled.get(name):
            found |= {
                f"{key} {_arrow(before.versions.get(key), version)} (machine code)": None
                for key, version in now.versions.items()
                if before.versions.get(key) != version
            }
    return tuple(found)


def _restarted(anchor: Recording | None, new: Recording) -> tuple[str, ...]:
    """Cases whose anchor is the new baseline itself."""
    found = anchor.samples.items() if anchor else ()
    return tuple(case for case, samples in found if samples == new.samples[case])


def _code(name: str, before: CompiledBaseline | None, now: CompiledBaseline) -> CodeChanges:
    versions = ", ".join(f"{key} {version}" for key, version in now.versions.items())
    if before is None:
        return CodeChanges(name=name, first=True, versions=versions, cases=len(now.cases))
    verdicts = judge_compiled(now.cases, before, versions=now.versions, target=now.target)
    statuses = {verdict.case: str(verdict.status) for verdict in verdicts}
    both = {case: (before.cases[case], found) for case, found in now.cases.items() if case in before.cases}
    rows = {case: _rows(case, statuses[case], *sides) for case, sides in both.items()}
    return CodeChanges(
        name=name,
        first=False,
        versions=versions,
        cases=len(now.cases),
        rows=tuple(row for found in rows.values() for row in found),
        other_code=sum(not rows[case] and _hashes(a) != _hashes(b) for case, (a, b) in both.items()),
        new=tuple(case for case in now.cases if case not in both),
        gone=tuple(case for case in before.cases if case not in both),
    )


def _rows(case: str, status: str, before: CompiledCase, after: CompiledCase) -> tuple[CodeChange, ...]:
    return tuple(
        CodeChange(
            case=case,
            status=status,
            registers=_arrow(*(side and side.registers for side in pair)),
            spills=_arrow(*(side and side.spill_instructions for side in pair)),
            shared=_arrow(*(side and side.shared_bytes for side in pair)),
            blocks=_arrow(*(side and side.blocks_per_sm for side in pair)),
        )
        for pair in pairs(before.kernels, after.kernels)
        if _resources(pair[0]) != _resources(pair[1])
    )


def _resources(facts: KernelFacts | None) -> tuple[int, ...]:
    return (facts.registers, facts.spill_instructions, facts.shared_bytes, facts.blocks_per_sm) if facts else ()


def _hashes(case: CompiledCase) -> tuple[str, ...]:
    return tuple(facts.code_hash for facts in case.kernels)


def _arrow(before: object, after: object) -> str:
    """One value where both are equal; a dash for what is not there."""
    shown = ["–" if value is None or value == "" else str(value) for value in (before, after)]
    return shown[0] if shown[0] == shown[1] else f"{shown[0]} → {shown[1]}"
