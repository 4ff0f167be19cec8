"""``python -m perfgate doctor`` (``nox -s doctor``): is this machine a good runner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError

if TYPE_CHECKING:
    import argparse


def _parser() -> command_line.Parser:
    made = command_line.parser(
        "doctor",
        "Check all that makes a machine a good runner for this gate. Changes nothing.",
        epilog="Exit code: 0 no fault, 2 faults or bad usage.",
    )
    made.add_argument("--runner", metavar="DIR", type=Path, help="folder of GitHub's runner application")
    made.add_argument("--format", choices=("text", "json"), default="text")
    return made


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code: 0 without faults, 2 with."""
    return command_line.run(_parser(), argv, _work)


def _work(options: argparse.Namespace) -> int:
    from perfgate.doctor import report
    from perfgate.doctor.probe import Probe
    from perfgate.doctor.runner import find_runner

    probe = Probe(Path.cwd(), runner=options.runner)
    if options.runner is not None and find_runner(probe) is None:
        raise GateError(
            "bad-usage",
            f"--runner is {str(options.runner)!r}; expected a folder with GitHub's runner that can be read.",
        )
    found = report.examine(probe)
    print(report.format_json(found) if options.format == "json" else report.format_text(found))
    return report.exit_code(found)
