"""What a tuning without a card finds: the allowed tiles ranked by modelled time, each with what binds it. Times nothing.

Owns the ranking and its page. How far a ranking by the model can be trusted is said by the study that held it to an H100.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfgate.hardware import modelling
from perfgate.hardware.parameters import CARD_OF_TARGET, MODEL_CARDS
from perfgate.store.compiled import facts_from_json
from perfgate.text import duration
from perfgate.tuning.choice import propose, shortest
from perfgate.tuning.document import running, tuned
from perfgate.tuning.report import lines, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from perfgate.hardware.cost_model import Prediction
    from perfgate.records import Case
    from perfgate.settings import Settings

_ROWS = 12
_HEAD = ("rank", "candidate", "modelled", "over best", "bound by", "registers", "blocks/SM", "L2 hit", "DRAM")
_TEXT = """\
No card: nothing was measured. These are modelled times of the tuned kernel alone on {title}, from the machine code for {target} and from
tile, order of tiles and shape. How far such a ranking was right on an H100, and where not, is in
`baselines/nvidia-h100-80gb-hbm3/model-sm89.md`; on a 4090 the model was held to nothing but published profiles. On the card,
`nox -s tune` measures."""


def rank(document: dict[str, Any], project: Settings, cases: Mapping[str, Case]) -> dict[str, dict[str, Prediction]]:
    """Modelled time of every candidate that nothing rules out, by case, the fastest first; kept in the document too."""
    works = modelling.load_works(project)
    card = MODEL_CARDS.get(CARD_OF_TARGET.get(document["about"]["target"], ""))
    found: dict[str, dict[str, Prediction]] = {}
    if works is None or card is None:
        return found
    for name, case in tuned(document).items():
        times = {}
        for one in running(case):
            kernels = [facts_from_json(kernel) for kernel in case["candidates"][one]["kernels"]]
            if prediction := modelling.of_launches(cases[name], kernels, works=works, card=card):
                times[one] = prediction
                case["candidates"][one]["modelled"] = {
                    "time_s": prediction.time_s,
                    "bound": prediction.bound,
                    "terms_s": dict(prediction.terms_s),
                }
        if times:
            found[name] = dict(sorted(times.items(), key=lambda item: (item[1].time_s, item[0])))
    return found


def markdown(document: Mapping[str, Any], ranked: Mapping[str, Mapping[str, Prediction]]) -> str:
    """The page: what each case should run, the list that loses least by the model, and each case's tiles with their reasons."""
    target = document["about"]["target"]
    title = MODEL_CARDS[CARD_OF_TARGET[target]].title
    paragraphs = ["# Which tiles the kernel should run, by the model", _TEXT.format(title=title, target=target)]
    choice = shortest(propose({name: {k: p.time_s for k, p in times.items()} for name, times in ranked.items()}))
    if choice:
        paragraphs += [
            "## The list",
            "\n".join(["```python", *lines(document, choice), "```"]),
            f"By the model it loses {choice.loss:.2%} against each case's best, in the mean of {len(ranked)} cases.",
        ]
    paragraphs += [
        "## Each case",
        table(("case", "the model's pick", "modelled", "present choice", "over the pick"), _picks(document, ranked)),
    ]
    for name, times in ranked.items():
        paragraphs += [f"## {name}", table(_HEAD, _rows(document["cases"][name], times))]
    silent = [name for name, case in document["cases"].items() if name not in ranked and not case["note"]]
    if silent:
        paragraphs.append(f"The model says nothing of {', '.join(silent)}.")
    paragraphs += [f"{name}: {case['note']}." for name, case in document["cases"].items() if case["note"]]
    return "\n\n".join(paragraphs) + "\n"


def _picks(document: Mapping[str, Any], ranked: Mapping[str, Mapping[str, Prediction]]) -> Iterable[Sequence[str]]:
    for name, times in ranked.items():
        pick, best = next(iter(times.items()))
        current = document["cases"][name]["current"]
        over = f"{times[current].time_s / best.time_s - 1:+.1%}" if current in times else "not modelled"
        yield name, pick, duration(best.time_s), current, over


def _rows(case: Mapping[str, Any], times: Mapping[str, Prediction]) -> Iterable[Sequence[str]]:
    best = next(iter(times.values())).time_s
    for number, (name, prediction) in enumerate(times.items(), 1):
        if number > _ROWS and name not in (*case["kept"], case["current"]):
            continue
        mark = " (present)" if name == case["current"] else " (start)" if name == case["start"] else ""
        kernel = case["candidates"][name]["kernels"][-1]
        then = ", then ".join(f"{unit} {seconds / prediction.time_s:.0%}" for unit, seconds in prediction.terms_s[:2])
        hit = "" if prediction.hit_percent is None else f"{prediction.hit_percent:.2f} %"
        yield (
            str(number),
            name + mark,
            duration(prediction.time_s),
            f"{prediction.time_s / best - 1:+.1%}",
            then,
            str(kernel["registers"]),
            str(kernel["blocks_per_sm"]),
            hit,
            f"{prediction.dram_bytes / 1e6:.0f} MB",
        )
