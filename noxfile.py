"""The project's commands. All logic is in ``perfgate``; a session installs what it needs and calls it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.2.9"  # the first that reads dependency groups; an older one says so and ends
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "tests", "perf"]


def project() -> dict[str, Any]:
    """What to install. A change is judged with its base's requirements and its own versions of torch and Triton alone."""
    own = nox.project.load_toml("pyproject.toml")
    if not (change := os.environ.get("PERFGATE_VERSIONS")):
        return own
    sys.path.insert(0, str(Path(__file__).parent))  # nox is installed elsewhere and looks there alone
    from perfgate.github.pins import read_project, with_pins
    from perfgate.records import GateError

    try:
        return with_pins(own, read_project(Path(change), whose="change"))
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        sys.exit(2)
    finally:
        sys.path.pop(0)


PROJECT = project()


def install(session: nox.Session, group: str) -> None:
    """Install a dependency group; with ``--no-venv`` use what the environment has."""
    if session.venv_backend != "none":
        session.install(*nox.project.dependency_groups(PROJECT, group))


def environment_python() -> str:
    """The Python that has torch: the one that runs nox, or else the first on the path (nox may live apart)."""
    if importlib.util.find_spec("torch"):
        return sys.executable
    return shutil.which("python") or shutil.which("python3") or sys.executable


def perfgate(session: nox.Session, *arguments: str, module: str = "perfgate") -> None:
    """Run the gate and end nox with its exit code: 0, 1, 2 or 3, where nox itself knows only 0 and 1."""
    python = environment_python() if session.venv_backend == "none" else str(Path(session.bin) / "python")
    environment = {**os.environ, **{key: value for key, value in session.env.items() if value is not None}}
    words = [python, "-m", module, *arguments]
    done = subprocess.run(words, env=environment, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(done.returncode)


@nox.session
def perf(session: nox.Session) -> None:
    """The gate: is the kernel right, does it build, is it as fast as its baseline."""
    install(session, "gate")
    perfgate(session, "run", *session.posargs)


@nox.session
def compiled(session: nox.Session) -> None:
    """The machine code of every case against its stored facts, another kernel's or another Triton's; needs no card."""
    install(session, "gate")
    perfgate(session, "compiled", *session.posargs)


@nox.session(name="update-baselines")
def update_baselines(session: nox.Session) -> None:
    """Measure and store new baselines: ``nox -s update-baselines -- --reason "why"``."""
    install(session, "gate")
    perfgate(session, "update-baselines", *session.posargs)


@nox.session
def calibrate(session: nox.Session) -> None:
    """Measure the gate's own false alarms and misses on this card: ``nox -s calibrate``."""
    install(session, "gate")
    install(session, "plots")
    perfgate(session, "calibrate", *session.posargs)


@nox.session
def tune(session: nox.Session) -> None:
    """Search the allowed tiles on the card present and propose the kernel's list: ``nox -s tune``."""
    install(session, "gate")
    perfgate(session, "tune", *session.posargs)


@nox.session
def study(session: nox.Session) -> None:
    """One study of those that the docs quote: ``nox -s study -- table|accuracy|host-cost|cost-model|gates``."""
    install(session, "gate")
    install(session, "plots")
    perfgate(session, *session.posargs, module="studies")


@nox.session
def history(session: nox.Session) -> None:
    """Every case over the commits that changed its baselines: times, drift, machine code; needs no card."""
    install(session, "store")
    perfgate(session, "history", *session.posargs)


@nox.session
def counters(session: nox.Session) -> None:
    """Hardware counters of the chosen cases, read with ncu, beside the stored ones: ``nox -s counters -- --case ID``."""
    install(session, "gate")
    perfgate(session, "counters", *session.posargs)


@nox.session
def doctor(session: nox.Session) -> None:
    """Is this machine a good runner: one line a check, with the remedy."""
    install(session, "doctor")
    perfgate(session, "doctor", *session.posargs)


@nox.session
def github(session: nox.Session) -> None:
    """What the workflows call (see ``python -m perfgate.github``)."""
    install(session, "store")
    perfgate(session, *session.posargs, module="perfgate.github")


@nox.session
def tests(session: nox.Session) -> None:
    """Test the gate itself: first what needs no torch, then the rest; needs no GPU and no browser (``nox -s page``)."""
    # Off: pytest-benchmark, which warns under xdist; nothing here is timed.
    pytest = ("python", "-m", "pytest", "-n", "2", "-p", "no:benchmark")
    codes = [0, 5] if session.posargs else [0]  # 5: what was chosen is all in the other half
    install(session, "tests")
    session.run(*pytest, "-m", "not browser and not torch", *session.posargs, success_codes=codes)
    install(session, "gate")
    session.run(*pytest, "-m", "torch", *session.posargs, success_codes=codes)


@nox.session
def page(session: nox.Session) -> None:
    """Test the page of a run in a real browser, which has to be there: Chromium or Chrome, never downloaded."""
    install(session, "browser")
    # By name and without conftest.py, as the other tests want torch.
    files = map(str, sorted(Path("tests/report").glob("test_page_browser*.py")))
    session.run("python", "-m", "pytest", "--noconftest", "-p", "no:benchmark", *files, *session.posargs)


@nox.session
def workflows(session: nox.Session) -> None:
    """Run the workflows with act and the real actions; needs node 20 and git: ``nox -s workflows -- --sources FOLDER``."""
    install(session, "workflows")
    perfgate(session, *session.posargs, module="tests.workflows")


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff and mypy on Python; zizmor and actionlint on the workflows, shellcheck on what they call. All pinned."""
    install(session, "lint")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("lint-imports", "--no-cache")
    # Offline: what zizmor could ask GitHub changes from day to day, and a finding that nobody made is no regression.
    session.run("zizmor", "--offline", "--pedantic", "--no-progress", ".github")
    session.run("actionlint", "-shellcheck", "shellcheck", "-pyflakes", "")
    session.run("shellcheck", *map(str, sorted(Path(".github/runner").glob("*.sh"))))
