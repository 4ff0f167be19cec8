"""What ends a command from outside is one line and the exit code of what could not be done."""

from __future__ import annotations

import runpy

import pytest

from perfgate import cli


def test_ctrl_c_is_exit_2_and_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(_argv: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("perfgate", run_name="__main__")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "INVALID interrupted: It was interrupted before it was done; run it again.\n"


def test_a_package_that_is_not_installed_is_exit_2_and_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(_argv: list[str]) -> int:
        raise ModuleNotFoundError("No module named 'msgspec'", name="msgspec")

    monkeypatch.setattr(cli, "main", without)
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("perfgate", run_name="__main__")
    assert caught.value.code == 2
    assert capsys.readouterr().err.startswith("INVALID no-package: The package msgspec is not here, expected")
