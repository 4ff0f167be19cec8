"""The machine's own hook: a job that is refused runs no step, not even one marked ``if: always()``; and its cleaning."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HOOK = Path(__file__).parents[2] / ".github/runner/job-started.sh"
RUN_ONE_JOB = HOOK.parent / "run-one-job.sh"
ADMIT = """
import os, sys
print("asked", sys.argv[1:], "SECRET" in os.environ, os.environ["GITHUB_TWO_LINES"].splitlines(), flush=True)
sys.exit(0 if os.environ["GITHUB_REPOSITORY"] == "ours/all" else 2)
"""


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A clone whose `admit` knows one repository, and a worker that goes on whatever its hook says, as GitHub's does."""
    hook = tmp_path / "clone/.github/runner/job-started.sh"
    hook.parent.mkdir(parents=True)
    shutil.copy(HOOK, hook)
    package = tmp_path / "clone/perfgate/github"
    package.mkdir(parents=True)
    for empty in (package.parent / "__init__.py", package / "__init__.py"):
        empty.write_text("", encoding="utf-8")
    (package / "__main__.py").write_text(ADMIT, encoding="utf-8")
    workspace = tmp_path / "workspace"
    shutil.copytree(package.parent, workspace / "perfgate")  # what an earlier job could have left where this one starts
    (workspace / "perfgate/github/__main__.py").write_text("print('another module answered')", encoding="utf-8")
    executable(
        tmp_path / "bin/Runner.Worker",
        f'cd {workspace}; bash -e {hook}; echo "exit code $?"; echo "a step marked always ran"',
    )
    # Waits for nothing; and, since a real runner may be running these tests, looks for no worker by name.
    for name, text in (("sleep", "exit 0"), ("pkill", "exit 7"), ("pgrep", "exit 1")):
        executable(tmp_path / "path" / name, text)
    return tmp_path


def run(machine: Path, repository: str, worker: str = "bin/Runner.Worker") -> subprocess.CompletedProcess[str]:
    environment = {  # without GITHUB_RUN_ID, of which alone the hook ends all that its user runs
        "PATH": f"{machine / 'path'}:/usr/bin:/bin",
        "PYTHONPATH": str(machine / "workspace"),
        "GITHUB_REPOSITORY": repository,
        "GITHUB_TWO_LINES": "one\ntwo",
        "SECRET": "x",
    }
    return subprocess.run(
        [machine / worker, "spawnclient"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_job_that_is_admitted_goes_on(machine: Path) -> None:
    done = run(machine, "ours/all")
    assert done.stdout.splitlines() == [
        "asked ['admit'] False ['one', 'two']",
        "exit code 0",
        "a step marked always ran",
    ]


def test_the_worker_of_a_job_that_is_refused_is_ended_before_any_step(machine: Path) -> None:
    done = run(machine, "strangers/one")
    asked, said = done.stdout.splitlines()
    assert asked == "asked ['admit'] False ['one', 'two']"
    assert said.startswith("This machine does not run this job")
    assert done.returncode == -9


def test_a_question_that_cannot_be_asked_is_a_refusal(machine: Path) -> None:
    (machine / "clone/perfgate/github/__main__.py").unlink()
    done = run(machine, "ours/all")
    assert "a step marked always ran" not in done.stdout
    assert done.returncode == -9


def test_no_process_but_a_runners_worker_is_ended(machine: Path) -> None:
    (machine / "bin/Runner.Worker").rename(machine / "bin/by-hand")
    done = run(machine, "strangers/one", "bin/by-hand")
    assert done.stdout.splitlines()[-2:] == ["exit code 1", "a step marked always ran"]
    assert done.returncode == 0


# What a job leaves where the locks of the cards are


def _clean(folder: Path, owner: int | None = None) -> None:
    """The cleaning of the script, which as a whole runs as root alone, on a folder of locks."""
    found = re.search(
        r"^clean_locks\(\) \{\n.*?^\}\n", RUN_ONE_JOB.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found
    script = f'set -euo pipefail\n{found[0]}clean_locks "$1" "$2"'
    subprocess.run(["bash", "-c", script, "bash", folder, str(os.getuid() if owner is None else owner)], check=True)  # noqa: S607


def test_plain_lock_files_stay_for_whoever_waits_on_them_and_nothing_else_does(tmp_path: Path) -> None:
    locks = tmp_path / "perfgate-locks"
    (locks / "GPU-3.lock").mkdir(parents=True)
    (locks / "GPU-3.lock/deep.lock").write_text("x", encoding="utf-8")
    (locks / "GPU-1.lock").write_text("pid 7", encoding="utf-8")
    (locks / "GPU-2.lock").symlink_to("/etc/passwd")
    (locks / "broken.lock").symlink_to("nowhere")
    (locks / ".hidden").write_text("x", encoding="utf-8")
    os.mkfifo(locks / "pipe.lock")
    _clean(locks, owner=12345)
    assert len(list(locks.iterdir())) == 6  # what is another's stays
    _clean(locks)
    assert [path.name for path in locks.iterdir()] == ["GPU-1.lock"]
    assert (locks / "GPU-1.lock").read_text(encoding="utf-8") == "pid 7"


def test_a_link_or_a_file_in_place_of_the_folder_of_locks_is_removed_and_what_it_points_to_is_not(
    tmp_path: Path,
) -> None:
    other, locks = tmp_path / "other", tmp_path / "perfgate-locks"
    other.mkdir()
    (other / "kept.txt").write_text("x", encoding="utf-8")
    locks.symlink_to(other)
    _clean(locks)
    assert (locks.is_symlink(), (other / "kept.txt").exists()) == (False, True)
    locks.write_text("x", encoding="utf-8")
    _clean(locks)
    _clean(locks)  # and none at all is no error
    assert not locks.exists()
