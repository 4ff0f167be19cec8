"""The main job from end to end on a machine without a card: right kernels pass, broken ones are named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Project = Callable[..., Path]

ROOT = Path(__file__).parents[2]
PARTS = ("kernels", "perfgate", "perf_tests", "baselines", "pyproject.toml")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A copy of this project, with one change to its kernel."""

    def copy(old: str = "", new: str = "") -> Path:
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, tmp_path / part)
        kernel = tmp_path / "kernels/matmul.py"
        text = kernel.read_text()
        assert re.search(old, text), "the kernel has changed; this test's mutation no longer applies"
        kernel.write_text(re.sub(old, new, text) if old else text)
        return tmp_path

    return copy


def perf(project: Path, *options: str, command: str = "run") -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in {"TRITON_INTERPRET", "PYTEST_ADDOPTS", "PYTHONPATH"}}
    environment["CUDA_VISIBLE_DEVICES"] = ""  # also where there is a card
    words = [sys.executable, "-m", "perfgate", command, *options]
    return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The output with its line breaks folded, so that sentences can be found."""
    return " ".join((done.stdout + done.stderr).split())


def test_the_kernel_as_it_is_passes_and_the_first_line_says_that_nothing_was_timed(project: Project) -> None:
    chosen = ("k1_square", "k7_small_k", "sq1024_fp16", "edge_odd", "edge_row_vector", "edge_module")
    done = perf(project(), "-m", "quick", *(word for case in chosen for word in ("--case", case)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("perf: throughput is NOT measured here: no CUDA card (")
    assert "throughput: NOT judged (no CUDA card)" in done.stdout
    last = "perf: partial on purpose; pass, exit 0; judged: correctness, compiled; NOT judged: throughput"
    assert done.stdout.rstrip().endswith(last)


_TWO_OPERANDS = r'_at\(a\["name"\], at_a\), "b_ptr": _at\(b\["name"\]\)'
_WHOLE_STORE = r"mask=row_mask & col_mask\)"
_ALLOCATED = r"( {8}out = torch\.empty\(.*\))"
"""Freed memory may still hold an older right result, so new memory is NaN before the kernel writes to it."""
MUTATIONS = {
    "mask-dropped": ("edge_odd", f"tl.store\\(c_ptrs, c, {_WHOLE_STORE}", "tl.store(c_ptrs, c)"),
    "mask-short": ("edge_odd", _WHOLE_STORE, "mask=(rows + 1 < rows_left) & col_mask)"),
    "last-k-block": ("edge_odd", r"end = \(K - 1\) // BLOCK_K \+ 1", "end = (K - 1) // BLOCK_K"),
    "accumulator": ("edge_odd", r"tl\.zeros\(\(BLOCK_M, BLOCK_N\), ", "tl.full((BLOCK_M, BLOCK_N), 1.0, "),
    "swapped": ("edge_odd", _TWO_OPERANDS, '_at(b["name"], at_a), "b_ptr": _at(a["name"])'),
    "a-by-itself": ("edge_odd", _TWO_OPERANDS, '_at(a["name"], at_a), "b_ptr": _at(a["name"])'),
    "its-own-memory-unwritten": ("edge_odd", _ALLOCATED, r"\1\n        return out"),
    "rows-unwritten": ("sq512_fp16", r"tl\.store\(c_ptrs, c\)", "tl.store(c_ptrs, c, mask=rows < 30)"),
    "padding-unwritten": ("k8_irregular", r"< padded_r\) & \(k < padded_k\)", "< R) & (k < K)"),
    "column-scale": ("k8_irregular", r"tl\.load\(b_half_ptr \+ cols\)", "tl.load(b_half_ptr + cols) * 0 + 1"),
    "part-of-sum": ("k6_large_k", r"for part in range\(PARTS\):(\s+acc)", r"for part in range(PARTS - 1):\1"),
    "last-block-of-a-vector": (
        "edge_row_vector",
        r"range\(0, share, BLOCK_K\):(\s+k = inner \+ done\n)",
        r"range(0, share - BLOCK_K, BLOCK_K):\1",
    ),
    "triangle-begins-late": (
        "k14_upper_triangular",
        r"tile_m \* BLOCK_M // BLOCK_K\)",
        "tile_m * BLOCK_M // BLOCK_K + 1)",
    ),
    "triangle-ends-early": (
        "k15_lower_triangular",
        r"\(tile_m \* BLOCK_M \+ BLOCK_M - 1\) // BLOCK_K \+ 1",
        "(tile_m * BLOCK_M + BLOCK_M - 1) // BLOCK_K",
    ),
}
_SAID = {"its-own-memory-unwritten": "first at row 0, column 0: nan, expected", "rows-unwritten": "never written"}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_wrong_kernel_is_exit_1_and_named(project: Project, mutation: str) -> None:
    case, old, new = MUTATIONS[mutation]
    done = perf(project(old, new), "--case", case, "--case", "edge_one")
    assert done.returncode == 1, said(done)
    assert f"wrong-result: {case}: " in said(done), said(done)
    assert _SAID.get(mutation, "") in said(done)
    assert "throughput: NOT judged" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        (r"num_warps=4", "num_warps=1", "spill"),
        (r"num_stages=\d", "num_stages=8", "shared memory"),
        (r"tl\.zeros\(", "tl.zeroes(", "does not compile"),
    ],
    ids=["registers-spill", "a-block-needs-more-shared-memory-than-there-is", "it-does-not-compile"],
)
def test_a_kernel_that_cannot_run_well_on_the_4090_is_exit_1_and_says_why(
    project: Project, old: str, new: str, names: str
) -> None:
    done = perf(project(old, new), "--case", "sq1024_fp16")
    assert done.returncode == 1, said(done)
    assert re.search(rf"sq1024_fp16: [^:]*{names}", said(done)), said(done)


def test_a_kernel_file_that_is_no_python_is_exit_1(project: Project) -> None:
    done = perf(project(r"def triton_matmul\(", "def triton_matmul(("), "--case", "edge_one")
    assert done.returncode == 1
    assert "SyntaxError" in said(done)


def test_a_card_that_is_required_and_missing_is_exit_2_and_a_quiet_run_says_only_that(project: Project) -> None:
    done = perf(project(), "--require-gpu", "--quiet")
    assert done.returncode == 2
    stage, sentence, *_ = done.stdout.splitlines()
    assert stage == "throughput: NOT judged (no CUDA card)"
    assert sentence.startswith("  INVALID no-card: --require-gpu was given")
    assert done.stdout.splitlines()[-1] == "perf: could not compare, exit 2; judged: nothing; NOT judged: throughput"
    assert "perf: judged here" not in done.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--case", "k99"), "There is no case 'k99'; known are k1_square"),
        (("--launches", "0"), "--launches is 0; expected 1 or more"),
        (("--budget", "nan"), "--budget is nan; expected more than 0 seconds"),
        (("--against", "typo"), "--against typo is neither a file nor a commit"),
        (("--against", "main", "--base", "main"), "--against and --base were both given"),
        (("-k", "no_case_is_called_so"), "No test ran at all"),
        (("--benchmark-disable", "--case", "edge_one"), "turns every benchmark off"),
        (("-n", "2", "--case", "edge_one"), "pytest-xdist"),
        (("--base", "no-such-ref", "--case", "k4_matrix_vector"), "--base no-such-ref is no commit"),
    ],
)
def test_what_cannot_be_judged_is_exit_2_with_one_sentence(
    project: Project, options: tuple[str, ...], says: str
) -> None:
    done = perf(project(), *options)
    assert done.returncode == 2, said(done)
    assert says in said(done)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "not valid JSON"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2"),
        (lambda text: text.replace('"k4_matrix_', '"k4_renamed_'), "k4_matrix_vector: is not in the compiled baseline"),
    ],
    ids=["truncated", "another-schema", "renamed"],
)
def test_a_damaged_compiled_baseline_is_exit_2(project: Project, damage: Callable[[str], str], says: str) -> None:
    root = project()
    path = root / "baselines/sm_89/compiled.json"
    path.write_text(damage(path.read_text()))
    done = perf(root, "--case", "k4_matrix_vector")
    assert done.returncode == 2, said(done)
    assert says in said(done)


def test_a_baseline_edited_by_the_change_itself_does_not_judge_it(project: Project) -> None:
    root = project()

    def git(*args: str) -> None:
        subprocess.run(["git", *args], cwd=root, check=True, capture_output=True)  # noqa: S607 - git by name

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "--message=base")
    path = root / "baselines/sm_89/compiled.json"
    now = path.read_text()
    path.write_text(re.sub(r'"(code_hash|registers)": "?[0-9a-f]', r'"\1": 9', now).replace('hash": 9', 'hash": "9'))
    done = perf(root, "--case", "k4_matrix_vector", "--base", "main")
    assert done.returncode == 0, said(done)
    assert "this change edits baselines/sm_89/compiled.json; it is judged by the one of main" in said(done)
    without = perf(root, "--case", "k4_matrix_vector")
    assert "same-resources" in said(without)
    assert "has changes that are not committed" in said(without)


@pytest.mark.parametrize(
    ("old", "options", "says"),
    [
        ("", (), "No reason was given"),
        (r'for launch in plan\["launches"\]\]', ("--reason", "try"), "No baseline was written."),
    ],
    ids=["no-reason", "wrong-kernel"],
)
def test_baselines_are_not_updated_without_a_reason_or_from_a_wrong_kernel(
    project: Project, old: str, options: tuple[str, ...], says: str
) -> None:
    root = project(old, 'for launch in plan["launches"][1:]]')
    before = (root / "baselines/sm_89/compiled.json").read_bytes()
    done = perf(root, *options, command="update-baselines")
    assert done.returncode == 2
    assert says in done.stderr
    assert (root / "baselines/sm_89/compiled.json").read_bytes() == before


def test_a_failing_step_is_not_hidden_by_the_shell_of_the_ci_script(tmp_path: Path) -> None:
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "python3").chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / ".ci/run")],  # noqa: S607 - bash by name
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 3
