"""What judges what: the base by git, the things that judge, and the cards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from github_world import KERNEL, LABEL, PROJECT_FILE, SLUG, World, git
from perfgate.github.changes import edits
from perfgate.github.plan import from_outputs
from perfgate.records import GateError
from perfgate.runners import Runner, picked, runners

if TYPE_CHECKING:
    from pathlib import Path

_FASTER = KERNEL.replace("pass", "return")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _planned(world: World, kind: str) -> dict[str, str]:
    world.checked_out()
    world.event(kind)
    ended = world.run("plan")
    assert ended.code == 0, ended.errors
    return ended.outputs


def test_a_pull_request_is_judged_by_the_branch_that_its_merge_commit_was_made_with(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    outputs = _planned(world, "pull_request")
    assert (world.base, world.candidate, "false") == (outputs["base"], outputs["candidate"], outputs["own"])


def test_a_base_that_moved_on_since_the_event_named_it_judges_as_it_is_now(world: World) -> None:
    named = world.base
    world.base = world.commit({"kernels/matmul.py": KERNEL + "\n"})
    world.pull_request({"new.md": "x"})
    moved, world.base = world.base, named
    assert _planned(world, "pull_request")["base"] == moved


def test_a_merge_commit_of_another_head_is_refused(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.checked_out()
    merged, world.head = world.head, world.base
    world.event("pull_request")
    ended = world.run("plan")
    assert ended.code == 2
    assert ended.errors.startswith(
        f"INVALID no-commit: {world.candidate} merges {merged}, expected the pull request's {world.base};"
    )


def test_a_merge_group_is_judged_by_the_base_that_its_event_names(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    assert _planned(world, "merge_group")["base"] == world.base


@pytest.mark.parametrize("kind", ["push", "schedule", "workflow_dispatch"])
def test_the_default_branch_is_judged_by_itself(world: World, kind: str) -> None:
    outputs = _planned(world, kind)
    assert outputs["base"] == outputs["candidate"] == world.base


def test_a_branch_that_was_started_by_hand_is_judged_by_where_it_left_the_default_branch(world: World) -> None:
    git(world.root, "checkout", "-q", "-b", "baselines/new")
    world.candidate = world.commit({"baselines/x/matmul.json": "{}"})
    git(world.root, "checkout", "-q", "main")
    world.checked_out()
    world.event("workflow_dispatch")
    world.environment["GITHUB_REF_NAME"] = "baselines/new"
    outputs = world.run("plan").outputs
    assert (world.base, "true") == (outputs["base"], outputs["own"])


def test_a_pull_request_without_a_merge_commit_is_judged_by_the_base_that_its_event_names(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.candidate = world.head
    outputs = _planned(world, "pull_request")
    assert (world.base, world.head) == (outputs["base"], outputs["candidate"])


def test_a_branch_that_was_pushed_is_judged_by_itself_whichever_it_is(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.checked_out()
    for kind in ("push", "schedule"):
        world.event(kind)
        world.environment["GITHUB_REF_NAME"] = "change"
        outputs = world.run("plan").outputs
        assert outputs["base"] == outputs["candidate"] == world.candidate


def test_only_a_branch_that_was_started_by_hand_needs_the_default_branch_in_the_clone(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.checked_out()
    git(world.root / "candidate", "remote", "remove", "origin")
    for kind in ("push", "schedule", "workflow_dispatch"):
        world.event(kind)
        assert world.run("plan").outputs["base"] == world.candidate
    world.environment["GITHUB_REF_NAME"] = "change"
    ended = world.run("plan")
    assert (ended.code, ended.outputs) == (2, {})
    assert ended.errors == (
        f"INVALID no-commit: {world.candidate} has no common commit with origin/main; fetch the whole history.\n"
    )


def test_a_candidate_that_the_clone_lacks_is_refused(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.checked_out()
    world.event("merge_group")
    payload = json.loads((world.root.parent / "event.json").read_text(encoding="utf-8"))
    payload["merge_group"]["head_sha"] = "d" * 40
    (world.root.parent / "event.json").write_text(json.dumps(payload), encoding="utf-8")
    ended = world.run("plan")
    assert ended.code == 2
    assert ended.errors.startswith(f"INVALID no-commit: git cannot compare {world.base} with {'d' * 40};")


def test_a_change_that_removes_the_projects_settings_is_refused(world: World) -> None:
    world.pull_request({"pyproject.toml": None})
    world.checked_out()
    world.event("pull_request")
    ended = world.run("plan")
    assert ended.code == 2
    assert ended.errors.startswith(f"INVALID no-project: Commit {world.candidate} has no pyproject.toml")


def test_a_shallow_clone_that_lacks_the_base_is_refused_in_one_sentence(world: World) -> None:
    world.pull_request({"kernels/matmul.py": _FASTER})
    world.checked_out()
    world.event("merge_group")
    payload = json.loads((world.root.parent / "event.json").read_text(encoding="utf-8"))
    payload["merge_group"]["base_sha"] = "d" * 40
    (world.root.parent / "event.json").write_text(json.dumps(payload), encoding="utf-8")
    ended = world.run("plan")
    assert ended.code == 2
    assert (
        ended.errors == f"INVALID no-commit: git does not have {'d' * 40} here, expected it; fetch the whole history.\n"
    )


@pytest.mark.parametrize(
    ("path", "named"),
    [
        (f"baselines/{SLUG}/matmul.json", f"baselines/{SLUG}/matmul.json"),
        ("baselines/sm_89/compiled.json", "baselines/sm_89/compiled.json"),
        ("perfgate/limits.py", "the gate's code (perfgate/limits.py)"),
        ("perf_tests/cases.py", "the gate's code (perf_tests/cases.py)"),
        ("noxfile.py", "the gate's code (noxfile.py)"),
        (".github/workflows/perf.yml", ".github/workflows/perf.yml"),
    ],
)
def test_what_judges_is_named_when_it_is_edited(path: str, named: str) -> None:
    assert edits([path, "kernels/matmul.py"], PROJECT_FILE, PROJECT_FILE) == (named,)


@pytest.mark.parametrize(
    "path",
    [
        "kernels/matmul.py",
        "README.md",
        "baselines/README.md",
        f"baselines/{SLUG}/calibration-quick.md",
        "tests/test_x.py",
    ],
)
def test_what_does_not_judge_is_not_named(path: str) -> None:
    assert edits([path], PROJECT_FILE, PROJECT_FILE) == ()


def test_a_limit_that_is_edited_is_named_with_both_values() -> None:
    loose = f"{PROJECT_FILE}\n[tool.perfgate.limits]\nagainst_tolerance = 0.05\n"
    assert edits(["pyproject.toml"], PROJECT_FILE, loose) == ("limits.against_tolerance (default → 0.05)",)
    assert edits(["pyproject.toml"], loose, PROJECT_FILE) == ("limits.against_tolerance (0.05 → default)",)


def test_another_setting_or_card_is_named_and_other_tools_settings_are_not() -> None:
    after = PROJECT_FILE.replace('kernel = "kernels/matmul.py"', 'kernel = "kernels/other.py"')
    assert edits([], PROJECT_FILE, after) == ("kernel (kernels/matmul.py → kernels/other.py)",)
    assert edits([], PROJECT_FILE, PROJECT_FILE + '[tool.ruff]\nselect = ["ALL"]\n') == ()


def test_a_project_file_that_is_no_toml_is_refused() -> None:
    for texts, whose in ((("[tool", PROJECT_FILE), "base"), ((PROJECT_FILE, "[tool"), "change")):
        with pytest.raises(GateError) as caught:
            edits([], *texts)
        assert caught.value.reason == "bad-settings"
        assert caught.value.text.startswith(f"pyproject.toml of the {whose} is not valid TOML")


def test_a_file_that_was_renamed_out_of_the_gate_counts_as_edited(world: World) -> None:
    world.base = world.commit({"perfgate/limits.py": "LIMIT = 1\n" * 50})
    world.pull_request({"perfgate/limits.py": None, "elsewhere.py": "LIMIT = 1\n" * 50})
    assert _planned(world, "pull_request")["own"] == "true"


def test_a_second_card_is_one_line() -> None:
    two = runners(f'{PROJECT_FILE}rtx-4090 = "nvidia-geforce-rtx-4090"\n')
    assert two == (Runner(label=LABEL, slug=SLUG), Runner(label="rtx-4090", slug="nvidia-geforce-rtx-4090"))


@pytest.mark.parametrize(
    "table",
    ["", "[tool.perfgate.cards]\n", '[tool.perfgate]\ncards = "rtx"\n', "[tool.perfgate.cards]\na = 4090\n"]
    + [f'[tool.perfgate.cards]\na = "{name}"\n' for name in ("NVIDIA GeForce", "", "../x", "a\\nb=c")]
    + ['[tool.perfgate.cards]\na = "x"\nb = "x"\n', '[tool.perfgate.cards]\n"A B" = "x"\n', "tool = 3\n"],
)
def test_a_list_of_cards_that_is_none_is_refused(table: str) -> None:
    with pytest.raises(GateError) as caught:
        runners(table)
    assert caught.value.reason == "no-cards"


def test_the_projects_own_list_names_the_4090() -> None:
    from pathlib import Path

    text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert picked("rtx-4090", text).slug == "nvidia-geforce-rtx-4090"


def test_a_runner_that_is_not_listed_is_refused() -> None:
    two = f'{PROJECT_FILE}h200 = "nvidia-h200"\n'
    with pytest.raises(GateError) as caught:
        picked("rtx-5090" + "x" * 90, two)
    assert caught.value.reason == "no-cards"
    shown = "rtx-5090" + "x" * 56
    assert caught.value.text == f"The card '{shown}' is not in [tool.perfgate.cards], expected one of h100, h200."


def test_a_plan_comes_back_from_its_outputs_and_a_broken_one_is_refused(world: World) -> None:
    world.pull_request({"baselines/x/a.json": "{}"})
    outputs = _planned(world, "pull_request")
    made = from_outputs(outputs)
    assert made.outputs() == outputs
    for key in outputs.keys() - {"own"}:
        with pytest.raises(GateError):
            from_outputs({name: value for name, value in outputs.items() if name != key})
    for broken in ("[1]", "{", "", '[{"label": "a"}]'):
        with pytest.raises(GateError) as caught:
            from_outputs(outputs | {"cards": broken})
        assert caught.value.reason == "no-plan"


@pytest.mark.parametrize(("count", "code"), [(8, 0), (9, 2)])
def test_more_cards_than_the_workflow_has_outputs_for_are_refused(world: World, count: int, code: int) -> None:
    more = "".join(f'card-{n} = "card-{n}"\n' for n in range(count - 1))
    world.candidate = world.head = world.base = world.commit({"pyproject.toml": f"{PROJECT_FILE}{more}"})
    world.event("push")
    world.checked_out()
    ended = world.run("plan")
    assert (ended.code, "too-many-cards" in ended.errors) == (code, bool(code))
