"""``python -m studies.accuracy.__main__``: the kernel's measured errors against float64 at each precision, beside torch's.

Owns the command line, the order of work and the files. Without a card the kernel runs in Triton's interpreter, in small
shapes, and the page says so. ``TRITON_OVERRIDE_ARCH`` is respected and named. Exits with 0; 1 when rounding to TF32 is biased
or a mode of full accuracy fails KernelBench's 1e-4; 2 for bad usage or where a bias could not be told.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from perfgate import settings
from perfgate.cli.common import Parser
from perfgate.harness import machine
from perfgate.harness.correctness import WrongResultError
from perfgate.measurement import gpu_lock
from perfgate.records import GateError
from studies.accuracy import arms, cost, kernelbench
from studies.accuracy import report as accuracy_report
from studies.accuracy.arms import KERNEL, TORCH, TORCH_SUMS
from studies.accuracy.errors import distribution

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from perfgate.settings import Settings

_CARD_SIZE, _INTERPRETER_SIZE = 1024, 64
_SMALLEST = 16
_FEWEST_DRAWS = 2
_WRONG, _COULD_NOT = 1, 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for."""

    size: int | None = None
    """M = N = K of the square, from which the other shapes follow; None takes 1024 on a card and 64 without."""
    draws: int = 8
    """Independent draws of operands for each input and shape."""
    seed: int = 0
    cases: tuple[str, ...] = kernelbench.STORE_BOUND
    """Under KernelBench's check."""
    processes: int = 3
    """That time the store-bound cases; none leaves it out."""
    rounds: int = 20
    """Timed runs of each arm in a process."""
    output: Path | None = None

    def command(self, size: int) -> str:
        """What repeats this."""
        words = [f"--size={size}", f"--draws={self.draws}", f"--seed={self.seed}", *(f"--case={c}" for c in self.cases)]
        words += [f"--processes={self.processes}", f"--rounds={self.rounds}"]
        path = machine.code_path()
        before = "" if path == "native" else f"TRITON_OVERRIDE_ARCH={path} "
        return before + shlex.join(["python", "-m", "studies.accuracy.__main__", *words])


def run(project: Settings, options: Options) -> int:
    """Measure, write ``accuracy.json`` and ``accuracy.md``, and say what was found; returns the exit code.

    Raises:
        GateError: The interpreter does not work here, or a timing process failed.
        WrongResultError: A result holds NaN or infinity.
    """
    interpreted = not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
    if interpreted:
        os.environ["TRITON_INTERPRET"] = "1"  # which Triton reads when it is imported, and when a kernel is decorated
    environment = machine.look()
    from triton.runtime.errors import InterpreterError

    kernel = settings.load_kernel(project.root / project.kernel, "kernel_of_accuracy")
    with nullcontext() if interpreted else gpu_lock.hold(environment["uuid"]):
        try:
            report = measure(project, options, kernel, environment, interpreted=interpreted)
        except InterpreterError as error:
            raise GateError(
                "no-interpreter",
                f"Triton's interpreter failed ({error}), expected a product; that of Triton 3.6 does not work with numpy "
                "2.4, so install the pinned versions (nox -s accuracy).",
            ) from None
    folder = options.output or project.root / ".perfgate/accuracy"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(accuracy_report.document(report), indent=1, sort_keys=True)
    (folder / "accuracy.json").write_text(text + "\n", encoding="utf-8")
    (folder / "accuracy.md").write_text(accuracy_report.markdown(report), encoding="utf-8")
    for sentence in accuracy_report.sentences(report):
        print(f"accuracy: {sentence}")
    print(f"accuracy: wrote accuracy.json and accuracy.md in {folder}")
    return report.exit_code


