"""The slowed kernel of the calibration: the same bits, real work, and no room taken from the kernel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import kernel_support
from perf_tests import cases
from perf_tests.slowed import load_slowed, slowed_by, slowed_source
from perfgate.harness.correctness import same_bits
from perfgate.project import load_kernel
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

ROOT = Path(__file__).parents[2]
KERNEL_FILE = ROOT / "kernels/matmul.py"
SOURCE = KERNEL_FILE.read_text(encoding="utf-8")
DEVICE = kernel_support.DEVICE

TILES = ("k1_square", "k4_matrix_vector", "k6_large_k", "k7_small_k", "sq512_fp32", "sq1024_fp16", "sq1024_fp32")
"""Cases that run every kernel that computes a product, with every tile that the cases take."""
COMPILE = """
import json, sys
from pathlib import Path
from perf_tests import cases, slowed
from perfgate.project import load_kernel
from perfgate.codegen import extract
from perfgate.store import codec

def facts(module, case):
    return codec.encode(extract.compile_case(cases.call_on_meta(module, case), contract={}, target=sys.argv[2]).kernels)

kernel = load_kernel(Path("kernels/matmul.py"))
slow = slowed.load_slowed(Path("kernels/matmul.py"), Path(sys.argv[1]))
for case in cases.CASES:
    if case.id in sys.argv[3:]:
        of_slowed = {}
        for slow.SLOWDOWN in (0, 1, 16):  # what Triton would make special kernels of
            of_slowed[slow.SLOWDOWN] = facts(slow, case)
        print(json.dumps([case.id, facts(kernel, case), of_slowed]))
"""
PATHS: dict[str, tuple[tuple[int, int, int], dict[str, Callable[..., object]]]] = {
    "matmul": ((128, 16, 32), {}),
    "scaled": ((128, 16, 32), {"choose_form": lambda *_sizes, **_rest: "scaled"}),
    "split": ((128, 8192, 128), {}),
    "hopper": ((256, 64, 64), {"_is_hopper": lambda _: True, "choose_form": lambda *_sizes, **_rest: "scaled"}),
    "vector": ((16, 2048, 1), {}),
}
"""Ways through the kernel file: sizes M, K and N that take one, and rules to replace so that they do."""


@pytest.fixture(scope="module")
def kernel() -> ModuleType:
    return load_kernel(KERNEL_FILE, "kernel_of_test_slowed")


@pytest.fixture(scope="module")
def slowed(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load_slowed(KERNEL_FILE, tmp_path_factory.mktemp("slowed"))


def take(path: str, module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """Let a module take that way; returns the sizes."""
    sizes, rules = PATHS[path]
    for name, rule in rules.items():
        monkeypatch.setattr(module, name, rule)
    return sizes


def operands(sizes: tuple[int, int, int], dtype: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Numbers whose products are infinite, NaN, and so small that FP16 keeps only their sign."""
    m, k, n = sizes
    generator = torch.Generator().manual_seed(1)
    a, b = torch.randn(m, k, generator=generator), torch.rand(k, n, generator=generator) * 2.0**-8 + 2.0**-12
    a[0] = -(2.0**-24)
    a[1, 0], a[2, 0], a[3, 0] = float("inf"), -float("inf"), float("nan")
    return a.to(DEVICE, getattr(torch, dtype)), b.to(DEVICE, getattr(torch, dtype))


def test_the_arithmetic_added_keeps_every_number_and_plus_zero_would_not() -> None:
    numbers = torch.tensor([-0.0, 0.0, 1.5, -1e-45, 3e38, float("inf"), -float("inf"), float("nan")])
    assert same_bits(numbers * 1.0 + -0.0, numbers)
    assert not same_bits(numbers * 1.0 + 0.0, numbers)
    assert '"EXTRA_FACTOR": 1.0, "EXTRA_TERM": -0.0' in slowed_source(SOURCE)


