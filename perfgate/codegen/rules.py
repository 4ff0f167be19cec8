"""Compiled code, now against the baseline: one verdict a case, by its facts and then by its modelled time.

Owns the rules and their order, and that every command judges compiled code the same way. The rules speak of
resources, not of time: they fail on what cannot run and on what is slower beyond doubt (spills, a resident block lost,
tensor cores no longer used, memory that torch moves beside the kernels), and report every other change without judging it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from perfgate.codegen import diff
from perfgate.codegen.modelling import load_works, modelled, with_model
from perfgate.hardware.cost_model import passed_s
from perfgate.hardware.occupancy import Architecture, architecture
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS
from perfgate.project import load_suite
from perfgate.records import Status, Verdict
from perfgate.text import arrow, duration, size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from perfgate.config import Settings
    from perfgate.store.compiled import CompiledBaseline, CompiledCase, KernelFacts, Operation

_RECORD = "`nox -s update-baselines -- --reason …`"


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
        before: What it is compared with, or None where there is nothing.
        versions: ``triton``, ``torch`` and ``ptxas`` that compiled ``now``.
        selected: The cases that the user chose; None means all, so that a case missing on either side is INVALID.
    """
    found = judge_compiled(now, before, versions=versions, target=project.target, selected=selected)
    works = load_works(project)
    card = MODEL_CARDS.get(CARD_OF_TARGET.get(project.target, ""))
    if before is None or works is None or card is None:
        return found
    cases = {case.id: case for case in load_suite(project).CASES}
    judged = []
    for verdict in found:
        sides = [side[verdict.case] for side in (before.cases, now) if verdict.case in side]
        if len(sides) == 2 and verdict.case in cases:  # noqa: PLR2004 - before and now
            kernels = (sides[0].kernels, sides[1].kernels)
            old, new = (modelled(cases[verdict.case], side, works=works, card=card) for side in sides)
            judged.append(with_model(verdict, kernels=kernels, modelled=(old, new)))
        else:
            judged.append(verdict)
    return tuple(judged)


class _Found(NamedTuple):
    """A rule's answer for one kernel."""

    status: Status
    reason: str
    text: str


_WORST_FIRST = (
    *("spills", "tensor-cores-lost", "memory-moved", "blocks-lost"),
    *("resources-freed", "same-resources", "same-code"),
)


def judge_compiled(
    now: Mapping[str, CompiledCase],
    baseline: CompiledBaseline | None,
    *,
    versions: Mapping[str, str],
    target: str = "sm_89",
    selected: Collection[str] | None = None,
) -> tuple[Verdict, ...]:
    """One verdict for every case there is on either side.

    Args:
        now: what was compiled, by case id.
        baseline: the stored facts, or None where there are none.
        versions: `triton`, `torch` and `ptxas` that compiled `now`.
        target: the architecture that `now` was compiled for.
        selected: the cases that the user chose; None means all, so that a case missing on either side is INVALID.

    Returns:
        Verdicts in the order of `now`, then those of the cases that should be in it and are not.

    Raises:
        KeyError: no limits are known for `target`.
    """
    arch = architecture(target)
    stored: Collection[str] = baseline.cases.keys() if baseline is not None else ()
    missing = sorted(set(stored if selected is None else selected) - now.keys())
    note = _toolchain_note(versions, baseline)
    return (
        *(_judge(name, case, baseline, arch=arch, note=note) for name, case in now.items()),
        *(_invalid(name, "case-not-measured", "was not compiled, though it should have been") for name in missing),
    )


