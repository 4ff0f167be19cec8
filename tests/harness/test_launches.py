"""What a call launched, as a configuration by kernel and as one hash, and the folder that it is compiled into.

Triton compiles for sm_89 in a process of its own, without TRITON_INTERPRET, which this one may have set. How launches are
watched, first ones and kept ones, is seen on compiled kernels that are played.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from triton import knobs
from triton.compiler import CompiledKernel
from triton.runtime.jit import JITFunction

from perfgate.harness.launches import Launched, cache_folder, code_of, launched_by, numbered

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]

KERNELS = """
import triton
import triton.language as tl


@triton.jit
def add(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) + 1.0, mask=i < n)


@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n), mask=i < n)


tuned = triton.autotune([triton.Config({"BLOCK": 256}, num_warps=4)], key=["n"])(add)
"""

SCENARIOS = """
import json, os, sys
from pathlib import Path
import torch, triton
from triton import knobs
from triton.runtime.jit import JITFunction
from perfgate.harness.compile_only import compile_only
from perfgate.harness.launches import cache_folder, code_of, launched_by
from perfgate.hardware.occupancy import architecture
from perfgate.project import load_kernel

here, result = Path(sys.argv[1]), {}
text = (here / "plain.py").read_text()
(here / "elsewhere").mkdir()
(here / "elsewhere/copy.py").write_text(text)
(here / "commented.py").write_text('\"\"\"A kernel.\"\"\"' + 7 * "# a line\\n" + text.replace("    tl.store", "    # why\\n    tl.store"))
(here / "plus_two.py").write_text(text.replace("+ 1.0", "+ 2.0"))
(here / "times.py").write_text(text.replace("+ 1.0", "* 3.0"))

def kernels(name):
    return load_kernel(here / f"{name}.py", name.replace("/", "_"))

def launch(module, name="add", *, n=1024, block=256, grid=None, **options):
    x, y = (torch.empty(n, device="meta") for _ in range(2))
    grid = grid or (lambda chosen: (triton.cdiv(n, chosen["BLOCK"]),))
    return lambda: getattr(module, name)[grid](x, y, n, **({} if name == "tuned" else {"BLOCK": block}), **options)

def files(folder):
    return sorted(path.suffix for path in (here / folder).rglob("*") if path.suffix in {".ptx", ".cubin"})

plain = kernels("plain")
with compile_only(architecture("sm_89")):
    before = JITFunction.run
    result["plain"] = code_of(launch(plain))
    result["again"] = code_of(launch(plain))
    for name in ("elsewhere/copy", "commented", "plus_two", "times"):
        result[name] = code_of(launch(kernels(name)))
    result["block"] = code_of(launch(plain, block=512, grid=(4,)))
    result["warps"] = code_of(launch(plain, num_warps=8))
    result["same grid"] = code_of(launch(plain, grid=(4,)))
    result["grid"] = code_of(launch(plain, grid=(5,)))
    result["grid of two dimensions"] = code_of(launch(plain, grid=(4, 2)))
    result["odd size"] = code_of(launch(plain, n=1023))
    result["tuned"] = code_of(launch(plain, "tuned"))
    result["copy"] = code_of(launch(plain, "copy"))
    result["add, copy"] = code_of(lambda: (launch(plain)(), launch(plain, "copy")()))
    result["copy, add"] = code_of(lambda: (launch(plain, "copy")(), launch(plain)()))
    result["add twice"] = code_of(lambda: (launch(plain)(), launch(plain)()))
    result["config"] = dict(launched_by(lambda: (launch(plain)(), launch(plain, "tuned")(), launch(plain, "copy", block=512)())).config)
    result["nothing"] = code_of(lambda: torch.empty(3, device="meta").fill_(1))
    result["put back"] = JITFunction.run is before

    result["in the user's folder"] = files("mine")
    user = knobs.cache.dir
    with cache_folder(str(here / "theirs")):
        result["during"] = knobs.cache.dir == str(here / "theirs")
        result["other side"] = code_of(launch(kernels("plain"), block=128, grid=(8,)))
    result["in their folder"] = files("theirs")
    result["in the user's folder after"] = files("mine")
    result["folder restored"] = knobs.cache.dir == user == os.environ["TRITON_CACHE_DIR"]
    with cache_folder(None):
        code_of(launch(kernels("plain"), block=64, grid=(16,)))
    result["in the user's folder at the end"] = files("mine")
