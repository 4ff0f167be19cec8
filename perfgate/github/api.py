"""GitHub's REST API, over the standard library: what is asked, how often, and how much of an answer is read.

Owns the token: it goes to the API's own address and nowhere else, and into no text. Knows no workflow.
"""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode, urljoin, urlsplit

from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_URL = "https://api.github.com"
_FAILED = "github-api"
_AGENT = "perfgate"
_LOOPBACK = {"127.0.0.1", "::1"}
_REPOSITORY = re.compile(r"[\w.-]{1,100}/[\w.-]{1,100}", re.ASCII)
_PATH = re.compile(r"(?:/[\w.-]+)+", re.ASCII)
_TOKEN = re.compile(r"[\x21-\x7e]*")
_MOST_JSON = 16 << 20
"""Bytes of one answer: a page of 100 comments of the greatest length has 6.5 million characters."""
_MOST_REDIRECTS = 3
_MOST_MESSAGE = 200
_PER_PAGE = 100
_OK = range(200, 300)
_REDIRECT = {301, 302, 303, 307, 308}
_FOR_A_MOMENT = {502, 503, 504}
_WHAT_TO_DO = {
    401: "give the job a valid GITHUB_TOKEN",
    403: "check the job's permissions and its rate limit",
    404: "check that it exists and that the job's permissions let it be read",
    410: "it is gone, so run the workflow again",
    422: "check what was sent",
}


def is_safe(url: str) -> bool:
    """Whether an address may be asked: by https, or by http on this very machine."""
    try:
        parts = urlsplit(url)
        host, inside, _ = parts.hostname, parts.username is None, parts.port
    except ValueError:
        return False
    return bool(host) and inside and (parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK))


def is_repository(name: str) -> bool:
    """Whether a text is ``owner/name`` and can stand in a path."""
    return bool(_REPOSITORY.fullmatch(name)) and not {".", ".."} & set(name.split("/"))


