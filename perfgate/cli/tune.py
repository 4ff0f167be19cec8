"""``python -m perfgate tune``: find the tiles that suit the GPU present, and propose the kernel's list of configs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.tuning import FOLDER, LAUNCHES, LIMIT, TOP

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def _parser() -> command_line.Parser:
    made = command_line.parser(
        "tune", "Find the tiles that suit the card present, and propose the kernel's list of configs."
    )
    command_line.case_option(made)
    command_line.quick_option(made)
    made.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help="processes that time the best")
    made.add_argument("--top", type=int, default=TOP, metavar="N", help="how many of a case's fastest they time")
    made.add_argument("--limit", type=int, default=LIMIT, metavar="N", help="candidates compiled for a case, at most")
    made.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help=f"where to write ({FOLDER})")
    made.add_argument("--resume", type=Path, metavar="FILE", help="go on with this tune.json")
    return made


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    command_line.at_least(options, launches=1, top=1, limit=1)

    from perfgate.config import read_settings
    from perfgate.tuning.session import run

    return run(read_settings(Path.cwd()), options)
