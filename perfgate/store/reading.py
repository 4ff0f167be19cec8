"""Checks a parsed recording and turns it into records: every rule of the file format, each with its reason code. Pure."""

from __future__ import annotations

from typing import Any, NoReturn

from perfgate.records import BASELINE_COMMIT, SCHEMA, GateError, Launch, Recording, Samples

_ARMS = ("kernel", "control", "other")
_LEAST_S, _MOST_S = 1e-12, 1e6
"""Seconds that a run of a kernel can take; what lies outside is another unit or no number."""
_MOST_RUN_TEXT = 200
_KINDS = (BASELINE_COMMIT, "ref", "file")
_CODE_ARMS = ("kernel", "other")


def recording_from_json(document: object, *, source: str) -> Recording:
    """Turn a parsed file into a recording.

    Args:
        document: What the JSON held.
        source: Where it came from, for sentences.

    Raises:
        GateError: ``other-schema``, ``zero-cases``, ``duplicate-case``, ``bad-seconds`` or ``malformed``.
    """
    root = _object(document, source, "the whole file")
    ours = _object(root.get("perfgate", {}), source, "perfgate")
    schema = ours.get("schema", SCHEMA)
    if type(schema) is not int or schema != SCHEMA:
        _refuse(
            source,
            f"has schema {schema!r}",
            f"version {SCHEMA}",
            "use the gate that wrote it, or record anew",
            "other-schema",
        )
    benchmarks = root.get("benchmarks")
    if not isinstance(benchmarks, list):
        _refuse(source, "has no list of benchmarks", "pytest-benchmark's JSON", "record it anew")
    if not benchmarks:
        _refuse(source, "holds no case at all", "one or more", "record it anew", "zero-cases")
    samples: dict[str, Samples] = {}
    for number, entry in enumerate(benchmarks):
        one = _samples(entry, source, f"benchmarks[{number}]")
        if one.case in samples:
            _refuse(source, f"holds the case {one.case} twice", "each case once", "record it anew", "duplicate-case")
        samples[one.case] = one
    environment = _object(ours.get("environment", {}), source, "perfgate.environment")
    if odd := [key for key, value in environment.items() if not isinstance(value, str)]:
        _refuse(source, f"has {environment[odd[0]]!r} as perfgate.environment.{odd[0]}", "text", "record it anew")
    return Recording(
        samples=samples,
        environment=environment,
        settings=_object(ours.get("settings", {}), source, "perfgate.settings"),
        reason=_text(ours, "reason", source),
        commit=_text(ours, "commit", source),
        recorded_at=_text(ours, "recorded_at", source),
        source=source,
        selected=_selected(ours, source),
        run=_run(ours, source),
    )


def _run(ours: dict[str, Any], source: str) -> dict[str, str]:
    """Which run the file is of; nothing in a baseline, and in a file from before that was recorded."""
    run = _object(ours.get("run", {}), source, "perfgate.run")
    if odd := [key for key, value in run.items() if not isinstance(value, str) or len(value) > _MOST_RUN_TEXT]:
        _refuse(source, f"has no usable perfgate.run.{odd[0][:40]}", "a short text", "record it anew")
    return run


def _selected(ours: dict[str, Any], source: str) -> tuple[str, ...]:
    """The cases that were measured on purpose without the rest; whether they are all here is for `merge` to see."""
    if "selected" not in ours:
        return ()
    selected = ours["selected"]
    named = isinstance(selected, list) and all(isinstance(case, str) and case for case in selected)
    if not named or not selected or len(set(selected)) < len(selected):
        _refuse(source, f"has {selected!r} as perfgate.selected", "a list of case ids, each once", "measure again")
    return tuple(selected)


def _samples(entry: object, source: str, where: str) -> Samples:
    info = _object(_object(entry, source, where).get("extra_info"), source, f"{where}.extra_info")
    ours = _object(info.get("perfgate"), source, f"{where}.extra_info.perfgate")
    case = ours.get("case")
    if not isinstance(case, str) or not case:
        _refuse(source, f"has {case!r} as the case of {where}", "its id", "record it anew")
    launches = ours.get("launches")
    if not isinstance(launches, list) or not launches:
        _refuse(source, f"has no launches of {case}", "a list of one or more", "record it anew")
    read = tuple(_launch(launch, source, f"launch {number} of {case}") for number, launch in enumerate(launches, 1))
    other = _other(ours, read, source, case)
    return Samples(
        case=case,
        launches=read,
        other=other,
        contract=_object(ours.get("contract", {}), source, f"the contract of {case}"),
        config=_object(ours.get("config", {}), source, f"the config of {case}"),
        code=_code(ours, source, case),
    )


