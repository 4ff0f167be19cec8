"""Kernel files that are right and slow: edits of the kernel's own text, and what they compile to for a card."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.records import KernelFacts
from perfgate.store.compiled import CompiledCase, Operation

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

ROOT = Path(__file__).resolve().parents[2]
SOURCE = (ROOT / "kernels/matmul.py").read_text(encoding="utf-8")
KERNEL = "kernel"
"""The name under which the kernel itself is compiled."""


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change of the text: a pattern, what is put there, and at how many places."""

    pattern: str
    by: str
    places: int


MUTANTS: Mapping[str, tuple[Edit, ...]] = {
    "half the steps along K": (
        Edit(pattern=r'"BLOCK_K": 32, "G', by='"BLOCK_K": 16, "G', places=5),
        Edit(
            pattern=r'"BLOCK_K": 64, "GROUP_M": 8\}, num_warps=4',
            by='"BLOCK_K": 32, "GROUP_M": 8}, num_warps=4',
            places=4,
        ),
    ),
    "one stage": (Edit(pattern=r"num_stages=\d", by="num_stages=1", places=13),),
    "the group is ignored": (
        Edit(pattern=r"tile_m = first_m \+ tile .*", by="tile_m = tile % tiles_m", places=1),
        Edit(pattern=r"tile_n = tile % \(GROUP_M .*", by="tile_n = tile // tiles_m", places=1),
    ),
    "masks everywhere": (
        Edit(pattern=r'lambda args, x=x: args\[x\] % args\[f"BLOCK_\{x\}"\] == 0', by="lambda args: False", places=3),
    ),
    "operands are copied": (
        Edit(
            pattern=r"\n    precision = _resolve_precision",
            by="\n    a, b = a.contiguous(), b.contiguous()\n    precision = _resolve_precision",
            places=1,
        ),
    ),
    "eight warps on a small tile": (
        Edit(pattern=r'("BLOCK_N": 32, "BLOCK_K": 64, "GROUP_M": 8\}), num_warps=4', by=r"\1, num_warps=8", places=2),
    ),
    "warps left to the default": (Edit(pattern=r"\}, num_warps=\d,", by="},", places=13),),
}


def text(mutant: str) -> str:
    """The mutant's kernel file."""
    source = SOURCE
    for edit in MUTANTS.get(mutant, ()):
        source, places = re.subn(edit.pattern, edit.by, source)
        assert places == edit.places, f"{mutant}: the kernel has {edit.pattern} {places} times"
    return source


# One process compiles all, so that kernels that no edit reached are read once.
_COMPILE = """
import dataclasses, json, sys
from pathlib import Path
from perf_tests import cases
from perfgate import compiled, settings

folder, jobs = Path(sys.argv[1]), json.loads(sys.argv[2])
by_id = {case.id: case for case in cases.CASES}
modules = {}
for number, (name, case, target) in enumerate(jobs):
    if name not in modules:
        modules[name] = settings.load_kernel(folder / f"{name}.py", f"mutant_{number}")
    launch = cases.call_on_meta(modules[name], by_id[case])
    built = compiled.compile_case(launch, contract=by_id[case].contract(), target=target)
    print(json.dumps(dataclasses.asdict(built)))
"""


def compile_all(folder: Path, wanted: Collection[tuple[str, str, str]]) -> dict[tuple[str, str, str], CompiledCase]:
    """What each (mutant or `KERNEL`, case, target) compiles to."""
    jobs = sorted(wanted)
    for name, _, _ in jobs:
        (folder / f"{name}.py").write_text(text(name), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", _COMPILE, str(folder), json.dumps(jobs)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {job: _read(json.loads(line)) for job, line in zip(jobs, done.stdout.splitlines(), strict=True)}


def _read(data: dict[str, Any]) -> CompiledCase:
    kernels = tuple(KernelFacts(**facts) for facts in data.pop("kernels"))
    operations = tuple(Operation(**operation) for operation in data.pop("operations"))
    return CompiledCase(**data, kernels=kernels, operations=operations)
