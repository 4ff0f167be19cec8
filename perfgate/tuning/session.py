"""Finds the tiles that suit the GPU present, and proposes the kernel's list of configs.

Owns the order of the steps and which files are written where. What the kernel may run it asks of the suite (`candidates`
beside the tests); it changes no kernel.
"""

from __future__ import annotations

import hashlib
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from perfgate.files import write_whole
from perfgate.hardware.occupancy import architecture
from perfgate.hardware.occupancy import target as compile_target
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Request, Session, check_idle, current_commit, open_session
from perfgate.project import load_suite
from perfgate.records import GateError
from perfgate.tuning import LAUNCHES, LIMIT, TOP, compiling, report
from perfgate.tuning import document as tune_document
from perfgate.tuning.choice import shortest
from perfgate.tuning.document import About, Document
from perfgate.tuning.measuring import Tuning

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from perfgate.config import Settings

_WRONG, _COULD_NOT = 1, 2


def run(project: Settings, options: argparse.Namespace) -> int:
    """Compile, measure, write and propose.

    Args:
        project: The project's settings.
        options: Of the command: ``case``, ``m``, ``launches``, ``top``, ``limit``, ``output``, ``resume``.

    Returns:
        0 when every case that runs the tuned kernel was measured, be there any, or ranked by the model where there is no card; 1 when a present choice gave a wrong result; 2 when
        some case could not be measured.

    Raises:
        GateError: ``no-card`` where there is no model either, after the compiled part was written; or nothing could be compiled or measured.
    """
    session = open_session(project, Request(cases=tuple(options.case)))
    session.require_timed(options.case)
    chosen = [one for one in load_suite(project).CASES if not options.case or one.id in options.case]
    cases = [case.id for case in chosen if not options.m or case.quick]
    if not cases:
        raise GateError("bad-usage", "No case is left of --case and -m quick together, expected at least one.")
    compiling.load_candidates(project)
    about = _about(session, options)
    output = project.root / options.output
    output.mkdir(parents=True, exist_ok=True)
    path = output / "tune.json"
    document = tune_document.read(options.resume, now=about) if options.resume else Document(about=about, cases={})

    def keep() -> None:
        write_whole(path, document.as_text())

    if new := [case for case in cases if case not in document.cases]:
        count = f"{len(new)} cases" if len(new) > 1 else new[0]
        print(f"tune: {count} for {about.target}; written to {options.output} as it goes.", flush=True)
        document.add(compiling.compile_cases(project, new, target=about.target, limit=options.limit, output=output))
        keep()
    if not about.environment["gpu"]:
        return _without_card(session, options, document, path)
    if about.environment["code_path"] != "native":
        running = {name: case.running() for name, case in document.tuned().items()}
        configs = {name: {one: entry.config for one, entry in found.items()} for name, found in running.items()}
        compiling.warm(project, configs, output=output)
    tuning = Tuning(
        root=project.root,
        output=output,
        document=document,
        top=options.top,
        launches=options.launches,
        keep=keep,
        check_idle=lambda: check_idle(session),
    )
    try:
        with gpu_lock.hold(session.environment["uuid"]):
            tuning.run()
    finally:  # as far as it came
        keep()
        page = report.markdown(document)
        write_whole(path.with_suffix(".md"), page)
    print(page)
    if choice := shortest(report.choices(document)):  # once more, where the eye is at the end of a run
        print(f"tune: proposed list, {choice.loss * 100:.2f} % from the best of each case:")
        print("\n".join(f"    {line}" for line in report.lines(document, choice)))
    print(f"tune: wrote {path} and {path.with_suffix('.md')}")
    known = [case for case in document.cases.values() if not case.note]
    if any(case.candidates[case.current].wrong for case in known if case.current in case.candidates):
        return _WRONG
    return 0 if all(case.launches and not case.failed for case in known) else _COULD_NOT


def _without_card(session: Session, options: argparse.Namespace, document: Document, path: Path) -> int:
    """Rank what was compiled by the model, write that and print it.

    Raises:
        GateError: ``no-card``, there is no model either; the facts were written.
    """
    why = session.environment["why"]
    ranked = report.rank(document, session.settings)
    write_whole(path, document.as_text())
    page, file = (
        report.ranked_markdown(document, ranked) if ranked else report.markdown(document),
        path.with_suffix(".md"),
    )
    write_whole(file, page)
    print(page, flush=True)
    if not ranked:
        raise GateError(
            "no-card",
            f"No card: nothing was measured ({why}); what was compiled for {document.about.target} is in "
            f"{options.output}, and a list is proposed on a machine with the card: nox -s tune.",
        )
    print(f"tune: no card ({why}): ranked by the model, nothing was measured; wrote {path} and {file}")
    return 0


def _about(session: Session, options: argparse.Namespace) -> About:
    """What a document says of itself."""
    project, environment = session.settings, session.environment
    # To compile for: what Triton is told to lower for, else the card's architecture, else the project's.
    code_path, native = environment["code_path"], project.target
    if environment["gpu"] and code_path == "native":
        native = f"sm_{capability(environment.get('uuid', ''))}"
    target = compile_target(code_path, native=native)
    try:
        architecture(target)
    except KeyError as error:
        raise GateError("unknown-target", f"Cannot compile for {target}: {error.args[0]}.") from None
    words = ["python", "-m", "perfgate", "tune", *(f"--case={case}" for case in options.case)]
    words += ["-m", "quick"] if options.m else []
    numbers = {"launches": LAUNCHES, "top": TOP, "limit": LIMIT}
    words += [f"--{name}={value}" for name, usual in numbers.items() if (value := getattr(options, name)) != usual]
    return About(
        command=shlex.join(words),
        recorded_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=current_commit(project),
        kernel_sha256=hashlib.sha256((project.root / project.kernel).read_bytes()).hexdigest(),
        target=target,
        limit=options.limit,
        top=options.top,
        launches=options.launches,
        settings=project.measurement(),
        environment={key: value for key, value in environment.items() if key != "why"},
    )


def capability(uuid: str) -> str:
    """Compute capability of a card, such as ``89``.

    Args:
        uuid: The card, as the driver names it.

    Raises:
        GateError: ``no-monitor`` where the driver does not tell.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
        card = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        if uuid.startswith("MIG-"):
            card = pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(card)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(card)
    except pynvml.NVMLError as error:
        raise GateError(
            "no-monitor", f"The driver's library does not tell what card {uuid} is ({error}); see nvidia-smi -L."
        ) from None
    return f"{major}{minor}"
