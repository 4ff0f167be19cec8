"""The limits: defaults, the table of pyproject.toml, and what it may not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perfgate.limits import Limits, parse_limits, read_limits
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path


def test_without_a_pyproject_the_defaults_hold(tmp_path: Path) -> None:
    assert read_limits(tmp_path) == Limits()


def test_without_a_table_the_defaults_hold(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nx = 1\n")
    assert read_limits(tmp_path) == Limits()


def test_a_key_of_the_table_replaces_its_default(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.perfgate.limits]\nagainst_tolerance = 0.01\n")
    assert read_limits(tmp_path) == Limits(against_tolerance=0.01)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"tolerence": 0.01}, "unknown key 'tolerence'"),
        ({"against_tolerance": "1 %"}, "expected a number"),
        ({"against_tolerance": True}, "expected a number"),
        ({"against_tolerance": 1.0}, "shares, not percent"),
        ({"against_tolerance": 0}, "more than 0"),
        ({"stored_tolerance": -0.01}, "more than 0"),
        ({"false_alarms_case": float("nan")}, "more than 0"),
        ({"final_launches": 4.0}, "expected a whole number"),
        ({"final_launches": 0}, "at least 1"),
        ({"widest_floor": 0.5}, "at least 1"),
    ],
)
def test_a_wrong_table_is_an_error_of_one_sentence(table: dict[str, object], words: str) -> None:
    with pytest.raises(GateError, match=words) as caught:
        parse_limits(table)
    assert caught.value.reason == "bad-limits"
    assert caught.value.text.endswith(".")


@pytest.mark.parametrize("text", ["[tool", "tool = 3", "[tool]\nperfgate = 3", "[tool.perfgate]\nlimits = 3"])
def test_a_broken_pyproject_is_an_error_not_the_defaults(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(GateError) as caught:
        read_limits(tmp_path)
    assert caught.value.reason == "bad-limits"
