"""What is asked of GitHub about a pull request: whether its label counts, whether its verdict stands, which check runs again."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from github_support import Answer, Server, serving
from github_world import KERNEL, REPOSITORY, Ended, World, git
from perfgate.github.api import Api, from_environment
from perfgate.github.conclusion import LABEL
from perfgate.github.event import Event, read_event
from perfgate.github.pulls import Label, label_of, number_of
from perfgate.records import GateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT = f"/repos/{REPOSITORY}"
RUNS = f"GET {AT}/actions/workflows/perf.yml/runs"
EVENTS = f"GET {AT}/issues/7/events"
HEAD, GROUP = "a" * 40, "b" * 40
TITLE, BASE = {"title": {"from": "x"}}, {"base": {"ref": {"from": "old"}, "sha": {"from": "a" * 40}}}
NEW_KERNEL = {"kernels/matmul.py": KERNEL.replace("pass", "return")}
STARTED = 10


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


@pytest.fixture
def world(tmp_path: Path, server: Server) -> World:
    made = World.begin(tmp_path / "repository")
    _event(made, server)
    return made


def _event(world: World, server: Server, kind: str = "pull_request", **event: Any) -> None:
    world.event(kind, **event)
    world.environment |= {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": "token"}


def _at(second: int) -> str:
    return f"2026-03-01T10:00:{second:02}Z"


def _run(server: Server, number: int, *ends: str | None, head: str = HEAD, plan: str = "success", **more: Any) -> Any:
    """A run that began at the second of its number: `perf` ended so, attempt by attempt; without an end it had no job."""
    jobs = [{"id": 1, "name": "plan", "conclusion": plan, "run_attempt": 1}] if ends else []
    jobs += [{"id": 30 + k, "name": "perf", "conclusion": end, "run_attempt": k} for k, end in enumerate(ends, 1)]
    server.answers[f"GET {AT}/actions/runs/{number}/jobs"] = Answer(body={"jobs": jobs})
    run = {"id": number, "head_sha": head, "event": "pull_request", "status": "completed"}
    return run | {"created_at": _at(number % 60), "run_started_at": _at(1)} | more


def _knows(server: Server, *runs: Any, events: Any = ()) -> None:
    server.answers |= {RUNS: Answer(body={"workflow_runs": list(runs)}), EVENTS: Answer(body=list(events))}


def _asked(server: Server) -> list[str]:
    return [f"{asked.method} {asked.path}" for asked in server.asked]


# The label that excuses a change

PULL = Event(
    kind="pull_request",
    repository=REPOSITORY,
    candidate=GROUP,
    head=HEAD,
    base="c" * 40,
    default_branch="main",
    branch="change",
    target="main",
    number=7,
    labels=(LABEL,),
)


def _happened(second: int, event: str = "labeled", name: str = LABEL, who: object = None) -> dict[str, Any]:
    actor = {"login": "kim"} if who is None else who
    return {"event": event, "created_at": _at(second), "actor": actor, "label": {"name": name}}


def _label(server: Server, *events: dict[str, Any], event: Event = PULL) -> Label:
    if RUNS not in server.answers:
        _knows(server, _run(server, STARTED, "success"))
    server.answers[EVENTS] = Answer(body=list(events))
    return label_of(event, Api(url=server.url, repository=REPOSITORY))


def test_a_label_that_was_set_after_the_commit_came_counts_and_says_who_set_it_and_when(server: Server) -> None:
    said = f"The label {LABEL} was set by kim at 2026-03-01 10:00:11 UTC."
    assert _label(server, _happened(11)) == Label(counts=True, text=said)
    again = (_happened(3), _happened(12, "unlabeled"), _happened(13, who={"login": "ada"}))
    assert _label(server, *again).text.startswith(f"The label {LABEL} was set by ada at 2026-03-01 10:00:13")


@pytest.mark.parametrize("second", [3, 10])
def test_a_label_that_outlived_the_commit_it_was_set_for_does_not_count_and_says_what_to_do(
    server: Server, second: int
) -> None:
    assert _label(server, _happened(second)) == Label(
        counts=False,
        text=f"The label {LABEL} was set by kim at 2026-03-01 10:00:{second:02} UTC, before this commit was there to be "
        "judged (2026-03-01 10:00:10 UTC), so it does not count: set it again if it is meant.",
    )


@pytest.mark.parametrize(
    "events",
    [(), (_happened(11), _happened(12, "unlabeled")), (_happened(11, name="docs"),), (_happened(11, "renamed"),)],
)
def test_a_label_that_is_not_set_now_counts_for_nothing_whatever_the_event_held(
    server: Server, events: tuple[dict[str, Any], ...]
) -> None:
    assert _label(server, *events) == Label(counts=False)


def test_the_newest_run_that_judged_that_commit_says_when_it_came(server: Server) -> None:
    known = [_run(server, 10, "success"), _run(server, 20, "success"), _run(server, 50, "success", head="d" * 40)]
    _knows(server, *known, _run(server, 30, "success", plan="skipped"))  # of an edited title
    assert (_label(server, _happened(15)).counts, _label(server, _happened(21)).counts) == (False, True)
    _knows(server)
    found = _label(server, _happened(11))
    assert (found.counts, "cannot be told" in found.text) == (False, True)


@pytest.mark.parametrize(
    ("who", "shown"),
    [({"login": "::error::x\n"}, "::error::x?"), ({}, "somebody whom GitHub does not name"), (3, "somebody whom")],
)
def test_whoever_set_it_is_shown_on_one_line(server: Server, who: object, shown: str) -> None:
    assert f"was set by {shown}" in _label(server, _happened(11, who=who)).text


def test_a_merge_groups_label_has_to_be_set_after_its_pull_requests_own_commit_came(server: Server) -> None:
    group = dataclasses.replace(PULL, kind="merge_group", head=GROUP)
    server.answers[f"GET {AT}/pulls/7"] = Answer(body={"number": 7, "head": {"sha": HEAD}})
    assert [_label(server, _happened(second), event=group).counts for second in (11, 9)] == [True, False]
    server.answers[f"GET {AT}/pulls/7"] = Answer(body={"number": 7})
    with pytest.raises(GateError):
        _label(server, _happened(11), event=group)


PROPOSED = dataclasses.replace(
    PULL, kind="workflow_dispatch", number=None, branch="baselines/h100-1", target="baselines/h100-1", labels=()
)


@pytest.mark.parametrize(
    ("pushed", "after", "counts"), [(5, HEAD, True), (11, HEAD, True), (12, HEAD, False), (5, "d" * 40, False)]
)
def test_a_branch_that_was_started_by_hand_has_its_label_compared_with_its_push(
    server: Server, pushed: int, after: str, *, counts: bool
) -> None:
    server.answers[f"GET {AT}/pulls"] = Answer(body=[{"number": 7, "head": {"sha": HEAD}}])
    push = {"after": after, "timestamp": _at(pushed), "activity_type": "branch_creation"}
    server.answers[f"GET {AT}/activity"] = Answer(body=[push, push | {"timestamp": _at(1)}])
    assert (
        _label(server, _happened(11), event=PROPOSED).counts is counts
    )  # a workflow labels within a second of its push
    assert next(a for a in server.asked if a.path.endswith("/activity")).query["ref"] == "refs/heads/baselines/h100-1"


def test_what_has_no_pull_request_has_no_label(server: Server) -> None:
    server.answers[f"GET {AT}/pulls"] = Answer(body=[])
    push = dataclasses.replace(PULL, kind="push", number=None, branch="main")
    assert [_label(server, event=event) for event in (PROPOSED, push)] == [Label(counts=False)] * 2


@pytest.mark.parametrize("path", [EVENTS, RUNS])
def test_a_question_that_github_does_not_answer_is_an_error_and_no_label(server: Server, path: str) -> None:
    _label(server, _happened(11))
    server.answers[path] = Answer(status=403, body={"message": "no"})
    with pytest.raises(GateError, match="403"):
        label_of(PULL, Api(url=server.url, repository=REPOSITORY))


@pytest.mark.parametrize(("kind", "branch", "asked"), [("workflow_dispatch", "change", 1), ("push", "x", 0)])
def test_a_branchs_pull_request_is_asked_for_by_its_owner_and_name_among_the_open_ones(
    world: World, server: Server, kind: str, branch: str, asked: int
) -> None:
    server.answers[f"GET {AT}/pulls"] = Answer(body=[])
    _event(world, server, kind)
    world.environment["GITHUB_REF_NAME"] = branch
    assert number_of(read_event(world.environment), from_environment(world.environment)) is None
    assert _asked(server) == [f"GET {AT}/pulls"] * asked
    found = [(one.query["state"], one.query["head"]) for one in server.asked]
    assert found == [("open", f"{REPOSITORY.partition('/')[0]}:change")] * asked


@pytest.mark.parametrize(
    ("events", "code", "said"),
    [
        ([_happened(9), _happened(50)], 0, "was set by kim at 2026-03-01 10:00:50 UTC"),
        ([_happened(9)], 1, "before this commit was there to be judged"),
        ([_happened(50), _happened(51, "unlabeled")], 1, "regression"),
    ],
)
def test_the_check_takes_the_label_as_it_is_now_for_this_commit_and_says_who_set_it(
    world: World, server: Server, events: list[Any], code: int, said: str
) -> None:
    world.pull_request({"baselines/x/matmul.json": "{}"})
    world.leave(world.measured(scale={"k1_sq4096": 1.03}))
    world.leave(world.measured(), own=True)
    _event(world, server, labels=[LABEL])
    _knows(server, _run(server, STARTED, "failure", head=world.head), events=events)
    ended = world.check(measure="failure")
    assert (ended.code, said in ended.summary) == (code, True), ended.said + ended.errors


# The verdict that stands, after an edit of a title


def _edited(world: World, server: Server, *runs: Any, moved: int | None = None, **event: Any) -> Ended:
    """The job `perf` of an edited title: every job before it was skipped, and GitHub knows these runs."""
    _event(world, server, **({"action": "edited", "changes": TITLE} | event))
    skipped = {name: {"result": "skipped", "outputs": {}} for name in ("plan", "approve", "admit", "measure")}
    world.environment["NEEDS"] = str(skipped).replace("'", '"')
    happened = [{"event": "renamed", "created_at": _at(59)}]
    happened += [{"event": "base_ref_changed", "created_at": _at(moved)}] if moved is not None else []
    own = _run(server, 42, None, head=world.head, plan="skipped", status="in_progress")
    _knows(server, own, *runs, events=happened)
    return world.run("check", "results")


@pytest.mark.parametrize(("end", "code"), [("success", 0), ("failure", 2), ("cancelled", 2), ("skipped", 2), (None, 2)])
def test_an_edited_title_repeats_how_the_run_that_judged_this_commit_ended(
    world: World, server: Server, end: str | None, code: int
) -> None:
    ended = _edited(world, server, _run(server, STARTED, end, head=world.head))
    said = f"Nothing that is judged was edited: the job perf of run {STARTED} ended as {end}.\n"
    assert (ended.code, ended.errors, ended.said, ended.summary) == (code, "", f"check: {said}", said)
    assert not (world.root / "report.json").exists()


def test_the_newest_attempt_of_the_newest_run_that_judged_counts(world: World, server: Server) -> None:
    old = _run(server, 10, "success", head=world.head)
    new = _run(server, 20, "success", "failure", head=world.head)
    title = _run(server, 30, "success", head=world.head, plan="skipped")
    replaced = _run(server, 31, head=world.head, conclusion="cancelled")
    assert "run 20 ended as failure" in _edited(world, server, old, title, new, replaced).said


@pytest.mark.parametrize(
    "other",
    [{"head": "f" * 40}, {"event": "push"}, {"event": "merge_group"}, {"plan": "skipped"}, None, {"ends": ()}],
    ids=["of another commit", "of a push", "of a queue", "that repeated", "none", "replaced"],
)
def test_a_commit_that_no_run_judged_is_red(world: World, server: Server, other: dict[str, Any] | None) -> None:
    given = {"head": world.head, "ends": ("success",)} | (other or {})
    runs = [_run(server, STARTED, *given.pop("ends"), **given)] if other is not None else []
    ended = _edited(world, server, *runs)
    assert ended.code == 2
    assert ended.summary == f"No run of perf.yml has judged {world.head[:12]}; push, or close and reopen #7.\n"


@pytest.mark.parametrize(("fork", "code"), [(False, 0), (True, 2)])
def test_a_run_that_was_started_by_hand_counts_where_the_default_branch_judges_it_too(
    world: World, server: Server, *, fork: bool, code: int
) -> None:
    by_hand = _run(server, STARTED, "success", head=world.head, event="workflow_dispatch")
    assert _edited(world, server, by_hand, fork=fork).code == code


@pytest.mark.parametrize(("moved", "code"), [(STARTED - 1, 0), (STARTED, 2), (STARTED + 1, 2)])
def test_a_verdict_of_another_branch_is_not_repeated_and_the_same_second_is_taken_for_after(
    world: World, server: Server, moved: int, code: int
) -> None:
    ended = _edited(world, server, _run(server, STARTED, "success", head=world.head), moved=moved)
    assert ended.code == code
    assert ("#7 goes into another branch than run 10 judged it for; push, or close" in ended.summary) == bool(code)


def test_a_run_that_is_under_way_is_no_verdict_yet(world: World, server: Server) -> None:
    ended = _edited(world, server, _run(server, STARTED, "success", None, head=world.head, status="queued"))
    assert (ended.code, "is not there yet; run this again after it" in ended.summary) == (2, True)


@pytest.mark.parametrize("answer", [Answer(status=403, body={"message": "no"}), Answer(body=7)])
@pytest.mark.parametrize("broken", [RUNS, EVENTS, f"GET {AT}/actions/runs/10/jobs"])
def test_what_github_does_not_answer_is_red(world: World, server: Server, broken: str, answer: Answer) -> None:
    assert _edited(world, server, _run(server, STARTED, "success", head=world.head)).code == 0
    server.answers[broken] = answer
    ended = world.run("check", "results")
    assert (ended.code, ended.errors.startswith("INVALID github-api: ")) == (2, True)


# Another branch


@pytest.mark.parametrize(("action", "changes"), [("edited", BASE), ("edited", BASE | TITLE), ("reopened", None)])
def test_another_branch_is_judged_whatever_an_earlier_run_said(
    world: World, server: Server, action: str, changes: dict[str, Any] | None
) -> None:
    world.pull_request(NEW_KERNEL)
    world.leave(world.measured(scale={"k1_sq4096": 1.06}))
    judged = _run(server, STARTED, "success", head=world.head)
    assert "job plan is skipped" in _edited(world, server, judged, action=action, changes=changes).summary
    assert world.check(measure="failure").code == 1


def test_a_merge_commit_with_the_old_branch_judges_nothing(world: World) -> None:
    world.pull_request(NEW_KERNEL)
    git(world.root, "checkout", "-q", "-b", "release", "main")
    world.base = world.commit({"release.md": "x"})
    git(world.root, "checkout", "-q", "main")
    world.checked_out()
    world.event("pull_request", action="edited", changes=BASE)
    ended = world.run("plan")
    assert (ended.code, "INVALID no-commit: " in ended.errors, "close and reopen it" in ended.errors) == (2, True, True)
    world.base = git(world.root, "rev-parse", "main")
    world.event("pull_request", action="edited", changes=BASE)
    assert world.run("plan").outputs["base"] == world.base


@pytest.mark.parametrize("kind", ["base_ref_changed", "automatic_base_change_succeeded"])
@pytest.mark.parametrize(("moved", "code"), [(STARTED - 1, 0), (STARTED + 1, 2), (None, 2)])
def test_a_run_that_is_run_again_after_the_branch_changed_is_red(
    world: World, server: Server, kind: str, moved: int | None, code: int
) -> None:
    world.pull_request(NEW_KERNEL)
    _event(world, server)
    world.environment["GITHUB_RUN_ATTEMPT"] = "2"
    world.leave(world.measured())
    server.answers[f"GET {AT}/actions/runs/42"] = Answer(body={"id": 42, "created_at": _at(STARTED)})
    if moved is not None:  # else GitHub does not answer
        server.answers[EVENTS] = Answer(body=[{"event": kind, "created_at": _at(moved)}])
    ended = world.check()
    assert ended.code == code, ended.said
    sent = "7 went into main when this run began and was sent into another" in ended.summary
    assert sent == (bool(code) and moved is not None)


# The check, run again where the label was set or taken away

RERUN = f"POST {AT}/actions/jobs/31/rerun"


def _labelled(world: World, server: Server, *runs: Any, fork: bool = False) -> Ended:
    _event(world, server, labels=[LABEL], action="labeled", fork=fork)
    server.answers[RERUN] = Answer(body={}, status=201)
    _knows(server, *runs)
    return world.run("recheck")


def test_the_label_runs_the_required_check_of_the_newest_run_that_judged_that_commit_again(
    world: World, server: Server
) -> None:
    head = world.head
    ended = _labelled(
        world,
        server,
        {"id": 6, "head_sha": head, "event": "pull_request", "status": "completed"},
        _run(server, 8, "failure", head=head),
        _run(server, 9, "failure", head="f" * 40),
        _run(server, 10, "success", head=head, plan="skipped"),  # newer, and repeated a verdict
        _run(server, 11, head=head, conclusion="cancelled"),  # newer, and was replaced before it began
        _run(server, 12, "success", head=head, event="workflow_dispatch"),
    )
    assert (ended.code, ended.said) == (0, f"recheck: The job perf of {head[:12]} runs again and reads the label.\n")
    assert _asked(server) == [RUNS, *(f"GET {AT}/actions/runs/{number}/jobs" for number in (11, 10, 8)), RERUN]
    assert server.asked[0].query == {"head_sha": head, "per_page": "100", "page": "1"}
    assert server.asked[3].query == {"filter": "all", "per_page": "100", "page": "1"}


@pytest.mark.parametrize(
    ("status", "fork", "said"),
    [
        ("in_progress", False, "perf.yml is running for {}; its job perf will read the label."),
        ("", False, "perf.yml has not run for {} yet; its job perf will read the label."),
        ("completed", True, "#7 comes from a fork: a maintainer runs the job perf again on its page."),
    ],
)
def test_where_no_check_is_run_again_it_is_said_why(
    world: World, server: Server, status: str, *, fork: bool, said: str
) -> None:
    runs = [_run(server, 8, "failure", head=world.head, status=status)] if status else []
    ended = _labelled(world, server, *runs, fork=fork)
    assert (ended.code, ended.said) == (0, f"recheck: {said.format(world.head[:12])}\n")
    assert server.written() == []


PLAN = {"id": 1, "name": "plan"}
NO_LISTS: list[Any] = [7, {"workflow_runs": {}}, {"workflow_runs": [1]}, {"workflow_runs": None}]
NO_ID = "INVALID github-api: GitHub's answer has an entry without an id, expected a number"
ANSWERS: dict[str, tuple[str, Answer, str]] = {
    **{
        f"jobs {names}": (
            f"GET {AT}/actions/runs/8/jobs",
            Answer(body={"jobs": [PLAN, *({"id": 31, "name": "perf"} for _ in range(names))]}),
            "INVALID github-api: The run 8 has not one job named perf, expected one;",
        )
        for names in (0, 2)
    },
    **{
        f"a number {number}": (
            f"GET {AT}/actions/runs/8/jobs",
            Answer(body={"jobs": [PLAN, {"id": number, "name": "perf"}]}),
            NO_ID,
        )
        for number in (None, "8", True, 8.0)
    },
    **{
        f"runs {answer}": (
            RUNS,
            Answer(body=answer),
            "perf.yml/runs was answered something else than a list of objects",
        )
        for answer in NO_LISTS
    },
}


@pytest.mark.parametrize(("where", "answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_none_is_refused_and_nothing_run_again(
    world: World, server: Server, where: str, answer: Answer, said: str
) -> None:
    _labelled(world, server, _run(server, 8, "failure", head=world.head))
    server.asked.clear()
    server.answers[where] = answer
    ended = world.run("recheck")
    assert (ended.code, said in ended.errors, server.written()) == (2, True, [])


def test_the_check_of_the_newest_attempt_is_run_again_and_a_refusal_is_said(world: World, server: Server) -> None:
    server.answers[RERUN.replace("31", "33")] = Answer(body={}, status=201)
    assert _labelled(world, server, _run(server, 8, "failure", "failure", "failure", head=world.head)).code == 0
    server.answers[RERUN.replace("31", "33")] = Answer(body={"message": "Resource not accessible"}, status=403)
    ended = world.run("recheck")
    assert (ended.code, "403" in ended.errors) == (2, True)
