"""Launches: one measurement is several worker processes, each a pytest run of its own that times every case.

Owns how many run, what is done with one that fails, and the progress line. Judges nothing.
"""

from __future__ import annotations

import dataclasses
import subprocess
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from perfgate import stages
from perfgate.baselines import merge, read_recording, write_recording
from perfgate.cards import card
from perfgate.metrics import recording_metrics
from perfgate.records import GateError, Recording, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from perfgate.settings import Settings


def measure(  # noqa: PLR0913 - each is one independent choice, all by name
    settings: Settings,
    output: Path,
    *,
    expected: Collection[str],
    cases: Sequence[str] = (),
    pytest_args: Sequence[str] = (),
    launches: int,
) -> tuple[Recording | None, tuple[Verdict, ...]]:
    """Measure in ``launches`` processes; what was measured is kept in ``output/current.json``.

    Args:
        settings: The project's.
        output: Folder for the launches' files.
        expected: Ids of the cases that have to have run.
        cases: Selected cases; empty means all.
        pytest_args: The user's own pytest options.
        launches: How many processes.

    Returns:
        The recording (None where nothing could be measured) and verdicts of the cases that gave no times.

    Raises:
        GateError: A launch crashed, hung or was refused.
    """
    started = time.monotonic()
    files: list[Path] = []
    failed: dict[str, Verdict] = {}
    for number in range(1, launches + 1):
        took = (time.monotonic() - started) / max(1, number - 1)
        left = f", about {took * (launches - number + 1):.0f} s left" if number > 1 else ""
        print(f"perf: measuring, launch {number} of {launches}{left} …", flush=True)
        path = output / f"launch-{number}.json"
        path.unlink(missing_ok=True)
        results = stages.run_tests(
            settings,
            "test_throughput.py",
            output / f"launch-{number}.results.json",
            cases=cases,
            pytest_args=(f"--benchmark-json={path}", *pytest_args),
            timeout_s=settings.launch_timeout_s,
        )
        for verdict in stages.verdicts(results, expected, on_purpose=bool(cases)):
            failed.setdefault(verdict.case, verdict)
        if path.is_file():
            files.append(path)
    if len(files) < launches and not failed:
        raise GateError("no-samples", f"{len(files)} of {launches} launches left samples, expected all; see {output}.")
    if len(files) < launches:
        return None, tuple(failed.values())
    recording = _recording(settings, files, without=failed)
    keep(output / "current.json", recording)
    return recording, tuple(failed.values())


def _recording(settings: Settings, files: Sequence[Path], *, without: Collection[str]) -> Recording:
    """All launches as one recording, less the cases that failed in any of them."""
    read = (read_recording(path) for path in files)
    sound = [
        dataclasses.replace(one, samples={k: v for k, v in one.samples.items() if k not in without}) for one in read
    ]
    return dataclasses.replace(
        merge(sound), commit=commit(settings), recorded_at=datetime.now(UTC).isoformat(timespec="seconds")
    )


def keep(path: Path, recording: Recording) -> None:
    """Write a recording with what its times mean on its card."""
    numbers = recording_metrics(recording, card(recording.environment.get("gpu", "")))
    write_recording(path, recording, metrics={case: found.to_json() for case, found in numbers.items()})


def commit(settings: Settings) -> str:
    """The commit of the working tree, with ``-dirty`` where the kernel under test is not that commit's; empty without git."""
    head = _git(settings, "rev-parse", "HEAD")
    changed = _git(settings, "status", "--porcelain", "--", settings.kernel)
    return f"{head}-dirty" if head and changed else head


def _git(settings: Settings, *args: str) -> str:
    try:
        done = subprocess.run(["git", *args], cwd=settings.root, capture_output=True, text=True, check=False)  # noqa: S603, S607 - git by name, our own words
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
