"""Failing cases as annotations on the kernel's file: GitHub's workflow commands, whose text cannot give another. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.report.markdown import plain

if TYPE_CHECKING:
    from perfgate.github.conclusion import Conclusion
    from perfgate.records import Verdict

MOST = 10
"""Of one kind that GitHub shows for a step."""


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
            f"{card.label}: {_title(verdict)}",
            verdict.text,
        )
        for card in conclusion.cards
        for verdict in sorted(card.verdicts, key=lambda verdict: verdict.exit_code)
        if verdict.exit_code
    ]
    wanted += [
        _command("error", kernel, line, f"{card.label}: not judged", problem)
        for card in conclusion.cards
        for problem in card.problems
    ]
    wanted += [_command("error", kernel, line, "not judged", problem) for problem in conclusion.problems]
    if len(wanted) > MOST:
        more = len(wanted) - MOST + 1
        last = _command("warning", kernel, line, f"{more} more", f"{more} more cases do not pass; see the summary.")
        return (*wanted[: MOST - 1], last)
    return tuple(wanted)


def _title(verdict: Verdict) -> str:
    wrong = "WRONG" if verdict.wrong else str(verdict.status)
    return f"{verdict.case} {wrong}"


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
