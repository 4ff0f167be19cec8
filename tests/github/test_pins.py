"""What a change may bring of the versions that are installed: exact pins of torch and Triton, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from github_world import PROJECT_FILE, World
from perfgate.github.pins import is_pinned, read_project, with_pins
from perfgate.records import GateError

_NOXFILE = Path(__file__).parents[2] / "noxfile.py"
_BASE: dict[str, Any] = {
    "project": {"dependencies": ["base"]},
    "dependency-groups": {
        "gate": ["torch==1.0", "triton==2.0", "pytest==9.2.0", {"include-group": "doctor"}],
        "doctor": ["nvidia-ml-py==1"],
        "lint": ["Torch==1.0"],
    },
}


def _change(*gate: str, **more: Any) -> dict[str, Any]:
    return {"dependency-groups": {"gate": list(gate), **more}}


def test_the_two_versions_are_the_changes_and_everything_else_is_the_bases() -> None:
    change = _change("torch==1.1.0+cu130", "triton==2.1rc1", "pytest @ https://evil.example/p.whl", "hook==1")
    made = with_pins(_BASE, change | {"project": {"dependencies": ["hook"]}, "tool": {"uv": {}}})
    assert made == _BASE | {
        "dependency-groups": {
            "gate": ["torch==1.1.0+cu130", "triton==2.1rc1", "pytest==9.2.0", {"include-group": "doctor"}],
            "doctor": ["nvidia-ml-py==1"],
            "lint": ["torch==1.1.0+cu130"],
        }
    }
    assert _BASE["dependency-groups"]["gate"][0] == "torch==1.0"


@pytest.mark.parametrize(
    "asked",
    [
        "torch @ https://evil.example/torch-1.whl",
        "torch@file:///tmp/torch.whl",
        "torch==1.0 ; python_version > '3'",
        "torch[extra]==1.0",
        "torch==1.*",
        "torch>=1",
        "torch===1.0",
        "torch==1.0,<2",
        "torch == 1.0",
        "Torch==1.0",
        "torch==1.0\n--index-url=https://evil.example",
        "torch==1.0 --hash=sha256:0",
        "torch==\u0661.0",
        "torch",
    ],
)
def test_a_version_that_is_no_exact_pin_is_refused_in_one_sentence(asked: str) -> None:
    assert not is_pinned(asked)
    with pytest.raises(GateError, match=r"expected one exact pin such as torch==1\.2\.3") as caught:
        with_pins(_BASE, _change(asked, "triton==2.0"))
    assert caught.value.reason == "bad-pins"
    assert "\n" not in caught.value.text


@pytest.mark.parametrize(
    "change",
    [
        _change("torch==1.1"),
        _change("torch==1.0", "triton==2.0", lint=["triton==2.1"]),
        {},
        {"dependency-groups": 3},
        {"dependency-groups": {"gate": "torch==1.0"}},
    ],
)
def test_a_version_that_is_missing_or_twofold_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(GateError) as caught:
        with_pins(_BASE, change)
    assert caught.value.reason == "bad-pins"


def test_a_change_that_asks_as_its_base_does_brings_nothing_new_however_that_asks() -> None:
    loose = _change("torch>=2", "triton", "pytest==9.2.0")
    assert with_pins(loose, _change("torch>=2", "triton", "hook")) == loose
    with pytest.raises(GateError):
        with_pins(loose, _change("torch>=2.1", "triton"))


def test_a_base_that_pins_neither_takes_nothing_of_the_change() -> None:
    assert with_pins({"project": {}}, _change("torch @ https://evil.example")) == {"project": {}}


@pytest.mark.parametrize("kind", ["link", "folder", "missing", "latin", "toml", "large"])
def test_a_project_file_that_is_no_plain_readable_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "pyproject.toml"
    (tmp_path / "other.toml").write_text("", encoding="utf-8")
    if kind == "link":
        path.symlink_to("other.toml")
    elif kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes({"latin": b"\xff", "toml": b"[tool", "large": b"#" * (2 << 20)}[kind])
    with pytest.raises(GateError) as caught:
        read_project(path, whose="change")
    assert caught.value.reason == "bad-pins"


def test_a_plan_refuses_such_a_change_before_a_card_is_asked_for(tmp_path: Path) -> None:
    world = World.begin(tmp_path / "repository")
    pinned = PROJECT_FILE + '[dependency-groups]\ngate = ["torch==1.0"]\n'
    world.base = world.commit({"pyproject.toml": pinned})
    world.pull_request({"pyproject.toml": pinned.replace("==1.0", " @ https://evil.example/x.whl")})
    world.checked_out()
    world.event("pull_request")
    ended = world.run("plan")
    assert (ended.code, ended.outputs) == (2, {})
    assert ended.errors.startswith("INVALID bad-pins: The change asks for 'torch @ https")


_NOX = """
import tomllib, types
project = types.SimpleNamespace(load_toml=lambda path: tomllib.loads(open(path, encoding="utf-8").read()))
options, session = types.SimpleNamespace(), lambda *words, **named: words[0] if words else (lambda made: made)
"""
"""Of nox what the noxfile needs to be loaded; the environment that runs these tests has none."""


def _nox(folder: Path, versions: str) -> subprocess.CompletedProcess[str]:
    """Load the noxfile of a folder as nox does, elsewhere installed, and say what it would install."""
    code = (
        "import importlib.machinery, json, sys, types; "
        "loaded = importlib.machinery.SourceFileLoader('user_nox', 'noxfile.py'); "
        "made = types.ModuleType('user_nox'); made.__file__ = loaded.path; loaded.exec_module(made); "
        "print(json.dumps(made.PROJECT['dependency-groups']['gate']), made.nox.needs_version, '.' in sys.path)"
    )
    (folder / "elsewhere").mkdir(exist_ok=True)
    (folder / "elsewhere/nox.py").write_text(_NOX, encoding="utf-8")
    environment = os.environ | {"PERFGATE_VERSIONS": versions, "PYTHONPATH": str(folder / "elsewhere")}
    words = [sys.executable, "-P", "-c", code]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The base's noxfile and gate, and beside it the project file of a change."""
    (tmp_path / "noxfile.py").symlink_to(_NOXFILE)
    (tmp_path / "perfgate").symlink_to(_NOXFILE.parent / "perfgate")
    (tmp_path / "candidate").mkdir()
    (tmp_path / "pyproject.toml").write_text(
        '[dependency-groups]\ngate = ["torch==1.0", "triton==2.0", "pytest==9.2.0"]\n', encoding="utf-8"
    )
    return tmp_path


def _asks(checkout: Path, *gate: str) -> None:
    text = f"[dependency-groups]\ngate = {json.dumps(gate)}\n"
    (checkout / "candidate/pyproject.toml").write_text(text, encoding="utf-8")


def test_nox_installs_of_a_change_its_torch_and_triton_alone(checkout: Path) -> None:
    _asks(checkout, "torch==1.1", "triton==2.1", "pytest @ https://evil.example/p.whl", "hook")
    done = _nox(checkout, "candidate/pyproject.toml")
    assert done.stdout == '["torch==1.1", "triton==2.1", "pytest==9.2.0"] >=2025.2.9 False\n', done.stderr
    assert _nox(checkout, "").stdout == '["torch==1.0", "triton==2.0", "pytest==9.2.0"] >=2025.2.9 False\n'


def test_nox_refuses_a_change_that_asks_for_anything_else_with_exit_2_and_one_sentence(checkout: Path) -> None:
    _asks(checkout, "torch @ https://evil.example/t.whl", "triton==2.1")
    done = _nox(checkout, "candidate/pyproject.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("INVALID bad-pins: ")
    assert done.stderr.count("\n") == 1
