"""From a call to the facts of the machine code that it would run on a card that need not be there.

Owns the reading of compiled kernels: registers and stack from `cuobjdump -res-usage`, instructions and their main loop
from `cuobjdump -sass`, shared memory and configuration from Triton's metadata, occupancy from `perfgate.hardware.occupancy`.
Judges nothing; imports torch and triton only when it is used.
"""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.codegen import control_flow, sass
from perfgate.hardware.occupancy import Architecture, architecture, occupancy
from perfgate.harness.compile_only import Size, compile_only
from perfgate.harness.torch_ops import watch_operations
from perfgate.records import GateError, KernelFacts, MainLoop
from perfgate.store.compiled import CompiledCase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_USAGE = re.compile(r"^\s*Function (?P<name>\S+):\s*\n\s*(?P<values>REG:.*)$", re.MULTILINE)
_VALUE = re.compile(r"(?P<name>[A-Z]+):(?P<value>\d+)")


@dataclass(frozen=True, kw_only=True)
class _MachineCode:
    """What the tools say of one cubin."""

    code_hash: str
    normal_hash: str
    instructions: Mapping[str, int]
    main_loop: MainLoop
    usage: Mapping[str, Mapping[str, int]]
    """By function: `REG` registers a thread, `STACK` and static `SHARED` bytes, and more."""


def compile_launches(launch: Callable[[], object], *, target: str = "sm_89") -> tuple[KernelFacts, ...]:
    """Facts of every kernel that `launch()` would run, compiled for `target` and never run.

    Args:
        launch: calls the wrapper under test, on tensors of the `meta` device (nothing is allocated) or any other. The
            addresses and strides of those tensors decide the specialisation, as they do in a real launch; a `meta`
            tensor has address 0 plus its storage offset, so it counts as aligned exactly when a fresh tensor would.
        target: the architecture to compile for, `sm_89` or `sm_90`.

    Returns:
        One record a launch, in order; empty when `launch` launched no Triton kernel.

    Raises:
        GateError: `does-not-compile` with the compiler's message; `unknown-target`; `no-tool`; and those of
            `perfgate.harness.compile_only`. What `launch` itself raises passes unchanged.
    """
    case = compile_case(launch, contract={}, target=target)
    if case.error:
        raise GateError("does-not-compile", case.error)
    return case.kernels


def compile_case(
    launch: Callable[[], object], *, contract: Mapping[str, Any], target: str = "sm_89", lowered_for: str = ""
) -> CompiledCase:
    """`compile_launches` for a case: a compiler's refusal is part of the result, beside the kernels that did compile.

    Args:
        launch: calls the wrapper under test.
        contract: `Case.contract()`, kept with the facts.
        target: the architecture to compile for.
        lowered_for: another one whose code path is assembled for `target`; empty means its own.

    Raises:
        GateError: as `compile_launches`, apart from `does-not-compile`.
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
    machine = _disassemble(kernel.asm["cubin"])
    if metadata.name not in machine.usage:
        raise GateError("no-machine-code", f"cuobjdump reports no resources of the kernel {metadata.name}.")
    usage = machine.usage[metadata.name]
    shared = metadata.shared + usage.get("SHARED", 0)
    fit = occupancy(arch, warps=metadata.num_warps, registers=usage["REG"], shared_bytes=shared)
    return KernelFacts(
        name=metadata.name,
        config=launch_config(kernel),
        code_hash=machine.code_hash,
        normal_hash=machine.normal_hash,
        registers=usage["REG"],
        stack_bytes=usage["STACK"],
        spill_instructions=sass.spill_instructions(machine.instructions),
        shared_bytes=shared,
        blocks_per_sm=fit.blocks_per_sm,
        limited_by=fit.limited_by,
        occupancy_percent=round(fit.warps_percent, 2),
        instructions=machine.instructions,
        main_loop=machine.main_loop,
        grid=size.grid,
        arguments=size.arguments,
    )


def launch_config(kernel: Any) -> dict[str, Any]:  # noqa: ANN401 - Triton's CompiledKernel
    """What was chosen for this build: the kernel's constexpr arguments, warps, stages, and rarer options where set."""
    function, metadata = kernel.src.fn, kernel.metadata
    constexprs = {
        function.arg_names[path[0]]: _plain(value)
        for path, value in kernel.src.constants.items()
        if len(path) == 1 and function.params[path[0]].is_constexpr
    }
    rare = {"num_ctas": metadata.num_ctas} if metadata.num_ctas != 1 else {}
    rare |= {"maxnreg": metadata.maxnreg} if metadata.maxnreg is not None else {}
    return {**constexprs, "num_warps": metadata.num_warps, "num_stages": metadata.num_stages, **rare}


def _plain(value: Any) -> Any:  # noqa: ANN401 - a constexpr may be anything
    """A constexpr as JSON can hold it, the same in every process."""
    if type(value).__name__ == "constexpr":
        value = value.value
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return getattr(value, "__qualname__", str(value))


@functools.cache
def _disassemble(cubin: bytes) -> _MachineCode:
    """What `cuobjdump` says of a cubin, asked once for equal bytes."""
    tool = _tool("cuobjdump").path
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "kernel.cubin")
        path.write_bytes(cubin)
        command = [tool, "-res-usage", "-sass", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - Triton's own tool
    if done.returncode != 0:
        reason = next(iter(done.stderr.strip().splitlines()), f"exit status {done.returncode}")
        raise GateError("no-machine-code", f"cuobjdump could not read a compiled kernel: {reason}")
    functions = sass.functions(done.stdout)
    code = tuple(text for function in functions for text in function)
    usage = {
        found["name"]: {value["name"]: int(value["value"]) for value in _VALUE.finditer(found["values"])}
        for found in _USAGE.finditer(done.stdout)
    }
    return _MachineCode(
        code_hash=sass.code_hash(code),
        normal_hash=sass.normal_hash(code),
        instructions=sass.count(code),
        main_loop=_main_loop(functions),
        usage=usage,
    )


def _main_loop(functions: Sequence[Sequence[str]]) -> MainLoop:
    loop = control_flow.main_loop(functions)
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
