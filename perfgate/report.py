"""Verdicts put before a reader: terminal text, Markdown for a pull request, JSON for programs. Decides nothing.

What comes from files is untrusted text: control characters are shown as ``?``, Markdown's own are escaped.
"""

from __future__ import annotations

import html
import json
import re
import textwrap
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING, Protocol

from perfgate.cards import card
from perfgate.metrics import recording_metrics
from perfgate.records import SCHEMA, Status, exit_code
from perfgate.wording import duration, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.metrics import Metrics
    from perfgate.records import Recording, Verdict

_WIDTH = 80
_HEAD = ("case", "status", "time", "change", "TFLOPS", "GB/s", "roof", "vs ctl")
_CASE_WIDTH = 22
_MOST_SENTENCES = 5
"""Sentences of one reason in a brief report; its table names every case."""
_MEANING = {0: "pass", 1: "regression or wrong result", 2: "could not compare", 3: "unsure"}


def format_text(
    verdicts: Sequence[Verdict],
    *,
    metrics: Mapping[str, Metrics] | None = None,
    partial: tuple[int, int] | None = None,
    title: str = "perfgate",
    brief: bool = False,
) -> str:
    """A table that fits 80 columns, then each verdict's sentence, then one line that says how it went.

    Args:
        verdicts: In the order to show.
        metrics: By case id, what the times mean; a case without shows dashes.
        partial: Cases judged and cases known, where the user chose some on purpose.
        title: Begins the last line.
        brief: Leave out the sentences of cases that are the same (and their rows, where these hold no numbers), and of
            one reason all but the first few.
    """
    rows = [tuple(plain(cell) for cell in row) for row in _rows(verdicts, metrics or {})]
    lines = []
    if rows and not metrics:
        width = max(len(row[0]) for row in rows)
        shown = [v for v in verdicts if v.case != "*" and not (brief and v.status is Status.SAME)]
        same = Counter(v.reason for v in verdicts if brief and v.status is Status.SAME)
        lines += [f"{count} SAME: {plain(reason)}" for reason, count in same.items()]
        lines += [f"{plain(v.case):<{width}} {v.status:<7} {plain(v.reason)}" for v in shown]
        lines += [""] if shown else []
    elif rows:
        width = max(len(_HEAD[0]), *(min(len(row[0]), _CASE_WIDTH) for row in rows))
        lines += [_line(row, width) for row in (_HEAD, *rows)]
        lines += ["", "roof: share of the roofline; vs ctl: speed over the control's", ""]
    spoken = Counter[str]()
    unsaid: list[str] = []
    for verdict in _worst_first(verdicts):
        spoken[verdict.reason] += 1
        if brief and (verdict.status is Status.SAME or spoken[verdict.reason] > _MOST_SENTENCES):
            unsaid += [f"{verdict.case}: {aside.text}" for aside in verdict.asides if aside.matters]
            continue
        said = (
            f"{verdict.status} {verdict.reason}: {verdict.text}"
            if verdict.status is Status.INVALID
            else f"{verdict.status}: {verdict.text}"
        )
        lines += _wrapped(said, indent="")
        lines += [line for aside in verdict.asides for line in _wrapped(aside.text, indent="  ")]
    if brief:
        lines += [line for text in unsaid[:_MOST_SENTENCES] for line in _wrapped(text, indent="")]
        lines += [f"… and {len(unsaid) - _MOST_SENTENCES} more such lines"] if len(unsaid) > _MOST_SENTENCES else []
        passed = {verdict.reason for verdict in verdicts if verdict.status is Status.SAME}
        rest = {reason: count - _MOST_SENTENCES for reason, count in spoken.items() if reason not in passed}
        lines += [f"… and {count} more of {plain(reason)}" for reason, count in rest.items() if count > 0]
        lines += _wrapped(machine(verdicts), indent="") if any(machine_ratios(verdicts)) else []
    return "\n".join([*lines, f"{title}: {_outcome(verdicts, partial)}"])


def format_markdown(
    verdicts: Sequence[Verdict],
    *,
    metrics: Mapping[str, Metrics] | None = None,
    partial: tuple[int, int] | None = None,
    title: str = "perfgate",
) -> str:
    """The same for a comment or a job summary; sentences of passing cases are folded away. Arguments as `format_text`."""
    lines = [f"**{escaped(title)}: {escaped(_outcome(verdicts, partial))}**", ""]
    rows = _rows(verdicts, metrics or {})
    if rows:
        lines += [_pipes(_HEAD), "| :-- | :-- |" + " --: |" * (len(_HEAD) - 2), *(_pipes(row) for row in rows), ""]
    for verdict in _worst_first(verdicts):
        if verdict.exit_code:
            lines.append(f"- **{verdict.status}** ({escaped(verdict.reason)}) {escaped(_whole_text(verdict))}")
    passed = [verdict for verdict in verdicts if not verdict.exit_code]
    if passed:
        lines += ["", f"<details><summary>{len(passed)} passed</summary>", ""]
        lines += [f"- **{verdict.status}** {escaped(_whole_text(verdict))}" for verdict in passed]
        lines += ["", "</details>"]
    return "\n".join(lines)


