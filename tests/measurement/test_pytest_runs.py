"""What the gate makes of a pytest run: nothing that did not pass is ever taken for a pass."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.measurement import pytest_runs
from perfgate.records import GateError, Status, exit_code
from perfgate.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Callable

    from perfgate.measurement.pytest_runs import Results, TestRun

    Run = Callable[..., Results]
    Start = Callable[..., TestRun]

TESTS = """
import os, signal, time
import pytest
from perfgate.harness.correctness import WrongResultError
from perfgate.records import Case, GateError

def case(name):
    return Case(id=name, shapes=(), layouts=(), dtype="float32", precision="tf32", flops=1, min_bytes=1, device_bytes=1, unit="tf32")

both = pytest.mark.parametrize("case", [pytest.param(case(n), id=n) for n in ("one", "two")])

@both
def test_it(case):
    {body}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project of two cases whose tests do what the test at hand says."""
    (tmp_path / "pyproject.toml").write_text(
        '[tool.perfgate]\ntests = "checks"\n[tool.pytest.ini_options]\nmarkers=["quick"]\n'
    )
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/conftest.py").write_text('pytest_plugins = ("perfgate.harness.plugin",)\n')
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    return load(tmp_path)


@pytest.fixture
def run(project: Settings) -> Run:
    """Run the two cases' test with a body, in a process of its own, as the gate does."""

    def run_body(body: str = "pass", **options: Any) -> Results:
        text = TESTS.replace("{body}", textwrap.indent(textwrap.dedent(body), "    ").strip())
        (project.root / "checks/test_body.py").write_text(text)
        return pytest_runs.start_tests(project, "test_body.py", project.root / "out/results.json", **options).finish()

    return run_body


def judged(results: Results, *, on_purpose: bool = False) -> dict[str, tuple[str, int]]:
    found = pytest_runs.verdicts(results, ("one", "two"), on_purpose=on_purpose)
    return {verdict.case: (verdict.reason, verdict.exit_code) for verdict in found}


def test_cases_that_pass_give_no_verdict_to_worry_about(run: Run) -> None:
    assert judged(run()) == {}


def test_a_wrong_result_is_exit_1_and_names_the_case(run: Run) -> None:
    results = run('if case.id == "two": raise WrongResultError("two: error 3 against float64, expected at most 1.")')
    assert judged(results) == {"two": ("wrong-result", 1)}
    (verdict,) = pytest_runs.verdicts(results, ("one", "two"), on_purpose=False)
    assert verdict.text.startswith("two: error 3 against float64, expected at most 1;")


def test_any_exception_of_the_kernel_is_a_wrong_result_with_its_message(run: Run) -> None:
    (verdict,) = pytest_runs.verdicts(
        run('if case.id == "one": raise KeyError("BLOCK")'), ("one", "two"), on_purpose=False
    )
    assert (verdict.case, verdict.exit_code) == ("one", 1)
    assert "KeyError: 'BLOCK'" in verdict.text


def test_a_skipped_case_is_invalid(run: Run) -> None:
    assert judged(run('if case.id == "one": pytest.skip("not today")')) == {"one": ("skipped", 2)}


def test_an_expected_failure_does_not_pass(run: Run) -> None:
    assert judged(run('if case.id == "one": pytest.xfail("known")')) == {"one": ("skipped", 2)}


def test_what_cannot_be_judged_keeps_its_own_reason(run: Run) -> None:
    results = run('if case.id == "one": raise GateError("does-not-fit", "one: needs 30 GB, 22 GB are free.")')
    assert judged(results) == {"one": ("does-not-fit", 2)}


def test_a_case_without_a_test_is_invalid(run: Run) -> None:
    found = pytest_runs.verdicts(run(), ("one", "two", "renamed"), on_purpose=False)
    assert [(v.case, v.reason) for v in found] == [("renamed", "not-run")]


