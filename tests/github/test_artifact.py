"""One member out of a zip that anybody may have made."""

from __future__ import annotations

import io
import random
import stat
import struct
import warnings
import zipfile
import zlib

import pytest

from github_support import zipped
from perfgate.github.artifact import member
from perfgate.records import GateError

NAME = "report.json"


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(held, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a second member with the same name
        for name, content in members:
            archive.writestr(name, content)
    return held.getvalue()


def _refused(data: bytes, match: str, most_bytes: int = 1000) -> None:
    with pytest.raises(GateError, match=match) as caught:
        member(data, NAME, most_bytes=most_bytes)
    assert caught.value.reason == "bad-artifact"
    assert len(caught.value.text) < 200
    assert caught.value.text.isprintable()


def _raw(
    content: bytes, *, size: int | None = None, flags: int = 0, method: int = 8, name: bytes = b"report.json"
) -> bytes:
    """A zip of one member, byte by byte, whose headers say what they are told to."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(content) + packer.flush()
    size = len(content) if size is None else size
    facts = struct.pack("<HHHHIIIH", flags, method, 0, 33, zlib.crc32(content[:size]), len(packed), size, len(name))
    local = b"PK\x03\x04" + struct.pack("<H", 20) + facts + b"\0\0" + name + packed
    entry = b"PK\x01\x02" + struct.pack("<HH", 20, 20) + facts + struct.pack("<HHHHII", 0, 0, 0, 0, 0, 0) + name
    return local + entry + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(entry), len(local), 0)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_read_up_to_its_bound(compression: int) -> None:
    data = _zip((NAME, b"x" * 1000), ("plot.svg", b"<svg/>"), compression=compression)
    assert member(data, NAME, most_bytes=1000) == b"x" * 1000
    _refused(data, "holds 1000 bytes of report.json, expected at most 999", most_bytes=999)
    assert member(_raw(b"{}"), NAME, most_bytes=2) == b"{}"


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"no zip at all" * 50, b"PK\x05\x06" + b"\0" * 17, b"\x1f\x8b" + b"\0" * 40]
)
def test_what_is_no_zip_is_refused(data: bytes) -> None:
    _refused(data, "is broken")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_other_compressions_are_refused(method: int) -> None:
    _refused(_raw(b"{}", method=method), f"in compression {method}")


def test_an_encrypted_member_is_refused() -> None:
    _refused(_raw(b"{}", flags=1), "encrypted")


def test_a_member_that_is_missing_or_there_twice_is_refused() -> None:
    _refused(_zip(("other.json", b"{}")), "0 members named report.json")
    _refused(_zip(("REPORT.JSON", b"{}")), "0 members named report.json")
    _refused(_zip((NAME, b"{}"), (NAME, b"[]")), "2 members named report.json")


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/report.json",
        "a\\report.json",
        "C:report.json",
        "dir/",
        "..",
        ".x",
        "é",
    ],
)
def test_a_name_with_a_path_is_refused_beside_the_right_one_too(name: str) -> None:
    _refused(_zip((NAME, b"{}"), (name, b"x")), "not plain")


def test_a_name_that_only_begins_like_the_right_one_is_refused() -> None:
    _refused(_raw(b"{}", name=b"report.json\0.exe"), "not plain")
    _refused(_raw(b"{}", name=b""), "not plain")


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_or_another_thing_that_is_no_file_is_refused(kind: int) -> None:
    info = zipfile.ZipInfo(NAME)
    info.external_attr = (kind | 0o777) << 16
    _refused(_zip((info, b"/etc/passwd")), "no file")


def test_a_bomb_is_refused_by_what_it_declares_without_being_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = _raw(b"\0" * (64 << 20))
    assert len(bomb) < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    _refused(bomb, "holds 67108864 bytes", most_bytes=1 << 20)


def test_a_bomb_that_declares_little_gives_no_more_than_that() -> None:
    assert member(_raw(b"\0" * (16 << 20), size=10), NAME, most_bytes=1000) == b"\0" * 10


def test_a_member_that_declares_more_than_it_holds_is_refused() -> None:
    _refused(_raw(b"{}", size=500), "holds 2 bytes of report.json, expected 500")


def test_content_that_was_altered_is_refused() -> None:
    data = _zip((NAME, b"0123456789"), compression=zipfile.ZIP_STORED)
    _refused(data.replace(b"0123456789", b"0123456780"), "is broken")


def test_a_hundred_thousand_members_are_counted_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 100_000 * len(entry), 0, 0)
    with monkeypatch.context() as patch:
        patch.setattr(zipfile, "ZipFile", None)
        _refused(entry * 100_000 + end, "too many members")
    assert member(_zip((NAME, b"{}"), *((f"m{k}", b"") for k in range(99))), NAME, most_bytes=9) == b"{}"
    _refused(_zip((NAME, b"{}"), *((f"m{k}", b"") for k in range(100))), "too many members")


def test_damage_of_any_kind_is_one_sentence_or_the_content() -> None:
    chance = random.Random(4)  # noqa: S311 - the same damage every time
    whole = zipped(b'{"schema": 1}' * 20)
    outcomes: set[int | str] = set()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        cut = bytes(data[: chance.randint(1, len(data))] if chance.random() < 0.2 else data)
        try:
            outcomes.add(len(member(cut, NAME, most_bytes=10_000)))
        except GateError as error:
            outcomes.add(error.reason)
    assert "bad-artifact" in outcomes
    assert len(outcomes) > 1
