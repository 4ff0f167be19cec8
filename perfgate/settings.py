"""The project's settings, read once from ``[tool.perfgate]`` into a frozen record; an unknown key is an error."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

_TABLES_OF_OTHERS = {"limits", "cards"}  # read by perfgate.limits and perfgate.runners


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where things are and how a measurement is made."""

    root: Path
    suite: str = "perf_tests.cases"
    """Module that lists the cases."""
    tests: str = "perf_tests"
    """Folder of the tests that check and time them."""
    kernel: str = "kernels/matmul.py"
    """File under test."""
    baselines: str = "baselines"
    target: str = "sm_89"
    """Architecture that the kernel is compiled for where no card is needed."""
    default_branch: str = "main"
    """Where small steps that add up to too much fail the gate instead of being reported."""
    launches: int = 4
    """Worker processes before the first look, where the other side runs in the same launches."""
    stored_launches: int = 5
    """Worker processes where a stored number is all there is to compare with."""
    baseline_launches: int = 8
    """Worker processes when a baseline is recorded."""
    rounds: int = 80
    """Most timed runs of each arm in a launch."""
    fewest_rounds: int = 10
    arm_s: float = 0.12
    """Seconds that an arm may take in a launch; a longer case gets fewer rounds."""
    warmup_rounds: int = 4
    hold_s: float = 0.001
    """How long the stream is held before each timed run; longer than the host needs to queue it."""
    flush_factor: int = 4
    """Bytes read between runs, as a multiple of the L2 cache."""
    launch_timeout_s: int = 900

    def measurement(self) -> dict[str, Any]:
        """What must be equal for two recordings to be compared."""
        return {
            "method": "events, L2 flushed by reading, stream held, arms in random order each round",
            "rounds": self.rounds,
            "fewest_rounds": self.fewest_rounds,
            "arm_s": self.arm_s,
            "warmup_rounds": self.warmup_rounds,
            "hold_s": self.hold_s,
            "flush_factor": self.flush_factor,
        }


def load(root: Path) -> Settings:
    """Read the settings of the project at ``root``; a GateError names what is wrong in the file."""
    path = root / "pyproject.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GateError("no-project", f"No pyproject.toml in {root}; run this from the project's root.") from None
    except tomllib.TOMLDecodeError as error:
        raise GateError("bad-settings", f"{path.name} is not valid TOML ({error}); mend it.") from None
    table: dict[str, Any] = document.get("tool", {}).get("perfgate", {})
    known = {f.name: f for f in fields(Settings) if f.name != "root"}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _TABLES_OF_OTHERS:
            continue
        if key not in known:
            raise GateError(
                "bad-settings", f"[tool.perfgate] has the unknown key {key!r}; known are {', '.join(sorted(known))}."
            )
        expected = {"str": str, "int": int, "float": (int, float)}[str(known[key].type)]
        if isinstance(value, bool) or not isinstance(value, expected):  # type: ignore[arg-type]
            raise GateError("bad-settings", f"[tool.perfgate] {key} is {value!r}; expected {known[key].type}.")
        if not isinstance(value, str) and value <= 0:
            raise GateError("bad-settings", f"[tool.perfgate] {key} is {value!r}; expected more than zero.")
        values[key] = value
    return Settings(root=root, **values)


def load_suite(settings: Settings) -> ModuleType:
    """Import the module that lists the cases, from the project's root."""
    if str(settings.root) not in sys.path:
        sys.path.insert(0, str(settings.root))
    return importlib.import_module(settings.suite)


def load_kernel(path: Path, name: str = "kernel_under_test") -> ModuleType:
    """Import a kernel file by path, so that two versions of it can live in one process."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise GateError("no-kernel-file", f"No kernel file at {path}; name it in [tool.perfgate] kernel.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Triton looks a kernel's globals up by module
    spec.loader.exec_module(module)
    return module
