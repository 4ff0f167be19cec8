"""Verdicts put before a reader in a terminal: a table that fits it, sentences, and one line that says how it went.

Decides nothing. What comes from files is untrusted text: control characters are shown as ``?``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from perfgate.compare.roofline import recording_metrics
from perfgate.console import PLAIN
from perfgate.hardware.gpus import card
from perfgate.records import Status
from perfgate.report.verdicts import MEANING, cells, ending, first_of_each, machine, outcome, said, worst_first
from perfgate.text import NONE, aligned, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.console import Look
    from perfgate.records import Verdict
    from perfgate.store.run import StageResult

_CASE_WIDTH = 20
"""Of the case's column where room is short."""
_STATUS_WIDTH = max(map(len, Status))
_WIDTHS = {"change": 7, "interval": 14, "limit": 5, "time": 8, "roof": 4, "vs ctl": 6, "TFLOPS": 6, "GB/s": 5}
"""Columns in their order."""
_BY_WORTH = ("change", "time", "interval", "limit", "roof", "vs ctl", "TFLOPS", "GB/s")
"""The same, by what is shown first where not all fit."""
_MOST_SENTENCES = 5
"""Sentences of one reason in a brief report; its table names every case."""
_LEGEND = {
    "interval": "interval, limit in %",
    "roof": "roof: share of the roofline",
    "vs ctl": "vs ctl: speed over the control's",
}
"""What has to be said of a column, where it is shown."""
_COLOURS = {Status.SLOWER: "red", Status.INVALID: "red", Status.UNSURE: "yellow", Status.FASTER: "green"}
_OUTCOMES = {0: "green", 3: "yellow"}
"""Of an exit code; the rest is red."""


