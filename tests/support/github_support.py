"""A stand-in for GitHub: an HTTP server on this machine with set answers, and the events, reports and zips it tells of."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from unittest import mock
from urllib.parse import parse_qs, urlsplit

from perfgate.github import comment
from perfgate.github.conclusion import CardReport, Conclusion, conclude, to_json
from perfgate.records import Status, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REPOSITORY = "acme/matmul"
RUN, ATTEMPT, NUMBER = 7000, 2, 12
HEAD, BASE = "a" * 40, "b" * 40
STARTED = "2026-03-01T10:00:00Z"
OUR_USER = {"login": "github-actions[bot]", "type": "Bot"}
MARKER = f"<!-- perfgate run={RUN} attempt={ATTEMPT} -->"
RUN_URL = f"https://github.example/{REPOSITORY}/actions/runs/{RUN}"
COMMENTS = f"/repos/{REPOSITORY}/issues/{NUMBER}/comments"
JOBS = f"/repos/{REPOSITORY}/actions/runs/{RUN}/jobs"
FILES = f"/repos/{REPOSITORY}/pulls/{NUMBER}/files"
ARTIFACTS = f"/repos/{REPOSITORY}/actions/runs/{RUN}/artifacts"
DOWNLOAD = f"/repos/{REPOSITORY}/actions/artifacts/900/zip"
_HERE = {"id": 55, "full_name": REPOSITORY, "default_branch": "main"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the server says; anything but bytes goes out as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    endless: bool = False
    """The body is sent again and again, as long as somebody reads."""
    hang_up: bool = False
    """The connection is closed without a word."""


class Server(HTTPServer):
    """Answers by method and path; a list of answers is used up one by one, its last one stays."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[Asked] = []
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.sent = 0
        """Bytes of endless bodies that somebody took."""

    def answer(self, asked: Asked) -> Answer:
        found = self.answers.get(f"{asked.method} {asked.path}", Answer(status=404, body={"message": "Not Found"}))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    def written(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method != "GET"]


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(
            method=self.command,
            path=parts.path,
            query={key: values[0] for key, values in parse_qs(parts.query).items()},
            headers=dict(self.headers.items()),
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
        )
        self.server.asked.append(asked)
        answer = self.server.answer(asked)
        if answer.hang_up:
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
            while answer.endless and self.server.sent < 1 << 28:
                self.wfile.write(body)
                self.server.sent += len(body)
        except (BrokenPipeError, ConnectionResetError):
            pass

    do_GET = do_POST = do_PATCH = _handle  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the original
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port, asked without a proxy and closed at the end."""
    with mock.patch.dict(os.environ, {"no_proxy": "127.0.0.1"}), Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.005})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def same_repository(**changes: Any) -> dict[str, Any]:
    """A ``workflow_run`` event of a pull request from a branch of the repository itself."""
    run = {
        "id": RUN,
        "run_attempt": ATTEMPT,
        "name": "perf",
        "event": "pull_request",
        "status": "completed",
        "conclusion": "failure",
        "head_sha": HEAD,
        "head_branch": "faster",
        "head_repository": {"id": 55, "full_name": REPOSITORY, "owner": {"login": "acme"}},
        "run_started_at": STARTED,
        "html_url": "https://elsewhere.example/runs/1",
        "pull_requests": [pull_in_event()],
    }
    return {"action": "completed", "repository": _HERE, "workflow_run": run | changes}


def fork(**changes: Any) -> dict[str, Any]:
    """The same from a fork: GitHub names no pull request then."""
    source = {"id": 77, "full_name": "eve/matmul", "owner": {"login": "eve"}}
    return same_repository(**({"pull_requests": [], "head_repository": source} | changes))


def pull_in_event(*, number: int = NUMBER, head: str = HEAD, base_id: int = 55) -> dict[str, Any]:
    """A pull request as an event names it."""
    return {
        "number": number,
        "head": {"sha": head, "repo": {"id": 55}},
        "base": {"ref": "main", "repo": {"id": base_id}},
    }


def pull_in_list(
    *, number: int = NUMBER, head: str = HEAD, base: str = REPOSITORY, source: str = REPOSITORY
) -> dict[str, Any]:
    """A pull request as the list of them names it."""
    return {
        "number": number,
        "head": {"sha": head, "repo": {"full_name": source}},
        "base": {"ref": "main", "repo": {"full_name": base}},
    }


def jobs(check: str | None = "failure", *, attempt: int = ATTEMPT, but: str = "") -> list[dict[str, Any]]:
    """The jobs of a run of the gate, as GitHub lists them, of which one may be missing."""
    ends = {"plan": "success", "approve": "skipped", "admit": "success", "measure (h100)": "failure", "perf": check}
    return [
        {"id": k, "name": name, "run_attempt": attempt, "conclusion": end}
        for k, (name, end) in enumerate(ends.items(), 1)
        if name.partition(" ")[0] != but
    ]


def has_jobs(server: Server, found: list[dict[str, Any]]) -> None:
    """Give the run these jobs."""
    server.answers[f"GET {JOBS}"] = Answer(body={"total_count": len(found), "jobs": found})


def verdict(text: str = "m1024 is 5 % slower.", status: Status = Status.SLOWER, case: str = "m1024") -> Verdict:
    return Verdict(case=case, status=status, reason="slower", text=text, ratio=1.05, low=1.04, high=1.06, limit=1.02)


def report(*verdicts: Verdict, **changes: Any) -> dict[str, Any]:
    """A whole report as JSON types, with the exit code that its verdicts give; ``changes`` may break it."""
    card = CardReport(label="rtx4090", slug="rtx-4090", machine="RTX 4090", verdicts=verdicts or (verdict(),))
    code = conclude((card,), edits=(), intended=False, problems=())
    whole: dict[str, Any] = to_json(Conclusion(exit=code, base=BASE, head=HEAD, target="main", cards=(card,)))
    return whole | changes


def zipped(content: object, name: str = "report.json") -> bytes:
    """A zip with one member; anything but bytes goes in as JSON."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content if isinstance(content, bytes) else json.dumps(content))
    return held.getvalue()


