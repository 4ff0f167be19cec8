"""GitHub and the workflow's variables, for tests of the command that proposes baselines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from perfgate.github import propose
from perfgate.records import GateError
from proposal_support import CARD, REASON, World

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

ENVIRONMENT = {
    "REASON": REASON,
    "GITHUB_REF_NAME": "trunk",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_REPOSITORY": "someone/kernels",
    "GITHUB_TOKEN": "secret",
}
URL = "https://github.com/someone/kernels/pull/7"


class GitHub:
    """Stands in for `Api`: keeps what is sent, answers as GitHub does, and fails where it is told to."""

    repository = "someone/kernels"

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.failing = ""
        self.silent = ""

    def send(self, method: str, path: str, body: Mapping[str, Any]) -> Any:
        assert method == "POST"
        prefix = "/repos/someone/kernels/"
        assert path.startswith(prefix)
        step = path.removeprefix(prefix)
        if step == self.failing:
            raise GateError("github-api", f"POST {path} was answered 422 (no); check what was sent.")
        self.sent.append((step, dict(body)))
        if step == self.silent:
            return None
        if step == "pulls":
            return {"number": 7, "html_url": URL}
        return None if step.endswith("/dispatches") else {"sha": f"sha{len(self.sent)}"}

    def body(self, step: str) -> dict[str, Any]:
        return next(body for sent, body in self.sent if sent == step)


def run(world: World, *more: str, **environment: str) -> int:
    argv = ["--from", str(world.artifact), "--samples", str(world.samples), "--card", CARD, *more]
    return propose.main(argv, ENVIRONMENT | environment)


def refused(world: World, capsys: pytest.CaptureFixture[str], *more: str, **environment: str) -> str:
    """The one sentence on the error stream of a run that ends with 2."""
    capsys.readouterr()
    assert run(world, *more, **environment) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("INVALID ")
    assert shown.err.count("\n") == 1
    return shown.err
