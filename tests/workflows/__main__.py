"""``python -m tests.workflows``: the workflows under act, scenario by scenario, and their expressions by GitHub's parser.

Exit code: 0 all ended as expected, 1 something did not, 2 something could not be judged here.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from . import act, expressions, stage
from .actions_sources import NoSourcesError, actions
from .play import play
from .scenarios import SCENARIOS

if TYPE_CHECKING:
    from .play import Scenario

_NOT_JUDGED = 2
_SCENARIO_S = 300
ROOT = Path(__file__).parents[2]


def main(argv: list[str]) -> int:
    """Play what was asked for; returns the exit code."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    if options.list:
        print("\n".join(one.name for one in SCENARIOS))
        return 0
    chosen = [one for one in SCENARIOS if not options.scenario or one.name in options.scenario]
    if unknown := set(options.scenario) - {one.name for one in SCENARIOS}:
        print(f"workflows: there is no scenario {', '.join(sorted(unknown))}; see --list")
        return _NOT_JUDGED
    program = act.program()
    if missing := [name for name, found in (("act", program), ("node", shutil.which("node"))) if not found]:
        print(f"not judged: no {' and no '.join(missing)}")
        return _NOT_JUDGED
    flows = sorted((ROOT / ".github/workflows").glob("*.yml"))
    given = options.sources or os.environ.get("PERFGATE_ACTIONS_SOURCES")
    try:
        held, problems = (0, list[str]()) if options.scenario else expressions.judge(flows)
        found = actions(flows, Path(given).resolve() if given else None)
    except NoSourcesError as error:
        print(f"not judged: {error}")
        return _NOT_JUDGED
    if held or problems:
        print(f"{'FAIL' if problems else 'ok'} expressions: {held} values in {len(expressions.CONTEXTS)} contexts")
        print("".join(f"  - {problem}\n" for problem in problems), end="")
    for said in found.values():
        print(f"workflows: {said}", flush=True)
    player = act.Act(program=str(program), options=[*found], timeout_s=_SCENARIO_S)
    with tempfile.TemporaryDirectory(prefix="perfgate-workflows-") as scratch:
        folder = Path(scratch)
        try:
            failed = _play_all(chosen, player, folder)
        finally:
            if options.keep:
                left_out = shutil.ignore_patterns("stage", "cache", "clone-*")
                shutil.copytree(folder, options.keep, symlinks=True, dirs_exist_ok=True, ignore=left_out)
    print(f"workflows: {len(chosen) - failed} of {len(chosen)} scenarios ended as expected")
    return 1 if problems or failed else 0


def _play_all(chosen: list[Scenario], player: act.Act, folder: Path) -> int:
    """Play each on its own copy and say how it ended; returns how many ended otherwise."""
    first = stage.begin(folder / "stage", ROOT)
    bad = 0
    for one in chosen:
        ended, problems = play(one, first.copy(folder / one.name), player)
        hosted = f", hosted jobs {ended.hosted_s:.0f} s" if one.workflow == "perf.yml" else ""
        said = f"{one.name}: {ended.conclusion} (expected {one.ends}), {ended.seconds:.0f} s{hosted}"
        print(f"{'FAIL' if problems else 'ok'} {said}", flush=True)
        if problems:
            bad += 1
            print("\n".join([*(f"  - {problem}" for problem in problems), *(f"    {line}" for line in ended.tail)]))
    return bad


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.workflows", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sources", metavar="FOLDER", help="sources of the actions (else PERFGATE_ACTIONS_SOURCES)")
    parser.add_argument("--scenario", action="append", default=[], metavar="NAME", help="only this one (repeatable)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep everything there, for a look")
    parser.add_argument("--list", action="store_true", help="say the names and end")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
