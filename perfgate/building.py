"""Compiles every case's chosen configuration for the target, in a process that never runs a kernel.

Run as ``python -m perfgate.building OUTPUT [--case ID]…`` by the compiled-code stage: other tests of the same
session may have put Triton into its interpreter, which compiles nothing. Judges nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import compiled, settings
from perfgate.compiled_baseline import CompiledCase
from perfgate.records import GateError, KernelFacts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

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


@dataclass(frozen=True, kw_only=True)
class Built:
    """What one run of the compiler gave: every case, and the versions that compiled it."""

    cases: Mapping[str, CompiledCase]
    versions: Mapping[str, str]


def build(project: settings.Settings, cases: Collection[str] = ()) -> Built:
    """Compile the cases (all when none is named), here; one that fails carries its error."""
    suite = settings.load_suite(project)
    chosen = [case for case in suite.CASES if not cases or case.id in cases]
    built = {}
    for case in chosen:
        try:
            kernel = settings.load_kernel(project.root / project.kernel)
            launch = suite.call_on_meta(kernel, case)
            built[case.id] = compiled.compile_case(launch, contract=case.contract(), target=project.target)
        except _KERNEL_FAULTS as error:
            said = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            built[case.id] = CompiledCase(contract=case.contract(), kernels=(), error=said)
    return Built(cases=built, versions=compiled.toolchain())


def build_apart(project: settings.Settings, output: Path, cases: Collection[str] = ()) -> Built:
    """Run ``build`` in a process of its own, without the interpreter; the facts stay in ``output``.

    Raises:
        GateError: The process failed; the sentence is its last line.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in {"TRITON_INTERPRET", "TRITON_OVERRIDE_ARCH"}}
    command = [sys.executable, "-m", "perfgate.building", str(output), *(f"--case={case}" for case in cases)]
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 - this module
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise GateError("not-compiled", f"The kernel could not be compiled for {project.target}: {lines[-1]}.")
    return read_built(output)


def read_built(path: Path) -> Built:
    """Read what ``build_apart`` left."""
    document = json.loads(path.read_text(encoding="utf-8"))
    cases = {
        name: CompiledCase(
            contract=case["contract"],
            kernels=tuple(KernelFacts(**facts) for facts in case["kernels"]),
            error=case["error"],
        )
        for name, case in document["cases"].items()
    }
    return Built(cases=cases, versions=document["versions"])


def main(argv: list[str]) -> int:
    """Compile, and write the facts to a file."""
    parser = argparse.ArgumentParser(prog="python -m perfgate.building")
    parser.add_argument("output", type=Path)
    parser.add_argument("--case", action="append", default=[])
    options = parser.parse_args(argv)
    try:
        built = build(settings.load(Path.cwd()), options.case)
    except GateError as error:
        print(error.text.rstrip("."), file=sys.stderr)
        return 2
    options.output.write_text(json.dumps(asdict(built), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
