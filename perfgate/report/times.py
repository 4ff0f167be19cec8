"""A case's samples as the page shows them: sides, the axis that holds them, launch by launch, and in words. Pure."""

from __future__ import annotations

import math
import statistics
from itertools import chain
from typing import TYPE_CHECKING

from perfgate.compare.estimators import quantile, shift_within_launch
from perfgate.report.view import Interval, Side, Speed
from perfgate.text import duration, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.records import Launch, Samples, Verdict

_SHOWN = 0.98
"""Share of the samples that the axis is made for; stray ones beyond half as much again stand at its edge."""
_MARGIN = 0.06
_STATE = (("sm_clock_mhz", "SM clock", " MHz"), ("temperature_c", "temperature", " °C"))


def speed(now: Samples, then: Samples | None, verdict: Verdict | None) -> Speed | None:
    """What is shown of a case's times; nothing of a wrong kernel's.

    Args:
        now: What was measured.
        then: The baseline's samples of the case, where they are at hand.
        verdict: On its speed.
    """
    if verdict is None or verdict.wrong:
        return None
    shifts = _shifts(now)
    sides = [Side(role="kernel", name="this kernel", launches=_arm(now, "kernel"))]
    if now.other is not None:
        sides.append(Side(role="other", name=f"other side: {_other(now)}", launches=_arm(now, "other")))
    recorded = Side(role="recorded", name="the baseline as recorded", launches=_arm(then, "kernel")) if then else None
    shown = [*sides, *([recorded] if recorded else [])]
    low, high = _axis(sorted(chain.from_iterable(one for side in shown for one in side.launches)))
    above = sum(seconds > high for side in shown for one in side.launches for seconds in one)
    return Speed(
        sides=tuple(sides),
        recorded=recorded,
        axis_s=(low, high),
        above=above,
        interval=_interval(verdict, shifts),
        launches_head=("launch", *_columns(now, then)),
        launches=(*_rows(now.launches, now, then, shifts), *_recorded_rows(now, then)),
        caption=_caption(sides, recorded, above),
    )


def _arm(samples: Samples, arm: str) -> tuple[tuple[float, ...], ...]:
    return tuple(launch.arms[arm] for launch in samples.launches)


def _other(now: Samples) -> str:
    if now.is_anchored:
        return "the baseline's code, measured beside it"
    return f"{now.other['kind']} {now.other['name']}" if now.other else ""


def _shifts(now: Samples) -> tuple[float, ...]:
    """The ratio of both sides within each launch."""
    if now.other is None:
        return ()
    return tuple(math.exp(shift_within_launch(one.arms["kernel"], one.arms["other"]).shift) for one in now.launches)


def _interval(verdict: Verdict, shifts: Sequence[float]) -> Interval | None:
    """The verdict's own numbers, with the launches' where it rests on these: their mean is then its ratio."""
    if verdict.ratio is None or verdict.low is None or verdict.high is None or verdict.limit is None:
        return None
    mean = math.exp(statistics.fmean(map(math.log, shifts))) if shifts else 0.0
    rests_on_them = math.isclose(mean, verdict.ratio, rel_tol=1e-9)
    return Interval(
        ratio=verdict.ratio,
        low=verdict.low,
        high=verdict.high,
        limit=verdict.limit,
        shifts=tuple(shifts) if rests_on_them else (),
    )


def _axis(ordered: Sequence[float]) -> tuple[float, float]:
    """Lowest and highest time of the chart: all samples, but for stray slow ones that would flatten the rest."""
    low, most = ordered[0], quantile(ordered, _SHOWN)
    high = min(ordered[-1], most + (most - low) / 2)
    room = max(high - low, low * 1e-3) * _MARGIN
    return low - room, high + room


def _columns(now: Samples, then: Samples | None) -> tuple[str, ...]:
    head = ["this kernel"]
    if now.other is not None:
        head += ["other side", "change"]
    if _has_control(now.launches) or (then and _has_control(then.launches)):
        head.append("control")
    return (*head, *(name for key, name, _ in _STATE if _known(now, then, key)))


def _rows(
    launches: Sequence[Launch], now: Samples, then: Samples | None, shifts: Sequence[float], name: str = ""
) -> list[tuple[str, ...]]:
    control = _has_control(now.launches) or bool(then and _has_control(then.launches))
    rows = []
    for number, launch in enumerate(launches):
        cells = [f"{name}{number + 1}", _median(launch, "kernel")]
        if now.other is not None:
            cells += [_median(launch, "other"), percent(shifts[number]) if shifts else "-"]
        if control:
            cells.append(_median(launch, "control"))
        cells += [_state(launch, key, unit) for key, _, unit in _STATE if _known(now, then, key)]
        rows.append(tuple(cells))
    return rows


def _recorded_rows(now: Samples, then: Samples | None) -> list[tuple[str, ...]]:
    return _rows(then.launches, now, then, (), "recorded ") if then else []


def _median(launch: Launch, arm: str) -> str:
    return duration(statistics.median(launch.arms[arm])) if arm in launch.arms else "-"


def _state(launch: Launch, key: str, unit: str) -> str:
    value = launch.state.get(key)
    return f"{value:g}{unit}" if isinstance(value, int | float) and not isinstance(value, bool) else "-"


def _known(now: Samples, then: Samples | None, key: str) -> bool:
    return any(launch.state.get(key) for launch in (*now.launches, *(then.launches if then else ())))


def _has_control(launches: Sequence[Launch]) -> bool:
    return any("control" in launch.arms for launch in launches)


def _caption(sides: Sequence[Side], recorded: Side | None, above: int) -> str:
    """How much is shown, and what is not where it belongs."""
    each = [f"{side.name}: {_count(side)}" for side in (*sides, *([recorded] if recorded else []))]
    stray = f" {above} above the axis {'stands' if above == 1 else 'stand'} at its upper edge." if above else ""
    return f"Every sample in order of rounds, launch by launch; {'; '.join(each)}. Bars are medians.{stray}"


def _count(side: Side) -> str:
    launches = len(side.launches)
    return f"{sum(map(len, side.launches))} in {launches} {'launch' if launches == 1 else 'launches'}"
