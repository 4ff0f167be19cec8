"""Which files an import reaches, read and not run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perfgate.codegen.sources import reached

if TYPE_CHECKING:
    from pathlib import Path


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


def test_a_file_that_is_no_module_is_followed_too(tmp_path: Path) -> None:
    root = _tree(tmp_path / "root", a__helper="", kernel="from a.helper import x\n")
    assert reached([], [root / "kernel.py"], roots=[root]).keys() == {"a", "a.helper"}


def test_imports_that_go_round_in_a_circle_end(tmp_path: Path) -> None:
    root = _tree(tmp_path, one="import two\n", two="import one\n")
    assert reached(["one"], [], roots=[root]).keys() == {"one", "two"}


def test_the_first_root_that_has_a_module_is_where_it_lies(tmp_path: Path) -> None:
    first, second = _tree(tmp_path / "1", x=""), _tree(tmp_path / "2", x="", y="")
    assert reached(["x", "y"], [], roots=[first, second]) == {"x": first / "x.py", "y": second / "y.py"}


def test_what_is_no_python_reaches_nothing_further(tmp_path: Path) -> None:
    root = _tree(tmp_path, one="import two\nthis is no Python\n", two="")
    assert reached(["one"], [], roots=[root]).keys() == {"one"}
