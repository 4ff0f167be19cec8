"""What tuning found, as a page: the list that it proposes, what it costs each case, and what was ruled out. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from perfgate.text import duration, percent
from perfgate.tuning.choice import Choice, propose, shortest
from perfgate.tuning.document import Timed, running, times, tuned
from perfgate.tuning.pruning import instructions, warps_per_sm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_FACTS = ("gpu", "uuid", "driver", "cuda", "torch", "triton", "code_path")
_ROWS = 12
"""Candidates shown of a case, beside the kept ones; the document holds all."""
_RULE = """\
These are the lines of the list; what picks one of them is still to be written: a rule in the kernel file (`choose_config`)
over the shape, dtype and card of a call. It has to be a rule and not a timing, so that the same call on the same card
always runs the same code: the choice is deterministic, and nothing is tuned when the kernel runs. The table says
which config each measured case should get. Afterwards `nox -s perf -- --against HEAD` says whether it was worth it."""
_LENGTHS = "A longer list is proposed where it gains over 0.5 %; the best of each length: "
_HOW = """\
Times are device time, L2 flushed and stream held before each run, the candidates of a case in random order each round.
First pass: a few rounds of all in one process, then of the faster half, and so on. Then the fastest {top}, the present choice, the
starting tile and the best list of the first pass, in {launches} processes: the median of their medians. A time after `~` is
of the first pass alone. A loss is time over the best time found for the case, less one. A candidate whose result is wrong has
no time."""
_NOT_MEASURED = """\
Nothing was measured: no card was used. What follows are facts of the machine code for {target}, in order of promise by an
estimate from the tile's numbers; no list can be proposed from them. Run it on the card: `nox -s tune`."""


def markdown(document: Mapping[str, Any]) -> str:
    """The whole page of a document, as far as it has come."""
    about = document["about"]
    environment = {**about["environment"], **{k: v for k, v in about.items() if isinstance(v, str) and v}}
    facts = ", ".join(f"{key} {environment[key]}" for key in _FACTS if environment.get(key))
    made = ", ".join(f"{key} {environment[key]}" for key in ("target", "recorded_at", "commit") if environment.get(key))
    timed = {name: found for name, case in tuned(document).items() if (found := times(case))}
    paragraphs = [
        "# Which tiles the kernel should run",
        f"{facts or 'No card'}. {made}. `{about['command']}`",
        *(_proposal(document, timed) if timed else [_NOT_MEASURED.format(target=about["target"])]),
        *_rest(document, timed),
        "## What was left out",
        table(("case", "allowed", "compiled", "to measure", "left out"), _left_out(document)),
        *_candidates(document),
    ]
    return "\n\n".join(paragraphs) + "\n"


def lines(document: Mapping[str, Any], choice: Choice) -> list[str]:
    """A list as lines of Python to put into the kernel's decorator, each with the cases that take it."""
    configs = {name: one["config"] for case in document["cases"].values() for name, one in case["candidates"].items()}
    return [
        config_line(configs[name], [c for c, taken in choice.takes.items() if taken == name]) for name in choice.configs
    ]


def config_line(config: Mapping[str, int], cases: Sequence[str]) -> str:
    """One config as a line of Python."""
    meta = ", ".join(f'"{key}": {value}' for key, value in config.items() if key not in {"num_warps", "num_stages"})
    code = f"triton.Config({{{meta}}}, num_warps={config['num_warps']}, num_stages={config['num_stages']}),"
    return f"{code}  # {', '.join(cases) or 'no case of these'}"


def choices(document: Mapping[str, Any]) -> tuple[Choice, ...]:
    """The best list of each length over all cases that were measured."""
    return propose({n: {k: t.seconds for k, t in times(c).items()} for n, c in tuned(document).items()})


def _proposal(document: Mapping[str, Any], timed: Mapping[str, Mapping[str, Timed]]) -> list[str]:
    found = choices(document)
    choice = shortest(found)
    how = _HOW.format(top=document["about"]["top"], launches=document["about"]["launches"])
    if choice is None:
        return [
            "## No list",
            "No list of 2 to 4 configs serves every measured case; measure fewer cases together.",
            how,
        ]
    present, best = _present(document, timed)
    lengths = "; ".join(f"{len(c.configs)} configs: {c.loss * 100:.2f} %" for c in found)
    return [
        "## The list",
        "\n".join(["```python", *lines(document, choice), "```"]),
        f"Loss, mean of {len(timed)} cases: {choice.loss * 100:.2f} %; of the present choices {present}. {_LENGTHS}{lengths}.",
        _RULE,
        "## Each case",
        table(("case", "best found", "time", "takes", "loss", "present choice", "its loss", "launches"), best(choice)),
        how,
    ]


