"""``python -m perfgate run`` (``nox -s perf``): check, compile, measure and judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError

if TYPE_CHECKING:
    import argparse


def _parser() -> command_line.Parser:
    made = command_line.parser("run", "Check, compile, measure and judge (nox -s perf); other options go to pytest.")
    command_line.case_option(made)
    made.add_argument("-k", metavar="EXPR", help="only cases that match, as pytest's -k")
    made.add_argument("-m", metavar="EXPR", help="only cases with this marker, as pytest's -m (quick)")
    made.add_argument("--require-gpu", action="store_true", help="exit 2 where throughput cannot be measured")
    made.add_argument("--base", metavar="REF", help="judge by the baselines of this git ref, not by those of the tree")
    made.add_argument(
        "--against", metavar="REF_OR_FILE", help="measure that kernel in the same launches and compare with it"
    )
    made.add_argument("--budget", type=float, metavar="SECONDS", help="begin no launch that would end later than this")
    made.add_argument(
        "--fail-on-drift", action="store_true", help="fail on small steps that add up, as on the default branch"
    )
    made.add_argument("--quiet", action="store_true", help="say only what needs attention, and how it ended")
    made.add_argument("--launches", type=int, metavar="N", help="worker processes of the measurement")
    made.add_argument("--no-cache", action="store_true", help="compile every case anew")
    return made


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1, 2 or 3."""
    try:
        options, rest = _parser().parse_known_args(argv)
        return _work(options, tuple(rest))
    except GateError as error:
        return command_line.refused(error)


def _work(options: argparse.Namespace, rest: tuple[str, ...]) -> int:
    command_line.at_least(options, launches=1)
    if options.budget is not None and not options.budget > 0:
        raise GateError("bad-usage", f"--budget is {options.budget:g}; expected more than 0 seconds.")
    if options.against is not None and options.base is not None:
        raise GateError("bad-usage", "--against and --base were both given, expected one: either names the other side.")

    from perfgate.config import read_settings
    from perfgate.gate import pipeline
    from perfgate.measurement.session import Request

    request = Request(
        cases=tuple(options.case),
        choosing=tuple(f"-{name}{value}" for name in "km" if (value := getattr(options, name)) is not None),
        launches=options.launches,
        require_gpu=options.require_gpu,
        base=options.base,
        against=options.against,
        budget_s=options.budget,
        quiet=options.quiet,
        fail_on_drift=options.fail_on_drift,
        cached=not options.no_cache,
        pytest_args=rest,
    )
    return pipeline.run(read_settings(Path.cwd()), request)