def _judge(
    name: str, case: CompiledCase, baseline: CompiledBaseline | None, *, arch: Architecture, note: str
) -> Verdict:
    """One case: what cannot run, then what cannot be compared, then the worst of its kernels."""
    if (broken := _broken(case, arch)) is not None:
        reason, text = broken
        return Verdict(case=name, status=Status.INVALID, reason=reason, text=f"{name}: {text}{note}.", wrong=True)
    if baseline is None:
        held = ", ".join(map(_held, case.kernels))
        text = f"nothing to compare with, there is no compiled baseline for {arch.name} (found {held}); record one with {_RECORD}"
        return _invalid(name, "no-baseline", text)
    if baseline.target != arch.name:
        text = f"compiled for {arch.name}, but the baseline {baseline.source} is for {baseline.target}; use that target's file"
        return _invalid(name, "other-target", text)
    before = baseline.cases.get(name)
    if before is None:
        return _invalid(name, "case-not-in-baseline", f"is not in the compiled baseline; record it with {_RECORD}")
    if dict(before.contract) != dict(case.contract):
        keys = sorted(before.contract.keys() | case.contract.keys())
        key = next(key for key in keys if before.contract.get(key) != case.contract.get(key))
        change = f"{key} {before.contract.get(key)} → {case.contract.get(key)}"
        return _invalid(
            name, "contract-changed", f"is another case than the baseline's ({change}); record it with {_RECORD}"
        )

    several = max(len(before.kernels), len(case.kernels)) > 1
    found = [_compare(old, new, named=several) for old, new in diff.pairs(before.kernels, case.kernels)]
    found += _beside(before.operations, case.operations, arch=arch)
    worst = min(found, key=lambda one: _WORST_FIRST.index(one.reason))
    text = "; ".join(dict.fromkeys(one.text for one in found if one.reason == worst.reason))
    cause = "" if worst.reason == "same-code" else note
    return Verdict(case=name, status=worst.status, reason=worst.reason, text=f"{name}: {text}{cause}.")


def _broken(case: CompiledCase, arch: Architecture) -> tuple[str, str] | None:
    """Reason and text of what cannot run on the card at all, whatever the baseline says."""
    if case.error:
        return "does-not-compile", f"does not compile for {arch.name}: {case.error.rstrip('.')}"
    if not case.kernels:
        return "no-kernel", "launched no Triton kernel, so there is no code to judge; the wrapper must launch one"
    for facts in case.kernels:
        if facts.shared_bytes > arch.shared_per_block:
            text = f"needs {facts.shared_bytes} bytes of shared memory, the card gives a block {arch.shared_per_block}"
            return "too-much-shared-memory", f"{facts.name} {text}; take a smaller tile or fewer stages"
        if facts.blocks_per_sm < 1:
            warps = facts.config.get("num_warps", "?")
            text = (
                f"cannot be launched: {facts.registers} registers a thread at {warps} warps leave no room for a block"
            )
            return "does-not-fit", f"{facts.name} {text} (limit: {facts.limited_by})"
    return None


def _compare(before: KernelFacts | None, after: KernelFacts | None, *, named: bool) -> _Found:
    """One kernel's change, by the first rule that speaks."""
    if before is None or after is None:
        return _appeared_or_gone(before, after)
    who = f"{after.name} " if named else ""
    same = diff.sameness(before, after)
    if same and _how_it_runs(before) == _how_it_runs(after):
        other_names = ", but for the names of registers" if same == diff.RENAMED else ""
        return _Found(Status.SAME, "same-code", f"{who}the same machine code{other_names}, {_held(after)}")

    def also(told: str) -> str:  # what else changed, in brackets
        parts = "; ".join(part for part in diff.parts(before, after) if part not in told)
        return f" (also {parts})" if parts else ""

    if slower := list(_losses(before, after)):
        text = "; ".join(text for _, text in slower)
        return _Found(Status.SLOWER, slower[0][0], f"{who}{text}{also(text)}; if it is meant, record it with {_RECORD}")
    if freed := " and ".join(_freed(before, after)):
        return _Found(Status.FASTER, "resources-freed", f"{who}{freed}{also(freed)}; to hold the gain, {_RECORD}")
    lead = "" if same else "the code changed, its resources hold: "
    return _Found(Status.SAME, "same-resources", f"{who}{lead}{diff.one_line(before, after)}; {_held(after)}")


def _appeared_or_gone(before: KernelFacts | None, after: KernelFacts | None) -> _Found:
    """A kernel that one side alone launches; a new one may not spill either."""
    if after is None:
        return _Found(Status.SAME, "same-resources", f"{before.name if before else 'a kernel'} is no longer launched")
    if after.spill_instructions:
        counts = f"{after.spill_instructions} spill instructions, {after.stack_bytes} bytes of stack, {after.registers} registers"
        return _Found(Status.SLOWER, "spills", f"{after.name} is new and spills: {counts}; expected none")
    return _Found(Status.SAME, "same-resources", f"{after.name} is new: {_held(after)}")


