"""The store: recordings as pytest-benchmark's JSON with our record inside; strict, versioned, written whole.

Refuses what it does not know rather than guess, with one sentence that names the file, where and what. Keys that the
schema does not name are tolerated: its version guards their meaning.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from msgspec import Meta, Struct, structs

from perfgate.compare.estimators import benchmark_stats
from perfgate.files import write_whole
from perfgate.records import SCHEMA, GateError, Recording, Samples
from perfgate.store import codec
from perfgate.store.codec import Count, Name, Open, Text

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARK_FORMAT = "5.3.1"
"""The pytest-benchmark whose JSON format this is."""
_Seconds = Annotated[float, Meta(ge=1e-12, lt=1e6)]
"""That a run of a kernel can take; what lies outside is another unit or no number."""
_Megahertz = Annotated[float, Meta(ge=0, le=100_000)]
_Texts = Annotated[Mapping[Text, Text], Meta(max_length=codec.MOST_ITEMS)]
_MOST_FLOPS = 1 << 62


class _State(TypedDict, total=False):
    """What the monitor and the worker write of a process; other keys hold numbers."""

    correct: bool
    throttle_reasons: Annotated[list[Text], Meta(max_length=codec.MOST_ITEMS)]
    not_told: Annotated[list[Text], Meta(max_length=codec.MOST_ITEMS)]
    foreign_processes: int
    foreign_utilization_percent: Count
    unheld: Count
    looks: Count
    power_capped: Count
    sm_clock_mhz: _Megahertz
    sm_clock_min_mhz: _Megahertz
    memory_clock_mhz: _Megahertz
    temperature_c: Annotated[float, Meta(ge=-300, le=1000)]


class _Contract(TypedDict, total=False):
    """What is computed with of `Case.contract`; other keys are compared alone."""

    shapes: Annotated[
        list[Annotated[list[Count], Meta(max_length=codec.MOST_ITEMS)]], Meta(max_length=codec.MOST_ITEMS)
    ]
    flops: Annotated[int, Meta(ge=0, le=_MOST_FLOPS)]
    min_bytes: Annotated[int, Meta(ge=0, le=_MOST_FLOPS)]
    unit: Text


class _Other(TypedDict):
    kind: Literal["baseline-commit", "ref", "file"]
    name: Text


class _Launch(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A `Launch` as the file has it."""

    arms: dict[Literal["kernel", "control", "other"], Annotated[tuple[_Seconds, ...], Meta(min_length=1)]]
    state: Annotated[dict[Text, bool | int | float | list[Text]], Meta(max_length=codec.MOST_ITEMS)] = {}

    def __post_init__(self) -> None:
        if "kernel" not in self.arms:
            raise ValueError("no kernel arm, expected the kernel's seconds")
        codec.check_known(self.state, _State, name="state")
        codec.check_printable(self.state)


class _Case(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A case's `Samples` as the file has them, in a benchmark's ``extra_info.perfgate``."""

    case: Name
    launches: Annotated[tuple[_Launch, ...], Meta(min_length=1)]
    other: _Other | None = None
    contract: Open = {}
    config: Open = {}
    code: dict[Literal["kernel", "other"], Name] = {}
    """Empty text is refused: two of them would be equal and mean nothing."""

    def __post_init__(self) -> None:
        with_arm = sum("other" in launch.arms for launch in self.launches)
        if self.other is None and with_arm:
            raise ValueError("an other arm of which is not said what it is, expected its kind and name")
        if self.other is not None and with_arm != len(self.launches):
            raise ValueError(f"the other arm in {with_arm} of {len(self.launches)} launches, expected all")
        codec.check_known(self.contract, _Contract, name="contract")
        codec.check_printable(self.case, self.other, self.contract, self.config, self.code)


class _Extra(Struct, frozen=True):
    perfgate: _Case


class _Benchmark(Struct, frozen=True):
    extra_info: _Extra


class _Origin(Struct, frozen=True, kw_only=True):
    """All of a `Recording` but its samples, as the file has it at its root's ``perfgate``."""

    environment: _Texts = {}
    settings: Open = {}
    reason: Text = ""
    commit: Text = ""
    recorded_at: Text = ""
    selected: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=codec.MOST_CASES)] = ()
    run: _Texts = {}

    def __post_init__(self) -> None:
        if len(set(self.selected)) < len(self.selected):
            raise ValueError("a case twice in selected, expected each once")
        codec.check_printable(*(getattr(self, name) for name in self.__struct_fields__))


