"""One scenario, played: the repository changed, the machine set, the workflows run one after the other, the end compared.

Owns what GitHub would do between two workflows: the event that it sends, the list of jobs, the artifacts that stay.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from github_world import LABEL, REPOSITORY

from .services import ArtifactService, Pull, RestApi, serving
from .stage import NUMBER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from .act import Act, Ended
    from .stage import Stage

RUN = 42
_FORK = "stranger/matmul"
_HOSTED_LIMIT_S = 90
_ME = {"id": 55, "full_name": REPOSITORY, "default_branch": "main", "owner": {"login": "team"}}
_BEFORE = {"title": {"from": "Before"}, "base": {"ref": {"from": "release"}, "sha": {"from": "a" * 40}}}
_LET_ON = {"state": "approved", "environments": [{"name": "fork-on-card"}], "comment": ""}


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens, and how it has to end."""

    name: str
    workflow: str = "perf.yml"
    event: str = "pull_request"
    change: Mapping[str, Callable[[str], str]] = field(default_factory=dict)
    """Of the pull request, by file."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """What the machine with the card does; see ``card.py``."""
    fork: bool = False
    approved: bool = False
    labels: tuple[str, ...] = ()
    edited: str = ""
    """What of the pull request was edited: ``title`` or ``base``; else it was pushed to."""
    earlier: str = ""
    """How the required check of an earlier run on the same commit ended; empty where there is none."""
    moved: bool = False
    """The pull request was sent into another branch after that run."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    then_comment: bool = False
    """Run ``comment.yml`` afterwards, on what the first workflow left."""
    ends: str
    """The conclusion of the first workflow."""
    jobs: Mapping[str, str] = field(default_factory=dict)
    """Expected, by id; those that are not named may end in any way."""
    summary: tuple[str, ...] = ()
    """Texts of the summary of the job that decides."""
    comment: tuple[str, ...] = ()
    """Texts of the pull request's comment."""
    not_said: tuple[str, ...] = ()
    """Texts that neither may hold."""
    sent: tuple[str, ...] = ()
    """Addresses (``POST /…``, as regular expressions) that something was sent to."""
    not_sent: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    """Artifacts that have to be left."""


def play(scenario: Scenario, stage: Stage, act: Act) -> tuple[Ended, list[str]]:
    """Play one scenario on its own copy of the stage; returns how it ended, and what is not as expected."""
    head, merged = stage.pull_request(scenario.change)
    pull = Pull(
        number=NUMBER,
        head=head,
        base=stage.base,
        source=_FORK if scenario.fork else REPOSITORY,
        labels=scenario.labels,
        files=tuple(scenario.change),
        moved=scenario.moved,
    )
    service = ArtifactService()
    api = RestApi(repository=REPOSITORY, run=RUN, artifacts=service, pull=pull)
    with serving(service), serving(api):
        try:
            return _play(scenario, stage, act, service=service, api=api, merged=merged)
        finally:
            _end_left_behind(stage.machine)


def _play(  # noqa: PLR0913 - all that takes part, by name
    scenario: Scenario, stage: Stage, act: Act, *, service: ArtifactService, api: RestApi, merged: str
) -> tuple[Ended, list[str]]:
    api.approvals = [_LET_ON | {"user": {"login": "maintainer"}}] if scenario.approved else []
    stage.set_machine(api=api.url, **scenario.machine)
    commit, ref, payload = _event(scenario, api.pull, merged)
    api.jobs = [_listed(1, "plan", "skipped" if scenario.edited == "title" else "success")]
    if scenario.earlier:
        api.earlier = [_listed(1, name, "success") for name in ("plan", "approve", "admit", "measure (h100)")]
        api.earlier.append(_listed(5, "perf", scenario.earlier))
    if scenario.workflow == "label.yml":
        api.conclusion, api.jobs = "failure", [_listed(1, "plan", "success"), _listed(2, "perf", "failure")]
    checkout = stage.clone(commit)
    if scenario.edited == "title":
        _without_outputs(checkout / ".github/workflows" / scenario.workflow)

    def run(workflow: str, event: str, checkout: Path, payload: Mapping[str, Any], where: tuple[str, str]) -> Ended:
        name = where[1].removeprefix("refs/heads/").removeprefix("refs/pull/")
        variables = {"GITHUB_RUN_ID": str(RUN), "GITHUB_SHA": where[0], "GITHUB_REF": where[1], "GITHUB_REF_NAME": name}
        return act.run(
            checkout=checkout,
            workflow=workflow,
            event=event,
            payload=payload,
            variables=variables | stage.variables() | service.variables(),
            programs=stage.machine / "bin",
            scratch=stage.root / f"act-{workflow}",
            inputs=scenario.inputs,
        )

    ended = run(scenario.workflow, scenario.event, checkout, payload, (commit, ref))
    problems = _compare(scenario, ended, stage.machine, service)
    if scenario.then_comment:
        api.conclusion, api.jobs = ended.conclusion, _jobs(checkout, scenario.workflow, ended)
        where = (stage.base, "refs/heads/main")
        commented = run("comment.yml", "workflow_run", stage.clone(stage.base), _finished(api), where)
        ended.seconds += commented.seconds
        if commented.conclusion != "success":
            problems.append(f"the workflow comment ended as {commented.conclusion}")
            ended.tail += commented.tail
        problems += _compare_comment(scenario, api)
    problems += [f"nothing was sent to {what}" for what in scenario.sent if not api.sent(what)]
    problems += [f"something was sent to {what}" for what in scenario.not_sent if api.sent(what)]
    problems += [f"the stand-in for the API knows no {path}" for path in sorted(set(api.unknown))]
    if scenario.workflow == "perf.yml" and ended.hosted_s > _HOSTED_LIMIT_S:
        problems.append(f"its hosted jobs took {ended.hosted_s:.0f} s, expected at most {_HOSTED_LIMIT_S}")
    return ended, problems


