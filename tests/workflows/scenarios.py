"""The table of scenarios: what happens, and how it has to end."""

from __future__ import annotations

from github_world import SLUG

from .play import Expected, Scenario

_GREEN = {"plan": "success", "approve": "skipped", "admit": "success", "measure": "success", "perf": "success"}
_RED = {"plan": "success", "admit": "success", "measure": "failure", "perf": "failure"}
_REPEATED = dict.fromkeys(("plan", "approve", "admit", "measure"), "skipped")
_KERNEL = "kernels/matmul.py"
_FLOW = ".github/workflows/perf.yml"
_ONE_JOB = """name: perf
on: pull_request
jobs:
  perf:
    name: perf
    runs-on: ubuntu-24.04
    steps:
      - run: "true"
"""
_WIDE = "[tool.perfgate.limits]\nagainst_tolerance = 0.2\nsuite_tolerance = 0.2\ndrift_tolerance = 0.2\n"
_SLOWER = {"scale": 1.06}
_WRITTEN = "written by the kernel"
_HOSTILE = "largest error <img src=x onerror=alert(1)> [pass](https://evil.example) @team/all ::error::no"
_LABEL = "baseline-change"
_SESSIONS = dict.fromkeys(("lint", "tests", "page", "workflows"), 0)
"""Of ci.yml, that run elsewhere."""
_UPDATE = {"reason": "A new compiler", "card": "h100"}


def _commented(text: str) -> str:
    return f"{text}\n# A comment.\n"


def _widened(text: str) -> str:
    return text.replace("[tool.perfgate.cards]\n", f"{_WIDE}\n[tool.perfgate.cards]\n")


def _one_job(_: str) -> str:
    return _ONE_JOB


