"""The workflows' commands: which there are, how many words each takes, and what the small ones say and leave.

What the large ones say is in the tests of their modules, and whole in ``tests/golden/expected/github-*.txt``.
"""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from github_world import LABEL, SLUG, World
from perfgate.github.__main__ import COMMANDS

NAMES = ["plan", "admit", "lay", "keep", "check", "show", "all", "pick", "recheck", "comment", "propose"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World.begin(tmp_path / "repository")
    made.event("push")
    return made


def test_the_commands_are_these_and_each_is_a_function() -> None:
    assert list(COMMANDS) == NAMES
    for place in COMMANDS.values():
        module, _, name = place.partition(".")
        assert callable(getattr(import_module(f"perfgate.github.{module}"), name))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *((name, 0) for name in ("plan", "admit", "all", "pick", "recheck", "comment")),
        *((name, 1) for name in ("lay", "check", "show")),
        ("keep", 2),
    ],
)
def test_a_command_takes_as_many_words_as_it_says(world: World, name: str, count: int) -> None:
    for given in {count + 1, max(count - 1, 0)} - {count}:
        ended = world.run(name, *("x" * given))
        said = f"INVALID bad-usage: {given} arguments were given, expected {count}; see python -m perfgate.github.\n"
        assert (ended.code, ended.said, ended.errors) == (2, "", said)


@pytest.mark.parametrize("words", [(), ("nothing",)])
def test_a_command_that_does_not_exist_is_refused_with_those_that_do(world: World, words: tuple[str, ...]) -> None:
    ended = world.run(*words)
    assert ended.code == 2
    assert ended.errors.startswith(f"INVALID bad-usage: expected one of {', '.join(NAMES)}.")
    assert "the one required check" in ended.errors


@pytest.mark.parametrize(("needs", "code"), [('{"a": {"result": "success"}}', 0), ("{}", 2)])
def test_the_program_takes_its_words_from_the_command_line_and_ends_as_the_command_does(needs: str, code: int) -> None:
    program = [sys.executable, "-m", "perfgate.github", "all"]
    root = Path(__file__).parents[2]
    done = subprocess.run(program, cwd=root, env={"NEEDS": needs}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (code, f"all: {'a' if not code else ''} succeeded.\n")


def test_a_folder_without_a_run_cannot_be_shown(world: World) -> None:
    ended = world.run("show", "nowhere")
    said = "INVALID no-results: nowhere has no run.json (No such file or directory), expected a run; see its log.\n"
    assert (ended.code, ended.errors) == (2, said)
    (world.root / "run.json").write_text("{", encoding="utf-8")
    assert world.run("show", ".").errors.startswith("INVALID not-json: ./run.json is not valid JSON")


@pytest.mark.parametrize(
    ("variables", "outputs"),
    [
        ({"CARD": LABEL, "REASON": "a faster loop"}, {"label": LABEL, "slug": SLUG}),
        ({"CARD": LABEL}, {}),
        ({"CARD": LABEL, "REASON": ""}, {}),
        ({"REASON": "why"}, {}),
        ({"CARD": "x", "REASON": "why"}, {}),
    ],
)
def test_the_runner_of_the_card_that_was_named_is_picked_for_a_reason(
    world: World, variables: dict[str, str], outputs: dict[str, str]
) -> None:
    world.environment |= variables
    ended = world.run("pick")
    assert (ended.code, ended.outputs) == (0 if outputs else 2, outputs)
    assert ended.said == (f"pick: {SLUG} on the runner {LABEL}.\n" if outputs else "")
