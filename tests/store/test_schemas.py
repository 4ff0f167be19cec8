"""Every field of every stored format: missing, of another type, out of its bounds, unknown where the format is closed.

One walk over the types finds what can be wrong with a whole file, and each of that has to be refused in one sentence.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import inspect

from facts_support import BASELINE
from perfgate.records import Aside as AsideRecord
from perfgate.records import GateError, Status, Verdict
from perfgate.store import codec, compiled, recording, run
from perfgate.store.compiled import write_compiled
from perfgate.store.recording import recording_from_json
from perfgate.store.run import Cases, RunRecord, StageResult, cases_to_json, read_cases, read_run, run_to_json
from recorded import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Spoilt = tuple[str, Any]
"""What was done where, and what then stands there."""


def spoilt(kind: inspect.Type, value: Any) -> Iterator[Spoilt]:
    """Everything that the type forbids of a value that it allows, each with its place."""
    if isinstance(kind, inspect.UnionType):
        found = min(
            (one for one in kind.types if _holds(one, value)), key=lambda one: isinstance(one, inspect.FloatType)
        )
        yield from (one for one in spoilt(found, value) if not any(_fits(other, one[1]) for other in kind.types))
        return
    others: tuple[Any, ...] = ([], {}, "x", 3, 1.5, True, None)
    yield from (("another type", wrong) for wrong in others if not _alike(kind, wrong))
    yield from _beyond(kind, value)
    if isinstance(kind, inspect.StructType | inspect.TypedDictType):
        for field in kind.fields:
            name = field.encode_name
            if field.required:
                yield f"no {name}", {key: item for key, item in value.items() if key != name}
            if name in value:
                yield from ((f"{name}, {said}", value | {name: item}) for said, item in spoilt(field.type, value[name]))
        if getattr(kind, "forbid_unknown_fields", False):
            yield "an unknown key", value | {"strange": 1}
    elif isinstance(kind, inspect.DictType) and value:
        key, first = next(iter(value.items()))
        yield from ((f"[{key}], {said}", value | {key: item}) for said, item in spoilt(kind.value_type, first))
        if isinstance(kind.key_type, inspect.LiteralType):
            yield "an unknown key", value | {"strange": first}
    elif isinstance(kind, inspect.ListType | inspect.VarTupleType) and value:
        yield from ((f"[0], {said}", [item, *value[1:]]) for said, item in spoilt(kind.item_type, value[0]))


def _beyond(kind: inspect.Type, value: Any) -> Iterator[Spoilt]:
    """Past each bound by as little as can be."""
    if isinstance(kind, inspect.IntType | inspect.FloatType):
        yield from (("too small", bound - 1) for bound in [kind.ge] if bound is not None)
        yield from (("too large", bound + 1) for bound in [kind.le, kind.lt] if bound is not None)
    least, most = getattr(kind, "min_length", None), getattr(kind, "max_length", None)
    if least and isinstance(kind, inspect.StrType | inspect.ListType | inspect.VarTupleType | inspect.DictType):
        yield "too short", type(value)()
    if most and isinstance(kind, inspect.StrType):
        yield "too long", "x" * (most + 1)
    elif most and isinstance(kind, inspect.DictType) and value:
        yield "too many", {f"k{n}": next(iter(value.values())) for n in range(most + 1)}
    elif most and value:
        yield "too many", [value[0]] * (most + 1)


_JSON: dict[type[inspect.Type], tuple[type, ...]] = {
    inspect.StrType: (str,),
    inspect.IntType: (int,),
    inspect.FloatType: (int, float),
    inspect.BoolType: (bool,),
    inspect.NoneType: (type(None),),
    inspect.StructType: (dict,),
    inspect.TypedDictType: (dict,),
    inspect.DictType: (dict,),
    inspect.ListType: (list,),
    inspect.VarTupleType: (list,),
    inspect.AnyType: (object,),
}


def _holds(kind: inspect.Type, value: object) -> bool:
    """Whether this alternative of a union is the value's."""
    return type(value) in _JSON[type(kind)]


