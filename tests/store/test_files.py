"""A file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfgate.files import write_whole


def test_a_file_is_written_with_its_folder_and_may_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.json"
    write_whole(path, "one\r\ntwo\n")
    assert path.read_bytes() == b"one\r\ntwo\n"
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_folder_that_is_not_to_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "missing" / "file", "text", make_folder=False)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_stays_where_writing_fails_and_nothing_else_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, "before")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "after")
    assert path.read_text(encoding="utf-8") == "before"
    assert list(tmp_path.iterdir()) == [path]
