"""The store of compiled-code facts: what is written is read back, and everything else is refused in one sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from facts_support import BASELINE, FACTS, LOOPLESS
from perfgate.records import GateError
from perfgate.store.compiled import (
    CompiledBaseline,
    CompiledCase,
    KernelFacts,
    facts_from_json,
    read_compiled,
    write_compiled,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sm_89" / "compiled.json"


@pytest.fixture
def data(path: Path) -> dict[str, Any]:
    """A whole file as JSON, for a test to spoil."""
    write_compiled(path, BASELINE)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def refused(path: Path, reason: str = "malformed-baseline") -> str:
    with pytest.raises(GateError) as caught:
        read_compiled(path)
    assert caught.value.reason == reason
    assert str(path) in caught.value.text
    assert "\n" not in caught.value.text
    return caught.value.text


def test_what_is_written_is_read_back_and_nothing_but_the_file_is_left(path: Path) -> None:
    write_compiled(path, BASELINE)

    assert read_compiled(path) == replace(BASELINE, source=str(path))
    assert [found.name for found in path.parent.iterdir()] == ["compiled.json"]


@pytest.mark.parametrize("facts", [FACTS, LOOPLESS])
def test_one_kernels_facts_are_read_back_from_their_json(facts: KernelFacts) -> None:
    assert facts_from_json(json.loads(json.dumps(structs.asdict(facts)))) == facts


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"registers": "118"}, "registers"), ({"speed": 1}, "unknown field `speed`"), ({"main_loop": None}, "main_loop")],
)
def test_what_no_kernel_has_is_refused_with_where_it_stood(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(GateError, match=f"study.json, pair 3, is malformed.*{said}"):
        facts_from_json({**structs.asdict(FACTS), **changes}, source="study.json, pair 3,")
    with pytest.raises(GateError, match="expected `object`, got `array`"):
        facts_from_json([])


def test_the_same_facts_give_the_same_bytes_in_any_order(path: Path) -> None:
    write_compiled(path, BASELINE)
    first = path.read_bytes()
    write_compiled(path, replace(BASELINE, cases=dict(reversed(list(BASELINE.cases.items())))))

    assert path.read_bytes() == first
    assert first.endswith(b"}\n")


def test_no_file_is_no_baseline(path: Path) -> None:
    assert read_compiled(path) is None


@pytest.mark.parametrize(
    "unfit",
    [
        replace(BASELINE, cases={}),
        replace(BASELINE, cases={"k1": CompiledCase(contract={}, kernels=())}),
        replace(BASELINE, cases={"k1": CompiledCase(contract={}, kernels=(FACTS,), error="matmul: no")}),
        replace(BASELINE, reason=" "),
        replace(BASELINE, versions={"triton": "3.8.0"}),
    ],
    ids=["no case", "a case without kernels", "a case that does not compile", "no reason", "no ptxas version"],
)
def test_facts_that_nothing_could_be_compared_with_leave_the_old_file_alone(
    path: Path, unfit: CompiledBaseline
) -> None:
    write_compiled(path, BASELINE)
    before = path.read_bytes()

    with pytest.raises(GateError) as caught:
        write_compiled(path, unfit)

    assert caught.value.reason == "malformed-baseline"
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


KERNEL = "cases k1 kernels 0 "
LOOP = f"{KERNEL}main_loop "


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        ("reason", " ", "reason"),
        (f"{KERNEL}code_hash", "A" * 64, "code_hash"),
        (f"{KERNEL}code_hash", "a" * 64 + "\n", "code_hash"),
        (f"{KERNEL}name", "\u202e", "do not show"),
        (f"{KERNEL}config note", "a\nb", "do not show"),
        ("torch", "\x1b[31m", "do not show"),
        (f"{KERNEL}instructions tensor_core", 63, "main_loop of matmul_kernel"),
        (f"{LOOP}trips", 3, "main_loop"),
        (f"{LOOP}total", 103, "main_loop"),
        (f"{LOOP}instructions", {"integer": 1}, "main_loop"),
    ],
)
def test_what_no_type_says_of_a_kernel_is_refused(
    path: Path, data: dict[str, Any], place: str, value: object, said: str
) -> None:
    *way, last = place.split()
    where: Any = data
    for step in way:
        where = where[int(step) if step.isdigit() else step]
    where[last] = value
    path.write_text(json.dumps(data))
    assert said in refused(path)


@pytest.mark.parametrize("key", ["total", "tensor_flops", "shared_bytes"])
def test_a_loop_that_lacks_a_number_is_refused(path: Path, data: dict[str, Any], key: str) -> None:
    del data["cases"]["k1"]["kernels"][0]["main_loop"][key]
    path.write_text(json.dumps(data))
    assert "main_loop of matmul_kernel" in refused(path)


@pytest.mark.parametrize("version", [2, True, None, "none"], ids=str)
def test_a_file_of_another_version_is_refused_as_such(path: Path, data: dict[str, Any], version: object) -> None:
    data["schema"] = version
    if version == "none":
        del data["schema"]
    path.write_text(json.dumps(data))
    assert f"schema {None if version == 'none' else version}" in refused(path, "other-schema")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'"x"', b'{"schema": NaN}', b"[" * 100_000, b"\xff\xfe\x00"],
    ids=["empty", "cut off", "a list", "null", "a text", "not a number", "too deep", "no text"],
)
def test_what_is_no_baseline_at_all_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    refused(path)


def test_a_case_that_is_there_twice_is_refused(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data).replace('"k7"', '"k1"'))
    assert "'k1' twice" in refused(path)
