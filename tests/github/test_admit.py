"""Who may use the machine with the GPU, by event; everything that is not known to be safe is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, Server, serving
from github_world import REPOSITORY, World
from perfgate.github.admit import ENVIRONMENT, admission, approvers
from perfgate.github.event import KINDS, Event

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
APPROVALS = f"GET /repos/{REPOSITORY}/actions/runs/42/approvals"


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, server: Server) -> World:
    """A pull request from a fork."""
    made = World.begin(tmp_path / "repository")
    made.event("pull_request", fork=True)
    made.environment |= {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": "token"}
    return made


def _event(kind: str = "pull_request", *, fork: bool = False) -> Event:
    return Event(
        kind=kind,
        repository=REPOSITORY,
        candidate="b" * 40,
        head="a" * 40,
        base="c" * 40,
        default_branch="main",
        branch="change",
        target="main",
        number=7,
        from_fork=fork,
    )


def _review(state: object = "approved", environment: str = ENVIRONMENT, **changes: Any) -> dict[str, Any]:
    return {"state": state, "environments": [{"name": environment}], "user": {"login": "maintainer"}} | changes


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("pull_request", "branch change of this repository."),
        ("merge_group", "a merge group, which a maintainer queued."),
        ("push", "a push to change."),
        ("schedule", "the schedule of change."),
        ("workflow_dispatch", "started by hand on change."),
    ],
)
def test_code_of_the_repositorys_own_people_is_admitted_and_why_is_said(kind: str, why: str) -> None:
    answer = admission(_event(kind, fork=kind == "merge_group"), ())  # only a pull request can come from a fork
    assert (answer.admitted, answer.text, kind in KINDS) == (True, why, True)


def test_a_forks_commit_is_refused_until_a_reviewer_lets_that_commit_in() -> None:
    answer = admission(_event(fork=True), ())
    assert not answer.admitted
    assert answer.text == (
        "Commit aaaaaaaaaaaa of #7 comes from a fork and nobody has let it onto the card; a maintainer reads that commit "
        "and approves this run for the environment fork-on-card (Review deployments)."
    )
    reviews = [_review(), _review(user={"login": "ada"}), _review(environment="docs")]
    answer = admission(_event(fork=True), approvers(reviews))
    assert (answer.admitted, answer.text) == (True, "fork commit aaaaaaaaaaaa of #7, approved by maintainer, ada.")


NO_APPROVAL: dict[str, Any] = {
    "none": [],
    "rejected": [_review("rejected")],
    "rejected as well": [_review(), _review("rejected")],
    "another environment": [_review(environment="docs")],
    "no environment": [{"state": "approved"}],
    "environments that are none": [_review(environments=None, user=None)],
    "by nobody": [_review(user=None)],
    "by a user without a name": [_review(user={"login": ""})],
    "by a number": [_review(user={"login": 7})],
    "environments without a name": [_review(environments=[ENVIRONMENT, 7, None, {}])],
    "environments that are one": [_review(environments={"name": ENVIRONMENT})],
    "no state": [_review(None)],
    "an object": {},
    "a number": [1],
    "a message": {"message": "x"},
    "null": None,
    "text": "approved",
}


@pytest.mark.parametrize("answer", NO_APPROVAL.values(), ids=NO_APPROVAL)
def test_a_fork_is_refused_whatever_github_answers_but_an_approval_for_the_gpu(
    world: World, server: Server, answer: Any
) -> None:
    server.answers[APPROVALS] = Answer(body=answer)
    ended = world.run("admit")
    assert (ended.code, ended.said) == (2, f"admit: NO: {ended.outputs['said']}\n")
    assert ended.outputs["said"]


def test_a_fork_is_let_in_by_what_github_says_of_this_run(world: World, server: Server) -> None:
    server.answers[APPROVALS] = Answer(body=[_review(user={"login": "ada"})])
    ended = world.run("admit")
    assert (ended.code, ended.outputs) == (0, {"said": ""})
    assert "approved by ada" in ended.said


@pytest.mark.parametrize("number", [None, "", "x" * 60, "42/../43", "-1"])
def test_a_run_without_a_number_of_its_own_asks_nobody_for_approval(
    world: World, server: Server, number: str | None
) -> None:
    del world.environment["GITHUB_RUN_ID"]
    world.environment |= {} if number is None else {"GITHUB_RUN_ID": number}
    ended = world.run("admit")
    assert ended.code == 2
    assert ended.said.startswith(f"admit: NO: GITHUB_RUN_ID is {(number or '')[:40]!r}, expected a number")
    assert server.asked == []


def test_a_fork_is_refused_where_nobody_answers(world: World) -> None:
    world.environment["GITHUB_API_URL"] = "http://127.0.0.1:1"
    assert world.run("admit").code == 2


def test_code_of_ones_own_is_let_in_without_a_question(world: World, server: Server) -> None:
    world.event("push")
    ended = world.run("admit")
    assert (ended.code, ended.said, ended.outputs) == (0, "admit: yes: a push to main.\n", {"said": ""})
    assert server.asked == []


@pytest.mark.parametrize("kind", ["pull_request_target", "issue_comment", ""])
def test_an_event_that_is_not_known_or_cannot_be_read_is_refused(world: World, kind: str) -> None:
    world.event("push")
    world.environment["GITHUB_EVENT_NAME"] = kind
    assert world.run("admit").code == 2
    world.event("push")
    (world.root.parent / "event.json").write_text(json.dumps([1]), encoding="utf-8")
    assert world.run("admit").code == 2


# What the machine asks with: the system's Python and no package.

ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from perfgate.github.__main__ import main
import json
code = main(["admit"], json.loads(sys.argv[2]))
names = {name.partition(".")[0] for name in sys.modules}
print(code, "msgspec" in names, sorted(names - sys.stdlib_module_names - {"__main__"}))
"""


@pytest.mark.parametrize(("fork", "code"), [(False, 0), (True, 2)])
def test_admission_needs_the_standard_library_alone(world: World, *, fork: bool, code: int) -> None:
    world.event("pull_request", fork=fork)
    variables = world.environment | {"GITHUB_API_URL": "http://127.0.0.1:1"}  # where nobody answers
    words = [sys.executable, "-I", "-S", "-B", "-c", ALONE, str(ROOT), json.dumps(variables)]
    done = subprocess.run(words, cwd=world.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{code} False ['perfgate']"
    assert done.stdout.startswith(f"admit: {'NO' if code else 'yes'}: ")
