"""Write the golden files anew: ``python -m tests.golden.update [--tree CHECKOUT] [NAME …]``; look at the diff, then commit it.

``--tree`` plays them on another checkout of the project, which is how the first ones came from the code before the redesign.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import pytest


def main() -> None:
    """Play every scenario, or those named, and keep what it said."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tree", type=Path, default=Path(__file__).parents[2])
    options.add_argument("names", nargs="*", metavar="NAME")
    chosen = options.parse_args()
    tree = chosen.tree.resolve()
    sys.path[:0] = [str(tree), str(tree / "tests/support"), str(tree / "tests")]

    from tests.golden.playing import EXPECTED, play
    from tests.golden.scenarios import SCENARIOS

    EXPECTED.mkdir(exist_ok=True)
    for one in SCENARIOS:
        if not chosen.names or one.name in chosen.names:
            began_s = time.monotonic()
            with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
                text = play(one, Path(folder).resolve(), tree=tree, patched=patched)
            (EXPECTED / f"{one.name}.txt").write_text(text, encoding="utf-8")
            print(f"{one.name}: {len(text)} characters in {time.monotonic() - began_s:.1f} s")


if __name__ == "__main__":
    main()
