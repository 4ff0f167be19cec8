"""What is compiled and what comes from the cache; a stand-in for the compiler says what it was asked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from building_support import REPOSITORY, World
from perfgate.codegen.build import Source
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

ALL = ["one compiled", "three compiled", "two compiled"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    for name in ("settings_of_suite", "suite_parts", "suite_parts.helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return World(tmp_path / "project", monkeypatch)


def test_only_what_is_missing_is_compiled_and_a_third_run_says_the_same(world: World) -> None:
    assert world.build("two").said == "1 case compiled, 0 from the cache"
    world.asked()
    first = world.build()
    said = (world.root / "out/compiled.json").read_bytes()
    assert (world.asked(), first.said) == (["one compiled", "three compiled"], "2 cases compiled, 1 from the cache")

    second = world.build()
    assert (world.asked(), second.said) == ([], "0 cases compiled, 3 from the cache")
    assert (list(second.cases.items()), second.versions) == (list(first.cases.items()), first.versions)
    assert (world.root / "out/compiled.json").read_bytes() == said


def test_the_interpreter_of_this_process_does_not_reach_the_compiler(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.build()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    world.asked()
    world.build()
    assert world.asked() == []
    world.build(cached=False)
    assert world.asked() == ALL


@pytest.mark.parametrize("name", ["kernels/matmul.py", "kernels/beside.py", "suite_parts/helper.py"])
def test_a_change_of_what_decides_compiles_anew_and_the_change_undone_does_not(world: World, name: str) -> None:
    path = world.write(name, "x = 1\n")
    before = world.build()
    path.write_text("x = 22\n", encoding="utf-8")
    world.asked()
    changed = world.build()
    assert world.asked() == ALL
    assert (changed.cases == before.cases) == (name != "kernels/matmul.py")
    path.write_text("x = 1\n", encoding="utf-8")
    assert world.build().cases == before.cases
    assert world.asked() == []


def test_a_damaged_entry_is_compiled_again(world: World) -> None:
    assert world.build(cached=False).cached == 0
    assert world.entries == []
    good = world.build()
    world.asked()
    world.entries[1].write_text("{", encoding="utf-8")
    assert world.build().cases == good.cases
    assert len(world.asked()) == 1
    assert world.build().cached == 3


def test_what_does_not_compile_carries_its_error_and_is_tried_again(world: World) -> None:
    world.write("kernels/matmul.py", "broken = True\n")
    for _ in range(2):
        built = world.build()
        assert {name: case.error for name, case in built.cases.items()} == {
            "one": "",
            "two": "matmul: no such name",
            "three": "",
        }
        assert "two compiled" in world.asked()
    assert built.cached == 2


@pytest.mark.parametrize(
    ("kernel", "reason", "says"),
    [
        ("crash", "not-compiled", "its compiler was lost: killed by signal 6"),
        ("edit", "changed-meanwhile", "matmul.py was written to while it was compiled"),
        ("refuse", "no-tool", "Cannot find a working ptxas."),
        ("other_triton", "other-triton", "Triton of /another/triton compiled"),
    ],
)
def test_what_cannot_be_trusted_is_refused_and_nothing_of_it_kept(
    world: World, kernel: str, reason: str, says: str
) -> None:
    world.write("kernels/matmul.py", f"{kernel} = 1\n")
    with pytest.raises(GateError, match=says) as caught:
        world.build()
    assert caught.value.reason == reason
    assert world.entries == []


def test_a_file_that_the_compiler_loaded_and_the_key_does_not_know_keeps_everything_out_of_the_cache(
    world: World,
) -> None:
    world.write("kernels/matmul.py", "import_elsewhere = 1\n")
    for _ in range(2):
        assert world.build().cached == 0
    assert world.entries == []


def test_another_triton_is_first_on_the_path_and_has_entries_of_its_own(world: World) -> None:
    kernel = world.root / "kernels/matmul.py"
    world.build()
    other = world.triton("other", "8.0.0")
    world.write("triton_place.py", f"PLACE = {str(other / 'triton')!r}\n")
    world.write("tritons/other/sitecustomize.py", "open('first.txt', 'w').close()\n")
    world.asked()

    assert world.build(source=Source(kernel=kernel, triton=other)).cached == 0
    assert world.asked() == ALL
    assert (world.root / "first.txt").is_file()
    assert world.build(source=Source(kernel=kernel, triton=other)).cached == 3
    assert world.build().cached == 3


def test_entries_that_come_with_a_commit_are_refused(world: World) -> None:
    world.build()
    for words in (["init", "--quiet"], ["add", "--force", ".perfgate"]):
        subprocess.run(["git", *words], cwd=world.root, check=True)  # noqa: S607 - git by name
    with pytest.raises(GateError, match=r"git holds \.perfgate/cache/compiled/") as caught:
        world.build()
    assert caught.value.reason == "cache-in-git"
    assert world.build(cached=False).cached == 0


def test_neither_torch_nor_triton_is_imported_where_everything_is_in_the_cache() -> None:
    code = "import sys, perfgate.codegen.build, perfgate.cli.compiled; print([m for m in ('torch', 'triton') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]", done.stderr
