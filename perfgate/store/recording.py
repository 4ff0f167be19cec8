"""The store: recordings as pytest-benchmark's JSON with our record inside; strict, versioned, written atomically.

Refuses what it does not know rather than guess, with one sentence that names the file, what was found, what was
expected and what to do. Keys that the schema does not name are tolerated: its version guards their meaning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfgate.compare.estimators import benchmark_stats
from perfgate.files import write_whole
from perfgate.records import SCHEMA, GateError, Recording, Samples
from perfgate.store.reading import recording_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BENCHMARK_FORMAT = "5.3.1"
"""The pytest-benchmark whose JSON format this is."""


def read_recording(path: Path | str) -> Recording:
    """Read one file.

    Raises:
        GateError: ``no-file``, ``unreadable``, ``not-json`` or a reason of `recording_from_json`.
    """
    source = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GateError("no-file", f"{source} does not exist, expected a recording; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise GateError(
            "unreadable", f"{source} cannot be read ({error}), expected a recording; write it anew."
        ) from None
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GateError(
            "not-json",
            f"{source} is not valid JSON ({error}), expected a whole recording; it may be truncated, write it anew.",
        ) from None
    return recording_from_json(document, source=source)


def read_each(paths: Sequence[Path | str]) -> list[Recording]:
    """Read several files, each one once.

    Raises:
        GateError: As `read_recording`, or ``file-twice`` for a file that is named twice.
    """
    resolved = [Path(path).resolve() for path in paths]
    for path, real in zip(paths, resolved, strict=True):
        if resolved.count(real) > 1:
            raise GateError("file-twice", f"{path} is given twice, expected each launch once; name it once.")
    return [read_recording(path) for path in paths]


def merge(recordings: Sequence[Recording]) -> Recording:
    """Join recordings of one card and its settings into one with all their launches.

    Every recording has the same cases, but for one that names its selection: it has exactly those, which is how a
    measurement is continued for some cases only. The whole is then no selection any more.

    Raises:
        GateError: ``no-files``, ``files-disagree``, ``case-not-in-every-file``, ``case-not-selected`` or
            ``only-selections``.
    """
    if not recordings:
        raise GateError("no-files", "No recording is given, expected one or more; name them.")
    for recording in recordings:
        _check_selection(recording)
    first = next((recording for recording in recordings if not recording.selected), recordings[0])
    joined: dict[str, Samples] = {}
    for recording in recordings:
        for name in ("environment", "settings", "commit"):
            a, b = getattr(first, name), getattr(recording, name)
            if a != b:
                raise GateError(
                    "files-disagree",
                    f"{recording.source} has {name} {_difference(a, b)} than {first.source}, expected launches of one "
                    "measurement; judge them apart.",
                )
        _check_cases(first, recording)
        for case, samples in recording.samples.items():
            before = joined.get(case)
            joined[case] = _join(before, samples, sources=(first.source, recording.source)) if before else samples
    return dataclasses.replace(first, samples={case: joined[case] for case in first.samples})


def _check_selection(recording: Recording) -> None:
    """A recording that names its selection has those cases and no others."""
    if not recording.selected:
        return
    if missing := sorted(set(recording.selected) - set(recording.samples)):
        raise GateError(
            "case-not-in-every-file",
            f"{missing[0]} was selected for {recording.source} and is not in it, expected every selected case; "
            "measure again.",
        )
    if extra := sorted(set(recording.samples) - set(recording.selected)):
        raise GateError(
            "case-not-selected",
            f"{extra[0]} is in {recording.source} and not in its selection, expected the selected cases alone; "
            "measure again.",
        )


def _check_cases(first: Recording, recording: Recording) -> None:
    """Two recordings have the same cases, or the second lacks some because of its selection."""
    if first.selected and set(first.selected) != set(recording.selected):
        raise GateError(
            "only-selections",
            f"{first.source} and {recording.source} hold selected cases only, and not the same, expected one file with "
            "every case; add it.",
        )
    odd = set(first.samples).symmetric_difference(recording.samples)
    if recording.selected:
        odd -= set(first.samples)
    if odd:
        raise GateError(
            "case-not-in-every-file",
            f"{min(odd)} is in only one of {first.source} and {recording.source}, expected every case in every launch; "
            "measure again.",
        )


def _join(a: Samples, b: Samples, *, sources: tuple[str, str]) -> Samples:
    for name in ("other", "contract", "config", "code"):
        if getattr(a, name) != getattr(b, name):
            raise GateError(
                "files-disagree",
                f"{a.case} has {name} {getattr(b, name)} in {sources[1]} and {getattr(a, name)} in {sources[0]}, expected "
                "launches of one measurement; judge them apart.",
            )
    return dataclasses.replace(a, launches=(*a.launches, *b.launches))


def _difference(a: object, b: object) -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        key = min(k for k in {*a, *b} if a.get(k) != b.get(k))
        return f"{key} {b.get(key)!r} rather than {a.get(key)!r}, other"
    return f"{b!r} rather than {a!r}, other"


def recording_to_json(
    recording: Recording,
    *,
    machine_info: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Mapping[str, Any]] | None = None,
    test: str = "perf_tests/test_throughput.py::test_throughput",
) -> dict[str, Any]:
    """A recording as the object that pytest-benchmark would have written, with our record inside.

    Args:
        recording: What to write; ``stats`` are computed over the kernel's samples of all launches.
        machine_info: pytest-benchmark's description of the machine.
        metrics: By case id, numbers to keep for dashboards; never read back.
        test: Node id that stands before ``[case]`` in ``fullname``.
    """
    return {
        "machine_info": dict(machine_info or {}),
        "commit_info": {"id": recording.commit},
        "benchmarks": [
            _benchmark(samples, metrics=(metrics or {}).get(samples.case), test=test)
            for samples in recording.samples.values()
        ],
        "datetime": recording.recorded_at,
        "version": BENCHMARK_FORMAT,
        "perfgate": {
            "schema": SCHEMA,
            "environment": dict(recording.environment),
            "settings": dict(recording.settings),
            "reason": recording.reason,
            "commit": recording.commit,
            "recorded_at": recording.recorded_at,
        }
        | ({"selected": list(recording.selected)} if recording.selected else {})
        | ({"run": dict(recording.run)} if recording.run else {}),
    }


def _benchmark(samples: Samples, *, metrics: Mapping[str, Any] | None, test: str) -> dict[str, Any]:
    ours: dict[str, Any] = {
        "case": samples.case,
        "launches": [
            {"arms": {arm: list(seconds) for arm, seconds in launch.arms.items()}}
            | ({"state": dict(launch.state)} if launch.state else {})
            for launch in samples.launches
        ],
    }
    optional = {
        "other": samples.other,
        "contract": samples.contract,
        "config": samples.config,
        "code": samples.code,
        "metrics": metrics,
    }
    ours |= {key: dict(value) for key, value in optional.items() if value}
    return {
        "group": None,
        "name": f"{test.rpartition('::')[2]}[{samples.case}]",
        "fullname": f"{test}[{samples.case}]",
        "params": {"case": samples.case},
        "param": samples.case,
        "extra_info": {"perfgate": ours},
        "options": {},
        "stats": benchmark_stats([s for launch in samples.launches for s in launch.arms["kernel"]]),
    }


def write_recording(path: Path, recording: Recording, **options: Any) -> str:  # noqa: ANN401 - recording_to_json's own
    """Write a recording whole or not at all: to a temporary file beside ``path``, then renamed over it.

    The same recording gives the same bytes. Options are those of `recording_to_json`.

    Returns:
        The SHA-256 of those bytes.

    Raises:
        GateError: What would be written could not be read back.
    """
    document = recording_to_json(recording, **options)
    recording_from_json(json.loads(json.dumps(document)), source=str(path))
    text = render(document) + "\n"
    write_whole(path, text)
    return hashlib.sha256(text.encode()).hexdigest()


def render(value: object, depth: int = 0) -> str:
    """JSON with sorted keys, one key a line, and lists of plain numbers on one line, so that a diff can be read."""
    pad, end = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and value:
        rows = (f"{pad}{json.dumps(str(key))}: {render(item, depth + 1)}" for key, item in sorted(value.items()))
        return "{\n" + ",\n".join(rows) + f"\n{end}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(f"{pad}{render(item, depth + 1)}" for item in value) + f"\n{end}]"
    return json.dumps(value, allow_nan=False, sort_keys=True)
