"""The pull request that proposes new baselines: its branch, title, commit and body. Pure.

Every text of a file is escaped; a body is as long as GitHub takes, and says what it leaves out.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perfgate.github.conclusion import LABEL
from perfgate.github.proposal_changes import GONE, NEW
from perfgate.records import GateError, Status
from perfgate.report.markdown import escaped, machine, machine_ratios, plain
from perfgate.text import duration, percent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from perfgate.github.proposal_changes import CaseChange, Changes, CodeChanges
    from perfgate.github.proposal_files import Proposed

MOST_BODY = 65536
"""Characters that GitHub takes."""
MOST_REASON = 500
_TITLE_REASON = 60
_CELL = 60
_NAMES = 30
"""Cases named in a sentence."""
_FEWER_ROWS = (1000, 200, 50, 10, 0)
_COMMIT_SHOWN = 12
_RUN = re.compile(r"\w{1,40}", re.ASCII)
_TIMES_HEAD = ("case", "status", "before", "after", "stored numbers", "same launches")
_CODE_HEAD = ("case", "status", "registers", "spills", "shared bytes", "blocks an SM")


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What is sent to GitHub besides the files."""

    branch: str
    base: str
    """Branch that it is to go into."""
    title: str
    message: str
    body: str
    label: str = LABEL


def check_reason(reason: str) -> str:
    """The reason as it was given.

    Raises:
        GateError: ``no-reason`` or ``bad-reason``.
    """
    if not reason.strip():
        raise GateError(
            "no-reason", "No reason was given, expected one sentence on why the numbers change; start it with one."
        )
    if len(reason) > MOST_REASON or not reason.isprintable():
        found = (
            f"{len(reason)} characters" if len(reason) > MOST_REASON else "a line break or another control character"
        )
        raise GateError(
            "bad-reason", f"The reason has {found}, expected one line of at most {MOST_REASON} characters; shorten it."
        )
    return reason


def proposal(proposed: Proposed, changes: Changes, *, base: str, run: str, now: datetime) -> Proposal:
    """Put a proposal into words.

    Args:
        proposed: The files and records.
        changes: What they change.
        base: Branch that the update was started on.
        run: Number of the workflow run.
        now: Time of day, UTC.

    Raises:
        GateError: ``not-on-github`` for a run that has no number.
    """
    if not _RUN.fullmatch(run):
        raise GateError("not-on-github", f"The run is called {plain(run[:40])!r}, expected GitHub's number of it.")
    asked = proposed.asked
    short = " ".join(asked.reason.split())
    short = short if len(short) <= _TITLE_REASON else f"{short[: _TITLE_REASON - 1]}…"
    title = f"Baselines of {_cut(_card(proposed))}: {short}"
    return Proposal(
        branch=f"baselines/{asked.card}-{now:%Y-%m-%d}-{run}",
        base=base,
        title=title,
        message=f"{title}\n\n{asked.reason}\n",
        body=_bounded(proposed, changes, base),
    )


def _bounded(proposed: Proposed, changes: Changes, base: str) -> str:
    """The longest body that GitHub takes; the one without rows always fits, as every cell and list is cut."""
    return next(
        text for most in _FEWER_ROWS if len(text := _body(proposed, changes, base, most)) <= MOST_BODY or not most
    )


def _body(proposed: Proposed, changes: Changes, base: str, most: int) -> str:
    asked = proposed.asked
    parts = [f"## Baselines of {_cell(_card(proposed))}", f"> {escaped(asked.reason)}"]
    if changes.versions:
        parts.append(
            f"**Not the code alone:** {escaped(', '.join(_cut(found) for found in changes.versions))}. "
            "Part of a change in the stored numbers may be theirs; the same launches show what the code did."
        )
    parts += [
        f"{_cell(name)} could not be read before and is replaced, so it has no before." for name in proposed.unread
    ]
    if proposed.after.times:
        parts += _times(proposed, changes, most)
    for code in changes.code:
        parts += _code(code, most)
    parts += _measured(proposed, base)
    parts += _review(proposed, changes)
    return "\n\n".join(parts) + "\n"