def _alike(kind: inspect.Type, value: object) -> bool:
    """Whether a value of another type is of this one after all, within its bounds or not."""
    if isinstance(kind, inspect.LiteralType):
        return value in kind.values
    if isinstance(kind, inspect.EnumType | inspect.AnyType):
        return isinstance(kind, inspect.AnyType)
    return _holds(kind, value)


def _fits(kind: inspect.Type, value: object) -> bool:
    """Whether another alternative of a union allows it."""
    if isinstance(value, dict) and isinstance(kind, inspect.StructType | inspect.TypedDictType):
        return False
    return _holds(kind, value) and not any(True for _ in _broken(kind, value))


def _broken(kind: inspect.Type, value: Any) -> Iterator[str]:
    length, most = len(value) if isinstance(value, str | list | dict) else 0, getattr(kind, "max_length", None)
    if most is not None and length > most:
        yield "too long"
    if isinstance(value, int | float) and isinstance(kind, inspect.IntType | inspect.FloatType):
        low, high = kind.ge, kind.le
        if (low is not None and value < low) or (high is not None and value > high):
            yield "out of bounds"
    items, of = (value.values(), "value_type") if isinstance(value, dict) else (value, "item_type")
    if isinstance(value, dict | list):
        for item in items:
            inner = getattr(kind, of)
            if not any(_fits(one, item) for one in getattr(inner, "types", (inner,))):
                yield "an item"


# The formats, each by a whole file.


def _recording() -> Any:
    found = document(range(2), other="A2", cases=("tiny512",), state={"sm_clock_mhz": 1980, "throttle_reasons": ["x"]})
    ours = found["benchmarks"][0]["extra_info"]["perfgate"]
    ours["contract"] = {"shapes": [[4, 5]], "flops": 10, "min_bytes": 9, "unit": "tf32", "dtype": "float32"}
    ours["config"], ours["code"] = {"kernel": {"BLOCK_M": 64}}, {"kernel": "abc", "other": "def"}
    found["perfgate"] |= {
        "run": {"nonce": "n"},
        "selected": ["tiny512"],
        "reason": "r",
        "commit": "c",
        "recorded_at": "d",
    }
    return found


def _run() -> Any:
    aside = AsideRecord(text="a", ratio=1.0, matters=True)
    verdict = Verdict(
        case="b", status=Status.SLOWER, reason="r", text="t", ratio=1.1, low=1.0, high=1.2, limit=1.005, asides=(aside,)
    )
    stage = StageResult(name="throughput", done="d", passed=("a",), verdicts=(verdict,), why={"b": ("because",)})
    return run_to_json(RunRecord(environment={"gpu": "x"}, exit=1, stages=(stage,), run={"nonce": "n"}))


def _cases() -> Any:
    return cases_to_json(Cases(checked=("a", "b"), compiled=("a",), timed=("a",)))


FORMATS: dict[str, tuple[type, Callable[[], Any], Callable[[Any], object]]] = {
    "recording": (recording._File, _recording, lambda d: recording_from_json(d, source="x")),  # noqa: SLF001
    "run": (run._Run, _run, lambda d: read_run(json.dumps(d), source="x")),  # noqa: SLF001
    "cases": (run._Cases, _cases, lambda d: read_cases(json.dumps(d), source="x")),  # noqa: SLF001
}


def _accepted(kind: type, whole: Any, read: Callable[[Any], object]) -> tuple[int, list[str]]:
    """How many spoilt files there are, and which of them are not refused as they have to be."""
    count, accepted = 0, []
    for said, found in spoilt(inspect.type_info(kind), json.loads(json.dumps(whole))):
        count += 1
        try:
            read(copy.deepcopy(found))
            accepted.append(said)
        except GateError as error:
            if len(error.text.splitlines()) != 1 or len(error.text) > 600 or not error.text.endswith("."):
                accepted.append(f"{said}: {error.text}")
    return count, accepted


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_a_format_does_not_allow_is_refused_in_one_sentence(name: str) -> None:
    kind, whole, read = FORMATS[name]
    read(json.loads(json.dumps(whole())))
    count, accepted = _accepted(kind, whole(), read)
    assert (accepted, count > 20) == ([], True)


