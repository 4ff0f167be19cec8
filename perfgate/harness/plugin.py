"""The pytest plugin: options, fixtures, and a record of what every test said. The only file that imports pytest.

A run leaves a results file in which a case that was skipped, deselected or never reached can be told from one
that passed; the gate reads that file, never pytest's exit code alone.
"""

from __future__ import annotations

import gc
import json
import os
import platform
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.config import Settings, read_settings
from perfgate.harness import machine
from perfgate.project import load_kernel
from perfgate.records import SCHEMA, GateError
from perfgate.store.reference import LoadedSide

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from types import ModuleType

    from perfgate.harness.timer import Stopwatch
    from perfgate.records import Case

_INVALID_EXIT = 2


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options that the gate gives to the pytest runs it starts."""
    group = parser.getgroup("perfgate")
    group.addoption("--perfgate-results", type=Path, help="write what every test said to this file")
    group.addoption("--perfgate-case", action="append", default=[], help="run this case only (may be repeated)")
    group.addoption("--perfgate-other", type=Path, help="kernel file of the other side, measured in the same launches")
    group.addoption("--perfgate-other-is", nargs=2, metavar=("KIND", "NAME"), help="what the other side is")
    group.addoption("--perfgate-continued", action="store_true", help="this launch leaves out decided cases on purpose")
    group.addoption("--perfgate-wait", type=int, metavar="FD", help="begin the tests when this file descriptor says so")
    group.addoption("--perfgate-seed", type=int, help="seed of the inputs; drawn anew and reported when not given")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse what would make a run pass without measuring, and start the record."""
    option = config.option
    shared = getattr(option, "dist", "no") != "no" or getattr(option, "numprocesses", None)
    why = ""
    if getattr(option, "benchmark_disable", False) or getattr(option, "benchmark_skip", False):
        flag = "--benchmark-disable" if option.benchmark_disable else "--benchmark-skip"
        why = f"{flag} turns every benchmark off, so nothing would be judged; run without it."
    elif hasattr(config, "workerinput") or shared:
        why = "under pytest-xdist pytest-benchmark turns itself off and cases would share the card; run without -n."
    elif not config.pluginmanager.hasplugin("benchmark"):
        why = "pytest-benchmark is not loaded (-p no:benchmark?); nothing could be timed."
    if why:
        pytest.exit(f"perfgate: {why}", _INVALID_EXIT)
    if option.perfgate_seed is None:
        option.perfgate_seed = secrets.randbelow(2**31)
    config.pluginmanager.register(Record(config), "perfgate-record")


class Record:
    """Collects what every test said and writes it when the session ends."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._items: dict[str, dict[str, str]] = {}
        self._deselected: list[str] = []
        self._collect_errors: list[str] = []
        self._began_s = 0.0

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep the cases that were asked for; the rest are counted as left out on purpose by the gate."""
        wanted = set(config.option.perfgate_case)
        if wanted:
            items[:] = [item for item in items if _case_id(item) in wanted]

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Every collected test has an entry from the start, so that one that is never reached is seen."""
        # What is imported by now stays: collecting garbage between cases need not look at it again (84 ms each time).
        gc.freeze()
        for item in session.items:
            self._items[item.nodeid] = {"case": _case_id(item), "outcome": "not run", "reason": "", "text": ""}
        waits_for: int | None = self._config.option.perfgate_wait
        if waits_for is not None and not os.read(waits_for, 1):
            pytest.exit("perfgate: the gate that started this process is gone, so nothing was measured.", _INVALID_EXIT)
        self._began_s = time.monotonic()

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Remember what pytest itself was told to leave out."""
        self._deselected += [item.nodeid for item in items]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember files that could not be collected."""
        if report.failed:
            self._collect_errors.append(f"{report.nodeid}: {_last_line(report.longreprtext)}")

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Remember the worst that a test's setup, call and teardown said."""
        report = yield
        entry = self._items[item.nodeid]
        error = call.excinfo.value if call.excinfo else None
        if report.skipped:
            entry.update(outcome="skipped", text=_last_line(report.longreprtext))
        elif isinstance(error, GateError):
            entry.update(outcome="invalid", reason=error.reason, text=error.text)
        elif report.failed:
            entry.update(outcome="failed", text=_first_line(error) if error else _last_line(report.longreprtext))
        elif report.when == "call" and entry["outcome"] == "running":
            entry["outcome"] = "passed"
        return report

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Leave word of which test is running: a kernel that kills the process leaves nothing else."""
        self._items[nodeid]["outcome"] = "running"
        self._write()

    def pytest_sessionfinish(self) -> None:
        """Write the record; a test that was cut short by the session's end has not run."""
        for entry in self._items.values():
            if entry["outcome"] == "running":
                entry["outcome"] = "not run"
        self._write()

    def _write(self) -> None:
        path: Path | None = self._config.option.perfgate_results
        if path is not None:
            document = {
                "schema": SCHEMA,
                "seed": self._config.option.perfgate_seed,
                "items": self._items,
                "deselected": self._deselected,
                "collect_errors": self._collect_errors,
                "tests_s": round(time.monotonic() - self._began_s, 3) if self._began_s else 0.0,
            }
            # Renamed into place: the gate reads it while the tests run.
            part = path.with_suffix(".part")
            part.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            part.replace(path)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say the seed, so that a failure can be repeated."""
        terminalreporter.write_line(f"perfgate: inputs drawn with --perfgate-seed {self._config.option.perfgate_seed}")

    def pytest_benchmark_update_json(self, output_json: dict[str, Any]) -> None:
        """Complete each benchmark's record with the rounds that pytest-benchmark timed, and add the environment."""
        # A test that failed after its rounds has times but no record; its failure is in the results file.
        output_json["benchmarks"] = [e for e in output_json["benchmarks"] if "perfgate" in e["extra_info"]]
        for entry in output_json["benchmarks"]:
            entry["extra_info"]["perfgate"]["launches"][0]["arms"]["kernel"] = entry["stats"]["data"]
        output_json["perfgate"] = {
            "schema": SCHEMA,
            "environment": {k: v for k, v in machine.look().items() if v},
            "settings": _settings(self._config).measurement(),
            "reason": "",
        }
        if self._config.option.perfgate_continued:
            output_json["perfgate"]["selected"] = sorted(set(self._config.option.perfgate_case))

    @pytest.hookimpl(tryfirst=True)
    def pytest_benchmark_generate_machine_info(self) -> dict[str, str]:
        """What a dashboard wants of the host; pytest-benchmark's own asks the processor for a second in every launch."""
        host = platform.uname()
        known = {name: getattr(host, name) for name in ("node", "processor", "machine", "system", "release")}
        python = {"implementation": platform.python_implementation(), "version": platform.python_version()}
        return known | {f"python_{name}": value for name, value in python.items()}


