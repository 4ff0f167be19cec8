"""The client of GitHub's API: what it asks, what it refuses, and where the token goes."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from github_support import REPOSITORY, Answer, Server, serving
from perfgate.github import api as module
from perfgate.github.api import Api, for_log, from_environment, is_repository, is_safe
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "ghs_very_secret"  # noqa: S105 - a stand-in's
FILE = "/repos/acme/matmul/actions/artifacts/9/zip"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


def _api(server: Server, token: str = TOKEN) -> Api:
    return Api(url=server.url, repository=REPOSITORY, token=token, pause_s=0.0, timeout_s=5.0)


def test_a_question_carries_the_token_the_version_and_its_query(server: Server) -> None:
    server.answers["GET /repos/acme/matmul/pulls"] = Answer(body=[{"number": 1}])
    assert _api(server).get("/repos/acme/matmul/pulls", head="eve:a b&state=closed") == [{"number": 1}]
    asked = server.asked[0]
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["X-Github-Api-Version"] == "2022-11-28"
    assert asked.query == {"head": "eve:a b&state=closed"}


def test_what_is_sent_arrives_as_json_in_ascii_and_without_a_token_none_is_sent(server: Server) -> None:
    server.answers |= {"PATCH /a": Answer(body={"id": 3}), "POST /a": Answer(status=204)}
    assert _api(server, token="").send("PATCH", "/a", {"body": "größer"}) == {"id": 3}
    (asked,) = server.asked
    assert (asked.json, asked.body.isascii(), "Authorization" in asked.headers) == ({"body": "größer"}, True, False)
    assert _api(server).send("POST", "/a", {}) is None


def test_every_page_is_read_and_no_more_than_asked_for(server: Server) -> None:
    pages = [Answer(body=[{"id": k} for k in range(n, n + size)]) for n, size in ((0, 100), (100, 100), (200, 3))]
    server.answers["GET /a"] = list(pages)
    assert [entry["id"] for entry in _api(server).pages("/a", most=250)] == list(range(203))
    assert [asked.query["page"] for asked in server.asked] == ["1", "2", "3"]
    assert server.asked[0].query["per_page"] == "100"
    server.asked.clear()
    server.answers["GET /a"] = list(pages)
    next(_api(server).pages("/a"))
    assert len(server.asked) == 1


def test_a_list_longer_than_the_bound_is_an_error_and_ends(server: Server) -> None:
    server.answers["GET /a"] = Answer(body={"found": [{}] * 100})
    with pytest.raises(GateError, match="more than 200 entries"):
        list(_api(server).pages("/a", key="found", most=200))
    assert len(server.asked) == 3


@pytest.mark.parametrize("body", [{"other": []}, {"found": {}}, [1], {"found": [1]}, None, b"no json", b"[" * 200_000])
def test_a_page_of_something_else_is_refused(server: Server, body: object) -> None:
    server.answers["GET /a"] = Answer(body=body)
    with pytest.raises(GateError, match="something else than") as caught:
        list(_api(server).pages("/a", key="found"))
    assert caught.value.reason == "github-api"


@pytest.mark.parametrize("first", [Answer(status=502), Answer(status=503), Answer(status=504), Answer(hang_up=True)])
def test_a_question_is_asked_once_more_where_that_may_help_and_a_change_is_never_sent_twice(
    server: Server, first: Answer
) -> None:
    server.answers["GET /a"] = [first, Answer(body={"id": 1})]
    assert (_api(server).get("/a"), len(server.asked)) == ({"id": 1}, 2)
    server.answers |= {"GET /a": first, "POST /a": first}
    with pytest.raises(GateError, match="GET /a was"):
        _api(server).get("/a")
    assert len(server.asked) == 4
    with pytest.raises(GateError, match="POST /a was"):
        _api(server).send("POST", "/a", {})
    assert len(server.asked) == 5


def test_a_refusal_says_what_was_asked_and_answered_in_one_line(server: Server) -> None:
    server.answers["GET /a"] = Answer(status=403, body={"message": "No\n::error::x ##[error]y \x1b[31m" + "z" * 500})
    with pytest.raises(GateError) as caught:
        _api(server).get("/a")
    text = caught.value.text
    assert text.startswith("GET /a was answered 403 (No")
    assert text.endswith("check the job's permissions and its rate limit.")
    assert len(text) < 350
    assert text.isprintable()
    assert "::" not in text
    assert "##[" not in text


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"message": 3}', b"[" * 200_000, b""])
def test_a_refusal_without_a_message_is_still_one_sentence(server: Server, body: bytes) -> None:
    server.answers["GET /a"] = Answer(status=404, body=body)
    with pytest.raises(GateError, match=r"was answered 404 \("):
        _api(server).get("/a")


def test_an_answer_that_never_comes_is_given_up_and_not_asked_for_again() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        api = Api(url=url, repository=REPOSITORY, timeout_s=0.05, pause_s=0.0)
        with pytest.raises(GateError, match="TimeoutError"):
            api.get("/a")
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # it was not asked again
            silent.accept()


def test_nobody_listening_and_something_that_speaks_no_http_are_one_sentence_without_the_token() -> None:
    with socket.socket() as odd:
        odd.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{odd.getsockname()[1]}"
        api = Api(url=url, repository=REPOSITORY, token=TOKEN, pause_s=0.0, timeout_s=5.0)
        with pytest.raises(GateError, match="GET /a was not answered") as caught:
            api.get("/a")
        assert TOKEN not in caught.value.text
        odd.listen()

        def speak() -> None:
            connection, _ = odd.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 smtp ready\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(GateError, match="BadStatusLine"):
            api.get("/a")
        thread.join()


@pytest.mark.parametrize(
    "location", ["http://blob.example/x", "file:///etc/passwd", "ftp://a.example/x", "https://u@b.example/", "http://["]
)
def test_a_redirect_to_anything_but_https_is_refused(server: Server, location: str) -> None:
    server.answers[f"GET {FILE}"] = Answer(status=302, headers={"Location": location})
    with pytest.raises(GateError, match="redirected to something else"):
        _api(server).download(FILE, most_bytes=10)


def test_redirects_in_a_circle_end(server: Server) -> None:
    server.answers[f"GET {FILE}"] = Answer(status=302, headers={"Location": FILE})
    with pytest.raises(GateError, match="answered 302"):
        _api(server).download(FILE, most_bytes=10)
    assert len(server.asked) == 4


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_but_a_download_follows_a_redirect(server: Server, method: str) -> None:
    with serving() as elsewhere:
        server.answers[f"{method} /a"] = Answer(status=307, headers={"Location": f"{elsewhere.url}/a"})
        with pytest.raises(GateError, match="answered 307"):
            _api(server).get("/a") if method == "GET" else _api(server).send(method, "/a", {})
        assert elsewhere.asked == []


def test_a_download_stops_at_its_bound_whatever_was_announced(server: Server) -> None:
    server.answers[f"GET {FILE}"] = Answer(body=b"x" * 65536, endless=True)
    with pytest.raises(GateError, match="more than 1000 bytes") as caught:
        _api(server).download(FILE, most_bytes=1000)
    assert caught.value.reason == "too-large"
    assert server.sent < 1 << 26
    server.answers[f"GET {FILE}"] = Answer(body=b"x" * 1000)
    assert len(_api(server).download(FILE, most_bytes=1000)) == 1000


def test_an_answer_of_json_is_bounded_too(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_JSON", 1000)
    server.answers["GET /a"] = Answer(body=b"[" + b" " * 2000 + b"]")
    with pytest.raises(GateError, match="more than 1000 bytes"):
        _api(server).get("/a")


@pytest.mark.parametrize(
    "path", ["", "a", "/../etc", "/repos/./x", "/a b", "/a?x=1", "/a#b", "/a\r\nX: 1", "/a//b", "/é"]
)
def test_a_path_of_anything_but_plain_names_is_not_asked(server: Server, path: str) -> None:
    with pytest.raises(GateError, match="plain names"):
        _api(server).get(path)
    assert server.asked == []


URLS = (
    "",
    "api.github.com",
    "http://api.github.com",
    "file:///x",
    "https://",
    "https://t@a.example",
    "ftp://127.0.0.1",
)
NAMES = ("", "acme", "acme/", "a/b/c", "../..", "acme/..", "a b/c", "a/b?x", "a/b\n")


@pytest.mark.parametrize(
    ("spoilt", "variable"),
    [
        *(({"url": url}, "GITHUB_API_URL") for url in URLS),
        *(({"repository": name}, "GITHUB_REPOSITORY") for name in NAMES),
        *(({"token": f"{TOKEN}{end}"}, "GITHUB_TOKEN") for end in ("a b", "a\n", "a\r\nX-Evil: 1", "é")),
    ],
)
def test_what_could_send_the_token_astray_is_refused_unseen(spoilt: dict[str, str], variable: str) -> None:
    known = {"url": "https://api.github.com", "repository": REPOSITORY, "token": TOKEN}
    with pytest.raises(GateError, match=variable) as caught:
        Api(**(known | spoilt))  # type: ignore[arg-type]
    assert TOKEN not in caught.value.text
    assert not is_safe(spoilt.get("url", ""))
    assert not is_repository(spoilt.get("repository", ""))


def test_the_environment_names_the_api_and_the_token_stays_out_of_its_text() -> None:
    api = from_environment({"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_TOKEN": TOKEN})
    assert (api.url, api.repository, api.token) == ("https://api.github.com", REPOSITORY, TOKEN)
    assert TOKEN not in f"{api!r}{api}"
    other = from_environment({"GITHUB_REPOSITORY": REPOSITORY, "GITHUB_API_URL": "https://ghe.example/api/v3"})
    assert (other.url, other.token) == ("https://ghe.example/api/v3", "")


def test_text_of_others_is_no_command_in_a_log() -> None:
    assert for_log("a\n::error::b ##[set-env]c\u202e") == "a?: :error: :b ## [set-env]c?"
    assert len(for_log("x" * 1000)) == 200
    assert json.dumps(for_log("\ud800")) == '"?"'
