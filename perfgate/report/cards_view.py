"""A card of the page: its peaks, its cases as points, its environment beside the baseline's. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.hardware.gpus import card
from perfgate.report import markdown
from perfgate.report.inputs import TIMED
from perfgate.report.view import CardView, Point

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perfgate.records import Samples, Verdict
    from perfgate.report.inputs import Inputs, Measured

_FIRST = ("gpu", "uuid", "driver", "cuda", "torch", "triton")


def card_views(inputs: Inputs, anchors: Mapping[str, str]) -> tuple[CardView, ...]:
    """Every card that left samples; the run's machine alone where none did."""
    if not inputs.measured:
        rows = _environment(inputs.environment, {}, {})
        return (_without_samples(inputs.environment.get("gpu", ""), rows),)
    timed = {verdict.case: verdict for stage in inputs.stages if stage.name == TIMED for verdict in stage.verdicts}
    return tuple(_card(one, inputs, anchors, timed) for one in inputs.measured)


def _without_samples(gpu: str, rows: tuple[tuple[str, str, str], ...]) -> CardView:
    return CardView(label="", gpu=gpu, dram_bytes_per_s=None, peaks={}, points=(), environment=rows, has_baseline=False)


def _card(one: Measured, inputs: Inputs, anchors: Mapping[str, str], timed: Mapping[str, Verdict]) -> CardView:
    gpu = one.current.environment.get("gpu", "")
    known = card(gpu)
    points = [
        _point(samples, one, anchors[one.shown(case)], timed[one.shown(case)])
        for case, samples in one.current.samples.items()
        if one.shown(case) in timed and not timed[one.shown(case)].wrong
    ]
    units = {point.unit for point in points}
    then = one.baseline
    here = {**one.current.environment, **{key: value for key, value in inputs.environment.items() if value}}
    about = {"commit": one.current.commit, "recorded at": one.current.recorded_at, "reason": one.current.reason}
    about_then = {"commit": then.commit, "recorded at": then.recorded_at, "reason": then.reason} if then else {}
    settings = {f"setting {key}": f"{value}" for key, value in one.current.settings.items()}
    settings_then = {f"setting {key}": f"{value}" for key, value in then.settings.items()} if then else {}
    return CardView(
        label=one.label,
        gpu=gpu,
        dram_bytes_per_s=known.dram_bytes_per_s if known else None,
        peaks={unit: peak for unit, peak in known.flops_per_s.items() if unit in units} if known else {},
        points=tuple(points),
        environment=_environment(
            {**about, **here, **settings},
            {**about_then, **(then.environment if then else {}), **settings_then},
            about,
        ),
        has_baseline=then is not None,
    )


def _point(samples: Samples, one: Measured, anchor: str, verdict: Verdict) -> Point:
    name = one.shown(samples.case)
    numbers = one.metrics[name]
    flops, moved_bytes = samples.contract.get("flops"), samples.contract.get("min_bytes")
    ((_, _, time, _, *rates),) = markdown.table_rows([verdict], {name: numbers})
    said = "; ".join(f"{head} {text}" for head, text in zip(markdown.HEAD[4:], rates, strict=True) if text != "-")
    return Point(
        name=name,
        anchor=anchor,
        unit=str(samples.contract.get("unit", "")),
        intensity=flops / moved_bytes if flops and moved_bytes else None,
        flops_per_s=flops / numbers.seconds if flops else None,
        vs_control=numbers.vs_control,
        said=f"{name}: {time}; {said}" if said else f"{name}: {time}",
    )


def _environment(
    here: Mapping[str, str], then: Mapping[str, str], about: Mapping[str, str]
) -> tuple[tuple[str, str, str], ...]:
    """Rows of name, now and then; what tells most comes first."""
    keys = list(dict.fromkeys([*about, *(key for key in _FIRST if key in here), *here, *then]))
    rows = [(key, here.get(key, ""), then.get(key, "")) for key in keys]
    return tuple(row for row in rows if row[1] or row[2])
