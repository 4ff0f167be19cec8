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


# What is installed


_PROJECT = """
[build-system]
requires = ["hatchling"]
[project]
name = "x"
[dependency-groups]
gate = ["torch==2.14.1", "triton==3.8.0", "pytest==9.2.0", { include-group = "doctor" }]
doctor = ["nvidia-ml-py==13.615.71"]
[tool.pytest.ini_options]
addopts = ["-ra"]
[tool.ruff]
line-length = 120
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("torch==2.14.1", "torch==2.15.0+cu130", ()),
        ("triton==3.8.0", "triton==3.9.0.post1", ()),
        ("line-length = 120", "line-length = 99", ()),
        ('name = "x"', 'name = "y"', ()),
        ("pytest==9.2.0", "pytest==9.3.0", ("dependency-groups.gate (pytest==9.2.0 → pytest==9.3.0)",)),
        ("triton==3.8.0", "triton>=3", ("dependency-groups.gate (nothing → triton>=3)",)),
        ("torch==2.14.1", "torch", ("dependency-groups.gate (nothing → torch)",)),
        (
            "torch==2.14.1",
            "torch @ https://evil.example/torch.whl",
            ("dependency-groups.gate (nothing → torch @ https://evil.example/torch.whl)",),
        ),
        ('"pytest==9.2.0"', '"pytest==9.2.0", "hook"', ("dependency-groups.gate (nothing → hook)",)),
        ("doctor = [", 'more = ["x"]\ndoctor = [', ("dependency-groups.more (nothing → x)",)),
        ("hatchling", "evil", ("build-system",)),
        ('name = "x"', 'name = "x"\ndependencies = ["hook"]', ("project.dependencies (nothing → hook)",)),
        ("[tool.ruff]", '[project.optional-dependencies]\na = ["b"]\n[tool.ruff]', ("project.optional-dependencies",)),
        ("[tool.ruff]", '[project.entry-points.pytest11]\na = "b"\n[tool.ruff]', ("project.entry-points",)),
        ('["-ra"]', '["-p", "hook"]', ("tool.pytest",)),
        ("[tool.ruff]", '[tool.uv]\nindex-url = "https://evil.example"\n[tool.ruff]', ("tool.uv",)),
        ("[tool.ruff]", '[tool.pip]\nextra = "x"\n[tool.ruff]', ("tool.pip",)),
        ("[tool.pytest.ini_options]", "[tool.mypy]", ("tool.pytest",)),
    ],
)
def test_every_requirement_but_an_exact_pin_of_torch_or_triton_and_every_tool_that_installs_or_tests_is_named(
    old: str, new: str, named: tuple[str, ...]
) -> None:
    assert old in _PROJECT
    assert edits(["pyproject.toml"], _PROJECT, _PROJECT.replace(old, new)) == named


@pytest.mark.parametrize("path", [".github/actions/x/action.yml", ".github/CODEOWNERS", ".github/workflows/perf.yml"])
def test_who_has_to_agree_and_every_action_of_ones_own_judges_too(path: str) -> None:
    assert edits([path, ".github/RUNNER.md"], "", "") == (path,)
