"""The page that an author reads, as job summary and as comment: what came of the change, why, and what to do. Pure.

One line a case that matters; every other case is folded away. All text is untrusted and shown as it is, never as markup.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from perfgate.github.conclusion import LABEL
from perfgate.github.plot import plot
from perfgate.records import Status
from perfgate.report.markdown import escaped, machine, machine_ratios, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.github.conclusion import CardReport, Conclusion
    from perfgate.records import Verdict

MOST_CHARACTERS = 60_000
"""Of a page: GitHub takes 65,536 in a comment, and the marker and the link want room."""
_MOST_LINES = 15
"""Cases that are told in full; what exceeds it is counted and stands in the table."""
_COMMAND = re.compile(r"(nox -s [a-z-]+(?: --)?(?: --[a-z-]+(?: (?:[\w/-]+(?:\.[\w/-]+)*|\"[\w ]+\"))?)*)")
_CASE = re.compile(r"[\w./@-]{1,80}")
MEANING = {0: "pass", 1: "regression", 2: "could not be judged", 3: "undecided"}


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
        return f"## perf: {MEANING[conclusion.exit]} (nothing was measured)"
    where = f"{len(conclusion.cards)} card{'s' if len(conclusion.cards) != 1 else ''}"
    found = Counter(
        "wrong" if verdict.wrong else str(verdict.status).lower()
        for card in conclusion.cards
        for verdict in card.verdicts
    )
    order = ("wrong", "slower", "invalid", "unsure", "faster", "same")
    counted = ", ".join(f"{found[name]} {name}" for name in order if found[name])
    unjudged = len(conclusion.problems) + sum(bool(card.problems) for card in conclusion.cards)
    said = [counted or "no case judged", *([f"{unjudged} not judged"] if unjudged else [])]
    meaning = "wrong result" if found["wrong"] else MEANING[conclusion.exit]
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
        lines += [f"{counted(card.verdicts)} on {escaped(card.machine)}.", ""]
    lines += [f"- **Not judged.** {sentence(problem)}" for problem in card.problems]
    lines += [f"- Note: {sentence(note)}" for note in card.notes]
    lines += lines_of(card.verdicts)
    if any(machine_ratios(card.verdicts)):
        lines.append(f"- {sentence(_capital(machine(card.verdicts)))}.")
    if card.proposed is not None:
        lines += [
            "",
            f"**By its own baselines, limits and gate:** {counted(card.proposed)}.",
            "",
            *lines_of(card.proposed),
        ]
    drawn = plot([verdict for verdict in card.verdicts if _matters(verdict)] or card.verdicts)
    if drawn:
        lines += ["", "```text", *drawn, "```"]
    if folded and card.verdicts:
        lines += ["", *_table(card.verdicts)]
    return lines


def lines_of(verdicts: Sequence[Verdict]) -> list[str]:
    """One line a case that matters, the worst first; nothing of those that are the same."""
    telling = sorted((verdict for verdict in verdicts if _matters(verdict)), key=lambda verdict: verdict.exit_code or 4)
    lines = [f"- **{_status(verdict)}** {sentence(verdict.text)}" for verdict in telling[:_MOST_LINES]]
    rest = Counter(_status(verdict) for verdict in telling[_MOST_LINES:])
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


def _matters(verdict: Verdict) -> bool:
    return verdict.status is not Status.SAME or verdict.wrong


def _status(verdict: Verdict) -> str:
    return "WRONG" if verdict.wrong else str(verdict.status)


def counted(verdicts: Sequence[Verdict]) -> str:
    """How many there are of each status."""
    counts = Counter(_status(verdict) for verdict in verdicts)
    return ", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "Nothing"


def _table(verdicts: Sequence[Verdict]) -> list[str]:
    rows = [
        f"| {code(verdict.case)} | {_status(verdict)} | {_percent(verdict.ratio)} | {_percent(verdict.low)} | "
        f"{_percent(verdict.high)} | {escaped(verdict.reason)} |"
        for verdict in verdicts
    ]
    head = ["| case | verdict | change of time | low | high | reason |", "| :-- | :-- | --: | --: | --: | :-- |"]
    summary = f"<details><summary>All {len(rows)} verdicts</summary>"
    return [summary, "", *head, *rows, "", "</details>"]


def _percent(ratio: float | None) -> str:
    return "" if ratio is None else f"{(ratio - 1) * 100:+.2f} %"


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


def code(text: str) -> str:
    """A short text as code where it can be; a backtick or a line's end would leave the span."""
    shown = plain(text)
    return escaped(shown) if not shown or "`" in shown or "|" in shown else f"`{shown}`"


def sentence(text: str) -> str:
    """A sentence with this project's own commands in it as code."""
    return "".join(f"`{part}`" if number % 2 else escaped(part) for number, part in enumerate(_COMMAND.split(text)))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
