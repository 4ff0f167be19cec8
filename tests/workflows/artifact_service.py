"""A stand-in for the artifact service that upload-artifact and download-artifact speak to since v4.

Owns the calls of ``ArtifactService`` (JSON over HTTP) and the blob store behind its signed addresses: blocks that are put
one by one and then listed, as Azure has it. Keeps every artifact in memory, one of a name in a run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime

from .loopback import Answer, Request

_CALLS = "/twirp/github.actions.results.api.v1.ArtifactService/"
_BLOB = re.compile(r"/blob/(\d+)")
_LISTED = re.compile(rb"<(?:Latest|Committed|Uncommitted)>([^<]+)<")
_IDS = ("11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222")
"""Of the run and of the job, in the form that the token of a real run has."""


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
    """Answers for one run; ``uploads`` holds the names in the order in which they were finished, replaced ones too."""

    def __init__(self) -> None:
        self.url = ""
        self.uploads: list[str] = []
        self._every: dict[int, Artifact] = {}

    @property
    def artifacts(self) -> list[Artifact]:
        """Those that are whole."""
        return [one for one in self._every.values() if one.whole]

    def variables(self) -> dict[str, str]:
        """What the runner sets for its actions: the address, and a token that names run and job."""
        claims = {"scp": f"Actions.Results:{':'.join(_IDS)}", "exp": 4102444800}
        parts = (_encoded({"alg": "none", "typ": "JWT"}), _encoded(claims), "c2lnbmF0dXJl")
        return {"ACTIONS_RESULTS_URL": f"{self.url}/", "ACTIONS_RUNTIME_TOKEN": ".".join(parts)}

    def answer(self, request: Request) -> Answer:
        """Answer one request."""
        if found := _BLOB.fullmatch(request.path):
            return self._blob(request, self._every[int(found[1])])
        calls = {
            "CreateArtifact": self._create,
            "FinalizeArtifact": self._finalize,
            "ListArtifacts": self._list,
            "GetSignedArtifactURL": self._signed,
            "DeleteArtifact": self._delete,
        }
        call = calls.get(request.path.removeprefix(_CALLS))
        if call is None:
            return Answer(status=404, body={"code": "bad_route", "msg": f"no such call: {request.path}"})
        return call(request)

    def _create(self, request: Request) -> Answer:
        name = request.json["name"]
        if any(one.name == name for one in self.artifacts):
            return Answer(status=409, body={"code": "already_exists", "msg": f"there is an artifact {name}"})
        made = Artifact(
            id=len(self._every) + 1,
            name=name,
            mime=request.json.get("mime_type") or "application/zip",
            created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )
        self._every[made.id] = made
        return Answer(body={"ok": True, "signed_upload_url": f"{self.url}/blob/{made.id}?sig=none"})

    def _finalize(self, request: Request) -> Answer:
        name = request.json["name"]
        made = next((one for one in reversed(self._every.values()) if one.name == name and not one.whole), None)
        if made is None or int(request.json.get("size", len(made.data))) != len(made.data):
            return Answer(status=412, body={"code": "failed_precondition", "msg": f"{name} was not uploaded whole"})
        made.whole = True
        self.uploads.append(name)
        return Answer(body={"ok": True, "artifact_id": str(made.id)})

    def _list(self, request: Request) -> Answer:
        asked = request.json
        name, number = asked.get("name_filter"), asked.get("id_filter")
        return Answer(
            body={
                "artifacts": [
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
            }
        )

    def _signed(self, request: Request) -> Answer:
        found = self._named(request.json["name"])
        if found is None:
            return Answer(status=404, body={"code": "not_found", "msg": "no such artifact"})
        return Answer(body={"signed_url": f"{self.url}/blob/{found.id}?sig=none"})

    def _delete(self, request: Request) -> Answer:
        found = self._named(request.json["name"])
        if found is None:
            return Answer(status=404, body={"code": "not_found", "msg": "no such artifact"})
        found.whole = False
        return Answer(body={"ok": True, "artifact_id": str(found.id)})

    def _named(self, name: str) -> Artifact | None:
        return next((one for one in self.artifacts if one.name == name), None)

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


def _encoded(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
