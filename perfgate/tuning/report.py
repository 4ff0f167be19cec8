"""What tuning found, as a page: the list that it proposes, what it costs each case, and what was ruled out.

Without a card the allowed tiles are ranked by modelled time, each with what binds it. How far such a ranking can be trusted
is said by the study that held it to an H100.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perfgate.codegen import modelling
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS
from perfgate.project import load_suite
from perfgate.text import duration, percent, pipes
from perfgate.tuning.choice import Choice, instructions, propose, shortest, warps_per_sm
from perfgate.tuning.document import Modelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from perfgate.config import Settings
    from perfgate.hardware.cost_model import Prediction
    from perfgate.store.compiled import KernelFacts
    from perfgate.tuning.document import Case, Document, Time

    Rows = Iterable[Sequence[str]]

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
_RANKED_HEAD = ("rank", "candidate", "modelled", "over best", "bound by", "registers", "blocks/SM", "L2 hit", "DRAM")
_RANKED = """\
No card: nothing was measured. These are modelled times of the tuned kernel alone on {title}, from the machine code for {target} and from
tile, order of tiles and shape. How far such a ranking was right on an H100, and where not, is in
`baselines/nvidia-h100-80gb-hbm3/model-sm89.md`; on a 4090 the model was held to nothing but published profiles. On the card,
`nox -s tune` measures."""


def markdown(document: Document) -> str:
    """The whole page of a document, as far as it has come."""
    about = document.about
    origin = {name: getattr(about, name) for name in ("target", "recorded_at", "commit")}
    facts = ", ".join(f"{key} {about.environment[key]}" for key in _FACTS if about.environment.get(key))
    made = ", ".join(f"{name} {value}" for name, value in origin.items() if value)
    timed = {name: found for name, case in document.tuned().items() if (found := case.times())}
    paragraphs = [
        "# Which tiles the kernel should run",
        f"{facts or 'No card'}. {made}. `{about.command}`",
        *(_proposal(document, timed) if timed else [_NOT_MEASURED.format(target=about.target)]),
        *_rest(document, timed),
        "## What was left out",
        _table(("case", "allowed", "compiled", "to measure", "left out"), _left_out(document)),
        *_candidates(document),
    ]
    return "\n\n".join(paragraphs) + "\n"


def lines(document: Document, choice: Choice) -> list[str]:
    """A list as lines of Python to put into the kernel's decorator, each with the cases that take it."""
    configs = {name: one.config for case in document.cases.values() for name, one in case.candidates.items()}
    return [
        _config_line(configs[name], [case for case, taken in choice.takes.items() if taken == name])
        for name in choice.configs
    ]


def _config_line(config: Mapping[str, int], cases: Sequence[str]) -> str:
    meta = ", ".join(f'"{key}": {value}' for key, value in config.items() if key not in {"num_warps", "num_stages"})
    code = f"triton.Config({{{meta}}}, num_warps={config['num_warps']}, num_stages={config['num_stages']}),"
    return f"{code}  # {', '.join(cases) or 'no case of these'}"


def choices(document: Document) -> tuple[Choice, ...]:
    """The best list of each length over all cases that were measured."""
    return propose({n: {k: time.seconds for k, time in case.times().items()} for n, case in document.tuned().items()})


def _listed(document: Document, choice: Choice) -> list[str]:
    return ["## The list", "\n".join(["```python", *lines(document, choice), "```"])]


def _proposal(document: Document, timed: Mapping[str, Mapping[str, Time]]) -> list[str]:
    found = choices(document)
    choice = shortest(found)
    how = _HOW.format(top=document.about.top, launches=document.about.launches)
    if choice is None:
        return [
            "## No list",
            "No list of 2 to 4 configs serves every measured case; measure fewer cases together.",
            how,
        ]
    lengths = "; ".join(f"{len(c.configs)} configs: {c.loss * 100:.2f} %" for c in found)
    present = _present_loss(document, timed)
    return [
        *_listed(document, choice),
        f"Loss, mean of {len(timed)} cases: {choice.loss * 100:.2f} %; of the present choices {present}. {_LENGTHS}{lengths}.",
        _RULE,
        "## Each case",
        _table(
            ("case", "best found", "time", "takes", "loss", "present choice", "its loss", "launches"),
            _best(document, timed, choice),
        ),
        how,
    ]


