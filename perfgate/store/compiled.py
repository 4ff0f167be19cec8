"""The store of compiled-code facts: one strict, versioned JSON file a target.

Owns the format of `baselines/<target>/compiled.json`. Pure: the standard library and the gate's records. Refuses what
it does not know with one sentence; judges nothing (`perfgate.codegen.rules` does).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from perfgate.files import write_whole
from perfgate.records import SCHEMA, GateError, KernelFacts, MainLoop

_TEXTS = ("target", "triton", "torch", "ptxas", "recorded_at", "commit", "reason")
_KEYS = frozenset({"schema", "cases", *_TEXTS})
_COUNTS = ("registers", "stack_bytes", "spill_instructions", "shared_bytes", "blocks_per_sm", "grid")
_HASHES = ("code_hash", "normal_hash")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What torch itself ran on the card in a call, beside the kernels: a copy, a fill, arithmetic."""

    name: str
    """As torch's dispatcher has it, such as ``clone`` or ``zero_``."""
    moved_bytes: int
    """Of all tensors that it reads or writes, each once."""


@dataclass(frozen=True, kw_only=True)
class CompiledCase:
    """What compiling one case gave."""

    contract: Mapping[str, Any]
    """`Case.contract()`: what must be equal on both sides."""
    kernels: tuple[KernelFacts, ...]
    """In launch order; those that compiled, where others did not."""
    operations: tuple[Operation, ...] = ()
    """In their order."""
    error: str = ""
    """The compiler's refusal, empty when everything compiled; never in a baseline."""


@dataclass(frozen=True, kw_only=True)
class CompiledBaseline:
    """One file: the facts of every case for one target, and where they come from."""

    target: str
    versions: Mapping[str, str]
    """`triton`, `torch`, `ptxas`."""
    recorded_at: str
    """ISO 8601, UTC."""
    commit: str
    reason: str
    cases: Mapping[str, CompiledCase]
    source: str = ""
    """The path it was read from, for sentences."""


def read_compiled(path: Path) -> CompiledBaseline | None:
    """The baseline in `path`, or None where there is no such file.

    Raises:
        GateError: `malformed-baseline` or `other-schema`, naming the file and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _malformed(path, f"cannot be read ({type(error).__name__})") from error
    try:
        data = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"is not whole JSON ({error})") from error
    return _baseline(data, path=path)


def write_compiled(path: Path, baseline: CompiledBaseline) -> None:
    """Writes `baseline` to `path`, wholly or not at all; the same facts always give the same bytes.

    Raises:
        GateError: `malformed-baseline`, the facts are not fit to compare with (no case, a case that did not compile).
        OSError: the file system refused.
    """
    refused = sorted(name for name, case in baseline.cases.items() if case.error)
    if refused:
        raise _malformed(path, f"was not written: {refused[0]} does not compile ({baseline.cases[refused[0]].error})")
    data = {
        "schema": SCHEMA,
        "target": baseline.target,
        **{name: baseline.versions.get(name, "") for name in ("triton", "torch", "ptxas")},
        "recorded_at": baseline.recorded_at,
        "commit": baseline.commit,
        "reason": baseline.reason,
        "cases": {
            name: {
                "contract": dict(case.contract),
                "kernels": [facts_to_json(facts) for facts in case.kernels],
                "operations": [asdict(operation) for operation in case.operations],
            }
            for name, case in baseline.cases.items()
        },
    }
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    _baseline(json.loads(text), path=path)  # what could not be read back is not written
    write_whole(path, text)


def _baseline(data: object, *, path: Path) -> CompiledBaseline:
    """`data` as a record, every key and type checked."""
    if not isinstance(data, dict):
        raise _malformed(path, f"holds {_kind(data)} where an object is expected")
    if data.get("schema") != SCHEMA or isinstance(data.get("schema"), bool):
        text = (
            f"{path} is of schema {data.get('schema')!r}, this gate reads {SCHEMA}: record it again with this version."
        )
        raise GateError("other-schema", text)
    _same_keys(data, _KEYS, where="the file", path=path)
    for name in _TEXTS:
        if not isinstance(data[name], str) or not data[name].strip():
            raise _malformed(path, f"has {_kind(data[name])} as {name!r} where a text is expected")
    cases = data["cases"]
    if not isinstance(cases, dict) or not cases:
        raise _malformed(path, "holds no cases")
    return CompiledBaseline(
        target=data["target"],
        versions={name: data[name] for name in ("triton", "torch", "ptxas")},
        recorded_at=data["recorded_at"],
        commit=data["commit"],
        reason=data["reason"],
        cases={name: _case(case, name=name, path=path) for name, case in cases.items()},
        source=str(path),
    )


def _case(data: object, *, name: str, path: Path) -> CompiledCase:
    where = f"case {name!r}"
    if not isinstance(data, dict):
        raise _malformed(path, f"has {_kind(data)} as {where} where an object is expected")
    _same_keys(data, frozenset({"contract", "kernels", "operations"}), where=where, path=path)
    if not isinstance(data["contract"], dict):
        raise _malformed(path, f"has {_kind(data['contract'])} as the contract of {where} where an object is expected")
    if not isinstance(data["kernels"], list) or not data["kernels"]:
        raise _malformed(path, f"holds no kernels for {where}")
    kernels = tuple(facts_from_json(facts, where=f"a kernel of {where}", path=path) for facts in data["kernels"])
    operations = _operations(data["operations"], where=where, path=path)
    return CompiledCase(contract=data["contract"], kernels=kernels, operations=operations)


def _operations(data: object, *, where: str, path: Path) -> tuple[Operation, ...]:
    if not isinstance(data, list):
        raise _malformed(path, f"has {_kind(data)} as the operations of {where} where a list is expected")
    return tuple(_operation(one, where=f"an operation of {where}", path=path) for one in data)


def _operation(data: object, *, where: str, path: Path) -> Operation:
    if not isinstance(data, dict):
        raise _malformed(path, f"has {_kind(data)} as {where} where an object is expected")
    _same_keys(data, frozenset(field.name for field in fields(Operation)), where=where, path=path)
    if not isinstance(data["name"], str) or not data["name"] or not _is_count(data["moved_bytes"]):
        raise _malformed(path, f"has {data['moved_bytes']!r} bytes of {data['name']!r} as {where}, which is none")
    return Operation(**data)


def case_to_json(case: CompiledCase) -> dict[str, Any]:
    """A whole case, its error included, for those that hand it on; a baseline holds none with an error."""
    kernels = [facts_to_json(facts) for facts in case.kernels]
    operations = [asdict(operation) for operation in case.operations]
    return {"contract": _plain(case.contract), "kernels": kernels, "operations": operations, "error": case.error}


def case_from_json(data: Mapping[str, Any], *, name: str, path: Path) -> CompiledCase:
    """The inverse of `case_to_json`.

    Raises:
        GateError: `malformed-baseline`.
        KeyError: A key is missing.
    """
    kernels = tuple(facts_from_json(facts, where=f"a kernel of {name!r}", path=path) for facts in data["kernels"])
    operations = _operations(data["operations"], where=f"case {name!r}", path=path)
    return CompiledCase(contract=data["contract"], kernels=kernels, operations=operations, error=data["error"])


def facts_to_json(facts: KernelFacts) -> dict[str, Any]:
    """One kernel's facts in the form that they are stored in."""
    found: dict[str, Any] = _plain(asdict(facts))
    return found


