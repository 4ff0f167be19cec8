"""A project of three cases whose compiler is a stand-in that answers at once, for tests of what is compiled when."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate.codegen import build
from perfgate.codegen.build import Built, Source, build_apart
from perfgate.config import Settings

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

SUITE = """
from perfgate.records import Case
from suite_parts import helper


def _case(name):
    return Case(id=name, shapes=((2, 2), (2, 2)), layouts=("row", "row"), dtype="float32", precision="tf32",
                flops=16, min_bytes=48, device_bytes=48, unit="tf32", quick=name == "one")


CASES = CHECKED = tuple(map(_case, ("one", "two", "three")))
"""

COMPILER = """
import json, os, sys
from pathlib import Path
import triton_place
from perfgate.workers import serve
from settings_of_suite import CASES


def facts(registers):
    return {"name": "matmul", "config": {"BLOCK": 64, "num_warps": 4}, "code_hash": f"{registers:064d}", "registers": registers,
            "normal_hash": f"{registers:064d}", "main_loop": {}, "grid": 1, "arguments": {},
            "stack_bytes": 0, "spill_instructions": 0, "shared_bytes": 0, "blocks_per_sm": 4, "limited_by": "registers",
            "occupancy_percent": 50.0, "instructions": {"tensor_core": 8}}


def answer(job):
    kernel = Path(job["kernel"])
    text = kernel.read_text()
    with Path("compiled.log").open("a") as log:
        print(job["case"], os.environ.get("TRITON_INTERPRET", "compiled"), file=log)
    case = next(case for case in CASES if case.id == job["case"])
    if "crash" in text:
        os.abort()
    if "edit" in text:
        kernel.write_text(text)
    if "refuse" in text:
        return {"gate_error": ["no-tool", "Cannot find a working ptxas."]}
    loaded = [str(kernel), *(["/elsewhere/secret.py"] if "import_elsewhere" in text and case.id == "two" else [])]
    error = "matmul: no such name" if "broken" in text and case.id == "two" else ""
    kernels = [] if error else [facts(len(text))]
    place = "/another/triton" if "other_triton" in text else triton_place.PLACE
    built = {"contract": case.contract(), "kernels": kernels, "operations": [], "error": error}
    return {"case": built, "loaded": loaded, "triton": place,
            "versions": {"triton": "9.0.0", "torch": "8.0.0", "ptxas": "7.0"}}


if __name__ == "__main__":
    serve(answer)
"""


class World:
    """The project, and what its compiler was asked."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.write("pyproject.toml", '[tool.perfgate]\nsuite = "settings_of_suite"\n')
        self.write("settings_of_suite.py", SUITE)
        self.write("suite_parts/__init__.py", "")
        self.write("suite_parts/helper.py", "X = 1\n")
        self.write("kernels/matmul.py", "x = 1\n")
        triton = self.triton("installed", "9.0.0")
        self.write("triton_place.py", f"PLACE = {str(triton / 'triton')!r}\n")
        self.write("stand_in.py", COMPILER)
        monkeypatch.setattr(build, "COMPILER", "stand_in")
        monkeypatch.setattr(build, "triton_package", lambda folder: (folder or triton) / "triton")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))

    @property
    def settings(self) -> Settings:
        return Settings(root=self.root, suite="settings_of_suite")

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def triton(self, name: str, version: str) -> Path:
        """A folder that holds a Triton, as an installer leaves it."""
        folder = self.root / "tritons" / name
        self.write(f"tritons/{name}/triton/backends/nvidia/bin/ptxas", version)
        self.write(f"tritons/{name}/triton-{version}.dist-info/METADATA", f"Name: triton\nVersion: {version}\n")
        return folder

    def build(self, *cases: str, cached: bool = True, source: Source | None = None) -> Built:
        return build_apart(self.settings, self.root / "out/compiled.json", cases, cached=cached, source=source)

    def asked(self) -> list[str]:
        """Cases that the compiler was asked since the last look, in alphabetical order."""
        log = self.root / "compiled.log"
        lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
        log.unlink(missing_ok=True)
        return sorted(lines)

    @property
    def entries(self) -> list[Path]:
        return sorted((self.root / ".perfgate/cache/compiled").glob("*"))