SCENARIOS = (
    Scenario(
        name="perf-one-gpu",
        change={_KERNEL: _commented},
        then_comment=True,
        expected=Expected(
            conclusion="success",
            jobs=_GREEN,
            summary=("perf: pass",),
            comment=("perf: pass",),
            artifacts=(f"perf-{SLUG}",),
        ),
    ),
    Scenario(
        name="perf-own-gate",
        change={"perfgate/text.py": _commented},
        expected=Expected(
            conclusion="success",
            jobs=_GREEN,
            summary=("perf: pass", "the gate's code"),
            artifacts=(f"perf-{SLUG}", f"perf-{SLUG}-own"),
        ),
    ),
    Scenario(
        name="perf-slower",
        change={_KERNEL: _commented},
        machine=_SLOWER,
        then_comment=True,
        expected=Expected(
            conclusion="failure", jobs=_RED, summary=("SLOWER",), comment=("SLOWER",), not_said=("perf: pass",)
        ),
    ),
    Scenario(
        name="perf-hostile-words",
        change={_KERNEL: _commented},
        machine={"wrong": {"k1_square": _HOSTILE}},
        then_comment=True,
        expected=Expected(
            conclusion="failure",
            jobs=_RED,
            comment=("wrong-result",),
            not_said=("perf: pass", "<img", "](https://evil", " @team"),
        ),
    ),
    Scenario(
        name="perf-no-gpu",
        change={_KERNEL: _commented},
        machine={"gpu": False},
        expected=Expected(conclusion="failure", jobs=_RED, summary=("could not be judged",)),
    ),
    Scenario(
        name="fork-refused",
        change={_KERNEL: _commented},
        fork=True,
        expected=Expected(
            conclusion="failure",
            jobs={"plan": "success", "admit": "failure", "measure": "skipped", "perf": "failure"},
            summary=("nobody has let it onto the card",),
        ),
    ),
    Scenario(
        name="fork-approved",
        change={_KERNEL: _commented},
        fork=True,
        approved=True,
        then_comment=True,
        expected=Expected(
            conclusion="success", jobs=_GREEN | {"approve": "success"}, summary=("perf: pass",), comment=("perf: pass",)
        ),
    ),
    Scenario(
        name="merge-group",
        event="merge_group",
        change={_KERNEL: _commented},
        expected=Expected(conclusion="success", jobs=_GREEN, summary=("perf: pass",)),
    ),
    Scenario(
        name="nightly-red",
        event="schedule",
        machine=_SLOWER,
        expected=Expected(conclusion="failure", jobs=_RED, summary=("SLOWER",)),
    ),
    Scenario(
        name="excused",
        change={"pyproject.toml": _widened},
        machine=_SLOWER,
        labels=(_LABEL,),
        then_comment=True,
        expected=Expected(
            conclusion="failure",
            jobs={"measure": "failure", "perf": "success"},
            summary=("SLOWER", _LABEL),
            comment=("SLOWER", _LABEL),
            artifacts=(f"perf-{SLUG}", f"perf-{SLUG}-own"),
        ),
    ),
    Scenario(
        name="label-of-before",
        change={"pyproject.toml": _widened},
        machine=_SLOWER,
        labels=(f"-{_LABEL}",),
        expected=Expected(conclusion="failure", jobs=_RED, summary=("SLOWER",)),
    ),
    Scenario(
        name="workflow-touched",
        change={_FLOW: _commented},
        then_comment=True,
        expected=Expected(conclusion="success", jobs=_GREEN, comment=("edits what runs on GitHub", "perf: pass")),
    ),
    Scenario(
        name="workflow-replaced",
        change={_FLOW: _one_job},
        then_comment=True,
        expected=Expected(
            conclusion="success",
            comment=("not the gate's", "edits what runs on GitHub"),
            not_said=("perf: pass",),
        ),
    ),
    Scenario(
        name="kernel-writes-files",
        change={_KERNEL: _commented},
        machine={"hostile": True},
        expected=Expected(conclusion="success", jobs=_GREEN, summary=("perf: pass",), not_said=(_WRITTEN,)),
    ),
    Scenario(
        name="kernel-rewrites-results",
        change={_KERNEL: _commented},
        machine={"hostile": True, **_SLOWER},
        then_comment=True,
        expected=Expected(conclusion="failure", jobs=_RED, summary=("SLOWER",), not_said=("perf: pass", _WRITTEN)),
    ),
    Scenario(
        name="ci",
        workflow="ci.yml",
        machine={"gpu": False, "sessions": _SESSIONS},
        expected=Expected(conclusion="success", jobs={"nox": "success", "without-card": "success", "ci": "success"}),
    ),
    Scenario(
        name="ci-red",
        workflow="ci.yml",
        machine={"gpu": False, "sessions": {**_SESSIONS, "tests": 1}},
        expected=Expected(conclusion="failure", jobs={"nox": "failure", "without-card": "success", "ci": "failure"}),
    ),
    Scenario(
        name="calibrate",
        workflow="calibrate.yml",
        event="schedule",
        machine={"sessions": {"calibrate": 0}},
        expected=Expected(
            conclusion="success",
            jobs={"plan": "success", "calibrate": "success"},
            artifacts=(f"calibration-{SLUG}",),
        ),
    ),
    Scenario(
        name="label",
        workflow="label.yml",
        labels=(_LABEL,),
        expected=Expected(conclusion="success", sent=(r"POST /actions/jobs/2/rerun",)),
    ),
    Scenario(
        name="retargeted",
        change={_KERNEL: _commented},
        machine=_SLOWER,
        edited="base",
        earlier="success",
        moved=True,
        then_comment=True,
        expected=Expected(
            conclusion="failure", jobs=_RED, summary=("SLOWER",), comment=("SLOWER",), not_said=("perf: pass",)
        ),
    ),
    Scenario(
        name="title-edited",
        change={_KERNEL: _commented},
        edited="title",
        earlier="success",
        then_comment=True,
        expected=Expected(
            conclusion="success",
            jobs=_REPEATED | {"perf": "success"},
            summary=("the job perf of run 41 ended as success",),
            comment=("run=41 ", "it left no report"),  # the stand-in keeps none of it
        ),
    ),
    Scenario(
        name="title-edited-red",
        edited="title",
        earlier="failure",
        expected=Expected(
            conclusion="failure",
            jobs=_REPEATED | {"perf": "failure"},
            summary=("the job perf of run 41 ended as failure",),
        ),
    ),
    Scenario(
        name="title-edited-moved",
        edited="title",
        earlier="success",
        moved=True,
        expected=Expected(
            conclusion="failure", jobs=_REPEATED | {"perf": "failure"}, summary=("into another branch than run 41",)
        ),
    ),
    Scenario(
        name="title-edited-unjudged",
        edited="title",
        expected=Expected(
            conclusion="failure", jobs=_REPEATED | {"perf": "failure"}, summary=("No run of perf.yml has judged",)
        ),
    ),
    Scenario(
        name="update-baselines",
        workflow="update-baselines.yml",
        event="workflow_dispatch",
        inputs=_UPDATE,
        expected=Expected(
            conclusion="success",
            jobs={"pick": "success", "measure": "success", "propose": "success"},
            sent=("POST /pulls", r"POST /issues/8/labels", r"POST /actions/workflows/perf\.yml/dispatches"),
        ),
    ),
    Scenario(
        name="update-baselines-no-gpu",
        workflow="update-baselines.yml",
        event="workflow_dispatch",
        inputs=_UPDATE,
        machine={"gpu": False},
        expected=Expected(
            conclusion="failure", jobs={"measure": "failure", "propose": "skipped"}, not_sent=("POST /.*",)
        ),
    ),
)