def listed(data: bytes, **changes: Any) -> dict[str, Any]:
    """An artifact as GitHub lists it."""
    entry = {
        "id": 900,
        "name": "report-for-comment",
        "size_in_bytes": len(data),
        "expired": False,
        "created_at": STARTED,
    }
    return entry | changes


def offer(server: Server, data: bytes, **changes: Any) -> None:
    """Give the run this artifact."""
    server.answers[f"GET {ARTIFACTS}"] = Answer(body={"total_count": 1, "artifacts": [listed(data, **changes)]})
    server.answers[f"GET {DOWNLOAD}"] = Answer(body=data)


def prepare(server: Server, comments: list[dict[str, Any]] | None = None) -> None:
    """An open pull request without comments, and a run without artifacts."""
    base = f"/repos/{REPOSITORY}"
    has_jobs(server, jobs())
    server.answers |= {
        f"GET {FILES}": Answer(body=[{"filename": "kernels/matmul.py"}]),
        f"GET {base}/pulls": Answer(body=[pull_in_list()]),
        f"GET {ARTIFACTS}": Answer(body={"total_count": 0, "artifacts": []}),
        f"GET {COMMENTS}": Answer(body=comments or []),
        f"POST {COMMENTS}": Answer(status=201, body={"id": 1}),
        f"PATCH {base}/issues/comments/31": Answer(body={"id": 31}),
    }


def environment(server: Server, folder: Path, payload: dict[str, Any]) -> dict[str, str]:
    """A job's variables for this event."""
    path = folder / "event.json"
    path.write_text(json.dumps(payload), encoding="utf-8")
    return {
        "GITHUB_API_URL": server.url,
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_TOKEN": "ghs_secret",
        "GITHUB_EVENT_PATH": str(path),
    }


def run_comment(server: Server, folder: Path, payload: dict[str, Any]) -> int:
    """The exit code of the program that comments, on this event."""
    return comment.comment_command([], environment(server, folder, payload))


def written_body(server: Server) -> str:
    """The one comment that was written."""
    (asked,) = server.written()
    text = asked.json["body"]
    assert isinstance(text, str)
    return text
