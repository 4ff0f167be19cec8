"""The command that measures accuracy: what it calls right and wrong, its page, its file, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from perfgate import settings
from perfgate.harness import machine
from perfgate.harness.correctness import round_to_tf32
from studies.accuracy import __main__ as accuracy
from studies.accuracy import report as accuracy_report
from studies.accuracy.cost import Cost
from studies.accuracy.errors import truncate_to_tf32
from studies.accuracy.kernelbench import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("one_thread")
ROOT = Path(__file__).parents[2]
NO_CARD = {
    "gpu": "",
    "why": "no NVIDIA driver",
    "torch": "2",
    "triton": "3",
    "cuda": "13.0",
    "python": "3",
    "code_path": "native",
}
CARD = {**NO_CARD, "gpu": "NVIDIA GeForce RTX 4090", "why": "", "driver": "580", "uuid": "GPU-1", "code_path": "sm89"}
ENOUGH = ("--size=64", "--draws=8")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small products on a busy machine wait for threads longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def in_fp32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a @ b


def in_one_bf16_product(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.bfloat16().float() @ b.bfloat16().float()


class Broken:
    """A kernel of torch's parts, each of which a test may break."""

    def __init__(self) -> None:
        self.cut: Callable[[torch.Tensor], torch.Tensor] = round_to_tf32
        self.bf16x3: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = in_fp32

    def triton_matmul(self, a: torch.Tensor, b: torch.Tensor, *, precision: str | None = None) -> torch.Tensor:
        """Multiply as asked."""
        if precision == "tf32":
            return self.cut(a) @ self.cut(b)
        return self.bf16x3(a, b) if precision == "bf16x3" else a @ b


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """What the command loads as the kernel, on a machine without a card."""
    broken = Broken()
    monkeypatch.setattr(settings, "load_kernel", lambda *_: broken)
    monkeypatch.setattr(machine, "look", lambda: NO_CARD)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.chdir(ROOT)
    return broken


