"""Verdicts put before a reader: Markdown for a pull request, JSON for programs (`report_text` has the terminal's). Decides nothing.

What comes from files is untrusted text: control characters are shown as ``?``, Markdown's own are escaped.
"""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from statistics import median
from typing import TYPE_CHECKING

from perfgate.records import SCHEMA, Status, exit_code
from perfgate.text import duration, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.compare.roofline import Metrics
    from perfgate.records import Verdict

HEAD = ("case", "status", "time", "change", "TFLOPS", "GB/s", "roof", "vs ctl")
"""Of the columns of `table_rows`."""
MEANING = {0: "pass", 1: "regression or wrong result", 2: "could not compare", 3: "unsure"}
"""Of an exit code."""


def format_markdown(
    verdicts: Sequence[Verdict],
    *,
    metrics: Mapping[str, Metrics] | None = None,
    partial: tuple[int, int] | None = None,
    title: str = "perfgate",
) -> str:
    """A table and sentences for a comment or a job summary; those of passing cases are folded away.

    Args:
        verdicts: In the order to show.
        metrics: By case id, what the times mean; a case without shows dashes.
        partial: Cases judged and cases known, where the user chose some on purpose.
        title: Begins the first line.
    """
    lines = [f"**{escaped(title)}: {escaped(outcome(verdicts, partial))}**", ""]
    rows = table_rows(verdicts, metrics or {})
    if rows:
        lines += [_pipes(HEAD), "| :-- | :-- |" + " --: |" * (len(HEAD) - 2), *(_pipes(row) for row in rows), ""]
    for verdict in worst_first(verdicts):
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


def table_rows(verdicts: Sequence[Verdict], metrics: Mapping[str, Metrics]) -> list[tuple[str, ...]]:
    """A row of words and numbers for every verdict on a case, with the columns of `HEAD`; a wrong case has no numbers."""
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


def said(verdict: Verdict) -> str:
    """A verdict's sentence with its status, and its reason where the sentence is about something else than times."""
    reason = f" {verdict.reason}" if verdict.status is Status.INVALID else ""
    return f"{verdict.status}{reason}: {verdict.text}"


def _whole_text(verdict: Verdict) -> str:
    return " ".join((verdict.text, *(aside.text for aside in verdict.asides)))


def worst_first(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """In order of exit code, which is that of importance; what passes last."""
    return sorted(verdicts, key=lambda verdict: verdict.exit_code or 4)


def outcome(verdicts: Sequence[Verdict], partial: tuple[int, int] | None) -> str:
    """How many of each status, and what that means, in a line."""
    counts = Counter("WRONG" if verdict.wrong else str(verdict.status) for verdict in verdicts)
    code = exit_code(list(verdicts))
    found = ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "nothing was judged"
    chosen = f"partial: {partial[0]} of {partial[1]} cases, as selected; " if partial else ""
    return f"{chosen}{found}; {MEANING[code]}, exit {code}"


def ending(stages: Mapping[str, str], *, partial: bool, code: int) -> str:
    """How a whole run ended, and which stages (name: what was judged) were judged."""
    judged = ", ".join(name for name, done in stages.items() if done) or "nothing"
    not_judged = ", ".join(name for name, done in stages.items() if not done)
    chosen, rest = "partial on purpose; " if partial else "", f"; NOT judged: {not_judged}" if not_judged else ""
    return f"{chosen}{MEANING[code]}, exit {code}; judged: {judged}{rest}"


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