def for_log(text: str, most: int = _MOST_MESSAGE) -> str:
    """Text of others for one line of a log: cut, printable, and no command to the runner, which takes ``##[`` anywhere."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:most])
    return shown.replace("##[", "## [").replace("::", ": :")


@dataclass(frozen=True)
class _Answer:
    status: int
    location: str
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Api:
    """One repository's view of the API."""

    url: str
    repository: str
    """``owner/name``."""
    token: str = field(default="", repr=False)
    """Empty to read a public repository."""
    timeout_s: float = 20.0
    """Of each wait for the network."""
    pause_s: float = 2.0
    """Before a question is asked once more."""

    def __post_init__(self) -> None:
        """Refuse what could send the token astray."""
        if not is_safe(self.url):
            raise GateError(
                "not-on-github",
                f"GITHUB_API_URL is {for_log(self.url)!r}, expected an https address; see the job's log.",
            )
        if not is_repository(self.repository):
            raise GateError(
                "not-on-github",
                f"GITHUB_REPOSITORY is {for_log(self.repository)!r}, expected owner/name; this command is for GitHub's workflows.",
            )
        if not _TOKEN.fullmatch(self.token):
            raise GateError(
                "not-on-github",
                "GITHUB_TOKEN holds a space or a character that no token has; set it to the token alone.",
            )

    def get(self, path: str, **query: str | int) -> Any:  # noqa: ANN401 - whatever GitHub answers
        """The JSON that a path answers."""
        return self._json(self._request("GET", path, query), path)

    def pages(
        self, path: str, *, key: str | None = None, most: int = 1000, **query: str | int
    ) -> Iterator[dict[str, Any]]:
        """Every entry of a list that GitHub answers in pages, in its order; asks on only as long as it is iterated.

        Args:
            path: What to list.
            key: Where the list stands in the answer; None where the answer is the list.
            most: Entries that are looked at; a longer list is an error, never cut in silence.
            query: Further questions.
        """
        seen = 0
        for page in range(1, most // _PER_PAGE + 2):
            answer = self.get(path, per_page=_PER_PAGE, page=page, **query)
            entries = answer.get(key) if key is not None and isinstance(answer, dict) else answer
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                _refuse("GET", path, "was answered something else than a list of objects", "run again")
            for entry in entries:
                seen += 1
                if seen > most:
                    _refuse("GET", path, f"has more than {most} entries", "look there by hand")
                yield entry
            if len(entries) < _PER_PAGE:
                return

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:  # noqa: ANN401 - whatever GitHub answers
        """Change something; asked once only, since the first attempt may have arrived."""
        request = self._request(method, path, {})
        request.data = json.dumps(body, allow_nan=False).encode("ascii")
        request.add_header("Content-Type", "application/json")
        return self._json(request, path)

    def download(self, path: str, *, most_bytes: int) -> bytes:
        """A file, by way of the address that GitHub redirects to, which does not get the token.

        Raises:
            GateError: ``too-large`` when more than ``most_bytes`` come, whatever was announced; ``github-api``.
        """
        request = self._request("GET", path, {})
        answer = self._ask(request, path, most_bytes)
        for _ in range(_MOST_REDIRECTS):
            if answer.status not in _REDIRECT:
                break
            request = _redirected(request, answer.location, path)
            answer = self._ask(request, path, most_bytes)
        _expect_ok("GET", path, answer)
        if len(answer.body) > most_bytes:
            raise GateError("too-large", f"GET {path} answers more than {most_bytes} bytes, which is not read.")
        return answer.body

    def _json(self, request: urllib.request.Request, path: str) -> Any:  # noqa: ANN401 - whatever GitHub answers
        method, answer = request.get_method(), self._ask(request, path, _MOST_JSON)
        _expect_ok(method, path, answer)
        if len(answer.body) > _MOST_JSON:
            _refuse(method, path, f"was answered more than {_MOST_JSON} bytes", "look there by hand")
        try:
            return json.loads(answer.body) if answer.body else None
        except (ValueError, RecursionError):
            _refuse(method, path, "was answered something else than JSON", "run again")

    def _request(self, method: str, path: str, query: Mapping[str, str | int]) -> urllib.request.Request:
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise GateError(_FAILED, f"The path {for_log(path)!r} was to be asked, expected one of plain names.")
        address = f"{self.url.rstrip('/')}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {
            "Accept": "application/vnd.github+json",
            "User-Agent": _AGENT,
            "X-GitHub-Api-Version": "2022-11-28",
        }
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        return urllib.request.Request(address, headers=headers, method=method)  # noqa: S310 - see `is_safe`

    def _ask(self, request: urllib.request.Request, path: str, most_bytes: int) -> _Answer:
        """One answer of whatever status; a question that changes nothing is asked once more where that may help."""
        method = request.get_method()
        for last in (method != "GET", True):
            try:
                answer = _exchange(request, self.timeout_s, most_bytes + 1)
            except (OSError, http.client.HTTPException, ValueError) as error:  # the last: a redirect's odd address
                cause = error.reason if isinstance(error, urllib.error.URLError) else error
                if last or not isinstance(cause, ConnectionResetError):
                    _refuse(method, path, f"was not answered ({type(cause).__name__})", "run again")
            else:
                if last or answer.status not in _FOR_A_MOMENT:
                    return answer
            time.sleep(self.pause_s)
        raise AssertionError  # the last attempt returned or raised


def from_environment(environment: Mapping[str, str]) -> Api:
    """The API of this job, from GitHub's variables: ``GITHUB_API_URL``, ``GITHUB_REPOSITORY`` and ``GITHUB_TOKEN``.

    Raises:
        GateError: ``not-on-github``.
    """
    return Api(
        url=environment.get("GITHUB_API_URL") or DEFAULT_URL,
        repository=environment.get("GITHUB_REPOSITORY", ""),
        token=environment.get("GITHUB_TOKEN", ""),
    )


def _redirected(request: urllib.request.Request, location: str, path: str) -> urllib.request.Request:
    """The same question to another address, made anew: nothing that is for the API alone goes along."""
    try:
        address = urljoin(request.full_url, location)
    except ValueError:
        address = ""
    if not is_safe(address):
        _refuse("GET", path, "was redirected to something else than an https address", "run again")
    return urllib.request.Request(address, headers={"User-Agent": _AGENT})  # noqa: S310 - see `is_safe`


def _exchange(request: urllib.request.Request, timeout_s: float, most_bytes: int) -> _Answer:
    opener = urllib.request.OpenerDirector()  # neither files nor ftp, and no redirect is followed unasked
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return _Answer(answer.status, "", answer.read(most_bytes))
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, error.headers.get("Location", ""), error.read(min(most_bytes, _MOST_JSON)))


def _expect_ok(method: str, path: str, answer: _Answer) -> None:
    if answer.status in _OK:
        return
    try:
        message = str(json.loads(answer.body)["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        message = "no message"
    _refuse(
        method, path, f"was answered {answer.status} ({for_log(message)})", _WHAT_TO_DO.get(answer.status, "run again")
    )


def _refuse(method: str, path: str, found: str, what_to_do: str) -> NoReturn:
    raise GateError(_FAILED, f"{method} {path} {found}; {what_to_do}.")
