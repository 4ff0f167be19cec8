"""Runs a call with every Triton launch turned into a compilation for a card that need not be there.

Owns the compile-only run: a stand-in for Triton's active driver that names the target and can do nothing else, and
every launch made Triton's own warm-up. So a kernel is specialised, configured and compiled exactly as its user's
launch would be, without a CUDA driver or beside one, and everything is put back afterwards. Knows Triton's insides
(3.6 to 3.8) so that no other file must; imports triton late, and reads no machine code.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import sys
from dataclasses import dataclass, field
from numbers import Integral
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from perfgate.hardware.occupancy import Architecture

_DISTORTING = (
    "DISABLE_PTXAS_OPT",
    "PTXAS_OPTIONS",
    "TRITON_DEBUG",
    "TRITON_INSTRUMENTATION_MODE",
    "TRITON_KERNEL_OVERRIDE",
)
"""Environment variables that reach the machine code: facts taken under them are not those of a user's build."""

_OFF = frozenset({"", "0", "false", "off", "no", "n"})
_ASSEMBLER_LINE = re.compile(r"\b(?:fatal|error)\s*:\s*(?P<text>.+)")
_DIRECTORY = re.compile(r"(?:/[^\s/:,;']+)+/")


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large one launch is."""

    grid: int
    """Programs, over all axes."""
    arguments: Mapping[str, int]
    """Integer arguments by name, without truth values and constexprs."""


@dataclass(kw_only=True)
class Capture:
    """What one compile-only run saw, in launch order."""

    kernels: list[Any] = field(default_factory=list)
    """Triton's compiled kernels; a kernel launched twice is here twice."""
    sizes: list[Size] = field(default_factory=list)
    """Of the launch of each of `kernels`."""
    errors: list[str] = field(default_factory=list)
    """The compiler's first meaningful line for every launch that it refused."""


class _Driver:
    """Stands in for Triton's active driver: names the target, loads and launches nothing."""

    def __init__(self, arch: Architecture, target: object, *, lowered: str) -> None:
        self._arch = arch
        self._target = target
        self._lowered = lowered

    @property
    def utils(self) -> SimpleNamespace:
        """Properties of the target, for kernels whose choice of configuration asks for them."""
        properties = {
            "max_shared_mem": self._arch.shared_per_block,
            "max_num_regs": self._arch.registers_per_sm,
            "multiprocessor_count": self._arch.multiprocessors,
            "warpSize": 32,
        }
        return SimpleNamespace(get_device_properties=lambda _device: dict(properties))

    def get_current_target(self) -> object:
        return self._target

    def get_current_device(self) -> str:
        """A key of its own in Triton's caches, which are kept by device: real launches never see these kernels.

        Nor does one code path see another's, which those caches would not tell apart.
        """
        return f"perfgate-{self._arch.name}-{self._lowered}"

    def get_current_stream(self, _device: object = None) -> int:
        return 0

    def get_active_torch_device(self) -> object:
        import torch

        return torch.device("meta")

    def get_benchmarker(self) -> NoReturn:
        raise GateError(
            "not-pruned", "A kernel asked to be timed while it was only compiled: prune its configs to one."
        )

    def launcher_cls(self, *_: object) -> NoReturn:
        raise GateError("launch-not-seen", "A compiled kernel was launched by hand: launch it as kernel[grid](…).")