def _code(ours: dict[str, Any], source: str, case: str) -> dict[str, str]:
    """Hash of the machine code by arm. Empty text is refused: two of them would be equal and mean nothing."""
    code = _object(ours.get("code", {}), source, f"the code of {case}")
    if odd := sorted(set(code) - set(_CODE_ARMS)):
        _refuse(source, f"has code of {odd[0]!r} for {case}", f"only {', '.join(_CODE_ARMS)}", "record it anew")
    for arm, found in code.items():
        if not isinstance(found, str) or not found:
            _refuse(source, f"has {found!r} as the code of {arm} of {case}", "a hash as text", "record it anew")
    return code


def _launch(entry: object, source: str, where: str) -> Launch:
    launch = _object(entry, source, where)
    arms = _object(launch.get("arms"), source, f"the arms of {where}")
    if "kernel" not in arms:
        _refuse(source, f"has no kernel arm in {where}", "the kernel's seconds", "record it anew")
    if odd := sorted(set(arms) - set(_ARMS)):
        _refuse(source, f"has the unknown arm {odd[0]!r} in {where}", f"only {', '.join(_ARMS)}", "record it anew")
    state = _object(launch.get("state", {}), source, f"the state of {where}")
    expected = {
        "throttle_reasons": list,
        "foreign_processes": int,
        "foreign_utilization_percent": int,
        "unheld": int,
        "correct": bool,
    }
    for key, kind in expected.items():
        if key in state and type(state[key]) is not kind:
            _refuse(
                source, f"has {state[key]!r} as {key} in {where}", f"a value of type {kind.__name__}", "record it anew"
            )
    return Launch(
        arms={arm: _seconds(values, source, f"{arm} in {where}") for arm, values in arms.items()}, state=state
    )


def _seconds(values: object, source: str, where: str) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        _refuse(source, f"has no samples for {where}", "a list of seconds", "record it anew", "bad-seconds")
    for value in values:
        if type(value) not in {int, float} or not _LEAST_S <= value < _MOST_S:  # NaN compares false
            _refuse(
                source,
                f"has {value!r} as a sample of {where}",
                "seconds above zero, and a number",
                "record it anew",
                "bad-seconds",
            )
    return tuple(map(float, values))


def _other(ours: dict[str, Any], launches: tuple[Launch, ...], source: str, case: str) -> dict[str, str] | None:
    """What the ``other`` arm was; it has to be there with the arm, in every launch, and only with it."""
    with_arm = sum("other" in launch.arms for launch in launches)
    if ours.get("other") is None:
        if with_arm:
            _refuse(
                source,
                f"does not say what the other arm of {case} is",
                f"a kind among {', '.join(_KINDS)}",
                "record it anew",
            )
        return None
    other = _object(ours["other"], source, f"the other side of {case}")
    if other.get("kind") not in _KINDS:
        _refuse(
            source,
            f"has {other.get('kind')!r} as the kind of other side of {case}",
            f"one of {', '.join(_KINDS)}",
            "record it anew",
        )
    if not isinstance(other.get("name"), str):
        _refuse(source, f"has {other.get('name')!r} as the name of the other side of {case}", "text", "record it anew")
    if with_arm != len(launches):
        _refuse(
            source, f"has the other arm of {case} in {with_arm} of {len(launches)} launches", "all", "measure again"
        )
    return {"kind": other["kind"], "name": other["name"]}


def _object(value: object, source: str, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        found = "nothing" if value is None else f"a {type(value).__name__}"
        _refuse(source, f"has {found} as {where}", "an object", "record it anew")
    return value


def _text(ours: dict[str, Any], key: str, source: str) -> str:
    value = ours.get(key, "")
    if not isinstance(value, str):
        _refuse(source, f"has {value!r} as perfgate.{key}", "text", "record it anew")
    return value


def _refuse(source: str, found: str, expected: str, remedy: str, reason: str = "malformed") -> NoReturn:
    raise GateError(reason, f"{source} {found}, expected {expected}; {remedy}.")