def _present(document: Mapping[str, Any], timed: Mapping[str, Mapping[str, Timed]]) -> tuple[str, Any]:
    """What the present choices lose in the mean, and the rows of each case for a list."""
    losses = []
    for name, found in timed.items():
        current = found.get(document["cases"][name]["current"])
        losses.append(math.log(current.seconds / min(t.seconds for t in found.values())) if current else math.inf)
    known = [loss for loss in losses if math.isfinite(loss)]
    said = f"{math.expm1(sum(known) / len(known)) * 100:.2f} %" if known else "not measured"
    said += f" (of {len(known)} cases)" if known and len(known) < len(losses) else ""

    def rows(choice: Choice) -> Iterable[Sequence[str]]:
        for name, found in timed.items():
            best = min(found, key=lambda one: (found[one].seconds, one))
            current = document["cases"][name]["current"]
            takes = choice.takes[name]
            yield (
                name,
                best,
                _time(found[best]),
                takes,
                _loss(found.get(takes), found[best]),
                current,
                _loss(found.get(current), found[best]),
                str(found[best].launches),
            )

    return said, rows


def _rest(document: Mapping[str, Any], timed: Mapping[str, Any]) -> list[str]:
    """Cases that have no numbers and why, and candidates that failed."""
    said = []
    for name, case in document["cases"].items():
        if why := case["note"] or case.get("failed"):
            said.append(f"- {name}: {why}.")
        elif timed and name not in timed:
            said.append(f"- {name}: not measured yet.")
        said += [
            f"- {name}, {one}: {entry['failed']}." for one, entry in case["candidates"].items() if "failed" in entry
        ]
    return ["## Without numbers", "\n".join(said)] if said else []


def _left_out(document: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for name, case in document["cases"].items():
        reasons = "; ".join(f"{count} {why}" for why, count in sorted(case["left_out"].items(), key=lambda x: -x[1]))
        allowed = case.get("allowed", "")
        yield name, str(allowed), str(len(case["candidates"])), str(len(running(case))), reasons or case["note"]


def _candidates(document: Mapping[str, Any]) -> Iterable[str]:
    """A table a case: the fastest, or the most promising where nothing was measured, and the kept ones."""
    head = (
        "candidate",
        "time",
        "loss",
        "registers",
        "spills",
        "shared",
        "blocks/SM",
        "warps",
        "instructions",
        "ruled out",
    )
    for name, case in document["cases"].items():
        if not case["candidates"]:
            continue
        found = times(case)
        order = sorted(case["candidates"], key=lambda one: found[one].seconds if one in found else math.inf)
        shown = [one for number, one in enumerate(order) if number < _ROWS or one in (*case["kept"], case["current"])]
        more = len(order) - len(shown)
        yield f"## {name}"
        yield table(head, (_row(one, case, found) for one in shown))
        if more:
            yield f"And {more} more in `tune.json`."


def _row(name: str, case: Mapping[str, Any], found: Mapping[str, Timed]) -> Sequence[str]:
    one = case["candidates"][name]
    best = min((t.seconds for t in found.values()), default=0.0)
    timed = (_time(found[name]), percent(found[name].seconds / best)) if name in found else ("", "")
    mark = " (present)" if name == case["current"] else " (start)" if name == case["start"] else ""
    facts = ("", "", "", "", "", "")
    if one["kernels"]:
        kernels = one["kernels"]
        facts = (
            "+".join(str(k["registers"]) for k in kernels),
            "+".join(str(k["spill_instructions"]) for k in kernels),
            "+".join(str(k["shared_bytes"]) for k in kernels),
            "+".join(str(k["blocks_per_sm"]) for k in kernels),
            str(warps_per_sm(one)),
            str(instructions(one)),
        )
    return (name + mark, *timed, *facts, one["error"] or one["pruned"] or one.get("failed", ""))


def _time(timed: Timed) -> str:
    return ("" if timed.launches else "~") + duration(timed.seconds)


def _loss(timed: Timed | None, best: Timed) -> str:
    return f"{(timed.seconds / best.seconds - 1) * 100:.2f} %" if timed else "not measured"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)
