"""The slowed kernel of the calibration: the same bits, real work, and no room taken from the kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kernel_support
import pytest
import torch

from perf_tests import cases
from perf_tests.slowed import load_slowed, slowed_by, slowed_source
from perfgate.correctness import same_bits
from perfgate.records import GateError
from perfgate.settings import load_kernel

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]
KERNEL_FILE = ROOT / "kernels/matmul.py"
SOURCE = KERNEL_FILE.read_text(encoding="utf-8")
DEVICE = kernel_support.DEVICE

TILES = ("k1_square", "k6_large_k", "k7_small_k", "sq512_fp32", "sq1024_fp16")
"""Cases that run every tile of the kernel, and every kind of accumulation."""
COMPILE = """
import dataclasses, json, sys
from pathlib import Path
from perf_tests import cases, slowed
from perfgate import compiled, settings

def facts(module, case):
    (found,) = compiled.compile_launches(cases.call_on_meta(module, case))
    return dataclasses.asdict(found)

kernel = settings.load_kernel(Path("kernels/matmul.py"))
slow = slowed.load_slowed(Path("kernels/matmul.py"), Path(sys.argv[1]))
for case in cases.CASES:
    if case.id in sys.argv[2:]:
        of_slowed = {}
        for slow.SLOWDOWN in (0, 1, 16):  # what Triton would make special kernels of
            of_slowed[slow.SLOWDOWN] = facts(slow, case)
        print(json.dumps([case.id, facts(kernel, case), of_slowed]))
"""


@pytest.fixture(scope="module")
def kernel() -> ModuleType:
    return load_kernel(KERNEL_FILE, "kernel_of_test_slowed")


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load_slowed(KERNEL_FILE, tmp_path_factory.mktemp("slowed"))


def operands(dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers whose products are infinite, NaN, and so small that FP16 keeps only their sign."""
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(70, 33, generator=generator), torch.rand(33, 80, generator=generator) * 2.0**-8 + 2.0**-12
    a[0] = -(2.0**-24)
    a[1, 0], a[2, 0], a[3, 0] = float("inf"), -float("inf"), float("nan")
    return a.to(DEVICE, getattr(torch, dtype)), b.to(DEVICE, getattr(torch, dtype))


def test_the_arithmetic_added_keeps_every_number_and_plus_zero_would_not() -> None:
    numbers = torch.tensor([-0.0, 0.0, 1.5, -1e-45, 3e38, float("inf"), -float("inf"), float("nan")])
    assert same_bits(numbers * 1.0 + -0.0, numbers)
    assert not same_bits(numbers * 1.0 + 0.0, numbers)
    assert "EXTRA_FACTOR=1.0, EXTRA_TERM=-0.0" in slowed_source(SOURCE)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy, of infinity times zero
@pytest.mark.parametrize("extra", [0, 1, 70])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_extra_work_changes_no_bit_of_the_result(
    kernel: ModuleType, slowed: ModuleType, dtype: str, extra: int
) -> None:
    case = cases.matmul_case("case", (70, 33), (33, 80), dtype=dtype)
    a, b = operands(dtype)
    expected = cases.call(kernel, case, a, b)()
    found = slowed_by(slowed, extra, cases.call(slowed, case, a, b))()
    assert isinstance(found, torch.Tensor)
    assert same_bits(found, expected)
    assert bool(torch.isnan(expected).any())
    assert bool(torch.isinf(expected).any())
    assert dtype != "float16" or bool((torch.signbit(expected) & (expected == 0)).any())


@pytest.mark.parametrize(("extra", "times"), [(0, [0] * 4), (64, [1] * 4), (130, [3, 3, 2, 2]), (129, [3, 2, 2, 2])])
def test_the_work_is_done_as_often_as_the_number_says(tmp_path: Path, extra: int, times: list[int]) -> None:
    path = tmp_path / "doubling.py"
    path.write_text(slowed_source(SOURCE, factor=2.0), encoding="utf-8")
    doubling = load_kernel(path, "kernel_doubling")
    case = cases.matmul_case("case", (256, 16), (16, 1))
    a, b = torch.ones(256, 16, device=DEVICE), torch.ones(16, 1, device=DEVICE)
    found = slowed_by(doubling, extra, cases.call(doubling, case, a, b))()
    assert isinstance(found, torch.Tensor)
    assert doubling.matmul_kernel.best_config.kwargs["BLOCK_M"] == 64  # so 4 programs, of which some do more
    assert (found.flatten()[::64] / 16).log2().tolist() == times


def test_a_kernel_without_the_lines_is_refused_with_what_to_mend() -> None:
    for changed in (SOURCE.replace("LONG_K: tl.constexpr,\n", ""), SOURCE + SOURCE):
        with pytest.raises(GateError, match=r"expected once.*mend perf_tests/slowed.py") as caught:
            slowed_source(changed)
        assert caught.value.reason == "slowed-no-anchor"


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """A case, facts of the kernel, and facts of the slowed one by ``SLOWDOWN``, compiled for sm_89 in another process."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE, str(tmp_path_factory.mktemp("compiled")), *TILES]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == list(TILES)
    return rows


def test_the_extra_work_is_in_the_machine_code_and_costs_no_block_and_no_spill(compiled: list[Any]) -> None:
    for case, kernel, slowed in compiled:
        for fact in ("spill_instructions", "stack_bytes", "shared_bytes", "blocks_per_sm", "config"):
            assert slowed["0"][fact] == kernel[fact], (case, fact)
        # Each thread's share of the accumulator is 16 or more.
        assert slowed["0"]["instructions"]["fp32"] >= kernel["instructions"].get("fp32", 0) + 16, case


def test_one_compiled_kernel_has_every_speed(compiled: list[Any]) -> None:
    for case, _, slowed in compiled:
        assert len({facts["code_hash"] for facts in slowed.values()}) == 1, case
