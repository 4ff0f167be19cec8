"""What a worker sees of the environment, and what of the gate it can read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perfgate import workers
from perfgate.doctor.host import VARIABLES
from perfgate.measurement import pytest_runs
from perfgate.settings import load

ROOT = Path(__file__).parents[2]
RUNNER = {
    "GITHUB_ENV": "/x/set_env",
    "GITHUB_PATH": "/x/add_path",
    "GITHUB_STEP_SUMMARY": "/x/summary",
    "GITHUB_OUTPUT": "/x/output",
    "ACTIONS_RUNTIME_TOKEN": "t",
    "ACTIONS_RESULTS_URL": "u",
    "RUNNER_TEMP": "/x",
    "GH_TOKEN": "t",
    "TORCH_HUB_TOKEN": "t",
    "TRITON_SECRET": "s",
    "PERFGATE_VERSIONS": "v",
    "LD_PRELOAD": "",
}


def test_a_worker_sees_nothing_of_the_runner_and_no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in RUNNER.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"]
    done = workers.run(command, cwd=tmp_path, environment=workers.environment(ADDED="1"))
    seen = json.loads(done.stdout)
    assert set(seen) & set(RUNNER) == set()
    assert (seen["PATH"], seen["ADDED"]) == (os.environ["PATH"], "1")


def test_the_tests_of_a_suite_see_nothing_of_the_runner_but_what_the_gate_adds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in RUNNER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "pyproject.toml").write_text('[tool.perfgate]\ntests = "checks"\n')
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/conftest.py").write_text('pytest_plugins = ("perfgate.harness.plugin",)\n')
    text = f"import os\nassert not set(os.environ) & {set(RUNNER)}\nassert os.environ['PERFGATE_KNOBS'] == 'k'\ndef test_it(): pass\n"
    (tmp_path / "checks/test_body.py").write_text(text)
    run = pytest_runs.start_tests(
        load(tmp_path), "test_body.py", tmp_path / "out/results.json", environment={"PERFGATE_KNOBS": "k"}
    )
    assert [item["outcome"] for item in run.finish().items.values()] == ["passed"]


@pytest.mark.parametrize("beginning", workers.REACHING_COMPILER)
def test_a_variable_that_reaches_the_compiler_reaches_the_worker(
    monkeypatch: pytest.MonkeyPatch, beginning: str
) -> None:
    monkeypatch.setenv(f"{beginning}X", "1")
    assert workers.environment()[f"{beginning}X"] == "1"


@pytest.mark.parametrize(
    "name",
    [*sorted({*VARIABLES} - {"LD_PRELOAD"}), "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "LC_ALL"],
)
def test_what_the_doctor_warns_of_and_what_a_card_needs_reaches_the_worker(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    assert workers.environment()[name] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux keeps a process private")
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
    tools = {
        "git",
        "compiled",
        "triton_versions",
        "facts",
        "counters_profile",
        "pairs",
    }  # git, cuobjdump, pip, sudo -l, ncu --version, a study
    assert found == {*tools, "workers", "supervisor"}
