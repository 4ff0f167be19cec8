"""One of the processes that compile: a case in, the facts of its machine code out; it never runs a kernel.

Run as ``python -m perfgate.codegen.worker`` by `build`, apart from it: there may be no torch in that process, or Triton
in its interpreter, which compiles nothing. Judges nothing.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.codegen import extract
from perfgate.codegen.cache import Answer
from perfgate.config import Settings, read_settings
from perfgate.project import Suite, load_kernel, load_suite
from perfgate.records import GateError
from perfgate.store import codec
from perfgate.store.compiled import CompiledCase
from perfgate.workers import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.records import Case

# What a broken kernel file raises when it is imported or called. A fault of the gate itself is a GateError.
_KERNEL_FAULTS = (
    *(SyntaxError, ImportError, NameError, AttributeError, TypeError, ValueError, LookupError, RuntimeError),
    AssertionError,
)
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def answers(project: Settings) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What one process does with a job: ``case`` (its id), ``kernel`` (the file) and ``target``.

    It is an `Answer`, or ``gate_error``, reason and text.
    """
    suite = load_suite(project)
    cases = {case.id: case for case in suite.CASES}

    def answer(job: dict[str, Any]) -> dict[str, Any]:
        try:
            built = build(suite, cases[job["case"]], kernel=Path(job["kernel"]), target=job["target"])
            versions = extract.toolchain()
        except GateError as error:
            return {"gate_error": [error.reason, error.text]}
        package = Path(sys.modules["triton"].__file__ or "").parent
        found: dict[str, Any] = codec.encode(
            Answer(case=built, versions=versions, triton=str(package), loaded=_loaded(package))
        )
        return found

    return answer


def build(suite: Suite, case: Case, *, kernel: Path, target: str) -> CompiledCase:
    """Compile one case with the kernel file imported anew; where it fails, the result carries its error.

    Raises:
        GateError: Nothing can be compiled here, or not as a user's launch would be.
    """
    try:
        launch = suite.call_on_meta(load_kernel(kernel), case)
        return extract.compile_case(launch, contract=case.contract(), target=target)
    except _KERNEL_FAULTS as error:
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return CompiledCase(contract=case.contract(), kernels=(), error=said)


def _loaded(triton: Path) -> tuple[str, ...]:
    """Files of imported modules that belong neither to Python nor to an installed package."""
    others = [triton.resolve(), *(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))]
    files = {
        Path(file).resolve() for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))
    }
    return tuple(
        sorted(
            str(path)
            for path in files
            if path.is_file()  # torch has modules whose file is a name and no more
            and _INSTALLED.isdisjoint(path.parts)
            and not any(map(path.is_relative_to, others))
        )
    )


if __name__ == "__main__":
    serve(answers(read_settings(Path.cwd())))
