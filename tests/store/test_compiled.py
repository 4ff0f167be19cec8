"""The store of compiled-code facts: what is written is read back, and everything else is refused in one sentence."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.records import GateError, KernelFacts
from perfgate.store.compiled import (
    CompiledBaseline,
    CompiledCase,
    Operation,
    facts_from_json,
    read_compiled,
    write_compiled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = KernelFacts(
    name="matmul_kernel",
    config={"BLOCK_M": 64, "EVEN_K": True, "PRECISION": "tf32", "num_warps": 4, "num_stages": 3},
    code_hash="a" * 64,
    normal_hash="c" * 64,
    registers=118,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=32768,
    blocks_per_sm=3,
    limited_by="shared memory",
    occupancy_percent=25.0,
    instructions={"integer": 457, "tensor_core": 128},
    main_loop={
        "instructions": {"integer": 40, "tensor_core": 64},
        "total": 104,
        "tensor_flops": 262144,
        "tensor_unit": "mma16",
        "shared_bytes": 8192,
    },
    grid=1024,
    arguments={"M": 4096, "stride_am": -4096},
)
COPY = Operation(name="clone", moved_bytes=1 << 20)
LOOPLESS = replace(FACTS, main_loop={}, arguments={})
BASELINE = CompiledBaseline(
    target="sm_89",
    versions={"triton": "3.8.0", "torch": "2.14.1", "ptxas": "12.9"},
    recorded_at="2026-01-02T03:04:05+00:00",
    commit="0123abc",
    reason="first recording",
    cases={
        "k7": CompiledCase(contract={"shapes": [[8, 4], [4, 8]], "precision": "tf32"}, kernels=(FACTS, FACTS)),
        "k1": CompiledCase(contract={"shapes": [[8, 8], [8, 8]]}, kernels=(FACTS, LOOPLESS), operations=(COPY,)),
    },
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sm_89" / "compiled.json"


@pytest.fixture
def data(path: Path) -> dict[str, Any]:
    """A whole file as JSON, for a test to spoil."""
    write_compiled(path, BASELINE)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_what_is_written_is_read_back(path: Path) -> None:
    write_compiled(path, BASELINE)

    assert read_compiled(path) == replace(BASELINE, source=str(path))


@pytest.mark.parametrize("facts", [FACTS, LOOPLESS])
def test_one_kernels_facts_are_read_back_from_their_json(facts: KernelFacts) -> None:
    assert facts_from_json(json.loads(json.dumps(asdict(facts)))) == facts


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"registers": "118"}, "'registers'"),
        ({"speed": 1}, "unknown key 'speed'"),
        ({"main_loop": None}, "'main_loop'"),
    ],
)
def test_what_no_kernel_has_is_refused_with_where_it_stood(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(GateError, match=said) as refused:
        facts_from_json({**asdict(FACTS), **changes}, where="a kernel of pair 3", path=Path("study.json"))
    assert refused.value.text.startswith("study.json")
    assert "a kernel of pair 3" in refused.value.text
    with pytest.raises(GateError, match="a list as a kernel where an object is expected"):
        facts_from_json([])


def test_the_same_facts_give_the_same_bytes_in_any_order(path: Path) -> None:
    write_compiled(path, BASELINE)
    first = path.read_bytes()
    write_compiled(path, replace(BASELINE, cases=dict(reversed(list(BASELINE.cases.items())))))

    assert path.read_bytes() == first
    assert first.endswith(b"}\n")


def test_no_file_is_no_baseline(path: Path) -> None:
    assert read_compiled(path) is None


def test_nothing_but_the_file_is_left_in_its_directory(path: Path) -> None:
    write_compiled(path, BASELINE)

    assert [found.name for found in path.parent.iterdir()] == ["compiled.json"]


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

    with pytest.raises(GateError):
        write_compiled(path, unfit)

    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_a_failure_while_writing_leaves_the_old_file_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_compiled(path, BASELINE)
    before = path.read_bytes()

    def full(_handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_compiled(path, replace(BASELINE, reason="another"))

    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def spoil(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """`change` applied to a copy of a whole file."""

    def spoiled(data: dict[str, Any]) -> dict[str, Any]:
        found = copy.deepcopy(data)
        change(found)
        return found

    return spoiled


def kernel(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["cases"]["k1"]["kernels"][0]
    return found


def operation(data: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data["cases"]["k1"]["operations"][0]
    return found


REFUSED = [
    ("other-schema", "schema 2", spoil(lambda data: data.update(schema=2))),
    ("other-schema", "schema True", spoil(lambda data: data.update(schema=True))),
    ("other-schema", "schema None", spoil(lambda data: data.pop("schema"))),
    ("malformed-baseline", "holds no cases", spoil(lambda data: data.update(cases={}))),
    ("malformed-baseline", "lacks 'commit'", spoil(lambda data: data.pop("commit"))),
    ("malformed-baseline", "unknown key 'extra'", spoil(lambda data: data.update(extra=1))),
    ("malformed-baseline", "as 'reason'", spoil(lambda data: data.update(reason=None))),
    ("malformed-baseline", "as 'target'", spoil(lambda data: data.update(target=""))),
    ("malformed-baseline", "'k1'", spoil(lambda data: data["cases"].update(k1=[]))),
    ("malformed-baseline", "lacks 'contract'", spoil(lambda data: data["cases"]["k1"].pop("contract"))),
    ("malformed-baseline", "the contract of", spoil(lambda data: data["cases"]["k1"].update(contract=[]))),
    ("malformed-baseline", "no kernels for", spoil(lambda data: data["cases"]["k1"].update(kernels=[]))),
    ("malformed-baseline", "a kernel of", spoil(lambda data: data["cases"]["k1"].update(kernels=[1]))),
    ("malformed-baseline", "lacks 'registers'", spoil(lambda data: kernel(data).pop("registers"))),
    ("malformed-baseline", "unknown key 'speed'", spoil(lambda data: kernel(data).update(speed=1))),
    ("malformed-baseline", "'registers'", spoil(lambda data: kernel(data).update(registers="118"))),
    ("malformed-baseline", "'registers'", spoil(lambda data: kernel(data).update(registers=True))),
    ("malformed-baseline", "'stack_bytes'", spoil(lambda data: kernel(data).update(stack_bytes=-8))),
    ("malformed-baseline", "'blocks_per_sm'", spoil(lambda data: kernel(data).update(blocks_per_sm=1.5))),
    ("malformed-baseline", "'code_hash'", spoil(lambda data: kernel(data).update(code_hash="A" * 64))),
    ("malformed-baseline", "'occupancy_percent'", spoil(lambda data: kernel(data).update(occupancy_percent=None))),
    ("malformed-baseline", "'config'", spoil(lambda data: kernel(data).update(config=[]))),
    ("malformed-baseline", "'instructions'", spoil(lambda data: kernel(data).update(instructions={}))),
    ("malformed-baseline", "'instructions'", spoil(lambda data: kernel(data).update(instructions={"integer": "1"}))),
    ("malformed-baseline", "lacks 'main_loop'", spoil(lambda data: kernel(data).pop("main_loop"))),
    ("malformed-baseline", "'normal_hash'", spoil(lambda data: kernel(data).update(normal_hash="c"))),
    ("malformed-baseline", "'grid'", spoil(lambda data: kernel(data).update(grid=-1))),
    ("malformed-baseline", "'grid'", spoil(lambda data: kernel(data).update(grid=[32, 32]))),
    ("malformed-baseline", "'arguments'", spoil(lambda data: kernel(data).update(arguments=[]))),
    ("malformed-baseline", "'arguments'", spoil(lambda data: kernel(data).update(arguments={"M": True}))),
    ("malformed-baseline", "'arguments'", spoil(lambda data: kernel(data).update(arguments={"M": 1.0}))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data).update(main_loop=None))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].pop("total"))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].update(trips=3))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].update(total=103))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].update(tensor_flops=-1))),
    (
        "malformed-baseline",
        "'main_loop'",
        spoil(lambda data: kernel(data)["main_loop"].update(instructions={}, total=0)),
    ),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["instructions"].update(tensor_core=63))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].update(tensor_unit=16))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].update(shared_bytes=-1))),
    ("malformed-baseline", "'main_loop'", spoil(lambda data: kernel(data)["main_loop"].pop("shared_bytes"))),
    ("malformed-baseline", "lacks 'operations'", spoil(lambda data: data["cases"]["k1"].pop("operations"))),
    ("malformed-baseline", "the operations of", spoil(lambda data: data["cases"]["k1"].update(operations={}))),
    ("malformed-baseline", "an operation of", spoil(lambda data: data["cases"]["k1"].update(operations=["clone"]))),
    ("malformed-baseline", "lacks 'moved_bytes'", spoil(lambda data: operation(data).pop("moved_bytes"))),
    ("malformed-baseline", "unknown key 'time'", spoil(lambda data: operation(data).update(time=1))),
    ("malformed-baseline", "-1 bytes of 'clone'", spoil(lambda data: operation(data).update(moved_bytes=-1))),
    ("malformed-baseline", "1.5 bytes", spoil(lambda data: operation(data).update(moved_bytes=1.5))),
    ("malformed-baseline", "bytes of ''", spoil(lambda data: operation(data).update(name=""))),
]


@pytest.mark.parametrize(
    ("reason", "words", "spoiled"), REFUSED, ids=[f"{row[1]} {n}" for n, row in enumerate(REFUSED)]
)
def test_a_file_that_is_not_as_it_should_be_is_refused(
    path: Path,
    data: dict[str, Any],
    reason: str,
    words: str,
    spoiled: Callable[[dict[str, Any]], dict[str, Any]],
) -> None:
    path.write_text(json.dumps(spoiled(data)))

    with pytest.raises(GateError) as refused:
        read_compiled(path)

    assert refused.value.reason == reason
    assert words in refused.value.text
    assert str(path) in refused.value.text
    assert "\n" not in refused.value.text


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', '{"schema": NaN}', "[" * 100_000],
    ids=["empty", "cut off", "a list", "null", "a text", "not a number", "too deep"],
)
def test_what_is_no_baseline_at_all_is_refused(path: Path, text: str) -> None:
    path.parent.mkdir()
    path.write_text(text)

    with pytest.raises(GateError) as refused:
        read_compiled(path)

    assert refused.value.reason == "malformed-baseline"
    assert "\n" not in refused.value.text


def test_every_truncation_of_a_file_is_refused(path: Path, data: dict[str, Any]) -> None:
    whole = json.dumps(data)
    for length in range(0, len(whole), 97):
        path.write_text(whole[:length])
        with pytest.raises(GateError):
            read_compiled(path)


def test_a_case_that_is_there_twice_is_refused(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data).replace('"k7"', '"k1"'))

    with pytest.raises(GateError, match="'k1' is there twice"):
        read_compiled(path)


def test_bytes_that_are_not_text_are_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(GateError) as refused:
        read_compiled(path)

    assert refused.value.reason == "malformed-baseline"
