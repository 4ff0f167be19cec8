"""The command line: one file a command with its options, exit code and printing, each imported when it is asked for."""

from __future__ import annotations

import importlib

from perfgate import command_line

COMMANDS = {
    "run": "check, compile, measure and judge (nox -s perf); other options go to pytest",
    "update-baselines": "measure and store new baselines, with a reason",
    "cases": "write the ids of the suite's cases beside the baselines, for the required check",
    "compiled": "compile and judge the machine code alone, no card needed",
    "judge": "judge saved files, no card needed",
    "calibrate": "measure the gate's own error rates on this card",
    "tune": "search the allowed tiles on this card and propose the kernel's list",
    "brief": "write down what is known of a case, for whoever makes it faster next",
    "counters": "read hardware counters with ncu, store them, say what moved",
    "history": "every case over the commits that changed its baselines",
    "doctor": "check that this machine is a good runner",
    "report": "make one HTML page of saved files, no card needed",
}
"""Each command and what it is for; its module has its name, with ``_`` for ``-``."""


def main(argv: list[str]) -> int:
    """Run one command; returns the exit code 0, 1, 2 or 3."""
    if argv[:1] and argv[0] in COMMANDS:
        module = importlib.import_module(f"perfgate.cli.{argv[0].replace('-', '_')}")
        code: int = module.main(argv[1:])
        return code
    made = command_line.Parser(prog="python -m perfgate", description=", ".join(COMMANDS))
    commands = made.add_subparsers(dest="command", required=True)
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    return command_line.run(made, argv, lambda _: 0)
