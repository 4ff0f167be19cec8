"""What a worker sees and can read; it ends as it would by itself, and nothing that it started outlives it or the gate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perfgate import workers
from perfgate.config import read_settings
from perfgate.doctor.host import CHANGES
from perfgate.measurement import pytest_runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, as a card does")
RUNNER = (
    *("GITHUB_ENV", "GITHUB_PATH", "GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "ACTIONS_RUNTIME_TOKEN"),
    *("ACTIONS_RESULTS_URL", "RUNNER_TEMP", "GH_TOKEN", "TORCH_HUB_TOKEN", "TRITON_SECRET", "PERFGATE_VERSIONS"),
    "LD_PRELOAD",
)
ROOT = Path(__file__).parents[2]
LONG_S = 300.0
"""Nothing takes so long; a test that waits so long has failed."""
ESCAPE = """
import os, signal, sys, time
def escape(name):
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    code = "import os, sys, time\\nwhile True:\\n open(sys.argv[1], 'a').write(f'{os.getpid()}\\\\n'); time.sleep(0.01)"
    os.execve(sys.executable, [sys.executable, "-c", code, name], {})
def wait(name):
    while not os.path.exists(name) or not os.path.getsize(name):
        time.sleep(0.01)
"""
"""`escape` leaves the session, forks twice, ignores signals, forgets its environment, and writes its number for ever."""


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.01)


def start(folder: Path, body: str) -> subprocess.Popen[bytes]:
    """A worker that runs a body; what it prints is in ``log``."""
    code = ESCAPE + textwrap.dedent(body)
    with (folder / "log").open("a") as log:
        return workers.start(
            [sys.executable, "-c", code],
            cwd=folder,
            environment=workers.environment(),
            stdout=log,
            stderr=log,
        )


def writer(path: Path) -> int:
    """The process that writes a file, once it does."""
    until(lambda: path.is_file() and "\n" in path.read_text())
    return int(path.read_text().split("\n", 1)[0])


def runs(pid: int) -> bool:
    """Whether a process is there and is no corpse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def grows(path: Path) -> bool:
    """Whether a file is longer than a moment ago; waits for that only as long as its writer runs."""
    pid, before = writer(path), path.stat().st_size
    while runs(pid):
        if path.stat().st_size > before:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """End what a test that fails would leave."""
    yield
    workers.end_all()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("sys.exit(3)", 3),
        ("pass", 0),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("sys.exit(4 if os.getsid(0) == os.getpgrp() == os.getpid() else 1)", 4),
    ],
)
def test_a_worker_ends_as_it_ended_by_itself(tmp_path: Path, body: str, code: int) -> None:
    process = start(tmp_path, body)
    assert process.wait(LONG_S) == code
    workers.end(process)
    assert process.returncode == code


def test_a_program_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = workers.run(["no-such-program"], cwd=tmp_path, environment=workers.environment())
    assert (done.returncode, done.stderr) == (127, "no-such-program could not be started: No such file or directory\n")


def test_a_worker_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    with pytest.raises(subprocess.TimeoutExpired):
        workers.run(command, cwd=tmp_path, environment=workers.environment(), timeout_s=0.1)


@pytest.mark.parametrize(
    "then",
    [
        pytest.param("sys.exit(0)", id="by-itself"),
        pytest.param("os.kill(os.getpid(), signal.SIGKILL)", id="killed"),
        pytest.param("signal.signal(signal.SIGTERM, signal.SIG_IGN); wait('never')", id="by-the-gate"),
        pytest.param("os.kill(os.getppid(), signal.SIGKILL); wait('never')", id="having-killed-its-supervisor"),
        pytest.param("os.kill(os.getppid(), signal.SIGTERM); wait('never')", id="having-ended-its-supervisor"),
    ],
)
def test_what_left_a_workers_session_is_dead_when_the_worker_has_ended(tmp_path: Path, then: str) -> None:
    process = start(tmp_path, f"escape('left')\nwait('left')\n{then}")
    pid = writer(tmp_path / "left")
    if "never" not in then or "getppid" in then:
        process.wait(LONG_S)
    workers.end(process)
    assert not runs(pid)
    assert not grows(tmp_path / "left")


def test_a_worker_that_stopped_its_supervisor_is_ended_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_ENDING_S", 0.1)
    process = start(tmp_path, "os.kill(os.getppid(), signal.SIGSTOP); escape('left'); wait('never')")
    pid = writer(tmp_path / "left")
    workers.end(process)
    assert not runs(pid)


@pytest.mark.parametrize("lost", ["pass", "os.kill(os.getppid(), signal.SIGKILL)"])
def test_another_worker_and_what_it_started_go_on(tmp_path: Path, lost: str) -> None:
    before = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    third = start(tmp_path, lost)
    one, other = (
        start(tmp_path, f"escape('{name}'); {then}; wait('never')")
        for name, then in (("1", "wait('1')"), ("2", "pass"))
    )
    left = [writer(tmp_path / name) for name in "12"]
    third.wait(LONG_S)
    workers.end(third)
    workers.end(one)
    assert [runs(pid) for pid in left] == [False, True]
    assert grows(tmp_path / "2")
    assert (other.poll(), before.poll()) == (None, None)
    workers.end_all()
    assert not runs(left[1])
    assert before.poll() is None
    before.communicate(b"\n")


