"""Stands in for the machine with the card: started as ``pipx`` by the workflows, and as Python by the gate.

Runs by itself (``python card.py STATE ROLE …``), in the checkout of a step, with that checkout's own perfgate. As ``pipx``
it runs what nox would, without nox. The gate and ``update-baselines`` are the real ones; only the processes that would
need the card are replaced, by this file in the role ``python``. Those leave launches recorded on an H100. What the
machine does is read from ``STATE``, which a scenario wrote.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_RECORDED = "recorded.json"
_NO_SUCH_SESSION = 97
_LAUNCHES = 4
"""Of the recording, that are the baseline; the rest are what is measured."""
_CALLED = "::error title=perfgate::perf: pass (written by the kernel)"
_HIJACKED = "PERFGATE_HIJACKED"


def main(state: Path, role: str, words: list[str]) -> int:
    """Play a role; returns its exit code."""
    sys.path.insert(0, str(Path.cwd()))
    machine: dict[str, Any] = json.loads((state / "machine.json").read_text(encoding="utf-8"))
    return _pipx(state, machine, words) if role == "pipx" else _python(state, machine, words)


def _pipx(state: Path, machine: dict[str, Any], words: list[str]) -> int:
    """``pipx run nox==… -s SESSION -- …``."""
    session = words[words.index("-s") + 1]
    arguments = words[words.index("--") + 1 :] if "--" in words else []
    _note(state, session, arguments)
    if session == "github":
        environment = os.environ | {"GITHUB_API_URL": machine["api"]}
        done = subprocess.run([sys.executable, "-m", "perfgate.github", *arguments], env=environment, check=False)
        _keep_summary(state)
        return done.returncode
    commands = {"perf": "run", "update-baselines": "update-baselines"}
    if session not in commands:  # a scenario says how it ends
        code: int = machine.get("sessions", {}).get(session, _NO_SUCH_SESSION)
        print(f"pipx: the session {session} ends with {code} here")
        return code
    code = _gate(state, [commands[session], *arguments])
    _keep_summary(state)
    _note_left_behind(state)
    return code


def _gate(state: Path, words: list[str]) -> int:
    """The checkout's own gate, with another Python for what needs a card, and with stored machine code."""
    from perfgate import cli as command
    from perfgate.codegen import build
    from perfgate.harness import machine
    from perfgate.records import GateError
    from perfgate.report import page
    from perfgate.store.compiled import read_compiled

    def stored(project: Any, _: Path, cases: Any = (), **__: Any) -> build.Built:
        facts = read_compiled(project.root / project.baselines / project.target / "compiled.json")
        if facts is None:  # as for the card's own architecture, which a sentence on why would like to have
            raise GateError("not-compiled", f"No machine code for {project.target} is stored; nothing compiles here.")
        chosen = {name: one for name, one in facts.cases.items() if not cases or name in cases}
        return build.Built(cases=chosen, versions=facts.versions, cached=len(chosen))

    def page_left(session: Any, *_: Any) -> str:  # seconds of work, and no workflow looks at the page
        path = session.output / page.PAGE
        path.write_text("<!doctype html><title>The page of a run</title>\n", encoding="utf-8")
        return f"page: {path}"

    setattr(build, "build_apart", stored)  # noqa: B010 - mypy would have the same signature
    setattr(page, "leave", page_left)  # noqa: B010
    machine.busy = lambda *_: 0
    sys.executable = str(state / "bin" / "card-python")
    return command.main(words)


def _python(state: Path, machine: dict[str, Any], words: list[str]) -> int:
    """What the gate starts as a process of its own: a look at the machine, the check of results, one launch."""
    if words[:2] == ["-m", "perfgate.harness.machine"]:
        print(json.dumps(_environment(state, machine)))
        return 0
    if words[:2] != ["-m", "pytest"]:
        os.execv(sys.executable, [sys.executable, *words])  # noqa: S606 - what needs no card runs as it is
    option = {word.partition("=")[0]: word.partition("=")[2] for word in words if word.startswith("--")}
    if waits := option.get("--perfgate-wait"):
        os.read(int(waits), 1)
    chosen = [word.partition("=")[2] for word in words if word.startswith("--perfgate-case=")]
    timed = any(word.endswith("test_throughput.py") for word in words)
    if machine.get("hostile"):
        _attack(state)
    _leave_results(machine, Path(option["--perfgate-results"]), chosen, timed=timed)
    if timed:
        other = words[words.index("--perfgate-other-is") + 1 :][:2] if "--perfgate-other-is" in words else None
        selected = chosen if "--perfgate-continued" in words else []
        _leave_launch(state, machine, Path(option["--benchmark-json"]), other=other, chosen=chosen, selected=selected)
    return 0


def _environment(state: Path, machine: dict[str, Any]) -> dict[str, str]:
    from perfgate.store.recording import read_recording

    found = {**read_recording(state / _RECORDED).environment, "why": ""}
    return found if machine["gpu"] else {**found, "gpu": "", "uuid": "", "driver": "", "why": "the card is away"}


