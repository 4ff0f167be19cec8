"""A stand-in for ncu, which plays counters in place of reading them, and counters for tests to compare."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.cli.counters import main
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Session
from perfgate.profiling import session
from perfgate.profiling.metrics import BY_NAME, DURATION, METRICS, Kind
from perfgate.profiling.store import CaseCounters, KernelCounters, Store

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

    from perfgate.config import Settings
    from perfgate.measurement.session import Request

ROOT = Path(__file__).parents[2]
CARD = "nvidia-h100-80gb-hbm3"
ENVIRONMENT = {
    "gpu": "NVIDIA H100 80GB HBM3",
    "uuid": "GPU-of-tests",
    "why": "",
    "driver": "580",
    "torch": "2.14.1",
    "triton": "3.8.0",
    "code_path": "native",
}
RECORD = ("--record", "--reason", "first")

Launched = tuple[str, dict[str, float]]
# As ncu prints them: bytes, nanoseconds, percent.
MATMUL, PREPARE = (
    dict(zip(BY_NAME, values, strict=True))
    for values in (
        (131072.0, 6.1e8, 5.4e7, 99.22, 75.5e6, 4.295e9, 21.0, 58.4, 19.62, 2.29e6),
        (512.0, 1.2e6, 2.6e5, 39.89, 8.4e6, 256.0, 21.0, 37.99, 14.73, 6620.0),
    )
)
CALL: list[Launched] = [("prepare_kernel", PREPARE), ("prepare_kernel", PREPARE), ("hopper_kernel", MATMUL)]
"""What a call of case 7 launches, and its counters."""
_UNIT_OF = {Kind.SHARE: "%", Kind.BYTES: "byte", Kind.SECONDS: "ns", Kind.COUNT: ""}
UNITS = {metric.name: _UNIT_OF[metric.kind] for metric in METRICS}
COLUMNS = ("ID", "Process ID", "Process Name", "Host Name", "Kernel Name", "Context", "Stream")
MORE_COLUMNS = ("Block Size", "Grid Size", "Device", "CC")

_SCRIPT = '''#!{python}
"""Plays ncu: the table and messages that the file names, and the results that the process beneath would leave."""
import json, sys
words = sys.argv[1:]
if words == ["--version"]:
    print("NVIDIA (R) Nsight Compute Command Line Profiler\\nVersion 2025.3.1.0 (build 1) (public-release)")
    sys.exit(0)
played = json.loads(open({played!r}).read())
with open({asked!r}, "a") as stream:
    stream.write(json.dumps(words) + "\\n")
plan, results = json.loads(open(words[-2]).read()), words[-1]
lines, launched, number = [], {{}}, 0
for case in plan["cases"]:
    launched[case] = {{}}
    for side in plan["sides"]:
        call = played["calls"][side]
        names = [name for name, _ in call]
        launched[case][side] = {{"names": names, "code": played["code"][side] + (results if played["edited"] else "")}}
        for turn in range(plan["calls"]):
            for name, metrics in [["fill_kernel", call[0][1]], *call]:
                if name != "fill_kernel" or played["fills"]:
                    about = [number, 1, "python", "host", name, 1, 7, "(128, 1, 1)", "(512, 1, 1)", 0, "9.0"]
                    values = [value * (1 + played["noise"] * (turn - 1)) for value in metrics.values()]
                    shown = [f"{{value:,.2f}}" for value in values]
                    lines.append(",".join(json.dumps(str(cell)) for cell in [*about, *shown]))
                    number += 1
lines = lines[: len(lines) + played["more"]] + lines[-1:] * max(0, played["more"])
quoted = lambda cells: ",".join(json.dumps(cell) for cell in cells)
names = list(call[0][1])
table = [quoted([*{columns!r}, *names]), quoted([""] * {many} + [{units!r}[name] for name in names]), *lines]
if played["results"]:
    open(results, "w").write(json.dumps(played["error"] or {{"cases": launched}}))
log = words[words.index("--log-file") + 1]
open(log, "w").write("\\n".join([*played["messages"], *(table if played["table"] else [])]) + "\\n")
print("of the process itself")
sys.exit(played["exit"])
'''


class Ncu:
    """The stand-in on the path, and what it is to play."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.project = project
        self._played, self._asked = folder / "played.json", folder / "asked.jsonl"
        columns = (*COLUMNS, *MORE_COLUMNS)
        script = _SCRIPT.format(
            python=sys.executable,
            played=str(self._played),
            asked=str(self._asked),
            columns=columns,
            many=len(columns),
            units=UNITS,
        )
        (folder / "ncu").write_text(script, encoding="utf-8")
        (folder / "ncu").chmod(0o755)
        self.play()

    def play(self, **instead: object) -> None:
        """What it plays from now on: the calls of either side, code, noise (a ratio), rows too many, messages, exit code."""
        document = {
            "calls": {"kernel": CALL, "other": CALL},
            "code": {"kernel": "new", "other": "old"},
            "noise": 0.001,
            "fills": False,
            "more": 0,
            "edited": False,
            "messages": ["==PROF== Connected to process 1 (/usr/bin/python3)"],
            "table": True,
            "results": True,
            "error": None,
            "exit": 0,
        }
        self._played.write_text(json.dumps(document | instead), encoding="utf-8")

    def asked(self) -> list[list[str]]:
        """What it was called with, each time."""
        return [json.loads(line) for line in self._asked.read_text(encoding="utf-8").splitlines()]


