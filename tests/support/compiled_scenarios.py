"""What test_extract.py compiles, as source: Triton reads a kernel from its file, and each test wants its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

KERNELS = """
import triton
import triton.language as tl


@triton.jit
def matmul(a, b, c, M, N, K, am, ak, bk, cm, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr):
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n = tl.program_id(1) * BLOCK_N + tl.arange(0, BLOCK_N)
    k = tl.arange(0, BLOCK_K)
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for start in range(0, K, BLOCK_K):
        x = tl.load(a + m[:, None] * am + (start + k)[None, :] * ak)
        y = tl.load(b + (start + k)[:, None] * bk + n[None, :])
        acc = tl.dot(x, y, acc)
    tl.store(c + m[:, None] * cm + n[None, :], acc)


@triton.jit
def copy(x, y, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i) if EVEN else tl.load(x + i, mask=i < n), mask=EVEN or i < n)


@triton.jit
def fill(x, scale, flag, count, stride, BLOCK: tl.constexpr, offset=7):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + offset + i * stride, scale, mask=flag & (i < count))


@triton.jit
def undefined_name(x):
    tl.store(x, no_such_thing)


@triton.jit
def bad_assembly(x):
    tl.store(x, tl.inline_asm_elementwise("frobnicate $0;", "=r", [], dtype=tl.int32, is_pure=True, pack=1))


CONFIGS = [triton.Config({"BLOCK": 256}, num_warps=2, num_stages=2), triton.Config({"BLOCK": 1024}, num_warps=8, num_stages=1)]


def choose(configs, named, **_):
    return [configs[named["n"] > 4096]]


heuristic = triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})(copy)
tuned = triton.autotune(CONFIGS, key=["n"], prune_configs_by={"early_config_prune": choose})(heuristic)
untuned = triton.autotune(CONFIGS, key=["n"])(heuristic)
"""

# Every entry of the result is one scenario of one test in test_extract.py.
SCENARIOS = """
import hashlib, json, os, subprocess, sys
import torch, triton
from triton.runtime import driver
from triton.runtime.autotuner import Autotuner
from triton.runtime.jit import JITFunction
import kernels_under_test as k
from msgspec import structs
from perfgate.codegen import extract
from perfgate.harness.compile_only import compile_only
from perfgate.hardware.occupancy import architecture
from perfgate.records import GateError

result = {}

def meta(*shape):
    return torch.empty(shape, device="meta")

def matmul(m, n, kk, *, warps=4, stages=3, a=None):
    a, b, c = meta(512, 512) if a is None else a, meta(512, 512), meta(512, 512)
    strides = *a.stride(), 512, 512
    k.matmul[(1, 1)](a, b, c, 512, 512, 512, *strides, BLOCK_M=m, BLOCK_N=n, BLOCK_K=kk, num_warps=warps, num_stages=stages)

def copy(kernel, n, **meta_parameters):
    kernel[lambda chosen: (triton.cdiv(n, chosen["BLOCK"]),)](meta(n), meta(n), n, **meta_parameters)

def facts(launch, **options):
    case = extract.compile_case(launch, contract={}, **options)
    if case.error:
        raise GateError("does-not-compile", case.error)
    return [structs.asdict(one) for one in case.kernels]

def refusal(launch, **options):
    try:
        return facts(launch, **options)
    except GateError as error:
        return [error.reason, error.text]

def state():
    return [repr(one) for one in (driver._active, JITFunction.run, Autotuner.run, os.environ.get("TRITON_OVERRIDE_ARCH"))]

before = state()
result["plain"] = facts(lambda: matmul(64, 64, 32))
with compile_only(architecture("sm_89")) as capture:
    matmul(64, 64, 32)
result["cubin"] = hashlib.sha256(capture.kernels[0].asm["cubin"]).hexdigest()
if "--only-plain" in sys.argv:
    print(json.dumps(result))
    sys.exit()

result["two"] = facts(lambda: (matmul(64, 64, 32), copy(k.copy, 1024, BLOCK=256, EVEN=True)))
result["none"] = facts(lambda: None)
result["tile"] = facts(lambda: matmul(128, 64, 32))
result["stages"] = facts(lambda: matmul(64, 64, 32, stages=2))
result["spilled"] = facts(lambda: matmul(128, 128, 32, warps=2))
result["too much shared"] = facts(lambda: matmul(128, 128, 64, warps=8, stages=3))
result["hopper"] = facts(lambda: matmul(128, 128, 64, warps=8, stages=3), target="sm_90")