def _present_loss(document: Document, timed: Mapping[str, Mapping[str, Time]]) -> str:
    """What the present choices lose in the mean."""
    known = [
        math.log(found[current].seconds / min(time.seconds for time in found.values()))
        for name, found in timed.items()
        if (current := document.cases[name].current) in found
    ]
    some = f" (of {len(known)} cases)" if len(known) < len(timed) else ""
    return f"{math.expm1(sum(known) / len(known)) * 100:.2f} %{some}" if known else "not measured"


def _best(document: Document, timed: Mapping[str, Mapping[str, Time]], choice: Choice) -> Rows:
    for name, found in timed.items():
        best = min(found, key=lambda one: (found[one].seconds, one))
        current, takes = document.cases[name].current, choice.takes[name]
        losses = [
            f"{(found[one].seconds / found[best].seconds - 1) * 100:.2f} %" if one in found else "not measured"
            for one in (takes, current)
        ]
        yield name, best, _time(found[best]), takes, losses[0], current, losses[1], str(found[best].launches)


def _rest(document: Document, timed: Mapping[str, object]) -> list[str]:
    """Cases that have no numbers and why, and candidates that failed."""
    said = []
    for name, case in document.cases.items():
        if why := case.note or case.failed:
            said.append(f"- {name}: {why}.")
        elif timed and name not in timed:
            said.append(f"- {name}: not measured yet.")
        said += [f"- {name}, {one}: {entry.failed}." for one, entry in case.candidates.items() if entry.failed]
    return ["## Without numbers", "\n".join(said)] if said else []


def _left_out(document: Document) -> Rows:
    for name, case in document.cases.items():
        reasons = "; ".join(f"{count} {why}" for why, count in sorted(case.left_out.items(), key=lambda x: -x[1]))
        allowed = "" if case.allowed is None else str(case.allowed)
        yield name, allowed, str(len(case.candidates)), str(len(case.running())), reasons or case.note


def _candidates(document: Document) -> Iterable[str]:
    """A table a case: the fastest, or the most promising where nothing was measured, and the kept ones."""
    columns: dict[str, Callable[[KernelFacts], int]] = {
        "registers": lambda kernel: kernel.registers,
        "spills": lambda kernel: kernel.spill_instructions,
        "shared": lambda kernel: kernel.shared_bytes,
        "blocks/SM": lambda kernel: kernel.blocks_per_sm,
    }
    head = ("candidate", "time", "loss", *columns, "warps", "instructions", "ruled out")
    for name, case in document.cases.items():
        if not case.candidates:
            continue
        found = case.times()
        best = min((time.seconds for time in found.values()), default=0.0)
        order = sorted(case.candidates, key=lambda one: found[one].seconds if one in found else math.inf)
        rows = []
        for one in _shown(order, case):
            entry = case.candidates[one]
            timed = (_time(found[one]), percent(found[one].seconds / best)) if one in found else ("", "")
            facts = ["+".join(str(read(kernel)) for kernel in entry.kernels) for read in columns.values()]
            facts += [str(warps_per_sm(entry)), str(instructions(entry))] if entry.kernels else ["", ""]
            rows.append((one + case.mark(one), *timed, *facts, entry.error or entry.pruned or entry.failed))
        yield f"## {name}"
        yield _table(head, rows)
        if more := len(order) - len(rows):
            yield f"And {more} more in `tune.json`."


