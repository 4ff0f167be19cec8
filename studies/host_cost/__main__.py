"""``python -m studies.host_cost.__main__``: what a call of the wrapper costs the host, beside torch.matmul and Triton's own launch.

Owns the command line, the wording and the files; `host_cost_calls` measures. Small products take the card less time than the
host needs to ask for them, so there the wrapper's Python is the time. Exits with 0; 1 where the kernel is wrong; 2 for bad
usage and where there is no card.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import settings
from perfgate.cli.common import Parser
from perfgate.harness import machine
from perfgate.harness.correctness import WrongResultError
from perfgate.measurement import gpu_lock
from perfgate.records import GateError
from perfgate.text import duration
from studies.host_cost import calls as host_cost_calls
from studies.host_cost.calls import DIRECT, FEWEST_CALLS, JIT, KERNEL, KERNEL_ALLOCATING, TORCH, Cost, Found

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from perfgate.settings import Settings

SCHEMA = 1
_CALLS = 2000
_WRONG, _COULD_NOT = 1, 2
_TEXT = """\
Host time of a call: median and quartiles of {batches} batches of {calls} calls behind a held stream, arms in random order
each round, TF32 allowed. *Triton's own* is the launch of an empty kernel with as many arguments, over the call: by its
`@triton.jit` function, and by the compiled kernel alone. What is left of the call is the wrapper's."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What was found, and where."""

    environment: Mapping[str, str]
    """With ``cpu``, the host's processor."""
    command: str
    date: str
    found: Found


def run(project: Settings, *, calls: int, profile: bool, output: Path | None) -> int:
    """Measure on the card present, write ``host-cost.json`` and ``host-cost.md``, and print the page; returns 0.

    Raises:
        GateError: ``no-card``: there is none, or Triton is told to interpret.
        WrongResultError: The kernel is wrong.
    """
    environment = machine.look()
    if not environment["gpu"]:
        raise GateError("no-card", f"Host cost needs a CUDA card and there is none ({environment['why']}).")
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise GateError("no-card", "Host cost needs the compiled kernel and TRITON_INTERPRET is 1; unset it.")
    kernel = settings.load_kernel(project.root / project.kernel, "kernel_of_host_cost")
    with gpu_lock.hold(environment["uuid"]):
        clock_hz = machine.Monitor(environment["uuid"]).max_sm_clock_hz()
        found = host_cost_calls.measure(kernel, calls=calls, profile=profile, clock_hz=clock_hz)
    words = ["python", "-m", "studies.host_cost.__main__", f"--calls={calls}", *(["--profile"] if profile else [])]
    path = machine.code_path()
    report = Report(
        environment={**environment, "cpu": processor()},
        command=("" if path == "native" else f"TRITON_OVERRIDE_ARCH={path} ") + shlex.join(words),
        date=datetime.now(UTC).date().isoformat(),
        found=found,
    )
    folder = output or project.root / ".perfgate/host-cost"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document(report), indent=1, sort_keys=True)
    (folder / "host-cost.json").write_text(text + "\n", encoding="utf-8")
    page = markdown(report)
    (folder / "host-cost.md").write_text(page, encoding="utf-8")
    print(page)
    print(f"host-cost: wrote host-cost.json and host-cost.md in {folder}")
    return 0


def processor() -> str:
    """The host's processor as Linux names it, on which these times depend more than on the card."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def sentence(shape: str, costs: Sequence[Cost]) -> str:
    """What one shape's costs say."""
    of = {cost.arm: cost.seconds for cost in costs}
    return (
        f"{shape}: a call of triton_matmul takes the host {duration(of[KERNEL])}, {of[KERNEL] / of[TORCH]:.2f} times "
        f"torch.matmul's {duration(of[TORCH])}; Triton's own launch of a kernel with as many arguments is "
        f"{of[JIT] / of[KERNEL]:.0%} of it ({duration(of[JIT])}), its launcher alone {of[DIRECT] / of[KERNEL]:.0%}."
    )


def markdown(report: Report) -> str:
    """The page."""
    about, found = report.environment, report.found
    rows = [row for shape, costs in found.shapes.items() for row in _rows(shape, costs)]
    head = ("shape", "what is called", "a call", "quartiles", "over torch.matmul(out=)", "Triton's own")
    of_batches = f"{len(found.shapes) * len(next(iter(found.shapes.values()))) * found.batches} batches"
    where = f"{about['gpu']}, {about['code_path']} code path, driver {about['driver']}; host {about['cpu']}"
    versions = f"Python {about['python']}, torch {about['torch']}, Triton {about['triton']}"
    parts = [
        "# Host cost",
        f"{where}; {versions}; {report.date}; `{report.command}`.",
        "\n".join(f"- {sentence(shape, costs)}" for shape, costs in found.shapes.items()),
        _TEXT.format(batches=found.batches, calls=found.calls),
        *([f"**Doubtful**: {found.unheld} of {of_batches} outlasted the hold."] if found.unheld else []),
        "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)),
        *([f"## Where it goes\n\n```text\n{found.profile}\n```"] if found.profile else []),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(shape: str, costs: Sequence[Cost]) -> list[tuple[str, ...]]:
    of = {cost.arm: cost.seconds for cost in costs}
    return [
        (
            shape,
            cost.arm,
            duration(cost.seconds),
            f"{duration(cost.low)} to {duration(cost.high)}",
            f"{cost.seconds / of[TORCH]:.2f}",
            f"{of[JIT] / cost.seconds:.0%}, {of[DIRECT] / cost.seconds:.0%}"
            if cost.arm in {KERNEL, KERNEL_ALLOCATING}
            else "",
        )
        for cost in costs
    ]


def document(report: Report) -> dict[str, Any]:
    """The same as JSON: schema, what it was found with, every number in full."""
    return {
        "schema": SCHEMA,
        "kind": "host-cost",
        "sentences": [sentence(shape, costs) for shape, costs in report.found.shapes.items()],
        "date": report.date,
        "command": report.command,
        "environment": dict(report.environment),
        **asdict(report.found),
    }


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    parser = Parser(
        prog="python -m studies.host_cost.__main__",
        description="Measure what a call of the wrapper costs the host, beside torch.matmul and Triton's own launch.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--calls", type=int, default=_CALLS, metavar="N", help=f"calls of each arm and shape ({_CALLS})"
    )
    parser.add_argument("--profile", action="store_true", help="say which functions the first shape's time goes to")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (.perfgate/host-cost)")
    try:
        given = parser.parse_args(argv)
        if given.calls < FEWEST_CALLS:
            raise GateError("bad-usage", f"--calls is {given.calls}; expected {FEWEST_CALLS} or more.")
        if given.output and given.output.exists() and not given.output.is_dir():
            raise GateError("bad-usage", f"--output is {given.output}, which is no folder; name a folder.")
        return run(settings.load(Path.cwd()), calls=given.calls, profile=given.profile, output=given.output)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    except WrongResultError as error:
        print(f"INVALID wrong-result: {error}; a wrong kernel gets no number.", file=sys.stderr)
        return _WRONG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
