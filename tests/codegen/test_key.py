"""The key of a compiled case: another in every ingredient is another key, and nothing else is."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from building_support import World
from perfgate.codegen.key import gather
from perfgate.harness import compile_only
from perfgate.settings import load, load_suite

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.codegen.key import Ingredients
    from perfgate.records import Case

PROJECT = load(Path(__file__).resolve().parents[2])
CASES = load_suite(PROJECT).CASES
KERNEL = PROJECT.root / PROJECT.kernel


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def _gather(world: World, environment: dict[str, str] | None = None) -> Ingredients:
    kernel = world.root / "kernels/matmul.py"
    return gather(world.settings, kernel=kernel, environment=environment or {}, triton=world.root / "tritons/installed")


def _key(world: World, environment: dict[str, str] | None = None) -> str:
    return _gather(world, environment).key(CASES[0])


@pytest.mark.parametrize(
    "name",
    [
        "kernels/matmul.py",
        "kernels/beside.py",
        "settings_of_suite.py",
        "suite_parts/helper.py",
        "suite_parts/__init__.py",
        "tritons/installed/triton/backends/nvidia/bin/ptxas",
        "tritons/installed/triton/compiler.py",
    ],
)
def test_another_byte_in_a_file_that_decides_is_another_key(world: World, name: str) -> None:
    path = world.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    before = _key(world)
    path.write_text(path.read_text(encoding="utf-8") + "#\n", encoding="utf-8")
    assert _key(world) != before


def test_a_file_that_appears_beside_the_kernel_is_another_key(world: World) -> None:
    before = _key(world)
    world.write("kernels/new.py", "")
    assert _key(world) != before


def test_a_triton_of_the_same_size_written_at_another_time_is_another_key(world: World) -> None:
    tool = world.root / "tritons/installed/triton/backends/nvidia/bin/ptxas"
    before = _key(world)
    os.utime(tool, (1, 1))
    assert _key(world) != before


def test_another_version_in_the_installers_record_is_another_key(world: World) -> None:
    before = _key(world)
    record = world.root / "tritons/installed/triton-9.0.0.dist-info/METADATA"
    record.write_text("Name: triton\nVersion: 9.0.1\n", encoding="utf-8")
    assert _key(world) != before


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (sys, "version"),
        (platform, "machine"),
        (importlib.metadata, "distributions"),
    ],
)
def test_another_python_machine_or_torch_is_another_key(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    before, original = _gather(world), getattr(owner, name)

    def renamed(**asked: Any) -> Any:
        if asked.get("name") != "torch":
            return original(**asked)
        return [type("Torch", (), {"version": "0.0.1"})]

    changed: dict[str, Any] = {"version": "3.99", "machine": lambda: "other", "distributions": renamed}
    monkeypatch.setattr(owner, name, changed[name])

    after = _gather(world)
    assert after.key(CASES[0]) != before.key(CASES[0])
    assert dataclasses.replace(after, tools=before.tools) == before


def test_another_target_is_another_key(world: World) -> None:
    ingredients = _gather(world)
    assert dataclasses.replace(ingredients, target="sm_90").key(CASES[0]) != ingredients.key(CASES[0])


_OTHERS: dict[str, Callable[[Case], Any]] = {
    "id": lambda case: f"{case.id}x",
    "shapes": lambda case: (case.shapes[0], (8, 8)),
    "layouts": lambda _: ("column", "row"),
    "dtype": lambda _: "float16",
    "precision": lambda _: "ieee",
    "flops": lambda case: case.flops + 1,
    "min_bytes": lambda case: case.min_bytes + 1,
    "device_bytes": lambda case: case.device_bytes + 1,
    "unit": lambda _: "fp16",
    "quick": lambda case: not case.quick,
}


def test_every_property_of_a_case_is_in_its_key(world: World) -> None:
    ingredients, case = _gather(world), CASES[0]
    keys = {ingredients.key(dataclasses.replace(case, **{name: other(case)})) for name, other in _OTHERS.items()}
    assert _OTHERS.keys() == {field.name for field in dataclasses.fields(case)}
    assert len(keys | {ingredients.key(case)}) == len(_OTHERS) + 1


@pytest.mark.parametrize(
    "name",
    [
        *compile_only._DISTORTING,  # noqa: SLF001 - what is refused must not be answered by the cache before
        "TRITON_PTXAS_PATH",
        "TRITON_DEFAULT_FP_FUSION",
        "TRITON_F32_DEFAULT",
        "DISABLE_LLVM_OPT",
        "DISABLE_MMA_V3",
        "LLVM_PASS_PLUGIN_PATH",
        "NVPTX_ENABLE_DUMP",
        "MLIR_ENABLE_DUMP",
        "USE_IR_LOC",
        "ALLOW_LHS_TMEM_LAYOUT_CONVERSION",
    ],
)
def test_a_variable_that_reaches_the_compiler_is_in_the_key(world: World, name: str) -> None:
    keys = {_key(world, {}), _key(world, {name: "1"}), _key(world, {name: "0"})}
    assert len(keys) == 3


def test_a_tool_that_a_variable_names_is_known_by_its_file(world: World) -> None:
    tool = world.write("tool", "old")
    environment = {"TRITON_PTXAS_PATH": str(tool)}
    before = _key(world, environment)
    tool.write_text("newer", encoding="utf-8")
    assert _key(world, environment) != before


def test_where_triton_keeps_its_kernels_and_what_it_never_asks_for_are_not_in_the_key(world: World) -> None:
    environment = {"TRITON_CACHE_DIR": "/x", "TRITON_HOME": "/y", "HOME": "/z", "LANG": "C"}
    assert _key(world, environment) == _key(world, {})


def test_the_same_files_in_another_folder_at_another_time_are_the_same_key(world: World) -> None:
    before = _gather(world)
    other = world.write("elsewhere/matmul.py", (world.root / "kernels/matmul.py").read_text(encoding="utf-8"))
    os.utime(other, (1, 1))
    moved = gather(world.settings, kernel=other, environment={}, triton=world.root / "tritons/installed")

    assert moved.key(CASES[0]) == before.key(CASES[0])
    assert moved != before


def test_a_file_written_anew_with_its_old_bytes_is_seen_though_the_key_is_the_same(world: World) -> None:
    before = _gather(world)
    os.utime(world.root / "kernels/matmul.py", (1, 1))
    after = _gather(world)
    assert after.key(CASES[0]) == before.key(CASES[0])
    assert after != before


def test_the_gates_own_files_that_compile_and_read_code_are_ingredients() -> None:
    ingredients = gather(PROJECT, kernel=KERNEL, environment={})
    needed = {"compiling", "compiled", "compile_only", "compiled_baseline", "sass", "occupancy", "records", "memory"}
    assert {f"perfgate.{name}" for name in needed} | {"perf_tests.cases"} <= ingredients.code.keys()
    assert not {"perfgate.gate.pipeline", "perfgate.report.markdown"} & ingredients.code.keys()
    assert ingredients.tools["torch"]
    assert ingredients.tools["triton"]
    assert ingredients.tools["triton files"]
