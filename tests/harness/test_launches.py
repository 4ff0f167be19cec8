"""What a call launched, as a configuration by kernel and as one hash, and the folder that it is compiled into.

Triton compiles for sm_89 in a process of its own, without TRITON_INTERPRET, which this one may have set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from triton import knobs

from perfgate.harness.launches import cache_folder

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


def test_the_folder_is_put_back_after_an_error() -> None:
    def fail() -> None:
        with cache_folder("/nowhere"):
            assert knobs.cache.dir == "/nowhere"
            raise LookupError("the compiler's own")

    before = knobs.cache.dir
    with pytest.raises(LookupError, match="own"):
        fail()
    assert knobs.cache.dir == before
