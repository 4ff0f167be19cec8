"""What a fork can put into the report, through the whole way to the comment: shown as text, or refused in one sentence.

Texts are rendered one by one in ``test_page.py``; here is that the comment is such a page, and the zip and the file around it.
"""

from __future__ import annotations

import io
import json
import random
import stat
import struct
import warnings
import zipfile
import zlib
from typing import TYPE_CHECKING

import pytest

from github_support import (
    ARTIFACTS,
    DOWNLOAD,
    HEAD,
    MARKER,
    RUN_URL,
    Answer,
    Server,
    fork,
    listed,
    offer,
    prepare,
    report,
    run_comment,
    serving,
    verdict,
    written_body,
    zipped,
)
from perfgate.github import page
from perfgate.github.comment import member
from perfgate.github.conclusion import read_conclusion
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "report.json"
POSTED = ("comment: posted on #12 for run 7000.\n", "")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        prepare(running)
        yield running


@pytest.mark.parametrize(
    "text",
    ["<!-- perfgate run=999999 attempt=9 -->", "\n::error::x%0A ##[error]y", "\u202egnp.exe \u2028\ud800\x1b[31m"],
)
def test_whatever_a_report_says_is_shown_as_the_page_shows_it_and_nothing_of_it_is_printed(
    server: Server, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    document = report(verdict(text, case=text), base=text, target=text, edits=[], problems=[text], exit=1)
    offer(server, zipped(document))
    assert run_comment(server, tmp_path, fork()) == 0
    shown = page.comment(read_conclusion(json.dumps(document), source=NAME), run_url=RUN_URL)
    assert written_body(server) == f"{MARKER}\n{shown}"
    assert tuple(capsys.readouterr()) == POSTED


def test_the_largest_report_that_is_read_still_makes_a_comment(server: Server, tmp_path: Path) -> None:
    offer(server, zipped(report(*(verdict("x" * 500, case=f"case-{k}-{'y' * 500}") for k in range(1500)))))
    assert run_comment(server, tmp_path, fork()) == 0
    assert "1500 slower" in written_body(server)
    assert len(written_body(server)) <= 65536


def _with_ratio(number: str) -> bytes:
    return json.dumps(report()).replace("1.05", number).encode()


def _whole(**changes: object) -> bytes:
    return json.dumps(report(**changes)).encode()


UNUSABLE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "not-json"),
    "cut": (_whole()[:-9], "not-json"),
    "deep": (b'{"schema": 1, "cards": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "not-json"),
    "no unicode": (b'{"schema": 1, "x": "\xff\xfe"}', "not-json"),
    "huge digits": (_with_ratio("9" * 5000), "malformed"),
    "a list": (b"[]", "malformed"),
    "null": (b"null", "malformed"),
    "other schema": (_whole(schema=2), "other-schema"),
    "schema of text": (_whole(schema="##[error]<b>@eve"), "other-schema"),
    "schema of truth": (_whole(schema=True), "other-schema"),
    "NaN": (_with_ratio("NaN"), "malformed"),
    "Infinity": (_with_ratio("-Infinity"), "malformed"),
    "beyond a float": (_with_ratio("1e999"), "malformed"),
    "an integer beyond a float": (_with_ratio("9" * 400), "malformed"),
    "a number as text": (_with_ratio('"1.05"'), "malformed"),
    "exit that its cards do not give": (_whole(exit=0), "malformed"),
    "exit of truth": (_whole(exit=True), "malformed"),
    "exit of another kind": (_whole(exit=77), "malformed"),
    "no cards": (_whole(cards={}), "malformed"),
    "cards of text": (_whole(cards=["x"]), "malformed"),
    "too many": (_whole(problems=["x"] * 2001), "malformed"),
    "a long text": (_whole(target="x" * 4001), "malformed"),
    "a status of its own": (_whole().replace(b"SLOWER", b"@eve"), "malformed"),
    "the same key twice": (_whole()[:-1] + b', "exit": 0}', "malformed"),
    "more than is read": (b" " * (4 << 20) + b"{}", "bad-artifact"),
    "a bomb": (b"[" + b" " * (64 << 20), "bad-artifact"),
}


