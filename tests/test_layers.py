"""One way through: which file may import which, and what may never be imported at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import perfgate

PACKAGE = Path(perfgate.__file__).parent
ORDER = [
    "records",
    "usage",
    "cards",
    "limits",
    "statistics",
    "metrics",
    "decision",
    "comparable",
    "wording",
    "modes",
    "paired",
    "comparisons",
    "suite",
    "drift",
    "verdict",
    "reading",
    "baselines",
    "by_card",
    "report",
    "judge",
    "study",
    "knobs",
    "calibration",
    "calibration_report",
    "peers",
    "side_by_side_report",
    "side_by_side",
]
"""Each imports only what stands before it."""
MEASURING = [
    "git",
    "settings",
    "occupancy",
    "sass",
    "compile_only",
    "compiled_baseline",
    "compiled_verdict",
    "compiled",
    "building",
    "memory",
    "correctness",
    "clock",
    "sampling",
    "machine",
    "card_lock",
    "stored",
    "other_side",
    "launched",
    "session",
    "stages",
    "measuring",
    "throughput",
    "calibration_launches",
    "calibrate",
    "gate",
    "update",
]
"""The rest, after all of `ORDER`; they may need torch, triton or a card. `plugin` and `__main__` join them."""
JOINING = {"plugin", "__main__", "__init__"}
ALLOWED_TO_STORE = {"records", "statistics", "reading"}
FOREIGN = ("torch", "triton", "pytest", "numpy", "pynvml", "matplotlib")


def _imported(name: str) -> set[str]:
    """Modules of this package that a file imports, whether to run or only to check types."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "perfgate":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("perfgate."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("perfgate.")}
    return found


@pytest.mark.parametrize("name", [*ORDER, *MEASURING])
def test_a_file_imports_only_earlier_ones(name: str) -> None:
    every = [*ORDER, *MEASURING]
    assert _imported(name) <= set(every[: every.index(name)])


def test_every_file_has_its_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ORDER, *MEASURING, *JOINING}


def test_only_the_plugin_imports_pytest() -> None:
    users = {path.stem for path in PACKAGE.glob("*.py") if "import pytest\n" in path.read_text(encoding="utf-8")}
    assert users == {"plugin"}


def test_the_kernel_knows_nothing_of_the_gate() -> None:
    text = (PACKAGE.parent / "kernels/matmul.py").read_text(encoding="utf-8")
    assert "perfgate" not in text


def test_no_file_is_long() -> None:
    root = PACKAGE.parent
    files = [p for d in ("perfgate", "perf_tests", "tests") for p in (root / d).glob("*.py")]
    assert {p.name: n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 310} == {}


def test_the_store_knows_no_rule() -> None:
    assert _imported("baselines") <= ALLOWED_TO_STORE
    assert _imported("reading") <= ALLOWED_TO_STORE


def test_a_later_file_would_be_noticed() -> None:
    assert "verdict" in _imported("judge")
    assert "limits" in _imported("verdict")


@pytest.mark.parametrize("name", ORDER)
def test_judging_needs_neither_torch_nor_triton_nor_pytest(name: str) -> None:
    code = (
        f"import sys, perfgate.{name}; "
        f"print([m for m in {FOREIGN!r} if m in sys.modules or any(k.startswith(m + '.') for k in sys.modules)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
