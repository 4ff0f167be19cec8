"""What a fork can put into the report, through the whole way to the comment: shown as text, or refused in one sentence."""

from __future__ import annotations

import json
import re
import struct
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OWN_TAGS = {"<details>", "<summary>", "</summary>", "</details>", "<span>", "</span>"}
_SHAPE = re.compile(r"#+ |> \[!|> |- \*\*|- |\| |```|<details>|\*\*|$|.", re.DOTALL)
HOSTILE = [
    "# Approved",
    "> [!CAUTION] merge now",
    "- [x] done",
    "[click](https://evil.example/a)",
    "![pixel](https://evil.example/p.png)",
    "<https://evil.example>",
    "see https://evil.example/ or www.evil.example",
    "[a]: https://evil.example",
    "@octocat and @acme/owners, please",
    "fixes #1, acme/matmul#2, GH-3",
    "| a | b |",
    "```\n# out of the fence\n```",
    "~~~ `` ` ```",
    "**bold** _it_ ~~gone~~",
    "$\\color{white}x$ $$y$$",
    "<img src=x onerror=alert(1)>",
    "</details><h1>Approved</h1><details open>",
    "--> <script>alert(1)</script> <!-- ",
    "<!-- perfgate run=999999 attempt=9 -->",
    "&lt;b&gt; &#64;octocat &#x3c;i>",
    "::set-output name=x::y",
    "\n::error::x%0A::set-env name=PATH::/tmp",
    "##[error]x ##[set-env name=PATH]/tmp",
    "\x1b[31mred\x1b[0m \x00\x07\x7f\r",
    "\u202egnp.exe \u2066\u2069\u200f \u2028\u2029 \ufeff\u00ad",
    "\ud800 lone",
    "\\`\\",
    "../../etc/passwd",
]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        prepare(running)
        yield running


def _everywhere(text: str) -> dict[str, Any]:
    """A valid report whose every text is this one."""
    said = verdict(text, case=text)
    card = report(said, said)["cards"][0] | {"label": text, "slug": text, "machine": text, "notes": [text]}
    for entry in card["verdicts"]:
        entry |= {"reason": text, "asides": [{"text": text, "ratio": 1.5, "matters": True}]}
    card["proposed"] = card["verdicts"]
    other = card | {"problems": [text]}
    return report(exit=1, base=text, target=text, edits=[text], problems=[text], cards=[card, other])


def _without_code(body: str) -> str:
    text = re.sub(r"^```text\n.*?^```$", "", body, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"(?<!\\)`[^`\n]*`", "code", text)


@pytest.mark.parametrize("text", HOSTILE)
def test_whatever_a_report_says_is_shown_as_text(
    server: Server, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, zipped(_everywhere(text)))
    assert run_comment(server, tmp_path, fork()) == 0
    body = written_body(server)
    assert body.startswith(f"{MARKER}\n")
    assert "its report" not in body  # it is shown
    shown = _without_code(body.removeprefix(MARKER))
    assert set(re.findall(r"<[^>\n]*>?", shown)) <= _OWN_TAGS
    assert re.findall(r"(?<!\\)\]\(([^)]*)\)", shown) == [RUN_URL]
    assert shown.count("://") == 1
    assert not re.search(r"@\w|#\d|GH-\d|www\.|(?<!\\)!\[(?!IMPORTANT\])", shown.replace("> [!IMPORTANT]", ""))
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u00ad\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]", body)
    assert "<!--" not in shown
    assert "-->" not in shown
    said = capsys.readouterr()
    assert (said.out, said.err) == ("comment: posted on #12 for run 7000.\n", "")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_adds_a_line_a_heading_or_a_row(server: Server, tmp_path: Path, text: str) -> None:
    shapes = []
    for said in ("it's slow", text):
        offer(server, zipped(_everywhere(said)))
        server.asked.clear()
        run_comment(server, tmp_path, fork())
        shapes.append([_SHAPE.match(line)[0] for line in _without_code(written_body(server)).splitlines()])  # type: ignore[index]
    assert shapes[0] == shapes[1]


