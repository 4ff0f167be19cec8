"""What a change edits of the things that judge it, as it is put before a reader."""

from __future__ import annotations

import pytest
from github_world import LABEL, PROJECT_FILE, SLUG

from perfgate.github.changes import edits


def test_all_that_judges_is_named_once_in_order_and_the_gates_code_in_a_few_words() -> None:
    after = PROJECT_FILE.replace(f"{LABEL} =", "b =") + 'z = "z"\n[tool.perfgate.limits]\na.b = 1\n'
    paths = ["perfgate/b.py", "perf_tests/c.py", "perfgate/a.py", "baselines/y.json", "baselines/x.json", "docs/x.json"]
    assert edits([*paths, *paths, ".github/workflows/x.yml"], PROJECT_FILE, after) == (
        "baselines/x.json",
        "baselines/y.json",
        f"cards.b (default → {SLUG})",
        f"cards.{LABEL} ({SLUG} → default)",
        "cards.z (default → z)",
        "limits.a.b (default → 1)",
        "the gate's code (perf_tests/c.py and 2 more)",
        ".github/workflows/x.yml",
    )
    assert edits(["perfgate/a.py", "noxfile.py"], "", "") == ("the gate's code (noxfile.py and 1 more)",)


@pytest.mark.parametrize(
    ("table", "named"), [("tool = 3", ()), ("[tool]\nperfgate = 3", ("tool.perfgate (default → 3)",))]
)
def test_settings_that_are_no_table_are_no_crash(table: str, named: tuple[str, ...]) -> None:
    assert edits([], "", table) == named
