"""``python -m perf_tests.model_study``: draws pairs, compiles them, times them where there is a card, and holds the model to them.

Owns the command line and the study's file. The draw is made before anything is compiled or timed, and is kept with the
times; ``--from FILE`` judges kept times by today's model, without a card.
"""

from __future__ import annotations

import gzip
import json
import shlex
import sys
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import settings
from perfgate.cli.common import Parser
from perfgate.compare.estimators import typical_seconds
from perfgate.files import write_whole
from perfgate.gate import throughput
from perfgate.measurement import gpu_lock, processes
from perfgate.measurement.session import Request, open_session
from perfgate.records import SCHEMA, GateError
from studies.cost_model import measured, page, pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perfgate.measurement.session import Session
    from studies.cost_model.pairs import CodePath, Pair

COUNT, LAUNCHES, SEED = 6, 2, 1
_ADA = ("sm89", "native")
_COULD_NOT = 2


def _parser() -> Parser:
    parser = Parser(
        prog="python -m perf_tests.model_study",
        description="Hold the model of a kernel's time to measured times of drawn tiles.",
        allow_abbrev=False,
    )
    parser.add_argument("--paths", default=",".join(_ADA), help="code paths to measure: sm89, native")
    parser.add_argument("--case", action="append", default=[], metavar="ID", help="only this case (may be repeated)")
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help="configurations drawn for each case")
    parser.add_argument("--launches", type=int, default=LAUNCHES, metavar="N", help="processes that time all pairs")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help="of the draw")
    parser.add_argument(
        "--avoid", type=Path, nargs="*", default=[], metavar="FILE", help="studies whose pairs are not drawn"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the study goes (.perfgate/model-study)")
    parser.add_argument("--from", dest="sources", type=Path, nargs="+", metavar="FILE", help="judge kept studies again")
    return parser


def read(path: Path) -> dict[str, Any]:
    """A study's file, as written or packed by gzip.

    Raises:
        GateError: ``unreadable``, it is none of this version.
    """
    try:
        packed = path.read_bytes()
        text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode()
        document: dict[str, Any] = json.loads(text)
        sound = (
            document["schema"] == SCHEMA
            and document["path"] in pairs.PATHS
            and all({"case", "id", "config", "kernels", "seconds"} <= entry.keys() for entry in document["pairs"])
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise GateError("unreadable", f"{path} is no study of the model ({error}); run the study again.") from None
    if not sound:
        raise GateError("unreadable", f"{path} is not what a study of schema {SCHEMA} wrote; run the study again.")
    return document


def study(session: Session, path: CodePath, given: Any, *, command: str, output: Path) -> dict[str, Any]:  # noqa: ANN401 - argparse
    """Draw, compile and time the pairs of one code path; what comes back is kept in ``output`` as well."""
    project = session.settings
    kernel_file = project.root / project.kernel
    known = {(entry["case"], entry["id"]) for file in given.avoid for entry in read(file)["pairs"]}
    drawn = pairs.draw(
        kernel_file, path, cases=given.case or pairs.STUDIED, count=given.count, seed=given.seed, avoided=known
    )
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "path": path.name,
        "about": {
            "command": command,
            "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": processes.commit(project),
            "environment": {key: value for key, value in session.environment.items() if key != "why"},
            "settings": project.measurement(),
            "seed": given.seed,
        },
        "pairs": [{**asdict(pair), "kernels": [], "error": "", "seconds": []} for pair in drawn],
    }
    print(f"model-study: {path.name}: {len(drawn)} pairs drawn; compiling", flush=True)
    entries = {(entry["case"], entry["id"]): entry for entry in document["pairs"]}
    running: list[Pair] = []
    for pair, kernels, refusal in pairs.compile_pairs(kernel_file, path, drawn):
        spills = sum(kernel["spill_instructions"] for kernel in kernels)
        error = refusal or ("spills" if spills else "")
        entries[pair.case, pair.id] |= {"kernels": kernels, "error": error}
        running += [] if error else [pair]
    file = output / f"{path.name}.json"
    write_whole(file, json.dumps(document, indent=1) + "\n")
    if not session.environment["gpu"]:
        return document
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(1, given.launches + 1):
        throughput.check_idle(session)
        print(f"model-study: {path.name}: launch {number} of {given.launches}, {len(running)} pairs", flush=True)
        for key, seconds in measured.launch(project.root, output, path, running, number=number).items():
            times[key].append(seconds)
        for key, found in times.items():
            entries[key]["seconds"] = found
        write_whole(file, json.dumps(document, indent=1) + "\n")
    return document


def publish(documents: Sequence[dict[str, Any]], output: Path) -> None:
    """Write and print what the documents say of the model."""
    for document in documents:
        text = page.markdown(document, typical_seconds)
        write_whole(output / f"{document['path']}.md", text)
        print(text)
        if page.plot(document, typical_seconds, output / f"{document['path']}.svg"):
            print(f"model-study: wrote {document['path']}.md and .svg in {output}")


def main(words: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, or 2 where nothing could be judged."""
    try:
        given = _parser().parse_args(words)
        output = (given.output or Path(".perfgate") / "model-study").absolute()
        output.mkdir(parents=True, exist_ok=True)
        if given.sources:
            publish([read(path) for path in given.sources], output)
            return 0
        for name in ("count", "launches"):
            if getattr(given, name) < 1:
                raise GateError("bad-usage", f"--{name} is {getattr(given, name)}; expected 1 or more.")
        if unknown := sorted({*given.case} - {*pairs.STUDIED}):
            raise GateError("bad-usage", f"{unknown[0]} is not studied; expected one of {', '.join(pairs.STUDIED)}.")
        names = [name.strip() for name in given.paths.split(",")]
        if unknown := [name for name in names if name not in _ADA]:
            raise GateError("bad-usage", f"--paths has {unknown[0]!r}; expected {' or '.join(_ADA)}.")
        session = open_session(settings.load(Path.cwd()), Request())
        command = shlex.join(["python", "-m", "perf_tests.model_study", *words])
        uuid = session.environment.get("uuid", "")
        with gpu_lock.hold(uuid) if session.environment["gpu"] else nullcontext():
            documents = [study(session, pairs.PATHS[name], given, command=command, output=output) for name in names]
        if not session.environment["gpu"]:
            raise GateError(
                "no-card",
                f"No card: {sum(len(document['pairs']) for document in documents)} pairs were drawn and compiled, none was "
                f"timed; kept in {output}; judge kept times with --from.",
            )
        publish(documents, output)
    except GateError as error:
        print(f"INVALID {error.reason}: {error.text}", file=sys.stderr)
        return _COULD_NOT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