@pytest.mark.parametrize("option", ["--deselect=checks/test_body.py::test_it[two]", "-k one"])
def test_a_case_deselected_behind_the_gates_back_is_invalid(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", option)
    assert judged(run()) == {"*": ("deselected", 2), "two": ("not-run", 2)}


def test_a_test_deselected_behind_the_gates_back_is_invalid_though_its_case_has_another(
    run: Run, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = TESTS.replace("test_it", "test_more").replace("{body}", "pass")
    (project.root / "checks/test_more.py").write_text(second)
    monkeypatch.setenv("PYTEST_ADDOPTS", "--deselect=checks/test_more.py::test_more checks/test_more.py")
    assert judged(run()) == {"*": ("deselected", 2)}


def test_no_test_at_all_is_invalid(run: Run) -> None:
    results = run(cases=("three",))
    assert exit_code(pytest_runs.verdicts(results, (), on_purpose=True)) == 2
    assert [v.reason for v in pytest_runs.verdicts(results, (), on_purpose=True)] == ["zero-cases"]


def test_cases_chosen_by_id_run_alone(run: Run) -> None:
    assert {item["case"] for item in run(cases=("two",)).items.values()} == {"two"}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--benchmark-disable",), "--benchmark-disable turns every benchmark off"),
        (("--benchmark-skip",), "--benchmark-skip turns every benchmark off"),
        (("-n", "2"), "pytest-xdist"),
        (("--dist=load", "-n1"), "pytest-xdist"),
        (("-p", "no:benchmark"), "pytest-benchmark is not loaded"),
        (("--no-such-option",), "unrecognized arguments: --no-such-option"),
    ],
)
def test_options_that_would_measure_nothing_are_refused_with_one_sentence(
    run: Run, options: tuple[str, ...], says: str
) -> None:
    with pytest.raises(GateError, match=says) as caught:
        run(pytest_args=options)
    assert caught.value.text.count("\n") == 0


def test_the_same_options_hidden_in_the_environment_are_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--benchmark-disable")
    with pytest.raises(GateError, match="turns every benchmark off"):
        run()


def test_a_kernel_that_kills_its_process_is_wrong_and_named_and_the_rest_has_not_run(run: Run) -> None:
    results = run("os.kill(os.getpid(), signal.SIGKILL)")
    assert judged(results) == {"one": ("wrong-result", 1), "two": ("not-run", 2)}
    first = pytest_runs.verdicts(results, (), on_purpose=False)[0]
    assert "one: its process died while it ran (killed by signal 9)" in first.text


def test_what_failed_before_a_crash_is_kept(run: Run) -> None:
    body = """
        if case.id == "one":
            raise WrongResultError("one: error 3.")
        os.abort()
    """
    assert judged(run(body)) == {"one": ("wrong-result", 1), "two": ("wrong-result", 1)}


def test_a_run_that_stops_half_way_leaves_the_rest_not_run(run: Run) -> None:
    results = run('if case.id == "one": pytest.exit("enough")')
    assert judged(results)["two"] == ("not-run", 2)


def test_a_kernel_that_hangs_is_stopped_and_named(run: Run) -> None:
    results = run("time.sleep(60)", timeout_s=5)
    assert judged(results) == {"one": ("wrong-result", 1), "two": ("not-run", 2)}
    assert (
        "its process was ended while it ran, as it did not end within 5 s (launch_timeout_s"
        in pytest_runs.verdicts(results, (), on_purpose=False)[0].text
    )


def test_a_test_file_that_cannot_be_imported_is_said(project: Settings) -> None:
    (project.root / "checks/test_broken.py").write_text("import no_such_module\n")
    with pytest.raises(GateError, match="no_such_module"):
        pytest_runs.start_tests(project, "test_broken.py", project.root / "out/results.json").finish()


def test_a_results_file_of_an_earlier_run_is_never_read(run: Run, project: Settings) -> None:
    run()
    with pytest.raises(GateError, match="left no results"):
        run(pytest_args=("--no-such-option",))
    assert not (project.root / "out/results.json").exists()


