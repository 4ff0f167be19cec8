"""``nox -s study -- host-cost``: what a call of the wrapper costs the host, beside torch.matmul and Triton's own launch.

Owns the command line, the wording and the page; `calls` measures. Small products take the card less time than the
host needs to ask for them, so there the wrapper's Python is the time. Exits with 0; 1 where the kernel is wrong; 2 for bad
usage and where there is no card.
"""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError
from perfgate.text import duration, pipes
from studies import shared

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping, Sequence

    from studies.host_cost.calls import Cost, Found

_TEXT = """\
Host time of a call: median and quartiles of {batches} batches of {calls} calls behind a held stream, arms in random order
each round, TF32 allowed. *Triton's own* is the launch of an empty kernel with as many arguments, over the call: by its
`@triton.jit` function, and by the compiled kernel alone. What is left of the call is the wrapper's."""


def main(words: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    made = shared.parser(
        "host-cost", "Measure what a call of the wrapper costs the host, beside torch.matmul and Triton's own launch."
    )
    made.add_argument("--calls", type=int, default=2000, metavar="N", help="calls of each arm and shape (2000)")
    return command_line.run(made, words, lambda options: _work(options, words))


def _work(options: argparse.Namespace, words: Sequence[str]) -> int:
    from perfgate.config import read_settings
    from perfgate.harness import machine
    from perfgate.harness.correctness import WrongResultError
    from perfgate.measurement import gpu_lock
    from perfgate.project import load_kernel
    from studies.host_cost import calls

    command_line.at_least(options, calls=calls.FEWEST_CALLS)
    output = shared.folder(options)
    environment = machine.look()
    if not environment["gpu"]:
        raise GateError("no-card", f"Host cost needs a CUDA card and there is none ({environment['why']}).")
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise GateError("no-card", "Host cost needs the compiled kernel and TRITON_INTERPRET is 1; unset it.")
    project = read_settings(Path.cwd())
    kernel = load_kernel(project.root / project.kernel, "kernel_of_host_cost")
    with gpu_lock.hold(environment["uuid"]):
        clock_hz = machine.Monitor(environment["uuid"]).max_sm_clock_hz()
        try:
            found = calls.measure(kernel, calls=options.calls, clock_hz=clock_hz)
        except WrongResultError as error:
            print(f"INVALID wrong-result: {error}; a wrong kernel gets no number.", file=sys.stderr)
            return shared.WRONG
    page = markdown(
        found,
        {**environment, "cpu": processor()},
        date=datetime.now(UTC).date().isoformat(),
        command=shared.again("host-cost", words, code_path=environment["code_path"]),
    )
    shared.keep(output, {"host-cost.md": page})
    print(page)
    print(f"host-cost: wrote host-cost.md in {output}")
    return 0


def processor() -> str:
    """The host's processor as Linux names it, on which these times depend more than on the card."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def markdown(found: Found, about: Mapping[str, str], *, date: str, command: str) -> str:
    """The page, for an environment with ``cpu``, the host's processor."""
    head = ("shape", "what is called", "a call", "quartiles", "over torch.matmul(out=)", "Triton's own")
    of_batches = f"{len(found.shapes) * len(next(iter(found.shapes.values()))) * found.batches} batches"
    where = f"{about['gpu']}, {about['code_path']} code path, driver {about['driver']}; host {about['cpu']}"
    versions = f"Python {about['python']}, torch {about['torch']}, Triton {about['triton']}"
    parts = [
        "# Host cost",
        f"{where}; {versions}; {date}; `{command}`.",
        "\n".join(f"- {_sentence(shape, costs)}" for shape, costs in found.shapes.items()),
        _TEXT.format(batches=found.batches, calls=found.calls),
        *([f"**Doubtful**: {found.unheld} of {of_batches} outlasted the hold."] if found.unheld else []),
        "\n".join(pipes(head, (row for shape, costs in found.shapes.items() for row in _rows(shape, costs)))),
    ]
    return "\n\n".join(parts) + "\n"


def _sentence(shape: str, costs: Sequence[Cost]) -> str:
    from studies.host_cost.calls import DIRECT, JIT, KERNEL, TORCH

    of = {cost.arm: cost.seconds for cost in costs}
    return (
        f"{shape}: a call of triton_matmul takes the host {duration(of[KERNEL])}, {of[KERNEL] / of[TORCH]:.2f} times "
        f"torch.matmul's {duration(of[TORCH])}; Triton's own launch of a kernel with as many arguments is "
        f"{of[JIT] / of[KERNEL]:.0%} of it ({duration(of[JIT])}), its launcher alone {of[DIRECT] / of[KERNEL]:.0%}."
    )


def _rows(shape: str, costs: Sequence[Cost]) -> Iterator[tuple[str, ...]]:
    from studies.host_cost.calls import DIRECT, JIT, KERNEL, KERNEL_ALLOCATING, TORCH

    of = {cost.arm: cost.seconds for cost in costs}
    for cost in costs:
        own = f"{of[JIT] / cost.seconds:.0%}, {of[DIRECT] / cost.seconds:.0%}"
        quartiles = f"{duration(cost.low)} to {duration(cost.high)}"
        over = f"{cost.seconds / of[TORCH]:.2f}"
        shown = own if cost.arm in {KERNEL, KERNEL_ALLOCATING} else ""
        yield shape, cost.arm, duration(cost.seconds), quartiles, over, shown