def measure(
    project: Settings, options: Options, kernel: ModuleType, environment: Mapping[str, str], *, interpreted: bool
) -> accuracy_report.Report:
    """Everything that is measured, in one report.

    Args:
        project: Where things are.
        options: What was asked for.
        kernel: Module with ``triton_matmul``.
        environment: As `perfgate.harness.machine.look` gives it.
        interpreted: Whether the kernel runs in Triton's interpreter, on the CPU.
    """
    device, where = ("cpu", "Triton's interpreter") if interpreted else ("cuda", environment["gpu"])
    size = options.size or (_INTERPRETER_SIZE if interpreted else _CARD_SIZE)
    wanted = arms.problems(size)
    print(f"accuracy: {len(wanted)} problems of {options.draws} draws on {where}, size {size} …", flush=True)
    drawn = arms.draw_all(kernel, wanted, device=device, draws=options.draws, seed=options.seed)
    checks = [
        check
        for case in options.cases
        for check in kernelbench.check_case(
            kernel, case, device=device, seed=options.seed, most_rows=4 * size if interpreted else None
        )
    ]
    if interpreted:
        not_timed = f"there is no card ({environment['why']})" if environment["why"] else "the interpreter is no card"
    elif not options.processes:
        not_timed = "as --processes 0 asks"
    else:
        broken = any(check.promised and check.failing for check in checks)
        not_timed = "as a wrong result gets no speed number" if broken else ""
    launches = []
    if not not_timed:
        torch.cuda.empty_cache()  # the processes need the room
        print(f"accuracy: timing store-bound cases in {options.processes} processes …", flush=True)
        launches = cost.measure(
            project,
            kernelbench.STORE_BOUND,
            processes=options.processes,
            rounds=options.rounds,
            seed=options.seed,
        )
    rounding = {
        KERNEL: arms.biases(drawn),
        TORCH: arms.biases(drawn, by=TORCH, sums=TORCH_SUMS),
    }
    return accuracy_report.Report(
        environment=environment,
        interpreted=interpreted,
        command=options.command(size),
        date=datetime.now(UTC).date().isoformat(),
        size=size,
        draws=options.draws,
        seed=options.seed,
        errors={
            problem: {arm: distribution(draws) for arm, draws in by_arm.items()} for problem, by_arm in drawn.items()
        },
        rounding=rounding,
        checks=checks,
        costs=cost.costs(launches) if launches else (),
        not_timed=not_timed,
        launches=launches,
    )


def _options(argv: list[str]) -> Options:
    parser = Parser(
        prog="python -m studies.accuracy.__main__",
        description="Measure the kernel's errors against float64 at each precision, beside torch's.",
        allow_abbrev=False,
    )
    usual = Options()
    parser.add_argument("--size", type=int, metavar="N", help="M = N = K of the square shape (1024; 64 without a card)")
    parser.add_argument("--draws", type=int, default=usual.draws, metavar="N", help="independent draws of operands")
    parser.add_argument("--seed", type=int, default=usual.seed, metavar="N", help="of the first draw")
    parser.add_argument(
        "--case",
        action="append",
        choices=kernelbench.PLAIN,
        help="under KernelBench's check (may be repeated)",
    )
    parser.add_argument("--processes", type=int, default=usual.processes, metavar="N", help="0 leaves timing out")
    parser.add_argument("--rounds", type=int, default=usual.rounds, metavar="N", help="timed runs in a process")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where to write (.perfgate/accuracy)")
    given = parser.parse_args(argv)
    for name, least in (("size", _SMALLEST), ("draws", _FEWEST_DRAWS), ("seed", 0), ("processes", 0), ("rounds", 1)):
        value = getattr(given, name)
        if value is not None and value < least:
            raise GateError("bad-usage", f"--{name} is {value}; expected {least} or more.")
    if given.output and given.output.exists() and not given.output.is_dir():
        raise GateError("bad-usage", f"--output is {given.output}, which is no folder; name a folder.")
    return Options(
        size=given.size,
        draws=given.draws,
        seed=given.seed,
        cases=tuple(dict.fromkeys(given.case or usual.cases)),
        processes=given.processes,
        rounds=given.rounds,
        output=given.output,
    )


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    try:
        return run(settings.load(Path.cwd()), _options(argv))
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    except WrongResultError as error:
        print(f"INVALID wrong-result: {error}", file=sys.stderr)
        return _WRONG


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
