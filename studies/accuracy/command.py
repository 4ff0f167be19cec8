"""``nox -s study -- accuracy``: the kernel's measured errors against float64 at each precision, beside torch's.

Owns the command line, the order of work and the files. Without a card the kernel runs in Triton's interpreter, in small
shapes, and the page says so. ``TRITON_OVERRIDE_ARCH`` is respected and named. Exits with 0; 1 when rounding to TF32 is biased
or a mode of full accuracy fails KernelBench's 1e-4; 2 for bad usage or where a bias could not be told.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from perfgate import command_line
from perfgate.records import GateError
from studies import shared

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from types import ModuleType

    from perfgate.measurement.session import Session
    from studies.accuracy.report import Report

_CARD_SIZE, _INTERPRETER_SIZE = 1024, 64


def parser() -> command_line.Parser:
    """What can be asked for."""
    made = shared.parser("accuracy", "Measure the kernel's errors against float64 at each precision, beside torch's.")
    made.add_argument("--size", type=int, metavar="N", help="M = N = K of the square shape (1024; 64 without a card)")
    made.add_argument("--draws", type=int, default=8, metavar="N", help="independent draws of operands")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of the first draw")
    command_line.case_option(made, "under KernelBench's check (may be repeated)")
    made.add_argument("--processes", type=int, default=3, metavar="N", help="that time the modes; 0 leaves it out")
    return made


def main(words: list[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    return command_line.run(parser(), words, lambda options: _work(options, words))


def _work(options: argparse.Namespace, words: Sequence[str]) -> int:
    command_line.at_least(options, size=16, draws=2, seed=0, processes=0)

    import torch

    from perfgate.config import read_settings
    from perfgate.harness import machine
    from perfgate.harness.correctness import WrongResultError
    from perfgate.measurement import gpu_lock
    from perfgate.measurement.session import Request, open_session
    from perfgate.project import load_kernel
    from studies.accuracy import report

    project = read_settings(Path.cwd())
    output = shared.folder(options)
    interpreted = not torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1"
    if interpreted:
        os.environ["TRITON_INTERPRET"] = "1"  # which Triton reads when it is imported, and when a kernel is decorated
    session = open_session(project, Request(), environment=machine.look())
    from triton.runtime.errors import InterpreterError

    kernel = load_kernel(project.root / project.kernel, "kernel_of_accuracy")
    with nullcontext() if interpreted else gpu_lock.hold(session.environment["uuid"]):
        try:
            found = measure(session, options, words, kernel, interpreted=interpreted)
        except InterpreterError as error:
            raise GateError(
                "no-interpreter",
                f"Triton's interpreter failed ({error}), expected a product; that of Triton 3.6 does not work with numpy "
                "2.4, so install the pinned versions (nox -s study -- accuracy).",
            ) from None
        except WrongResultError as error:
            print(f"INVALID wrong-result: {error}", file=sys.stderr)
            return shared.WRONG
    shared.keep(output, {"accuracy.md": report.markdown(found)})
    for sentence in report.sentences(found):
        print(f"accuracy: {sentence}")
    print(f"accuracy: wrote accuracy.md in {output}")
    return found.exit_code


def measure(
    session: Session, options: argparse.Namespace, words: Sequence[str], kernel: ModuleType, *, interpreted: bool
) -> Report:
    """Everything that is measured, in one report.

    Args:
        session: Project and environment.
        options: What was asked for.
        words: The same as it was given.
        kernel: Module with ``triton_matmul``.
        interpreted: Whether the kernel runs in Triton's interpreter, on the CPU.

    Raises:
        GateError: A case cannot be checked, or a timing process failed.
        WrongResultError: A result holds NaN or infinity.
    """
    import torch

    from studies.accuracy import arms, cost
    from studies.accuracy.errors import distribution
    from studies.accuracy.report import Report

    environment = session.environment
    device, where = ("cpu", "Triton's interpreter") if interpreted else ("cuda", environment["gpu"])
    size = options.size or (_INTERPRETER_SIZE if interpreted else _CARD_SIZE)
    wanted, checked = arms.problems(size), tuple(dict.fromkeys(options.case)) or arms.STORE_BOUND
    if unknown := sorted({*checked} - {*arms.PLAIN}):
        raise GateError("bad-usage", f"--case is {unknown[0]}; expected one of {', '.join(arms.PLAIN)}.")
    print(f"accuracy: {len(wanted)} problems of {options.draws} draws on {where}, size {size} …", flush=True)
    drawn = arms.draw_all(kernel, wanted, device=device, draws=options.draws, seed=options.seed)
    rows = 4 * size if interpreted else None
    checks = [
        check
        for case in checked
        for check in arms.check_case(kernel, case, device=device, seed=options.seed, most_rows=rows)
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
        path, output = environment["code_path"], session.output / "accuracy" / "timing"
        timed = cost.measure(session, arms.STORE_BOUND, path=path, processes=options.processes, output=output)
        launches = timed.launches
    return Report(
        environment=environment,
        interpreted=interpreted,
        command=shared.again("accuracy", words, code_path=environment["code_path"]),
        date=datetime.now(UTC).date().isoformat(),
        draws=options.draws,
        errors={
            problem: {arm: distribution(draws) for arm, draws in by_arm.items()} for problem, by_arm in drawn.items()
        },
        rounding={
            arms.KERNEL: arms.biases(drawn),
            arms.TORCH: arms.biases(drawn, by=arms.TORCH, sums=arms.TORCH_SUMS),
        },
        checks=checks,
        costs=cost.costs(launches),
        not_timed=not_timed,
        launches=launches,
    )
