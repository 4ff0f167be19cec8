"""The pages that an author reads, as job summary and as comment: what came of the change, why, and what to do. Pure.

One line a case that matters; every other case is folded away. All text is untrusted and shown as it is, never as markup.
Failing cases are annotations on the kernel's file too: GitHub's workflow commands, whose text cannot give another.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from perfgate.github.conclusion import LABEL
from perfgate.records import Status
from perfgate.report.verdicts import (
    MEANING_ON_GITHUB,
    counted,
    counted_worst_first,
    machine,
    matters,
    word,
    worst_first,
)
from perfgate.text import escaped, percent, pipes, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.github.conclusion import CardReport, Conclusion
    from perfgate.records import Verdict
    from perfgate.store.run import RunRecord

MOST_CHARACTERS = 60_000
"""Of a page: GitHub takes 65,536 in a comment, and the marker and the link want room."""
MOST_ANNOTATIONS = 10
"""Of one kind that GitHub shows for a step."""
_NOTHING = "Nothing"
_MOST_LINES = 15
"""Cases that are told in full; what exceeds it is counted and stands in the table."""
_COMMAND = re.compile(r"(nox -s [a-z-]+(?: --)?(?: --[a-z-]+(?: (?:[\w/-]+(?:\.[\w/-]+)*|\"[\w ]+\"))?)*)")
_CASE = re.compile(r"[\w./@-]{1,80}")
_HALF = 20
"""Characters from zero to either end of the axis."""
_LEAST, _MOST = 0.01, 0.10
"""Bounds of the axis as shares: 1 % shows noise as noise, 10 % leaves small changes visible beside a large one."""
_NAME = 24


def summary(conclusion: Conclusion, *, run_url: str) -> str:
    """The whole page, for the summary of the job, which takes a megabyte. Arguments as `comment`."""
    return "\n".join(_page(conclusion, run_url, folded=True))


def comment(conclusion: Conclusion, *, run_url: str) -> str:
    """The page, short enough for a comment.

    Args:
        conclusion: What came of the run; its texts may hold anything.
        run_url: Page of the workflow run, from a source that is trusted.
    """
    whole = "\n".join(_page(conclusion, run_url, folded=True))
    if len(whole) <= MOST_CHARACTERS:
        return whole
    short = "\n".join(_page(conclusion, run_url, folded=False))
    if len(short) <= MOST_CHARACTERS:
        return short
    return f"{_headline(conclusion)}\n\nThe report is too long to be shown here: [run and artifacts]({run_url})."


def _page(conclusion: Conclusion, run_url: str, *, folded: bool) -> list[str]:
    judged = f"Judged by {code(conclusion.target)} at {code(conclusion.base[:12])}, " if conclusion.base else ""
    lines = [
        _headline(conclusion),
        "",
        f"{judged}change {code(conclusion.head[:12])}; [run and artifacts]({run_url}).",
        "",
    ]
    lines += _notice(conclusion)
    lines += [f"- **Not judged.** {sentence(problem)}" for problem in conclusion.problems]
    for card in conclusion.cards:
        lines += ["", *_card(card, folded=folded)]
    return [*lines, *_to_do(conclusion)]


def _headline(conclusion: Conclusion) -> str:
    if not conclusion.cards:
        return f"## perf: {MEANING_ON_GITHUB[conclusion.exit]} (nothing was measured)"
    verdicts = [verdict for card in conclusion.cards for verdict in card.verdicts]
    where = f"{len(conclusion.cards)} card{'s' if len(conclusion.cards) != 1 else ''}"
    unjudged = len(conclusion.problems) + sum(bool(card.problems) for card in conclusion.cards)
    said = [counted_worst_first(verdicts) or "no case judged", *([f"{unjudged} not judged"] if unjudged else [])]
    wrong = any(verdict.wrong for verdict in verdicts)
    meaning = "wrong result" if wrong else MEANING_ON_GITHUB[conclusion.exit]
    excused = ", as intended" if conclusion.excused else ""
    return f"## perf: {meaning}{excused} ({'; '.join(said)}; {where})"


def _notice(conclusion: Conclusion) -> list[str]:
    """First of all: that a change edits what judges it, and what follows."""
    if not conclusion.edits:
        return []
    names = ", ".join(code(edit) for edit in conclusion.edits[:_MOST_LINES])
    more = f" and {len(conclusion.edits) - _MOST_LINES} more" if len(conclusion.edits) > _MOST_LINES else ""
    if conclusion.intended:
        follows = f"The label `{LABEL}` says that this is meant: its own verdict counts. A wrong result would fail all the same."
    else:
        follows = (
            f"Both verdicts below have to pass. If it is meant, a maintainer sets the label `{LABEL}`; then its own verdict "
            "counts."
        )
    who = [f"> {sentence(conclusion.label)}"] if conclusion.label else []
    return ["> [!IMPORTANT]", f"> **This change edits what judges it:** {names}{more}.", f"> {follows}", *who, ""]


def _card(card: CardReport, *, folded: bool) -> list[str]:
    lines = [f"### {escaped(card.slug)}", ""]
    if card.machine:
        lines += [f"{counted(card.verdicts) or _NOTHING} on {escaped(card.machine)}.", ""]
    lines += [f"- **Not judged.** {sentence(problem)}" for problem in card.problems]
    lines += [f"- Note: {sentence(note)}" for note in card.notes]
    lines += lines_of(card.verdicts)
    if did := machine(card.verdicts):
        lines.append(f"- {sentence(_capital(did))}.")
    if card.proposed is not None:
        lines += [
            "",
            f"**By its own baselines, limits and gate:** {counted(card.proposed) or _NOTHING}.",
            "",
            *lines_of(card.proposed),
        ]
    drawn = plot([verdict for verdict in card.verdicts if matters(verdict)] or card.verdicts)
    if drawn:
        lines += ["", "```text", *drawn, "```"]
    if folded and card.verdicts:
        lines += ["", *_table(card.verdicts)]
    return lines


def lines_of(verdicts: Sequence[Verdict]) -> list[str]:
    """One line a case that matters, the worst first; nothing of those that are the same."""
    telling = worst_first([verdict for verdict in verdicts if matters(verdict)])
    lines = [f"- **{word(verdict)}** {sentence(verdict.text)}" for verdict in telling[:_MOST_LINES]]
    rest = Counter(word(verdict) for verdict in telling[_MOST_LINES:])
    lines += (
        [f"- … and {', '.join(f'{count} more {status}' for status, count in rest.items())}, in the table"]
        if rest
        else []
    )
    # What the machine did is said once a card; what adds up since the first baseline is said by case.
    asides = [
        f"{verdict.case}: {aside.text}"
        for verdict in verdicts
        for aside in verdict.asides
        if aside.matters and aside.ratio is None
    ]
    # A word of ours first: a number there would begin a list.
    return [*lines, *(f"- Also {sentence(text)}" for text in asides[:_MOST_LINES])]


def _table(verdicts: Sequence[Verdict]) -> list[str]:
    changes = [[v.ratio, v.low, v.high] for v in verdicts]
    rows = [
        [code(v.case), word(v), *("" if ratio is None else percent(ratio) for ratio in ratios), escaped(v.reason)]
        for v, ratios in zip(verdicts, changes, strict=True)
    ]
    head = ("case", "verdict", "change of time", "low", "high", "reason")
    summary = f"<details><summary>All {len(rows)} verdicts</summary>"
    return [summary, "", *pipes(head, rows, align="llrrrl"), "", "</details>"]


def _to_do(conclusion: Conclusion) -> list[str]:
    """What an author does next, by what was found."""
    every = [verdict for card in conclusion.cards for verdict in card.verdicts]
    lines = []
    if wrong := [verdict for verdict in every if verdict.wrong]:
        lines += [f"- **Wrong result:** mend the kernel; no time is taken of it. {_again(wrong[0])}"]
    if slower := [verdict for verdict in every if verdict.status is Status.SLOWER and not verdict.wrong]:
        against = (
            f"On any CUDA card: `nox -s perf -- --against {conclusion.base[:12]}{_option(slower[0])}`."
            if _hash(conclusion)
            else ""
        )
        lines += [
            f"- **Slower:** fix it. {against}".rstrip(),
            (
                "- Or, if it is meant: record the new baseline with the reason (Actions → `update-baselines` → Run workflow, on "
                f"this branch), merge the pull request that it opens into this one, and have the label `{LABEL}` set."
            ),
        ]
    if any(verdict.status is Status.FASTER for verdict in every):
        lines.append(
            "- **Faster:** lock the gain in, so that losing it again is a regression: Actions → `update-baselines` → Run workflow, "
            "on this branch or after the merge, with what made it faster as the reason."
        )
    if any(verdict.status is Status.UNSURE for verdict in every):
        lines += ["- **Unsure:** too close to tell from the launches there were; run the jobs again."]
    if not lines and conclusion.exit:
        lines += ["- Do what the lines above say, and run the failed jobs again."]
    if any(verdict.ratio is not None for verdict in every):
        lines.append(
            "- The raw samples are in the artifacts; `python -m perfgate judge --baseline baselines --current current.json` gives the "
            "verdicts on times again anywhere, without a card."
        )
    return ["", "**What to do**", "", *lines] if lines else []


def _again(verdict: Verdict) -> str:
    return f"`nox -s perf --{_option(verdict)}` shows it, also without a card." if _option(verdict) else ""


def _option(verdict: Verdict) -> str:
    return f" --case {verdict.case}" if _CASE.fullmatch(verdict.case) else ""


def _hash(conclusion: Conclusion) -> bool:
    return re.fullmatch(r"[0-9a-f]{40,64}", conclusion.base) is not None


def of_run(run: RunRecord) -> str:
    """The page of one run by itself, such as that without a card, which is all that a fork's author gets at first.

    What each stage judged and what it could not, then one line a case that matters.
    """
    known = run.environment
    where = known.get("gpu") or "a machine without a card"
    versions = f"torch {known.get('torch', 'unknown')}, Triton {known.get('triton', 'unknown')}"
    lines = [f"## perf: {MEANING_ON_GITHUB[run.exit]}", "", f"On {escaped(where)}, {escaped(versions)}.", ""]
    for stage in run.stages:
        left_out = f" ({escaped(stage.left_out)})" if stage.left_out else ""
        lines.append(f"- **{escaped(stage.name)}:** {escaped(stage.done or 'NOT judged')}{left_out}")
        lines += [f"  - Note: {sentence(stage.note)}"] if stage.note else []
    if run.verdicts:
        lines += ["", f"{counted(run.verdicts)}.", "", *lines_of(run.verdicts)]
    return "\n".join([*lines, "", "`nox -s perf` gives the same on any machine."])


# Changes and their intervals drawn in text, which GitHub shows as it is wherever it shows Markdown, and which cannot break:
# it draws Mermaid's charts, but their bars begin at the end of the axis rather than at zero, and they know no intervals.


def plot(verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    """Lines of a plot: one a case that has a number, the interval in brackets, ``o`` the estimate, ``:`` the limits.

    Nothing where no case has a number. What lies beyond the axis is an arrow at its end.
    """
    shown = [v for v in verdicts if v.ratio is not None and v.low is not None and v.high is not None and v.case != "*"]
    if not shown:
        return ()
    far = max(abs(edge - 1) for v in shown for edge in (v.low or 1, v.high or 1, v.ratio or 1, v.limit or 1))
    scale = min(max(far, _LEAST), _MOST)
    width = min(max(len(v.case) for v in shown), _NAME)
    ends = f"{percent(1 - scale)}{'0'.center(2 * _HALF + 1 - 2 * len(percent(1 + scale)))}{percent(1 + scale)}"
    return (f"{'':{width}} {ends}", *(f"{_name(v.case, width)} {_axis(v, scale)}  {_said(v)}" for v in shown))


def _name(case: str, width: int) -> str:
    name = plain(case).replace("`", "'")  # a fence of backticks would end the block
    return f"{name if len(name) <= width else f'{name[: width - 1]}…':{width}}"


def _said(verdict: Verdict) -> str:
    return f"{percent(verdict.ratio or 1):>9} {verdict.status}"


def _axis(verdict: Verdict, scale: float) -> str:
    ratio, low, high = verdict.ratio or 1.0, verdict.low or 1.0, verdict.high or 1.0
    cells = [" "] * (2 * _HALF + 1)
    if verdict.limit is not None:
        for side in (verdict.limit, 2 - verdict.limit):
            if abs(side - 1) <= scale:
                cells[_cell(side, scale)] = ":"
    cells[_HALF] = "|"
    left, right = _cell(low, scale), _cell(high, scale)
    if left < right:
        cells[left : right + 1] = ["[", *"-" * (right - left - 1), "]"]
    middle = _cell(ratio, scale)
    cells[middle] = "o" if abs(ratio - 1) <= scale else (">" if ratio > 1 else "<")
    return "".join(cells)


def _cell(ratio: float, scale: float) -> int:
    return _HALF + round(max(-1.0, min(1.0, (ratio - 1) / scale)) * _HALF)


# Annotations.


def as_annotations(conclusion: Conclusion, *, kernel: str, line: int) -> tuple[str, ...]:
    """One line for standard output each; the worst first, and the last says how many more there are.

    Args:
        conclusion: What came of the run.
        kernel: The file under test, from the repository's root.
        line: Where in it the kernel begins.
    """
    wanted = [
        _command(
            "error" if verdict.exit_code == 1 else "warning",
            kernel,
            line,
            f"{card.label}: {verdict.case} {word(verdict)}",
            verdict.text,
        )
        for card in conclusion.cards
        for verdict in worst_first(card.verdicts)
        if verdict.exit_code
    ]
    wanted += [
        _command("error", kernel, line, f"{card.label}: not judged", problem)
        for card in conclusion.cards
        for problem in card.problems
    ]
    wanted += [_command("error", kernel, line, "not judged", problem) for problem in conclusion.problems]
    if len(wanted) > MOST_ANNOTATIONS:
        more = len(wanted) - MOST_ANNOTATIONS + 1
        last = _command("warning", kernel, line, f"{more} more", f"{more} more cases do not pass; see the summary.")
        return (*wanted[: MOST_ANNOTATIONS - 1], last)
    return tuple(wanted)


def _command(kind: str, file: str, line: int, title: str, text: str) -> str:
    return f"::{kind} file={_property(file)},line={line},title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    """As GitHub's runner expects it: percent escaped, nothing that would end the line, and no older command in it."""
    return plain(text).replace("##[", "## [").replace("%", "%25")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def kernel_line(text: str) -> int:
    """The line of a kernel file where its first kernel is decorated; 1 where there is none."""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("@triton.jit"):
            return number
    return 1


def code(text: str) -> str:
    """A short text as code where it can be; a backtick or a line's end would leave the span."""
    shown = plain(text)
    return escaped(shown) if not shown or "`" in shown or "|" in shown else f"`{shown}`"


def sentence(text: str) -> str:
    """A sentence with this project's own commands in it as code."""
    return "".join(f"`{part}`" if number % 2 else escaped(part) for number, part in enumerate(_COMMAND.split(text)))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
