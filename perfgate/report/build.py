"""From files' content to the page's view: a reader's questions with their answers, then everything behind them. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from perfgate.records import Status
from perfgate.report import markdown
from perfgate.report.cards_view import card_views
from perfgate.report.cases import anchors, case_views, head, names, own_anchor, sentence
from perfgate.report.inputs import TIMED
from perfgate.report.view import Answer, View
from perfgate.text import allowed, percent, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.records import Verdict
    from perfgate.report.extras import Extras
    from perfgate.report.inputs import Inputs
    from perfgate.report.view import CaseView, Curve

_CHECKED = "correctness"
_MOST_NAMED = 5
"""Cases that an answer names, and sentences of one reason; the table has them all."""


def view(inputs: Inputs, extras: Extras, curves: Sequence[Curve]) -> View:
    """All that the page shows.

    Args:
        inputs: The run or the samples.
        extras: What others found beside it.
        curves: Calibrations, of whatever card; each names its own.
    """
    by_name = anchors(names(inputs))
    cases = case_views(inputs, extras)
    cards = card_views(inputs, by_name)
    every = [(stage.name, verdict) for stage in inputs.stages for verdict in stage.verdicts]
    telling = markdown.worst_first([verdict for _, verdict in every if verdict.exit_code or verdict.case == "*"])
    first, more = _first_of_each(telling)
    stage_of = {id(verdict): stage for stage, verdict in every}
    gpus = ", ".join(dict.fromkeys(one.gpu for one in cards if one.gpu))
    return View(
        title=f"perfgate on {gpus}" if gpus else "perfgate without a CUDA card",
        outcome=inputs.outcome,
        code=inputs.exit,
        answers=_answers(inputs, cases, curves),
        stages=tuple((stage.name, _done(stage.done, stage.left_out), stage.note) for stage in inputs.stages),
        sentences=tuple(sentence(stage_of[id(verdict)], verdict, by_name.get(verdict.case, "")) for verdict in first),
        unsaid=tuple(f"… and {count} more of {reason}" for reason, count in more.items()),
        head=head(inputs),
        cases=cases,
        cards=cards,
        curves=tuple(curves),
    )


def _first_of_each(verdicts: Sequence[Verdict]) -> tuple[list[Verdict], dict[str, int]]:
    """Of each reason the first few, and how many more there are."""
    spoken = Counter[str]()
    first = []
    for verdict in verdicts:
        spoken[verdict.reason] += 1
        first += [verdict] if spoken[verdict.reason] <= _MOST_NAMED else []
    return first, {reason: count - _MOST_NAMED for reason, count in spoken.items() if count > _MOST_NAMED}


def _done(done: str, left_out: str) -> str:
    """As the terminal's summary begins a stage."""
    return f"{done or 'NOT judged'}{f' ({left_out})' if left_out else ''}"


def _verdicts(inputs: Inputs, name: str) -> list[Verdict]:
    return [verdict for stage in inputs.stages if stage.name == name for verdict in stage.verdicts]


def _answers(inputs: Inputs, cases: Sequence[CaseView], curves: Sequence[Curve]) -> tuple[Answer, ...]:
    case_list, limit = own_anchor("cases"), own_anchor("roofline")
    return (
        Answer(question="Is it right?", text=_right(inputs), link=case_list),
        Answer(question="Is it slower?", text=_slower(inputs), link=case_list),
        Answer(question="By how much, and how sure?", text=_by_how_much(inputs, curves), link=own_anchor("curves")),
        Answer(question="Why?", text=_why(inputs, cases), link=own_anchor("verdicts")),
        Answer(question="How far from the card's limit?", text=_from_limit(inputs), link=limit),
        Answer(question="How did we get here?", text=_here(inputs), link=own_anchor("environment")),
    )


