"""Every case's points: what each update of the baselines, and each saved run, said of it. Pure; knows no git.

Ready to be drawn or serialised: `History.to_json` gives plain JSON types. Seconds and ratios, nothing formatted. Drift is
counted by `comparisons.since_first`, the rule that the gate judges by, against the first baseline as of the same update: so a
past that was right then is right now.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from perfgate.compare import comparability, comparisons
from perfgate.compare.comparisons import Frame
from perfgate.compare.estimators import typical_seconds
from perfgate.compare.interleaved import pairs
from perfgate.records import SCHEMA, Status
from perfgate.store.compiled import KernelFacts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from perfgate.config import Limits
    from perfgate.records import Recording
    from perfgate.store.compiled import CompiledBaseline

BASELINE, RUN = "baseline", "run"
_COUNTED = (
    *("name", "registers", "spill_instructions", "stack_bytes", "shared_bytes"),
    *("blocks_per_sm", "occupancy_percent", "limited_by"),
)
"""Of a kernel's facts, those that are shown as they are."""


@dataclass(frozen=True, kw_only=True)
class Update:
    """One commit that changed baselines, or one saved run."""

    kind: str
    """``baseline`` or ``run``."""
    commit: str
    """Of the baselines' change, its full hash; of a run, the commit that was measured (``-dirty`` where it was changed)."""
    date: str
    """ISO 8601: when it was committed; of a run, when it was recorded, empty where that is not in it."""
    subject: str
    """First line of the commit's message; of a run, its file."""
    files: tuple[str, ...]
    """The baseline files that it changed, below the baselines folder; of a run, its own."""
    reasons: tuple[str, ...]
    """As the files carry them, each once."""


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far a case has moved since the card's first baseline of it, by the gate's own rule."""

    ratio: float
    """1.01 is 1 % slower than the first baseline."""
    low: float
    high: float
    limit: float
    exceeded: bool
    """Slower by more than the limit allows: small steps that add up."""


@dataclass(frozen=True, kw_only=True)
class TimePoint:
    """One case's time as of one update."""

    update: int
    """Index into `History.updates`."""
    measured_commit: str
    """The commit whose kernel was measured."""
    recorded_at: str
    reason: str
    time_s: float
    """The median of the launches' medians."""
    low_s: float
    """The lowest of the launches' medians."""
    high_s: float
    """The highest of them."""
    launches: int
    control_s: float | None
    """The vendor library's time in the same launches."""
    break_before: str
    """Why it cannot be compared with the point before it (other settings, other work); empty where it can, or is the first."""
    drift: Drift | None
    drift_left_out: str
    """Why drift is not known; empty where it is."""
    config: Mapping[str, Any]
    environment: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class CompiledPoint:
    """What a case compiled to as of one update."""

    update: int
    """Index into `History.updates`."""
    file: str
    """Below the baselines folder."""
    target: str
    triton: str
    recorded_at: str
    reason: str
    kernels: tuple[KernelFacts, ...]

    def shown(self) -> list[dict[str, Any]]:
        """What is shown of its kernels."""
        return [*map(_kernel, self.kernels)]