def _without_outputs(path: Path) -> None:
    """Leave a skipped plan nothing to hand on, as on GitHub; act hands on the expressions themselves, as text."""
    text = path.read_text(encoding="utf-8").replace("${{ steps.plan.outputs.cards }}", "'[]'")
    path.write_text(re.sub(r"\$\{\{ steps\.plan\.outputs\.\w+ }}", "''", text), encoding="utf-8")


def _event(scenario: Scenario, pull: Pull, merged: str) -> tuple[str, str, dict[str, Any]]:
    """Commit, ref and payload of an event, as GitHub sends it."""
    payload: dict[str, Any] = {"repository": _ME, "sender": {"login": "author"}}
    if scenario.event == "pull_request":
        payload |= {"action": "synchronize", "number": NUMBER, "pull_request": pull.document(REPOSITORY)}
        if scenario.workflow == "label.yml":
            payload |= {"action": "labeled", "label": {"name": "baseline-change"}}
        if scenario.edited:
            payload |= {"action": "edited", "changes": {scenario.edited: _BEFORE[scenario.edited]}}
        return merged, f"refs/pull/{NUMBER}/merge", payload
    if scenario.event == "merge_group":
        queued = f"refs/heads/gh-readonly-queue/main/pr-{NUMBER}-{pull.base}"
        group = {"head_sha": merged, "head_ref": queued, "base_sha": pull.base, "base_ref": "refs/heads/main"}
        return merged, queued, payload | {"action": "checks_requested", "merge_group": group}
    if scenario.event == "workflow_dispatch":
        payload |= {"inputs": dict(scenario.inputs), "ref": "refs/heads/main"}
    return pull.base, "refs/heads/main", payload


def _finished(api: RestApi) -> dict[str, Any]:
    """The event that follows a finished run of perf."""
    pull = api.pull
    mine, owner = pull.source == REPOSITORY, {"login": pull.source.partition("/")[0]}
    shown = {"number": pull.number, "head": {"sha": pull.head}, "base": {"ref": "main", "repo": {"id": 55}}}
    document = api.run_document() | {
        "head_repository": {"id": 55 if mine else 77, "full_name": pull.source, "owner": owner},
        "pull_requests": [shown] if mine else [],
    }
    return {"action": "completed", "repository": _ME, "workflow": {"name": "perf"}, "workflow_run": document}


def _jobs(checkout: Path, workflow: str, ended: Ended) -> list[dict[str, Any]]:
    """The jobs of a run as GitHub lists them: skipped ones too."""
    flow = yaml.safe_load((checkout / ".github/workflows" / workflow).read_text(encoding="utf-8"))
    found = []
    for number, (name, job) in enumerate(flow["jobs"].items(), 1):
        shown = str(job.get("name", name)).replace("${{ matrix.card.label }}", LABEL)
        found.append(_listed(number, shown, ended.result(name)))
    return found


def _listed(number: int, name: str, result: str) -> dict[str, Any]:
    return {"id": number, "name": name, "status": "completed", "conclusion": result, "run_id": RUN, "run_attempt": 1}


def _compare(expected: Scenario, ended: Ended, machine: Path, service: ArtifactService) -> list[str]:
    problems = []
    if ended.conclusion != expected.ends:
        problems.append(f"it ended as {ended.conclusion}, expected {expected.ends}")
    for name, wanted in expected.jobs.items():
        if (found := ended.result(name)) != wanted:
            problems.append(f"the job {name} ended as {found}, expected {wanted}")
    whole = "".join(path.read_text(encoding="utf-8") for path in sorted((machine / "summaries").glob("*.md")))
    problems += [f"no summary says {text!r}" for text in expected.summary if text not in whole]
    problems += [f"a summary says {text!r}" for text in expected.not_said if text in whole]
    names = sorted(one.name for one in service.artifacts)
    if missing := sorted(set(expected.artifacts) - set(names)):
        problems.append(f"the artifacts are {', '.join(names) or 'none'}, expected {', '.join(missing)} too")
    commands = machine / "commands.jsonl"
    lines = [json.loads(line) for line in commands.read_text().splitlines()] if commands.is_file() else []
    hijacked = sorted({f"{line['job']}: {line['session']}" for line in lines if line["hijacked"]})
    if hijacked or (machine / "node-was-replaced").exists():
        problems.append(f"a kernel reached the environment of later steps ({', '.join(hijacked) or 'node'})")
    if (machine / "outlived.txt").exists():
        problems.append("a process of the kernel outlived the gate")
    return problems


def _compare_comment(expected: Scenario, api: RestApi) -> list[str]:
    bodies = [body["body"] for body in api.sent(rf"POST /issues/{NUMBER}/comments")]
    if len(bodies) != 1:
        return [f"{len(bodies)} comments were written, expected one"]
    problems = [f"the comment does not say {text!r}" for text in expected.comment if text not in bodies[0]]
    problems += [f"the comment says {text!r}" for text in expected.not_said if text in bodies[0]]
    return [f"{problem}; it begins {bodies[0][:400]!r}" for problem in problems[:1]] + problems[1:]


def _end_left_behind(machine: Path) -> None:
    """End what a hostile kernel left behind, by its own numbers."""
    path = machine / "left-behind.txt"
    for line in path.read_text(encoding="utf-8").split() if path.is_file() else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(line), signal.SIGKILL)
