"""``python -m perfgate brief CASE``: what is known of a case, in Markdown, for whoever makes its kernel faster next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line

if TYPE_CHECKING:
    import argparse


def _parser() -> command_line.Parser:
    from perfgate.report.brief import STAGES

    made = command_line.parser(
        "brief",
        "Write the brief of a case in Markdown: the card, the stage, the code, its counters, the task, the rules.",
    )
    made.add_argument("case", metavar="CASE", help="id of a case that is timed")
    made.add_argument(
        "--stage", choices=tuple(STAGES), default=next(iter(STAGES)), help="what to work on (default: %(default)s)"
    )
    made.add_argument("--counters", metavar="FILE", type=Path, help="its profile as JSON, or a store of profiles")
    made.add_argument("--kernel", metavar="FILE", type=Path, help="the code (default: the kernel under test)")
    made.add_argument("--card", metavar="SLUG", help="the card (default: that of the project's target)")
    made.add_argument("--time", metavar="SECONDS", type=float, help="its measured time on that card")
    made.add_argument("--output", metavar="FILE", type=Path, help="where to write it (default: standard output)")
    return made


def main(argv: list[str]) -> int:
    """Run the command; returns 0, or 2 where there is no such brief."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    from perfgate.config import read_settings
    from perfgate.report.brief import brief, write

    text = brief(read_settings(Path.cwd()), options)
    if options.output is None:
        print(text, end="")
    else:
        write(options.output, text)
    return 0