def test_whatever_compiled_facts_do_not_allow_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "compiled.json"
    write_compiled(path, BASELINE)
    whole = json.loads(path.read_text(encoding="utf-8"))
    count, accepted = _accepted(compiled._File, whole, lambda document: compiled._read(document, path))  # noqa: SLF001
    assert (accepted, count > 100) == ([], True)


@pytest.mark.parametrize("version", [2, "1", True, None, 1.0])
@pytest.mark.parametrize("name", FORMATS)
def test_another_version_is_refused_as_such(name: str, version: object) -> None:
    _, whole, read = FORMATS[name]
    found = whole()
    (found["perfgate"] if name == "recording" else found)["schema"] = version
    with pytest.raises(GateError, match=r"has schema .*, expected version 1") as caught:
        read(found)
    assert caught.value.reason == "other-schema"


@pytest.mark.parametrize("name", ["run", "cases"])
def test_no_version_at_all_is_another_version(name: str) -> None:
    _, whole, read = FORMATS[name]
    with pytest.raises(GateError, match="has schema None"):
        read({key: value for key, value in whole().items() if key != "schema"})


@pytest.mark.parametrize("text", ["a\nb", "\u202eevil", "\x1b[31m", "k\u200b7", "\ud800"])
@pytest.mark.parametrize(
    "place",
    ["perfgate reason", "perfgate recorded_at", "perfgate environment gpu", "perfgate settings rounds"]
    + [f"benchmarks 0 extra_info perfgate {key}" for key in ("case", "config kernel", "contract unit", "code kernel")]
    + ["benchmarks 0 extra_info perfgate launches 0 state throttle_reasons 0"],
)
def test_text_that_does_not_show_is_refused_wherever_it_stands(place: str, text: str) -> None:
    found: Any = _recording()
    *way, last = [int(step) if step.isdigit() else step for step in place.split()]
    where = found
    for step in way:
        where = where[step]
    where[last] = text
    with pytest.raises(GateError, match="malformed") as caught:
        recording_from_json(found, source="x")
    assert caught.value.text.isprintable()


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b"", "not-json", "is not valid JSON"),
        (b"{", "not-json", "is not valid JSON"),
        (b"[" * 100_000, "not-json", "nested too deeply"),
        (b"\xff\xfe\x00", "not-json", "is not UTF-8 text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "not-json", "git lfs pull"),
        (b"<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> x", "not-json", "conflict markers"),
        (b"[]", "malformed", "expected `object`, got `array`"),
        (b"null", "malformed", "expected `object`, got `null`"),
        (b'{"schema": 1, "schema": 1}', "malformed", "'schema' twice"),
        (b'{"a": NaN}', "malformed", "holds NaN"),
        (b'{"a": -Infinity}', "malformed", "holds -Infinity"),
        (b'{"a": 1e400}', "malformed", "holds the number 1e400"),
        (b'{"a": ' + b"9" * 401 + b"}", "malformed", "a whole number of 401 digits"),
    ],
)
def test_what_is_no_usable_json_is_refused_before_its_fields_are_looked_at(data: bytes, reason: str, said: str) -> None:
    for read in (lambda: read_run(data, source="x"), lambda: codec.decode(data, recording._File, source="x")):  # noqa: SLF001
        with pytest.raises(GateError) as caught:
            read()
        assert (caught.value.reason, said in caught.value.text) == (reason, True), caught.value.text


def test_what_is_no_regular_file_or_too_large_is_not_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * 11)
    for name, reason in (("pipe", "unreadable"), ("large", "unreadable"), ("none", "no-file"), (".", "unreadable")):
        with pytest.raises(GateError) as caught:
            codec.read_bytes(tmp_path / name, what="a run", most_bytes=10)
        assert (caught.value.reason, ", expected a run; " in caught.value.text) == (reason, True)


def test_a_sentence_is_short_whatever_was_found() -> None:
    with pytest.raises(GateError) as caught:
        codec.convert({"checked": ["x" * 100_000]}, run._Cases, source="y" * 1000)  # noqa: SLF001
    assert len(caught.value.text) < 500
