"""The real compiler's processes: side by side they find what one alone finds, and load nothing that the key does not know.

They run without TRITON_INTERPRET, which this process may have set.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from building_support import REPOSITORY, SUITE
from compiled_scenarios import KERNELS
from perfgate.codegen import build
from perfgate.codegen.cache import COMPILER, gather
from perfgate.config import Settings, read_settings
from perfgate.workers import Pool

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

_CALLS = """

SIZES = {"one": 64, "two": 64, "three": 128}


def call_on_meta(kernel, case):
    import torch

    size = SIZES[case.id]
    a = torch.empty(512, 512, device="meta")
    blocks = {"BLOCK_M": size, "BLOCK_N": 64, "BLOCK_K": 32}
    return lambda: kernel.matmul[(8, 8)](a, a, a, 512, 512, 512, 512, 1, 512, 512, **blocks, num_warps=4, num_stages=3)
"""


def _environment(cache: Path) -> Mapping[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return {**kept, "TRITON_CACHE_DIR": str(cache), "PYTHONPATH": str(REPOSITORY)}


def test_processes_that_share_tritons_cache_find_what_one_alone_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Settings(root=tmp_path, suite="suite_of_three")
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/matmul.py").write_text(KERNELS, encoding="utf-8")
    suite = SUITE.replace("from suite_parts import helper\n", "")
    (tmp_path / "suite_of_three.py").write_text(suite + _CALLS, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[tool.perfgate]\nsuite = "suite_of_three"\n', encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, value in _environment(tmp_path / "shared").items():
        monkeypatch.setenv(name, value)

    monkeypatch.setattr(build, "processors", lambda: 3)
    together = build.build_apart(project, tmp_path / "together.json")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "own"))
    monkeypatch.setattr(build, "processors", lambda: 1)
    alone = build.build_apart(project, tmp_path / "alone.json", cached=False)

    assert (together.cases, together.versions) == (alone.cases, alone.versions)
    assert together.cases["one"].kernels == together.cases["two"].kernels
    assert [len(case.kernels) for case in together.cases.values()] == [1, 1, 1]
    assert build.build_apart(project, tmp_path / "again.json").cached == 3
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "together.json").read_bytes()


def test_the_key_knows_every_file_that_compiling_this_projects_cases_loads(tmp_path: Path) -> None:
    project = read_settings(REPOSITORY)
    kernel = project.root / project.kernel
    jobs: list[dict[str, Any]] = [{"case": "sq512_fp16", "kernel": str(kernel), "target": "sm_89"}]
    command = [sys.executable, "-m", COMPILER]
    environment = _environment(tmp_path / "triton")
    with Pool(command, workers=1, cwd=REPOSITORY, environment=environment, logs=tmp_path, timeout_s=300) as pool:
        ((_, answer),) = pool.answers(jobs)

    loaded = set(map(Path, answer["loaded"]))
    assert {kernel, REPOSITORY / "perf_tests/cases.py", REPOSITORY / "perfgate/codegen/sass.py"} <= loaded
    assert loaded <= gather(project, kernel=kernel, environment=environment).paths
