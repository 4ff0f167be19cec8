"""``[tool.perfgate]``: settings, limits and cards, of which every key and every range is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from perfgate.config import Limits, Settings, parse_limits, read_limits, read_settings, runners
from perfgate.project import load_kernel, load_suite
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def project(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def refused(call: Callable[[], object], reason: str) -> str:
    with pytest.raises(GateError) as caught:
        call()
    assert caught.value.reason == reason
    assert caught.value.text.endswith(".")
    assert len(caught.value.text.splitlines()) == 1
    assert len(caught.value.text) < 600
    return caught.value.text


def test_defaults_hold_where_nothing_is_said(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == Limits()
    for text in ("", "[tool.perfgate]\n", "[tool.other]\nx = 1\n", "[tool.perfgate.cards]\na = 'b'\n"):
        assert read_settings(project(tmp_path, text)) == Settings(root=tmp_path)
        assert read_limits(tmp_path) == Limits()


def test_the_defaults_are_within_their_own_bounds(tmp_path: Path) -> None:
    text = "\n".join(f"{key} = {value}" for key, value in vars(Limits()).items())
    assert read_limits(project(tmp_path, f"[tool.perfgate.limits]\n{text}\n")) == Limits()


def test_what_is_said_replaces_a_default(tmp_path: Path) -> None:
    text = (
        '[tool.perfgate]\nrounds = 10\nhold_s = 1\nkernel = "k.py"\n[tool.perfgate.limits]\nagainst_tolerance = 0.01\n'
    )
    found = read_settings(project(tmp_path, text))
    assert (found.rounds, found.hold_s, found.kernel) == (10, 1, "k.py")
    assert read_limits(tmp_path) == Limits(against_tolerance=0.01)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("round = 10", "unknown key 'round'; known are arm_s, "),
        ('rounds = "10"', "rounds is '10': expected `int`, got `str`"),
        ("rounds = 0", "rounds is 0: expected `int` >= 1"),
        ("rounds = true", "rounds is True: expected `int`, got `bool`"),
        ("rounds = 1.5", "rounds is 1.5: expected `int`, got `float`"),
        (f"rounds = {'9' * 400}", "expected `int` <= 1000000"),
        (f"rounds = {'9' * 5000}", "not valid TOML"),
        ("kernel = 3", "kernel is 3: expected `str`, got `int`"),
        ('kernel = ""', "kernel is '': expected `str` of length >= 1"),
        ("hold_s = inf", "hold_s is inf: expected `float` <= 3600"),
        ("arm_s = nan", "arm_s is nan: expected `float` >= 1e-06"),
        ("arm_s = 5e-324", "expected `float` >= 1e-06"),
        ("arm_s = -1", "arm_s is -1: expected `float` >= 1e-06"),
        (f"arm_s = {'9' * 400}", "number out of range"),
        ("rounds = ", "not valid TOML"),
        (f"x = {'[' * 100_000}", "not valid TOML"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(tmp_path: Path, line: str, said: str) -> None:
    project(tmp_path, f"[tool.perfgate]\n{line}\n")
    assert said in refused(lambda: read_settings(tmp_path), "bad-settings")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"tolerence": 0.01}, "unknown key 'tolerence'"),
        ({"against_tolerance": "1 %"}, "expected `float`, got `str`"),
        ({"against_tolerance": True}, "expected `float`, got `bool`"),
        ({"against_tolerance": 1.0}, "expected `float` < 0.5"),
        ({"against_tolerance": 0}, "expected `float` >= 1e-06"),
        ({"stored_tolerance": -0.01}, "expected `float` >= 1e-06"),
        ({"false_alarms_case": float("nan")}, "expected `float` >= 1e-06"),
        ({"missed": 1e-16}, "expected `float` >= 1e-06"),
        ({"disagreement": 5e-324}, "expected `float` >= 1e-06"),
        ({"stored_errors": 10**400}, "number out of range"),
        ({"stored_scatter": float("inf")}, "expected `float` < 0.5"),
        ({"final_launches": 4.0}, "expected `int`, got `float`"),
        ({"final_launches": 0}, "expected `int` >= 1"),
        ({"widest_floor": 0.5}, "expected `float` >= 1"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(table: dict[str, Any], said: str) -> None:
    assert said in refused(lambda: parse_limits(table), "bad-limits")


READERS: dict[str, Callable[[Path], object]] = {
    "bad-settings": read_settings,
    "bad-limits": read_limits,
    "no-cards": lambda root: runners((root / "pyproject.toml").read_text(encoding="utf-8")),
}


@pytest.mark.parametrize("text", ["[tool", "tool = 3", "[[tool]]", "[tool]\nperfgate = 3", "[[tool.perfgate]]"])
@pytest.mark.parametrize("reason", READERS)
def test_a_file_without_the_table_where_it_has_to_be_is_refused_by_every_reader(
    tmp_path: Path, reason: str, text: str
) -> None:
    refused(lambda: READERS[reason](project(tmp_path, text)), reason)


@pytest.mark.parametrize("reason", ["bad-settings", "bad-limits"])
def test_a_file_that_is_a_folder_or_no_text_is_refused(tmp_path: Path, reason: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.mkdir()
    assert "cannot be read" in refused(lambda: READERS[reason](tmp_path), reason)
    path.rmdir()
    path.write_bytes(b"\xff\xfe\x00")
    assert "expected UTF-8 text" in refused(lambda: READERS[reason](tmp_path), reason)


def test_outside_a_project_the_gate_says_where_to_go(tmp_path: Path) -> None:
    assert "run this from the project's root" in refused(lambda: read_settings(tmp_path), "no-project")


def test_settings_that_change_a_time_are_part_of_a_recording_and_others_are_not(tmp_path: Path) -> None:
    base = Settings(root=tmp_path)
    assert Settings(root=tmp_path, launches=9, launch_timeout_s=5).measurement() == base.measurement()
    for other in ({"rounds": 7}, {"warmup_rounds": 9}, {"hold_s": 0.1}, {"flush_factor": 9}):
        assert Settings(root=tmp_path, **other).measurement() != base.measurement()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("suite_gone", None, "ModuleNotFoundError: No module named 'suite_gone'"),
        ("suite_raises", "x = 1\nraise KeyError('k')", "KeyError: 'k' at "),
        ("suite_exits", "import sys\nsys.exit(0)", "SystemExit: 0 at "),
        ("suite_broken", "def", "SyntaxError: "),
        ("suite_bare", "CASES = ()", "has no CASES and no CHECKED"),
    ],
)
def test_a_suite_that_lists_no_cases_is_refused(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    assert said in refused(lambda: load_suite(Settings(root=tmp_path, suite=name)), "bad-suite")


def test_two_kernel_files_of_one_name_live_side_by_side(tmp_path: Path) -> None:
    for side in ("now", "then"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "matmul.py").write_text(f"SIDE = {side!r}\n", encoding="utf-8")
    loaded = [load_kernel(tmp_path / side / "matmul.py", f"kernel_{side}").SIDE for side in ("now", "then")]
    assert loaded == ["now", "then"]


def test_a_kernel_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"No kernel file at .*gone.py"):
        load_kernel(tmp_path / "gone.py")
