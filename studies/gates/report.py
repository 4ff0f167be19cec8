"""What the side by side of gates found, as Markdown, JSON and a plot. Decides nothing; the same rows give the same bytes.

matplotlib is imported where the plot is drawn, as only the dependency group ``plots`` has it.
"""

from __future__ import annotations

import json
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from perfgate.calibration.resampling import Rate
from perfgate.records import SCHEMA, GateError, Status
from perfgate.text import pipes
from studies.gates.rules import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from perfgate.calibration.resampling import RecordedLaunch

SAME, OTHER = "same occasion", "other occasion"
OURS = "this gate"
_INJECTED = {"none": 0, "+1 %": 1, "+2 %": 2, "+3 %": 3, "+5 %": 5}
_REAL = ("B1", "B3")
_SETTING = {
    SAME: "Base and head on one card in one sitting; other gates in different launches, this one side by side.",
    OTHER: "Head against a number stored on another card or day.",
}
_OURS_GIVEN = {
    SAME: "both sides in the same launches, 4 of them, 8 where undecided",
    OTHER: "5 launches a side, one stored",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """How often one rule reported a slowdown, for one case and one change."""

    setting: str
    rule: str
    case: str
    change: str
    """``none``, a factor such as ``+1 %``, or the arm that did more real work."""
    rate: Rate
    statuses: Mapping[str, int] | None = None
    """This gate's own statuses; None for other gates."""


_LOOKS: dict[str, dict[str, Any]] = {
    OURS: {"color": "#0b6e4f"},
    "pytest-benchmark mean:5%": {"color": "#2f6db3"},
    "pytest-benchmark median:1%": {"color": "#2f6db3", "ls": "--"},
    "SGLang ±5 %": {"color": "#7a4a9c"},
    "vllm-xpu-kernels 10 %": {"color": "#5a5a5a"},
    "Intel XPU Triton z < −3": {"color": "#b0507f"},
    "asv continuous": {"color": "#b2452f"},
    "benchstat, one process": {"color": "#8a6d1f"},
    "benchstat, ten processes": {"color": "#8a6d1f", "ls": "--"},
    "nvbench-compare-robust": {"color": "#c46a10"},
    "gpucheck": {"color": "#b2452f", "ls": "--"},
}
"""How each rule's curve looks, in both panels; one hue a project."""


def pooled(rows: Sequence[Row], *, setting: str, rule: str, change: str) -> Rate | None:
    """All cases together, each with the same weight; None where the rule was given none."""
    rates = [row.rate for row in rows if (row.setting, row.rule, row.change) == (setting, rule, change)]
    if not rates:
        return None
    return Rate(
        flagged=sum(rate.flagged for rate in rates),
        runs=sum(rate.runs for rate in rates),
        independent=sum(rate.independent for rate in rates),
    )


def as_json(rows: Sequence[Row]) -> str:
    """Every row with its interval, and what each rule is and was given."""
    described = [{"name": rule.name, "source": rule.source, "given": rule.given} for rule in RULES]
    rules = [{"name": OURS, "source": "perfgate/compare/judge.py", "given": _OURS_GIVEN}, *described]
    head = json.dumps({"schema": SCHEMA, "rules": rules}, indent=1)
    # A row a line: a thousand of them are to be searched and compared by line.
    lines = ",\n  ".join(json.dumps(_row_json(row), allow_nan=False) for row in rows)
    return f'{head[:-2]},\n "rows": [\n  {lines}\n ]\n}}\n'


def _row_json(row: Row) -> dict[str, Any]:
    low, high = row.rate.interval()
    made = {"setting": row.setting, "rule": row.rule, "case": row.case, "change": row.change}
    rates = {"share": round(row.rate.share, 6), "low": round(low, 6), "high": round(high, 6)}
    counts = {"flagged": row.rate.flagged, "runs": row.rate.runs, "independent_runs": row.rate.independent}
    return made | counts | rates | ({} if row.statuses is None else {"statuses": dict(row.statuses)})


def markdown(rows: Sequence[Row], launches: Sequence[RecordedLaunch]) -> str:
    """Tables for a README: all rules in both settings, this gate case by case, and what each rule is."""
    cases = list(dict.fromkeys(row.case for row in rows))
    occasions = len({launch.occasion for launch in launches})
    about = (
        f"{len(launches)} recorded launches of {len(cases)} cases on {occasions} occasions; "
        f"{max(row.rate.runs for row in rows)} runs drawn of each rule, case and change. A share is that of runs that "
        "report a slowdown, averaged over the cases. *No change* is the same code recorded twice (arms A and A2, each as "
        "base in turn), so that every report is false; *at most* is the upper end of a 95 % interval for it that counts "
        "only runs which share no launch. +1 % to +5 % multiply one side; B1 and B3 did more real work (about 1 % and "
        "3 %, see the tables by case). A dash: too few launches, or no such arm."
    )
    lines = ["# Gates side by side", "", about]
    for setting, meaning in _SETTING.items():
        lines += ["", f"## {setting.capitalize()}", "", meaning, "", *_rules_table(rows, setting)]
    for setting in (SAME, OTHER):
        said = "False alarms are SLOWER and FASTER without a change; the other columns are SLOWER."
        lines += ["", f"## This gate, {setting}", "", said, "", *_cases_table(rows, launches, setting)]
    lines += ["", "## What each rule is given", ""]
    lines += [f"- **{OURS}** ({setting}): {given}." for setting, given in _OURS_GIVEN.items()]
    lines += [f"- **{rule.name}**: {rule.given}. {rule.source.replace('``', '`')}" for rule in RULES]
    return "\n".join(lines) + "\n"


def _rules_table(rows: Sequence[Row], setting: str) -> list[str]:
    changes = (*list(_INJECTED)[1:], *_REAL)
    table = []
    for name in (OURS, *(rule.name for rule in RULES)):
        null = pooled(rows, setting=setting, rule=name, change="none")
        alone = [r.rate.share for r in rows if (r.setting, r.rule, r.change) == (setting, name, "none")]
        found = [pooled(rows, setting=setting, rule=name, change=change) for change in changes]
        shown = f"**{name}**" if name == OURS else name
        bound = percent(null.interval()[1]) if null else "–"
        table.append([shown, _share(null), bound, percent(max(alone)) if alone else "–", *map(_share, found)])
    return _table(["rule", "no change", "at most", "worst case", *changes], table)


def _cases_table(rows: Sequence[Row], launches: Sequence[RecordedLaunch], setting: str) -> list[str]:
    """False alarms here are both ways: SLOWER and FASTER."""
    table = []
    for case in dict.fromkeys(row.case for row in rows):
        own = {r.change: r for r in rows if (r.setting, r.rule, r.case) == (setting, OURS, case)}
        if "none" not in own:
            continue
        null = own["none"]
        statuses = null.statuses or {}
        alarms = statuses.get(Status.SLOWER, 0) + statuses.get(Status.FASTER, 0)
        cells = [percent(alarms / null.rate.runs), percent(statuses.get(Status.UNSURE, 0) / null.rate.runs)]
        cells += [_share(own[change].rate) for change in list(_INJECTED)[1:]]
        for arm in _REAL:
            cells.append(f"{_share(own[arm].rate)} ({_size(launches, case, arm)})" if arm in own else "–")
        table.append([case, *cells])
    sizes = [f"{arm} (its size)" for arm in _REAL]
    return _table(["case", "false alarms", "UNSURE", *list(_INJECTED)[1:], *sizes], table)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return pipes(head, rows, align="l" + "r" * (len(head) - 1))


def _size(launches: Sequence[RecordedLaunch], case: str, arm: str) -> str:
    """How much more an arm takes than A, by its median within each launch."""
    held = [samples for one in launches if {arm, "A"} <= set(samples := one.samples.get(case, {}))]
    shifts = [math.log(statistics.median(arms[arm]) / statistics.median(arms["A"])) for arms in held]
    return f"{math.expm1(statistics.fmean(shifts)) * 100:+.1f} %"


def _share(rate: Rate | None) -> str:
    return "–" if rate is None else percent(rate.share)


def percent(share: float) -> str:
    """One decimal, but never 0 or 100 where it is not."""
    if share in {0, 1}:
        return f"{share * 100:.0f} %"
    return f"{min(max(share * 100, 0.1), 99.9):.1f} %"


def draw(rows: Sequence[Row], path: Path) -> None:
    """The share of runs flagged over the injected slowdown, a panel a setting, this gate highlighted.

    Raises:
        GateError: ``no-matplotlib``.
    """
    try:
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    except ImportError:
        raise GateError(
            "no-matplotlib",
            "matplotlib is not installed, expected that of the dependency group plots; "
            "install it with python -m pip install --group plots.",
        ) from None
    with mpl.rc_context({"svg.hashsalt": "perfgate", "font.family": "DejaVu Sans", "font.size": 9}):
        figure = Figure(figsize=(9.2, 4.6), facecolor="white", layout="constrained")
        FigureCanvasSVG(figure)
        for axes, setting in zip(figure.subplots(1, 2, sharey=True), (SAME, OTHER), strict=True):
            _panel(axes, rows, setting)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _panel(axes: Any, rows: Sequence[Row], setting: str) -> None:  # noqa: ANN401 - matplotlib may be absent
    curves: dict[tuple[float, ...], list[str]] = {}
    for name in _LOOKS:
        rates = [pooled(rows, setting=setting, rule=name, change=change) for change in _INJECTED]
        if all(rates):  # curves that cannot be told apart share a label
            curves.setdefault(tuple(round(rate.share * 100) for rate in rates if rate), []).append(name)
    ordered = sorted(curves.items(), key=lambda item: (item[0][-1], OURS in item[1], sum(item[0])))
    for (curve, names), place in zip(ordered, _spread([curve[-1] for curve, _ in ordered]), strict=True):
        ours, look = OURS in names, _LOOKS[names[0]]
        width = 3.2 if ours else 1.4
        axes.plot(
            *(list(_INJECTED.values()), curve),
            marker="o",
            ms=width + 2,
            lw=width,
            zorder=3 if ours else 2,
            clip_on=False,
            **look,
        )
        arrow = {"arrowstyle": "-", "color": look["color"], "lw": 0.5, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
        weight, size = ("bold", 9.5) if ours else ("normal", 8)
        label = {"color": look["color"], "weight": weight, "size": size, "va": "center", "arrowprops": arrow}
        axes.annotate("\n".join(names), (5, curve[-1]), (5.55, place), **label)
    axes.set(
        title=setting.capitalize(),
        xlabel="injected slowdown, % (0: the same code twice)",
        xticks=list(_INJECTED.values()),
        ylim=(0, 100),
    )
    if setting == SAME:
        axes.set_ylabel("runs that report a slowdown, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e5e5e5", lw=0.6)


def _spread(values: Sequence[float], *, least: float = 6.5, top: float = 100) -> list[float]:
    """Places for labels, in the order of their ascending values: near those, so far apart, none above the top."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + least) if places else value)
    for i in reversed(range(len(places))):
        places[i] = min(places[i], top if i + 1 == len(places) else places[i + 1] - least)
    return places
