"""Facts kept between runs: found whole under their key, or thrown away; another in every ingredient is another key."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from building_support import World
from facts_support import FACTS, VERSIONS
from perfgate.codegen.cache import CompiledCache, Entry, gather, reached
from perfgate.config import read_settings
from perfgate.harness import compile_only
from perfgate.project import load_suite
from perfgate.store.compiled import CompiledCase

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.codegen.cache import Ingredients

PROJECT = read_settings(Path(__file__).resolve().parents[2])
CASES = load_suite(PROJECT).CASES
CONTRACT = {"dtype": "float16", "shapes": [[2, 2], [2, 2]]}
ENTRY = Entry(case=CompiledCase(contract=CONTRACT, kernels=(FACTS,)), versions=VERSIONS)
KEY, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def cache(tmp_path: Path) -> CompiledCache:
    return CompiledCache(tmp_path / "cache")


def test_an_entry_comes_back_as_it_was_put(cache: CompiledCache) -> None:
    cache.put(KEY, ENTRY)
    assert cache.get(KEY, CONTRACT) == ENTRY
    assert cache.get(OTHER, CONTRACT) is None


def _foreign(document: dict[str, Any]) -> str:
    document["held"]["case"]["kernels"] = []
    return json.dumps(document)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "null",
        lambda _: "\x00\xff",
        lambda text: text.replace('"registers":118', '"registers":117'),
        lambda text: text.replace("3.8.0", "3.8.1"),
        lambda text: text.replace(KEY, OTHER),
        lambda text: text.replace('"schema":1', '"schema":2'),
        lambda text: text.replace('"digest"', '"other"'),
        lambda text: _foreign(json.loads(text)),
    ],
)
def test_a_damaged_entry_is_thrown_away(cache: CompiledCache, tmp_path: Path, damage: Callable[[str], str]) -> None:
    cache.put(KEY, ENTRY)
    (path,) = (tmp_path / "cache").iterdir()
    whole = path.read_text(encoding="utf-8")
    assert damage(whole) != whole
    path.write_text(damage(whole), encoding="utf-8")

    assert cache.get(KEY, CONTRACT) is None
    assert not path.exists()


def test_an_entry_of_another_contract_or_under_another_name_or_a_folder_is_no_entry(
    cache: CompiledCache, tmp_path: Path
) -> None:
    cache.put(KEY, ENTRY)
    assert cache.get(KEY, {**CONTRACT, "dtype": "float32"}) is None
    cache.put(KEY, ENTRY)
    (path,) = (tmp_path / "cache").iterdir()
    path.rename(path.with_name(f"{OTHER}.json"))
    assert cache.get(OTHER, CONTRACT) is None
    path.mkdir()
    assert cache.get(KEY, CONTRACT) is None


@pytest.mark.parametrize(("kernels", "error"), [((FACTS,), "no such name"), ((), "")])
def test_what_did_not_compile_is_not_kept(cache: CompiledCache, tmp_path: Path, kernels: Any, error: str) -> None:
    case = CompiledCase(contract=CONTRACT, kernels=kernels, error=error)
    cache.put(KEY, Entry(case=case, versions=VERSIONS))
    assert cache.get(KEY, CONTRACT) is None
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_beyond_the_bound_are_dropped(
    cache: CompiledCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perfgate.codegen.cache.MOST_ENTRIES", 3)
    for number in range(5):
        cache.put(f"{number:064d}", ENTRY)
        os.utime(tmp_path / "cache" / f"{number:064d}.json", (1000 - number, 1000 - number))
    cache.drop_oldest()
    assert sorted(int(path.stem) for path in (tmp_path / "cache").iterdir()) == [0, 1, 2]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def _gather(world: World, environment: dict[str, str] | None = None) -> Ingredients:
    kernel = world.root / "kernels/matmul.py"
    return gather(world.settings, kernel=kernel, environment=environment or {}, triton=world.root / "tritons/installed")


def _key(world: World, environment: dict[str, str] | None = None) -> str:
    return _gather(world, environment).key(CASES[0])


INSTALLED = "tritons/installed/triton"


@pytest.mark.parametrize(
    "name",
    [
        *("kernels/matmul.py", "kernels/new.py"),
        *("settings_of_suite.py", "suite_parts/helper.py", "suite_parts/__init__.py"),
        *(f"{INSTALLED}/backends/nvidia/bin/ptxas", f"{INSTALLED}/compiler.py"),
        f"{INSTALLED}-9.0.0.dist-info/METADATA",
    ],
)
def test_another_byte_in_a_file_that_decides_is_another_key(world: World, name: str) -> None:
    before = _key(world)
    path = world.root / name
    world.write(name, (path.read_text(encoding="utf-8") if path.is_file() else "") + "\nVersion: 9.0.1\n")
    if name.endswith("METADATA"):
        path.write_text("Name: triton\nVersion: 9.0.1\n", encoding="utf-8")
    assert _key(world) != before


_DISTRIBUTIONS = importlib.metadata.distributions


def _other_torch(**asked: Any) -> Any:
    return [type("Torch", (), {"version": "0.0.1"})] if asked["name"] == "torch" else _DISTRIBUTIONS(**asked)


@pytest.mark.parametrize(
    ("owner", "name", "now"),
    [
        (sys, "version", "3.99"),
        (platform, "machine", lambda: "other"),
        (importlib.metadata, "distributions", _other_torch),
    ],
)
def test_another_python_machine_or_torch_is_another_key(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, now: Any
) -> None:
    before = _gather(world)
    monkeypatch.setattr(owner, name, now)
    after = _gather(world)
    assert after.key(CASES[0]) != before.key(CASES[0])
    assert dataclasses.replace(after, tools=before.tools) == before
    assert dataclasses.replace(before, target="sm_90").key(CASES[0]) != before.key(CASES[0])


def test_every_property_of_a_case_is_in_its_key(world: World) -> None:
    ingredients, case = _gather(world), CASES[0]
    changes: list[dict[str, Any]] = [{field.name: f"other {field.name}"} for field in dataclasses.fields(case)]
    keys = {ingredients.key(dataclasses.replace(case, **change)) for change in ({}, *changes)}
    assert len(keys) == len(changes) + 1


@pytest.mark.parametrize(
    "name",
    [
        *compile_only._DISTORTING,  # noqa: SLF001 - what is refused must not be answered by the cache before
        "TRITON_PTXAS_PATH",
        "TRITON_DEFAULT_FP_FUSION",
        "DISABLE_LLVM_OPT",
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


def test_the_same_bytes_in_another_folder_or_of_another_time_are_the_same_key_and_seen_to_be_written(
    world: World,
) -> None:
    before = _gather(world)
    os.utime(world.root / "kernels/matmul.py", (1, 1))
    again = _gather(world)
    other = world.write("elsewhere/matmul.py", (world.root / "kernels/matmul.py").read_text(encoding="utf-8"))
    moved = gather(world.settings, kernel=other, environment={}, triton=world.root / "tritons/installed")
    assert again.key(CASES[0]) == moved.key(CASES[0]) == before.key(CASES[0])
    assert before not in (again, moved)


def test_the_gates_own_files_that_compile_and_read_code_are_ingredients() -> None:
    ingredients = gather(PROJECT, kernel=PROJECT.root / PROJECT.kernel, environment={})
    needed = {"codegen.worker", "codegen.extract", "harness.compile_only", "store.compiled", "codegen.sass", "records"}
    assert {f"perfgate.{name}" for name in needed} | {"perf_tests.cases"} <= ingredients.files.keys()
    assert not {"perfgate.gate.pipeline", "perfgate.report.verdicts"} & ingredients.files.keys()
    assert ingredients.tools["torch"]
    assert ingredients.tools["triton"]
    assert ingredients.tools["triton files"]


def _tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        for folder in path.relative_to(root).parents:
            if folder.name:
                (root / folder / "__init__.py").touch()
    return root


def test_every_form_of_import_is_followed_wherever_it_stands(tmp_path: Path) -> None:
    root = _tree(
        tmp_path,
        a__one="import a.two\nfrom a import three\nfrom a.four import name\n",
        a__two="def f():\n    from . import five\n    from .b import six\n    from ..a import seven\n",
        a__three="if TYPE_CHECKING:\n    from a.b.eight import T\n",
        a__four="import json, triton\n",
        a__five="",
        a__seven="",
        a__unused="",
        a__b__six="from ..five import x\nfrom ... import nothing\n",
        a__b__eight="",
    )

    found = reached(["a.one"], [], roots=[root])

    names = {
        "a",
        "a.b",
        *(f"a.{name}" for name in ("one", "two", "three", "four", "five", "seven", "b.six", "b.eight")),
    }
    assert found.keys() == names
    assert found["a.two"] == root / "a/two.py"


def test_files_that_are_no_module_circles_and_what_is_no_python(tmp_path: Path) -> None:
    root = _tree(tmp_path, a__helper="", kernel="from a.helper import x\n", one="import two\n", two="import one\n")
    assert reached([], [root / "kernel.py"], roots=[root]).keys() == {"a", "a.helper"}
    assert reached(["one"], [], roots=[root]).keys() == {"one", "two"}
    _tree(tmp_path, one="import two\nthis is no Python\n")
    assert reached(["one"], [], roots=[root]).keys() == {"one"}


def test_the_first_root_that_has_a_module_is_where_it_lies(tmp_path: Path) -> None:
    first, second = _tree(tmp_path / "1", x=""), _tree(tmp_path / "2", x="", y="")
    assert reached(["x", "y"], [], roots=[first, second]) == {"x": first / "x.py", "y": second / "y.py"}
