"""From a call to the facts of the machine code that it would run on a card that need not be there.

Owns the reading of compiled kernels: registers and stack from `cuobjdump -res-usage`, instructions and their main loop
from `cuobjdump -sass`, shared memory and configuration from Triton's metadata, occupancy from `perfgate.hardware.occupancy`.
Judges nothing; imports torch and triton only when it is used.
"""

from __future__ import annotations

import functools
import itertools
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.codegen import control_flow, sass
from perfgate.hardware.occupancy import Architecture, architecture, occupancy
from perfgate.harness.compile_only import Size, compile_only, launch_config
from perfgate.harness.torch_ops import watch_operations
from perfgate.records import GateError
from perfgate.store.compiled import CompiledCase, KernelFacts, MainLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_USAGE = re.compile(r"^\s*Function (?P<name>\S+):\s*\n\s*(?P<values>REG:.*)$", re.MULTILINE)
_VALUE = re.compile(r"(?P<name>[A-Z]+):(?P<value>\d+)")


def compile_case(
    launch: Callable[[], object], *, contract: dict[str, Any], target: str = "sm_89", lowered_for: str = ""
) -> CompiledCase:
    """Facts of every kernel that `launch()` would run, in order, compiled for `target` and never run.

    A compiler's refusal is part of the result, beside the kernels that did compile.

    Args:
        launch: calls the wrapper under test, on tensors of the `meta` device (nothing is allocated) or any other. The
            addresses and strides of those tensors decide the specialisation, as they do in a real launch; a `meta`
            tensor has address 0 plus its storage offset, so it counts as aligned exactly when a fresh tensor would.
        contract: `Case.contract()`, kept with the facts.
        target: the architecture to compile for, `sm_89` or `sm_90`.
        lowered_for: another one whose code path is assembled for `target`; empty means its own.

    Raises:
        GateError: `unknown-target`; `no-tool`; and those of `perfgate.harness.compile_only`. What `launch` itself raises
            passes unchanged.
    """
    try:
        arch = architecture(target)
    except KeyError as error:
        raise GateError("unknown-target", f"Cannot compile for {target}: {error.args[0]}.") from error
    with compile_only(arch, lowered_for=lowered_for) as capture, watch_operations() as operations:
        launch()
    return CompiledCase(
        contract=contract,
        kernels=tuple(
            _facts(kernel, size, arch=arch) for kernel, size in zip(capture.kernels, capture.sizes, strict=True)
        ),
        operations=tuple(operations),
        error="; ".join(dict.fromkeys(capture.errors)),
    )


def toolchain() -> dict[str, str]:
    """Versions that decide the machine code: `triton`, `torch` (which pins Triton) and `ptxas`.

    Raises:
        GateError: `no-tool`.
    """
    import torch
    import triton

    return {"triton": triton.__version__, "torch": torch.__version__.split("+")[0], "ptxas": _tool("ptxas").version}


def _facts(kernel: Any, size: Size, *, arch: Architecture) -> KernelFacts:  # noqa: ANN401 - Triton's CompiledKernel
    """One compiled kernel's facts; a kernel that the card cannot hold has them too, with 0 blocks."""
    metadata = kernel.metadata
    functions, usages = _disassemble(kernel.asm["cubin"])
    if metadata.name not in usages:
        raise GateError("no-machine-code", f"cuobjdump reports no resources of the kernel {metadata.name}.")
    usage = usages[metadata.name]
    code = tuple(itertools.chain(*functions))
    instructions = sass.count(code)
    shared = metadata.shared + usage.get("SHARED", 0)
    fit = occupancy(arch, warps=metadata.num_warps, registers=usage["REG"], shared_bytes=shared)
    return KernelFacts(
        name=metadata.name,
        config=launch_config(kernel),
        code_hash=sass.code_hash(code),
        normal_hash=sass.normal_hash(code),
        registers=usage["REG"],
        stack_bytes=usage["STACK"],
        # Local memory lies in DRAM: a matmul touches it only where registers ran out or an array could not be kept in them.
        spill_instructions=instructions.get("local_load", 0) + instructions.get("local_store", 0),
        shared_bytes=shared,
        blocks_per_sm=fit.blocks_per_sm,
        limited_by=fit.limited_by,
        occupancy_percent=round(fit.warps_percent, 2),
        instructions=instructions,
        main_loop=_main_loop(control_flow.main_loop(functions)),
        grid=size.grid,
        arguments=size.arguments,
    )


@functools.cache
def _disassemble(cubin: bytes) -> tuple[tuple[tuple[str, ...], ...], dict[str, dict[str, int]]]:
    """What `cuobjdump` says of a cubin, asked once for equal bytes: its functions' instructions, and their resources.

    Resources are `REG` registers a thread, `STACK` and static `SHARED` bytes, and more.
    """
    tool = _tool("cuobjdump").path
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "kernel.cubin")
        path.write_bytes(cubin)
        command = [tool, "-res-usage", "-sass", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Triton's own tool
    if done.returncode != 0:
        reason = next(iter(done.stderr.strip().splitlines()), f"exit status {done.returncode}")
        raise GateError("no-machine-code", f"cuobjdump could not read a compiled kernel: {reason}")
    usages = {
        found["name"]: {value["name"]: int(value["value"]) for value in _VALUE.finditer(found["values"])}
        for found in _USAGE.finditer(done.stdout)
    }
    return sass.functions(done.stdout), usages


def _main_loop(loop: Sequence[str]) -> MainLoop:
    if not loop:
        return {}
    return {
        "instructions": sass.count(loop),
        "total": len(loop),
        "tensor_flops": sass.tensor_flops(loop),
        "tensor_unit": sass.tensor_unit(loop),
        "shared_bytes": sass.shared_bytes(loop),
    }


def _tool(name: str) -> Any:  # noqa: ANN401 - Triton's NvidiaTool: path and version
    """A tool of NVIDIA's that the Triton wheel carries.

    Raises:
        GateError: `no-tool`.
    """
    from triton import knobs

    try:
        return getattr(knobs.nvidia, name)
    except (RuntimeError, OSError) as error:
        remedy = f"reinstall Triton's wheel, which carries it, or set TRITON_{name.upper()}_PATH"
        raise GateError("no-tool", f"Cannot find a working {name}: {remedy}.") from error