print(json.dumps(result))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("launched")
    (folder / "plain.py").write_text(KERNELS)
    (folder / "scenarios.py").write_text(SCENARIOS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "PTXAS_"))}
    environment |= {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(folder / "mine")}
    command = [sys.executable, str(folder / "scenarios.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("same", ["again", "elsewhere/copy", "commented", "same grid", "tuned"])
def test_the_same_code_has_the_same_hash_wherever_its_file_lies_and_whatever_its_comments(
    found: dict[str, Any], same: str
) -> None:
    assert len(found["plain"]) == 64
    assert found[same] == found["plain"]


@pytest.mark.parametrize(
    "change",
    [
        *("plus_two", "times", "block", "warps", "grid", "grid of two dimensions", "odd size"),
        *("copy", "add, copy", "copy, add", "add twice"),
    ],
)
def test_another_number_instruction_tile_warp_grid_or_launch_is_other_code(found: dict[str, Any], change: str) -> None:
    assert len(found[change]) == 64
    assert found[change] != found["plain"]


def test_the_configuration_of_every_launch_is_told_by_kernel_and_a_second_one_is_numbered(
    found: dict[str, Any],
) -> None:
    usual = {"num_warps": 4, "num_stages": 3}
    assert found["config"] == {
        "add": {"BLOCK": 256, **usual},
        "add#2": {"BLOCK": 256, **usual},
        "copy": {"BLOCK": 512, **usual},
    }


def test_the_order_of_launches_counts_and_a_call_that_launches_none_of_tritons_has_no_hash(
    found: dict[str, Any],
) -> None:
    assert found["add, copy"] != found["copy, add"]
    assert found["nothing"] == ""
    assert found["put back"]


def test_the_other_side_is_compiled_into_a_folder_of_its_own_and_afterwards_the_users_is_back(
    found: dict[str, Any],
) -> None:
    assert found["during"]
    assert found["in their folder"] == [".cubin", ".ptx"]
    assert found["in the user's folder"]
    assert found["in the user's folder after"] == found["in the user's folder"]
    assert found["other side"] not in {"", found["plain"]}
    assert found["folder restored"]
    assert len(found["in the user's folder at the end"]) == len(found["in the user's folder"]) + 2


def fake(ptx: str, *, name: str = "add", **metadata: int) -> CompiledKernel:
    """A compiled kernel that cannot be launched, only kept."""
    facts = {"num_warps": 4, "num_ctas": 1, "num_stages": 3, "shared": 0, "maxnreg": None, **metadata}
    kernel: Any = object.__new__(CompiledKernel)
    function = SimpleNamespace(arg_names=["x", "BLOCK"], params=[SimpleNamespace(is_constexpr=i > 0) for i in (0, 1)])
    kernel.src = SimpleNamespace(fn=function, constants={(1,): 2})
    kernel.module = None
    kernel.name, kernel.metadata, kernel.asm = name, SimpleNamespace(**facts), {"ptx": ptx}
    compiled: CompiledKernel = kernel
    return compiled


FUNCTION = SimpleNamespace(arg_names=["x", "n", "BLOCK"])


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The hash of one launch that gives a certain compiled kernel."""

    def code(kernel: CompiledKernel | None, grid: object = (1,)) -> str:
        monkeypatch.setattr(JITFunction, "run", lambda _self, *_a, **_k: kernel)
        return code_of(lambda: JITFunction.run(FUNCTION, 1, 8, grid=grid, warmup=False, num_warps=4, BLOCK=2))

    return code


PTX = """
.version 8.7
.target sm_89
.visible .entry add(.param .u64 x) // the kernel
{
.loc 1 7 0
$L__func_begin0:
  mov.u32 %r1, %tid.x; // kernels/matmul.py:7
  ret;
}
.file 1 "/home/me/kernels/matmul.py"
.section .debug_info { .b32 12 }
"""


def test_debug_information_and_comments_are_no_code(launching: Callable[..., str]) -> None:
    moved = PTX.replace("/home/me/kernels", "/tmp/other").replace(".loc 1 7 0", ".loc 2 31 4").replace(":7", ":31")  # noqa: S108 - no file
    assert moved != PTX
    assert launching(fake(moved)) == launching(fake(PTX))
    assert launching(fake(PTX.replace("%tid.x", "%ctaid.x"))) != launching(fake(PTX))
    assert launching(fake(PTX.replace("sm_89", "sm_90"))) != launching(fake(PTX))


def test_the_launch_itself_is_part_of_the_hash_and_its_grid_as_numbers_or_as_a_function(
    launching: Callable[..., str],
) -> None:
    changes = ({"num_warps": 8}, {"num_ctas": 2}, {"shared": 16}, {"name": "copy"})
    kernels: list[Any] = [fake(PTX), *(fake(PTX, **change) for change in cast("Any", changes))]
    assert len({launching(kernel) for kernel in kernels}) == 5
    assert launching(kernels[0], lambda chosen: (chosen["n"] // chosen["BLOCK"],)) == launching(kernels[0], (4,))
    assert launching(kernels[0], [4]) == launching(kernels[0], (4,))
    assert launching(kernels[0], (5,)) != launching(kernels[0], (4,))


@pytest.mark.parametrize("asks", [True, False], ids=["launch", "warm-up"])
def test_a_grid_is_asked_once_and_with_what_triton_binds(monkeypatch: pytest.MonkeyPatch, *, asks: bool) -> None:
    """The kernel keeps what its grid was asked with, to launch it again."""
    bound, asked = {"x": 1, "n": 8, "BLOCK": 2}, []
    kernel = fake(PTX)

    def run(_self: object, *_args: object, grid: Any, **_options: object) -> CompiledKernel:
        if asks:
            grid(bound)
        return kernel

    def grid(meta: dict[str, int]) -> tuple[int]:
        asked.append(list(meta.items()))
        return (meta["n"] // meta["BLOCK"],)

    monkeypatch.setattr(JITFunction, "run", run)
    code = code_of(lambda: JITFunction.run(FUNCTION, 1, 8, grid=grid, warmup=not asks, num_warps=4, BLOCK=2))
    assert asked == [list(bound.items())]
    monkeypatch.setattr(JITFunction, "run", lambda *_a, **_k: kernel)
    assert code == code_of(lambda: JITFunction.run(FUNCTION, grid=(4,), warmup=False))


def test_a_launch_that_was_kept_is_seen_as_the_first_one_was(
    launching: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[object, ...]] = []

    def again(self: object, grid: object) -> Callable[..., None]:
        return lambda *given: made.append((self, grid, *given))

    monkeypatch.setattr(CompiledKernel, "__getitem__", again)
    kernel, other = fake(PTX), fake(PTX, name="copy", num_warps=8)

    def call() -> None:
        kernel[4, 1, 1](1, 8, 2)
        other[4, 1, 1](3)
        kernel[5, 1, 1](1, 9, 2)

    launched = launched_by(call)
    assert made == [(kernel, (4, 1, 1), 1, 8, 2), (other, (4, 1, 1), 3), (kernel, (5, 1, 1), 1, 9, 2)]
    usual = {"BLOCK": 2, "num_warps": 4, "num_stages": 3}
    assert launched.names == ("add", "copy", "add")
    assert launched.config == {"add": usual, "copy": {**usual, "num_warps": 8}, "add#2": usual}
    assert launched_by(lambda: kernel[4, 1, 1](1)).code == launching(kernel, (4,)) != launching(kernel, (5,))


def test_nothing_launched_has_neither_code_nor_configuration(launching: Callable[..., str]) -> None:
    assert launched_by(lambda: None) == Launched(code="", config={})
    assert launching(None) == ""  # a hook refused it
    assert numbered(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]


def test_a_call_that_fails_leaves_triton_as_it_was() -> None:
    before = (JITFunction.run, CompiledKernel.__getitem__, knobs.cache.dir)

    def fail() -> None:
        now = (JITFunction.run, CompiledKernel.__getitem__, knobs.cache.dir)
        assert not any(one is other for one, other in zip(now, before, strict=True))
        raise LookupError("the wrapper's own")

    with pytest.raises(LookupError, match="own"), cache_folder("/nowhere"):
        code_of(fail)
    assert (JITFunction.run, CompiledKernel.__getitem__, knobs.cache.dir) == before