@dataclass(frozen=True, kw_only=True)
class CaseHistory:
    """One case, oldest point first."""

    case: str
    times: tuple[TimePoint, ...]
    compiled: tuple[CompiledPoint, ...]


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A file of one commit, or a saved run, that could not be used."""

    where: str
    """The commit's short hash and date, or the run's file."""
    file: str
    reason: str
    """Stable code."""
    text: str
    """One sentence."""


@dataclass(frozen=True, kw_only=True)
class History:
    """All that the baselines' past says of a card and a compile target."""

    card: str
    """Slug of the card; empty where no card has a baseline."""
    target: str
    updates: tuple[Update, ...]
    """Oldest first, as git orders them; runs after all commits."""
    cases: tuple[CaseHistory, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    """What the reader has to know of the whole: that the clone is shallow, that the machine code is another card's."""

    def to_json(self) -> dict[str, Any]:
        """The whole history as JSON types."""
        return {"schema": SCHEMA, **_plain(asdict(self))}


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Tuples as lists, and a number that JSON has not (a past file may hold one) as null."""
    if isinstance(value, KernelFacts):
        value = _kernel(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kernel(facts: KernelFacts) -> dict[str, Any]:
    """What is shown of one compiled kernel."""
    counted = {name: getattr(facts, name) for name in _COUNTED}
    code = {"code_hash": facts.code_hash, "config": dict(facts.config)}
    return {**counted, "instructions": sum(facts.instructions.values()), **code}


@dataclass(frozen=True, kw_only=True)
class Past:
    """One update with what its files held."""

    update: Update
    recording: Recording | None = None
    """The card's baseline as of it, or the run itself; None where it changed none, or none that could be read."""
    anchor: Recording | None = None
    """The card's first baseline as of it."""
    compiled: Mapping[str, CompiledBaseline]
    """By file, those that it changed."""

    def cases(self) -> list[str]:
        """Every case that its files hold."""
        held = [self.recording.samples] if self.recording else []
        return [case for cases in (*held, *(file.cases for file in self.compiled.values())) for case in cases]


def case_histories(pasts: Sequence[Past], limits: Limits, *, selected: Collection[str] = ()) -> tuple[CaseHistory, ...]:
    """Every case's points, oldest first.

    Args:
        pasts: Oldest first.
        limits: The gate's, for drift.
        selected: Only these cases; empty means all.
    """
    known = dict.fromkeys(case for past in reversed(pasts) for case in past.cases())
    wanted = [case for case in known if not selected or case in selected]
    times = {case: list[TimePoint]() for case in wanted}
    compiled = {case: list[CompiledPoint]() for case in wanted}
    before: dict[str, Recording] = {}
    for number, past in enumerate(pasts):
        if now := past.recording:
            then = _anchored_to(now, pasts[:number]) if past.update.kind == RUN else None
            frame = Frame(limits=limits, cases=len(now.samples), pairs=pairs(now, now.samples, limits))
            for case in times.keys() & now.samples.keys():
                drift, left_out = _drift(case, now, then, past.anchor, frame)
                point = _point(number, case, now, before=before.get(case), drift=drift, left_out=left_out)
                times[case].append(point)
                before[case] = now
        for name, file in past.compiled.items():
            for case in compiled.keys() & file.cases.keys():
                compiled[case].append(
                    CompiledPoint(
                        update=number,
                        file=name,
                        target=file.target,
                        triton=file.versions.get("triton", ""),
                        recorded_at=file.recorded_at,
                        reason=file.reason,
                        kernels=tuple(file.cases[case].kernels),
                    )
                )
    return tuple(CaseHistory(case=one, times=tuple(times[one]), compiled=tuple(compiled[one])) for one in wanted)


def _point(  # noqa: PLR0913 - a recording's place in its past, by name
    number: int, case: str, now: Recording, *, before: Recording | None, drift: Drift | None, left_out: str
) -> TimePoint:
    """A case's point, which follows that of the recording before."""
    samples = now.samples[case]
    medians = [statistics.median(launch.arms["kernel"]) for launch in samples.launches]
    controls = [launch.arms["control"] for launch in samples.launches if "control" in launch.arms]
    return TimePoint(
        update=number,
        measured_commit=now.commit,
        recorded_at=now.recorded_at,
        reason=now.reason,
        time_s=statistics.median(medians),
        low_s=min(medians),
        high_s=max(medians),
        launches=len(medians),
        control_s=typical_seconds(controls) if len(controls) == len(medians) else None,
        break_before=_break(before, now, case) if before else "",
        drift=drift,
        drift_left_out=left_out,
        config=dict(samples.config),
        environment=dict(now.environment),
    )


def _drift(
    case: str, now: Recording, then: Recording | None, anchor: Recording | None, frame: Frame
) -> tuple[Drift | None, str]:
    """Drift since the first baseline, or why it is not known; of a run, ``then`` is the baseline measured beside it."""
    samples, first = now.samples[case], anchor.samples.get(case) if anchor else None
    if anchor is None or first is None:
        return None, "there was no first baseline of it"
    if refused := comparability.refusal(anchor, now):
        return None, f"the first baseline cannot be compared ({refused[0]})"
    if change := comparability.contract_change(first.contract, samples.contract):
        return None, f"it stands for other work than in the first baseline ({change})"
    try:
        decision = comparisons.since_first(samples, then.samples.get(case) if then else None, first, frame)
    except (TypeError, ValueError) as error:  # such as a clock that is no number: the format does not check it
        return None, f"it cannot be worked out ({error})"
    if decision is None:
        return None, "a lower clock explains that it is slower"
    found, exceeded = decision.estimate, decision.status is Status.SLOWER
    return Drift(ratio=found.ratio, low=found.low, high=found.high, limit=decision.limit, exceeded=exceeded), ""


def _break(before: Recording, now: Recording, case: str) -> str:
    """Why two points that follow each other cannot be compared; empty where they can."""
    if refused := comparability.refusal(before, now):
        return refused[0]
    changed = comparability.contract_change(before.samples[case].contract, now.samples[case].contract)
    return "contract-changed" if changed else ""


def _anchored_to(run: Recording, pasts: Sequence[Past]) -> Recording | None:
    """The latest baseline whose code was measured beside the run's; None where there was none."""
    names = {samples.other["name"] for samples in run.samples.values() if samples.other and samples.is_anchored}
    baselines = (past.recording for past in reversed(pasts) if past.update.kind != RUN and past.recording)
    return next((one for one in baselines if one.commit in names), None)
