"""``nox -s study -- cost-model``: draws pairs, compiles them, times them where there is a card, and holds the model to them.

Owns the command line, the study's file and how pairs are timed. The draw is made before anything is compiled or timed,
and is kept with the times; ``--from FILE`` judges kept times by today's model, without a card.
"""

from __future__ import annotations

import gzip
import json
import statistics
import sys
from collections import defaultdict
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate import command_line, workers
from perfgate.compare.estimators import typical_seconds
from perfgate.config import read_settings
from perfgate.files import write_whole
from perfgate.measurement import gpu_lock
from perfgate.measurement.session import Request, check_idle, current_commit, open_session
from perfgate.records import SCHEMA, GateError
from studies import shared
from studies.cost_model import page, pairs

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from perfgate.measurement.session import Session
    from studies.cost_model.pairs import CodePath, Pair

_ADA = ("sm89", "native")
_LAUNCH_S = 600


def main(words: list[str]) -> int:
    """Run the command; returns the exit code: 0, or 2 where nothing could be judged."""
    made = shared.parser(
        "cost-model",
        "Hold the model of a kernel's time to measured times of drawn tiles.",
    )
    command_line.case_option(made)
    made.add_argument("--paths", default=",".join(_ADA), help="code paths to measure: sm89, native")
    made.add_argument("--count", type=int, default=6, metavar="N", help="configurations drawn for each case")
    made.add_argument("--launches", type=int, default=2, metavar="N", help="processes that time all pairs")
    made.add_argument("--seed", type=int, default=1, metavar="N", help="of the draw")
    made.add_argument(
        "--avoid", type=Path, nargs="*", default=[], metavar="FILE", help="studies whose pairs are not drawn"
    )
    made.add_argument("--from", dest="sources", type=Path, nargs="+", metavar="FILE", help="judge kept studies again")
    return command_line.run(made, words, lambda options: _work(options, words))


def _work(options: argparse.Namespace, words: Sequence[str]) -> int:
    output = shared.folder(options)
    if options.sources:
        publish([read(path) for path in options.sources], output)
        return 0
    command_line.at_least(options, count=1, launches=1)
    if unknown := sorted({*options.case} - {*pairs.STUDIED}):
        raise GateError("bad-usage", f"{unknown[0]} is not studied; expected one of {', '.join(pairs.STUDIED)}.")
    names = [name.strip() for name in options.paths.split(",")]
    if unknown := [name for name in names if name not in _ADA]:
        raise GateError("bad-usage", f"--paths has {unknown[0]!r}; expected {' or '.join(_ADA)}.")
    session = open_session(read_settings(Path.cwd()), Request())
    command, on_card = shared.again("cost-model", words), session.environment["gpu"]
    with gpu_lock.hold(session.environment["uuid"]) if on_card else nullcontext():
        documents = [study(session, pairs.PATHS[name], options, command=command, output=output) for name in names]
    if not on_card:
        raise GateError(
            "no-card",
            f"No card: {sum(len(document['pairs']) for document in documents)} pairs were drawn and compiled, none was "
            f"timed; kept in {output}; judge kept times with --from.",
        )
    publish(documents, output)
    return 0


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


def study(
    session: Session, path: CodePath, options: argparse.Namespace, *, command: str, output: Path
) -> dict[str, Any]:
    """Draw, compile and time the pairs of one code path; what comes back is kept in ``output`` as well."""
    project = session.settings
    kernel_file = project.root / project.kernel
    known = {(entry["case"], entry["id"]) for file in options.avoid for entry in read(file)["pairs"]}
    drawn = pairs.draw(
        kernel_file, path, cases=options.case or pairs.STUDIED, count=options.count, seed=options.seed, avoided=known
    )
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "path": path.name,
        "about": {
            "command": command,
            "recorded_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": current_commit(project),
            "environment": {key: value for key, value in session.environment.items() if key != "why"},
            "settings": project.measurement(),
            "seed": options.seed,
        },
        "pairs": [{**asdict(pair), "kernels": [], "error": "", "seconds": []} for pair in drawn],
    }
    print(f"cost-model: {path.name}: {len(drawn)} pairs drawn; compiling", flush=True)
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
    for number in range(1, options.launches + 1):
        check_idle(session)
        print(f"cost-model: {path.name}: launch {number} of {options.launches}, {len(running)} pairs", flush=True)
        for key, seconds in launch(project.root, output, path, running, number=number).items():
            times[key].append(seconds)
        for key, found in times.items():
            entries[key]["seconds"] = found
        write_whole(file, json.dumps(document, indent=1) + "\n")
    return document


def launch(
    root: Path, output: Path, path: CodePath, pairs: Sequence[Pair], *, number: int
) -> dict[tuple[str, str], float]:
    """Time all pairs once more in a process of its own.

    Returns:
        Seconds by (case, id): the median of its runs; a pair that does not run or is wrong is not in it.

    Raises:
        GateError: ``no-samples``, the process ended before its end.
    """
    cases: dict[str, dict[str, object]] = {}
    for pair in pairs:
        case = cases.setdefault(pair.case, {"keep": 0, "kernel": path.kernel, "candidates": {}})
        case["candidates"][pair.id] = pair.config  # type: ignore[index]
    plan, steps, log = (output / f"launch-{path.name}-{number}.{kind}" for kind in ("json", "jsonl", "log"))
    plan.write_text(json.dumps({"seed": number, "cases": cases}), encoding="utf-8")
    steps.unlink(missing_ok=True)
    command = [sys.executable, "-m", "perfgate.tuning.worker", str(plan), str(steps)]
    environment = shared.environment(path.lowered_for.replace("_", "") or shared.NATIVE)
    with log.open("w", encoding="utf-8") as stream:
        done = workers.run(
            command, cwd=root, environment=environment, stdout=stream, stderr=stream, timeout_s=_LAUNCH_S
        )
    if done.returncode:
        raise GateError("no-samples", f"A measuring process ended with {done.returncode}; its output is in {log}.")
    return {
        (step["case"], name): statistics.median(seconds)
        for step in map(json.loads, steps.read_text(encoding="utf-8").splitlines())
        if step["step"] == "timed"
        for name, seconds in step["seconds"].items()
        if seconds
    }


def publish(documents: Sequence[dict[str, Any]], output: Path) -> None:
    """Write and print what the documents say of the model."""
    for document in documents:
        name, text = document["path"], page.markdown(document, typical_seconds)
        shared.keep(output, {f"{name}.md": text})
        print(text)
        if page.plot(document, typical_seconds, output / f"{name}.svg"):
            print(f"cost-model: wrote {name}.md and .svg in {output}")
