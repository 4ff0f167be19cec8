"""``python -m perfgate update-baselines``: measure and store new baselines, with a reason."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line

if TYPE_CHECKING:
    import argparse

    from perfgate.config import Settings


def _parser() -> command_line.Parser:
    made = command_line.parser("update-baselines", "Measure and store new baselines, with a reason.")
    made.add_argument("--reason", default="", help="why the numbers change; kept in the baseline")
    made.add_argument("--only", choices=("compiled", "throughput"), help="update one kind of baseline")
    made.add_argument(
        "--require-gpu", action="store_true", help="exit 2 where throughput cannot be measured, and store nothing"
    )
    made.add_argument(
        "--beside", action="store_true", help="keep the machine code of this Triton beside the pinned one's"
    )
    made.add_argument("--new-anchor", action="store_true", help="count drift from this baseline on, for every case")
    made.add_argument(
        "--dry-run",
        type=Path,
        metavar="OUT",
        help="leave the baselines alone; write there what a pull request would hold",
    )
    made.add_argument("--commit", default="", help="commit of the measured files, where git cannot be asked")
    made.add_argument("--launches", type=int, metavar="N", help="worker processes of the measurement")
    made.add_argument("--no-cache", action="store_true", help="compile every case anew")
    return made


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    command_line.at_least(options, launches=1)

    from perfgate.config import read_settings
    from perfgate.gate import update
    from perfgate.github import propose

    project = read_settings(Path.cwd())
    if options.dry_run is not None:
        propose.refuse_taken(options.dry_run)
    recorded = update.run(
        project,
        update.Update(
            reason=options.reason,
            only=options.only,
            require_gpu=options.require_gpu,
            launches=options.launches or project.baseline_launches,
            commit=options.commit,
            beside=options.beside,
            new_anchor=options.new_anchor,
            cached=not options.no_cache,
            dry_run=options.dry_run is not None,
        ),
    )
    return 0 if options.dry_run is None else _propose(project, options, recorded)


def _propose(project: Settings, options: argparse.Namespace, card: str) -> int:
    """What the workflow would propose of a dry run's baselines; without a GPU, of the machine code alone."""
    from perfgate.gate import update
    from perfgate.github import propose
    from perfgate.project import output_folder

    only = options.only or ("" if card else "compiled")
    card = card or project.target.replace("_", "-")
    words = ["--from", str(update.copied(project)), "--card", card, "--reason", options.reason]
    words += ["--only", only] if only else []
    samples = ["--samples", str(output_folder(project))] if only != "compiled" else []
    return propose.propose_command([*words, *samples, "--dry-run", str(options.dry_run)], os.environ)
