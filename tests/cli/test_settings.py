"""The project's settings: one table, every key known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perfgate.records import GateError
from perfgate.settings import Settings, load, load_kernel

if TYPE_CHECKING:
    from pathlib import Path


def project(tmp_path: Path, table: str) -> Path:
    (tmp_path / "pyproject.toml").write_text(f"[tool.perfgate]\n{table}\n", encoding="utf-8")
    return tmp_path


def test_defaults_hold_where_nothing_is_said(tmp_path: Path) -> None:
    assert load(project(tmp_path, "")) == Settings(root=tmp_path)


def test_what_is_said_replaces_a_default(tmp_path: Path) -> None:
    found = load(project(tmp_path, 'rounds = 10\nhold_s = 1\nkernel = "k.py"'))
    assert (found.rounds, found.hold_s, found.kernel) == (10, 1, "k.py")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("round = 10", "unknown key 'round'"),
        ('rounds = "10"', "rounds is '10'; expected int"),
        ("rounds = 0", "expected more than zero"),
        ("rounds = true", "rounds is True"),
        ("rounds = 1.5", "rounds is 1.5; expected int"),
        ("kernel = 3", "kernel is 3; expected str"),
        ("rounds = ", "not valid TOML"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_with_one_sentence(tmp_path: Path, table: str, says: str) -> None:
    with pytest.raises(GateError) as caught:
        load(project(tmp_path, table))
    assert says in caught.value.text


def test_outside_a_project_the_gate_says_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"No pyproject.toml in .*; run this from the project's root"):
        load(tmp_path)


def test_limits_have_a_table_of_their_own(tmp_path: Path) -> None:
    assert load(project(tmp_path, "[tool.perfgate.limits]\nagainst_tolerance = 0.01")) == Settings(root=tmp_path)


def test_settings_that_change_a_time_are_part_of_a_recording_and_others_are_not(tmp_path: Path) -> None:
    base = Settings(root=tmp_path)
    assert Settings(root=tmp_path, launches=9, launch_timeout_s=5).measurement() == base.measurement()
    for other in ({"rounds": 7}, {"warmup_rounds": 9}, {"hold_s": 0.1}, {"flush_factor": 9}):
        assert Settings(root=tmp_path, **other).measurement() != base.measurement()


def test_two_kernel_files_of_one_name_live_side_by_side(tmp_path: Path) -> None:
    for side in ("now", "then"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "matmul.py").write_text(f"SIDE = {side!r}\n", encoding="utf-8")
    loaded = [load_kernel(tmp_path / side / "matmul.py", f"kernel_{side}").SIDE for side in ("now", "then")]
    assert loaded == ["now", "then"]


def test_a_kernel_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GateError, match=r"No kernel file at .*gone.py"):
        load_kernel(tmp_path / "gone.py")
