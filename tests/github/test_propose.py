"""New baselines as a pull request: its words, what is sent and in which order, a dry run, and what each failure leaves.

Whole bodies are in ``tests/golden/expected/github-propose.txt``.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from github_support import Answer, serving
from perfgate.github import api, propose
from perfgate.github.proposal import collect
from perfgate.github.propose import MOST_BODY, check_reason
from perfgate.records import GateError
from perfgate.store.compiled import read_compiled, write_compiled
from proposal_support import (
    ANCHOR,
    CARD,
    COMPILED,
    ENVIRONMENT_OF_A_JOB,
    REASON,
    TIMES,
    URL,
    GitHub,
    World,
    begin,
    facts,
    run,
    words,
)

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (ANCHOR, TIMES, COMPILED)
STEPS = ("git/blobs", "git/trees", "git/commits", "git/refs", "pulls", "issues/7/labels")
START = "actions/workflows/perf.yml/dispatches"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = begin(tmp_path)
    made.update(scale={"sq2048": 1.05})
    monkeypatch.chdir(made.root)
    return made


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    made = GitHub()
    monkeypatch.setattr(api, "from_environment", lambda _: made)
    return made


def _refused(world: World, capsys: pytest.CaptureFixture[str], *more: str, **environment: str) -> str:
    """The one sentence on the error stream of a run that ends with 2."""
    capsys.readouterr()
    assert run(world, *more, **environment) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err[:8], shown.err.count("\n")) == ("", "INVALID ", 1)
    return shown.err


# Its words.


def test_branch_title_and_message_name_card_day_run_and_reason(world: World) -> None:
    made = words(world)
    assert made.branch == f"baselines/{CARD}-2026-11-23-4711"
    assert made.title == f"Baselines of NVIDIA H100 80GB HBM3: {REASON}"
    assert made.message == f"{made.title}\n\n{REASON}\n"
    assert (made.base, made.label) == ("main", "baseline-change")
    long = f"{'why ' * 30}it is"
    found = collect(world.artifact, world.baselines, world.asked)
    cut = words(world, proposed=dataclasses.replace(found, asked=dataclasses.replace(found.asked, reason=long)))
    assert cut.title.partition(": ")[2] == f"{long[:59]}…"


@pytest.mark.parametrize("number", ["", "1/../x", "1 2", "x" * 41])
def test_a_run_without_a_plain_number_is_refused(world: World, number: str) -> None:
    with pytest.raises(GateError, match="expected GitHub's number"):
        words(world, run=number)


def test_a_file_that_could_not_be_read_before_is_said_to_be_replaced_and_is_no_first_baseline(world: World) -> None:
    (world.artifact / ANCHOR).write_bytes((world.artifact / TIMES).read_bytes())
    (world.baselines / TIMES).write_text("{", encoding="utf-8")
    body = words(world).body
    assert f"{TIMES} could not be read before and is replaced" in body
    assert "First baseline" not in body


def test_versions_that_changed_come_before_the_times_and_are_to_be_looked_at(world: World) -> None:
    new = world.update()
    world.update(environment={**new.environment, "driver": "590.1", "triton": "3.8.0", "uuid": "GPU-1"})
    made = facts(commit=world.head, reason=REASON)
    write_compiled(world.artifact / COMPILED, dataclasses.replace(made, versions={**made.versions, "triton": "3.9.0"}))
    body = words(world).body
    said = (
        "driver 580.159.04 → 590.1, triton 3.6.0 → 3.8.0, another card of the same model, triton 3.8.0 → 3.9.0 (machine"
    )
    assert body.index(f"**Not the code alone:** {said}") < body.index("### Times")
    assert "- [ ] the versions above are those that the runner is meant to have" in body


def test_cases_that_start_their_drift_anew_are_named(world: World) -> None:
    assert "Drift is counted anew from this baseline for sq2048." in words(world).body
    world.update()
    assert "No case starts its drift anew" in words(world).body
    world.update(settings={"rounds": 7})
    assert "Drift is counted anew from this baseline for every case." in words(world).body


def test_cases_that_are_gone_are_to_be_looked_at(world: World) -> None:
    world.update(cases=("sq2048", "k1_sq4096"))
    assert "- [ ] the cases that are gone were removed on purpose" in words(world).body
    world.update()
    found = read_compiled(world.artifact / COMPILED)
    assert found is not None
    fewer = {case: one for case, one in found.cases.items() if case != "sq2048"}
    write_compiled(world.artifact / COMPILED, dataclasses.replace(found, cases=fewer))
    body = words(world).body
    assert "sq2048: was not compiled, though it should have been." in body
    assert "were removed on purpose" in body


EVIL = "x|y</details>@octocat ``` [a](http://b) #1 `c`"


def test_texts_of_files_cannot_become_markup(world: World) -> None:
    found = collect(world.artifact, world.baselines, world.asked)
    times, code = found.after.times, found.after.compiled
    assert times is not None
    cases = {EVIL: dataclasses.replace(times.samples["sq2048"], case=EVIL)}
    times = dataclasses.replace(times, environment={**times.environment, "driver": EVIL}, samples=cases)
    after = dataclasses.replace(found.after, times=times, anchor=times, compiled={EVIL: code[COMPILED], **code})
    asked = dataclasses.replace(found.asked, reason=EVIL)
    spoilt = dataclasses.replace(found, asked=asked, after=after, unread=(EVIL,), files={EVIL: b""})
    body = words(world, proposed=spoilt, with_samples=False).body
    assert body.count("octocat") > 8
    outside, shell = re.fullmatch(r"(.*)\n````sh\n(.*)\n````\n(.*)", body, re.DOTALL).group(1, 2)  # type: ignore[union-attr]
    assert "@octocat" in shell
    assert "@octocat" not in outside
    assert outside.count("</details>") == outside.count("<details>")
    assert not re.search(r"(?<!\\)\]\(|://", outside)
    assert not re.search(r"(?<!\\)`", outside)


def test_a_body_too_long_leaves_the_tables_out_says_so_and_fits(world: World) -> None:
    found = collect(world.artifact, world.baselines, world.asked)
    times = found.after.times
    assert times is not None
    many = {f"{'|' * 200}{n}": dataclasses.replace(times.samples["sq2048"], case=f"{'|' * 200}{n}") for n in range(500)}
    after = dataclasses.replace(found.after, times=dataclasses.replace(times, samples=many), anchor=None)
    asked = dataclasses.replace(found.asked, reason="$" * 500)
    body = words(world, proposed=dataclasses.replace(found, asked=asked, after=after), with_samples=False).body
    assert len(body) <= MOST_BODY
    assert "too many cases to be shown here, see the files." in body
    assert "### What to check" in body


@pytest.mark.parametrize("reason", ["", "  ", "a\nb", "a\x1b", "x" * 501])
def test_a_reason_that_is_none_or_no_line_is_refused(reason: str) -> None:
    with pytest.raises(GateError) as caught:
        check_reason(reason)
    assert caught.value.reason == ("bad-reason" if reason.strip() else "no-reason")


@pytest.mark.parametrize("reason", ["x" * 500, "Größere Kacheln; 5 % „schneller“ "])
def test_a_reason_of_one_line_is_kept_as_it_is(reason: str) -> None:
    assert check_reason(reason) == reason


# What is sent.


def test_commit_branch_pull_request_label_and_judging_follow_each_other(world: World, github: GitHub) -> None:
    assert run(world) == 0
    assert [step for step, _ in github.sent] == ["git/blobs", "git/blobs", *STEPS, START]
    blobs = [base64.b64decode(body["content"]) for step, body in github.sent if step == "git/blobs"]
    assert blobs == [(world.artifact / name).read_bytes() for name in NAMES]
    tree, commit, reference = (github.body(step) for step in STEPS[1:4])
    assert tree == {
        "base_tree": world.checkout.git("rev-parse", "HEAD^{tree}"),
        "tree": [
            {"path": f"baselines/{name}", "mode": "100644", "type": "blob", "sha": f"sha{number}"}
            for number, name in enumerate(NAMES, 1)
        ],
    }
    assert (commit["tree"], commit["parents"], reference["sha"]) == ("sha4", [world.head], "sha5")
    assert commit["message"].endswith(f"\n\n{REASON}\n")
    branch, pull = reference["ref"].removeprefix("refs/heads/"), github.body("pulls")
    assert re.fullmatch(rf"baselines/{CARD}-\d{{4}}-\d\d-\d\d-4711", branch)
    assert (pull["head"], pull["base"]) == (branch, "trunk")
    assert pull["title"] == f"Baselines of NVIDIA H100 80GB HBM3: {REASON}"
    assert "the baseline's code measured beside it" in pull["body"]
    assert github.body("issues/7/labels") == {"labels": ["baseline-change"]}
    assert github.body(START) == {"ref": branch}


def test_the_address_is_printed_and_stands_in_the_summary(
    world: World, github: GitHub, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n", encoding="utf-8")
    assert run(world, GITHUB_STEP_SUMMARY=str(summary)) == 0
    assert capsys.readouterr().out == f"propose: {URL}\n"
    assert summary.read_text(encoding="utf-8") == f"before\nProposed: {URL}\n"
    assert github.sent


def test_the_reason_of_the_command_line_comes_before_the_variable_and_samples_are_not_needed(
    world: World, github: GitHub
) -> None:
    argv = ["--from", str(world.artifact), "--card", CARD, "--reason", REASON]
    assert propose.propose_command(argv, ENVIRONMENT_OF_A_JOB | {"REASON": "another"}) == 0
    assert "measured beside it" not in github.body("pulls")["body"]


def test_it_goes_over_the_wire_as_it_is(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as server:
        for step in STEPS:
            body = {"sha": "a" * 40, "number": 7, "html_url": URL}
            server.answers[f"POST /repos/someone/kernels/{step}"] = Answer(status=201, body=body)
        server.answers[f"POST /repos/someone/kernels/{START}"] = Answer(status=204)
        assert run(world, GITHUB_API_URL=server.url) == 0
        assert [one.path.removeprefix("/repos/someone/kernels/") for one in server.asked[2:]] == [*STEPS, START]
    assert capsys.readouterr().out == f"propose: {URL}\n"


# A dry run.


def test_a_dry_run_writes_what_would_be_sent_and_needs_no_github(world: World, github: GitHub, tmp_path: Path) -> None:
    assert run(world) == 0
    sent = list(github.sent)
    out = tmp_path / "some" / "out"
    assert run(world, "--dry-run", str(out)) == 0
    assert github.sent == sent
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    kept = sorted(f"baselines/{name}" for name in NAMES)
    assert files == ["body.md", *(f"branch/{name}" for name in kept), "pull-request.json"]
    for name in NAMES:
        assert (out / "branch/baselines" / name).read_bytes() == (world.artifact / name).read_bytes()
    assert (out / "body.md").read_text(encoding="utf-8") == github.body("pulls")["body"]
    request = json.loads((out / "pull-request.json").read_text(encoding="utf-8"))
    assert set(request) == {"branch", "base", "title", "message", "label", "files"}
    assert (request["branch"], request["files"]) == (github.body("pulls")["head"], kept)
    assert request["message"] == github.body("git/commits")["message"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert subprocess.run(["git", "status", "--porcelain"], capture_output=True, check=True).stdout == b""  # noqa: S607


def test_a_dry_run_needs_no_variable_of_githubs(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "from_environment", lambda _: pytest.fail("a dry run asks for no API"))
    argv = ["--from", str(world.artifact), "--card", CARD, "--dry-run", str(tmp_path / "out")]
    assert propose.propose_command(argv, {"REASON": REASON}) == 0
    request = json.loads((tmp_path / "out/pull-request.json").read_text(encoding="utf-8"))
    assert (request["base"], request["branch"].endswith("-local")) == ("main", True)


def test_a_dry_run_writes_over_nothing(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("x", encoding="utf-8")
    assert "exists and is not empty" in _refused(world, capsys, "--dry-run", str(out))
    assert [path.name for path in out.iterdir()] == ["mine"]
    (out / "mine").unlink()
    assert run(world, "--dry-run", str(out)) == 0


def test_a_dry_run_that_fails_halfway_leaves_nothing(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = collect(world.artifact, world.baselines, world.asked)
    monkeypatch.setattr(propose, "collect", lambda *_: found)
    monkeypatch.setattr(json, "dumps", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(world, "--dry-run", str(tmp_path / "elsewhere/out"))
    assert list((tmp_path / "elsewhere").iterdir()) == []


# What fails.


@pytest.mark.parametrize(
    ("step", "done", "by_hand"),
    [
        *((step, "done: nothing; by hand: ", "start the update again.") for step in STEPS[:3]),
        ("git/refs", "done: nothing; by hand: delete the branch", "start the update again."),
        ("pulls", "done: branch baselines/", "let Actions open pull requests"),
        ("issues/7/labels", f"pull request {URL}", "set the label baseline-change, then start perf.yml on"),
        (START, "label baseline-change", "by hand: start perf.yml on baselines/"),
    ],
)
def test_a_failure_says_what_is_done_and_what_to_do(  # noqa: PLR0913, PLR0917 - a table of three columns
    step: str, done: str, by_hand: str, world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.failing = step
    said = _refused(world, capsys)
    assert said.startswith(f"INVALID {'not' if done.startswith('done: nothing') else 'half'}-proposed: ")
    assert "422 (no)" in said
    assert done in said
    assert by_hand in said


@pytest.mark.parametrize("step", ["git/blobs", "git/trees", "git/commits", "pulls"])
def test_an_answer_without_what_the_next_step_needs_is_a_failure(
    step: str, world: World, github: GitHub, capsys: pytest.CaptureFixture[str]
) -> None:
    github.silent = step
    assert "the answer has no " in _refused(world, capsys)
    assert github.sent[-1][0] == step


def _spoil(world: World, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if how == "another file":
        (world.artifact / "extra").write_text("x", encoding="utf-8")
    elif how == "samples of another measurement":
        (world.samples / "current.json").write_bytes((world.baselines / TIMES).read_bytes())
    elif how == "baselines that are not committed":
        (world.baselines / "new.json").write_text("{}", encoding="utf-8")
    elif how == "no checkout":
        bare = world.artifact.parent / "bare"
        bare.mkdir()
        (bare / "pyproject.toml").write_text("", encoding="utf-8")
        monkeypatch.chdir(bare)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(world.artifact.parent))


_BAD: list[tuple[list[str], dict[str, str], str, str]] = [
    ([], {"REASON": ""}, "", "no-reason"),
    ([], {"REASON": "a\nb"}, "", "bad-reason"),
    (["--reason", ""], {}, "", "no-reason"),
    ([], {"REASON": "another"}, "", "other-reason"),
    (["--card", "../evil"], {}, "", "--card is '../evil'"),
    (["--card", "Card"], {}, "", "--card is 'Card'"),
    (["--card", "nvidia-geforce-rtx-4090"], {}, "", "not-a-baseline"),
    (["--carp", "x"], {}, "", "bad-usage"),
    ([], {"GITHUB_REF_NAME": ""}, "", "GITHUB_REF_NAME is not set"),
    ([], {"GITHUB_RUN_ID": ""}, "", "GITHUB_RUN_ID is not set"),
    ([], {"GITHUB_RUN_ID": "1/../2"}, "", "expected GitHub's number"),
    ([], {"GITHUB_REF_TYPE": "tag"}, "", "not-a-branch"),
    (["--from", "none"], {}, "", "no-artifact"),
    ([], {}, "another file", "not-a-baseline"),
    ([], {}, "samples of another measurement", "other-measurement"),
    ([], {}, "baselines that are not committed", "changed-baselines"),
    ([], {}, "no checkout", "no-commit"),
]


@pytest.mark.parametrize(("more", "environment", "spoilt", "said"), _BAD)
def test_what_is_refused_sends_nothing_and_says_what_is_wrong(  # noqa: PLR0913, PLR0917 - a table of four columns
    more: list[str],
    environment: dict[str, str],
    spoilt: str,
    said: str,
    world: World,
    github: GitHub,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _spoil(world, spoilt, monkeypatch)
    assert said in _refused(world, capsys, *more, **environment)
    assert github.sent == []
