"""What GitHub's own parser makes of the workflows: no error, and each `if`, `ref` and group as it is meant.

Owns the contexts, which are events and how the jobs before ended, and the table of what each expression comes to there.
An expression that the table does not have is a failure: somebody has to say what it is meant to be.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .actions_sources import NoSourcesError, cache_folder, run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HERE = Path(__file__).parent
_OUTPUTS = {"base": "BASE", "candidate": "CANDIDATE", "own": "false"}
_DONE = {"plan": "success", "approve": "skipped", "admit": "success", "measure": "success"}


def _context(event: str, payload: Mapping[str, Any], *, status: str = "success", own: str = "", **ended: str) -> Any:
    """An event, and the jobs before: those of a good run, or as ``ended`` says."""
    results = _DONE | ended
    needs = {name: {"result": result, "outputs": {}} for name, result in results.items()}
    if results["plan"] == "success":
        needs["plan"]["outputs"] = _OUTPUTS | ({"own": own} if own else {})
    github = {
        "event_name": event,
        "repository": "team/matmul",
        "base_ref": "release" if event == "pull_request" else "",
        "sha": "SHA",
        "run_id": "42",
        "event": {"repository": {"default_branch": "main"}, **payload},
    }
    empty: dict[str, Any] = {name: {} for name in ("matrix", "inputs", "strategy", "steps", "env", "vars", "secrets")}
    return empty | {"github": github, "needs": needs, "job": {}, "runner": {}, "status": status}


def _pull(source: str) -> dict[str, Any]:
    return {"pull_request": {"number": 7, "head": {"repo": {"full_name": source}}}}


_OURS, _FORK = _pull("team/matmul"), _pull("stranger/matmul")
_TITLE = {"action": "edited", "changes": {"title": {"from": "x"}}}
_BASE = {"action": "edited", "changes": {"title": {"from": "x"}, "base": {"ref": {"from": "old"}}}}
_BODY = {"action": "edited", "changes": {"body": {}}}
_SKIPPED = dict.fromkeys(("plan", "approve", "admit", "measure"), "skipped")
_REFUSED = {"approve": "failure", "admit": "skipped", "measure": "skipped"}
_ENDED = {"approve": "skipped", "admit": "cancelled", "measure": "cancelled"}
_NO_PLAN = {"plan": "failure", "admit": "skipped", "measure": "skipped"}


def _finished(event: str) -> Any:
    return _context("workflow_run", {"workflow_run": {"event": event, "head_sha": "HEAD"}})


CONTEXTS: Mapping[str, Any] = {
    "pull": _context("pull_request", _OURS),
    "own": _context("pull_request", _OURS, own="true"),
    "fork": _context("pull_request", _FORK, approve="success"),
    "fork-refused": _context("pull_request", _FORK, status="failure", **_REFUSED),
    "not-admitted": _context("pull_request", _FORK, status="failure", admit="failure", measure="skipped"),
    "red-card": _context("pull_request", _OURS, status="failure", measure="failure", own="true"),
    "cancelled": _context("pull_request", _OURS, status="cancelled", **_ENDED),
    "queue": _context("merge_group", {"merge_group": {"base_sha": "QUEUED"}}),
    "push": _context("push", {}),
    "night": _context("schedule", {}),
    "by-hand": _context("workflow_dispatch", {}),
    "no-plan": _context("workflow_dispatch", {}, status="failure", **_NO_PLAN),
    "pushed": _context("pull_request", _OURS | {"action": "synchronize"}),
    "title": _context("pull_request", _OURS | _TITLE, **_SKIPPED),
    "moved": _context("pull_request", _OURS | _BASE),
    "fork-moved": _context("pull_request", _FORK | _BASE, approve="success"),
    "fork-title": _context("pull_request", _FORK | _BODY, **_SKIPPED),
    "label": _context("pull_request", _OURS | {"label": {"name": "baseline-change"}}),
    "other-label": _context("pull_request", _OURS | {"label": {"name": "bug"}}),
    "ended": _finished("pull_request"),
    "ended-by-hand": _finished("workflow_dispatch"),
    "night-ended": _finished("schedule"),
}


def _true(contexts: str, *, false: str) -> Mapping[str, object]:
    """In which contexts an expression is true, and in which it is false."""
    return dict.fromkeys(contexts.split(), True) | dict.fromkeys(false.split(), False)


def _each(**contexts: str) -> dict[str, object]:
    """What an expression comes to, with the contexts where it does."""
    return {context: value for value, names in contexts.items() for context in names.split()}


def _grouped(name: str) -> dict[str, object]:
    numbered = {7: "pull fork title moved", 42: "queue push night by-hand"}
    return {context: f"{name}-{number}" for number, names in numbered.items() for context in names.split()}


_JUDGED, _NOT_JUDGED = "pushed pull fork moved fork-moved", "title fork-title"
EXPECTED: Mapping[str, Mapping[str, object]] = {
    "success()": _true("pull", false="red-card cancelled"),
    "always()": _true("pull red-card cancelled", false=""),
    "!cancelled()": _true("pull red-card fork-refused", false="cancelled"),
    "format('ci-{0}', github.event.pull_request.number || github.run_id)": _grouped("ci"),
    "format('perf-{0}', github.event.pull_request.number || github.run_id)": _grouped("perf"),
    "format('label-{0}', github.event.pull_request.number)": {"label": "label-7"},
    "format('comment-{0}', github.event.workflow_run.head_sha)": {"ended": "comment-HEAD"},
    "format('calibrate-{0}', github.run_id)": {"night": "calibrate-42"},
    "format('update-baselines-{0}', github.run_id)": {"by-hand": "update-baselines-42"},
    "github.event_name == 'pull_request'": _true("pull fork", false="queue push night"),
    "github.event_name == 'pull_request' && (github.event.action != 'edited' || !!github.event.changes.base)": _true(
        _JUDGED, false=f"{_NOT_JUDGED} queue push night by-hand"
    ),
    # comment.yml and label.yml
    'success() && (contains(fromJSON(\'["pull_request", "workflow_dispatch"]\'), github.event.workflow_run.event))': _true(
        "ended ended-by-hand", false="night-ended"
    ),
    "success() && (github.event.label.name == 'baseline-change')": _true("label", false="other-label"),
    "github.base_ref": _each(release="label"),
    # perf.yml: what is judged, and who gets onto the card
    "success() && (github.event.action != 'edited' || !!github.event.changes.base)": _true(
        f"{_JUDGED} queue push night by-hand", false=_NOT_JUDGED
    ),
    "always() && needs.plan.result != 'skipped'": _true("pull no-plan cancelled", false="title"),
    "success() && (github.event_name == 'pull_request' && github.event.pull_request.head.repo.full_name != github.repository "
    "&& (github.event.action != 'edited' || !!github.event.changes.base))": _true(
        "fork fork-moved", false="pull moved title fork-title queue push night by-hand"
    ),
    "!cancelled() && needs.plan.result == 'success' && contains(fromJSON('[\"success\", \"skipped\"]'), needs.approve.result)": _true(
        "pull fork queue night moved", false="fork-refused title fork-title no-plan cancelled"
    ),
    "!cancelled() && needs.admit.result == 'success'": _true(
        "pull fork", false="fork-refused not-admitted title no-plan cancelled"
    ),
    "!cancelled() && needs.plan.outputs.own == 'true'": _true("own red-card", false="pull night cancelled"),
    "success() && (needs.measure.result == 'success' || needs.measure.result == 'failure')": _true(
        "pull", false="title not-admitted cancelled"
    ),
    # Whose code runs
    "needs.plan.outputs.base": _each(BASE="pull by-hand"),
    "needs.plan.outputs.candidate": _each(CANDIDATE="pull night"),
    "github.base_ref || github.event.merge_group.base_sha || github.event_name == 'workflow_dispatch' && "
    "github.event.repository.default_branch || github.sha": _each(
        release="pull fork", QUEUED="queue", main="by-hand", SHA="push night"
    ),
    "needs.plan.outputs.base || github.base_ref || github.event.merge_group.base_sha || github.event_name == "
    "'workflow_dispatch' && github.event.repository.default_branch || github.sha": _each(
        BASE="pull queue night", main="no-plan", release="title"
    ),
}


def judge(workflows: Iterable[Path]) -> tuple[int, list[str]]:
    """Evaluate them all; how many values were held against the table, and what is not as it should be.

    Raises:
        NoSourcesError: The parser cannot be installed.
    """
    texts = {path.name: path.read_text(encoding="utf-8") for path in workflows}
    asked = json.dumps({"workflows": texts, "contexts": CONTEXTS})
    done = run(_HERE, "node", str(_installed() / "expressions.mjs"), given=asked)
    if done.returncode:
        return 0, [f"the parser failed: {done.stderr.strip()[-1000:]}"]
    answer = json.loads(done.stdout)
    problems, held = list(answer["errors"]), 0
    for expression, one in answer["found"].items():
        if expression not in EXPECTED:
            problems.append(
                f"nothing is expected of {expression!r} ({one['where'][0]}); say it in {Path(__file__).name}"
            )
        for context, wanted in EXPECTED.get(expression, {}).items():
            held += 1
            if (value := one["values"][context]) != wanted:
                problems.append(f"{one['where'][0]}: {expression!r} is {value!r} for {context!r}, expected {wanted!r}")
    unused = sorted(set(EXPECTED) - set(answer["found"]))
    return held, problems + [f"no workflow has the expression {expression!r} any more" for expression in unused]


def _installed() -> Path:
    """The parser's packages in a folder of the cache, and the script beside them."""
    wanted = (_HERE / "package.json").read_text(encoding="utf-8")
    folder = cache_folder() / "expressions"
    ready = folder / "ready.json"
    if not ready.is_file() or ready.read_text(encoding="utf-8") != wanted:
        if not shutil.which("npm"):
            raise NoSourcesError("no npm to install GitHub's parser")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(wanted, encoding="utf-8")
        done = run(folder, "npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund")
        if done.returncode:
            raise NoSourcesError(
                f"GitHub's parser cannot be installed: {(done.stderr.strip().splitlines() or [''])[0]}"
            )
        ready.write_text(wanted, encoding="utf-8")
    shutil.copy(_HERE / "expressions.mjs", folder)
    return folder
