"""Verdicts put before a reader in a terminal: a table that fits it, sentences, and one line that says how it went.

Decides nothing. What comes from files is untrusted text: control characters are shown as ``?``.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Protocol

from perfgate.compare.roofline import recording_metrics
from perfgate.hardware.gpus import card
from perfgate.records import Status
from perfgate.report.console import PLAIN
from perfgate.report.markdown import MEANING, ending, machine, machine_ratios, outcome, plain, said, worst_first
from perfgate.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.records import Recording, Verdict
    from perfgate.report.console import Look

_CASE_WIDTH = 20
"""Of the case's column where room is short."""
_STATUS = Status.INVALID
"""The longest of them."""
_WIDTHS = {"change": 7, "interval": 14, "limit": 5, "time": 8, "roof": 4, "vs ctl": 6, "TFLOPS": 6, "GB/s": 5}
"""Columns in their order."""
_BY_WORTH = ("change", "time", "interval", "limit", "roof", "vs ctl", "TFLOPS", "GB/s")
"""The same, by what is shown first where not all fit."""
_POINTS = 5
"""Characters of a change in percent."""
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
        lines += [f"{plain(v.case):<{width}} {_status(v, look)} {plain(v.reason)}" for v in shown]
        lines += [""] if shown else []
    elif rows:
        lines += [*_table(rows, metrics or {}, look), ""]
    lines += _sentences(verdicts, brief=brief, look=look, why=why or {})
    return "\n".join([*lines, *look.folded(f"{title}: {outcome(verdicts, partial)}")])


def _sentences(verdicts: Sequence[Verdict], *, brief: bool, look: Look, why: Mapping[str, Sequence[str]]) -> list[str]:
    """Each verdict's sentence with what moved with it and its asides, the worst first."""
    lines: list[str] = []
    spoken = Counter[str]()
    unsaid: list[str] = []
    for verdict in worst_first(verdicts):
        spoken[verdict.reason] += 1
        if brief and (verdict.status is Status.SAME or spoken[verdict.reason] > _MOST_SENTENCES):
            unsaid += [f"{verdict.case}: {aside.text}" for aside in verdict.asides if aside.matters]
            continue
        first, *rest = look.wrapped(plain(said(verdict)))
        coloured = look.painted(str(verdict.status), _COLOURS.get(verdict.status, ""))
        lines += [first.replace(str(verdict.status), coloured, 1), *rest]
        lines += [
            line for text in why.get(verdict.case, ()) for line in look.wrapped(plain(f"why: {text}"), indent="  ")
        ]
        lines += [line for aside in verdict.asides for line in look.wrapped(plain(aside.text), indent="  ")]
    if brief:
        lines += [line for text in unsaid[:_MOST_SENTENCES] for line in look.wrapped(plain(text))]
        lines += [f"… and {len(unsaid) - _MOST_SENTENCES} more such lines"] if len(unsaid) > _MOST_SENTENCES else []
        passed = {verdict.reason for verdict in verdicts if verdict.status is Status.SAME}
        rest_of = {reason: count - _MOST_SENTENCES for reason, count in spoken.items() if reason not in passed}
        lines += [f"… and {count} more of {plain(reason)}" for reason, count in rest_of.items() if count > 0]
        lines += look.wrapped(plain(machine(verdicts))) if any(machine_ratios(verdicts)) else []
    return lines


class StageLike(Protocol):
    """What a summary needs of one stage of a run."""

    @property
    def name(self) -> str:
        """Such as ``throughput``."""

    @property
    def done(self) -> str:
        """What was judged, in a few words."""

    @property
    def left_out(self) -> str:
        """Why it could not be, where it could not."""

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """What was found."""

    @property
    def note(self) -> str:
        """What the reader has to know of the baseline that judged."""

    @property
    def recording(self) -> Recording | None:
        """What was measured, if anything was."""

    @property
    def again(self) -> str:
        """The command that judges the saved files to the same verdicts."""

    @property
    def spent(self) -> str:
        """Where its seconds went."""

    @property
    def why(self) -> Mapping[str, Sequence[str]]:
        """By case id, what moved with the time of one that is slower or faster."""


def summary(  # noqa: PLR0913 - as `format_text`
    stages: Sequence[StageLike],
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


def _stage(stage: StageLike, *, code: int, quiet: bool, look: Look) -> list[str]:
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
    rows = [_cells(verdict, metrics.get(verdict.case) if not verdict.wrong else None) for verdict in verdicts]
    longest = max(len("case"), *(len(plain(verdict.case)) for verdict in verdicts))
    room = look.width - min(longest, _CASE_WIDTH) - len(f" {_STATUS}")
    fitting = set()
    for name in _BY_WORTH:
        if all(row[name] == "-" for row in rows):
            continue
        if _WIDTHS[name] + 1 > room:
            break
        fitting.add(name)
        room -= _WIDTHS[name] + 1
    shown = {name: size for name, size in _WIDTHS.items() if name in fitting}
    width = min(longest, _CASE_WIDTH + max(0, room))
    head = ["case".ljust(width), "status".ljust(len(_STATUS)), *(f"{name:>{size}}" for name, size in shown.items())]
    lines = [" ".join(head).rstrip()]
    for verdict, row in zip(verdicts, rows, strict=True):
        cells = (f"{row[name]:>{size}}" for name, size in shown.items())
        lines.append(" ".join((_cut(plain(verdict.case), width).ljust(width), _status(verdict, look), *cells)).rstrip())
    legend = "; ".join(said for name, said in _LEGEND.items() if name in shown)
    return [*lines, "", *look.wrapped(legend)] if legend else lines


def _cells(verdict: Verdict, shown: Metrics | None) -> dict[str, str]:
    """Every column of a row; a dash for what is not known."""
    low, high, limit = verdict.low, verdict.high, verdict.limit
    return {
        "change": "-" if verdict.ratio is None else f"{_points(verdict.ratio)} %",
        "interval": "-" if low is None or high is None else f"{_points(low)} to {_points(high)}",
        "limit": "-" if limit is None else f"{(limit - 1) * 100:.2g}",
        "time": duration(shown.seconds) if shown else "-",
        "roof": _number(shown.roofline_share if shown else None, ".0%"),
        "vs ctl": _number(shown.vs_control if shown else None, ".2f"),
        "TFLOPS": _number(shown.tflops if shown else None, ".1f"),
        "GB/s": _number(shown.gb_per_s if shown else None, ".0f"),
    }


def _points(ratio: float) -> str:
    """A ratio as a signed change in percent, as fine as the column has room for."""
    percent = (ratio - 1) * 100
    said = (format(percent, form) for form in ("+.2f", "+.1f", "+.0f"))
    return next((number for number in said if len(number) <= _POINTS), ">9999")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _status(verdict: Verdict, look: Look) -> str:
    return look.painted(f"{verdict.status:<{len(_STATUS)}}", _COLOURS.get(verdict.status, ""))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
