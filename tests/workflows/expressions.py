"""What GitHub's own parser makes of the workflows: no error, and each `if`, `ref` and group as it is meant.

Owns the contexts, which are events and how the jobs before ended, and the table of what each expression comes to there.
An expression that the table does not have is a failure: somebody has to say what it is meant to be.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .actions_sources import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_HERE = Path(__file__).parent
_OUTPUTS = {"base": "BASE", "candidate": "CANDIDATE", "own": "false"}
_DONE = {"plan": "success", "approve": "skipped", "admit": "success", "measure": "success"}
_S = 60


class NoPackagesError(Exception):
    """The parser cannot be had; says why in a sentence."""


def _context(event: str, payload: Mapping[str, Any], *, status: str = "success", own: str = "", **ended: str) -> Any:
    """An event, and the jobs before: those of a good run, or as ``ended`` says."""
    results = _DONE | {name.rstrip("_"): result for name, result in ended.items()}
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


def _pull(source: str, **more: Any) -> dict[str, Any]:
    return {"pull_request": {"number": 7, "head": {"repo": {"full_name": source}}}, **more}


_OURS, _FORK = _pull("team/matmul"), _pull("stranger/matmul")
_EDITED = _pull("team/matmul", action="edited", changes={"title": {"from": "x"}})
_MOVED = _pull("team/matmul", action="edited", changes={"title": {"from": "x"}, "base": {"ref": {"from": "old"}}})
_SKIPPED = dict.fromkeys(("plan", "approve", "admit", "measure"), "skipped")
_QUEUED = {"merge_group": {"base_sha": "QUEUED"}}
CONTEXTS: Mapping[str, Any] = {
    "pull": _context("pull_request", _OURS),
    "own": _context("pull_request", _OURS, own="true"),
    "fork": _context("pull_request", _FORK, approve="success"),
    "fork refused": _context(
        "pull_request", _FORK, status="failure", approve="failure", admit="skipped", measure="skipped"
    ),
    "not admitted": _context("pull_request", _FORK, status="failure", admit="failure", measure="skipped"),
    "red card": _context("pull_request", _OURS, status="failure", measure="failure", own="true"),
    "cancelled": _context(
        "pull_request", _OURS, status="cancelled", approve="skipped", admit="cancelled", measure="cancelled"
    ),
    "queue": _context("merge_group", _QUEUED),
    "push": _context("push", {}),
    "night": _context("schedule", {}),
    "by hand": _context("workflow_dispatch", {}),
    "no plan": _context("workflow_dispatch", {}, status="failure", plan="failure", admit="skipped", measure="skipped"),
    "pushed": _context("pull_request", _pull("team/matmul", action="synchronize")),
    "title": _context("pull_request", _EDITED, **_SKIPPED),
    "moved": _context("pull_request", _MOVED),
    "fork moved": _context(
        "pull_request", _FORK | {"action": "edited", "changes": _MOVED["changes"]}, approve="success"
    ),
    "fork title": _context("pull_request", _FORK | {"action": "edited", "changes": {"body": {}}}, **_SKIPPED),
    "label": _context("pull_request", _pull("team/matmul", label={"name": "baseline-change"})),
    "other label": _context("pull_request", _pull("team/matmul", label={"name": "bug"})),
    "ended": _context("workflow_run", {"workflow_run": {"event": "pull_request", "head_sha": "HEAD"}}),
    "ended by hand": _context("workflow_run", {"workflow_run": {"event": "workflow_dispatch", "head_sha": "HEAD"}}),
    "night ended": _context("workflow_run", {"workflow_run": {"event": "schedule", "head_sha": "HEAD"}}),
}
_JUDGED = {
    "pushed": True,
    "pull": True,
    "fork": True,
    "title": False,
    "moved": True,
    "fork title": False,
    "fork moved": True,
}
_NO_PULL = ("queue", "push", "night", "by hand")
_GROUP = {"pull": 7, "fork": 7, "title": 7, "moved": 7, "queue": 42, "push": 42, "night": 42, "by hand": 42}
_BASE_OF_EVENT = {"pull": "release", "fork": "release", "queue": "QUEUED", "by hand": "main"}


def _grouped(name: str, numbers: Mapping[str, int]) -> dict[str, str]:
    return {context: f"{name}-{number}" for context, number in numbers.items()}


_NOT_CANCELLED = {"pull": True, "red card": True, "fork refused": True, "cancelled": False}
EXPECTED: Mapping[str, Mapping[str, object]] = {
    "success()": {"pull": True, "red card": False, "cancelled": False},
    "always()": {"pull": True, "red card": True, "cancelled": True},
    "!cancelled()": _NOT_CANCELLED,
    "format('ci-{0}', github.event.pull_request.number || github.run_id)": _grouped("ci", _GROUP),
    "format('perf-{0}', github.event.pull_request.number || github.run_id)": _grouped("perf", _GROUP),
    "format('label-{0}', github.event.pull_request.number)": {"label": "label-7"},
    "format('comment-{0}', github.event.workflow_run.head_sha)": {"ended": "comment-HEAD"},
    "format('calibrate-{0}', github.run_id)": {"night": "calibrate-42"},
    "format('update-baselines-{0}', github.run_id)": {"by hand": "update-baselines-42"},
    "github.event_name == 'pull_request'": {"pull": True, "fork": True, "queue": False, "push": False, "night": False},
    "github.event_name == 'pull_request' && (github.event.action != 'edited' || !!github.event.changes.base)": (
        _JUDGED | dict.fromkeys(_NO_PULL, False)
    ),
    # comment.yml and label.yml
    'success() && (contains(fromJSON(\'["pull_request", "workflow_dispatch"]\'), github.event.workflow_run.event))': {
        "ended": True,
        "ended by hand": True,
        "night ended": False,
    },
    "success() && (github.event.label.name == 'baseline-change')": {"label": True, "other label": False},
    "github.base_ref": {"label": "release"},
    # perf.yml: what is judged, and who gets onto the card
    "success() && (github.event.action != 'edited' || !!github.event.changes.base)": (
        _JUDGED | dict.fromkeys(_NO_PULL, True)
    ),
    "always() && needs.plan.result != 'skipped'": {"pull": True, "no plan": True, "cancelled": True, "title": False},
    "success() && (github.event_name == 'pull_request' && github.event.pull_request.head.repo.full_name != github.repository "
    "&& (github.event.action != 'edited' || !!github.event.changes.base))": {
        "pull": False,
        "moved": False,
        "title": False,
        "fork": True,
        "fork moved": True,
        "fork title": False,
        "queue": False,
        "push": False,
        "night": False,
        "by hand": False,
    },
    "!cancelled() && needs.plan.result == 'success' && contains(fromJSON('[\"success\", \"skipped\"]'), needs.approve.result)": {
        "pull": True,
        "fork": True,
        "fork refused": False,
        "queue": True,
        "night": True,
        "moved": True,
        "title": False,
        "fork title": False,
        "no plan": False,
        "cancelled": False,
    },
    "!cancelled() && needs.admit.result == 'success'": {
        "pull": True,
        "fork": True,
        "fork refused": False,
        "not admitted": False,
        "title": False,
        "no plan": False,
        "cancelled": False,
    },
    "!cancelled() && needs.plan.outputs.own == 'true'": {
        "own": True,
        "red card": True,
        "pull": False,
        "night": False,
        "cancelled": False,
    },
    "success() && (needs.measure.result == 'success' || needs.measure.result == 'failure')": {
        "pull": True,
        "title": False,
        "not admitted": False,
        "cancelled": False,
    },
    # Whose code runs
    "needs.plan.outputs.base": {"pull": "BASE", "by hand": "BASE"},
    "needs.plan.outputs.candidate": {"pull": "CANDIDATE", "night": "CANDIDATE"},
    "github.base_ref || github.event.merge_group.base_sha || github.event_name == 'workflow_dispatch' && "
    "github.event.repository.default_branch || github.sha": _BASE_OF_EVENT | {"push": "SHA", "night": "SHA"},
    "needs.plan.outputs.base || github.base_ref || github.event.merge_group.base_sha || github.event_name == "
    "'workflow_dispatch' && github.event.repository.default_branch || github.sha": {
        "pull": "BASE",
        "queue": "BASE",
        "night": "BASE",
        "no plan": "main",
        "title": "release",
    },
}


def judge(workflows: Iterable[Path]) -> tuple[int, list[str]]:
    """Evaluate them all; how many values were held against the table, and what is not as it should be.

    Raises:
        NoPackagesError: The parser cannot be installed.
    """
    texts = {path.name: path.read_text(encoding="utf-8") for path in workflows}
    asked = json.dumps({"workflows": texts, "contexts": CONTEXTS})
    done = subprocess.run(
        ["node", str(_installed() / "expressions.mjs")],  # noqa: S607 - by its name
        input=asked,
        capture_output=True,
        text=True,
        check=False,
        timeout=_S,
    )
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
            raise NoPackagesError("no npm to install GitHub's parser")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "package.json").write_text(wanted, encoding="utf-8")
        words = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=_S * 5)
        if done.returncode:
            raise NoPackagesError(
                f"GitHub's parser cannot be installed: {(done.stderr.strip().splitlines() or [''])[0]}"
            )
        ready.write_text(wanted, encoding="utf-8")
    shutil.copy(_HERE / "expressions.mjs", folder)
    return folder
