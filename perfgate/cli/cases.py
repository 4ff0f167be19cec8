"""``python -m perfgate cases``: the ids of the suite's cases, for the required check, which has no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line

if TYPE_CHECKING:
    import argparse


def main(argv: list[str]) -> int:
    """Run the command; returns 0, or 2 where there is no suite."""
    made = command_line.parser("cases", "Write the ids of the suite's cases beside the baselines.")
    return command_line.run(made, argv, _work)


def _work(_: argparse.Namespace) -> int:
    from perfgate.config import read_settings
    from perfgate.files import write_whole
    from perfgate.project import load_suite
    from perfgate.store.recording import render
    from perfgate.store.run import CASES_FILE, cases_to_json, of_suite

    project = read_settings(Path.cwd())
    path = project.root / project.baselines / CASES_FILE
    write_whole(path, render(cases_to_json(of_suite(load_suite(project)))) + "\n")
    print(f"cases: wrote {path.relative_to(project.root)}; commit it with the cases.")
    return 0
