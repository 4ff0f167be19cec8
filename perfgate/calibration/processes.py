"""Launches for the calibration: worker processes that time the kernel, itself again, and itself slowed by real work.

Owns how many run, what is kept of them, and that all do the same extra work. Judges nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from perfgate.calibration.rates import KERNEL, KNOBS_FILE, SIZES_WANTED
from perfgate.measurement import processes, pytest_runs
from perfgate.records import SCHEMA, GateError, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from perfgate.measurement.session import Session

_ONE_CARD = "uuid"
"""What may differ between launches of one recording: another card of the model is another occasion."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be recorded."""

    launches: int
    command: str
    """What repeats this."""
    choosing: tuple[str, ...] = ()
    """Pytest's ``-m`` with its value."""
    sizes: tuple[str, ...] = ()
    """Slowdowns to inject, by name; empty means all."""
    add_to: Path | None = None
    """A recording whose extra work is done again, and to which the launches are added."""


def record(session: Session, plan: Plan, kept: Path) -> tuple[Verdict, ...]:
    """Run the launches and keep them in ``kept``, anew after each, so that a run that is cut short loses none.

    Returns:
        Verdicts of the cases that gave no times in some launch.

    Raises:
        GateError: A launch crashed or left nothing, or the recording to add to is of another kernel or machine.
    """
    document = _begin(session, plan)
    knobs = session.output / "calibration-knobs.json"
    knobs.write_text(json.dumps(_knobs(document)), encoding="utf-8")
    expected = () if plan.choosing else session.request.cases or session.timed
    failed: dict[str, Verdict] = {}
    longest_s = 0.0
    ahead: pytest_runs.TestRun | None = _start(session, plan, 1, knobs)
    try:
        for number in range(1, plan.launches + 1):
            if ahead is None:
                break
            # The first launch searches for the extra work, so the second still takes it for the usual time.
            left = f", at most {longest_s * (plan.launches - number + 1):.0f} s left" if longest_s else ""
            print(f"calibrate: launch {number} of {plan.launches}{left} …", flush=True)
            # Importing takes seconds and no card, so the next process starts while this one measures.
            run, ahead = ahead, _start(session, plan, number + 1, knobs) if number < plan.launches else None
            began_s = time.monotonic()
            results = run.finish()
            took_s = time.monotonic() - began_s
            longest_s = took_s if number <= 2 else max(longest_s, took_s)  # noqa: PLR2004 - forget the first
            for verdict in pytest_runs.verdicts(results, expected, on_purpose=session.partial):
                failed.setdefault(verdict.case, verdict)
            expected = expected or tuple(item["case"] for item in results.items.values())
            document["about"]["failed"] = [verdict.text for verdict in failed.values()]
            document["launches"].append(_take(_benchmarks(session, number, failed.values()), document["about"]))
            keep(kept, document)
    finally:
        if ahead:
            ahead.end()
    return tuple(failed.values())


def keep(path: Path, document: dict[str, Any]) -> None:
    """Write a recording; without a date in the file, so that equal numbers are equal bytes."""
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))


def _begin(session: Session, plan: Plan) -> dict[str, Any]:
    """The recording without the new launches: empty, or the one to add to."""
    settings = session.settings
    environment = {key: value for key, value in session.environment.items() if value}
    kernel = hashlib.sha256((settings.root / settings.kernel).read_bytes()).hexdigest()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if plan.add_to is None:
        about = {"suite": len(session.timed), "kernel_sha256": kernel, "commit": processes.commit(settings)}
        about |= {"recorded_at": now, "command": plan.command, "settings": settings.measurement(), **environment}
        about |= {"sizes": ",".join(plan.sizes)} if plan.sizes else {}
        return {"schema": SCHEMA, "about": about, "launches": []}
    try:
        data = plan.add_to.read_bytes()
        document: dict[str, Any] = json.loads(gzip.decompress(data) if plan.add_to.suffix == ".gz" else data)
        about = document["about"]
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise GateError(
            "unreadable", f"{plan.add_to} cannot be added to ({error}); record anew without --add."
        ) from None
    same = {"kernel_sha256": kernel, "settings": settings.measurement(), "schema": SCHEMA, **environment}
    for key, value in same.items():
        found = document.get("schema") if key == "schema" else about.get(key)
        if found != value and key != _ONE_CARD:
            raise GateError(
                "other-recording",
                f"{plan.add_to} was recorded with {key} {found!r}, expected the {value!r} of now; record anew without --add.",
            )
    about |= {
        "recorded_at": now,
        "uuid": environment.get("uuid", ""),
        "command": f"{about['command']} && {plan.command}",
    }
    return document


def _knobs(document: dict[str, Any]) -> dict[str, Any]:
    """The extra work of every case that has been recorded."""
    states = (launch["states"] for launch in reversed(document["launches"]))
    return {case: state["knobs"] for launch in states for case, state in launch.items()}


def _file(session: Session, number: int) -> Path:
    return session.output / f"calibration-{number}.json"


def _start(session: Session, plan: Plan, number: int, knobs: Path) -> pytest_runs.TestRun:
    path = _file(session, number)
    path.unlink(missing_ok=True)
    return pytest_runs.start_tests(
        session.settings,
        "test_calibration.py",
        path.with_suffix(".results.json"),
        cases=session.request.cases,
        pytest_args=(f"--benchmark-json={path}", *plan.choosing),
        environment={KNOBS_FILE: str(knobs), SIZES_WANTED: ",".join(plan.sizes)},
        timeout_s=session.settings.launch_timeout_s,
        wait=True,
        other_plugins=False,
    )


def _benchmarks(session: Session, number: int, failed: Iterable[Verdict]) -> dict[str, Any]:
    """What a launch left in pytest-benchmark's JSON."""
    path = _file(session, number)
    if not path.is_file():
        log = path.with_suffix(".results.log")
        why = next((verdict.text for verdict in failed), f"see {log}.")
        raise GateError("no-samples", f"Launch {number} left no samples, expected those of every case: {why}")
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _take(benchmarks: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """One launch as the recording keeps it."""
    entries = [entry["extra_info"]["perfgate"] for entry in benchmarks["benchmarks"]]
    made = {entry["case"]: entry["launches"][0] for entry in entries}
    samples = {
        case: {KERNEL if arm == "kernel" else arm: seconds for arm, seconds in launch["arms"].items()}
        for case, launch in made.items()
    }
    states = {case: launch["state"] for case, launch in made.items()}
    # One card on one day: nothing else is known to move a case between launches.
    occasion = f"{about['recorded_at'][:10]} {about.get('uuid', '')}".strip()
    return {"occasion": occasion, "samples": samples, "states": states}
