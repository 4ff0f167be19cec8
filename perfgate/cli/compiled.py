"""``python -m perfgate compiled``: the compiled-code gate alone; needs no card and no driver.

Owns the command line of that command: which cases, compared with what, in which format. What it prints goes to standard
output, as JSON nothing else does; a usage error is one line on standard error.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError, exit_code

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from perfgate.codegen.sides import Sides
    from perfgate.records import Case, Verdict

_TITLE = "compiled"
_WIDTH = 80


def _parser() -> command_line.Parser:
    parser = command_line.parser(
        "compiled",
        "Compile every case for the target and hold its machine code against the stored facts, another kernel, "
        "or what another Triton makes of the same kernel. No card is needed.",
        epilog="Exit code: 0 pass, 1 worse code or code that does not build, 2 could not compare.",
    )
    command_line.case_option(parser)
    parser.add_argument("-m", choices=("quick",), dest="marker", help="only the quick cases")
    parser.add_argument("--base", metavar="REF", help="judge by the baseline of this git ref, not by that of the tree")
    parser.add_argument("--against", metavar="REF_OR_FILE", help="compile that kernel too, and compare with it")
    parser.add_argument(
        "--triton",
        metavar="VERSION",
        help="compile the same kernel by that Triton too (installed beside, on demand), and compare the older of both "
        "with the newer",
    )
    parser.add_argument("--no-cache", action="store_true", help="compile everything anew, and keep nothing")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    try:
        options = _parser().parse_args(argv)
        named = [f"--{name}" for name in ("base", "against", "triton") if getattr(options, name) is not None]
        if len(named) > 1:
            raise GateError(
                "bad-usage", f"{' and '.join(named)} were given, expected one: each names the other side; see --help."
            )
    except GateError as error:
        return command_line.refused(error)
    try:
        verdicts = _run(options)
    except GateError as error:
        from perfgate.measurement.session import broken

        verdicts = (broken(error),)
        _print(options, verdicts, known=0)
    return exit_code(verdicts)


def _run(options: argparse.Namespace) -> tuple[Verdict, ...]:
    from perfgate.codegen import sides as compiled_sides
    from perfgate.config import read_settings
    from perfgate.project import load_suite

    began_s = time.monotonic()
    project = read_settings(Path.cwd())
    known = load_suite(project).CASES
    chosen = _chosen(known, options)
    # As JSON the report alone is on standard output.
    say = partial(print, file=sys.stdout if options.format == "text" else sys.stderr, flush=True)
    job = compiled_sides.Job(
        settings=project,
        cases=chosen,
        cached=not options.no_cache,
        tell=lambda line: say(f"{_TITLE}: {line} ({time.monotonic() - began_s:.1f} s)"),
    )
    if options.against is not None:
        sides = compiled_sides.against_kernel(job, options.against)
    elif options.triton is not None:
        sides = compiled_sides.against_triton(job, options.triton)
    else:
        sides = compiled_sides.against_baseline(job, base=options.base)
    say(f"{_TITLE}: {sides.said}")
    if sides.note:
        say(f"  note: {sides.note}")
    partial_ = bool(options.case or options.marker)
    verdicts = compiled_sides.judged(sides, project, selected=chosen if partial_ else None)
    _print(options, verdicts, sides=sides, known=len(known))
    return verdicts


def _chosen(known: Sequence[Case], options: argparse.Namespace) -> tuple[str, ...]:
    """Ids of the cases to compile, in the suite's order."""
    ids = [case.id for case in known]
    for case in options.case:
        if case not in ids:
            raise GateError("unknown-case", f"There is no case {case!r}; known are {', '.join(ids)}.")
    chosen = tuple(
        case.id
        for case in known
        if (not options.case or case.id in options.case) and (options.marker is None or case.quick)
    )
    if not chosen:
        raise GateError("zero-cases", "No case was chosen, expected at least one; widen the selection.")
    return chosen


def _print(options: argparse.Namespace, verdicts: Sequence[Verdict], *, known: int, sides: Sides | None = None) -> None:
    """What moved, and the report."""
    from perfgate import console
    from perfgate.codegen.diff import listing
    from perfgate.report.text import format_text
    from perfgate.report.verdicts import format_json
    from perfgate.text import plain

    if options.format == "json":
        print(format_json(verdicts))
        return
    moved = listing(sides.before.cases, sides.after) if sides and sides.before else []
    chosen = (len(verdicts), known) if known and (options.case or options.marker) else None
    for line in moved:
        print(textwrap.fill(plain(line), _WIDTH, subsequent_indent="  ", break_on_hyphens=False))
    # A case that was asked for by name gets its sentence, also where it is the same.
    look = console.look(sys.stdout, os.environ)
    print(format_text(verdicts, partial=chosen, title=_TITLE, brief=not options.case, look=look))