def bits_are_kept(path: str, dtype: str, extra: int, *modules: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for module, slow in zip(modules, (0, extra), strict=True):
        m, k, n = take(path, module, monkeypatch)
        case = cases.matmul_case("case", (m, k), (k, n), dtype=dtype)
        found.append(slowed_by(module, slow, cases.call(module, case, *operands((m, k, n), dtype)))())
    expected, slowed = found
    assert isinstance(expected, torch.Tensor)
    assert isinstance(slowed, torch.Tensor)
    assert same_bits(slowed, expected)
    assert bool(torch.isnan(expected).any())
    assert bool(torch.isinf(expected).any())
    assert dtype != "float16" or k > 2**10 or bool((torch.signbit(expected) & (expected == 0)).any())


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the interpreter's numpy, of infinity times zero
@pytest.mark.parametrize("extra", [0, 1, 70])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_extra_work_changes_no_bit_of_the_result(
    kernel: ModuleType, slowed: ModuleType, dtype: str, extra: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits_are_kept("matmul", dtype, extra, kernel, slowed, monkeypatch=monkeypatch)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("path", [path for path in PATHS if path != "matmul"])
def test_extra_work_changes_no_bit_on_any_way_through_the_kernel(
    kernel: ModuleType, slowed: ModuleType, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bits_are_kept(path, "float32", 70, kernel, slowed, monkeypatch=monkeypatch)


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The copy, but its work doubles the sums."""
    path = tmp_path_factory.mktemp("doubling") / "doubling.py"
    path.write_text(slowed_source(SOURCE, factor=2.0), encoding="utf-8")
    return load_kernel(path, "kernel_doubling")


@pytest.mark.parametrize(("extra", "times"), [(0, [0] * 4), (64, [1] * 4), (130, [3, 3, 2, 2]), (129, [3, 2, 2, 2])])
@pytest.mark.parametrize("path", PATHS)
def test_the_work_is_done_as_often_as_the_number_says(
    doubling: ModuleType, path: str, extra: int, times: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    m, k, n = take(path, doubling, monkeypatch)
    case = cases.matmul_case("case", (m, k), (k, n))
    a, b = torch.ones(m, k, device=DEVICE), torch.ones(k, n, device=DEVICE)
    found = slowed_by(doubling, extra, cases.call(doubling, case, a, b))()
    assert isinstance(found, torch.Tensor)
    if path == "split":  # one tile, and two programs that each do half of the sums
        assert found.unique().tolist() == [k // 2 * sum(2**done for done in times[:2])]
    else:  # four programs, of which some do more
        assert (found[:: m // 4, 0] / k).log2().tolist() == times


class Kept:
    """Stands in for a compiled kernel; a launch of it is written down as kept, with its extra work."""

    def __init__(self, names: list[str], log: list[tuple[str, object]]) -> None:
        self._names, self._log = names, log

    def __getitem__(self, _: tuple[int, int, int]) -> Callable[..., None]:
        return lambda *given: self._log.append(("kept", dict(zip(self._names, given, strict=True))["EXTRA"]))


def test_a_launch_that_is_repeated_has_the_work_of_its_own_speed(
    slowed: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[tuple[str, object]] = []
    names = slowed.matmul_kernel.arg_names

    def run(*given: object, grid: Callable[..., object], warmup: bool, **options: object) -> Kept:
        assert not warmup
        named = {**dict(zip(names, given, strict=False)), **options}
        grid({name: named.get(name, 64) for name in names})  # 64 for what the config says
        log.append(("planned", named["EXTRA"]))
        return Kept(names, log)

    monkeypatch.setattr(slowed.matmul_kernel, "run", run)
    monkeypatch.setattr("triton.compiler.CompiledKernel", Kept)
    for where in ("torch.Tensor.get_device", "torch.cuda.current_device"):  # launches are kept on a card alone
        monkeypatch.setattr(where, lambda *_: 0)
    call = cases.call(slowed, cases.matmul_case("case", (8, 4), (4, 6)), torch.ones(8, 4), torch.ones(4, 6))
    slowed.forget_launches()
    for extra in (0, 70, 0, 70, 7):
        slowed_by(slowed, extra, call)()
    slowed.forget_launches()
    assert log == [("planned", 0), ("planned", 70), ("kept", 0), ("kept", 70), ("planned", 7)]


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (SOURCE.replace("LONG_K: tl.constexpr,\n", ""), "'LONG_K: tl.constexpr,' 0 times, expected 3"),
        (SOURCE.replace("    y = _round_to(tl.sum(acc, ", "    y = (tl.sum(acc, "), "0 times, expected 1"),
        (SOURCE + SOURCE, "'(do_not_specialize=[\"' 8 times, expected 4"),
    ],
    ids=["a line is gone", "another line is gone", "twice as many"],
)
def test_a_kernel_without_the_lines_is_refused_with_what_to_mend(changed: str, found: str) -> None:
    assert changed != SOURCE
    with pytest.raises(GateError, match=r"mend perf_tests/slowed.py") as caught:
        slowed_source(changed)
    assert caught.value.reason == "slowed-no-anchor"
    assert found in caught.value.text


def compiled_for(target: str, folder: Path, *ids: str) -> list[Any]:
    """A case, facts of its launches, and facts of the slowed ones by ``SLOWDOWN``, compiled in another process."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", COMPILE, str(folder), target, *ids]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == set(ids)
    return rows


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return compiled_for("sm_89", tmp_path_factory.mktemp("compiled"), *TILES)


def with_work(rows: list[Any]) -> set[str]:
    """The kernels that have extra work, of which none may cost anything but the work."""
    slow = set()
    for case, kernels, slowed in rows:
        for kernel, twin in zip(kernels, slowed["0"], strict=True):
            where = (case, kernel["name"])
            for fact in ("name", "config", "spill_instructions", "stack_bytes", "shared_bytes", "blocks_per_sm"):
                assert twin[fact] == kernel[fact], (where, fact)
            if twin["code_hash"] != kernel["code_hash"]:
                slow.add(kernel["name"])
                config = kernel["config"]
                sums = config["BLOCK_M"] * config["BLOCK_N"] if "BLOCK_M" in config else 4096  # vector_kernel's block
                added = twin["instructions"]["fp32"] - kernel["instructions"].get("fp32", 0)
                assert added >= sums // (32 * config["num_warps"]), where
    return slow


def test_the_extra_work_is_in_the_machine_code_and_costs_no_block_and_no_spill(
    compiled: list[Any], tmp_path: Path
) -> None:
    assert with_work(compiled) == {"matmul_kernel", "split_kernel", "vector_kernel"}
    hopper = compiled_for("sm_90", tmp_path, "k7_small_k", "sq2048_fp16")
    assert with_work(hopper) == {"hopper_kernel"}


def test_one_compiled_kernel_has_every_speed(compiled: list[Any]) -> None:
    for case, _, slowed in compiled:
        for kernels in zip(*slowed.values(), strict=True):
            assert len({facts["code_hash"] for facts in kernels}) == 1, (case, kernels[0]["name"])
