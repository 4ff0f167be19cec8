"""The hash of what a call launched, and the folder that it is compiled into.

Triton compiles for sm_89 in a process of its own, without TRITON_INTERPRET, which this one may have set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from triton import knobs
from triton.runtime.jit import JITFunction

from perfgate.launched import cache_folder, code_of

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent

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
from perfgate.compile_only import compile_only
from perfgate.launched import cache_folder, code_of
from perfgate.occupancy import architecture
from perfgate.settings import load_kernel

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


def test_the_order_of_launches_is_part_of_what_was_launched(found: dict[str, Any]) -> None:
    assert found["add, copy"] != found["copy, add"]


def test_a_call_that_launches_no_kernel_of_tritons_has_no_hash(found: dict[str, Any]) -> None:
    assert found["nothing"] == ""


def test_watching_leaves_triton_as_it_was(found: dict[str, Any]) -> None:
    assert found["put back"]


def test_the_other_side_is_compiled_into_a_folder_of_its_own(found: dict[str, Any]) -> None:
    assert found["during"]
    assert found["in their folder"] == [".cubin", ".ptx"]
    assert found["in the user's folder"]
    assert found["in the user's folder after"] == found["in the user's folder"]
    assert found["other side"] not in {"", found["plain"]}


def test_afterwards_the_users_folder_is_back(found: dict[str, Any]) -> None:
    assert found["folder restored"]
    assert len(found["in the user's folder at the end"]) == len(found["in the user's folder"]) + 2


# What takes no compiler to see.


def fake(ptx: str, *, name: str = "add", **metadata: int) -> SimpleNamespace:
    facts = {"num_warps": 4, "num_ctas": 1, "shared": 0, **metadata}
    return SimpleNamespace(name=name, metadata=SimpleNamespace(**facts), asm={"ptx": ptx})


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The hash of one launch that gives a certain compiled kernel."""

    def code(kernel: SimpleNamespace | None, grid: object = (1,)) -> str:
        monkeypatch.setattr(JITFunction, "run", lambda _self, *_a, **_k: kernel)
        function = SimpleNamespace(arg_names=["x", "n"])
        return code_of(lambda: JITFunction.run(function, 1, 8, grid=grid, warmup=False, BLOCK=2))

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


@pytest.mark.parametrize("change", [{"num_warps": 8}, {"num_ctas": 2}, {"shared": 16}, {"name": "copy"}])
def test_the_launch_itself_is_part_of_the_hash(launching: Callable[..., str], change: dict[str, Any]) -> None:
    assert launching(fake(PTX, **change)) != launching(fake(PTX))


def test_a_grid_is_the_same_as_numbers_or_as_a_function_of_all_arguments(launching: Callable[..., str]) -> None:
    assert launching(fake(PTX), lambda chosen: (chosen["n"] // chosen["BLOCK"],)) == launching(fake(PTX), (4,))
    assert launching(fake(PTX), [4]) == launching(fake(PTX), (4,))
    assert launching(fake(PTX), (5,)) != launching(fake(PTX), (4,))


def test_a_launch_that_a_hook_refused_is_none(launching: Callable[..., str]) -> None:
    assert launching(None) == ""


def test_a_call_that_fails_leaves_triton_as_it_was() -> None:
    before = JITFunction.run

    def fail() -> None:
        assert JITFunction.run is not before
        raise LookupError("the wrapper's own")

    with pytest.raises(LookupError, match="own"):
        code_of(fail)
    assert JITFunction.run is before


def test_the_folder_is_put_back_after_an_error() -> None:
    def fail() -> None:
        with cache_folder("/nowhere"):
            assert knobs.cache.dir == "/nowhere"
            raise LookupError("the compiler's own")

    before = knobs.cache.dir
    with pytest.raises(LookupError, match="own"):
        fail()
    assert knobs.cache.dir == before
