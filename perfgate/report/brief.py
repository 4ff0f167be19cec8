"""``python -m perfgate brief CASE``: writes down what is known of a case, for whoever makes its kernel faster next.

Owns the command line, which files are read, and whose time a stored time is. Measures nothing and needs no card.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import git, settings
from perfgate.cli.common import Parser
from perfgate.compare import comparability
from perfgate.compare.estimators import typical_seconds
from perfgate.files import write_whole
from perfgate.hardware.gpus import CARDS
from perfgate.hardware.occupancy import architecture
from perfgate.profiling.brief_counters import Counters, counters_from_text
from perfgate.records import GateError
from perfgate.report.brief_page import Brief, Timing, markdown
from perfgate.report.brief_stages import STAGES
from perfgate.report.brief_work import work
from perfgate.store.recording import read_recording

if TYPE_CHECKING:
    import argparse

    from perfgate.records import Case
    from perfgate.settings import Settings

_COULD_NOT = 2
_BASELINE = "matmul.json"
_DIRTY = "-dirty"


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate brief",
        description="Write the brief of a case in Markdown: the card, the stage, the code, its counters, the task, the rules.",
        allow_abbrev=False,
    )
    parser.add_argument("case", metavar="CASE", help="id of a case that is timed")
    parser.add_argument(
        "--stage", choices=tuple(STAGES), default=next(iter(STAGES)), help="what to work on (default: %(default)s)"
    )
    parser.add_argument("--counters", metavar="FILE", type=Path, help="its profile as JSON, or a store of profiles")
    parser.add_argument("--kernel", metavar="FILE", type=Path, help="the code (default: the kernel under test)")
    parser.add_argument("--card", metavar="SLUG", help="the card (default: that of the project's target)")
    parser.add_argument("--time", metavar="SECONDS", type=float, help="its measured time on that card")
    parser.add_argument("--output", metavar="FILE", type=Path, help="where to write it (default: standard output)")
    return parser


def main(argv: list[str]) -> int:
    """Run the command; returns 0, or 2 where there is no such brief."""
    try:
        options = _parser().parse_args(argv)
        text = markdown(gather(settings.load(Path.cwd()), options))
        if options.output is None:
            print(text, end="")
        else:
            _write(options.output, text)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    return 0


def gather(project: Settings, options: argparse.Namespace) -> Brief:
    """Read what goes into the brief.

    Raises:
        GateError: ``unknown-case``, ``unknown-card``, ``no-kernel-file``, ``bad-usage`` or what the counters are refused for.
    """
    case = _case(project, options.case)
    slug = options.card or next(
        (name for name, one in CARDS.items() if one.architecture == project.target), project.target
    )
    card = CARDS.get(slug)
    if card is None:
        raise GateError("unknown-card", f"No limits are stated for a card {slug!r}; known are {', '.join(CARDS)}.")
    path = options.kernel or project.root / project.kernel
    kernel = _text(path, "no-kernel-file", "a kernel file")
    return Brief(
        case=case,
        card=card,
        arch=architecture(card.architecture),
        stage=STAGES[options.stage],
        work=work(case, card),
        kernel=kernel,
        kernel_name=_shown(project, path),
        under_test=project.kernel,
        timing=_given(options.time) if options.time is not None else _stored(project, case, slug, kernel),
        counters=_counters(options.counters, case, slug) if options.counters else None,
    )


def _case(project: Settings, wanted: str) -> Case:
    known: dict[str, Case] = {case.id: case for case in settings.load_suite(project).CASES}
    if wanted not in known:
        raise GateError("unknown-case", f"There is no timed case {wanted!r}; known are {', '.join(known)}.")
    return known[wanted]


def _counters(path: Path, case: Case, slug: str) -> Counters:
    found = counters_from_text(_text(path, "no-file", "measured counters"), case.id, source=str(path))
    if found.card and found.card != slug:
        raise GateError(
            "other-card", f"{path} has counters of {found.card}, expected those of {slug}; name that card with --card."
        )
    return found


def _given(seconds: float) -> Timing:
    if not (math.isfinite(seconds) and seconds > 0):
        raise GateError("bad-usage", f"--time is {seconds:g}, expected seconds above zero.")
    return Timing(seconds=seconds, said="as given with --time")


def _stored(project: Settings, case: Case, slug: str, kernel: str) -> Timing:
    """The time in the card's baseline, where it is of the very code of this brief."""
    name = f"{project.baselines}/{slug}/{_BASELINE}"
    path = project.root / name
    if not path.is_file():
        return Timing(said=f"there is no baseline of this card ({name}), and none was given with --time")
    stored = read_recording(path)
    samples = stored.samples.get(case.id)
    if samples is None or comparability.contract_change(samples.contract, case.contract()):
        return Timing(said=f"{name} has no time of this case as it is now, and none was given with --time")
    seconds = typical_seconds(launch.arms["kernel"] for launch in samples.launches)
    commit = stored.commit or "no commit"
    then = None if commit.endswith(_DIRTY) else git.file_at(project.root, commit, project.kernel)
    if then != kernel:
        whose = "other code" if then is not None else "code that git does not have here"
        return Timing(
            said=f"{name} has {seconds * 1e3:.4g} ms, but that is the time of {whose} ({commit[:12]}), not of the code above; "
            "measure this one and give it with --time"
        )
    return Timing(seconds=seconds, said=f"stored in {name}, {stored.recorded_at}, of this very code, {commit[:12]}")


def _text(path: Path, reason: str, what: str) -> str:
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise GateError(reason, f"{path} does not exist, expected {what}; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(reason, f"{path} cannot be read ({error}), expected {what}; check the file.") from None
    if not text.strip():
        raise GateError(reason, f"{path} is empty, expected {what}; check the file.")
    return text


def _shown(project: Settings, path: Path) -> str:
    """A path as it is seen from the project, without a character that would end its place in a line."""
    real = path.resolve()
    root = project.root.resolve()
    shown = str(real.relative_to(root) if real.is_relative_to(root) else path)
    return "".join("?" if character == "`" or not character.isprintable() else character for character in shown)


def _write(path: Path, text: str) -> None:
    """Write the brief.

    Raises:
        GateError: ``not-written``.
    """
    try:
        write_whole(path, text, make_folder=False)
    except OSError as error:
        raise GateError(
            "not-written", f"{path} cannot be written ({error}); name a file in a folder that can."
        ) from None