def _leave_results(machine: dict[str, Any], path: Path, chosen: list[str], *, timed: bool) -> None:
    """What the plugin writes of its tests: every case has one, and passed."""
    from perfgate.config import read_settings
    from perfgate.project import load_suite
    from perfgate.records import SCHEMA

    suite = load_suite(read_settings(Path.cwd()))
    names = [case.id for case in (suite.CASES if timed else suite.CHECKED)]
    wrong = machine.get("wrong", {})
    items = {
        f"test[{name}]": {
            "case": name,
            "outcome": "failed" if name in wrong else "passed",
            "reason": "",
            "text": f"{name}: {wrong[name]}" if name in wrong else "",
        }
        for name in names
        if not chosen or name in chosen
    }
    document = {"schema": SCHEMA, "seed": 1, "items": items, "deselected": [], "collect_errors": [], "tests_s": 1.0}
    path.write_text(json.dumps(document), encoding="utf-8")


def _leave_launch(  # noqa: PLR0913 - each is one independent choice
    state: Path, machine: dict[str, Any], path: Path, *, other: Any, chosen: list[str], selected: list[str]
) -> None:
    """One recorded launch: every second round is the kernel, and the same rounds backwards the other side.

    So both sides have the same times, no list stands twice, and a scenario ends the same way every time.
    """
    from perfgate.config import read_settings
    from perfgate.store.recording import read_recording, write_recording

    recorded = read_recording(state / _RECORDED)
    number = int(path.stem.rpartition("-")[2]) - 1
    samples = {}
    for case, one in recorded.samples.items():
        if chosen and case not in chosen:
            continue
        rest = one.launches[_LAUNCHES:]
        launch = rest[number % len(rest)]
        arms = {name: values[::2] for name, values in launch.arms.items()}
        arms["kernel"] = tuple(seconds * machine["scale"] for seconds in arms["kernel"])
        if other:
            arms["other"] = launch.arms["kernel"][-2 + len(launch.arms["kernel"]) % 2 :: -2]
        samples[case] = dataclasses.replace(
            one,
            launches=(dataclasses.replace(launch, arms=arms),),
            other={"kind": other[0], "name": other[1]} if other else None,
            code={},
        )
    made = dataclasses.replace(
        recorded,
        samples=samples,
        settings=read_settings(Path.cwd()).measurement(),
        commit="",
        reason="",
        recorded_at="",
        selected=tuple(selected),
    )
    write_recording(path, made)


def _attack(state: Path) -> None:
    """What a kernel may try: write to every file that GitHub reads, and outlive the gate to change what it leaves."""
    found = {name: value for name, value in os.environ.items() if name.startswith("GITHUB_") and Path(value).is_file()}
    bad = state / "bad-path"
    bad.mkdir(exist_ok=True)
    (bad / "node").write_text(f"#!/bin/sh\ntouch '{state}/node-was-replaced'\nexit 0\n", encoding="utf-8")
    (bad / "node").chmod(0o755)
    lines = {"GITHUB_PATH": str(bad), "GITHUB_STEP_SUMMARY": "## perf: pass (written by the kernel)"}
    for name, value in found.items():
        if name != "GITHUB_EVENT_PATH":
            with Path(value).open("a", encoding="utf-8") as stream:
                stream.write(lines.get(name, f"{_HIJACKED}=1") + "\n")
    with (state / "reached.txt").open("a", encoding="utf-8") as stream:
        stream.write(f"{','.join(sorted(found))}\n")
    print(_CALLED, flush=True)
    if os.fork():
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    with (state / "left-behind.txt").open("a", encoding="utf-8") as stream:
        stream.write(f"{os.getpid()}\n")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)
    os.closerange(3, 256)
    _rewrite(Path.cwd() / ".perfgate" / "run.json", seconds=60)


def _rewrite(path: Path, *, seconds: float) -> None:
    """Wait for the gate's end, then turn every verdict of its run into a pass."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.02)
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if not run["exit"]:
            break
        for stage in run["stages"]:
            for verdict in stage["verdicts"]:
                verdict |= {"status": "SAME", "reason": "same", "wrong": False}
        path.write_text(json.dumps(run | {"exit": 0}), encoding="utf-8")
    os._exit(0)


def _note(state: Path, session: str, arguments: list[str]) -> None:
    """Which command ran in which job, and whether a kernel reached its environment."""
    line = {
        "job": os.environ.get("GITHUB_JOB", ""),
        "session": session,
        "arguments": arguments,
        "hijacked": _HIJACKED in os.environ,
    }
    with (state / "commands.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def _note_left_behind(state: Path) -> None:
    """Which of a hostile kernel's processes still run after the gate's end."""
    path = state / "left-behind.txt"
    for pid in path.read_text(encoding="utf-8").split() if path.is_file() else ():
        if Path("/proc", pid).exists():
            (state / "outlived.txt").write_text(pid, encoding="utf-8")


def _keep_summary(state: Path) -> None:
    """Each job's summary: act throws it away."""
    path = Path(os.environ.get("GITHUB_STEP_SUMMARY", ""))
    if path.is_file() and (text := path.read_text(encoding="utf-8")):
        folder = state / "summaries"
        folder.mkdir(exist_ok=True)
        (folder / f"{os.environ.get('GITHUB_JOB', 'none')}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
