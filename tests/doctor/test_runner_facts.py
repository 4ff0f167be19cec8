"""What the doctor reads of GitHub's runner: its registration, its hook, and who may change that."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from perfgate.doctor import facts as doctor_facts
from perfgate.doctor.runner_facts import find_runner, look_at_runner

if TYPE_CHECKING:
    from pathlib import Path


def runner(folder: Path, registration: object = None, env: str = "", *, mark: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    if mark:
        (folder / "config.sh").write_text("", encoding="utf-8")
    if registration is not None:
        (folder / ".runner").write_text(json.dumps(registration), encoding="utf-8-sig")
    (folder / ".env").write_text(env, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("registration", "registered", "ephemeral"),
    [
        ({"agentId": 7, "agentName": "box-1", "ephemeral": True}, True, True),
        ({"AgentName": "box-1", "Ephemeral": "True"}, True, True),
        ({"agentName": "box-1", "ephemeral": False}, True, False),
        ({"AgentName": "box-1", "Ephemeral": "False"}, True, False),
        ({"agentName": "box-1"}, True, None),
        ([], True, None),
        (None, False, None),
    ],
)
def test_a_registration_is_read_whatever_the_case_of_its_keys(
    tmp_path: Path, registration: object, *, registered: bool, ephemeral: bool | None
) -> None:
    found = look_at_runner(runner(tmp_path, registration))
    assert (found.registered, found.ephemeral) == (registered, ephemeral)
    assert found.agent == ("box-1" if isinstance(registration, dict) else "")
    assert (found.uid, found.hook, found.hook_exists, found.hook_paths) == (os.getuid(), "", False, ())


def test_the_hook_its_folders_and_the_code_it_runs_are_looked_at(tmp_path: Path) -> None:
    script = tmp_path / "clone/.github/runner/job-started.sh"
    script.parent.mkdir(parents=True)
    script.write_text("exit 1\n", encoding="utf-8")
    code = tmp_path / "clone/perfgate/github"
    code.mkdir(parents=True)
    (tmp_path / "clone/perfgate/__init__.py").write_text("", encoding="utf-8")
    (code / "admission.py").write_text("", encoding="utf-8")
    (code / "gone").symlink_to(tmp_path / "nowhere")
    link = tmp_path / "hooks/started.sh"
    link.parent.mkdir()
    link.symlink_to(script)
    env = f"LANG=C.UTF-8\nACTIONS_RUNNER_HOOK_JOB_STARTED=/old.sh\nACTIONS_RUNNER_HOOK_JOB_STARTED={link}\n"
    found = look_at_runner(runner(tmp_path / "runner", env=env))
    assert (found.hook, found.hook_exists, found.hook_executable) == (str(link), True, False)
    paths = {owned.path: owned for owned in found.hook_paths}
    assert {str(link), str(link.parent), str(script), str(script.parent), "/", str(code / "admission.py")} <= set(paths)
    assert paths[str(code)].uid == os.getuid()
    script.chmod(0o755)
    assert look_at_runner(tmp_path / "runner").hook_executable
    link.unlink()
    assert not look_at_runner(tmp_path / "runner").hook_exists


def test_the_runner_given_is_taken_or_else_the_first_of_the_usual_places(tmp_path: Path) -> None:
    home, homes = tmp_path / "root", tmp_path / "home"
    assert find_runner(None, home, homes) is None
    perf = runner(homes / "perf/actions-runner")
    runner(homes / "quit/actions-runner", mark=False)
    assert find_runner(None, home, homes) == perf
    own = runner(home / "actions-runner")
    assert find_runner(None, home, homes) == own
    assert find_runner(perf, home, homes) == perf
    assert find_runner(tmp_path, home, homes) is None


def test_a_runner_named_on_the_command_line_is_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = runner(tmp_path / "r", {"agentName": "box-1", "ephemeral": False})
    assert doctor_facts.main(["--runner", str(folder)]) == 2
    out = capsys.readouterr().out
    assert f"ok    runner: {folder}, user " in out
    assert "FAULT runner is ephemeral: it keeps its registration" in out
    assert "FAULT job-started hook: ACTIONS_RUNNER_HOOK_JOB_STARTED is not set" in out