def _case_id(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(getattr(callspec.params.get("case"), "id", "")) if callspec else ""


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0] if isinstance(error, AssertionError) else f"{type(error).__name__}: {lines[0]}"


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _settings(config: pytest.Config) -> Settings:
    return read_settings(config.rootpath)


@pytest.fixture(scope="session")
def gate_settings(pytestconfig: pytest.Config) -> Settings:
    """The project's settings."""
    return _settings(pytestconfig)


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """Seed of the inputs of this run."""
    value: int = pytestconfig.option.perfgate_seed
    return value


@pytest.fixture(scope="session")
def kernel(gate_settings: Settings) -> ModuleType:
    """The kernel file under test, imported."""
    return load_kernel(gate_settings.root / gate_settings.kernel)


@pytest.fixture(scope="session")
def other_side(pytestconfig: pytest.Config) -> LoadedSide | None:
    """The other side of the comparison, imported beside the kernel under test; None where there is none."""
    path: Path | None = pytestconfig.option.perfgate_other
    if path is None:
        return None
    kind, name = pytestconfig.option.perfgate_other_is
    cache = pytestconfig.rootpath / ".perfgate" / "triton-cache-other"
    return LoadedSide(kind=kind, name=name, kernel=load_kernel(path, "kernel_other"), cache=str(cache))


@pytest.fixture(scope="session")
def device() -> str:
    """``cuda`` where a card can be used, else ``cpu`` (Triton's interpreter)."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _monitor() -> machine.Monitor:
    found = machine.look()
    if not found["gpu"]:
        raise GateError("no-card", f"Throughput needs a CUDA card and there is none: {found['why']}.")
    return machine.Monitor(found["uuid"])


@pytest.fixture
def monitor() -> machine.Monitor:
    """Watches the card while one case is measured."""
    return _monitor()


@pytest.fixture(scope="session")
def stopwatch(gate_settings: Settings) -> Stopwatch:
    """The stopwatch, sized for the card's L2 cache and clock."""
    clock_hz = _monitor().max_sm_clock_hz()
    import torch

    from perfgate.harness.timer import Stopwatch

    cache_bytes = torch.cuda.get_device_properties(0).L2_cache_size
    return Stopwatch(
        flush_bytes=gate_settings.flush_factor * cache_bytes, hold_cycles=int(gate_settings.hold_s * clock_hz)
    )


@pytest.fixture
def gpu_benchmark(request: pytest.FixtureRequest, stopwatch: Stopwatch) -> Any:  # noqa: ANN401 - pytest-benchmark is untyped
    """pytest-benchmark's fixture with the GPU stopwatch as its timer, so that its table and JSON hold device time."""
    request.node.add_marker(pytest.mark.benchmark(timer=stopwatch.stamp))
    return request.getfixturevalue("benchmark")


@pytest.fixture
def record_samples(gpu_benchmark: Any) -> Callable[..., None]:  # noqa: ANN401 - pytest-benchmark is untyped
    """Put one launch's samples into the benchmark's record; the kernel's own arm is added from its rounds."""

    def record(  # noqa: PLR0913 - the parts of a record, all by name
        *,
        case: Case,
        config: dict[str, Any],
        arms: Mapping[str, Sequence[float]],
        state: dict[str, Any],
        code: Mapping[str, str],
        other: LoadedSide | None,
    ) -> None:
        gpu_benchmark.extra_info["perfgate"] = {
            "case": case.id,
            "contract": case.contract(),
            "config": config,
            "launches": [{"arms": {name: list(values) for name, values in arms.items()}, "state": state}],
            "code": dict(code),
        }
        if other:
            gpu_benchmark.extra_info["perfgate"]["other"] = {"kind": other.kind, "name": other.name}

    return record