def half():
    a, b, tile = meta(512, 512).half(), meta(512, 512).half(), dict(BLOCK_M=64, BLOCK_N=128, BLOCK_K=32)
    k.matmul[(1, 1)](a, b, meta(512, 512), 512, 512, 512, 512, 1, 512, 512, **tile, num_warps=4, num_stages=3)

lowered = extract.compile_case(half, contract={}, target="sm_90", lowered_for="sm_89")
result["lowered"] = [structs.asdict(one) for one in lowered.kernels]
result["not lowered"] = facts(half, target="sm_90")
result["ada"] = facts(half)
def copying():
    a = meta(512, 512).T.contiguous()
    matmul(64, 64, 32, a=a)
    a.zero_()

result["operations"] = [structs.asdict(one) for one in extract.compile_case(copying, contract={}).operations]
result["no operations"] = list(extract.compile_case(lambda: matmul(64, 64, 32), contract={}).operations)
result["misaligned"] = facts(lambda: matmul(64, 64, 32, a=meta(512, 512).flatten()[1:1 + 511 * 512].view(511, 512)))
result["tuned"] = [facts(lambda: copy(k.tuned, n)) for n in (4096, 8192, 4000)]
result["remembered"] = [len(k.tuned.cache), str(k.tuned.best_config)]
result["not pruned"] = refusal(lambda: copy(k.untuned, 4096))
result["undefined"] = refusal(lambda: k.undefined_name[(1,)](meta(1)))
result["assembler"] = refusal(lambda: k.bad_assembly[(1,)](meta(1).int()))
both = extract.compile_case(lambda: (k.undefined_name[(1,)](meta(1)), matmul(64, 64, 32)), contract={"a": 1})
result["partly"] = [both.error, [one.name for one in both.kernels], dict(both.contract)]
result["unknown target"] = refusal(lambda: None, target="sm_42")

def fill(grid, **rest):
    k.fill[grid](meta(64), 2.0, True, count=64, stride=1, BLOCK=32, **rest)

def no_grid(_):
    raise ZeroDivisionError("the grid's own")

result["launched"] = facts(lambda: (fill((2, 3, 4)), fill([5], offset=-1), fill(lambda named: (named["count"] // named["BLOCK"], 3))))
result["not launched"] = facts(lambda: fill((0,)))
try:
    facts(lambda: fill(no_grid))
except ZeroDivisionError as error:
    result["grid error"] = str(error)

runs = []
run = subprocess.run
subprocess.run = lambda *args, **options: runs.append(args) or run(*args, **options)
facts(lambda: (matmul(64, 64, 32), matmul(128, 64, 32)))
result["tool runs when all is known"] = len(runs)
subprocess.run = run

os.environ["TRITON_OVERRIDE_ARCH"] = "sm90"
during = state()
result["override"] = facts(lambda: matmul(64, 128, 32))
result["override restored"] = state() == during
del os.environ["TRITON_OVERRIDE_ARCH"]
k.matmul.device_caches.clear()
result["no override"] = facts(lambda: matmul(64, 128, 32))

def fail():
    matmul(64, 64, 32)
    raise LookupError("the wrapper's own")
try:
    facts(fail)
except LookupError as error:
    result["own error"] = str(error)
result["restored"] = state() == before
result["driver started"] = driver._active is not None or driver._default is not None

for name in ("PTXAS_OPTIONS", "TRITON_INTERPRET"):
    os.environ[name] = "1"
    result[name] = refusal(lambda: matmul(64, 64, 32))
    if name == "TRITON_INTERPRET":
        import interpreted_kernels
    del os.environ[name]
result["imported interpreted"] = refusal(lambda: copy(interpreted_kernels.copy, 64, BLOCK=64, EVEN=True))

tool = type(triton.knobs.nvidia).__dict__["cuobjdump"]
tool.default_path = "/nonexistent/cuobjdump"
result["no tool"] = refusal(lambda: matmul(32, 32, 32))
print(json.dumps(result))
"""


def run_scenarios(directory: Path, *arguments: str) -> dict[str, Any]:
    """Runs the scenarios in a fresh process with its kernels and its Triton cache in `directory`."""
    directory.mkdir(exist_ok=True)
    (directory / "kernels_under_test.py").write_text(KERNELS)
    (directory / "interpreted_kernels.py").write_text(KERNELS)
    (directory / "scenarios.py").write_text(SCENARIOS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "PTXAS_"))}
    environment |= {"PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(directory / "cache")}
    command = [sys.executable, str(directory / "scenarios.py"), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
