"""Stand-ins for GitHub on this machine alone: its REST API, and the artifact service of upload- and download-artifact.

The API answers what a scenario says of its pull request and its run, and keeps what is written; an address that it does not
know is answered 404 and remembered. Artifacts (JSON over HTTP, blobs behind signed addresses, blocks that are put one by one
and then listed, as Azure has it) are kept in memory, one of a name in a run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CALLS = "/twirp/github.actions.results.api.v1.ArtifactService/"
_BLOB = re.compile(r"/blob/(\d+)")
_LISTED = re.compile(rb"<(?:Latest|Committed|Uncommitted)>([^<]+)<")
_IDS = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
"""Of the run and of the job, in the form that the token of a real run has."""
_STARTED, _BEFORE, _AFTER = "2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z", "2025-01-03T00:00:00Z"
"""When the run started, and times before and after that."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body or b"{}")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What is sent back; anything but bytes goes out as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


_NOT_FOUND = Answer(status=404, body={"code": "not_found", "message": "Not Found", "msg": "no such artifact"})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: RestApi | ArtifactService

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        request = Request(method=self.command, path=unquote(parts.path), query=query, body=self._body())
        answer = self.service.answer(request)
        raw = isinstance(answer.body, bytes)
        body = answer.body if raw else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/octet-stream" if raw else "application/json"} | answer.headers
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _body(self) -> bytes:
        """As long as it says, or in chunks, as an upload of unknown length comes."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle  # noqa: N815 - the names that http.server calls

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the original
        """Say nothing."""


@contextmanager
def serving(service: RestApi | ArtifactService) -> Iterator[None]:
    """Serve on a free port of 127.0.0.1 until the end."""
    handler = type("Handler", (_Handler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


# Artifacts.


@dataclass(kw_only=True)
class Artifact:
    """One artifact: a zip, or the file itself."""

    id: int
    name: str
    mime: str
    created_at: str
    blocks: dict[str, bytes] = field(default_factory=dict)
    data: bytes = b""
    whole: bool = False


class ArtifactService:
    """Answers for one run."""

    def __init__(self) -> None:
        self.url = ""
        self._every: dict[int, Artifact] = {}

    @property
    def artifacts(self) -> list[Artifact]:
        """Those that are whole."""
        return [one for one in self._every.values() if one.whole]

    def variables(self) -> dict[str, str]:
        """What the runner sets for its actions: the address, and a token that names run and job."""
        claims = {"scp": f"Actions.Results:{':'.join(_IDS)}", "exp": 4102444800}
        parts = [json.dumps(part).encode() for part in ({"alg": "none", "typ": "JWT"}, claims)]
        token = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*parts, b"signature")]
        return {"ACTIONS_RESULTS_URL": f"{self.url}/", "ACTIONS_RUNTIME_TOKEN": ".".join(token)}

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        if found := _BLOB.fullmatch(request.path):
            return self._blob(request, self._every[int(found[1])])
        asked, call = request.json, request.path.removeprefix(_CALLS)
        calls = {"CreateArtifact": self._create, "FinalizeArtifact": self._finalize, "ListArtifacts": self._list}
        if call in calls:
            return calls[call](asked)
        one = next((one for one in self.artifacts if one.name == asked.get("name")), None)
        if one is None or call not in {"GetSignedArtifactURL", "DeleteArtifact"}:
            return _NOT_FOUND
        if call == "GetSignedArtifactURL":
            return Answer(body={"signed_url": f"{self.url}/blob/{one.id}?sig=none"})
        one.whole = False
        return Answer(body={"ok": True, "artifact_id": str(one.id)})

    def _create(self, asked: Any) -> Answer:
        name = asked["name"]
        if any(one.name == name for one in self.artifacts):
            return Answer(status=409, body={"code": "already_exists", "msg": f"there is an artifact {name}"})
        created_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        mime, number = asked.get("mime_type") or "application/zip", len(self._every) + 1
        self._every[number] = Artifact(id=number, name=name, mime=mime, created_at=created_at)
        return Answer(body={"ok": True, "signed_upload_url": f"{self.url}/blob/{number}?sig=none"})

    def _finalize(self, asked: Any) -> Answer:
        name = asked["name"]
        made = next((one for one in reversed(self._every.values()) if one.name == name and not one.whole), None)
        if made is None or int(asked.get("size", len(made.data))) != len(made.data):
            return Answer(status=412, body={"code": "failed_precondition", "msg": f"{name} was not uploaded whole"})
        made.whole = True
        return Answer(body={"ok": True, "artifact_id": str(made.id)})

    def _list(self, asked: Any) -> Answer:
        name, number = asked.get("name_filter"), asked.get("id_filter")
        found = [
            {
                "workflow_run_backend_id": _IDS[0],
                "workflow_job_run_backend_id": _IDS[1],
                "database_id": str(one.id),
                "name": one.name,
                "size": str(len(one.data)),
                "created_at": one.created_at,
                "digest": f"sha256:{hashlib.sha256(one.data).hexdigest()}",
            }
            for one in self.artifacts
            if name in {None, one.name} and str(number or one.id) == str(one.id)
        ]
        return Answer(body={"artifacts": found})

    def _blob(self, request: Request, one: Artifact) -> Answer:
        if request.method == "GET":
            shown = {"Content-Type": one.mime, "Content-Disposition": f'attachment; filename="{one.name}.zip"'}
            return Answer(body=one.data, headers=shown)
        kind = request.query.get("comp", "")
        if kind == "block":
            one.blocks[request.query["blockid"]] = request.body
        elif kind == "blocklist":
            one.data = b"".join(one.blocks[name.decode()] for name in _LISTED.findall(request.body))
        else:
            one.data = request.body
        return Answer(status=201, headers={"ETag": '"1"', "x-ms-request-id": "1", "x-ms-version": "2024-01-01"})


# The REST API.


@dataclass(kw_only=True)
class Pull:
    """The pull request, as GitHub knows it."""

    number: int
    head: str
    base: str
    source: str
    """``owner/name`` that it comes from."""
    labels: tuple[str, ...] = ()
    """Set after the run started, but for those that begin with a minus: they were set before."""
    files: tuple[str, ...] = ()
    moved: bool = False
    """It was sent into another branch after the run started."""

    @property
    def named(self) -> list[dict[str, str]]:
        """The labels as GitHub lists them."""
        return [{"name": name.removeprefix("-")} for name in self.labels]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened to it."""
        happened: list[dict[str, Any]] = [
            {
                "event": "labeled",
                "label": {"name": name.removeprefix("-")},
                "actor": {"login": "maintainer"},
                "created_at": _BEFORE if name.startswith("-") else _AFTER,
            }
            for name in self.labels
        ]
        moved = {"event": "base_ref_changed", "actor": {"login": "author"}, "created_at": _AFTER}
        return happened + [moved] * self.moved

    def document(self, repository: str) -> dict[str, Any]:
        """As the list of them has it."""
        return {
            "number": self.number,
            "state": "open",
            "head": {"sha": self.head, "ref": "change", "repo": {"full_name": self.source, "id": 55}},
            "base": {"sha": self.base, "ref": "main", "repo": {"full_name": repository, "id": 55}},
            "labels": self.named,
            "user": {"login": "author"},
        }