def test_a_right_kernel_passes_and_the_files_say_what_was_measured_where(
    kernel: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kernel.cut is round_to_tf32
    assert accuracy.main([*ENOUGH, "--output", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "tf32: no bias in 8 of 8" in said
    assert "NOT measured, there is no card (no NVIDIA driver)" in said
    page = (tmp_path / "accuracy.md").read_text(encoding="utf-8")
    assert "Triton's interpreter, no card; torch 2, Triton 3;" in page
    assert "IEEE FP32" in page
    assert "python -m studies.accuracy.__main__ --size=64 --draws=8" in page
    document = json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8"))
    assert document["schema"] == 1
    assert document["environment"] == NO_CARD
    assert document["interpreted"]
    assert {row["precision"] for row in document["errors"]} == {
        *("tf32", "tf32x3", "bf16x3", "ieee", "float16", "bfloat16")
    }
    assert {row["by"] for row in document["rounding"]} == {"kernel"}  # torch has TF32 on a card only
    counts = {(row["case"], row["precision"], row["by"]): row["failing"] for row in document["kernelbench"]}
    for case in ("k7_small_k", "k9_tall_skinny"):
        assert [counts[case, precision, "kernel"] for precision in ("tf32x3", "bf16x3", "ieee")] == [0, 0, 0]
        # As the kernel's facts have it: truncation fails on every element, rounding to nearest on a few.
        assert counts[case, "tf32", "operands truncated, FP32 sums"] == 256 * 256
        assert 0 < counts[case, "tf32", "kernel"] < 256 * 256 / 5


def test_a_truncating_kernel_is_found_biased(
    kernel: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.cut = truncate_to_tf32
    assert accuracy.main([*ENOUGH, "--output", str(tmp_path)]) == 1
    assert "tf32: biased in 8 of 8" in capsys.readouterr().out
    assert "biased" in (tmp_path / "accuracy.md").read_text(encoding="utf-8")


def test_a_mode_of_full_accuracy_that_is_not_fails(
    kernel: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.bf16x3 = in_one_bf16_product
    assert accuracy.main([*ENOUGH, "--output", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "bf16x3: " in said
    assert "elements of k7_small_k fail KernelBench's 0.0001" in said


def test_draws_too_few_to_tell_are_not_green(
    kernel: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kernel.cut is round_to_tf32
    assert accuracy.main(["--size=16", "--draws=2", "--output", str(tmp_path)]) == 2
    assert "tf32: cannot tell in" in capsys.readouterr().out


def test_a_result_with_nan_is_one_line_and_no_page(
    kernel: Broken, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kernel.cut = lambda x: x * torch.nan
    assert accuracy.main([*ENOUGH, "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("INVALID wrong-result: tf32, kernel: the result holds NaN")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--draws", "1"], "--draws is 1; expected 2 or more"),
        (["--size", "8"], "--size is 8; expected 16 or more"),
        (["--size", "many"], "invalid int value: 'many'"),
        (["--case", "k3_batched"], "invalid choice: 'k3_batched'"),
        (["--output", "pyproject.toml"], "which is no folder"),
        (["--precision", "tf32"], "unrecognized arguments"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    words: list[str], found: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert accuracy.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("INVALID bad-usage: ")
    assert found in line


def test_a_page_of_a_card_names_its_code_path_and_what_full_accuracy_costs(kernel: Broken) -> None:
    module: Any = kernel
    options = accuracy.Options(size=16, draws=2)
    report = accuracy.measure(settings.load(ROOT), options, module, NO_CARD, interpreted=True)
    cost = Cost(case="k7_small_k", arm="bf16x3", medians_s=(4.55e-3, 4.52e-3), ratios=(1.012, 1.008))
    state = {"throttle_reasons": ["power brake"], "foreign_processes": 1}
    timed = dataclasses.replace(
        report,
        environment=CARD,
        interpreted=False,
        not_timed="",
        costs=[cost],
        launches=[{"states": {"k7_small_k": state}, "unheld": 2, "seconds": {}}],
    )
    page = accuracy_report.markdown(timed)
    assert "NVIDIA GeForce RTX 4090, sm89 code path, driver 580" in page
    assert "Not a card's numbers" not in page
    assert "cheapest mode: k7_small_k bf16x3 +1.00 %" in page
    assert "| k7_small_k | bf16x3 | 4.535 ms | +1.00 % | +0.80 % to +1.20 % |" in page
    assert "**Doubtful**: power brake, 2 launches were not held." in page


def test_the_code_path_is_part_of_the_command_that_repeats_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm89")
    assert accuracy.Options().command(1024).startswith("TRITON_OVERRIDE_ARCH=sm89 python -m studies.accuracy.__main__ ")


def test_an_element_fails_as_allclose_has_it() -> None:
    reference = torch.tensor([[1.0, 1.0, 10000.0, 1.0, 1.0]])
    result = torch.tensor([[1.00019, 1.0003, 10000.9, torch.nan, 1.0]])
    failing, worst = compare(reference, result)
    assert failing == 2
    assert worst == float("inf")
    assert compare(reference, reference) == (0, 0.0)
    for element in range(5):
        expected = torch.allclose(reference[:, element], result[:, element], atol=1e-4, rtol=1e-4)
        assert (compare(reference[:, [element]], result[:, [element]])[0] == 0) is expected


def test_the_whole_command_runs_without_a_card(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TRITON_OVERRIDE_ARCH": "sm89", "OMP_NUM_THREADS": "1"}
    environment.pop("TRITON_INTERPRET", None)
    words = [sys.executable, "-m", "studies.accuracy.__main__", "--size=16", "--draws=2", "--case=k9_tall_skinny"]
    done = subprocess.run(
        [*words, "--output", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "tf32: cannot tell" in done.stdout
    document = json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8"))
    assert document["environment"]["code_path"] == "sm89"
    assert document["environment"]["gpu"] == ""