def format_json(verdicts: Sequence[Verdict]) -> str:
    """One object with the fixed keys; the same verdicts give the same bytes, in ASCII."""
    document = {
        "schema": SCHEMA,
        "exit": exit_code(list(verdicts)),
        "verdicts": [
            {
                "case": verdict.case,
                "status": str(verdict.status),
                "reason": verdict.reason,
                "ratio": verdict.ratio,
                "low": verdict.low,
                "high": verdict.high,
                "limit": verdict.limit,
                "text": _whole_text(verdict),
            }
            for verdict in verdicts
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False)


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


def summary(stages: Sequence[StageLike], *, partial: bool, code: int, total_s: float) -> str:
    """What a whole run judged, what it could not, where the time went, and how it ended."""
    lines = []
    for stage in stages:
        lines.append(f"{stage.name}: {plain(stage.done or 'NOT judged')}")
        if stage.left_out:
            lines[-1] += f" ({plain(stage.left_out)})"
        if stage.note:
            lines += textwrap.wrap(f"note: {plain(stage.note)}", _WIDTH, initial_indent="  ", subsequent_indent="    ")
        if stage.verdicts:
            found = stage.recording
            numbers = recording_metrics(found, card(found.environment.get("gpu", ""))) if found else None
            lines.append(
                textwrap.indent(format_text(stage.verdicts, metrics=numbers, title=stage.name, brief=True), "  ")
            )
        if stage.again and code:
            lines.append(f"  the same verdicts from the saved samples: {plain(stage.again)}")
    spent = "; ".join(f"{stage.name} {plain(stage.spent)}" for stage in stages if stage.spent)
    lines += textwrap.wrap(
        f"time: {total_s:.0f} s in all{f'; {spent}' if spent else ''}", _WIDTH, subsequent_indent="  "
    )
    judged = ", ".join(stage.name for stage in stages if stage.done) or "nothing"
    not_judged = ", ".join(stage.name for stage in stages if not stage.done)
    lines.append(
        f"perf: {'partial on purpose; ' if partial else ''}{_MEANING[code]}, exit {code}; judged: {judged}"
        + (f"; NOT judged: {not_judged}" if not_judged else "")
    )
    return "\n".join(lines)


def _rows(verdicts: Sequence[Verdict], metrics: Mapping[str, Metrics]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for verdict in verdicts:
        if verdict.case == "*":  # about a file, not a case
            continue
        shown = metrics.get(verdict.case) if not verdict.wrong else None
        rows.append(
            (
                verdict.case,
                str(verdict.status),
                duration(shown.seconds) if shown else "-",
                percent(verdict.ratio) if verdict.ratio is not None else "-",
                _number(shown.tflops if shown else None, ".1f"),
                _number(shown.gb_per_s if shown else None, ".0f"),
                _number(shown.roofline_share if shown else None, ".0%"),
                _number(shown.vs_control if shown else None, ".2f"),
            )
        )
    return rows


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _line(row: tuple[str, ...], width: int) -> str:
    case = row[0] if len(row[0]) <= width else f"{row[0][: width - 1]}…"
    numbers = (f"{cell:>{size}}" for cell, size in zip(row[2:], (9, 9, 6, 5, 4, 6), strict=True))
    return f"{case:<{width}} {row[1]:<7} {' '.join(numbers)}"


def machine_ratios(verdicts: Sequence[Verdict]) -> list[float]:
    """Of the cases whose old code was measured again: its time now over its time then, in rising order."""
    return sorted(aside.ratio for verdict in verdicts for aside in verdict.asides if aside.ratio is not None)


def machine(verdicts: Sequence[Verdict]) -> str:
    """What the machine did, over all cases: the old code now against then."""
    ratios = machine_ratios(verdicts)
    return (
        f"machine: the baseline's own code, measured again, is {percent(median(ratios))} from when it was recorded (median "
        f"of {len(ratios)} cases, {percent(ratios[0])} to {percent(ratios[-1])})"
    )


def _whole_text(verdict: Verdict) -> str:
    return " ".join((verdict.text, *(aside.text for aside in verdict.asides)))


def _wrapped(text: str, *, indent: str) -> list[str]:
    return textwrap.wrap(
        plain(text),
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _worst_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    return sorted(verdicts, key=lambda verdict: verdict.exit_code or 4)


def _outcome(verdicts: Sequence[Verdict], partial: tuple[int, int] | None) -> str:
    counts = Counter("WRONG" if verdict.wrong else str(verdict.status) for verdict in verdicts)
    code = exit_code(list(verdicts))
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing was judged"
    chosen = f"partial: {partial[0]} of {partial[1]} cases, as selected; " if partial else ""
    return f"{chosen}{said}; {_MEANING[code]}, exit {code}"


def plain(text: str) -> str:
    """Text with control characters shown as ``?``: a line stays one line."""
    return "".join(character if character.isprintable() else "?" for character in text)


_MARKS = re.compile(r"@|#|gh(?=-)|:(?=//)|www(?=\.)", re.IGNORECASE)
"""After these, GitHub makes a mention, a reference or a link of what follows."""
_BREAK = "\u200b"
"""A space of no width, which parts what GitHub would otherwise make a mention, a reference or a link of."""


def escaped(text: str) -> str:
    """Text that GitHub's Markdown shows as it is: no markup, HTML, mathematics, mention, reference or link.

    References and links are made of what has been rendered already, where a backslash is gone; so they are parted.
    """
    safe = html.escape(plain(text), quote=False)
    for character in "\\`*_[]|~":
        safe = safe.replace(character, f"\\{character}")
    safe = _MARKS.sub(lambda found: f"{found[0]}{_BREAK}", safe)
    return safe.replace("$", "<span>$</span>")


def _pipes(row: tuple[str, ...]) -> str:
    return f"| {' | '.join(escaped(cell) for cell in row)} |"