@dataclass(kw_only=True)
class RestApi:
    """Answers for one repository with one run of one pull request."""

    repository: str
    run: int
    artifacts: ArtifactService
    pull: Pull
    approvals: list[dict[str, Any]] = field(default_factory=list)
    jobs: list[dict[str, Any]] = field(default_factory=list)
    """Of the run, as GitHub lists them."""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """Jobs of an earlier run on the same commit, the last of which is the check; empty where there is none."""
    conclusion: str | None = None
    url: str = ""
    written: list[tuple[str, Any]] = field(default_factory=list)
    """``METHOD /path`` below the repository and the JSON that came with it."""
    unknown: list[str] = field(default_factory=list)

    def sent(self, what: str) -> list[Any]:
        """What was sent to an address."""
        return [body for address, body in self.written if re.fullmatch(what, address)]

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        path = request.path.removeprefix(f"/repos/{self.repository}")
        if request.method != "GET":
            self.written.append((f"{request.method} {path}", request.json))
            if path.endswith("/dispatches"):
                return Answer(status=204)
            address = f"https://github.com/{self.repository}/pull/8"
            made = {"number": 8, "id": 1, "sha": f"{len(self.written):040x}", "html_url": address}
            return Answer(status=201, body=made)
        for pattern, made_of in self._answers(path, request).items():
            if re.fullmatch(pattern, path):
                found = made_of()
                later = int(request.query.get("page", "1")) > 1  # every list fits on the first page
                body = [] if later and isinstance(found, list) else found
                return body if isinstance(body, Answer) else Answer(body=body)
        self.unknown.append(path)
        return _NOT_FOUND

    def _answers(self, path: str, request: Request) -> dict[str, Callable[[], Any]]:
        run, number = rf"/actions/runs/{self.run}", self.pull.number
        pulls = [self.pull.document(self.repository)]
        files = [{"filename": name, "status": "modified"} for name in self.pull.files]
        return {
            r"": lambda: {"id": 55, "full_name": self.repository, "default_branch": "main"},
            rf"{run}": self.run_document,
            rf"{run}/approvals": lambda: self.approvals,
            rf"{run}(/attempts/\d+)?/jobs": lambda: {"total_count": len(self.jobs), "jobs": self.jobs},
            rf"{run}/artifacts": lambda: self._listed(request.query.get("name")),
            r"/actions/artifacts/(\d+)/zip": lambda: self._zip(path),
            rf"/actions/runs/{self.run - 1}/jobs": lambda: {"jobs": self.earlier},
            rf"/actions/runs/{self.run - 1}/artifacts": lambda: {"total_count": 0, "artifacts": []},
            r"/actions/workflows/perf\.yml/runs": self._runs,
            r"/pulls": lambda: pulls,
            r"/commits/[0-9a-f]{40}/pulls": lambda: pulls,
            rf"/pulls/{number}": lambda: pulls[0],
            rf"/pulls/{number}/files": lambda: files,
            rf"/pulls/{number}/commits": list,
            r"/compare/[\w.:-]+": lambda: {"files": files, "status": "ahead"},
            rf"/issues/{number}/labels": lambda: self.pull.named,
            rf"/issues/{number}/events": lambda: self.pull.events,
            rf"/issues/{number}/(comments|timeline)": list,
            r"/activity": list,
        }

    def _runs(self) -> dict[str, Any]:
        found = [self.run_document()]
        if self.earlier:
            ended = {"status": "completed", "conclusion": self.earlier[-1]["conclusion"]}
            found.append(found[0] | {"id": self.run - 1} | ended)
        return {"total_count": len(found), "workflow_runs": found}

    def run_document(self) -> dict[str, Any]:
        """The run, as GitHub tells of it."""
        return {
            "id": self.run,
            "run_attempt": 1,
            "name": "perf",
            "path": ".github/workflows/perf.yml",
            "event": "pull_request",
            "status": "completed" if self.conclusion else "in_progress",
            "conclusion": self.conclusion,
            "head_sha": self.pull.head,
            "head_branch": "change",
            "run_started_at": _STARTED,
            "created_at": _STARTED,
        }

    def _listed(self, name: str | None) -> dict[str, Any]:
        run = {"expired": False, "workflow_run": {"id": self.run}}
        found = [
            {"id": one.id, "name": one.name, "size_in_bytes": len(one.data), "created_at": one.created_at, **run}
            for one in self.artifacts.artifacts
            if name in {None, one.name}
        ]
        return {"total_count": len(found), "artifacts": found}

    def _zip(self, path: str) -> Answer:
        number = int(path.split("/")[3])
        return next((Answer(body=one.data) for one in self.artifacts.artifacts if one.id == number), _NOT_FOUND)