class _File(Struct, frozen=True, kw_only=True):
    """What is read of a file; the rest is pytest-benchmark's."""

    benchmarks: Annotated[tuple[_Benchmark, ...], Meta(max_length=codec.MOST_CASES)]
    perfgate: _Origin = _Origin()


def read_recording(path: Path | str) -> Recording:
    """Read one file.

    Raises:
        GateError: ``no-file``, ``unreadable``, ``not-json`` or a reason of `recording_from_json`.
    """
    source = str(path)
    return recording_from_json(codec.parse(codec.read_bytes(path, what="a recording"), source=source), source=source)


def recording_from_json(document: object, *, source: str) -> Recording:
    """The recording of a parsed file.

    Args:
        document: What the JSON held.
        source: Where it came from, for sentences.

    Raises:
        GateError: ``other-schema``, ``zero-cases``, ``duplicate-case``, ``bad-seconds`` or ``malformed``.
    """
    if isinstance(document, dict):
        codec.check_version(document.get("perfgate"), source=source)
    try:
        file = codec.convert(document, _File, source=source)
    except GateError as error:
        reason = "bad-seconds" if ".arms[" in error.text.partition(":")[0] else error.reason
        raise GateError(reason, error.text) from None
    if not file.benchmarks:
        raise GateError("zero-cases", f"{source} holds no case at all, expected one or more; record it anew.")
    samples: dict[str, Samples] = {}
    for benchmark in file.benchmarks:
        stored = benchmark.extra_info.perfgate
        if stored.case in samples:
            raise GateError(
                "duplicate-case",
                f"{source} holds the case {stored.case} twice, expected each case once; record it anew.",
            )
        samples[stored.case] = codec.as_record(stored, Samples)
    return Recording(samples=samples, source=source, **structs.asdict(file.perfgate))


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
    known = {name: value for name in _Origin.__struct_fields__ if (value := getattr(recording, name))}
    origin = codec.encode(codec.as_record(known, _Origin))
    return {
        "machine_info": dict(machine_info or {}),
        "commit_info": {"id": recording.commit},
        "benchmarks": [
            _benchmark(samples, metrics=(metrics or {}).get(samples.case), test=test)
            for samples in recording.samples.values()
        ],
        "datetime": recording.recorded_at,
        "version": BENCHMARK_FORMAT,
        "perfgate": {"schema": SCHEMA}
        | {key: value for key, value in origin.items() if value or key not in {"selected", "run"}},
    }


def _benchmark(samples: Samples, *, metrics: Mapping[str, Any] | None, test: str) -> dict[str, Any]:
    ours = codec.encode(codec.as_record(samples, _Case)) | ({"metrics": dict(metrics)} if metrics else {})
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
    recording_from_json(document, source=str(path))
    text = render(document) + "\n"
    write_whole(path, text)
    return hashlib.sha256(text.encode()).hexdigest()


def render(value: object, depth: int = 0) -> str:
    """JSON with sorted keys, one key a line, and lists of plain numbers on one line, so that a diff can be read."""
    pad, end = " " * (depth + 1), " " * depth
    if isinstance(value, dict) and value:
        rows = (f"{pad}{json.dumps(str(key))}: {render(item, depth + 1)}" for key, item in sorted(value.items()))
        return "{\n" + ",\n".join(rows) + f"\n{end}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, dict | list | tuple) for item in value):
        return "[\n" + ",\n".join(f"{pad}{render(item, depth + 1)}" for item in value) + f"\n{end}]"
    return json.dumps(value, allow_nan=False, sort_keys=True)