@contextlib.contextmanager
def compile_only(arch: Architecture, *, lowered_for: str = "") -> Iterator[Capture]:
    """Within it, Triton launches compile for `arch` and are captured; none runs. Restores Triton, also on an error.

    `lowered_for` another architecture (`sm_89`), code is lowered for that one and assembled for `arch`, as Triton does
    under TRITON_OVERRIDE_ARCH on a card of `arch`.

    Not for several threads at once: it replaces methods of Triton's classes.

    Raises:
        GateError: `interpreter` where kernels are interpreted, `compiler-options` where the environment changes the
            code, `not-pruned` where autotuning leaves more than one configuration, `launch-not-seen` where a kernel
            is launched past `@triton.jit`.
    """
    from triton import knobs
    from triton.backends.compiler import GPUTarget
    from triton.runtime import driver
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    if knobs.runtime.interpret:
        raise GateError("interpreter", "Triton compiles nothing under TRITON_INTERPRET=1: unset it and run again.")
    distorting = [name for name in _DISTORTING if os.environ.get(name, "").lower() not in _OFF]
    if distorting:
        raise GateError(
            "compiler-options", f"{' and '.join(distorting)} would change the machine code: unset, run again."
        )

    capture = Capture()
    launch = JITFunction.run

    def compile_launch(self: Any, *args: Any, grid: object, warmup: bool, **kwargs: Any) -> object:  # noqa: ANN401, ARG001 - Triton's
        """Replaces `JITFunction.run`: a refused kernel is noted, and the wrapper goes on to its next launch."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):  # Triton prints the whole PTX when ptxas refuses it
                kernel = launch(self, *args, grid=grid, warmup=True, **kwargs)
        except _refusals() as error:
            capture.errors.append(f"{self.__name__}: {_first_line(error)}")
            return None
        if kernel is None:
            capture.errors.append(f"{self.__name__}: not compiled, a jit_cache_hook refused it.")
        else:
            capture.sizes.append(_size(self, grid, args, kwargs))
            capture.kernels.append(kernel)
        return kernel

    replacements: list[tuple[Any, Any]] = [(JITFunction, compile_launch), (Autotuner, _run_the_one_config)]
    if interpreter := sys.modules.get("triton.runtime.interpreter"):
        replacements.append((interpreter.InterpretedFunction, _refuse_interpreted))
    originals = [(owner, owner.run) for owner, _ in replacements]
    before = driver._active  # noqa: SLF001 - `driver.active` would start a driver, and there may be none
    number = int(arch.name.removeprefix("sm_"))
    with knobs.runtime.scope():
        try:
            lowered = (lowered_for or arch.name).removeprefix("sm_")
            knobs.runtime.override_arch = f"sm{lowered}"  # or TRITON_OVERRIDE_ARCH compiles for another card unseen
            driver.set_active(_Driver(arch, GPUTarget("cuda", number, 32), lowered=lowered))
            for owner, replacement in replacements:
                owner.run = replacement
            yield capture
        finally:
            for owner, original in originals:
                owner.run = original
            driver._active = before  # noqa: SLF001 - as above


def _size(function: Any, grid: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> Size:  # noqa: ANN401 - Triton's
    """The launch as Triton would make it: a grid that is a function is asked with all of the kernel's arguments.

    What that function raises passes unchanged, as it would from a launch.
    """
    named = {name: value for name, value in options.items() if name in function.signature.parameters}
    bound = function.signature.bind(*args, **named)
    bound.apply_defaults()
    axes = grid(bound.arguments) if callable(grid) else grid
    constexprs = {parameter.name for parameter in function.params if parameter.is_constexpr}
    integers = {
        name: int(value)
        for name, value in bound.arguments.items()
        if isinstance(value, Integral) and not isinstance(value, bool) and name not in constexprs
    }
    return Size(grid=math.prod(int(axis) for axis in axes), arguments=integers)


def _run_the_one_config(self: Any, *args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - Triton's signature
    """Replaces `Autotuner.run`: prunes as it does, neither times nor remembers anything.

    Triton before 3.8 times even a single configuration, and a timing taken here would be kept for real launches.
    """
    self.nargs = dict(zip(self.arg_names, args, strict=False))
    configs = self.prune_configs(kwargs) if len(self.configs) > 1 else self.configs
    if len(configs) != 1:
        text = f"Autotuning of {self.base_fn.__name__} leaves {len(configs)} configs: prune to one by a rule (early_config_prune)."
        raise GateError("not-pruned", text)
    config = self.best_config = configs[0]
    if config.pre_hook is not None:
        config.pre_hook({**self.nargs, **kwargs, **config.all_kwargs()})
    result = self.fn.run(*args, **kwargs, **config.all_kwargs())
    self.nargs = None
    return result


def _refuse_interpreted(self: Any, *_: object, **__: object) -> NoReturn:  # noqa: ANN401 - Triton's signature
    """Replaces `InterpretedFunction.run`: the kernel was defined while TRITON_INTERPRET was set."""
    text = f"{self.fn.__name__} was imported under TRITON_INTERPRET=1 and cannot be compiled: unset it and run again."
    raise GateError("interpreter", text)


def _refusals() -> tuple[type[Exception], ...]:
    """What Triton raises for a kernel that it cannot build.

    Its front end, its passes, its option parser and its bare asserts have no common base class.
    """
    from triton.errors import TritonError

    return (TritonError, RuntimeError, ValueError, TypeError, LookupError, AssertionError, AttributeError)


def _first_line(error: BaseException) -> str:
    """The line of a compiler's message that says what is wrong, without directories."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(getattr(error, "error_message", None) or error).strip() or type(error).__name__
    assembler = _ASSEMBLER_LINE.search(text)
    line = assembler["text"] if assembler else next(line for line in text.splitlines() if line.strip())
    return _DIRECTORY.sub("", line.strip())


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
