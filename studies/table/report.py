"""A table's recording put before a reader: rows, geometric means and notes as Markdown. Pure; measures nothing."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perf_tests import cases
from perfgate.compare import comparability
from perfgate.compare.roofline import metrics
from perfgate.hardware.gpus import card
from perfgate.records import Launch, Samples
from perfgate.text import duration, escaped, pipes
from studies.table.cases import BY_ID, COMPILE, KERNEL, LIMIT, START, TORCH, limit_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.hardware.gpus import Card
    from studies.table.cases import Recording

HOME = "RTX 4090"
BESIDE = (START, TORCH, COMPILE, LIMIT)
_HEAD = ("case", "time", "rate", "share of its bound", "vs start", "vs torch", "vs compile", "share of limit")
_NONE = "–"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case on one code path; None and absent where there is no number."""

    case: str
    seconds: float | None = None
    """Median of the launches' medians."""
    rate: str = _NONE
    """TFLOPS where arithmetic bounds the case on this card, GB/s where memory does."""
    bound_share: float | None = None
    """Time that the card's published peaks allow over time taken."""
    vs: Mapping[str, float] = field(default_factory=dict)
    """By arm, its time over the kernel's in the same launch, median of the launches: above 1 the kernel is faster."""


def rows(recording: Recording) -> list[Row]:
    """One row a case, in the recording's order; an arm that failed in any launch has no number."""
    published = card(recording.about.environment.get("gpu", ""))
    return [_row(recording, case, contract, published) for case, contract in recording.cases.items()]


def _row(recording: Recording, case: str, contract: Mapping[str, Any], published: Card | None) -> Row:
    seconds = [launch.cases[case].seconds for launch in recording.launches if case in launch.cases]
    failed = {failure.arm for failure in recording.failed if failure.case == case}
    if KERNEL in failed or not seconds or len(seconds) < len(recording.launches):
        return Row(case=case)
    typical_s = statistics.median(arms[KERNEL] for arms in seconds)
    means = metrics(contract, typical_s, card=published)
    return Row(
        case=case,
        seconds=typical_s,
        rate=f"{means.gb_per_s:.0f} GB/s" if _moves(contract, published) else f"{means.tflops:.1f} TFLOPS",
        bound_share=means.roofline_share,
        vs={
            arm: statistics.median(arms[arm] / arms[KERNEL] for arms in seconds)
            for arm in BESIDE
            if arm not in failed and all(arm in arms for arms in seconds)
        },
    )


def _moves(contract: Mapping[str, Any], published: Card | None) -> bool:
    """Whether memory bounds the case on this card; for a card that is not listed, as on the home card."""
    limits = published or card(f"NVIDIA GeForce {HOME}")
    peak = limits.flops_per_s.get(str(contract["unit"])) if limits else None
    if limits is None or peak is None:
        return False
    return bool(contract["min_bytes"] / limits.dram_bytes_per_s > contract["flops"] / peak)


def markdown(recording: Recording) -> str:
    """The table of one code path, with what a reader has to know to judge and to repeat it."""
    found = rows(recording)
    cells = ([escaped(cell) for cell in row] for row in (*map(_cells, found), _means(found)))
    lines = [_header(recording), "", *pipes(_HEAD, cells, align="l" + "r" * (len(_HEAD) - 1)), ""]
    return "\n".join([*lines, *(f"- {escaped(note)}" for note in _notes(recording))])


def _header(recording: Recording) -> str:
    about, environment = recording.about, recording.about.environment
    gpu = environment.get("gpu", "unknown card")
    path = "native code path" if recording.path == "native" else f"code path of {recording.path}"
    away = "" if HOME in gpu else f" (**not an {HOME}**)"
    rounds = [entry.rounds for launch in recording.launches for entry in launch.cases.values()]
    counted = "no rounds"
    if rounds:
        spread = f"{min(rounds)} to {max(rounds)}" if min(rounds) < max(rounds) else f"{min(rounds)}"
        counted = f"{spread} rounds each"
    versions = ", ".join(f"{name} {environment.get(name.lower(), '?')}" for name in ("driver", "torch", "Triton"))
    head, dirty, _ = about.commit.partition("-dirty")
    return (
        f"{escaped(gpu)}, {escaped(path)}{away}, {escaped(versions)}, {escaped(about.recorded_at)} (UTC), commit "
        f"{escaped(f'{head[:12]}{dirty}' or 'unknown')}: medians of {len(recording.launches)} launches, {counted}, all arms "
        f"in random order in every round. Repeat it with `{about.command.replace('`', '')}`."
    )


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.case,
        _NONE if row.seconds is None else duration(row.seconds),
        row.rate,
        _percent(row.bound_share),
        *(_times(row.vs.get(arm)) for arm in (START, TORCH, COMPILE)),
        _percent(row.vs.get(LIMIT)),
    )


