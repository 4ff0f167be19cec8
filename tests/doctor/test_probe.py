"""The doctor's questions to a real machine: this one, a folder, and a driver that is played."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from git_support import Project
from nvml_support import DriverError, FakeNvml, NotSupportedError
from perfgate.cli.doctor import main as doctor_main
from perfgate.doctor.probe import NoAnswerError, Probe
from perfgate.harness import machine
from perfgate.records import GateError

ROOT = Path(__file__).parents[2]


def test_the_command_needs_neither_torch_nor_triton_and_both_formats_say_the_same() -> None:
    heavy = "[m for m in ('torch', 'triton', 'numpy', 'pytest') if m in sys.modules]"
    code = "import sys; from perfgate.cli import doctor; codes = [doctor.main([]), doctor.main(['--format', 'json'])]"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(codes, {heavy})"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stderr == ""
    text, _, rest = done.stdout.partition("\ndoctor: ")
    lines = text.splitlines()
    assert {line.split()[0] for line in lines} <= {"ok", "FAULT", "note", "-"}
    document, end = json.JSONDecoder().raw_decode(rest, rest.index("{"))
    assert [entry["name"] for entry in document["checks"]] == [line[6:].partition(": ")[0] for line in lines]
    exit_code = 2 if any(line.startswith("FAULT ") for line in lines) else 0
    assert document["exit"] == exit_code
    assert rest[end:].strip() == f"{[exit_code, exit_code]} []"


@pytest.mark.parametrize("argv", [["--fast"], ["--format", "xml"], ["--runner", "/nowhere/actions-runner"]])
def test_bad_usage_is_one_line_and_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor_main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("INVALID bad-usage: ")
    assert err.count("\n") == 1


def test_a_runner_named_on_the_command_line_is_examined(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone = tmp_path / "clone"
    for name in ("clone/perfgate/__init__.py", "clone/.github/runner/job-started.sh", "r/config.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("", encoding="utf-8")
    (clone / "perfgate/gone").symlink_to(tmp_path / "nowhere")
    link = tmp_path / "started.sh"
    link.symlink_to(clone / ".github/runner/job-started.sh")
    link.chmod(0o755)
    (tmp_path / "r/.env").write_text(f"ACTIONS_RUNNER_HOOK_JOB_STARTED={link}\n", encoding="utf-8")
    (tmp_path / "r/.runner").write_text('{"agentName": "box-1", "ephemeral": false}', encoding="utf-8-sig")
    os.chmod(clone / "perfgate", 0o777)  # noqa: PTH101, S103 - what is to be found
    assert doctor_main(["--runner", str(tmp_path / "r")]) == 2
    out = capsys.readouterr().out
    assert f"ok    runner: {tmp_path / 'r'}, user " in out
    assert ", registered as box-1\n" in out
    assert "FAULT runner is ephemeral: it keeps its registration" in out
    assert f"ok    job-started hook: {link}\n" in out
    assert "FAULT hook is root's: " in out


def test_a_folder_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    probe = Probe(tmp_path)
    here = tmp_path / "a"
    here.write_bytes(b"\xef\xbb\xbfone\xff")
    (tmp_path / "link").symlink_to(here)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    assert (probe.text(here), probe.text(tmp_path), probe.text(tmp_path / "b")) == ("one\ufffd", None, None)
    assert [probe.is_file(tmp_path / name) for name in ("a", "link", "gone", ".")] == [True, True, False, False]
    assert probe.glob(tmp_path, "*") == [here, tmp_path / "gone", tmp_path / "link"]
    assert probe.resolve(tmp_path / "link") == here.resolve()
    assert probe.stat(tmp_path / "link") == here.stat()
    assert probe.stat(tmp_path / "gone") is None
    assert probe.free_bytes(tmp_path / "not/yet") == pytest.approx(probe.free_bytes(tmp_path), rel=0.1)
    assert [probe.writable(tmp_path / name) for name in (".", "not/yet", "a/not")] == [True, True, False]
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    assert not probe.writable(tmp_path)


def test_commands_are_looked_for_on_the_path_and_run_in_the_checkout(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    probe = Probe(tmp_path)
    command = tmp_path / "sudo"
    command.write_text('#!/bin/sh\npwd; echo words: "$@"; exit 3\n', encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert (probe.which("sudo"), probe.which("no-such-command")) == (str(command), "")
    assert probe.run("sudo", "-n", "-l") == (3, f"{tmp_path}\nwords: -n -l\n")
    assert probe.run("no-such-command") is None


def test_this_user_is_told_and_one_that_is_not_listed_has_a_number(tmp_path: Path) -> None:
    probe = Probe(tmp_path)
    assert (probe.python, probe.uid, probe.user(0), probe.user(4_000_000)) == (
        sys.version_info[:2],
        os.geteuid(),
        "root",
        "4000000",
    )
    assert 0 in probe.gids(0, 7)
    assert probe.gids(4_000_000, 7) == {7}
    assert isinstance(probe.groups(), set)


def test_a_checkout_tells_its_history_and_settings(tmp_path: Path) -> None:
    project = Project.begin(tmp_path / "whole")
    commit = project.commit("one")
    probe = Probe(project.root)
    assert probe.run("git", "rev-parse", "--is-shallow-repository") == (0, "false\n")
    assert (probe.commit(commit), probe.commit("0" * 40)) == (commit, "")
    with pytest.raises(GateError, match=r"No pyproject\.toml"):
        probe.settings()
    with pytest.raises(GateError, match="does not exist"):
        probe.recording(project.root / "none.json")


def test_pythons_headers_are_looked_for_where_triton_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda _name, scheme: f"/{scheme}")
    monkeypatch.setattr("sysconfig.get_default_scheme", lambda: "posix_local")
    assert Probe(tmp_path).include == Path("/posix_prefix")


def played(monkeypatch: pytest.MonkeyPatch, **questions: Any) -> FakeNvml:
    driver = FakeNvml(celsius=38)
    vars(driver).update(questions)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    return driver


def refuse(error: Exception) -> Any:
    def asked(*_: object) -> None:
        raise error

    return asked


def test_the_driver_is_asked_of_a_card_by_its_number(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    probe = Probe(tmp_path)
    played(
        monkeypatch,
        nvmlDeviceGetHandleByIndex=lambda number: f"GPU-{number + 1}",
        nvmlDeviceGetName=lambda card: card.encode(),
        nvmlDeviceGetMigMode=refuse(NotSupportedError("Not Supported")),
        nvmlInit=refuse(DriverError("mismatch")),
    )
    assert probe.nvml("nvmlDeviceGetName", card=1) == "GPU-2"
    assert probe.nvml("nvmlDeviceGetMaxClockInfo", 1, card=0) == 1980
    for question, card, why, supported in (
        ("nvmlInit", None, "mismatch", True),
        ("nvmlDeviceGetMigMode", 0, "Not Supported", False),
    ):
        with pytest.raises(NoAnswerError, match=why) as refused:
            probe.nvml(question, card=card)
        assert (refused.value.installed, refused.value.supported) == (True, supported)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NoAnswerError) as missing:
        probe.nvml("nvmlInit")
    assert not missing.value.installed


def test_a_card_is_watched_as_a_run_watches_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    driver = played(monkeypatch)
    monkeypatch.setattr(machine, "busy", lambda uuid: 7 if uuid == "GPU-1" else None)
    found = Probe(tmp_path).watch("GPU-1")
    assert (found["throttle_reasons"], found["temperature_c"], found["utilization_percent"]) == ([], 38, 7)
    driver.nvmlDeviceGetTemperature = refuse(DriverError("GPU is lost"))  # type: ignore[method-assign]
    with pytest.raises(GateError, match="GPU is lost"):
        Probe(tmp_path).watch("GPU-1")
