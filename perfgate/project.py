"""A project's parts as Python: its suite, the kernel files, the folder that runs write to."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from typing import TYPE_CHECKING, Any, Protocol, cast

from perfgate.records import GateError
from perfgate.text import cut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from perfgate.config import Settings
    from perfgate.records import Case


class Suite(Protocol):
    """What the module has to have that lists the cases (``[tool.perfgate] suite``)."""

    CASES: tuple[Case, ...]
    """Those that are compiled and timed."""
    CHECKED: tuple[Case, ...]
    """Those whose result is checked: all."""
    operands: Callable[..., tuple[Any, ...]]
    """``operands(case, device=…, seed=…)``: what the kernel is called with."""
    call: Callable[..., Callable[..., Any]]
    """``call(module, case, *operands)``: a call of the kernel of a module, ready to be timed."""
    call_on_meta: Callable[..., Callable[[], Any]]
    """``call_on_meta(module, case)``: the same without a card and without data, to be compiled alone."""
    control: Callable[..., Callable[[], Any]]
    """``control(case, *operands)``: the vendor library at the same precision."""
    result_shape: Callable[..., tuple[int, ...]]
    """``result_shape(case)``"""


def load_suite(settings: Settings) -> Suite:
    """Import the module that lists the cases, from the project's root.

    Raises:
        GateError: ``bad-suite`` where it cannot be imported or lists no cases.
    """
    if str(settings.root) not in sys.path:
        sys.path.insert(0, str(settings.root))
    try:
        suite = importlib.import_module(settings.suite)
    except (Exception, SystemExit) as error:
        frames = traceback.extract_tb(error.__traceback__)
        where = next((f" at {f.filename}:{f.lineno}" for f in reversed(frames) if "importlib" not in f.filename), "")
        raise GateError(
            "bad-suite",
            f"The suite {settings.suite} cannot be imported ({type(error).__name__}: {cut(str(error))}{where}), expected a "
            "module that lists the cases; mend it, or name another in [tool.perfgate] suite.",
        ) from error
    if lacking := [name for name in ("CASES", "CHECKED") if not getattr(suite, name, None)]:
        raise GateError(
            "bad-suite", f"The suite {settings.suite} has no {' and no '.join(lacking)}, expected its cases; add them."
        )
    return cast("Suite", suite)


def load_kernel(path: Path, name: str = "kernel_under_test") -> ModuleType:
    """Import a kernel file by path, so that two versions of it can live in one process."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise GateError("no-kernel-file", f"No kernel file at {path}; name it in [tool.perfgate] kernel.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Triton looks a kernel's globals up by module
    spec.loader.exec_module(module)
    return module


def output_folder(settings: Settings) -> Path:
    """Where a run leaves its samples, logs and facts."""
    return settings.root / ".perfgate"
