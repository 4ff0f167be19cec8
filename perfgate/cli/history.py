"""``python -m perfgate history``: every case over the commits that changed its baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line

if TYPE_CHECKING:
    import argparse


def _parser() -> command_line.Parser:
    made = command_line.parser(
        "history",
        "Show every case over the commits that changed its baselines: time, drift, registers, spills, blocks.",
    )
    made.add_argument("files", metavar="FILE", nargs="*", type=Path, help="saved runs (current.json) to add at the end")
    command_line.case_option(made, "this case, in full (may be repeated)")
    made.add_argument("--gpu", metavar="SLUG", default="", help="folder of the card's baselines")
    made.add_argument("--format", choices=("text", "json"), default="text")
    return made


def main(argv: list[str]) -> int:
    """Run the command; returns 0, or 2 where nothing is left to show."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    from perfgate.config import read_settings
    from perfgate.history import report
    from perfgate.history.collect import history

    found = history(read_settings(Path.cwd()), gpu=options.gpu, runs=options.files, cases=options.case)
    if options.format == "json":
        print(report.format_json(found))
    else:
        print(report.format_text(found, details=bool(options.case)))
    return 0
