"""The workflows' commands: what each says, leaves and answers, and how many words it takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from github_support import Answer, Server, serving
from github_world import KERNEL, LABEL, REPOSITORY, SLUG, World
from perfgate.github.__main__ import COMMANDS
from perfgate.github.api import from_environment
from perfgate.github.event import read_event
from perfgate.github.pulls import number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SLOWER = {"k1_sq4096": 1.03}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.event("push")
    return made


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def _pull_request(world: World, path: str = "kernels/matmul.py") -> None:
    world.pull_request({path: KERNEL.replace("pass", "return")})
    world.event("pull_request")


def test_the_commands_are_these() -> None:
    assert list(COMMANDS) == [
        "plan",
        "admit",
        "lay",
        "keep",
        "check",
        "show",
        "all",
        "pick",
        "recheck",
        "comment",
        "propose",
    ]


@pytest.mark.parametrize("name", ["plan", "admit", "all", "pick", "recheck"])
def test_a_command_without_options_takes_no_word(world: World, name: str) -> None:
    ended = world.run(name, "x")
    assert (ended.code, ended.said) == (2, "")
    assert ended.errors == "INVALID bad-usage: 1 arguments were given, expected 0; see python -m perfgate.github.\n"


@pytest.mark.parametrize("name", ["lay", "check", "show"])
def test_a_command_for_a_folder_takes_one_word(world: World, name: str) -> None:
    for words in ((), ("a", "b")):
        ended = world.run(name, *words)
        assert (ended.code, ended.said) == (2, "")
        assert ended.errors.startswith(f"INVALID bad-usage: {len(words)} arguments were given, expected 1;")


def test_a_command_that_does_not_exist_is_refused_with_those_that_do(world: World) -> None:
    ended = world.run("nothing")
    assert ended.code == 2
    assert ended.errors.startswith(
        "INVALID bad-usage: expected one of plan, admit, lay, keep, check, show, all, pick, recheck, comment, propose"
    )
    assert "the one required check" in ended.errors


def test_the_program_takes_its_words_from_the_command_line_and_ends_as_the_command_does() -> None:
    root = Path(__file__).parents[2]
    program = [sys.executable, "-m", "perfgate.github", "all"]
    for needs, code in (('{"a": {"result": "success"}}', 0), ("{}", 2)):
        done = subprocess.run(program, cwd=root, env={"NEEDS": needs}, capture_output=True, check=False)
        assert done.returncode == code, done.stderr


# What each says


def test_a_plan_says_what_is_judged_by_what_and_on_which_cards(world: World) -> None:
    world.checked_out()
    ended = world.run("plan")
    assert ended.said == f"plan: {world.base[:12]} is judged by itself on {SLUG}.\n"


def test_a_plan_of_an_edit_says_what_is_edited(world: World) -> None:
    _pull_request(world, "perfgate/x.py")
    world.checked_out()
    assert world.run("plan").said.splitlines() == [
        f"plan: {world.candidate[:12]} is judged by {world.base[:12]} on {SLUG}.",
        "plan: it edits what judges it, so its own gate runs too: the gate's code (perfgate/x.py).",
    ]


def test_admission_says_yes_or_no_and_why(world: World) -> None:
    ended = world.run("admit")
    assert (ended.said, ended.outputs) == ("admit: yes: a push to main.\n", {"said": ""})
    world.environment["GITHUB_EVENT_NAME"] = "issue_comment"
    ended = world.run("admit")
    assert ended.said.startswith("admit: NO: The gate does not run for 'issue_comment', expected one of pull_request")
    assert f"admit: NO: {ended.outputs['said']}\n" == ended.said


@pytest.mark.parametrize("number", [None, "", "x" * 60, "42/../43", "-1"])
def test_a_run_without_a_number_of_its_own_asks_nobody_for_approval(
    world: World, server: Server, number: str | None
) -> None:
    _pull_request(world)
    world.event("pull_request", fork=True)
    world.environment |= {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": "token"}
    del world.environment["GITHUB_RUN_ID"]
    world.environment |= {} if number is None else {"GITHUB_RUN_ID": number}
    ended = world.run("admit")
    assert ended.code == 2
    assert ended.said.startswith(f"admit: NO: GITHUB_RUN_ID is {(number or '')[:40]!r}, expected a number")
    assert server.asked == []


def test_the_check_says_each_verdict_each_problem_and_the_exit_code(world: World) -> None:
    _pull_request(world)
    world.leave(world.measured(scale=_SLOWER))
    said = [line for line in world.check().said.splitlines() if line.startswith("check: ")]
    assert said[0].startswith("check: not judged: The jobs with the cards succeeded although their verdicts fail")
    assert said[1].startswith(f"check: {SLUG}: SLOWER k1_sq4096: ")
    assert [line.split(" ")[2] for line in said[1:4]] == ["SLOWER", "SAME", "SAME"]
    assert said[4:] == ["check: exit 1"]


def test_the_check_says_what_a_card_could_not_judge(world: World) -> None:
    ended = world.check()
    said = [line for line in ended.said.splitlines() if line.startswith("check: ")]
    assert said[0].startswith(f"check: not judged: The job on the runner {LABEL} left no results")
    assert said[1:] == ["check: exit 2"]


def test_the_summary_links_to_the_run(world: World) -> None:
    world.leave(world.measured())
    link = f"[run and artifacts](https://github.example/{REPOSITORY}/actions/runs/42)"
    ended = world.check()
    assert link in ended.summary
    assert ended.summary.endswith("\n")
    report = (world.root / "report.json").read_text(encoding="utf-8")
    assert report.startswith('{\n "schema": 1,\n')
    assert report.endswith("}\n")


def test_all_says_which_jobs_succeeded(world: World) -> None:
    world.environment["NEEDS"] = '{"lint": {"result": "success"}, "tests": {"result": "success"}}'
    assert world.run("all").said == "all: lint, tests succeeded.\n"


# The summary of one run by itself, and the card that was named


def test_the_page_of_one_run_is_put_into_the_summary_and_passes_whatever_the_run_says(world: World) -> None:
    folder = world.leave(world.measured(scale=_SLOWER))
    ended = world.run("show", str(folder))
    assert (ended.code, ended.said) == (0, "show: exit 1; the page is the summary of the job.\n")
    assert ended.summary.startswith("## perf: regression\n")
    assert ended.summary.endswith("machine.\n")


def test_a_folder_without_a_run_is_said(world: World) -> None:
    ended = world.run("show", "nowhere")
    assert ended.code == 2
    assert ended.errors == (
        "INVALID no-results: nowhere has no run.json (No such file or directory), expected a run; see its log.\n"
    )
    (world.root / "run.json").write_text("{", encoding="utf-8")
    assert world.run("show", ".").errors.startswith("INVALID not-json: ./run.json is not valid JSON")


def test_the_runner_of_the_card_that_was_named_is_picked(world: World) -> None:
    world.environment |= {"CARD": LABEL, "REASON": "a faster loop"}
    ended = world.run("pick")
    assert (ended.code, ended.outputs) == (0, {"label": LABEL, "slug": SLUG})
    assert ended.said == f"pick: {SLUG} on the runner {LABEL}.\n"


def test_a_card_or_a_reason_that_is_none_is_not_picked(world: World) -> None:
    for variables in (
        {"CARD": LABEL},
        {"CARD": LABEL, "REASON": ""},
        {"REASON": "why"},
        {"CARD": "x", "REASON": "why"},
    ):
        for name in ("CARD", "REASON"):
            world.environment.pop(name, None)
        world.environment |= variables
        ended = world.run("pick")
        assert (ended.code, ended.outputs) == (2, {})


# The pull request of a branch that was started by hand


def test_a_branchs_pull_request_is_asked_for_by_its_owner_and_name_among_the_open_ones(
    world: World, server: Server
) -> None:
    pulls = f"GET /repos/{REPOSITORY}/pulls"
    server.answers[pulls] = Answer(body=[])
    for kind, branch, asked in (("workflow_dispatch", "change", 1), ("workflow_dispatch", "main", 0), ("push", "x", 0)):
        server.asked.clear()
        world.event(kind)
        world.environment |= {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": "token", "GITHUB_REF_NAME": branch}
        assert number_of(read_event(world.environment), from_environment(world.environment)) is None
        assert [f"{found.method} {found.path}" for found in server.asked] == [pulls] * asked
        if asked:
            owner = REPOSITORY.partition("/")[0]
            query = server.asked[0].query
            assert (query["state"], query["head"]) == ("open", f"{owner}:change")