def _losses(before: KernelFacts, after: KernelFacts) -> Iterator[tuple[str, str]]:
    """Reason and text of what is slower beyond doubt."""
    # Registers ran out: values travel through local memory, which is DRAM behind two caches.
    more_stack = after.stack_bytes > before.stack_bytes and after.spill_instructions > 0
    if after.spill_instructions > before.spill_instructions or more_stack:
        verb = "spill more" if before.spill_instructions else "now spill"
        counts = f"{arrow(before.spill_instructions, after.spill_instructions)} spill instructions"
        stack = f"stack {arrow(before.stack_bytes, after.stack_bytes)} bytes"
        yield "spills", f"registers {verb}: {counts}, {stack}, registers {arrow(before.registers, after.registers)}"
    # The contract is the same, so products that left the tensor cores went to slower units.
    if (count := before.instructions.get("tensor_core", 0)) and not after.instructions.get("tensor_core", 0):
        fp32 = arrow(before.instructions.get("fp32", 0), after.instructions.get("fp32", 0))
        yield "tensor-cores-lost", f"no longer uses tensor cores: {count} → 0 instructions, FP32 arithmetic {fp32}"
    # Fewer blocks to hide latency with; where larger blocks keep more warps resident, the sentence shows that.
    if after.blocks_per_sm < before.blocks_per_sm:
        share = f"{before.occupancy_percent:.1f} → {after.occupancy_percent:.1f} % of the warps"
        yield "blocks-lost", f"{diff.blocks_an_sm(before, after)} ({share})"


def _freed(before: KernelFacts, after: KernelFacts) -> list[str]:
    """Gains that need no clock: spills gone, or more blocks of the very same configuration."""
    gains = []
    if before.spill_instructions and not after.spill_instructions:
        gains.append(f"no longer spills ({before.spill_instructions} → 0 spill instructions)")
    if after.blocks_per_sm > before.blocks_per_sm and after.config == before.config:
        gains.append(diff.blocks_an_sm(before, after))
    return gains


def _beside(before: Sequence[Operation], after: Sequence[Operation], *, arch: Architecture) -> Iterator[_Found]:
    """What torch does beside the kernels, such as copying operands that they could read where they lie."""
    if before == after:
        return
    card = MODEL_CARDS[CARD_OF_TARGET[arch.name]]
    moved = [sum(one.moved_bytes for one in side) for side in (before, after)]
    names = [" and ".join(dict.fromkeys(one.name for one in side)) or "nothing" for side in (before, after)]
    times_s = [sum(passed_s(one.moved_bytes, card) + card.launch_s for one in side) for side in (before, after)]
    told = f"beside the kernels torch moves {arrow(*map(size, moved))} a call ({arrow(*names)})"
    cost = f"{duration(abs(times_s[1] - times_s[0]))} {{}} on an {arch.card} by the model"
    if moved[1] > moved[0]:
        mend = f"let the kernel take things where they lie, or if it is meant, record it with {_RECORD}"
        yield _Found(Status.SLOWER, "memory-moved", f"{told}, about {cost.format('more')}; {mend}")
    elif moved[1] < moved[0]:
        gain = f"about {cost.format('less')}; to hold the gain, {_RECORD}"
        yield _Found(Status.FASTER, "resources-freed", f"{told}, {gain}")
    else:
        yield _Found(Status.SAME, "same-resources", told)


def _how_it_runs(facts: KernelFacts) -> tuple[object, ...]:
    """What decides, beside the instructions, how a kernel runs; equal with them, there is nothing to judge."""
    resources = (facts.registers, facts.stack_bytes, facts.shared_bytes, facts.blocks_per_sm)
    return (*resources, facts.grid, dict(facts.arguments))


def _held(facts: KernelFacts) -> str:
    blocks = f"{facts.blocks_per_sm} block{'s' if facts.blocks_per_sm != 1 else ''} an SM"
    spills = f"{facts.spill_instructions} spill instructions" if facts.spill_instructions else "no spills"
    return f"{facts.registers} registers, {spills}, {blocks}"


def _toolchain_note(versions: Mapping[str, str], baseline: CompiledBaseline | None) -> str:
    """Another compiler is a cause to name, not an excuse."""
    if baseline is None:
        return ""
    names = {"triton": "Triton", "ptxas": "ptxas"}
    moved = [
        f"{label} {baseline.versions.get(key)} → {versions.get(key)}"
        for key, label in names.items()
        if baseline.versions.get(key) != versions.get(key)
    ]
    return f"; {' and '.join(moved)} since the baseline, so the toolchain may be the cause" if moved else ""


def _invalid(name: str, reason: str, text: str) -> Verdict:
    return Verdict(case=name, status=Status.INVALID, reason=reason, text=f"{name}: {text}.")
