"""``python -m perfgate.github``: what the workflows call. One command a job; options come from GitHub's own variables.

plan     what judges what, on which cards (sets the job's outputs)
admit    may this run use the card; the machine itself asks this too, before a job's first step
lay      put the candidate's kernels in place of the base's: ``lay FOLDER``
keep     copy what a gate left into a folder for the artifact: ``keep FOLDER NAME``
check    the one required check: summary, annotations, report.json, exit code: ``check FOLDER``; where nothing but a title
         or a text was edited, the verdict that stands
show     the summary of one run by itself: ``show FOLDER``
all      every job before this one has to have succeeded
pick     the runner of the card that was named, and whether the reason is one
recheck  the label was set or taken away: run the required check again
comment  post or update the pull request's comment from a finished run's report
propose  open a pull request with new baselines

Exit code: that of the gate; 2 for what could not be done. A command's module is imported when it is called: ``admit`` needs
the standard library alone.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from perfgate.github.api import for_log
from perfgate.github.event import MOST_SAID
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_COULD_NOT = 2
COMMANDS = {
    "plan": "plan.plan_command",
    "admit": "admit.admit_command",
    "lay": "overlay.lay_command",
    "keep": "overlay.keep_command",
    "check": "check.check_command",
    "show": "check.show_command",
    "all": "check.all_command",
    "pick": "propose.pick_command",
    "recheck": "pulls.recheck_command",
    "comment": "comment.comment_command",
    "propose": "propose.propose_command",
}
"""By name, the module below `perfgate.github` and its function of words and environment, which returns the exit code."""


def main(argv: list[str], environment: Mapping[str, str]) -> int:
    """Run one command; returns its exit code."""
    if not argv or argv[0] not in COMMANDS:
        print(f"INVALID bad-usage: expected one of {', '.join(COMMANDS)}.\n\n{__doc__}", file=sys.stderr)
        return _COULD_NOT
    module, _, name = COMMANDS[argv[0]].partition(".")
    try:
        command: Callable[[list[str], Mapping[str, str]], int] = getattr(
            import_module(f"perfgate.github.{module}"), name
        )
        return command(argv[1:], environment)
    except GateError as error:
        print(f"INVALID {error.reason}: {for_log(error.text, most=MOST_SAID)}", file=sys.stderr)
        return _COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
