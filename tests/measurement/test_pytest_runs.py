"""What the gate makes of a pytest run: nothing that did not pass is ever taken for a pass."""

from __future__ import annotations

import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.config import Settings, read_settings
from perfgate.measurement import pytest_runs
from perfgate.records import GateError, Status

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
    return read_settings(tmp_path)


@pytest.fixture
def start(project: Settings) -> Start:
    """Start the two cases' test with a body, as the gate does; it leaves a file when it is collected and one a test."""

    def started(body: str = "pass", *, before: str = "", **options: Any) -> TestRun:
        text = TESTS.replace("{body}", f'open(case.id, "w").close()\n{textwrap.indent(textwrap.dedent(body), "    ")}')
        text = text.replace("both =", f'{before}\nopen("collected", "w").close()\nboth =')
        (project.root / "checks/test_body.py").write_text(text)
        return pytest_runs.start_tests(project, "test_body.py", project.root / "out/results.json", **options)

    return started


@pytest.fixture
def run(start: Start) -> Run:
    """Run it to its end."""
    return lambda *body, **options: start(*body, **options).finish()


def judged(results: Results, *, on_purpose: bool = False) -> dict[str, tuple[str, int]]:
    found = pytest_runs.verdicts(results, ("one", "two"), on_purpose=on_purpose)
    return {verdict.case: (verdict.reason, verdict.exit_code) for verdict in found}


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; a test that waits so long has failed."""
    deadline_s = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)


WRONG = ("wrong-result", 1)


@pytest.mark.parametrize(
    ("body", "verdicts", "said"),
    [
        pytest.param("pass", {}, "", id="right"),
        pytest.param(
            'if case.id == "two": raise WrongResultError("two: error 3 against float64, expected at most 1.")',
            {"two": WRONG},
            "two: error 3 against float64, expected at most 1;",
            id="wrong",
        ),
        pytest.param(
            'if case.id == "one": raise KeyError("BLOCK")', {"one": WRONG}, "one: KeyError: 'BLOCK';", id="exception"
        ),
        pytest.param('if case.id == "one": pytest.skip("not today")', {"one": ("skipped", 2)}, "", id="skipped"),
        pytest.param('if case.id == "one": pytest.xfail("known")', {"one": ("skipped", 2)}, "", id="expected-to-fail"),
        pytest.param(
            'if case.id == "one": raise GateError("does-not-fit", "one: needs 30 GB, 22 GB are free.")',
            {"one": ("does-not-fit", 2)},
            "one: needs 30 GB",
            id="cannot-be-judged",
        ),
        pytest.param(
            "os.kill(os.getpid(), signal.SIGKILL)",
            {"one": WRONG, "two": ("not-run", 2)},
            "one: its process died while it ran (killed by signal 9)",
            id="kills-its-process",
        ),
        pytest.param(
            'if case.id == "one": raise WrongResultError("one: error 3.")\nos.abort()',
            {"one": WRONG, "two": WRONG},
            "one: error 3;",
            id="wrong-before-a-crash",
        ),
        pytest.param(
            'if case.id == "one": pytest.exit("enough")',
            {"one": ("not-run", 2), "two": ("not-run", 2)},
            "",
            id="stops-half-way",
        ),
    ],
)
def test_what_did_not_pass_is_named_with_its_reason(
    run: Run, body: str, verdicts: dict[str, tuple[str, int]], said: str
) -> None:
    results = run(body)
    assert judged(results) == verdicts
    if said:
        first = pytest_runs.verdicts(results, (), on_purpose=False)[0]
        assert first.text.startswith(said)


def test_a_kernel_that_hangs_is_stopped_and_named(start: Start, project: Settings) -> None:
    hung = start("time.sleep(600)")
    hung.begin()
    until((project.root / "one").exists)
    hung.timeout_s = 0.1
    results = hung.finish()
    assert judged(results) == {"one": WRONG, "two": ("not-run", 2)}
    late = "its process was ended while it ran, as it did not end within 0.1 s (launch_timeout_s in [tool.perfgate])"
    assert late in pytest_runs.verdicts(results, (), on_purpose=False)[0].text


@pytest.mark.parametrize(
    ("option", "verdicts"),
    [
        ("--deselect=checks/test_body.py::test_it[two]", {"*": ("deselected", 2), "two": ("not-run", 2)}),
        ("-k one", {"*": ("deselected", 2), "two": ("not-run", 2)}),
        # Its case has another test.
        ("--deselect=checks/test_more.py::test_more checks/test_more.py", {"*": ("deselected", 2)}),
    ],
)
def test_what_is_deselected_behind_the_gates_back_is_invalid(
    run: Run, project: Settings, monkeypatch: pytest.MonkeyPatch, option: str, verdicts: dict[str, tuple[str, int]]
) -> None:
    second = TESTS.replace("test_it", "test_more").replace("{body}", "pass")
    (project.root / "checks/test_more.py").write_text(second)
    monkeypatch.setenv("PYTEST_ADDOPTS", option)
    assert judged(run()) == verdicts


def test_cases_chosen_by_id_run_alone_and_a_case_without_a_test_or_no_test_at_all_is_invalid(run: Run) -> None:
    assert {item["case"] for item in run(cases=("two",)).items.values()} == {"two"}
    (verdict,) = pytest_runs.verdicts(run(cases=("three",)), (), on_purpose=True)
    assert (verdict.reason, verdict.exit_code) == ("zero-cases", 2)
    found = pytest_runs.verdicts(run(), ("one", "two", "renamed"), on_purpose=False)
    assert [(v.case, v.reason) for v in found] == [("renamed", "not-run")]


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
    start: Start, options: tuple[str, ...], says: str
) -> None:
    refused = start(pytest_args=options)
    refused.process.wait(300)  # it ended before it could begin
    with pytest.raises(GateError, match=says) as caught:
        refused.finish()
    assert caught.value.text.count("\n") == 0


def test_they_are_refused_in_the_environment_too_and_an_earlier_runs_results_are_never_read(
    run: Run, project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    with pytest.raises(GateError, match="left no results"):
        run(pytest_args=("--no-such-option",))
    assert not (project.root / "out/results.json").exists()
    monkeypatch.setenv("PYTEST_ADDOPTS", "--benchmark-disable")
    with pytest.raises(GateError, match="turns every benchmark off"):
        run()


def test_the_worst_verdict_of_a_case_is_kept() -> None:
    outcomes = {"a": ("skipped", ""), "b": ("failed", "one: wrong."), "c": ("passed", "")}
    items = {node: {"case": "one", "outcome": o, "reason": "", "text": text} for node, (o, text) in outcomes.items()}
    found = pytest_runs.verdicts(pytest_runs.Results(items=items, deselected=(), seed=1), ("one",), on_purpose=False)
    assert [(v.case, v.status, v.exit_code) for v in found] == [("one", Status.INVALID, 1)]


def test_the_seed_of_a_run_is_drawn_anew_and_kept(run: Run) -> None:
    assert run().seed != run().seed
    assert run(pytest_args=("--perfgate-seed=7",)).seed == 7


# A run is started before it may begin: it imports while another process measures.


def ran(project: Settings) -> set[str]:
    return {name for name in ("one", "two") if (project.root / name).exists()}


def test_a_run_begins_no_test_before_it_is_told_to_and_waiting_is_no_part_of_its_time(
    start: Start, project: Settings
) -> None:
    run = start()
    until((project.root / "collected").exists)
    time.sleep(0.3)  # by then it would have begun its tests
    assert (run.process.poll(), ran(project), run.results.exists()) == (None, set(), False)
    began_s = time.monotonic()
    results = run.finish()  # which tells it to begin
    assert judged(results) == {}
    assert ran(project) == {"one", "two"}
    assert 0 < results.tests_s < time.monotonic() - began_s


def test_a_run_that_is_abandoned_ends_without_a_test_and_says_why(start: Start, project: Settings) -> None:
    run = start()
    until((project.root / "collected").exists)
    run.abandon()
    run.abandon()  # as a clean-up does after the end
    assert run.process.wait(300) == 2
    assert ran(project) == set()
    assert "the gate that started this process is gone, so nothing was measured" in run.log.read_text()
    assert judged(run.finish()) == {"one": ("not-run", 2), "two": ("not-run", 2)}


def test_the_cases_of_a_run_are_known_while_it_still_runs(start: Start, project: Settings) -> None:
    run = start('while not os.path.exists("enough"): time.sleep(0.02)', pytest_args=("-k", "two"))
    assert run.collected() == {"two"}
    assert run.process.poll() is None
    (project.root / "enough").touch()
    assert judged(run.finish(), on_purpose=True)["one"] == ("not-run", 2)
    assert ran(project) == {"two"}


def test_a_run_that_begins_no_test_has_no_cases_and_a_broken_file_is_said(start: Start) -> None:
    chosen = start(pytest_args=("-k", "nothing_is_called_so"))
    assert chosen.collected() == frozenset()
    chosen.finish()
    broken = start(before="import no_such_module")
    assert broken.collected() == frozenset()
    with pytest.raises(GateError, match="no_such_module"):
        broken.finish()
