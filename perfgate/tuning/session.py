"""``python -m perfgate tune``: finds the tiles that suit the card present, and proposes the kernel's list of configs.

Owns the command line, the order of the steps and which files are written where. What the kernel may run it asks of the
suite (`candidates` beside the tests); it changes no kernel.
"""

from __future__ import annotations

import hashlib
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import settings
from perfgate.cli.common import Parser
from perfgate.files import write_whole
from perfgate.gate import throughput
from perfgate.hardware.occupancy import architecture
from perfgate.measurement import gpu_lock, processes
from perfgate.measurement.session import Request, Session, open_session
from perfgate.records import GateError
from perfgate.tuning import compiling, ranking, report
from perfgate.tuning import document as tune_document
from perfgate.tuning import measuring as tune_measuring
from perfgate.tuning.choice import shortest

if TYPE_CHECKING:
    from collections.abc import Sequence

LAUNCHES, TOP, LIMIT = 3, 4, 64
FOLDER = Path(".perfgate") / "tune"
_QUICK = "quick"
_WRONG, _COULD_NOT = 1, 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the user asked for."""

    cases: tuple[str, ...] = ()
    """Chosen by id; empty means all."""
    quick: bool = False
    """Only the quick cases."""
    launches: int = LAUNCHES
    top: int = TOP
    """How many of the first pass are timed in launches, beside the present choice and the starting tile."""
    limit: int = LIMIT
    """Candidates compiled for a case, at most."""
    output: Path = FOLDER
    resume: Path | None = None
    """A document to go on with."""

    def command(self) -> str:
        """What repeats this."""
        words = ["python", "-m", "perfgate", "tune", *(f"--case={case}" for case in self.cases)]
        words += ["-m", _QUICK] if self.quick else []
        numbers = {"launches": LAUNCHES, "top": TOP, "limit": LIMIT}
        words += [f"--{name}={value}" for name, usual in numbers.items() if (value := getattr(self, name)) != usual]
        return shlex.join(words)


def run(project: settings.Settings, options: Options) -> int:
    """Compile, measure, write and propose.

    Returns:
        0 when every case that runs the tuned kernel was measured, be there any, or ranked by the model where there is no card; 1 when a present choice gave a wrong result; 2 when
        some case could not be measured.

    Raises:
        GateError: ``no-card`` where there is no model either, after the compiled part was written; or nothing could be compiled or measured.
    """
    session = open_session(project, Request(cases=options.cases))
    cases = _cases(session, options)
    compiling.load_candidates(project)
    about = _about(session, options)
    output = project.root / options.output
    output.mkdir(parents=True, exist_ok=True)
    path = output / "tune.json"
    document = tune_document.begin(about)
    if options.resume:
        same = {key: about[key] for key in ("target", "kernel_sha256", "settings", "environment", "limit")}
        document = tune_document.read(options.resume, same=same)
        document["about"] |= {key: about[key] for key in ("launches", "top", "command")}

    def keep() -> None:
        write_whole(path, tune_document.as_text(document))

    def publish() -> str:
        page = report.markdown(document)
        write_whole(path.with_suffix(".md"), page)
        return page

    if new := [case for case in cases if case not in document["cases"]]:
        count = f"{len(new)} cases" if len(new) > 1 else new[0]
        print(f"tune: {count} for {about['target']}; written to {options.output} as it goes.", flush=True)
        limit, target = options.limit, about["target"]
        compiled = compiling.compile_cases(project, new, target=target, limit=limit, output=output)
        tune_document.add_cases(document, compiled)
        keep()
    if not about["environment"]["gpu"]:
        return _without_card(session, options, document, path)
    if about["environment"]["code_path"] != "native":
        found = tune_document.tuned(document)
        configs = {n: {k: c["candidates"][k]["config"] for k in tune_document.running(c)} for n, c in found.items()}
        compiling.warm(project, configs, output=output)
    tuning = tune_measuring.Tuning(
        root=project.root,
        output=output,
        document=document,
        top=options.top,
        launches=options.launches,
        keep=keep,
        check_idle=lambda: throughput.check_idle(session),
    )
    try:
        with gpu_lock.hold(session.environment["uuid"]):
            tuning.run()
    finally:  # as far as it came
        keep()
        page = publish()
    print(page)
    _say(document)
    print(f"tune: wrote {path} and {path.with_suffix('.md')}")
    return _exit_code(document)


def _without_card(session: Session, options: Options, document: dict[str, Any], path: Path) -> int:
    """Rank what was compiled by the model, write that and print it.

    Raises:
        GateError: ``no-card``, there is no model either; the facts were written.
    """
    project, why = session.settings, session.environment["why"]
    cases = {case.id: case for case in settings.load_suite(project).CASES}
    ranked = ranking.rank(document, project, cases)
    write_whole(path, tune_document.as_text(document))
    page = ranking.markdown(document, ranked) if ranked else report.markdown(document)
    write_whole(path.with_suffix(".md"), page)
    print(page, flush=True)
    if not ranked:
        raise GateError(
            "no-card",
            f"No card: nothing was measured ({why}); what was compiled for {document['about']['target']} is in "
            f"{options.output}, and a list is proposed on a machine with the card: nox -s tune.",
        )
    print(
        f"tune: no card ({why}): ranked by the model, nothing was measured; wrote {path} and {path.with_suffix('.md')}"
    )
    return 0


def _cases(session: Session, options: Options) -> list[str]:
    """Ids of the cases to tune, in the suite's order."""
    suite = settings.load_suite(session.settings)
    for case in options.cases:
        if case not in session.timed:
            raise GateError(
                "bad-usage", f"{case} is checked but not timed; expected one of {', '.join(session.timed)}."
            )
    found = [
        case.id
        for case in suite.CASES
        if (not options.cases or case.id in options.cases) and (not options.quick or case.quick)
    ]
    if not found:
        raise GateError("bad-usage", "No case is left of --case and -m quick together, expected at least one.")
    return found