def _right(inputs: Inputs) -> str:
    wrong = [verdict for stage in inputs.stages for verdict in stage.verdicts if verdict.wrong]
    if wrong:
        return f"No: {_named([verdict.case for verdict in wrong])}."
    checked = [stage for stage in inputs.stages if stage.name == _CHECKED]
    said = [_done(stage.done, stage.left_out) for stage in checked]
    faults = [verdict.case for stage in checked for verdict in stage.verdicts if verdict.exit_code]
    could_not = f" Could not be checked: {_named(faults)}." if faults else ""
    return f"{'; '.join(said)}.{could_not}" if said else "NOT judged: these files hold times, and no checks of results."


def _slower(inputs: Inputs) -> str:
    verdicts = _verdicts(inputs, TIMED)
    if not verdicts:
        stage = next((stage for stage in inputs.stages if stage.name == TIMED), None)
        return f"{_done('', stage.left_out) if stage else 'NOT judged'}."
    return f"{markdown.outcome(verdicts, None)}."


def _by_how_much(inputs: Inputs, curves: Sequence[Curve]) -> str:
    known = [verdict for verdict in _verdicts(inputs, TIMED) if verdict.ratio is not None and not verdict.wrong]
    changed = [verdict for verdict in markdown.worst_first(known) if verdict.status is not Status.SAME]
    if changed:
        said = "; ".join(map(_change, changed[:_MOST_NAMED]))
        more = f"; and {len(changed) - _MOST_NAMED} more" if len(changed) > _MOST_NAMED else ""
        text = f"{said}{more}."
    elif known:
        furthest = max(known, key=lambda verdict: abs((verdict.ratio or 1) - 1))
        text = f"No case beyond its limit; the furthest is {_change(furthest)}."
    else:
        text = "NOT judged."
    gpus = {one.current.environment.get("gpu", "") for one in inputs.measured}
    own = [curve for curve in curves if curve.gpu in gpus and curve.rows]
    return f"{text} Unchanged code on this card is called changed in {own[0].rows[0][2]} of runs." if own else text


def _change(verdict: Verdict) -> str:
    """A case's change with its interval and limit."""
    said = f"{verdict.case} {percent(verdict.ratio or 1.0)}"
    if verdict.low is None or verdict.high is None or verdict.limit is None:
        return said
    return f"{said} ({percent(verdict.low)} to {percent(verdict.high)}, limit {allowed(verdict.limit)})"


def _why(inputs: Inputs, cases: Sequence[CaseView]) -> str:
    first = sorted(cases, key=lambda case: not case.attention)
    moved = [text for case in first for text in case.moved_with_it]
    if moved:
        return " ".join(moved[:_MOST_NAMED])
    every = [verdict for stage in inputs.stages for verdict in stage.verdicts]
    machine = f"{markdown.machine(every)}." if any(markdown.machine_ratios(every)) else ""
    if any(verdict.exit_code for verdict in every):
        return f"Each line below says what was found. {machine}".strip()
    return machine or "Nothing needs a reason."


def _from_limit(inputs: Inputs) -> str:
    wrong = {verdict.case for verdict in _verdicts(inputs, TIMED) if verdict.wrong}
    shares = sorted(
        (numbers.roofline_share, case)
        for one in inputs.measured
        for case, numbers in one.metrics.items()
        if numbers.roofline_share is not None and case not in wrong
    )
    if not shares:
        return "Not known: no times with their work, or a card whose published peaks are not listed."
    (least, lowest), (most, highest) = shares[0], shares[-1]
    return f"{share(least)} of the roofline ({lowest}) to {share(most)} ({highest})."


def _here(inputs: Inputs) -> str:
    said = []
    for one in inputs.measured:
        if one.baseline:
            reason = one.baseline.reason or "no reason given"
            said.append(f"baseline of {one.baseline.recorded_at[:10] or 'no date'}: {reason}")
    return f"{'; '.join(said)}." if said else "No baseline's recording was given; see the environment."


def _named(cases: Sequence[str]) -> str:
    unique = list(dict.fromkeys(cases))
    more = f" and {len(unique) - _MOST_NAMED} more" if len(unique) > _MOST_NAMED else ""
    return f"{', '.join(unique[:_MOST_NAMED])}{more}"