def test_a_worker_does_not_end_with_the_thread_that_started_it(tmp_path: Path) -> None:
    found: list[subprocess.Popen[bytes]] = []

    def work() -> None:
        found.append(start(tmp_path, "escape('left'); wait('never')"))
        writer(tmp_path / "left")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert grows(tmp_path / "left")
    assert found[0].poll() is None


def gate(folder: Path, body: str) -> subprocess.Popen[bytes]:
    """A gate that waits for a worker; the worker writes its number, the gate that of the worker's supervisor."""
    body = ESCAPE + body + "\nopen('worker', 'w').write(f'{os.getpid()}\\n'); wait('never')"
    code = f"""
import signal, sys
from pathlib import Path
from perfgate import workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where a shell started the tests in the background
process = workers.start([sys.executable, "-c", {body!r}], cwd=Path("."), environment=workers.environment())
Path("supervisor").write_text(f"{{process.pid}}\\n")
process.wait()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=environment, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_gate_that_is_killed_leaves_nothing_running(tmp_path: Path, number: int) -> None:
    process = gate(tmp_path, "escape('left')")
    pids = [writer(tmp_path / name) for name in ("left", "worker", "supervisor")]
    process.send_signal(number)
    process.wait(LONG_S)
    until(lambda: not any(map(runs, pids)))
    assert not grows(tmp_path / "left")


def test_a_worker_ends_though_its_supervisor_and_the_gate_are_killed_at_once(tmp_path: Path) -> None:
    process = gate(tmp_path, "")
    worker, supervisor = (writer(tmp_path / name) for name in ("worker", "supervisor"))
    os.kill(supervisor, signal.SIGSTOP)
    process.kill()
    process.wait(LONG_S)
    os.kill(supervisor, signal.SIGKILL)
    until(lambda: not runs(worker))


# What a worker sees of the environment.


@pytest.fixture
def on_a_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in RUNNER:
        monkeypatch.setenv(name, "" if name == "LD_PRELOAD" else "x")


@pytest.mark.usefixtures("on_a_runner")
def test_a_worker_sees_nothing_of_the_runner_and_no_token(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    done = workers.run(command, cwd=tmp_path, environment=workers.environment(ADDED="1"))
    seen = json.loads(done.stdout)
    assert set(seen) & set(RUNNER) == set()
    assert (seen["PATH"], seen["ADDED"]) == (os.environ["PATH"], "1")


@pytest.mark.usefixtures("on_a_runner")
def test_the_tests_of_a_suite_see_nothing_of_the_runner_but_what_the_gate_adds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "pyproject.toml").write_text('[tool.perfgate]\ntests = "checks"\n')
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/conftest.py").write_text('pytest_plugins = ("perfgate.harness.plugin",)\n')
    text = f"import os\nassert not set(os.environ) & set({RUNNER})\nassert os.environ['PERFGATE_KNOBS'] == 'k'\ndef test_it(): pass\n"
    (tmp_path / "checks/test_body.py").write_text(text)
    results, added = tmp_path / "out/results.json", {"PERFGATE_KNOBS": "k"}
    run = pytest_runs.start_tests(read_settings(tmp_path), "test_body.py", results, environment=added)
    assert [item["outcome"] for item in run.finish().items.values()] == ["passed"]


@pytest.mark.parametrize(
    "name",
    [
        *(f"{beginning}X" for beginning in workers.REACHING_COMPILER),
        *sorted({*CHANGES} - {"LD_PRELOAD"}),
        *("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "LC_ALL"),
    ],
)
def test_what_reaches_the_compiler_what_the_doctor_warns_of_and_what_a_card_needs_reaches_the_worker(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert workers.environment()[name] == "1"


@pytest.mark.parametrize("on_github", [False, True])
def test_on_github_the_gate_is_kept_private_and_its_workers_work_as_ever(tmp_path: Path, *, on_github: bool) -> None:
    dumpable = "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), flush=True)"
    code = f"""
import sys
from pathlib import Path
from perfgate import workers
workers.keep_private()
{dumpable}
print(workers.run([sys.executable, "-c", {dumpable!r}], cwd=Path("."), environment=workers.environment()).stdout)
"""
    environment = {name: value for name, value in os.environ.items() if name != "GITHUB_ACTIONS"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"GITHUB_ACTIONS": "true"} if on_github else {})
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["0" if on_github else "1", "1"], done.stderr


def test_what_imports_a_kernel_is_started_in_one_place() -> None:
    starters = ("subprocess.Popen(", "subprocess.run(", "os.system(", "os.fork(", "multiprocessing")
    files = [path for folder in ("perfgate", "perf_tests") for path in (ROOT / folder).rglob("*.py")]
    found = {path.stem for path in files if any(word in path.read_text(encoding="utf-8") for word in starters)}
    tools = {"git", "extract", "toolchains", "probe", "ncu"}  # git, cuobjdump, pip, sudo -l, ncu --version
    assert found == {*tools, "workers", "supervisor"}
