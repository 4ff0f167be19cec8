"""The doctor's rules and words: a machine with one fault gets one line that names it, and no other."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from doctor_support import FACTS, HOST, RTX_4090, RUNNER, check, line, others, with_
from perfgate.doctor import checks as doctor
from perfgate.doctor.host import VARIABLES
from perfgate.doctor.records import Disk, Folder, Outcome, Owned

GIB = 2**30


def test_a_good_machine_has_no_fault_and_no_note() -> None:
    checks = doctor.examine(FACTS)
    assert {found.outcome for found in checks} == {Outcome.OK}
    assert doctor.exit_code(checks) == 0
    assert doctor.format_text(checks).splitlines()[-1] == f"doctor: 0 faults, 0 notes, {len(checks)} ok"


def test_no_check_at_all_is_no_good_machine() -> None:
    assert doctor.exit_code(()) == 2


def disk(free_bytes: int | None) -> tuple[Disk, ...]:
    return (Disk(what="checkout", path="/srv", free_bytes=free_bytes),)


FAULTS: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("host", {"python": (3, 10)}, "Python", "3.10, expected 3.11 or newer", "sudo apt install python3.12"),
    ("host", {"git": False, "shallow": None}, "git", "none on the path", "sudo apt install git"),
    ("host", {"shallow": True}, "git history", "a shallow clone, expected the whole history", "git fetch --unshallow"),
    ("host", {"shallow": None}, "git history", "git knows of no checkout here", "clone the repository"),
    ("host", {"settings_problem": "It is bad."}, "project settings", "It is bad.", "mend [tool.perfgate]"),
    ("host", {"compiler": ""}, "C compiler", "none, expected gcc", "sudo apt install gcc"),
    ("host", {"headers": False}, "Python headers", "no Python.h", "sudo apt install python3-dev"),
    ("host", {"memory_bytes": 8 * GIB}, "memory", "8.0 GiB, expected 16 GiB or more", "add memory"),
    ("host", {"disks": disk(9 * 10**9)}, "disk, checkout", "9 GB free at /srv, expected 20 GB", "delete old"),
    ("host", {"cache": Folder(path="/c", writable=False)}, "Triton cache", "/c cannot be written", "TRITON_CACHE_DIR"),
    ("host", {"locks": Folder(path="/l", writable=False)}, "card locks", "/l cannot be written", "sudo chmod 1777 /l"),
    ("host", {"sudo": True}, "rights", "perf, who gets root's rights without a password", "without sudo"),
    ("host", {"groups": ("perf", "docker")}, "rights", "perf, whose group docker can become root", "without sudo"),
    (
        "runner",
        {"uid": 0, "user": "root", "gids": frozenset({0})},
        "rights",
        "the runner belongs to root",
        "without sudo",
    ),
    ("runner", {"ephemeral": False}, "runner is ephemeral", "it keeps its registration", "run-one-job.sh"),
    ("runner", {"ephemeral": None}, "runner is ephemeral", "its file .runner does not say so", "run-one-job.sh"),
    ("runner", {"hook": ""}, "job-started hook", "ACTIONS_RUNNER_HOOK_JOB_STARTED is not set", "actions-runner/.env"),
    ("runner", {"hook_exists": False}, "job-started hook", "job-started.sh does not exist", "actions-runner/.env"),
    ("runner", {"hook_executable": False}, "job-started hook", "is not executable", "sudo chmod 755 /opt/perfgate/"),
]


@pytest.mark.parametrize(("part", "changes", "name", "found", "remedy"), FAULTS)
def test_each_fault_has_its_line_with_what_was_found_and_the_remedy(
    part: str, changes: dict[str, Any], name: str, found: str, remedy: str
) -> None:
    facts = with_(part, **changes)
    said = line(facts, name)
    assert said.startswith(f"FAULT {name}: ")
    assert found in said
    assert ", expected " in said
    assert remedy in said.partition(", expected ")[2].partition("; ")[2]
    assert [o for o in others(facts, name) if o.outcome is Outcome.FAULT] == []
    assert doctor.exit_code(doctor.examine(facts)) == 2


@pytest.mark.parametrize("name", VARIABLES)
def test_each_variable_that_changes_what_is_measured_is_named_and_unset(name: str) -> None:
    said = line(with_("host", environment={name: "1"}), "environment")
    assert said.startswith(f"FAULT environment: {name} ")
    assert said.endswith(f", expected none of them; unset {name}")


@pytest.mark.parametrize(
    "environment",
    [{"TRITON_INTERPRET": "0"}, {"TRITON_DEBUG": "off"}, {"PYTEST_ADDOPTS": " "}, {"CUDA_LAUNCH_BLOCKING": ""}],
)
def test_a_switch_that_is_off_and_an_empty_variable_change_nothing(environment: dict[str, str]) -> None:
    assert check(with_("host", environment=environment), "environment").outcome is Outcome.OK


def test_a_variable_that_is_no_switch_counts_whatever_it_says() -> None:
    facts = with_("host", environment={"PYTEST_ADDOPTS": "0", "TRITON_OVERRIDE_ARCH": "sm89"})
    assert line(facts, "environment").endswith("unset PYTEST_ADDOPTS TRITON_OVERRIDE_ARCH")


@pytest.mark.parametrize(
    ("free", "outcome"),
    [(9_999_999_999, Outcome.FAULT), (10**10, Outcome.NOTE), (19 * 10**9, Outcome.NOTE), (2 * 10**10, Outcome.OK)],
)
def test_little_room_is_a_note_and_too_little_a_fault(free: int, outcome: Outcome) -> None:
    assert check(with_("host", disks=disk(free)), "disk, checkout").outcome is outcome


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"memory_bytes": None}, "memory"),
        ({"disks": disk(None)}, "disk, checkout"),
        ({"governors": None}, "CPU governor"),
    ],
)
def test_what_is_not_told_of_the_machine_is_a_note(changes: dict[str, Any], name: str) -> None:
    said = line(with_("host", **changes), name)
    assert said.startswith(f"note  {name}: not told")


def test_a_machine_of_16_gib_of_which_firmware_keeps_some_is_enough() -> None:
    assert check(with_("host", memory_bytes=15.4 * GIB), "memory").outcome is Outcome.OK


def test_another_governor_than_performance_is_a_note_with_the_command() -> None:
    said = line(with_("host", governors=("performance", "powersave")), "CPU governor")
    assert said.startswith("note  CPU governor: performance, powersave, expected performance; ")
    assert "cpupower frequency-set --governor performance" in said


def test_without_git_the_history_is_not_checked() -> None:
    assert line(with_("host", git=False, shallow=None), "git history") == "-     git history: not checked: no git"


@pytest.mark.parametrize("changes", [{"uid": 0, "user": "root"}, {"sudo": True}, {"groups": ("lxd",)}])
def test_where_no_runner_is_too_many_rights_are_a_note(changes: dict[str, Any]) -> None:
    facts = dataclasses.replace(with_("host", **changes), runner=None)
    assert check(facts, "rights").outcome is Outcome.NOTE


def test_where_sudo_does_not_tell_that_is_said() -> None:
    assert line(with_("host", sudo=None), "rights").startswith(
        "note  rights: perf; whether sudo asks for a password was not"
    )


def test_another_user_than_the_runners_learns_nothing_of_its_rights() -> None:
    said = line(with_("host", uid=1000, user="ada", sudo=True), "rights")
    assert said.startswith("note  rights: asked as ada, so nothing is known of the runner's user perf")
    assert said.endswith("sudo -u perf -H …")


def owned(uid: int = 0, gid: int = 0, mode: int = 0o40755) -> tuple[Owned, ...]:
    return (*RUNNER.hook_paths, Owned(path="/opt/perfgate/perfgate/github", uid=uid, gid=gid, mode=mode))


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (owned(uid=1001), "belongs to perf"),
        (owned(uid=1000), "belongs to user 1000, not to root"),
        (owned(mode=0o40757), "can be written by anyone"),
        (owned(gid=1001, mode=0o40775), "can be written by a group of perf"),
    ],
)
def test_a_hook_that_someone_but_root_can_change_is_a_fault(paths: tuple[Owned, ...], why: str) -> None:
    said = line(with_("runner", hook_paths=paths), "hook is root's")
    assert said.startswith(f"FAULT hook is root's: /opt/perfgate/perfgate/github {why}, expected the script")
    assert said.endswith(
        "; sudo chown root:root /opt/perfgate/perfgate/github && sudo chmod go-w /opt/perfgate/perfgate/github"
    )


def test_a_folder_that_a_group_of_others_may_write_is_not_the_runners_to_change() -> None:
    facts = with_("runner", hook_paths=owned(gid=50, mode=0o40775))
    assert check(facts, "hook is root's").outcome is Outcome.OK


def test_a_hook_that_is_not_there_has_no_owner_to_check() -> None:
    for changes in ({"hook": ""}, {"hook_exists": False}):
        assert line(with_("runner", **changes), "hook is root's") == "-     hook is root's: not checked: no hook"


def test_a_runner_between_two_jobs_has_no_registration_and_that_is_said() -> None:
    facts = with_("runner", registered=False, ephemeral=None, agent="")
    assert "not registered now" in line(facts, "runner")
    assert line(facts, "runner is ephemeral") == "note  runner is ephemeral: not told: not registered now"


def test_a_machine_without_a_runner_gets_one_note() -> None:
    facts = dataclasses.replace(FACTS, runner=None)
    found = [checked for checked in doctor.examine(facts) if "runner" in checked.name or "hook" in checked.name]
    assert [(checked.name, checked.outcome) for checked in found] == [("runner", Outcome.NOTE)]
    assert "--runner DIR" in found[0].remedy


def test_faults_and_notes_are_counted() -> None:
    facts = dataclasses.replace(FACTS, host=dataclasses.replace(HOST, git=False, shallow=None, governors=None))
    count = len(doctor.examine(FACTS))
    assert doctor.format_text(doctor.examine(facts)).splitlines()[-1] == (
        f"doctor: 1 fault, 1 note, {count - 3} ok, 1 not checked"
    )


def test_every_check_is_one_line() -> None:
    facts = with_("host", settings_problem="one\ntwo")
    checks = doctor.examine(facts)
    assert len(doctor.format_text(checks).splitlines()) == len(checks) + 1
    assert len({checked.name for checked in checks}) == len(checks)
    assert line(facts, "project settings").startswith("FAULT project settings: one two, expected readable settings; ")


def test_json_says_the_same() -> None:
    checks = doctor.examine(with_("card", persistence=False))
    document = json.loads(doctor.format_json(checks))
    assert (document["schema"], document["exit"], len(document["checks"])) == (1, 2, len(checks))
    (found,) = (entry for entry in document["checks"] if entry["outcome"] == "FAULT")
    assert (found["name"], found["found"], found["expected"]) == ("persistence mode", "off", "on")
    assert found["remedy"].startswith("sudo nvidia-smi -pm 1")
    assert RTX_4090 in doctor.format_json(checks)
