"""``python -m perfgate history``: what the baselines' own past says of each case. Needs git; no card and no torch.

Owns the command line and what is fatal: only that nothing is left to show.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git, settings
from perfgate.cli.common import Parser
from perfgate.hardware.gpus import CARDS
from perfgate.history import reading, report
from perfgate.history.points import case_histories
from perfgate.history.reading import Found
from perfgate.history.record import History
from perfgate.limits import read_limits
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from perfgate.settings import Settings

_COULD_NOT = 2


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate history",
        description="Show every case over the commits that changed its baselines: time, drift, registers, spills, blocks.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "files", metavar="FILE", nargs="*", type=Path, help="saved runs (current.json) to add at the end"
    )
    parser.add_argument(
        "--case", metavar="ID", action="append", default=[], help="this case, in full (may be repeated)"
    )
    parser.add_argument("--gpu", metavar="SLUG", default="", help="folder of the card's baselines")
    parser.add_argument("--format", choices=("text", "json", "markdown"), default="text")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns 0, or 2 where nothing is left to show."""
    try:
        options = _parser().parse_args(argv)
        found = history(settings.load(Path.cwd()), gpu=options.gpu, runs=options.files, cases=options.case)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    if options.format == "json":
        print(report.format_json(found))
    elif options.format == "markdown":
        print(report.format_markdown(found, details=bool(options.case)))
    else:
        print(report.format_text(found, details=bool(options.case)))
    return 0


def history(project: Settings, *, gpu: str = "", runs: Sequence[Path] = (), cases: Collection[str] = ()) -> History:
    """The history of a card's baselines and of the compile target's.

    Args:
        project: The project's settings.
        gpu: The card's slug; empty takes that of the runs, or the only one that git has a baseline of.
        runs: Files of saved runs, a point each.
        cases: Only these; empty means all.

    Raises:
        GateError: ``no-git``, ``no-history``, ``no-baseline``, ``several-cards`` or ``unknown-case``.
    """
    found, notes = Found(), list[str]()
    known = reading.cards(project)
    card = gpu or next(filter(None, map(reading.card_of, runs)), "") or _only(known)
    has_git = bool(git.commit_of(project.root, "HEAD"))
    shallow = has_git and git.is_shallow(project.root)
    if shallow:
        notes.append("this clone is shallow, so commits before its first are not here (git fetch --unshallow)")
    if not has_git:
        notes.append("there is no git history here, so there are only the runs that were named")
    reading.read_commits(project, card, found)
    anchors = [past.anchor for past in found.pasts if past.anchor]
    reading.read_runs(runs, card, anchors[-1] if anchors else None, found)
    _refuse_nothing(project, found, card=card, known=known, has_git=has_git, shallow=shallow, asked=bool(gpu))
    if not any(past.recording for past in found.pasts):
        notes.append(f"no time of {card or 'any card'} is stored, so there is machine code only")
    elif card in CARDS and CARDS[card].architecture != project.target:
        notes.append(f"the machine code is that for {project.target}, not what {card} itself runs")
    made = case_histories(found.pasts, read_limits(project.root), selected=cases)
    if missing := sorted(set(cases) - {one.case for one in made}):
        held = ", ".join(one.case for one in case_histories(found.pasts, read_limits(project.root)))
        raise GateError("unknown-case", f"{missing[0]} is in no baseline of the past; known are {held}.")
    return History(
        card=card,
        target=project.target,
        updates=tuple(past.update for past in found.pasts),
        cases=made,
        left_out=tuple(found.left_out),
        notes=tuple(notes),
    )


def _only(known: Sequence[str]) -> str:
    if len(known) > 1:
        raise GateError(
            "several-cards", f"Git has baselines of {', '.join(known)}, expected one card; name it with --gpu."
        )
    return known[0] if known else ""


def _refuse_nothing(  # noqa: PLR0913 - what is known of an empty history, all by name
    project: Settings,
    found: Found,
    *,
    card: str,
    known: Sequence[str],
    has_git: bool,
    shallow: bool,
    asked: bool,
) -> None:
    """Stop where nothing of what was asked for is left.

    A card that was named has to have times; a history of the compile target alone will do where none was named.
    """
    times = any(past.recording for past in found.pasts)
    if times or (found.pasts and not asked):
        return
    why = (
        f" ({found.left_out[0].file} of {found.left_out[0].where}: {found.left_out[0].text})" if found.left_out else ""
    )
    if not has_git:
        raise GateError(
            "no-git",
            f"There is no git history at {project.root} and no run that could be read{why}; run this in a clone.",
        )
    depth = "; this clone is shallow, so fetch the rest (git fetch --unshallow)" if shallow else ""
    if card and card not in known:
        raise GateError(
            "no-baseline",
            f"Git has no baseline of {card}, expected {project.baselines}/{card}/matmul.json in a commit (there are ones of "
            f"{', '.join(known) or 'no card'}){depth}; name another card with --gpu, or record one.",
        )
    raise GateError(
        "no-history",
        f"No commit here holds a baseline that could be read{why}, expected one in {project.baselines}{depth}; record one.",
    )