def _shown(order: Iterable[str], case: Case) -> list[str]:
    """The first few, and the kept ones wherever they are."""
    return [one for number, one in enumerate(order) if number < _ROWS or one in (*case.kept, case.current)]


def _time(time: Time) -> str:
    return ("" if time.launches else "~") + duration(time.seconds)


def _table(head: Sequence[str], rows: Rows) -> str:
    return "\n".join(pipes(head, ([cell.replace("|", "\\|") for cell in row] for row in rows)))


def rank(document: Document, project: Settings) -> dict[str, dict[str, Prediction]]:
    """Modelled time of every candidate that nothing rules out, by case, the fastest first; kept in the document too."""
    works = modelling.load_works(project)
    card = MODEL_CARDS.get(CARD_OF_TARGET.get(document.about.target, ""))
    found: dict[str, dict[str, Prediction]] = {}
    if works is None or card is None:
        return found
    cases = {case.id: case for case in load_suite(project).CASES}
    for name, case in document.tuned().items():
        times = {}
        for one, entry in case.running().items():
            if prediction := modelling.of_launches(cases[name], entry.kernels, works=works, card=card):
                times[one] = prediction
                entry.modelled = Modelled(
                    time_s=prediction.time_s, bound=prediction.bound, terms_s=dict(prediction.terms_s)
                )
        if times:
            found[name] = dict(sorted(times.items(), key=lambda item: (item[1].time_s, item[0])))
    return found


def ranked_markdown(document: Document, ranked: Mapping[str, Mapping[str, Prediction]]) -> str:
    """The page: what each case should run, the list that loses least by the model, and each case's tiles with their reasons."""
    target = document.about.target
    title = MODEL_CARDS[CARD_OF_TARGET[target]].title
    paragraphs = ["# Which tiles the kernel should run, by the model", _RANKED.format(title=title, target=target)]
    choice = shortest(propose({name: {k: p.time_s for k, p in times.items()} for name, times in ranked.items()}))
    if choice:
        paragraphs += [
            *_listed(document, choice),
            f"By the model it loses {choice.loss:.2%} against each case's best, in the mean of {len(ranked)} cases.",
        ]
    paragraphs += [
        "## Each case",
        _table(("case", "the model's pick", "modelled", "present choice", "over the pick"), _picks(document, ranked)),
    ]
    for name, times in ranked.items():
        paragraphs += [f"## {name}", _table(_RANKED_HEAD, _ranked_rows(document.cases[name], times))]
    silent = [name for name, case in document.cases.items() if name not in ranked and not case.note]
    if silent:
        paragraphs.append(f"The model says nothing of {', '.join(silent)}.")
    paragraphs += [f"{name}: {case.note}." for name, case in document.cases.items() if case.note]
    return "\n\n".join(paragraphs) + "\n"


def _picks(document: Document, ranked: Mapping[str, Mapping[str, Prediction]]) -> Rows:
    for name, times in ranked.items():
        pick, best = next(iter(times.items()))
        current = document.cases[name].current
        over = f"{times[current].time_s / best.time_s - 1:+.1%}" if current in times else "not modelled"
        yield name, pick, duration(best.time_s), current, over


def _ranked_rows(case: Case, times: Mapping[str, Prediction]) -> Rows:
    best_s, ranks = next(iter(times.values())).time_s, list(times)
    for name in _shown(times, case):
        prediction, kernel = times[name], case.candidates[name].kernels[-1]
        yield (
            str(ranks.index(name) + 1),
            name + case.mark(name),
            duration(prediction.time_s),
            f"{prediction.time_s / best_s - 1:+.1%}",
            ", then ".join(f"{unit} {seconds / prediction.time_s:.0%}" for unit, seconds in prediction.terms_s[:2]),
            str(kernel.registers),
            str(kernel.blocks_per_sm),
            "" if prediction.hit_percent is None else f"{prediction.hit_percent:.2f} %",
            f"{prediction.dram_bytes / 1e6:.0f} MB",
        )