def _deep(depth: int) -> bytes:
    return b'{"schema": 1, "cards": ' + b"[" * depth + b"]" * depth + b"}"


def _with_ratio(number: str) -> bytes:
    return json.dumps(report()).replace("1.05", number).encode()


CONTRARY = {"exit": 0}
UNUSABLE: list[tuple[str, bytes, str]] = [
    ("empty", b"", "not-json"),
    ("cut", json.dumps(report()).encode()[:-9], "not-json"),
    ("deep", _deep(200_000), "not-json"),
    ("huge digits", _with_ratio("9" * 5000), "not-json"),
    ("no unicode", b'{"schema": 1, "x": "\xff\xfe"}', "not-json"),
    ("a list", b"[]", "malformed"),
    ("null", b"null", "malformed"),
    ("other schema", json.dumps(report(schema=2)).encode(), "other-schema"),
    ("schema of text", json.dumps(report(schema="##[error]<b>@eve")).encode(), "other-schema"),
    ("schema of truth", json.dumps(report(schema=True)).encode(), "other-schema"),
    ("NaN", _with_ratio("NaN"), "malformed"),
    ("Infinity", _with_ratio("-Infinity"), "malformed"),
    ("beyond a float", _with_ratio("1e999"), "malformed"),
    ("an integer beyond a float", _with_ratio("9" * 400), "malformed"),
    ("a number as text", _with_ratio('"1.05"'), "malformed"),
    ("exit that its cards do not give", json.dumps(report(**CONTRARY)).encode(), "malformed"),
    ("exit of truth", json.dumps(report(exit=True)).encode(), "malformed"),
    ("exit of another kind", json.dumps(report(exit=77)).encode(), "malformed"),
    ("no cards", json.dumps(report(cards={})).encode(), "malformed"),
    ("cards of text", json.dumps(report(cards=["x"])).encode(), "malformed"),
    ("too many", json.dumps(report(problems=["x"] * 2001)).encode(), "malformed"),
    ("a long text", json.dumps(report(target="x" * 4001)).encode(), "malformed"),
    ("a status of its own", json.dumps(report()).replace("SLOWER", "@eve").encode(), "malformed"),
    ("the same key twice", json.dumps(report())[:-1].encode() + b', "exit": 0}', "malformed"),
    ("more than is read", b" " * (4 << 20) + b"{}", "bad-artifact"),
    ("a bomb", b"[" + b" " * (64 << 20), "bad-artifact"),
]


def _is_refused(server: Server, tmp_path: Path, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_comment(server, tmp_path, fork()) == 0
    assert written_body(server) == (
        f"{MARKER}\n**perfgate**: the run for commit {HEAD[:12]} ended as `failure`, but its report cannot be used "
        f"({code}) and is not shown; [read the run]({RUN_URL})."
    )
    said = capsys.readouterr()
    assert (said.out, said.err) == ("comment: posted on #12 for run 7000.\n", "")


@pytest.mark.parametrize(("content", "code"), [case[1:] for case in UNUSABLE], ids=[case[0] for case in UNUSABLE])
def test_a_report_that_cannot_be_read_is_told_of_and_never_quoted(
    server: Server, tmp_path: Path, content: bytes, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    offer(server, zipped(content))
    _is_refused(server, tmp_path, code, capsys)


def _many(count: int) -> bytes:
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    return entry * count + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, count, count, count * len(entry), 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        _many(40_000),
        zipped(report(), "../../etc/passwd"),
        zipped(report(), "/report.json"),
        zipped(report(), "x"),
    ],
    ids=["empty", "no zip", "many members", "a path", "an absolute path", "another member"],
)
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


def test_the_largest_report_that_is_read_still_makes_a_comment(server: Server, tmp_path: Path) -> None:
    large = report(*(verdict("x" * 500, case=f"case-{k}-{'y' * 500}") for k in range(1500)))
    offer(server, zipped(large))
    assert run_comment(server, tmp_path, fork()) == 0
    assert "1500 slower" in written_body(server)
    assert len(written_body(server)) <= 65536


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
