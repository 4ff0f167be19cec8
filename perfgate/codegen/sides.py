"""The two sides of a comparison of compiled code: what is judged, what it is held against, and what has to be said.

Owns which side is which. The baseline, another kernel file by the same Triton, or the same kernel by another Triton,
where the older version is always the one before: so SLOWER says that the newer compiler makes worse code of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from perfgate.codegen import build, rules, toolchains
from perfgate.codegen.build import Built, Source
from perfgate.codegen.cache import triton_version
from perfgate.project import output_folder
from perfgate.records import Status, Verdict
from perfgate.store import reference
from perfgate.store.compiled import CompiledBaseline, CompiledCase, read_compiled
from perfgate.store.locate import compiled_name, find

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from perfgate.config import Settings

FACTS_FILE = "compiled.json"
"""The kernel under test, by the installed Triton."""
_OTHER_FILE = "compiled-other.json"


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is held against what."""

    after: Mapping[str, CompiledCase]
    versions: Mapping[str, str]
    """That compiled `after`."""
    before: CompiledBaseline | None
    said: str
    """Both, in a few words."""
    note: str = ""
    """What the reader has to know of the side before."""
    stored: bool = False
    """The side before is a baseline."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is compiled."""

    settings: Settings
    cases: Collection[str]
    cached: bool
    tell: Callable[[str], None]
    """Takes a line about what has been compiled."""

    def build(self, what: str, file: str, source: Source | None = None) -> Built:
        """Compile one side."""
        output = output_folder(self.settings) / file
        built = build.build_apart(self.settings, output, self.cases, source=source, cached=self.cached)
        self.tell(f"{what} for {self.settings.target}: {built.said}")
        return built


def against_baseline(job: Job, *, base: str | None) -> Sides:
    """The kernel and its stored facts, those of a git ref where one is named.

    Raises:
        GateError: It could not be compiled, or the baseline is malformed, or git knows no such ref.
    """
    built = job.build("the kernel", FACTS_FILE)
    name = compiled_name(job.settings, built.versions["triton"])
    stored = find(job.settings, name, base=base, scratch=output_folder(job.settings))
    return Sides(
        after=built.cases,
        versions=built.versions,
        before=read_compiled(stored.path),
        said=f"{stored.name} → the kernel, by Triton {built.versions['triton']}",
        note=stored.note,
        stored=True,
    )


def against_kernel(job: Job, against: str) -> Sides:
    """The kernel and that of a git ref or a file, both by the installed Triton.

    Raises:
        GateError: Either could not be compiled, or ``no-other-side``.
    """
    side = reference.named(job.settings, against, output_folder(job.settings))
    built = job.build("the kernel", FACTS_FILE)
    other = job.build(side.said, _OTHER_FILE, Source(kernel=side.path))
    return Sides(
        after=built.cases,
        versions=built.versions,
        before=_as_baseline(job.settings, other, name=side.said, versions=built.versions),
        said=f"{side.said} → the kernel, by Triton {built.versions['triton']}",
    )


def against_triton(job: Job, version: str) -> Sides:
    """The same kernel by two versions of Triton, the older before the newer whichever of them is installed.

    Raises:
        GateError: Either could not compile, or that version is not to be had.
    """
    folder = toolchains.at_hand(job.settings, version)
    kernel = job.settings.root / job.settings.kernel
    given = job.build(f"the kernel by Triton {version}", _OTHER_FILE, Source(kernel=kernel, triton=folder))
    installed_version = triton_version()
    installed = job.build(f"the kernel by Triton {installed_version}, the installed one,", FACTS_FILE)
    ranked = sorted(((version, given), (installed_version, installed)), key=lambda side: toolchains.order(side[0]))
    (old_name, old), (new_name, new) = ranked
    return Sides(
        after=new.cases,
        versions=new.versions,
        before=_as_baseline(job.settings, old, name=f"Triton {old_name}", versions=new.versions),
        said=f"Triton {old_name} → {new_name} (installed: {installed_version}), the same kernel",
        note=f"ptxas {old.versions['ptxas']} → {new.versions['ptxas']}",
    )


def judged(sides: Sides, project: Settings, *, selected: Collection[str] | None) -> tuple[Verdict, ...]:
    """One verdict a case; where the side before did not compile, there is nothing to compare with.

    Args:
        sides: What is held against what.
        project: The project's settings.
        selected: The cases that the user chose; None for all.
    """
    found = rules.judge(project, sides.after, sides.before, versions=sides.versions, selected=selected)
    if sides.stored or sides.before is None:
        return found
    return tuple(_without_other(verdict, sides.before) for verdict in found)


def _without_other(verdict: Verdict, before: CompiledBaseline) -> Verdict:
    other = before.cases.get(verdict.case)
    if verdict.wrong or other is None or (other.kernels and not other.error):
        return verdict
    why = f"it does not compile ({other.error.rstrip('.')})" if other.error else "it launched no Triton kernel"
    text = f"{verdict.case}: nothing to compare with on the side of {before.source}: {why}; name another side."
    return Verdict(case=verdict.case, status=Status.INVALID, reason="no-other-side", text=text)


def _as_baseline(settings: Settings, built: Built, *, name: str, versions: Mapping[str, str]) -> CompiledBaseline:
    """A side just compiled, as what is judged against; with the versions of now, for a caller names those himself."""
    return CompiledBaseline(
        target=settings.target,
        versions=versions,
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=name,
        reason="compiled to be compared with",
        cases=built.cases,
        source=name,
    )
