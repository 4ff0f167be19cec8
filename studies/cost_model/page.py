"""A study put before a reader: what the model gets right and, beside it, what it gets wrong; as Markdown and as a plot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perf_tests import cases, modelled
from perfgate.hardware import cost_model
from perfgate.hardware.parameters import MODEL_CARDS
from perfgate.store.compiled import facts_from_json
from perfgate.text import duration, pipes
from studies.cost_model.rates import Point, Rates, rates

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_WORST, _RHO, _LOSS = 12, 0.9, 0.05
_FACTS = ("gpu", "uuid", "driver", "cuda", "torch", "triton")


def points(document: Mapping[str, Any], typical: Callable[[Sequence[Sequence[float]]], float]) -> list[Point]:
    """Every pair that was timed, with today's model of it."""
    card = MODEL_CARDS[document["path"]]
    by_id = {case.id: case for case in cases.CASES}
    found = []
    for entry in document["pairs"]:
        if not entry["seconds"]:
            continue
        kernels = [facts_from_json(kernel) for kernel in entry["kernels"]]
        predictions = [
            cost_model.predict(facts, work, card)
            for facts, work in zip(kernels, modelled.works(by_id[entry["case"]], kernels), strict=True)
            if work is not None
        ]
        whole = cost_model.total(predictions)
        found.append(
            Point(
                case=entry["case"],
                id=entry["id"],
                measured_s=typical([[seconds] for seconds in entry["seconds"]]),
                modelled_s=whole.time_s,
                current=entry["current"],
                bound=whole.bound,
                share=whole.share,
            )
        )
    return found


def markdown(document: Mapping[str, Any], typical: Callable[[Sequence[Sequence[float]]], float]) -> str:
    """The page of one code path."""
    card, found = MODEL_CARDS[document["path"]], points(document, typical)
    about, result = document["about"], rates(found)
    environment = about["environment"]
    facts = ", ".join(f"{key} {environment[key]}" for key in _FACTS if environment.get(key))
    left_out = sorted({entry["error"].split(":")[0] for entry in document["pairs"] if entry["error"]})
    count = sum(1 for entry in document["pairs"] if entry["error"])
    lines = [
        f"# The model and the clock: {card.title}",
        "",
        f"{facts}; {about['recorded_at']}; commit {about['commit'][:12]}; `{about['command']}`. **Not a 4090.**",
        "",
        (
            f"{result.count} pairs of a case and a configuration, drawn at random (seed {about['seed']}) before any of them was compiled or "
            f"timed, in {max(len(entry['seconds']) for entry in document['pairs'])} launches, L2 flushed, stream held, the pairs of a case in "
            "random order each round. Times are of whole calls: operands that are brought into another form count."
        ),
        "",
    ]
    if count:
        lines += [f"{count} more were drawn and not timed ({'; '.join(left_out)}).", ""]
    lines += ["## What it gets right", "", *_right(result), "", "## What it gets wrong", "", *_wrong(found, result), ""]
    lines += ["## Each case", "", *_cases(result), "", "## Each pair", "", *_pairs(found), ""]
    return "\n".join(lines)


def _right(result: Rates) -> list[str]:
    steps = [
        (f"{step:.0%}", str(count), str(wrong), f"{wrong / count:.1%}")
        for step, (count, wrong) in result.steps.items()
        if count
    ]
    return [
        f"- Rank correlation (Spearman) over all pairs: {result.spearman:.3f}.",
        f"- The model's pick is within {_LOSS:.0%} of the best measured in {result.close_picks} of {len(result.by_case)} cases.",
        f"- Error of a time: median {result.median_error:.1%}, nine in ten within {result.p90_error:.1%}.",
        "",
        "Of two configurations of a case that the model puts so far apart, how many it puts the wrong way round:",
        "",
        *_table("apart by at least", "comparisons>", "wrong way round>", "share>", rows=steps),
    ]


def _wrong(found: Sequence[Point], result: Rates) -> list[str]:
    low = ", ".join(f"{case.case} ({case.spearman:.2f})" for case in result.by_case if case.spearman < _RHO)
    lines = [
        "- Within one case it ranks less well than over all, where sizes help: "
        + (f"rank correlation below 0.9 in {low}." if low else "but nowhere below 0.9.")
    ]
    lines += [
        f"- {case.case}: its pick {case.pick} is {case.loss:.1%} slower than {case.best}."
        for case in result.by_case
        if case.loss > _LOSS
    ]
    worst = sorted(found, key=lambda point: -abs(point.error))[:_WORST]
    return [*lines, "", "The largest errors:", "", *_pairs(worst)]


def _cases(result: Rates) -> list[str]:
    rows = [
        (
            *(case.case, str(case.count), f"{case.spearman:.2f}", case.pick),
            *(f"{case.loss:.1%}", case.best, f"{case.median_error:+.1%}"),
        )
        for case in result.by_case
    ]
    head = ("case", "pairs>", "Spearman>", "the model's pick", "slower than best by>", "best measured", "median error>")
    return _table(*head, rows=rows)


def _pairs(found: Sequence[Point]) -> list[str]:
    rows = [
        (
            *(point.case, f"**{point.id}**" if point.current else point.id, duration(point.measured_s)),
            *(duration(point.modelled_s), f"{point.error:+.1%}", f"{point.bound} {point.share:.0%}"),
        )
        for point in found
    ]
    return _table("case", "configuration", "measured>", "modelled>", "error>", "bound by", rows=rows)


def _table(*head: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose columns of numbers are marked ``>``, flush right."""
    names, _, *lines = pipes([name.rstrip(">") for name in head], rows)
    return [names, f"| {' | '.join('--:' if name.endswith('>') else '---' for name in head)} |", *lines]


def plot(document: Mapping[str, Any], typical: Callable[[Sequence[Sequence[float]]], float], path: Path) -> bool:
    """Modelled against measured, a colour a case; False where matplotlib is not installed."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        return False
    found = points(document, typical)
    names = list(dict.fromkeys(point.case for point in found))
    with mpl.rc_context({"svg.hashsalt": "perfgate", "svg.fonttype": "path", "font.size": 12}):
        figure = Figure(figsize=(8.4, 7.2), layout="constrained")
        axes = figure.add_subplot()
        colours = mpl.colormaps["tab20"]
        for number, name in enumerate(names):
            at = [(point.measured_s * 1e6, point.modelled_s * 1e6) for point in found if point.case == name]
            x, y = zip(*at, strict=True)
            axes.scatter(x, y, s=28, color=colours(number % 20), label=name, edgecolors="black", linewidths=0.4)
        ends = [min(point.measured_s for point in found) * 0.8e6, max(point.measured_s for point in found) * 1.25e6]
        axes.plot(ends, ends, color="0.3", lw=1)
        axes.set(xscale="log", yscale="log", xlabel="measured, µs", ylabel="modelled, µs", xlim=ends, ylim=ends)
        axes.set_title(MODEL_CARDS[document["path"]].title, fontsize=12, loc="left")
        axes.grid(visible=True, color="0.92")
        axes.set_axisbelow(True)
        axes.legend(fontsize=8, ncols=2, frameon=False)
        figure.savefig(path, metadata={"Date": None})
    return True
