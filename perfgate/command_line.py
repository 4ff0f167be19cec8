"""What every command shares: a parser with usage errors of one line, options that several commands have, and the one way out.

A command's module is imported for its ``--help`` too, so it imports what does the work only when it works.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COULD_NOT = 2
"""Exit code of what could not be done."""
QUICK = "quick"
"""The marker of the cases for a fast answer."""


class Parser(argparse.ArgumentParser):
    """Raises ``bad-usage`` where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more."""
        raise GateError("bad-usage", f"{message}; see {self.prog} --help.")


def parser(command: str, description: str, *, epilog: str | None = None) -> Parser:
    """The parser of one command."""
    return Parser(prog=f"python -m perfgate {command}", description=description, epilog=epilog, allow_abbrev=False)


def run(made: Parser, argv: Sequence[str], work: Callable[[argparse.Namespace], int]) -> int:
    """Parse and work; what a person can fix is one line on standard error and exit code 2."""
    try:
        return work(made.parse_args(argv))
    except GateError as error:
        return refused(error)


def refused(error: GateError) -> int:
    """Say on standard error why it could not be done; returns the exit code."""
    print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
    return COULD_NOT


def case_option(made: argparse.ArgumentParser, text: str = "only this case (may be repeated)") -> None:
    """``--case ID``, which may be repeated."""
    made.add_argument("--case", action="append", default=[], metavar="ID", help=text)


def quick_option(made: argparse.ArgumentParser) -> None:
    """``-m quick``, where no other marker means anything."""
    made.add_argument("-m", choices=(QUICK,), help="only the quick cases")


def at_least(options: argparse.Namespace, **least: int) -> None:
    """Refuse an option's number below its least.

    Raises:
        GateError: ``bad-usage``.
    """
    for name, lowest in least.items():
        value = getattr(options, name)
        if value is not None and value < lowest:
            raise GateError("bad-usage", f"--{name} is {value}; expected {lowest} or more.")
