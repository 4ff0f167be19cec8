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
    "whole_file",
    "evidence",
    "usage",
    "terminal",
    "progress",
    "cards",
    "runners",
    "limits",
    "statistics",
    "metrics",
    "decision",
    "comparable",
    "wording",
    "code_changes",
    "modes",
    "paired",
    "comparisons",
    "suite",
    "drift",
    "verdict",
    "renewal",
    "reading",
    "baselines",
    "by_card",
    "report",
    "report_text",
    "history_record",
    "brief_work",
    "brief_counters",
    "brief_stages",
    "counters_metrics",
    "counters_ncu",
    "counters_store",
    "counters_compare",
    "counters_report",
    "run_record",
    "manifest",
    "junit",
    "judge",
    "study",
    "knobs",
    "calibration",
    "calibration_report",
    "peers",
    "side_by_side_report",
    "side_by_side",
    "tune_pruning",
    "tune_choice",
    "tune_document",
    "tune_report",
]
"""Each imports only what stands before it."""
MEASURING = [
    "git",
    "settings",
    "supervisor",
    "workers",
    "session",
    "sources",
    "tune_pool",
    "occupancy",
    "model_card",
    "model",
    "brief_readings",
    "brief_page",
    "brief",
    "sass",
    "control_flow",
    "compile_only",
    "compiled_baseline",
    "compiled_verdict",
    "why",
    "modelling",
    "modelled_verdict",
    "compiled_judging",
    "history_points",
    "history_reading",
    "history_report",
    "history",
    "compiled_listing",
    "operations",
    "compiled",
    "compiling",
    "compiled_key",
    "compiled_cache",
    "triton_versions",
    "building",
    "memory",
    "correctness",
    "clock",
    "sampling",
    "machine",
    "card_lock",
    "stored",
    "other_side",
    "compiled_sides",
    "compiled_gate",
    "launched",
    "stages",
    "measuring",
    "why_evidence",
    "throughput",
    "calibration_launches",
    "calibrate",
    "tune_compiling",
    "tune_worker",
    "tune_measuring",
    "tune_ranking",
    "tune",
    "counters_worker",
    "counters_profile",
    "counters",
    "left_page",
    "binding",
    "gate",
    "update",
]
"""The rest, after all of `ORDER`; they may need torch, triton or a card. `plugin` and `__main__` join them."""
JOINING = {"plugin", "__main__", "__init__"}
GITHUB = [
    "event",
    "admission",
    "pins",
    "changes",
    "plan",
    "lay",
    "keep",
    "this_run",
    "complete",
    "bearable",
    "conclusion",
    "judging",
    "check",
    "annotations",
    "plot",
    "page",
    "run_page",
    "api",
    "artifact",
    "pulls",
    "labels",
    "recheck",
    "repeat",
    "vouching",
    "comment",
    "proposal_checks",
    "proposal_files",
    "proposal_changes",
    "proposal",
    "propose",
]
"""``perfgate.github``, each importing only what stands before it; of the rest what runs without packages."""
DOCTOR = ["records", "host", "card", "runner", "checks", "card_facts", "runner_facts", "facts"]
"""``perfgate.doctor``, likewise."""
PAGE = [
    "extras",
    "view",
    "inputs",
    "times",
    "cases",
    "cards_view",
    "build",
    "curves",
    "svg",
    "charts",
    "placing",
    "overview",
    "markup",
    "case_html",
    "document",
    "command",
]
"""``perfgate.page``, likewise; it draws by matplotlib, which is imported only to draw."""
PARTS = {"github": GITHUB, "doctor": DOCTOR, "page": PAGE}
ALLOWED_TO_PARTS = {
    "github": {*ORDER, "git", "settings", "compiled_baseline", "compiled_verdict"},
    "doctor": {*ORDER, "git", "settings", "machine", "card_lock"},
    "page": {*ORDER},
}
ALLOWED_TO_STORE = {"records", "whole_file", "statistics", "reading"}
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


def _imported_by_part(part: str, name: str) -> tuple[set[str], set[str]]:
    """What a file of a part imports of that part, and of the rest of the package."""
    within, beyond = set(), set()
    for node in ast.walk(ast.parse((PACKAGE / part / f"{name}.py").read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module or not node.module.startswith("perfgate"):
            continue
        words = [*node.module.split(".")[1:], *(alias.name for alias in node.names)]
        if words[0] == part:
            within |= set(words[1:] if node.module == f"perfgate.{part}" else words[1:2])
        else:
            beyond |= {alias.name for alias in node.names} if node.module == "perfgate" else {words[0]}
    return within, beyond


@pytest.mark.parametrize(("part", "name"), [(part, name) for part, names in PARTS.items() for name in names])
def test_a_file_of_a_part_imports_only_earlier_ones_and_what_runs_without_packages(part: str, name: str) -> None:
    within, beyond = _imported_by_part(part, name)
    assert within <= set(PARTS[part][: PARTS[part].index(name)])
    assert beyond <= ALLOWED_TO_PARTS[part]


def test_the_rest_of_the_package_knows_nothing_of_its_parts() -> None:
    users = {name for name in (*ORDER, *MEASURING) if _imported(name) & set(PARTS)}
    assert users == set()


@pytest.mark.parametrize("part", PARTS)
def test_a_part_needs_no_package_to_be_imported(part: str) -> None:
    names = ", ".join(f"perfgate.{part}.{name}" for name in PARTS[part])
    code = f"import sys, {names}; print([m for m in {FOREIGN!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=PACKAGE.parent)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_every_file_has_its_place() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {*ORDER, *MEASURING, *JOINING}
    for part, names in PARTS.items():
        assert {path.stem for path in (PACKAGE / part).glob("*.py")} == {*names, "__init__"} | (
            {"__main__"} if part == "github" else set()
        )


def test_only_the_plugin_imports_pytest() -> None:
    users = {path.stem for path in PACKAGE.glob("*.py") if "import pytest\n" in path.read_text(encoding="utf-8")}
    assert users == {"plugin"}


def test_the_kernel_knows_nothing_of_the_gate() -> None:
    text = (PACKAGE.parent / "kernels/matmul.py").read_text(encoding="utf-8")
    assert "perfgate" not in text


def test_no_file_is_long() -> None:
    root = PACKAGE.parent
    files = [p for d in ("perfgate", "perf_tests", "tests") for p in (root / d).rglob("*.py")]
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