def _means(found: Sequence[Row]) -> tuple[str, ...]:
    """Geometric means, each with the number of cases it is of where these are not all."""
    shares = [row.bound_share for row in found if row.bound_share is not None]

    def of(values: Sequence[float], *, percent: bool = False) -> str:
        if not values:
            return _NONE
        mean = statistics.geometric_mean(values)
        few = f" ({len(values)} cases)" if len(values) < len(found) else ""
        return f"{_percent(mean) if percent else _times(mean)}{few}"

    beside = {arm: [row.vs[arm] for row in found if arm in row.vs] for arm in BESIDE}
    return (
        f"geometric mean of {len(found)}",
        "",
        "",
        of(shares, percent=True),
        *(of(beside[arm]) for arm in (START, TORCH, COMPILE)),
        of(beside[LIMIT], percent=True),
    )


def _notes(recording: Recording) -> list[str]:
    """What the numbers mean and which are missing."""
    gpu, shown = recording.about.environment.get("gpu", ""), recording.cases
    peaks = "" if card(gpu) else f"; none here, as the peaks of {gpu or 'this card'} are not listed"
    notes = [_BESIDE_NOTE, f"{_BOUND_NOTE}{peaks}."]
    if any(contract["unit"] == "tf32" for contract in shown.values()):
        notes.append(_TF32_NOTE)
    if any(limit_of(BY_ID[case]) for case in shown if case in BY_ID):
        notes.append(_LIMIT_NOTE)
    if cases.TRIANGLES.keys() & shown:
        notes.append(_TRIANGLES_NOTE)
    if recording.path != "native":
        notes.append(_LOWERED_NOTE.format(path=recording.path))
    notes.append(_errors(recording))
    reasons: dict[tuple[str, str], list[str]] = {}
    for failure in recording.failed:
        reasons.setdefault((failure.arm, failure.why), []).append(failure.case)
    notes += [f"{', '.join(found)}: no number for {arm}: {why}" for (arm, why), found in reasons.items()]
    made, wanted = len(recording.launches), recording.about.launches
    partly = [f"{made} of {wanted} launches were made before the run was cut short."] if made < wanted else []
    return [*notes, *_disturbances(recording), *partly]


_BESIDE_NOTE = (
    "vs: the other's time over the kernel's, so above 1 the kernel is faster. start: the starting kernel's tile; torch: "
    "torch.matmul at the same precision; compile: torch.compile max-autotune without CUDA graphs."
)
_BOUND_NOTE = (
    "share of its bound: the longer of arithmetic and least traffic at the card's published peaks, over the time taken"
)
_TF32_NOTE = "FP32's bound is that of TF32; operands rounded to scaled FP16 run at twice its rate and may pass 100 %."
_LIMIT_NOTE = (
    "share of limit: for cases that are bound by storing, a memset of the result; for those bound by reading, a sum of "
    "each operand by torch, a good reader but no proof of a limit. Time of that over the kernel's."
)
_TRIANGLES_NOTE = (
    "Of triangular operands only what may not be zero counts in rates and bounds; torch multiplies the zeros too."
)
_LOWERED_NOTE = (
    "TRITON_OVERRIDE_ARCH={path}: the kernel, start and the Triton kernels that torch.compile makes are lowered "
    "for that architecture and assembled for the card present; torch's own kernels and the memset are the card's."
)


def _errors(recording: Recording) -> str:
    """Each arm's typical and largest error, in units of that of rounding to nearest."""
    by_arm: dict[str, dict[str, float]] = {}
    for launch in recording.launches:
        for case in (case for case in recording.cases if case in launch.cases):
            for arm, error in launch.cases[case].errors.items():
                by_arm.setdefault(arm, {})[case] = max(error, by_arm.get(arm, {}).get(case, 0.0))
    said = []
    for arm, found in by_arm.items():
        worst = max(found, key=lambda case: found[case])
        said.append(f"{arm} {statistics.median(found.values()):.2f} (largest {found[worst]:.2f}, {worst})")
    return (
        "RMS error against float64, over that of operands rounded to nearest and multiplied by torch, median of the cases: "
        + "; ".join(said or ["not recorded"])
        + "."
    )


def _disturbances(recording: Recording) -> list[str]:
    found = []
    for case in recording.cases:
        launches = tuple(
            Launch(arms={arm: (taken,) * entry.rounds for arm, taken in entry.seconds.items()}, state=entry.state)
            for launch in recording.launches
            if (entry := launch.cases.get(case))
        )
        if disturbed := comparability.disturbance(Samples(case=case, launches=launches)):
            found.append(f"{case}: {disturbed[1]}")
    return found


def _times(ratio: float | None) -> str:
    return _NONE if ratio is None else f"{ratio:.2f}×"


def _percent(share: float | None) -> str:
    return _NONE if share is None else f"{share * 100:.0f} %"
