"""What judges what: the base by git, the things that judge and were edited, and the cards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from github_world import KERNEL, LABEL, PROJECT_FILE, SLUG, Ended, World, edit, git
from perfgate.config import Runner, picked, runners
from perfgate.github.plan import edits, from_outputs
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

NEW_KERNEL = {"kernels/matmul.py": KERNEL.replace("pass", "return")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World.begin(tmp_path / "repository")


def _plan(world: World, kind: str, *, branch: str = "", **group: str) -> Ended:
    if not (world.root / "candidate").exists():
        world.checked_out()
    world.event(kind)
    world.environment |= {"GITHUB_REF_NAME": branch} if branch else {}
    edit(world.root.parent / "event.json", lambda payload: payload.get("merge_group", {}).update(group))
    return world.run("plan")


# Which commit judges


def test_a_pull_request_is_judged_by_the_branch_that_its_merge_commit_was_made_with(world: World) -> None:
    named = world.base
    world.base = world.commit({"kernels/matmul.py": KERNEL + "\n"})
    world.pull_request(NEW_KERNEL)
    moved, world.base = world.base, named  # the event names an older one
    ended = _plan(world, "pull_request")
    assert ended.said == f"plan: {world.candidate[:12]} is judged by {moved[:12]} on {SLUG}.\n"
    assert (ended.outputs["base"], ended.outputs["candidate"], ended.outputs["own"]) == (
        moved,
        world.candidate,
        "false",
    )


def test_an_edit_of_what_judges_is_said_and_has_its_own_gate_run_also_where_it_is_renamed(world: World) -> None:
    world.base = world.commit({"perfgate/config.py": "LIMIT = 1\n" * 50})
    world.pull_request({"perfgate/config.py": None, "elsewhere.py": "LIMIT = 1\n" * 50})
    ended = _plan(world, "pull_request")
    assert ended.outputs["own"] == "true"
    assert ended.said.splitlines()[1:] == [
        "plan: it edits what judges it, so its own gate runs too: the gate's code (perfgate/config.py).",
    ]


def test_what_has_no_merge_commit_is_judged_by_the_base_that_its_event_names(world: World) -> None:
    world.pull_request(NEW_KERNEL)
    assert _plan(world, "merge_group").outputs["base"] == world.base
    world.candidate = world.head
    outputs = _plan(world, "pull_request").outputs
    assert (world.base, world.head) == (outputs["base"], outputs["candidate"])


@pytest.mark.parametrize("kind", ["push", "schedule", "workflow_dispatch"])
def test_the_default_branch_and_what_was_pushed_are_judged_by_themselves(world: World, kind: str) -> None:
    ended = _plan(world, kind)
    assert ended.said == f"plan: {world.base[:12]} is judged by itself on {SLUG}.\n"
    assert ended.outputs["base"] == ended.outputs["candidate"] == world.base
    if kind != "workflow_dispatch":
        assert _plan(world, kind, branch="change").outputs["base"] == world.base


def test_a_branch_that_was_started_by_hand_is_judged_by_where_it_left_the_default_branch(world: World) -> None:
    git(world.root, "checkout", "-q", "-b", "baselines/new")
    world.candidate = world.commit({"baselines/x/matmul.json": "{}"})
    git(world.root, "checkout", "-q", "main")
    outputs = _plan(world, "workflow_dispatch", branch="baselines/new").outputs
    assert (world.base, "true") == (outputs["base"], outputs["own"])
    git(world.root / "candidate", "remote", "remove", "origin")  # which no other event needs
    assert _plan(world, "push").outputs["base"] == world.candidate
    ended = _plan(world, "workflow_dispatch", branch="change")
    said = f"{world.candidate} has no common commit with origin/main; fetch the whole history."
    assert (ended.code, ended.outputs, ended.errors) == (2, {}, f"INVALID no-commit: {said}\n")


@pytest.mark.parametrize(
    ("kind", "group", "said"),
    [
        ("merge_group", {"head_sha": "d" * 40}, "INVALID no-commit: git cannot compare {base} with " + "d" * 40),
        ("merge_group", {"base_sha": "d" * 40}, f"INVALID no-commit: git does not have {'d' * 40} here, expected it;"),
        ("pull_request", {}, "INVALID no-commit: {candidate} merges {head}, expected the pull request's {base};"),
    ],
    ids=["a candidate that the clone lacks", "a base that it lacks", "a merge commit of another head"],
)
def test_commits_that_do_not_go_together_are_refused(world: World, kind: str, group: dict[str, str], said: str) -> None:
    world.pull_request(NEW_KERNEL)
    names = {"base": world.base, "candidate": world.candidate, "head": world.head}
    if kind == "pull_request":
        world.head = world.base
    ended = _plan(world, kind, **group)
    assert (ended.code, ended.errors.startswith(said.format(**names))) == (2, True), ended.errors


def test_a_change_that_removes_the_projects_settings_is_refused(world: World) -> None:
    world.pull_request({"pyproject.toml": None})
    ended = _plan(world, "pull_request")
    said = f"INVALID no-project: Commit {world.candidate} has no pyproject.toml"
    assert (ended.code, ended.errors.startswith(said)) == (2, True)


# What it leaves for later jobs


def test_a_plan_comes_back_from_its_outputs_and_a_broken_one_is_refused(world: World) -> None:
    world.pull_request({"baselines/x/a.json": "{}"})
    outputs = _plan(world, "pull_request").outputs
    assert from_outputs(outputs).outputs() == outputs
    broken: list[dict[str, Any]] = [
        *({name: value for name, value in outputs.items() if name != key} for key in outputs.keys() - {"own"}),
        *(outputs | {"cards": cards} for cards in ("[1]", "{", "", '[{"label": "a"}]')),
    ]
    for one in broken:
        with pytest.raises(GateError) as caught:
            from_outputs(one)
        assert caught.value.reason == "no-plan"


@pytest.mark.parametrize(("count", "code"), [(8, 0), (9, 2)])
def test_more_cards_than_the_workflow_has_outputs_for_are_refused(world: World, count: int, code: int) -> None:
    more = "".join(f'card-{n} = "card-{n}"\n' for n in range(count - 1))
    world.candidate = world.head = world.base = world.commit({"pyproject.toml": f"{PROJECT_FILE}{more}"})
    ended = _plan(world, "push")
    assert (ended.code, "too-many-cards" in ended.errors) == (code, bool(code))


CARDS = "[tool.perfgate.cards]\n"


@pytest.mark.parametrize(
    "table",
    [
        *("", CARDS, '[tool.perfgate]\ncards = "rtx"\n', f"{CARDS}a = 4090\n", f'{CARDS}a = "x"\nb = "x"\n'),
        *(f'{CARDS}a = "{name}"\n' for name in ("NVIDIA GeForce", "", "../x", "a\\nb=c")),
        f'{CARDS}"A B" = "x"\n',
    ],
)
def test_a_list_of_cards_that_is_none_is_refused(table: str) -> None:
    with pytest.raises(GateError) as caught:
        runners(table)
    assert caught.value.reason == "no-cards"


def test_a_second_card_is_one_line_and_one_that_is_not_listed_is_refused() -> None:
    text = f'{PROJECT_FILE}h200 = "nvidia-h200"\n'
    assert runners(text) == (Runner(label=LABEL, slug=SLUG), Runner(label="h200", slug="nvidia-h200"))
    with pytest.raises(GateError) as caught:
        picked("rtx-5090" + "x" * 90, text)
    said = f"The card 'rtx-5090{'x' * 56}' is not in [tool.perfgate.cards], expected one of h100, h200."
    assert (caught.value.reason, caught.value.text) == ("no-cards", said)


# What judges and was edited


def test_all_that_judges_is_named_once_in_order_and_the_gates_code_in_a_few_words() -> None:
    after = PROJECT_FILE.replace(f"{LABEL} =", "b =") + 'z = "z"\n[tool.perfgate.limits]\na.b = 1\n'
    paths = ["perfgate/b.py", "perf_tests/c.py", "perfgate/a.py", "baselines/y.json", "baselines/x.json", "docs/x.json"]
    assert edits([*paths, *paths, ".github/workflows/x.yml"], PROJECT_FILE, after) == (
        "baselines/x.json",
        "baselines/y.json",
        f"cards.b (default → {SLUG})",
        f"cards.{LABEL} ({SLUG} → default)",
        "cards.z (default → z)",
        "limits.a.b (default → 1)",
        "the gate's code (perf_tests/c.py and 2 more)",
        ".github/workflows/x.yml",
    )


@pytest.mark.parametrize(
    ("path", "named"),
    [
        *((path, path) for path in (f"baselines/{SLUG}/matmul.json", "baselines/sm_89/compiled.json")),
        *(
            (path, path)
            for path in (".github/actions/x/action.yml", ".github/CODEOWNERS", ".github/workflows/perf.yml")
        ),
        *((path, f"the gate's code ({path})") for path in ("perfgate/x.py", "perf_tests/cases.py", "noxfile.py")),
        *((path, "") for path in ("kernels/matmul.py", "README.md", "baselines/README.md", "tests/test_x.py")),
        *((path, "") for path in (f"baselines/{SLUG}/calibration-quick.md", ".github/RUNNER.md")),
    ],
)
def test_what_judges_is_named_when_it_is_edited_and_nothing_else_is(path: str, named: str) -> None:
    assert edits([path, "kernels/matmul.py"], PROJECT_FILE, PROJECT_FILE) == ((named,) if named else ())


PROJECT = """
[build-system]
requires = ["hatchling"]
[project]
name = "x"
[dependency-groups]
gate = ["torch==2.14.1", "triton==3.8.0", "pytest==9.2.0", { include-group = "doctor" }]
doctor = ["nvidia-ml-py==13.615.71"]
[tool.perfgate]
kernel = "a.py"
[tool.pytest.ini_options]
addopts = ["-ra"]
[tool.ruff]
line-length = 120
"""
LIMIT = "[tool.perfgate.limits]\nmissed = 0.1\n"


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("[tool.ruff]", f"{LIMIT}[tool.ruff]", ("limits.missed (default → 0.1)",)),
        ('kernel = "a.py"', 'kernel = "b.py"', ("kernel (a.py → b.py)",)),
        ("torch==2.14.1", "torch==2.15.0+cu130", ()),
        ("triton==3.8.0", "triton==3.9.0.post1", ()),
        ("line-length = 120", "line-length = 99", ()),
        ('name = "x"', 'name = "y"', ()),
        ("pytest==9.2.0", "pytest==9.3.0", ("dependency-groups.gate (pytest==9.2.0 → pytest==9.3.0)",)),
        ("triton==3.8.0", "triton>=3", ("dependency-groups.gate (nothing → triton>=3)",)),
        ("torch==2.14.1", "torch", ("dependency-groups.gate (nothing → torch)",)),
        (
            "torch==2.14.1",
            "torch @ https://evil.example/torch.whl",
            ("dependency-groups.gate (nothing → torch @ https://evil.example/torch.whl)",),
        ),
        ('"pytest==9.2.0"', '"pytest==9.2.0", "hook"', ("dependency-groups.gate (nothing → hook)",)),
        ("doctor = [", 'more = ["x"]\ndoctor = [', ("dependency-groups.more (nothing → x)",)),
        ("hatchling", "evil", ("build-system",)),
        ('name = "x"', 'name = "x"\ndependencies = ["hook"]', ("project.dependencies (nothing → hook)",)),
        ("[tool.ruff]", '[project.optional-dependencies]\na = ["b"]\n[tool.ruff]', ("project.optional-dependencies",)),
        ("[tool.ruff]", '[project.entry-points.pytest11]\na = "b"\n[tool.ruff]', ("project.entry-points",)),
        ('["-ra"]', '["-p", "hook"]', ("tool.pytest",)),
        ("[tool.ruff]", '[tool.uv]\nindex-url = "https://evil.example"\n[tool.ruff]', ("tool.uv",)),
        ("[tool.ruff]", '[tool.pip]\nextra = "x"\n[tool.ruff]', ("tool.pip",)),
        ("[tool.pytest.ini_options]", "[tool.mypy]", ("tool.pytest",)),
    ],
)
def test_settings_requirements_and_tools_that_install_or_test_are_named_but_exact_pins_of_torch_and_triton(
    old: str, new: str, named: tuple[str, ...]
) -> None:
    assert old in PROJECT
    assert edits(["pyproject.toml"], PROJECT, PROJECT.replace(old, new)) == named


@pytest.mark.parametrize(
    ("table", "named"), [("tool = 3", ()), ("[tool]\nperfgate = 3", ("tool.perfgate (default → 3)",))]
)
def test_settings_that_are_no_table_are_no_crash(table: str, named: tuple[str, ...]) -> None:
    assert edits([], "", table) == named


@pytest.mark.parametrize(("texts", "whose"), [(("[tool", PROJECT_FILE), "base"), ((PROJECT_FILE, "[tool"), "change")])
def test_a_project_file_that_is_no_toml_is_refused(texts: tuple[str, str], whose: str) -> None:
    with pytest.raises(GateError, match=f"pyproject.toml of the {whose} is not valid TOML") as caught:
        edits([], *texts)
    assert caught.value.reason == "bad-settings"