def _is_refused(server: Server, tmp_path: Path, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_comment(server, tmp_path, fork()) == 0
    assert written_body(server) == (
        f"{MARKER}\n**perfgate**: the run for commit {HEAD[:12]} ended as `failure`, but its report cannot be used "
        f"({code}) and is not shown; [read the run]({RUN_URL})."
    )
    assert tuple(capsys.readouterr()) == POSTED


@pytest.mark.parametrize(("content", "code"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_report_that_cannot_be_read_is_told_of_and_never_quoted(
    server: Server, tmp_path: Path, content: bytes, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, zipped(content))
    _is_refused(server, tmp_path, code, capsys)


@pytest.mark.parametrize("data", [b"", b"no zip", zipped(report(), "/report.json"), zipped(report(), "x")])
def test_an_artifact_that_is_not_what_it_should_be_is_told_of(
    server: Server, tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, data, size_in_bytes=100)
    _is_refused(server, tmp_path, "bad-artifact", capsys)


def test_an_artifact_that_is_too_large_is_not_even_asked_for(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, zipped(report()), size_in_bytes=(2 << 20) + 1)
    _is_refused(server, tmp_path, "too-large", capsys)
    assert DOWNLOAD not in [asked.path for asked in server.asked]


def test_an_artifact_larger_than_announced_is_not_read_to_its_end(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.answers[f"GET {ARTIFACTS}"] = Answer(body={"artifacts": [listed(b"", size_in_bytes=100)]})
    server.answers[f"GET {DOWNLOAD}"] = Answer(body=b"x" * 65536, endless=True)
    _is_refused(server, tmp_path, "too-large", capsys)
    assert server.sent < 1 << 26


@pytest.mark.parametrize("text", ["a\x07b", "a\u202eb", "a\u2028b", "a\u2029b", "a\ud800b", "a\rb", "x" * 65536])
def test_a_page_with_hidden_characters_or_without_end_is_not_sent(
    server: Server, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "comment", lambda _, **__: text)
    offer(server, zipped(report()))
    _is_refused(server, tmp_path, "unshowable", capsys)


def test_the_token_stays_with_the_api(server: Server, tmp_path: Path) -> None:
    with serving() as storage:
        offer(server, b"", size_in_bytes=100)
        server.answers[f"GET {DOWNLOAD}"] = Answer(status=302, headers={"Location": f"{storage.url}/blob"})
        storage.answers["GET /blob"] = Answer(body=zipped(report(verdict("ghs_secret? no."))))
        assert run_comment(server, tmp_path, fork()) == 0
        assert "ghs\\_secret? no." in written_body(server)
        assert [asked.path for asked in storage.asked] == ["/blob"]
        assert "ghs_secret" not in str(storage.asked)
        assert all(asked.headers["Authorization"] == "Bearer ghs_secret" for asked in server.asked)


# One member out of a zip that anybody may have made


def _zip(*members: tuple[str | zipfile.ZipInfo, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    held = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(held, "w", compression) as archive:
        warnings.simplefilter("ignore")  # of a second member with the same name
        for name, content in members:
            archive.writestr(name, content)
    return held.getvalue()


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


def _of_kind(kind: int) -> bytes:
    info = zipfile.ZipInfo(NAME)
    info.external_attr = (kind | 0o777) << 16
    return _zip((info, b"/etc/passwd"))


def _many(count: int) -> bytes:
    return _zip((NAME, b"{}"), *((f"m{k}", b"") for k in range(count)))


PATHS = ("../../etc/passwd", "/etc/passwd", "a/report.json", "a\\report.json", "C:report.json", "dir/", "..", ".x", "é")
BAD_ZIPS: dict[str, tuple[bytes, str]] = {
    **{
        f"no zip {data[:9]!r}": (data, "is broken")
        for data in (b"", b"PK", b"no zip" * 50, b"PK\x05\x06" + b"\0" * 17, b"\x1f\x8b" + b"\0" * 40)
    },
    **{
        f"compression {method}": (_raw(b"{}", method=method), f"in compression {method}")
        for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99)
    },
    "encrypted": (_raw(b"{}", flags=1), "encrypted"),
    "missing": (_zip(("other.json", b"{}")), "has 0 members named report.json"),
    "twice": (_zip((NAME, b"{}"), (NAME, b"[]")), "has 2 members named report.json"),
    **{f"a path {name}": (_zip((NAME, b"{}"), (name, b"x")), "not plain") for name in PATHS},
    "a longer name": (_raw(b"{}", name=b"report.json\0.exe"), "not plain"),
    "no name": (_raw(b"{}", name=b""), "not plain"),
    **{
        f"kind {kind}": (_of_kind(kind), "no file") for kind in (stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR)
    },
    "longer than it is": (_raw(b"{}", size=500), "holds 2 bytes of report.json, expected 500"),
    "too long": (_zip((NAME, b"x" * 1001)), "holds 1001 bytes of report.json, expected at most 1000"),
    "altered": (
        _zip((NAME, b"0123456789"), compression=zipfile.ZIP_STORED).replace(b"0123456789", b"0123456780"),
        "is broken",
    ),
    "101 members": (_many(100), "too many members"),
}


def _refused(data: bytes, match: str) -> None:
    with pytest.raises(GateError, match=match) as caught:
        member(data, NAME, most_bytes=1000)
    assert (caught.value.reason, len(caught.value.text) < 200, caught.value.text.isprintable()) == (
        "bad-artifact",
        True,
        True,
    )


@pytest.mark.parametrize(("data", "match"), BAD_ZIPS.values(), ids=BAD_ZIPS)
def test_a_zip_that_is_broken_large_or_holds_more_than_plain_files_is_refused(data: bytes, match: str) -> None:
    _refused(data, match)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_member_is_read_up_to_its_bound(compression: int) -> None:
    data = _zip((NAME, b"x" * 1000), ("plot.svg", b"<svg/>"), compression=compression)
    assert member(data, NAME, most_bytes=1000) == b"x" * 1000
    assert member(_many(99), NAME, most_bytes=2) == b"{}"
    assert member(_raw(b"\0" * (16 << 20), size=10), NAME, most_bytes=1000) == b"\0" * 10  # declares little: no more


def test_a_bomb_is_refused_by_what_it_declares_without_being_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = _raw(b"\0" * (64 << 20))
    assert len(bomb) < 100_000
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    _refused(bomb, "holds 67108864 bytes")


def test_a_hundred_thousand_members_are_counted_and_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 100_000 * len(entry), 0, 0)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    _refused(entry * 100_000 + end, "too many members")


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