def _about(session: Session, options: Options) -> dict[str, Any]:
    """What a document says of itself."""
    project, environment = session.settings, session.environment
    target = _target(session)
    try:
        architecture(target)
    except KeyError as error:
        raise GateError("unknown-target", f"Cannot compile for {target}: {error.args[0]}.") from None
    return {
        "command": options.command(),
        "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": processes.commit(project),
        "kernel_sha256": hashlib.sha256((project.root / project.kernel).read_bytes()).hexdigest(),
        "target": target,
        "limit": options.limit,
        "top": options.top,
        "launches": options.launches,
        "settings": project.measurement(),
        "environment": {key: value for key, value in environment.items() if key != "why"},
    }


def _target(session: Session) -> str:
    """The architecture to compile for: what Triton is told to lower for, else the card's, else the project's."""
    path, uuid = session.environment["code_path"], session.environment.get("uuid", "")
    if path != "native":
        return f"sm_{''.join(filter(str.isdigit, path))}"
    return f"sm_{capability(uuid)}" if session.environment["gpu"] else session.settings.target


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


def _say(document: dict[str, Any]) -> None:
    """The proposal once more, where the eye is at the end of a run."""
    if choice := shortest(report.choices(document)):
        print(f"tune: proposed list, {choice.loss * 100:.2f} % from the best of each case:")
        for line in report.lines(document, choice):
            print(f"    {line}")


def _exit_code(document: dict[str, Any]) -> int:
    cases = [case for case in document["cases"].values() if not case["note"]]
    if any(case["candidates"].get(case.get("current"), {}).get("wrong") for case in cases):
        return _WRONG
    measured = [case for case in cases if not case.get("failed") and case["launches"]]
    return 0 if len(measured) == len(cases) else _COULD_NOT


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perfgate tune",
        description="Find the tiles that suit the card present, and propose the kernel's list of configs.",
        allow_abbrev=False,
    )
    parser.add_argument("--case", action="append", default=[], metavar="ID", help="only this case (may be repeated)")
    parser.add_argument("-m", choices=(_QUICK,), help="only the quick cases")
    parser.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help="processes that time the best")
    parser.add_argument("--top", type=int, default=TOP, metavar="N", help="how many of a case's fastest they time")
    parser.add_argument("--limit", type=int, default=LIMIT, metavar="N", help="candidates compiled for a case, at most")
    parser.add_argument("--output", type=Path, default=FOLDER, metavar="DIR", help=f"where to write ({FOLDER})")
    parser.add_argument("--resume", type=Path, metavar="FILE", help="go on with this tune.json")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code 0, 1 or 2."""
    try:
        given = _parser().parse_args(argv)
        for name in ("launches", "top", "limit"):
            if (value := getattr(given, name)) < 1:
                raise GateError("bad-usage", f"--{name} is {value}; expected 1 or more.")
        options = Options(
            cases=tuple(given.case),
            quick=given.m == _QUICK,
            launches=given.launches,
            top=given.top,
            limit=given.limit,
            output=given.output,
            resume=given.resume,
        )
        return run(settings.load(Path.cwd()), options)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
