"""``python -m perfgate doctor`` on this machine as it is, and what it asks of the machine without its card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from doctor_support import check
from git_support import Project
from perfgate.doctor import checks as doctor
from perfgate.doctor import facts as doctor_facts
from perfgate.doctor.records import Outcome

ROOT = Path(__file__).parents[2]


def test_this_machine_can_be_asked_as_it_is() -> None:
    facts = doctor_facts.collect(ROOT)
    assert facts.host.python == sys.version_info[:2]
    assert facts.host.uid == os.geteuid()
    assert all(disk.free_bytes is not None for disk in facts.host.disks)
    checks = doctor.examine(facts)
    assert len(doctor.format_text(checks).splitlines()) == len(checks) + 1
    if facts.driver.error:  # no card here: one fault that says so, and nothing of the card is green
        assert check(facts, "NVIDIA driver").outcome is Outcome.FAULT
        assert check(facts, "persistence mode").outcome is Outcome.UNCHECKED


def test_the_command_prints_a_line_a_check_and_exits_by_its_faults() -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        code = "import sys; from perfgate.doctor.facts import main; sys.exit(main(sys.argv[1:]))"
        return subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, cwd=ROOT
        )

    done = run()
    *lines, last = done.stdout.splitlines()
    assert done.stderr == ""
    assert last.startswith("doctor: ")
    assert {line.split()[0] for line in lines} <= {"ok", "FAULT", "note", "-"}
    assert done.returncode == (2 if any(line.startswith("FAULT ") for line in lines) else 0)
    as_json = run("--format", "json")
    assert [entry["name"] for entry in json.loads(as_json.stdout)["checks"]] == [
        line[6:].partition(": ")[0] for line in lines
    ]
    assert as_json.returncode == done.returncode


def test_the_command_needs_neither_torch_nor_triton() -> None:
    code = (
        "import sys; from perfgate.doctor import facts; facts.main([]); "
        "print([m for m in ('torch', 'triton', 'numpy', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("argv", [["--fast"], ["--format", "xml"], ["--runner", "/nowhere/actions-runner"]])
def test_bad_usage_is_one_line_and_exit_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor_facts.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("INVALID bad-usage: ")
    assert err.count("\n") == 1


def test_a_checkouts_history_and_settings_are_looked_at(tmp_path: Path) -> None:
    project = Project.begin(tmp_path / "whole")
    project.commit("one")
    project.commit("two")
    assert doctor_facts.collect(project.root).host.shallow is False
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{project.root}", str(tmp_path / "shallow")],  # noqa: S607 - git by name
        check=True,
        capture_output=True,
    )
    facts = doctor_facts.collect(tmp_path / "shallow")
    assert facts.host.shallow is True
    assert facts.host.settings_problem.startswith("No pyproject.toml in ")
    (tmp_path / "shallow/pyproject.toml").write_text('[tool.perfgate.cards]\nlab = "some-card"\n', encoding="utf-8")
    assert doctor_facts.collect(tmp_path / "shallow").labels == {"lab": "some-card"}
    (tmp_path / "empty").mkdir()
    outside = doctor_facts.collect(tmp_path / "empty").host
    assert outside.shallow is None


def test_folders_that_are_not_there_yet_are_judged_by_where_they_would_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path / "not/yet"))
    host = doctor_facts.collect(tmp_path).host
    assert (host.cache.path, host.cache.writable) == (str(tmp_path / "not/yet"), True)
    (tmp_path / "not").write_text("a file", encoding="utf-8")
    assert not doctor_facts.collect(tmp_path).host.cache.writable
    (tmp_path / "not").unlink()
    with monkeypatch.context() as refused:
        refused.setattr(os, "access", lambda *_: False)  # root may write anywhere
        assert not doctor_facts.collect(tmp_path).host.cache.writable
    monkeypatch.delenv("TRITON_CACHE_DIR")
    monkeypatch.setenv("TRITON_HOME", str(tmp_path))
    assert doctor_facts.collect(tmp_path).host.cache.path == str(tmp_path / ".triton/cache")


def test_variables_that_matter_are_kept_and_others_are_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRITON_DEBUG", "1")
    monkeypatch.setenv("SOME_SECRET", "x")
    found = doctor_facts.collect(tmp_path).host.environment
    assert found["TRITON_DEBUG"] == "1"
    assert "SOME_SECRET" not in found


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_what_is_on_the_path_is_found_and_what_is_not_is_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CC", raising=False)
    bare = doctor_facts.collect(tmp_path).host
    assert (bare.git, bare.shallow, bare.compiler, bare.sudo) == (False, None, "", False)
    executable(tmp_path / "bin/clang", "exit 0")
    assert doctor_facts.collect(tmp_path).host.compiler == str(tmp_path / "bin/clang")
    executable(tmp_path / "bin/gcc", "exit 0")
    assert doctor_facts.collect(tmp_path).host.compiler == str(tmp_path / "bin/gcc")
    executable(tmp_path / "bin/git", "exit 128")
    refused = doctor_facts.collect(tmp_path).host
    assert (refused.git, refused.shallow) == (True, None)


@pytest.mark.parametrize(("answer", "sudo"), [("exit 0", True), ("exit 1", False)])
def test_sudo_is_asked_what_it_would_allow_and_runs_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, answer: str, *, sudo: bool
) -> None:
    executable(tmp_path / "bin/sudo", f'printf "%s " "$@" > {tmp_path}/asked; {answer}')
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    assert doctor_facts.collect(tmp_path).host.sudo is sudo
    assert (tmp_path / "asked").read_text(encoding="utf-8").split() == ["-n", "-l", "true"]


def test_memory_and_governors_are_the_kernels(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor_facts, "PROC", tmp_path / "proc")
    monkeypatch.setattr(doctor_facts, "SYS", tmp_path / "sys")
    nothing = doctor_facts.collect(tmp_path).host
    assert (nothing.memory_bytes, nothing.governors) == (None, None)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemFree: 7 kB\nMemTotal:       65536 kB\n", encoding="utf-8")
    for number, governor in enumerate(("powersave", "performance", "powersave")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n", encoding="utf-8")
    found = doctor_facts.collect(tmp_path).host
    assert (found.memory_bytes, found.governors) == (64 * 2**20, ("performance", "powersave"))


def test_pythons_headers_are_looked_for_where_triton_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def include(_name: str, scheme: str) -> str:
        asked.append(scheme)
        return str(tmp_path)

    monkeypatch.setattr("sysconfig.get_path", include)
    monkeypatch.setattr("sysconfig.get_default_scheme", lambda: "posix_local")
    assert not doctor_facts.collect(tmp_path).host.headers
    (tmp_path / "Python.h").write_text("", encoding="utf-8")
    assert doctor_facts.collect(tmp_path).host.headers
    assert set(asked) == {"posix_prefix"}
