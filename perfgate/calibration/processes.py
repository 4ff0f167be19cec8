"""Launches for the calibration: worker processes that time the kernel, itself again, and itself slowed by real work.

Owns how many run, what is kept of them, and that all do the same extra work. Judges nothing.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import shlex
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perfgate.calibration.rates import KERNEL, KNOBS_FILE, SIZES_WANTED
from perfgate.calibration.resampling import Recorded, RecordedLaunch, read_recorded
from perfgate.measurement import processes, pytest_runs
from perfgate.measurement.session import current_commit
from perfgate.records import SCHEMA, GateError
from perfgate.store import codec

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping
    from pathlib import Path

    from perfgate.measurement.session import Session
    from perfgate.records import Verdict

_ONE_CARD = "uuid"
"""What may differ between launches of one recording: another card of the model is another occasion."""


def record(session: Session, options: argparse.Namespace, kept: Path) -> tuple[Verdict, ...]:
    """Run the launches and keep them in ``kept``, anew after each, so that a run that is cut short loses none.

    Returns:
        Verdicts of the cases that gave no times in some launch.

    Raises:
        GateError: A launch crashed or left nothing, or the recording to add to is of another kernel or machine.
    """
    document = _begin(session, options)
    knobs = session.output / "calibration-knobs.json"
    knobs.write_text(json.dumps(_knobs(document)), encoding="utf-8")
    expected = () if session.request.choosing else session.request.cases or session.timed
    failed: dict[str, Verdict] = {}
    longest_s = 0.0

    def start(number: int) -> pytest_runs.TestRun:
        return _start(session, options, number, knobs)

    with contextlib.closing(processes.started_ahead(start, range(1, options.launches + 1))) as runs:
        for number, run in enumerate(runs, 1):
            # The first launch searches for the extra work, so the second still takes it for the usual time.
            left = f", at most {longest_s * (options.launches - number + 1):.0f} s left" if longest_s else ""
            print(f"calibrate: launch {number} of {options.launches}{left} …", flush=True)
            began_s = time.monotonic()
            results = run.finish()
            took_s = time.monotonic() - began_s
            longest_s = took_s if number <= 2 else max(longest_s, took_s)  # noqa: PLR2004 - forget the first
            for verdict in pytest_runs.verdicts(results, expected, on_purpose=session.partial):
                failed.setdefault(verdict.case, verdict)
            expected = expected or tuple(item["case"] for item in results.items.values())
            document.about["failed"] = [verdict.text for verdict in failed.values()]
            document.launches.append(_launch(session, number, failed, document.about))
            keep(kept, document)
    return tuple(failed.values())


def keep(path: Path, document: Recorded) -> None:
    """Write a recording; without a date in the file, so that equal numbers are equal bytes."""
    text = json.dumps(codec.encode(document), separators=(",", ":"), sort_keys=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _begin(session: Session, options: argparse.Namespace) -> Recorded:
    """The recording without the new launches: empty, or the one to add to."""
    settings, path = session.settings, options.add
    environment = {key: value for key, value in session.environment.items() if value}
    kernel = hashlib.sha256((settings.root / settings.kernel).read_bytes()).hexdigest()
    request = session.request
    words = [f"--launches={options.launches}", *([f"--add={path}"] if path else [])]
    words += [*(f"--case={case}" for case in request.cases), *request.choosing]
    command = shlex.join(
        ["python", "-m", "perfgate", "calibrate", *words, *(f"--size={size}" for size in options.size)]
    )
    now = datetime.now(UTC).isoformat(timespec="seconds")
    same = {"kernel_sha256": kernel, "settings": settings.measurement(), **environment}
    if path is None:
        about = {"suite": len(session.timed), "commit": current_commit(settings), "recorded_at": now, **same}
        about |= {"command": command, **({"sizes": ",".join(options.size)} if options.size else {})}
        return Recorded(schema=SCHEMA, about=about, launches=[])
    document = read_recorded(path, remedy="record anew without --add")
    about = document.about
    for key, expected in {"schema": SCHEMA, **same}.items():
        found = document.schema if key == "schema" else about.get(key)
        if found != expected and key != _ONE_CARD:
            raise GateError(
                "other-recording",
                f"{path} was recorded with {key} {found!r}, expected the {expected!r} of now; record anew without --add.",
            )
    about["command"] = f"{about['command']} && {command}"
    about |= {"recorded_at": now, "uuid": environment.get("uuid", "")}
    return document


def _knobs(document: Recorded) -> dict[str, Any]:
    """The extra work of every case that has been recorded."""
    states = (launch.states for launch in reversed(document.launches))
    return {case: state["knobs"] for launch in states for case, state in launch.items()}


def _file(session: Session, number: int) -> Path:
    return session.output / f"calibration-{number}.json"


def _start(session: Session, options: argparse.Namespace, number: int, knobs: Path) -> pytest_runs.TestRun:
    path = _file(session, number)
    path.unlink(missing_ok=True)
    return pytest_runs.start_tests(
        session.settings,
        "test_calibration.py",
        path.with_suffix(".results.json"),
        cases=session.request.cases,
        pytest_args=(f"--benchmark-json={path}", *session.request.choosing),
        environment={KNOBS_FILE: str(knobs), SIZES_WANTED: ",".join(options.size)},
        other_plugins=False,
    )


def _launch(session: Session, number: int, failed: Mapping[str, Verdict], about: Mapping[str, Any]) -> RecordedLaunch:
    """One launch as the recording keeps it, out of what it left in pytest-benchmark's JSON."""
    path = _file(session, number)
    if not path.is_file():
        log = path.with_suffix(".results.log")
        why = next((verdict.text for verdict in failed.values()), f"see {log}.")
        raise GateError("no-samples", f"Launch {number} left no samples, expected those of every case: {why}")
    entries = [entry["extra_info"]["perfgate"] for entry in json.loads(path.read_bytes())["benchmarks"]]
    made = {entry["case"]: entry["launches"][0] for entry in entries}
    return RecordedLaunch(
        # One card on one day: nothing else is known to move a case between launches.
        occasion=f"{about['recorded_at'][:10]} {about.get('uuid', '')}".strip(),
        samples={
            case: {KERNEL if arm == "kernel" else arm: tuple(seconds) for arm, seconds in launch["arms"].items()}
            for case, launch in made.items()
        },
        states={case: launch["state"] for case, launch in made.items()},
    )