def format_text(  # noqa: PLR0913 - what to show, and how by name
    verdicts: Sequence[Verdict],
    *,
    metrics: Mapping[str, Metrics] | None = None,
    partial: tuple[int, int] | None = None,
    title: str = "perfgate",
    brief: bool = False,
    quiet: bool = False,
    look: Look = PLAIN,
    why: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """A table that fits the terminal, then each verdict's sentence, then one line that says how it went.

    Args:
        verdicts: In the order to show.
        metrics: By case id, what the times mean; a case without shows dashes.
        partial: Cases judged and cases known, where the user chose some on purpose.
        title: Begins the last line.
        brief: Leave out the sentences of cases that are the same (and their rows, where these hold no numbers), and of
            one reason all but the first few.
        quiet: Brief, and only the rows of cases that do not pass.
        look: What the terminal can show.
        why: By case id, what moved with its time; said below its sentence.
    """
    brief = brief or quiet
    rows = [v for v in verdicts if v.case != "*" and not (quiet and not v.exit_code)]  # `*` is about a file, not a case
    lines = []
    if rows and not metrics:
        shown = [v for v in rows if not (brief and v.status is Status.SAME)]
        same = Counter(v.reason for v in rows if brief and v.status is Status.SAME)
        width = max(len(plain(v.case)) for v in rows)
        lines += [f"{count} SAME: {plain(reason)}" for reason, count in same.items()]
        lines += [f"{plain(v.case):<{width}} {_padded(v.status, look)} {plain(v.reason)}" for v in shown]
        lines += [""] if shown else []
    elif rows:
        lines += [*_table(rows, metrics or {}, look), ""]
    lines += _sentences(verdicts, brief=brief, look=look, why=why or {})
    return "\n".join([*lines, *look.folded(f"{title}: {outcome(verdicts, partial)}")])


def _sentences(verdicts: Sequence[Verdict], *, brief: bool, look: Look, why: Mapping[str, Sequence[str]]) -> list[str]:
    """Each verdict's sentence with what moved with it and its asides, the worst first."""
    telling = [verdict for verdict in verdicts if not (brief and verdict.status is Status.SAME)]
    spoken, more = first_of_each(telling, _MOST_SENTENCES if brief else len(telling))
    lines: list[str] = []
    for verdict in spoken:
        first, *rest = look.wrapped(plain(said(verdict)))
        coloured = look.painted(str(verdict.status), _COLOURS.get(verdict.status, ""))
        lines += [first.replace(str(verdict.status), coloured, 1), *rest]
        beside = [*(f"why: {text}" for text in why.get(verdict.case, ())), *(aside.text for aside in verdict.asides)]
        lines += [line for text in beside for line in look.wrapped(plain(text), indent="  ")]
    if brief:
        told = set(map(id, spoken))
        quiet = [verdict for verdict in worst_first(verdicts) if id(verdict) not in told]
        unsaid = [f"{verdict.case}: {aside.text}" for verdict in quiet for aside in verdict.asides if aside.matters]
        lines += [line for text in unsaid[:_MOST_SENTENCES] for line in look.wrapped(plain(text))]
        lines += [f"… and {len(unsaid) - _MOST_SENTENCES} more such lines"] if len(unsaid) > _MOST_SENTENCES else []
        lines += [f"… and {count} more of {plain(reason)}" for reason, count in more.items()]
        lines += look.wrapped(plain(machine(verdicts)))
    return lines


def summary(  # noqa: PLR0913 - as `format_text`
    stages: Sequence[StageResult],
    *,
    partial: bool,
    code: int,
    total_s: float,
    quiet: bool = False,
    look: Look = PLAIN,
) -> str:
    """What a whole run judged, what it could not, where the time went, and how it ended.

    Args:
        stages: In their order.
        partial: The user chose some cases on purpose.
        code: Exit code of the run.
        total_s: How long it took.
        quiet: Only what needs attention, and the last line.
        look: What the terminal can show.
    """
    lines: list[str] = []
    for stage in stages:
        lines += _stage(stage, code=code, quiet=quiet, look=look)
    spent = "; ".join(f"{stage.name} {plain(stage.spent)}" for stage in stages if stage.spent)
    lines += [] if quiet else look.wrapped(f"time: {total_s:.0f} s in all{f'; {spent}' if spent else ''}")
    first, *rest = look.folded(
        f"perf: {ending({stage.name: stage.done for stage in stages}, partial=partial, code=code)}"
    )
    coloured = look.painted(MEANING[code], _OUTCOMES.get(code, "red"))
    return "\n".join([*lines, first.replace(MEANING[code], coloured, 1), *rest])


def _stage(stage: StageResult, *, code: int, quiet: bool, look: Look) -> list[str]:
    """One stage of a summary; of a quiet one only what needs attention."""
    within = look.narrower(2)
    bad = any(verdict.exit_code or any(aside.matters for aside in verdict.asides) for verdict in stage.verdicts)
    lines: list[str] = []
    if not quiet or bad or stage.note:
        left_out = f" ({plain(stage.left_out)})" if stage.left_out else ""
        lines += look.folded(f"{stage.name}: {plain(stage.done or 'NOT judged')}{left_out}")
    if stage.note:
        lines += look.wrapped(f"note: {plain(stage.note)}", indent="  ")
    if stage.verdicts and (bad or not quiet):
        found = stage.recording
        numbers = recording_metrics(found, card(found.environment.get("gpu", ""))) if found else None
        text = format_text(
            stage.verdicts, metrics=numbers, title=stage.name, brief=True, quiet=quiet, look=within, why=stage.why
        )
        lines += [f"  {line}" if line else "" for line in text.splitlines()]
    if stage.again and code:
        again = plain(stage.again)  # a command stays one line, so that it can be taken as it is
        lead = "  the same verdicts from the saved samples:"
        lines += [lead, f"    {again}"] if look.folds else [f"{lead} {again}"]
    return lines


def _table(verdicts: Sequence[Verdict], metrics: Mapping[str, Metrics], look: Look) -> list[str]:
    """Head, rows and legend: the case, its status, and of the columns that hold anything the most telling ones that fit."""
    rows = [cells(verdict, metrics.get(verdict.case), narrow=True) for verdict in verdicts]
    longest = max(len("case"), *(len(verdict.case) for verdict in verdicts))
    room = look.width - min(longest, _CASE_WIDTH) - _STATUS_WIDTH - 1
    fitting = set()
    for name in _BY_WORTH:
        if all(row[name] == NONE for row in rows):
            continue
        if _WIDTHS[name] + 1 > room:
            break
        fitting.add(name)
        room -= _WIDTHS[name] + 1
    shown = {name: size for name, size in _WIDTHS.items() if name in fitting}
    widths = {"case": min(longest, _CASE_WIDTH + max(0, room)), "status": _STATUS_WIDTH, **shown}
    lines = aligned(
        widths,
        [[row[name] for name in widths] for row in rows],
        words={"case", "status"},
        paint=lambda name, cell: _padded(cell.rstrip(), look) if name == "status" else cell,
    )
    legend = "; ".join(text for name, text in _LEGEND.items() if name in shown)
    return [*lines, "", *look.wrapped(legend)] if legend else lines


def _padded(status: str, look: Look) -> str:
    colour = next((colour for one, colour in _COLOURS.items() if one == status), "")
    return look.painted(f"{status:<{_STATUS_WIDTH}}", colour)