def _times(proposed: Proposed, changes: Changes, most: int) -> list[str]:
    everything = [_row(change) for change in changes.times]
    folded = _folded(f"All {len(everything)} cases", _TIMES_HEAD, everything, most)
    if proposed.before.times is None:
        broken = proposed.asked.times in proposed.unread
        first = "There is no before." if broken else "**First baseline of this card**: there is no before."
        return [f"### Times\n\n{first} It is its own anchor: drift is counted from it.", folded]
    changed = [_row(change) for change in _worst_first(changes.times) if change.status != Status.SAME]
    parts = [f"### Times\n\n{_summary(proposed, changes)}"]
    if changes.refused:
        parts.append(f"The stored numbers cannot be compared: {escaped(changes.refused[:400])}.")
    parts += [_table(_TIMES_HEAD, changed, most)] if changed else []
    parts += [escaped(f"{v.status}: {v.text}"[:600]) for v in changes.verdicts if v.case == "*"]
    if machine_ratios(changes.verdicts):
        did = escaped(machine(changes.verdicts))
        parts.append(f"{did[:1].upper()}{did[1:]}.")
    restarted = changes.restarted
    counted = f"for {_list(restarted)}" if len(restarted) < len(changes.times) else "for every case"
    parts.append(
        f"Drift is counted anew from this baseline {counted}."
        if restarted
        else "No case starts its drift anew: the anchor stays."
    )
    return [*parts, folded]


def _summary(proposed: Proposed, changes: Changes) -> str:
    """One sentence: how many cases went which way, the largest step each way, and how that is known."""
    counts = changes.counts
    said = []
    for status, word in ((Status.SLOWER, "slower"), (Status.FASTER, "faster")):
        furthest = changes.most(status)
        detail = f" (most: {_cell(furthest.case)} {percent(furthest.ratio)})" if furthest and furthest.ratio else ""
        said.append(f"{counts[status]} {word}{detail}")
    said.append(f"{counts[Status.SAME]} the same")
    others = ((Status.UNSURE, "too close to tell"), (Status.INVALID, "not comparable"), ("", "not compared"))
    said += [f"{counts[status]} {word}" for status, word in (*others, (NEW, "new"), (GONE, "gone")) if counts[status]]
    old = proposed.before.times
    commit = _cell(old.commit[:_COMMIT_SHOWN]) if old and old.commit else "an unknown commit"
    how = (
        f"judged beside the code of the baseline before ({commit}) in the same launches"
        if changes.anchored
        else f"judged by the stored numbers alone, since the code of the baseline before ({commit}) was not measured beside it"
    )
    return f"Of {len(changes.times)} cases: {', '.join(said)}; {how}."


def _worst_first(times: Sequence[CaseChange]) -> list[CaseChange]:
    """What has no number first, then from the slowest to the fastest."""
    return sorted(times, key=lambda change: (change.ratio is not None, -(change.ratio or 0.0)))


def _row(change: CaseChange) -> tuple[str, ...]:
    return (
        change.case,
        change.status or "–",
        *("–" if seconds is None else duration(seconds) for seconds in (change.before_s, change.after_s)),
        *("–" if ratio is None else percent(ratio) for ratio in (change.stored, change.beside)),
    )


def _code(code: CodeChanges, most: int) -> list[str]:
    parts = [f"### Machine code: {_cell(code.name)}\n\nBy {_cell(code.versions)}."]
    if code.first:
        return [f"{parts[0]} First facts of {code.cases} cases: there is no before."]
    resources = len({row.case for row in code.rows})
    said = [f"{resources} of {code.cases} cases need other resources"]
    said += [f"other instructions in the same resources: {code.other_code}"] if code.other_code else []
    said += [f"new: {_list(code.new)}"] if code.new else []
    said += [f"gone: {_list(code.gone)}"] if code.gone else []
    parts = [f"{parts[0]} {'; '.join(said)}."]
    rows = [(row.case, row.status, row.registers, row.spills, row.shared, row.blocks) for row in code.rows]
    return [*parts, _table(_CODE_HEAD, rows, most)] if rows else parts


