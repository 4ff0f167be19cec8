"""The table of scenarios: what happens, and how it has to end."""

from __future__ import annotations

from typing import Any

from github_world import SLUG

from .play import Scenario

_GREEN = {"plan": "success", "approve": "skipped", "admit": "success", "measure": "success", "perf": "success"}
_RED = {"plan": "success", "admit": "success", "measure": "failure", "perf": "failure"}
_REPEATED = dict.fromkeys(("plan", "approve", "admit", "measure"), "skipped")
_FLOW = ".github/workflows/perf.yml"
_ONE_JOB = 'name: perf\non: pull_request\njobs:\n  perf:\n    name: perf\n    runs-on: ubuntu-24.04\n    steps:\n      - run: "true"\n'
_WIDE = "[tool.perfgate.limits]\nagainst_tolerance = 0.2\nsuite_tolerance = 0.2\ndrift_tolerance = 0.2\n"
_SLOWER = {"scale": 1.06}
_WRITTEN = "written by the kernel"
_HOSTILE = "largest error <img src=x onerror=alert(1)> [pass](https://evil.example) @team/all ::error::no"
_LABEL = "baseline-change"
_SESSIONS = dict.fromkeys(("lint", "tests", "page", "workflows"), 0)
"""Of ci.yml, that run elsewhere."""
_UPDATE = {"reason": "A new compiler", "card": "h100"}
_OWN = (f"perf-{SLUG}", f"perf-{SLUG}-own")


def _commented(text: str) -> str:
    return f"{text}\n# A comment.\n"


def _widened(text: str) -> str:
    return text.replace("[tool.perfgate.cards]\n", f"{_WIDE}\n[tool.perfgate.cards]\n")


_KERNEL = {"kernels/matmul.py": _commented}


def _green(name: str, **more: Any) -> Scenario:
    """The kernel is edited and every job of perf.yml passes, unless told otherwise."""
    return Scenario(name=name, **{"change": _KERNEL, "ends": "success", "jobs": _GREEN, **more})


def _red(name: str, **more: Any) -> Scenario:
    """The kernel is edited and perf.yml fails on the card, unless told otherwise."""
    return Scenario(name=name, **{"change": _KERNEL, "ends": "failure", "jobs": _RED, **more})


def _title(name: str, check: str, *summary: str, **more: Any) -> Scenario:
    """The title is edited, and the check repeats what an earlier run found."""
    jobs, summary = _REPEATED | {"perf": check}, tuple(summary)
    return Scenario(name=name, edited="title", ends=check, jobs=jobs, summary=summary, **more)


