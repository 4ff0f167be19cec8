"""``python -m perfgate``: run, compiled, judge, cases, update-baselines, calibrate, tune, side-by-side, brief, counters, history, report, doctor. Parses options once, joins the stages, exits by the contract."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from perfgate import settings
from perfgate.calibration import session
from perfgate.cli import compiled, judge
from perfgate.cli import report as page
from perfgate.doctor import facts as doctor
from perfgate.files import write_whole
from perfgate.gate import pipeline, update
from perfgate.github import propose
from perfgate.history import session as history
from perfgate.measurement.session import Request, output_folder
from perfgate.profiling import session as counters
from perfgate.records import GateError
from perfgate.report import brief
from perfgate.store import manifest
from perfgate.store.recording import render
from perfgate.tuning import session as tune
from studies.gates import __main__ as side_by_side

USAGE_EXIT = 2


def _cases(argv: list[str]) -> int:
    """Write the ids of the suite's cases beside the baselines, for the required check, which has no torch."""
    if argv:
        print("INVALID bad-usage: cases takes no option.", file=sys.stderr)
        return USAGE_EXIT
    project = settings.load(Path.cwd())
    path = project.root / project.baselines / manifest.FILE
    write_whole(path, render(manifest.cases_to_json(manifest.of_suite(settings.load_suite(project)))) + "\n")
    print(f"cases: wrote {path.relative_to(project.root)}; commit it with the cases.")
    return 0


_OWN_OPTIONS = {
    "cases": _cases,
    "compiled": compiled.main,
    "judge": judge.main,
    "calibrate": session.main,
    "tune": tune.main,
    "side-by-side": side_by_side.main,
    "brief": brief.main,
    "counters": counters.main,
    "history": history.main,
    "doctor": doctor.main,
    "report": page.main,
}
"""Commands that parse what follows them."""


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
    run.add_argument(
        "--against", metavar="REF_OR_FILE", help="measure that kernel in the same launches and compare with it"
    )
    run.add_argument("--budget", type=float, metavar="SECONDS", help="begin no launch that would end later than this")
    run.add_argument(
        "--fail-on-drift", action="store_true", help="fail on small steps that add up, as on the default branch"
    )
    run.add_argument("--quiet", action="store_true", help="say only what needs attention, and how it ended")
    new = commands.add_parser(
        "update-baselines", allow_abbrev=False, help="measure and store new baselines, with a reason"
    )
    new.add_argument("--reason", default="", help="why the numbers change; kept in the baseline")
    new.add_argument("--only", choices=("compiled", "throughput"), help="update one kind of baseline")
    new.add_argument(
        "--require-gpu", action="store_true", help="exit 2 where throughput cannot be measured, and store nothing"
    )
    new.add_argument(
        "--beside", action="store_true", help="keep the machine code of this Triton beside the pinned one's"
    )
    new.add_argument("--new-anchor", action="store_true", help="count drift from this baseline on, for every case")
    new.add_argument(
        "--dry-run",
        type=Path,
        metavar="OUT",
        help="leave the baselines alone; write there what a pull request would hold",
    )
    new.add_argument("--commit", default="", help="commit of the measured files, where git cannot be asked")
    for command in (run, new):
        command.add_argument("--launches", type=int, metavar="N", help="worker processes of the measurement")
        command.add_argument("--no-cache", action="store_true", help="compile every case anew")
    for name, help_text in (
        ("compiled", "compile and judge the machine code alone, no card needed"),
        ("judge", "judge saved files, no card needed"),
        ("cases", "write the ids of the suite's cases beside the baselines, for the required check"),
        ("calibrate", "measure the gate's own error rates on this card"),
        ("tune", "search the allowed tiles on this card and propose the kernel's list"),
        ("side-by-side", "the rules of other gates and ours on recorded launches"),
        ("brief", "write down what is known of a case, for whoever makes it faster next"),
        ("counters", "read hardware counters with ncu, store them, say what moved"),
        ("history", "every case over the commits that changed its baselines"),
        ("doctor", "check that this machine is a good runner"),
        ("report", "make one HTML page of saved files, no card needed"),
    ):
        commands.add_parser(name, help=help_text, add_help=False)
    return parser


def main(argv: list[str]) -> int:
    """Run one command; returns the exit code 0, 1, 2 or 3."""
    if argv[:1] and argv[0] in _OWN_OPTIONS:
        return _OWN_OPTIONS[argv[0]](argv[1:])
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    try:
        if options.launches is not None and options.launches < 1:
            raise GateError("bad-usage", f"--launches is {options.launches}; expected 1 or more.")
        if getattr(options, "budget", None) is not None and not options.budget > 0:
            raise GateError("bad-usage", f"--budget is {options.budget:g}; expected more than 0 seconds.")
        if getattr(options, "against", None) is not None and options.base is not None:
            raise GateError(
                "bad-usage", "--against and --base were both given, expected one: either names the other side."
            )
        project = settings.load(Path.cwd())
        if options.command == "run":
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
                pytest_args=tuple(rest),
            )
            return pipeline.run(project, request)
        if rest:
            raise GateError("bad-usage", f"Unknown option {rest[0]!r}; see python -m perfgate update-baselines --help.")
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
        if options.dry_run is None:
            return 0
        return _propose(project, options, recorded)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return USAGE_EXIT


def _propose(project: settings.Settings, options: argparse.Namespace, card: str) -> int:
    """What the workflow would propose of a dry run's baselines; without a card, of the machine code alone."""
    only = options.only or ("" if card else "compiled")
    card = card or project.target.replace("_", "-")
    words = ["--from", str(update.copied(project)), "--card", card, "--reason", options.reason]
    words += ["--only", only] if only else []
    samples = ["--samples", str(output_folder(project))] if only != "compiled" else []
    return propose.main([*words, *samples, "--dry-run", str(options.dry_run)], os.environ)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
