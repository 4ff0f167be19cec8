"""One of the processes that compile: a case in, the facts of its machine code out; it never runs a kernel.

Run as ``python -m perfgate.codegen.worker`` by `building`, apart from it: there may be no torch in that process, or Triton
in its interpreter, which compiles nothing. Judges nothing.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import settings
from perfgate.codegen import extract
from perfgate.pool import serve
from perfgate.records import GateError
from perfgate.store.compiled import CompiledCase, case_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from perfgate.records import Case

# What a broken kernel file raises when it is imported or called. A fault of the gate itself is a GateError.
_KERNEL_FAULTS = (
    SyntaxError,
    ImportError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    RuntimeError,
    AssertionError,
)
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def answers(project: settings.Settings) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """What one process does with a job: ``case`` (its id), ``kernel`` (the file) and ``target``.

    An answer has ``case`` (as `case_to_json`), ``versions``, ``triton`` (where its package lies) and ``loaded`` (files
    that were imported and are no installed package's); or ``gate_error``, reason and text.
    """
    suite = settings.load_suite(project)
    cases = {case.id: case for case in suite.CASES}

    def answer(job: dict[str, Any]) -> dict[str, Any]:
        try:
            built = build(suite, cases[job["case"]], kernel=Path(job["kernel"]), target=job["target"])
            versions = extract.toolchain()
        except GateError as error:
            return {"gate_error": [error.reason, error.text]}
        package = Path(sys.modules["triton"].__file__ or "").parent
        loaded = sorted(map(str, _loaded(package)))
        return {"case": case_to_json(built), "versions": versions, "triton": str(package), "loaded": loaded}

    return answer


def build(suite: ModuleType, case: Case, *, kernel: Path, target: str) -> CompiledCase:
    """Compile one case with the kernel file imported anew; where it fails, the result carries its error.

    Raises:
        GateError: Nothing can be compiled here, or not as a user's launch would be.
    """
    try:
        launch = suite.call_on_meta(settings.load_kernel(kernel), case)
        return extract.compile_case(launch, contract=case.contract(), target=target)
    except _KERNEL_FAULTS as error:
        said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        return CompiledCase(contract=case.contract(), kernels=(), error=said)


def _loaded(triton: Path) -> Iterator[Path]:
    """Files of imported modules that belong neither to Python nor to an installed package."""
    standard = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    for module in list(sys.modules.values()):
        if not (file := getattr(module, "__file__", None)):
            continue
        path = Path(file).resolve()  # torch has modules whose file is a name and no more
        if not path.is_file():
            continue
        if _INSTALLED.isdisjoint(path.parts) and not any(map(path.is_relative_to, (*standard, triton.resolve()))):
            yield path


def main() -> int:
    """Answer until there are no more jobs."""
    serve(answers(settings.load(Path.cwd())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