SCENARIOS = (
    _green(
        "perf-one-gpu", then_comment=True, summary=("perf: pass",), comment=("perf: pass",), artifacts=(f"perf-{SLUG}",)
    ),
    _green(
        "perf-own-gate",
        change={"perfgate/text.py": _commented},
        summary=("perf: pass", "the gate's code"),
        artifacts=_OWN,
    ),
    _red(
        "perf-slower",
        machine=_SLOWER,
        then_comment=True,
        summary=("SLOWER",),
        comment=("SLOWER",),
        not_said=("perf: pass",),
    ),
    _red(
        "perf-hostile-words",
        machine={"wrong": {"k1_square": _HOSTILE}},
        then_comment=True,
        comment=("wrong-result",),
        not_said=("perf: pass", "<img", "](https://evil", " @team"),
    ),
    _red("perf-no-gpu", machine={"gpu": False}, summary=("could not be judged",)),
    _red(
        "fork-refused",
        fork=True,
        jobs={"plan": "success", "admit": "failure", "measure": "skipped", "perf": "failure"},
        summary=("nobody has let it onto the card",),
    ),
    _green(
        "fork-approved",
        fork=True,
        approved=True,
        then_comment=True,
        jobs=_GREEN | {"approve": "success"},
        summary=("perf: pass",),
        comment=("perf: pass",),
    ),
    _green("merge-group", event="merge_group", summary=("perf: pass",)),
    _red("nightly-red", event="schedule", change={}, machine=_SLOWER, summary=("SLOWER",)),
    _red(
        "excused",
        change={"pyproject.toml": _widened},
        machine=_SLOWER,
        labels=(_LABEL,),
        then_comment=True,
        jobs={"measure": "failure", "perf": "success"},
        summary=("SLOWER", _LABEL),
        comment=("SLOWER", _LABEL),
        artifacts=_OWN,
    ),
    _red(
        "label-of-before",
        change={"pyproject.toml": _widened},
        machine=_SLOWER,
        labels=(f"-{_LABEL}",),
        summary=("SLOWER",),
    ),
    _green(
        "workflow-touched",
        change={_FLOW: _commented},
        then_comment=True,
        comment=("edits what runs on GitHub", "perf: pass"),
    ),
    _green(
        "workflow-replaced",
        change={_FLOW: lambda _: _ONE_JOB},
        then_comment=True,
        jobs={},
        comment=("not the gate's", "edits what runs on GitHub"),
        not_said=("perf: pass",),
    ),
    _green("kernel-writes-files", machine={"hostile": True}, summary=("perf: pass",), not_said=(_WRITTEN,)),
    _red(
        "kernel-rewrites-results",
        machine={"hostile": True, **_SLOWER},
        then_comment=True,
        summary=("SLOWER",),
        not_said=("perf: pass", _WRITTEN),
    ),
    Scenario(
        name="ci",
        workflow="ci.yml",
        machine={"gpu": False, "sessions": _SESSIONS},
        ends="success",
        jobs={"nox": "success", "without-card": "success", "ci": "success"},
    ),
    Scenario(
        name="ci-red",
        workflow="ci.yml",
        machine={"gpu": False, "sessions": {**_SESSIONS, "tests": 1}},
        ends="failure",
        jobs={"nox": "failure", "without-card": "success", "ci": "failure"},
    ),
    Scenario(
        name="calibrate",
        workflow="calibrate.yml",
        event="schedule",
        machine={"sessions": {"calibrate": 0}},
        ends="success",
        jobs={"plan": "success", "calibrate": "success"},
        artifacts=(f"calibration-{SLUG}",),
    ),
    Scenario(
        name="label",
        workflow="label.yml",
        labels=(_LABEL,),
        ends="success",
        sent=(r"POST /actions/jobs/2/rerun",),
    ),
    _red(
        "retargeted",
        machine=_SLOWER,
        edited="base",
        earlier="success",
        moved=True,
        then_comment=True,
        summary=("SLOWER",),
        comment=("SLOWER",),
        not_said=("perf: pass",),
    ),
    _title(
        "title-edited",
        "success",
        "the job perf of run 41 ended as success",
        change=_KERNEL,
        earlier="success",
        then_comment=True,
        comment=("run=41 ", "it left no report"),  # the stand-in keeps none of it
    ),
    _title("title-edited-red", "failure", "the job perf of run 41 ended as failure", earlier="failure"),
    _title("title-edited-moved", "failure", "into another branch than run 41", earlier="success", moved=True),
    _title("title-edited-unjudged", "failure", "No run of perf.yml has judged"),
    Scenario(
        name="update-baselines",
        workflow="update-baselines.yml",
        event="workflow_dispatch",
        inputs=_UPDATE,
        ends="success",
        jobs={"pick": "success", "measure": "success", "propose": "success"},
        sent=("POST /pulls", r"POST /issues/8/labels", r"POST /actions/workflows/perf\.yml/dispatches"),
    ),
    Scenario(
        name="update-baselines-no-gpu",
        workflow="update-baselines.yml",
        event="workflow_dispatch",
        inputs=_UPDATE,
        machine={"gpu": False},
        ends="failure",
        jobs={"measure": "failure", "propose": "skipped"},
        not_sent=("POST /.*",),
    ),
)
