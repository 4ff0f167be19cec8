"""The doctor's checks on recorded machines: what is wrong has its line and remedy, and what is not told is never green."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from doctor_support import (
    BASELINE,
    BROKEN_DRIVER,
    BUS,
    GOVERNOR,
    H100_RUNNER,
    HEADER,
    HOOK,
    LAPTOP,
    LAST_RUN,
    NO_RUNNER,
    PARAMETERS,
    REFUSED,
    ROOT,
    RTX_4090,
    RTX_4090_RUNNER,
    RUNNER,
    SILENT,
    UNKNOWN,
    WSL2,
    Machine,
    PlayedProbe,
    baseline_of,
    examined,
    run_of,
)
from perfgate.doctor import report
from perfgate.doctor.gpu import visible_cards
from perfgate.doctor.host import CHANGES
from perfgate.doctor.probe import NoAnswerError, Outcome
from perfgate.doctor.runner import find_runner
from perfgate.records import GateError

ABSENT = NoAnswerError("Not Found")
NO_FILE, NOT_JSON = GateError("no-file", ""), GateError("not-json", "")
VERSION, CARDS, CACHE = "nvmlSystemGetDriverVersion", f"{ROOT}/pyproject.toml", "/tmp/perfgate-locks"  # noqa: S108 - only a name
MEMORY, REGISTRATION, ENV = "/proc/meminfo", f"{RUNNER}/.runner", f"{RUNNER}/.env"
READ_BASELINE, READ_RUN = f"read {BASELINE}", f"read {LAST_RUN}"
INSTALL, CODE = "sudo apt install nvidia-driver-580-server", "/opt/perfgate/perfgate/github"
HOOKED = "ACTIONS_RUNNER_HOOK_JOB_STARTED"
GIB_KB, GB = 2**20, 10**9
BETWEEN_JOBS: Machine = {REGISTRATION: None, f"{RUNNER}/run.sh": ""}
OTHER = "a process of another container or user"
OTHERS = f"{OTHER} (compute, pid 6), {OTHER} (graphics, pid 7), {OTHER} (graphics, pid 8) and 1 more"
TWO: Machine = {"Name": ["A", "B"]}
ROOTS = "expected the script, its code and every folder above to be root's alone to change; sudo chown root:root"

LINES: list[tuple[Machine, str]] = [
    ({"python": (3, 10)}, "FAULT Python: 3.10, expected 3.11 or newer; sudo apt install python3.12"),
    ({"run git": False}, "FAULT git: none on the path, expected git; sudo apt install git"),
    ({"run git": False}, "-     git history: not checked: no git"),
    ({"run git": (0, "true\n")}, "FAULT git history: a shallow clone, expected the whole history, for the merge base"),
    ({"run git": (128, "")}, "FAULT git history: git knows of no checkout here, or refuses it, expected a clone that"),
    ({"run git": None}, "FAULT git history: git knows of no checkout here, or refuses it, expected a clone that"),
    ({"settings": "It is\nbad."}, "FAULT project settings: It is bad., expected readable settings; mend [tool.perfgat"),
    ({"run gcc": False}, "FAULT C compiler: none, expected gcc, with which Triton builds its launcher; sudo apt insta"),
    ({"run gcc": False, "run clang": (0, "")}, "ok    C compiler: /usr/bin/clang"),
    ({"$CC": "cc12 -O2", "run cc12": (0, "")}, "ok    C compiler: /usr/bin/cc12"),
    ({HEADER: None}, "FAULT Python headers: no Python.h, expected it, for Triton's launcher; sudo apt install python3"),
    ({MEMORY: f"MemTotal: {8 * GIB_KB} kB"}, "FAULT memory: 8.0 GiB, expected 16 GiB or more; add memory: results"),
    ({MEMORY: f"MemTotal: {15.4 * GIB_KB:.0f} kB"}, "ok    memory: 15.4 GiB"),
    ({MEMORY: None}, "note  memory: not told by the kernel, expected 16 GiB or more"),
    ({f"free {ROOT}": 10 * GB - 1}, f"FAULT disk, checkout: 10 GB free at {ROOT}, expected 20 GB or more; delete old"),
    ({f"free {ROOT}": 10 * GB}, f"note  disk, checkout: 10 GB free at {ROOT}, expected 20 GB or more; delete old"),
    ({f"free {ROOT}": 20 * GB}, f"ok    disk, checkout: 20 GB free at {ROOT}"),
    ({f"free {ROOT}": None}, f"note  disk, checkout: not told for {ROOT}, expected 20 GB free"),
    ({"$TRITON_CACHE_DIR": "/c", "free /c": GB}, "FAULT disk, Triton cache: 1 GB free at /c, expected 20 GB or more"),
    ({"$TRITON_HOME": "/h"}, "ok    disk, Triton cache: 200 GB free at /h/.triton/cache"),
    ({f"writable {CACHE}": False}, f"FAULT card locks: {CACHE} cannot be written, expected a folder to write; sudo ch"),
    *(
        ({f"${name}": "1"}, f"FAULT environment: {name} {why}, expected none of them; unset {name}")
        for name, why in CHANGES.items()
    ),
    ({"$TRITON_DEBUG": "1", "$LD_PRELOAD": "0"}, "FAULT environment: TRITON_DEBUG adds checks to the kernel, LD_PRELO"),
    ({"$TRITON_DEBUG": "Off", "$TRITON_INTERPRET": "0", "$PYTEST_ADDOPTS": " ", "$ANY": "x"}, "ok    environment: not"),
    (
        {GOVERNOR.replace("0", "1"): "powersave\n"},
        "note  CPU governor: performance, powersave, expected performance; sudo apt install linux-tools-generic && sudo",
    ),
    ({GOVERNOR: None}, "note  CPU governor: not told by the kernel, as in most virtual machines, expected performance"),
    ({"run sudo": (0, "")}, "FAULT rights: perf, who gets root's rights without a password, expected an unprivileged"),
    ({"groups": {"docker", "lxd"}}, "FAULT rights: perf, whose group docker can become root, expected an unprivilege"),
    (
        {f"owned {RUNNER}": (0, 0, 0o755)},
        "FAULT rights: the runner belongs to root, expected an unprivileged user; make",
    ),
    ({"uid": 1000}, "note  rights: asked as ada, so nothing is known of the runner's user perf, expected the runner's"),
    ({"uid": 0} | NO_RUNNER, "note  rights: root, expected an unprivileged user; make one without sudo for it"),
    ({"run sudo": (0, "")} | NO_RUNNER, "note  rights: perf, who gets root's rights without a password, expected an u"),
    ({"groups": {"lxd"}} | NO_RUNNER, "note  rights: perf, whose group lxd can become root, expected an unprivileged"),
    ({"run sudo": None}, "note  rights: perf; whether sudo asks for a password was not told, expected an unprivileged"),
    ({"run sudo": False}, "ok    rights: perf, unprivileged"),
    (LAPTOP, "FAULT NVML package: nvidia-ml-py is not installed, expected it; python3 -m pip install nvidia-ml-py, or"),
    (LAPTOP, "-     NVIDIA driver: not checked: no NVML package"),
    (BROKEN_DRIVER, "FAULT NVIDIA driver: its library and its kernel module are of two versions (Driver/library versi"),
    (BROKEN_DRIVER, "-     persistence mode: not checked: no card"),
    ({"nvmlInit": ABSENT}, f"FAULT NVIDIA driver: none (Not Found), expected the driver; {INSTALL}, then sudo reboot"),
    ({"nvmlInit": ABSENT, f"{BUS}/vendor": "0x1022\n"}, "FAULT NVIDIA driver: none (Not Found), and no NVIDIA card on"),
    ({"nvmlInit": ABSENT, f"{BUS}/class": "0x040300\n"}, "FAULT NVIDIA driver: none (Not Found), and no NVIDIA card o"),
    ({"nvmlInit": ABSENT, "/proc/modules": "nvme 1 0\nnouveau 2 0\n"}, "FAULT NVIDIA driver: none (Not Found), but no"),
    ({"nvmlInit": ABSENT, "/proc/modules": "mxm 1 1 nouveau\n"}, "FAULT NVIDIA driver: none (Not Found), expected the"),
    (WSL2, "note  NVIDIA driver: loaded, Windows' own under WSL2, which does not tell all, expected Linux itself"),
    (WSL2 | {"nvmlInit": ABSENT}, "FAULT NVIDIA driver: none under WSL2 (Not Found), expected Windows' own; install"),
    (WSL2 | {VERSION: "560.1"}, "FAULT driver version: 560.1, expected 580 or newer, for CUDA 13; install NVIDIA's dr"),
    ({VERSION: "575.64.03"}, f"FAULT driver version: 575.64.03, expected 580 or newer, for CUDA 13; {INSTALL}, then s"),
    ({VERSION: "580.65.06"}, "ok    driver version: 580.65.06"),
    ({VERSION: "open"}, "note  driver version: open, which cannot be read as a version, expected 580 or newer"),
    ({VERSION: UNKNOWN}, "note  driver version: not told by the driver, expected 580 or newer"),
    ({PARAMETERS: None}, "note  ncu counters: not told (/proc/driver/nvidia/params), expected for every user, where"),
    (
        {PARAMETERS: "RmProfilingAdminOnly: 1\n"},
        "note  ncu counters: for root only, expected for every user, where kernels are profiled with ncu; NVreg_Restrict",
    ),
    ({"Name": []}, "FAULT cards: the driver has none, expected one card; nvidia-smi -L; sudo dmesg | grep -i nvrm"),
    ({"$CUDA_VISIBLE_DEVICES": ""}, "FAULT cards: CUDA_VISIBLE_DEVICES hides every card (NVIDIA GeForce RTX 4090), ex"),
    (TWO, "note  cards: 2 to use (A, B), the first is measured, expected one; CUDA_VISIBLE_DEVICES=GPU-… (nvidia-smi"),
    (TWO | {"$CUDA_VISIBLE_DEVICES": "1"}, "note  cards: one of 2, chosen by number, which CUDA may count otherwise,"),
    (TWO | {"$CUDA_VISIBLE_DEVICES": "0", "$CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "ok    cards: one of 2"),
    (TWO | {"$CUDA_VISIBLE_DEVICES": "GPU-2"}, "note  card: b, expected nvidia-geforce-rtx-4090 (rtx-4090); add label"),
    ({CARDS: ""}, f"note  card: {RTX_4090}; pyproject.toml names no cards, expected a line a card in [tool.perfgate.c"),
    ({f"{ROOT}/{BASELINE}": None}, f"note  throughput baseline: none for {RTX_4090}: runs compare with the merge base"),
    ({READ_BASELINE: baseline_of("0")}, f"note  throughput baseline: {BASELINE}, of a commit that is not in this hist"),
    ({READ_BASELINE: baseline_of("")}, f"note  throughput baseline: {BASELINE}, which cannot be read or names no comm"),
    ({READ_BASELINE: NOT_JSON}, f"note  throughput baseline: {BASELINE}, which cannot be read or names no commit, exp"),
    ({"PersistenceMode": 0}, "FAULT persistence mode: off, expected on; sudo nvidia-smi -pm 1, and at every start"),
    ({"ComputeMode": 2}, "FAULT compute mode: prohibited, expected default; sudo nvidia-smi -c DEFAULT"),
    ({"ComputeMode": 3}, "note  compute mode: exclusive-process: one process at a time, expected default; sudo nvidia"),
    ({"ComputeMode": 9}, "note  compute mode: mode 9: one process at a time, expected default; sudo nvidia-smi -c DEF"),
    ({"MigMode": (1, 1)}, "FAULT MIG: on, expected off: a slice is another card than the baseline's; sudo nvidia-smi"),
    ({"MigMode": (0, 1)}, "ok    MIG: off"),
    ({"DisplayActive": 1}, "FAULT display: a desktop or console draws on the card, expected none on the card; sudo sy"),
    ({"DisplayMode": 1}, "ok    display: nothing draws on the card (display mode enabled)"),
    (
        {"GraphicsRunningProcesses": (7,), "/proc/7/comm": "Xorg\n"},
        "FAULT other processes: Xorg (graphics, pid 7), expected none; end them (ps -fp 7), or let them use another card",
    ),
    (
        {"ComputeRunningProcesses": (5, 6), "GraphicsRunningProcesses": (7, 8, 9), "/proc/5/comm": "a"},
        f"FAULT other processes: a (compute, pid 5), {OTHERS}, expected none; end them (ps -fp 5 6 7 8 9)",
    ),
    ({"ComputeRunningProcesses": (5,)}, "FAULT other processes: a process of another container or user (compute, pid"),
    ({"GraphicsRunningProcesses": REFUSED}, "note  other processes: not told by the driver, expected none"),
    ({"utilization_percent": 11}, "FAULT idle: 11 % busy, expected at most 10 % with nothing running; end what comput"),
    ({"utilization_percent": 10}, "ok    idle: 10 % busy"),
    ({"watch": GateError("no-monitor", "It is lost.")}, "FAULT idle: It is lost., expected to watch the card; see wha"),
    ({"throttle_reasons": ["power brake"]}, "FAULT throttling: power brake, expected none while idle; see to fans, ca"),
    ({"temperature_c": 61}, "note  temperature: 61 °C, expected at most 60 °C while idle; see to fans and case, or le"),
    ({"temperature_c": 60}, "ok    temperature: 60 °C"),
    ({"EnforcedPowerLimit": 300_000}, "FAULT power limit: 300 W, expected the default, 450 W: large matmuls run at th"),
    ({"EnforcedPowerLimit": 500_000}, "note  power limit: 500 W, expected the default, 450 W; sudo nvidia-smi -pl 450"),
    ({"PowerManagementDefaultLimit": REFUSED}, "note  power limit: not told by the driver, expected the card's defaul"),
    ({READ_RUN: run_of(2400, 0, 2520)}, "note  SM clock: 2400 to 2520 MHz in the last run, within a case 5.0 %; the c"),
    ({READ_RUN: NO_FILE}, "note  SM clock: no run here to tell from, and whether it is locked no driver tells; the ca"),
    ({READ_RUN: NOT_JSON}, "note  SM clock: no run here to tell from (current.json: not-json), and whether it is lock"),
    ({READ_RUN: run_of(1, uuid="B")}, "note  SM clock: no run here to tell from (current.json is of another card), an"),
    (
        {READ_RUN: run_of(0)},
        "note  SM clock: no run here to tell from, and whether it is locked no driver tells; the card's",
    ),
    ({READ_RUN: run_of(9, memory=5001)}, "FAULT memory clock: 5001 MHz in the last run, the highest is 10501 MHz, exp"),
    ({READ_RUN: run_of(9, memory=9451)}, "ok    memory clock: 9451 MHz in the last run, the highest is 10501 MHz"),
    ({READ_RUN: run_of(9, memory=0)}, "note  memory clock: no run here to tell from, expected not locked; nox -s perf"),
    (NO_RUNNER, "note  runner: no runner folder found; on a machine for CI see .github/RUNNER.md, or name it: --runne"),
    (BETWEEN_JOBS, f"note  runner: {RUNNER}, user perf, not registered now, expected a registration while it waits fo"),
    (BETWEEN_JOBS, "note  runner is ephemeral: not told: not registered now"),
    ({REGISTRATION: '{"AgentName": "x", "Ephemeral": "True"}'}, f"ok    runner: {RUNNER}, user perf, registered as x"),
    ({REGISTRATION: '{"Ephemeral": "True"}'}, "ok    runner is ephemeral: one job a registration"),
    ({REGISTRATION: '{"Ephemeral": "False"}'}, "FAULT runner is ephemeral: it keeps its registration, expected one jo"),
    ({REGISTRATION: '{"ephemeral": false}'}, "FAULT runner is ephemeral: it keeps its registration, expected one job"),
    *(
        (
            {REGISTRATION: text},
            "FAULT runner is ephemeral: its file .runner does not say so, expected one job a registrat",
        )
        for text in ("{}", "[]", "{")
    ),
    ({ENV: "LANG=C"}, "FAULT job-started hook: ACTIONS_RUNNER_HOOK_JOB_STARTED is not set, expected the script that r"),
    ({ENV: "LANG=C"}, "-     hook is root's: not checked: no hook"),
    ({HOOK: None}, f"FAULT job-started hook: {HOOK} does not exist, or not for this user, expected a script: without"),
    ({HOOK: None}, "-     hook is root's: not checked: no hook"),
    ({ENV: f"{HOOKED}=/old.sh\n {HOOKED} = {HOOK} "}, f"ok    job-started hook: {HOOK}"),
    ({f"owned {HOOK}": (0, 0, 0o644)}, f"FAULT job-started hook: {HOOK} is not executable, expected an executable scr"),
    ({f"owned {CODE}": (1001, 0, 0o755)}, f"FAULT hook is root's: {CODE} belongs to perf, {ROOTS} {CODE} && sudo chmo"),
    ({f"owned {CODE}": (1000, 0, 0o755)}, f"FAULT hook is root's: {CODE} belongs to user 1000, not to root, {ROOTS} "),
    ({"owned /opt": (0, 0, 0o757)}, f"FAULT hook is root's: /opt can be written by anyone, {ROOTS} /opt"),
    ({f"owned {HOOK}": (0, 1001, 0o775)}, f"FAULT hook is root's: {HOOK} can be written by a group of perf, {ROOTS}"),
    ({f"owned {CODE}": (0, 50, 0o775)}, "ok    hook is root's: the script, its code and every folder above"),
    ({f"link {HOOK}": f"{RUNNER}/x.sh"}, f"FAULT hook is root's: {RUNNER} belongs to perf, {ROOTS} {RUNNER}"),
]


@pytest.mark.parametrize(("machine", "expected"), [pytest.param(*row, id=row[1][:60]) for row in LINES])
def test_each_answer_has_its_line_with_the_remedy_and_is_no_other_checks_fault(machine: Machine, expected: str) -> None:
    lines = examined(RTX_4090_RUNNER | machine)
    outcome, _, name = expected.partition(": ")[0].partition(" ")
    name = name.strip()
    assert report.format_text([lines[name]]).startswith(expected)
    faults = {line.name for line in lines.values() if line.outcome is Outcome.FAULT}
    assert outcome == "-" or faults == ({name} if outcome == "FAULT" else set())
    assert report.exit_code(list(lines.values())) == (2 if faults else 0)


@pytest.mark.parametrize("machine", [RTX_4090_RUNNER, H100_RUNNER])
def test_of_a_good_runner_there_is_nothing_to_say(machine: Machine) -> None:
    lines = list(examined(machine).values())
    assert {line.outcome for line in lines} == {Outcome.OK}
    assert report.format_text(lines).splitlines()[-1] == f"doctor: 0 faults, 0 notes, {len(lines)} ok"


ASKED = {"NVIDIA driver", "driver version", "ncu counters", "persistence mode", "compute mode", "MIG", "display"}
ASKED |= {"other processes", "idle", "throttling", "temperature", "power limit", "SM clock", "memory clock"}


@pytest.mark.parametrize("refusal", [UNKNOWN, REFUSED, NoAnswerError("GPU is lost")])
def test_nothing_that_the_driver_does_not_tell_is_green(refusal: NoAnswerError) -> None:
    lines = examined(WSL2 | dict.fromkeys(SILENT, refusal) | {READ_RUN: NO_FILE})
    silent = {name for name in ASKED if lines[name].outcome is Outcome.NOTE}
    assert silent == ASKED - ({"MIG"} if refusal is REFUSED else set())  # as GeForce cards say that they have none


@pytest.mark.parametrize("machine", [LAPTOP, BROKEN_DRIVER, RTX_4090_RUNNER | {"Count": UNKNOWN}])
def test_without_a_driver_nothing_of_it_or_of_a_card_is_green(machine: Machine) -> None:
    lines = examined(machine)
    assert {lines[name].outcome for name in {*ASKED, "cards", "card"}} <= {Outcome.FAULT, Outcome.UNCHECKED}


@pytest.mark.parametrize(
    ("given", "visible", "by_number"),
    [
        (None, (0, 1, 2), False),
        ("", (), False),
        ("-1", (), False),
        ("2,0", (2, 0), True),
        ("1,-1,0", (1,), True),
        ("0,7,1", (0,), True),
        ("GPU-cccc", (2,), False),
        ("GPU-c", (2,), False),
        ("GPU-a", (), False),  # of two cards
        ("GPU-x", (), False),
        ("3", (), False),
        ("MIG-7", (0, 1, 2), False),
    ],
)
def test_cards_are_chosen_as_cuda_chooses_them(given: str | None, visible: tuple[int, ...], *, by_number: bool) -> None:
    assert visible_cards(given, ["GPU-aaaa", "GPU-abbb", "GPU-cccc"]) == (visible, by_number)


def test_the_runner_given_is_taken_or_else_the_first_of_the_usual_places() -> None:
    nobodys, adas = "/home/z/actions-runner", "/home/ada/actions-runner"
    elsewhere = RTX_4090_RUNNER | NO_RUNNER | {f"{adas}/config.sh": "", f"{nobodys}/x": ""}
    for machine, given, expected in (
        (RTX_4090_RUNNER | NO_RUNNER, None, None),
        (elsewhere, None, adas),
        (elsewhere | BETWEEN_JOBS, None, RUNNER),
        (elsewhere | BETWEEN_JOBS, adas, adas),
        (elsewhere | BETWEEN_JOBS, nobodys, None),
    ):
        found = find_runner(PlayedProbe(machine, Path(given) if given else None))
        assert (found and str(found.folder)) == expected


def test_json_says_the_same_and_no_check_at_all_is_no_good_machine() -> None:
    lines = list(examined(RTX_4090_RUNNER | {"PersistenceMode": 0}).values())
    document = json.loads(report.format_json(lines))
    assert (document["schema"], document["exit"], len(document["checks"])) == (1, 2, len(lines))
    (found,) = (entry for entry in document["checks"] if entry["outcome"] == "FAULT")
    assert list(found) == ["name", "outcome", "found", "expected", "remedy"]
    assert (found["name"], found["found"], found["expected"]) == ("persistence mode", "off", "on")
    assert report.exit_code(()) == 2
