"""The workflow files: thin, with the least rights, and nothing in them that a card's machine or a reader would regret.

zizmor and actionlint look at them in ``nox -s lint``; here is what this project promises beyond that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
_HOSTED = "ubuntu-24.04"
_NOX = re.compile(r"""pipx run nox==(\S+) -s ([a-z-]+|"\$SESSION")( -- [^;&|`$]*("\$[A-Z]+")?)?""")
_WRITES = {
    ("comment", "comment"): {"pull-requests"},
    ("label", "recheck"): {"actions"},
    ("update-baselines", "propose"): {"contents", "pull-requests", "actions"},
}
"""The jobs that may write, and what."""


def _workflow(path: Path) -> dict[str, Any]:
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    found["on"] = found.pop(True)  # YAML 1.1 takes the word for a truth value
    return found


WORKFLOWS = {path.stem: _workflow(path) for path in FILES}
JOBS = [(name, job) for name, flow in WORKFLOWS.items() for job in flow["jobs"]]
STEPS = [(name, job, number) for name, job in JOBS for number, _ in enumerate(WORKFLOWS[name]["jobs"][job]["steps"])]


def _job(name: str, job: str) -> dict[str, Any]:
    found: dict[str, Any] = WORKFLOWS[name]["jobs"][job]
    return found


def test_the_workflows_are_those_that_the_readme_names() -> None:
    assert set(WORKFLOWS) == {"ci", "perf", "comment", "label", "update-baselines", "calibrate"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_has_no_rights_of_its_own(name: str) -> None:
    assert WORKFLOWS[name]["permissions"] == {}


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_writes_only_where_that_is_its_task(name: str, job: str) -> None:
    rights = _job(name, job)["permissions"]
    assert {what for what, right in rights.items() if right != "read"} == _WRITES.get((name, job), set())


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_a_job_ends_in_bounded_time(name: str, job: str) -> None:
    assert 0 < _job(name, job)["timeout-minutes"] <= 60


@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_a_step_is_a_nox_session_or_an_action_pinned_by_its_commit(name: str, job: str, number: int) -> None:
    step = _job(name, job)["steps"][number]
    if "uses" in step:
        assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
    elif (name, job) != ("perf", "approve"):  # a job has to have a step; this one only waits for its environment
        assert _NOX.fullmatch(step["run"]), step["run"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_pinned_action_names_its_version(path: Path) -> None:
    uses = [line for line in path.read_text(encoding="utf-8").splitlines() if "uses: " in line]
    assert uses
    assert [line for line in uses if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_an_expression_reaches_the_shell_only_through_the_environment(name: str, job: str, number: int) -> None:
    assert "${{" not in _job(name, job)["steps"][number].get("run", "")


@pytest.mark.parametrize(("name", "job", "number"), STEPS)
def test_a_checkout_leaves_no_credentials(name: str, job: str, number: int) -> None:
    step = _job(name, job)["steps"][number]
    if step.get("uses", "").startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize(("name", "job"), [(name, job) for name, job in JOBS if _job(name, job)["runs-on"] != _HOSTED])
def test_a_job_with_a_card_has_no_secret_no_token_and_the_labels(name: str, job: str) -> None:
    found = _job(name, job)
    assert found["runs-on"][:4] == ["self-hosted", "linux", "x64", "gpu"]
    assert found["permissions"] == {"contents": "read"}
    text = str(found)
    assert "secrets." not in text
    assert "github.token" not in text


def test_no_job_that_runs_a_kernel_may_be_reached_without_admission() -> None:
    assert _job("perf", "measure")["needs"] == ["plan", "admit"]
    assert "needs.admit.result == 'success'" in _job("perf", "measure")["if"]
    assert set(WORKFLOWS["update-baselines"]["on"]) == {"workflow_dispatch"}
    assert set(WORKFLOWS["calibrate"]["on"]) == {"schedule", "workflow_dispatch"}


def test_a_forks_run_waits_for_the_reviewers_of_its_environment() -> None:
    from perfgate.github.admit import ENVIRONMENT

    assert _job("perf", "approve")["environment"] == ENVIRONMENT
    assert "approve" in _job("perf", "admit")["needs"]


def test_another_branch_is_judged_and_an_edited_text_neither_measures_nor_cancels_nor_leaves_a_report() -> None:
    flow, judged = WORKFLOWS["perf"], "github.event.action != 'edited' || !!github.event.changes.base"
    assert flow["on"]["pull_request"] == {"types": ["opened", "synchronize", "reopened", "edited"]}
    assert "merge_group" in flow["on"]  # a required check that does not answer there would keep a queue waiting
    assert _job("perf", "plan")["if"] == judged
    assert _job("perf", "approve")["if"].endswith(f" && ({judged})")
    assert flow["concurrency"]["cancel-in-progress"] == (
        f"${{{{ github.event_name == 'pull_request' && ({judged}) }}}}"
    )
    assert _job("perf", "perf")["steps"][-1]["if"] == "always() && needs.plan.result != 'skipped'"


def test_the_rules_that_github_enforces_name_the_one_check_that_there_is() -> None:
    text = (ROOT / ".github/RUNNER.md").read_text(encoding="utf-8")
    assert re.findall(r'"context": "([a-z-]+)"', text) == [_job("perf", "perf")["name"]]
    for rule in ("require_code_owner_review", "require_last_push_approval", "dismiss_stale_reviews_on_push"):
        assert f'"{rule}": true' in text


def test_the_check_may_ask_what_it_asks_of_the_label() -> None:
    rights = _job("perf", "perf")["permissions"]
    assert rights == dict.fromkeys(("contents", "actions", "issues", "pull-requests"), "read")


def test_the_jobs_that_a_comment_expects_are_those_of_the_gate() -> None:
    from perfgate.github.comment import JOBS

    assert [job["name"].partition(" (")[0] for job in WORKFLOWS["perf"]["jobs"].values()] == list(JOBS)


def test_an_update_of_baselines_wants_its_card_and_leaves_out_what_was_cached() -> None:
    steps = _job("update-baselines", "measure")["steps"]
    assert any("-s update-baselines -- --require-gpu " in step.get("run", "") for step in steps)
    for name, job, number in STEPS:
        kept = _job(name, job)["steps"][number].get("with", {}).get("path", "").split()
        for path in kept:
            assert not path.endswith(".perfgate") or path.startswith("!") or f"!{path}/cache" in kept


@pytest.mark.parametrize(("name", "job"), [("perf", "perf"), ("ci", "ci")])
def test_the_required_check_always_runs_and_waits_for_every_job(name: str, job: str) -> None:
    found = _job(name, job)
    assert found["if"] == "always()"
    assert set(found["needs"]) == set(WORKFLOWS[name]["jobs"]) - {job}
    assert "NEEDS" in found["steps"][-1].get("env", {}) or "NEEDS" in found["steps"][-2]["env"]


def test_a_pull_request_is_never_judged_on_a_shallow_clone() -> None:
    checkouts = [step["with"] for step in _job("perf", "measure")["steps"] if "checkout" in step.get("uses", "")]
    assert [found["fetch-depth"] for found in checkouts] == [0, 0]


def test_the_base_is_checked_out_where_the_gate_runs_and_the_candidate_beside_it() -> None:
    base, candidate = (step["with"] for step in _job("perf", "measure")["steps"][:2])
    assert base["ref"] == "${{ needs.plan.outputs.base }}"
    assert "path" not in base
    assert (candidate["ref"], candidate["path"]) == ("${{ needs.plan.outputs.candidate }}", "candidate")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_group_is_one_for_the_card(name: str) -> None:
    group = WORKFLOWS[name]["concurrency"]["group"]
    assert re.search(r"github\.(run_id|event\.pull_request\.number|event\.workflow_run\.head_sha)", group)


def test_only_the_comment_runs_with_rights_after_a_pull_request_and_checks_none_of_it_out() -> None:
    assert [name for name, flow in WORKFLOWS.items() if {"workflow_run", "pull_request_target"} & set(flow["on"])] == [
        "comment"
    ]
    (checkout,) = (step for step in _job("comment", "comment")["steps"] if "checkout" in step.get("uses", ""))
    assert checkout["with"] == {"persist-credentials": False}


def test_no_step_may_fail_in_silence() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in FILES)
    assert "continue-on-error" not in text
    assert "|| true" not in text


def test_nox_is_the_same_everywhere() -> None:
    others = ("README.md", "CONTRIBUTING.md", ".ci/run", "pyproject.toml", ".github/RUNNER.md")
    found = {
        path.name: set(re.findall(r"nox==([\w.]*\w)", path.read_text(encoding="utf-8")))
        for path in (*FILES, *(ROOT / name for name in others))
    }
    assert [name for name, versions in found.items() if len(versions) != 1] == []
    assert len(set.union(*found.values())) == 1


def test_every_session_that_a_workflow_names_exists() -> None:
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    for name, job, number in STEPS:
        found = _NOX.fullmatch(_job(name, job)["steps"][number].get("run", ""))
        if found:
            sessions = _job(name, job)["strategy"]["matrix"]["session"] if found[2] == '"$SESSION"' else [found[2]]
            assert all(f"def {session.replace('-', '_')}(" in noxfile for session in sessions)


def test_every_command_that_a_workflow_names_exists() -> None:
    from perfgate.github.__main__ import COMMANDS

    runs = [_job(name, job)["steps"][number].get("run", "") for name, job, number in STEPS]
    named = {found[1] for run in runs if (found := re.search(r"-s github -- ([a-z]+)", run))}
    assert named == set(COMMANDS)


def test_the_names_that_workflows_and_code_share_are_the_same() -> None:
    from perfgate.github.comment import ARTIFACT
    from perfgate.github.conclusion import LABEL, REPORT, WORKFLOW
    from perfgate.github.pulls import CHECK

    kept = _job("perf", "perf")["steps"][-1]["with"]
    assert (kept["name"], kept["path"]) == (ARTIFACT, REPORT)
    assert _job("perf", "perf")["name"] == CHECK
    assert _job("label", "recheck")["if"] == f"github.event.label.name == '{LABEL}'"
    assert (WORKFLOW, WORKFLOWS["comment"]["on"]["workflow_run"]["workflows"]) == (
        "perf.yml",
        [WORKFLOWS["perf"]["name"]],
    )


def test_each_job_with_a_card_has_an_output_for_its_digest_and_uploads_before_the_changes_own_gate_runs() -> None:
    from perfgate.github.comment import ARTIFACT
    from perfgate.github.overlay import output_name
    from perfgate.github.plan import MOST_CARDS

    measure = _job("perf", "measure")
    assert measure["outputs"] == {
        output_name(n, own=own): f"${{{{ matrix.card.index == {n} && steps.{step}.outputs.evidence || '' }}}}"
        for own, step in ((False, "base"), (True, "own"))
        for n in range(MOST_CARDS)
    }
    steps = [step.get("id") or step.get("with", {}).get("name", "") for step in measure["steps"]]
    assert steps[-6:] == [
        *("base", "kept", "perf-${{ matrix.card.slug }}"),
        *("own", "kept-own", "perf-${{ matrix.card.slug }}-own"),
    ]
    (download,) = (step["with"] for step in _job("perf", "perf")["steps"] if "pattern" in step.get("with", {}))
    assert (download["merge-multiple"], ARTIFACT.startswith(download["pattern"].rstrip("*"))) == (True, False)


def test_the_required_check_never_runs_the_candidates_code_where_there_is_no_plan() -> None:
    planned = _job("perf", "plan")["steps"][0]["with"]["ref"]
    assert _job("perf", "perf")["steps"][0]["with"]["ref"] == planned.replace("${{ ", "${{ needs.plan.outputs.base || ")