def facts_from_json(data: object, *, where: str = "a kernel", path: Path = Path("facts")) -> KernelFacts:
    """The inverse of `facts_to_json`; every key and type checked.

    Raises:
        GateError: `malformed-baseline`.
    """
    if not isinstance(data, dict):
        raise _malformed(path, f"has {_kind(data)} as {where} where an object is expected")
    _same_keys(data, frozenset(field.name for field in fields(KernelFacts)), where=where, path=path)
    percent = data["occupancy_percent"]
    checks = {
        **{name: _is_count(data[name]) for name in _COUNTS},
        **{name: isinstance(data[name], str) and bool(data[name]) for name in ("name", "limited_by")},
        **{name: isinstance(data[name], str) and _HASH.fullmatch(data[name]) is not None for name in _HASHES},
        "occupancy_percent": isinstance(percent, int | float)
        and not isinstance(percent, bool)
        and math.isfinite(percent),
        "config": isinstance(data["config"], dict),
        "instructions": _are_counts(data["instructions"]),
        "main_loop": _is_loop(data["main_loop"], within=data["instructions"]),
        "arguments": isinstance(data["arguments"], dict) and all(map(_is_whole, data["arguments"].values())),
    }
    wrong = next((name for name, right in checks.items() if not right), None)
    if wrong is not None:
        raise _malformed(path, f"has {data[wrong]!r} as {wrong!r} of {where}, which no kernel has")
    return KernelFacts(**data)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and _is_whole(value) and value >= 0


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_is_count, value.values()))


def _is_loop(value: object, *, within: Mapping[str, int]) -> bool:
    """No loop at all, or the counts of one, which has no more of a class than the whole kernel."""
    if value == {}:
        return True
    if not isinstance(value, dict) or value.keys() != MainLoop.__annotations__.keys():
        return False
    counts = value["instructions"]
    return (
        _are_counts(counts)
        and _are_counts(within)
        and _is_count(value["tensor_flops"])
        and _is_count(value["shared_bytes"])
        and isinstance(value["tensor_unit"], str)
        and _is_count(value["total"])
        and value["total"] == sum(counts.values())
        and all(count <= within.get(name, 0) for name, count in counts.items())
    )


def _same_keys(data: Mapping[str, object], expected: frozenset[str], *, where: str, path: Path) -> None:
    if missing := sorted(expected - data.keys()):
        raise _malformed(path, f"lacks {missing[0]!r} in {where}")
    if unknown := sorted(data.keys() - expected):
        raise _malformed(path, f"has the unknown key {unknown[0]!r} in {where}")


def _malformed(path: Path, problem: str) -> GateError:
    return GateError("malformed-baseline", f"{path} {problem}: restore it from git or record it again.")


def _kind(value: object) -> str:
    names = {
        type(None): "null",
        bool: "a truth value",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
    }
    return names.get(type(value), "an object")


def _plain(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Mappings and tuples as the dicts and lists that JSON has."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, refusing a key that is there twice: a merge gone wrong would otherwise drop a case silently."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found
