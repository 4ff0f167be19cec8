"""``python -m perfgate``: run, judge, update-baselines. Parses options once, joins the stages, exits by the contract."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from perfgate import gate, judge, settings, update
from perfgate.records import GateError

USAGE_EXIT = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m perfgate", description=__doc__.split("\n")[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run", allow_abbrev=False, help="check, compile, measure and judge (nox -s perf); other options go to pytest"
    )
    run.add_argument("--case", action="append", default=[], metavar="ID", help="only this case (may be repeated)")
    run.add_argument("-k", metavar="EXPR", help="only cases that match, as pytest's -k")
    run.add_argument("-m", metavar="EXPR", help="only cases with this marker, as pytest's -m (quick)")
    run.add_argument("--require-gpu", action="store_true", help="exit 2 where throughput cannot be measured")
    run.add_argument("--base", metavar="REF", help="judge by the baselines of this git ref, not by those of the tree")
    new = commands.add_parser(
        "update-baselines", allow_abbrev=False, help="measure and store new baselines, with a reason"
    )
    new.add_argument("--reason", default="", help="why the numbers change; kept in the baseline")
    new.add_argument("--only", choices=("compiled", "throughput"), help="update one kind of baseline")
    new.add_argument(
        "--beside", action="store_true", help="keep the machine code of this Triton beside the pinned one's"
    )
    new.add_argument("--commit", default="", help="commit of the measured files, where git cannot be asked")
    for command in (run, new):
        command.add_argument("--launches", type=int, metavar="N", help="worker processes of the measurement")
    commands.add_parser("judge", help="judge saved files, no card needed", add_help=False)
    return parser


def main(argv: list[str]) -> int:
    """Run one command; returns the exit code 0, 1, 2 or 3."""
    if argv[:1] == ["judge"]:
        return judge.main(argv[1:])
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    try:
        if options.launches is not None and options.launches < 1:
            raise GateError("bad-usage", f"--launches is {options.launches}; expected 1 or more.")
        project = settings.load(Path.cwd())
        if options.command == "run":
            request = gate.Request(
                cases=tuple(options.case),
                choosing=tuple(f"-{name}{value}" for name in "km" if (value := getattr(options, name)) is not None),
                launches=options.launches or project.launches,
                require_gpu=options.require_gpu,
                base=options.base,
                pytest_args=tuple(rest),
            )
            return gate.run(project, request)
        if rest:
            raise GateError("bad-usage", f"Unknown option {rest[0]!r}; see python -m perfgate update-baselines --help.")
        return update.run(
            project,
            update.Update(
                reason=options.reason,
                only=options.only,
                launches=options.launches or project.baseline_launches,
                commit=options.commit,
                beside=options.beside,
            ),
        )
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return USAGE_EXIT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