def test_the_worst_verdict_of_a_case_is_kept() -> None:
    items = {
        "a": {"case": "one", "outcome": "skipped", "reason": "", "text": ""},
        "b": {"case": "one", "outcome": "failed", "reason": "", "text": "one: wrong."},
        "c": {"case": "one", "outcome": "passed", "reason": "", "text": ""},
    }
    found = pytest_runs.verdicts(pytest_runs.Results(items=items, deselected=(), seed=1), ("one",), on_purpose=False)
    assert [(v.case, v.status, v.exit_code) for v in found] == [("one", Status.INVALID, 1)]


def test_the_seed_of_a_run_is_drawn_anew_and_kept(run: Run) -> None:
    assert run().seed != run().seed
    assert run(pytest_args=("--perfgate-seed=7",)).seed == 7


# A run that is started before it may begin: it imports while another process measures.


@pytest.fixture
def start(project: Settings) -> Start:
    """Start the two cases' test, waiting, in a process that leaves a file when it is collected and one a test."""

    def started(body: str = "pass", *, before: str = "", **options: Any) -> TestRun:
        text = TESTS.replace("{body}", f'open(case.id, "w").close()\n    {body}')
        text = text.replace("both =", f'{before}\nopen("collected", "w").close()\nboth =')
        (project.root / "checks/test_body.py").write_text(text)
        return pytest_runs.start_tests(project, "test_body.py", project.root / "out/results.json", wait=True, **options)

    return started


def wait_until_collected(project: Settings) -> None:
    """By then it waits, or would have begun its tests if it did not."""
    limit_s = time.monotonic() + 60
    while not (project.root / "collected").exists():
        assert time.monotonic() < limit_s
        time.sleep(0.02)
    time.sleep(0.3)


def ran(project: Settings) -> set[str]:
    return {name for name in ("one", "two") if (project.root / name).exists()}


def test_a_run_that_waits_begins_no_test_before_it_is_told_to(start: Start, project: Settings) -> None:
    run = start()
    wait_until_collected(project)
    assert run.process.poll() is None
    assert (ran(project), run.results.exists()) == (set(), False)
    run.begin()
    results = run.finish()
    assert ran(project) == {"one", "two"}
    assert judged(results) == {}


def test_waiting_is_no_part_of_the_time_that_the_tests_took(start: Start, project: Settings) -> None:
    run = start()
    began_s = time.monotonic()
    wait_until_collected(project)
    waited_s = time.monotonic() - began_s
    results = run.finish()  # which tells it to begin
    assert judged(results) == {}
    assert 0 < results.tests_s < waited_s


def test_a_run_that_is_abandoned_ends_without_a_test_and_says_why(start: Start, project: Settings) -> None:
    run = start()
    wait_until_collected(project)
    run.abandon()
    run.abandon()  # as a clean-up does after the end
    assert run.process.wait(60) == 2
    assert ran(project) == set()
    assert "the gate that started this process is gone, so nothing was measured" in run.log.read_text()
    assert judged(run.finish()) == {"one": ("not-run", 2), "two": ("not-run", 2)}


def test_a_run_that_ended_before_it_could_begin_says_why_at_its_end(start: Start) -> None:
    run = start(pytest_args=("--no-such-option",))
    run.process.wait(60)
    run.begin()
    with pytest.raises(GateError, match="unrecognized arguments: --no-such-option"):
        run.finish()


def test_the_cases_of_a_run_are_known_while_it_still_runs(start: Start, project: Settings) -> None:
    run = start('while not os.path.exists("enough"): time.sleep(0.02)', pytest_args=("-k", "two"))
    assert run.collected() == {"two"}
    assert run.process.poll() is None
    (project.root / "enough").touch()
    assert judged(run.finish(), on_purpose=True)["one"] == ("not-run", 2)
    assert ran(project) == {"two"}


def test_a_run_that_begins_no_test_has_no_cases(start: Start) -> None:
    chosen = start(pytest_args=("-k", "nothing_is_called_so"))
    assert chosen.collected() == frozenset()
    chosen.finish()
    broken = start(before="import no_such_module")
    assert broken.collected() == frozenset()
    with pytest.raises(GateError, match="no_such_module"):
        broken.finish()
