"""A stand-in for GitHub's REST API: what a scenario says of its pull request and its run, and a record of what is written.

Owns the addresses that the project's commands ask. An address that is not here is answered 404 and remembered, so that a
command which asks for more is seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .loopback import Answer, Request

if TYPE_CHECKING:
    from collections.abc import Callable

    from .artifact_service import ArtifactService

_STARTED, _BEFORE, _AFTER = "2025-01-02T00:00:00Z", "2025-01-01T00:00:00Z", "2025-01-03T00:00:00Z"
"""When the run started, and times before and after that."""


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
        moved = [{"event": "base_ref_changed", "actor": {"login": "author"}, "created_at": _AFTER}]
        labelled = [
            {
                "event": "labeled",
                "label": {"name": name.removeprefix("-")},
                "actor": {"login": "maintainer"},
                "created_at": _BEFORE if name.startswith("-") else _AFTER,
            }
            for name in self.labels
        ]
        return labelled + (moved if self.moved else [])

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
    """Answers for one repository with one run."""

    repository: str
    run: int
    artifacts: ArtifactService
    pull: Pull | None = None
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
            return self._written(path)
        if int(request.query.get("page", "1")) > 1:  # every list fits on the first page
            return self._get(path, request, empty=True)
        return self._get(path, request)

    def _get(self, path: str, request: Request, *, empty: bool = False) -> Answer:
        run, number = rf"/actions/runs/{self.run}", self.pull.number if self.pull else 0
        pulls = [self.pull.document(self.repository)] if self.pull else []
        files = [{"filename": name, "status": "modified"} for name in (self.pull.files if self.pull else ())]
        answers: dict[str, Callable[[], Any]] = {
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
            rf"/issues/{number}/labels": lambda: self.pull.named if self.pull else [],
            rf"/issues/{number}/events": lambda: self.pull.events if self.pull else [],
            rf"/issues/{number}/(comments|timeline)": list,
            r"/activity": list,
        }
        for pattern, made in answers.items():
            if re.fullmatch(pattern, path):
                found = [] if empty and isinstance(made(), list) else made()
                return found if isinstance(found, Answer) else Answer(body=found)
        self.unknown.append(path)
        return Answer(status=404, body={"message": "Not Found"})

    def _runs(self) -> dict[str, Any]:
        own = self.run_document()
        ended = {"status": "completed", "conclusion": self.earlier[-1]["conclusion"]} if self.earlier else {}
        found = [own, own | {"id": self.run - 1} | ended] if self.earlier else [own]
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
            "head_sha": self.pull.head if self.pull else "",
            "head_branch": "change",
            "run_started_at": _STARTED,
            "created_at": _STARTED,
        }

    def _listed(self, name: str | None) -> dict[str, Any]:
        found = [one for one in self.artifacts.artifacts if name in {None, one.name}]
        return {
            "total_count": len(found),
            "artifacts": [
                {
                    "id": one.id,
                    "name": one.name,
                    "size_in_bytes": len(one.data),
                    "expired": False,
                    "created_at": one.created_at,
                    "workflow_run": {"id": self.run},
                }
                for one in found
            ],
        }

    def _zip(self, path: str) -> Answer:
        number = int(path.split("/")[3])
        found = next((one for one in self.artifacts.artifacts if one.id == number), None)
        return Answer(body=found.data) if found else Answer(status=404, body={"message": "Not Found"})

    def _written(self, path: str) -> Answer:
        sha = f"{len(self.written):040x}"
        pull = {"number": 8, "id": 1, "sha": sha, "html_url": f"https://github.com/{self.repository}/pull/8"}
        status = 204 if path.endswith("/dispatches") else 201
        return Answer(status=status, body=b"" if status == 204 else pull)