def _named(moved: Mapping[str, float]) -> dict[str, float]:
    return {metric.name: moved[said] for metric in METRICS if (said := metric.said.replace(" ", "_")) in moved}


def with_counters(**moved: float) -> list[Launched]:
    """A call of case 7 of which some counters of the large kernel are others, by their words with ``_`` for spaces."""
    return [*CALL[:2], ("hopper_kernel", {**MATMUL, **_named(moved)})]


def counted(
    kernels: Mapping[str, Mapping[str, float]] | None = None, *, code: str = "", spread: float = 0.0, **moved: float
) -> CaseCounters:
    """Counters of a case in SI; ``spread`` is a part of each value, ``moved`` as of `with_counters`, of every kernel."""
    found = []
    for name, metrics in (kernels or {"hopper_kernel": MATMUL}).items():
        values = {**metrics, DURATION: metrics[DURATION] * 1e-9} | _named(moved)
        apart = {key: value * spread for key, value in values.items()}
        found.append(KernelCounters(name=name, grid=(512, 1, 1), metrics=values, spread=apart))
    return CaseCounters(kernels=tuple(found), code=code, calls=6, commit="", recorded_at="")


def counters_store(**cases: CaseCounters) -> Store:
    """A store of the card's."""
    return Store(card=ENVIRONMENT["gpu"], cases=cases, environment={}, recorded_at="", commit="", reason="")


def project_with_a_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of this project's kernel and cases in a folder, with a card that is not there."""
    for part in ("kernels", "perf_tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    monkeypatch.chdir(folder)

    def opened(settings: Settings, request: Request) -> Session:
        (folder / ".perfgate").mkdir(exist_ok=True)
        timed = ("k1_square", "k7_small_k")
        return Session(
            settings=settings,
            request=request,
            environment=dict(ENVIRONMENT),
            output=folder / ".perfgate",
            checked=(*timed, "edge_odd"),
            timed=timed,
        )

    monkeypatch.setattr(session, "open_session", opened)
    monkeypatch.setattr(session, "check_idle", lambda _session: None)
    monkeypatch.setattr(gpu_lock, "FOLDER", folder / "locks")
    return folder


def on_the_path(project: Path, monkeypatch: pytest.MonkeyPatch) -> Ncu:
    """The stand-in, first on the path."""
    folder = project / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return Ncu(folder, project)


def profile(*words: str) -> int:
    return main(["--case", "k7_small_k", *words])


def stored(project: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((project / f"baselines/{CARD}/counters.json").read_text(encoding="utf-8"))
    return found