def _measured(proposed: Proposed, base: str) -> list[str]:
    asked, times = proposed.asked, proposed.after.times
    about = [f"Recorded of commit {asked.commit}."]
    if times:
        known = times.environment
        launches = sorted({len(samples.launches) for samples in times.samples.values()})
        machine_line = ", ".join(f"{key} {known.get(key) or 'unknown'}" for key in ("driver", "torch", "triton"))
        about = [
            _cell(f"{known.get('gpu', '')}, {machine_line}", 200)
            + f"; commit {asked.commit}; {_cell(times.recorded_at) or 'no date'}; "
            + f"{' to '.join(map(str, [*launches[:1], *launches[-1:]][: len(launches)]))} launches a case."
        ]
    commands = [f"nox -s update-baselines -- --reason {shlex.quote(asked.reason)}"]
    if times and proposed.before.times:
        commands.append(
            f"# on {base}, with the run's .perfgate: what the change did, judged again without a card\n"
            f"python -m perfgate judge --baseline baselines/{asked.times} --current .perfgate/current.json"
        )
    return ["### How it was measured", *about, _fenced("\n".join(commands))]


def _review(proposed: Proposed, changes: Changes) -> list[str]:
    checks = ["the reason explains every case above, and those alone"]
    if changes.counts[Status.SLOWER]:
        checks.append("each slower case is meant and worth it")
    if changes.versions:
        checks.append("the versions above are those that the runner is meant to have")
    if changes.restarted:
        checks.append("the cases that start their drift anew changed on purpose")
    if changes.counts[GONE] or any(code.gone for code in changes.code):
        checks.append("the cases that are gone were removed on purpose")
    if proposed.after.times and not proposed.before.times:
        checks.append("the times are what this card should reach: nothing judged them")
    judged = (
        f"The gate judges this pull request by its base, as any other. It carries the label {escaped(LABEL)}: what the "
        "base says of it is shown and need not pass; by its own baselines every case has to."
    )
    files = "\n".join(f"- {_cell(f'baselines/{name}', 120)}" for name in sorted(proposed.files))
    return [
        "### What to check\n\n" + "\n".join(f"- [ ] {check}" for check in checks),
        f"Files, and nothing else:\n\n{files}",
        judged,
    ]


def _folded(summary: str, head: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> str:
    return f"<details><summary>{escaped(summary)}</summary>\n\n{_table(head, rows, most)}\n\n</details>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> str:
    lines = [f"| {' | '.join(head)} |", "| :-- | :-- |" + " --: |" * (len(head) - 2)]
    lines += [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows[:most]]
    left = len(rows) - most
    return "\n".join([*lines, *([f"\n… and {left} more cases, which are in the files."] if left > 0 else [])])


def _list(names: Sequence[str]) -> str:
    left = len(names) - _NAMES
    return ", ".join(map(_cell, names[:_NAMES])) + (f" and {left} more" if left > 0 else "")


def _card(proposed: Proposed) -> str:
    return proposed.after.times.environment["gpu"] if proposed.after.times else proposed.asked.card


def _cut(text: str, most: int = _CELL) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _cell(text: str, most: int = _CELL) -> str:
    return escaped(_cut(text, most))


def _fenced(text: str) -> str:
    """A block of code that ends where it should, whatever stands in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{_plain_lines(text)}\n{fence}"


def _plain_lines(text: str) -> str:
    """Lines without control characters."""
    return "\n".join(map(plain, text.split("\n")))
