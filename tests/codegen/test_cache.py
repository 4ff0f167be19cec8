"""Facts kept between runs: found whole, or thrown away and compiled again."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.codegen.cache import CompiledCache, Entry
from perfgate.records import KernelFacts
from perfgate.store.compiled import CompiledCase

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTRACT = {"dtype": "float16", "shapes": [[2, 2], [2, 2]]}
FACTS = KernelFacts(
    name="matmul",
    config={"BLOCK": 64, "num_warps": 4},
    code_hash="a" * 64,
    normal_hash="c" * 64,
    registers=128,
    stack_bytes=0,
    spill_instructions=0,
    shared_bytes=1024,
    blocks_per_sm=2,
    limited_by="registers",
    occupancy_percent=33.33,
    instructions={"tensor_core": 64},
    main_loop={},
    grid=64,
    arguments={"M": 4096},
)
ENTRY = Entry(
    case=CompiledCase(contract=CONTRACT, kernels=(FACTS,)),
    versions={"triton": "3.8.0", "torch": "2.14.1", "ptxas": "12.9"},
)
KEY, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def cache(tmp_path: Path) -> CompiledCache:
    return CompiledCache(tmp_path / "cache")


def test_an_entry_comes_back_as_it_was_put(cache: CompiledCache) -> None:
    cache.put(KEY, ENTRY)
    assert cache.get(KEY, CONTRACT) == ENTRY
    assert cache.get(OTHER, CONTRACT) is None


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[str], str]:
    def edited(text: str) -> str:
        document = json.loads(text)
        change(document)
        return json.dumps(document)

    return edited


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda _: "",
        lambda _: "null",
        lambda _: "[]",
        lambda _: "{}",
        lambda _: '{"schema": 1, "held": 5}',
        lambda _: "\x00\xff",
        lambda text: text.replace('"registers": 128', '"registers": 127'),
        lambda text: text.replace("3.8.0", "3.8.1"),
        lambda text: text.replace(KEY, OTHER),
        lambda text: text.replace('"schema": 1', '"schema": 2'),
        _edit(lambda document: document.pop("digest")),
        _edit(lambda document: document["held"].pop("versions")),
        _edit(lambda document: document["held"]["case"]["kernels"].clear()),
        lambda _: "[" * 100_000,
    ],
)
def test_a_damaged_or_foreign_entry_is_thrown_away(
    cache: CompiledCache, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    cache.put(KEY, ENTRY)
    (path,) = (tmp_path / "cache").iterdir()
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")

    assert cache.get(KEY, CONTRACT) is None
    assert not path.exists()


def test_an_entry_of_another_contract_is_thrown_away(cache: CompiledCache) -> None:
    cache.put(KEY, ENTRY)
    assert cache.get(KEY, {**CONTRACT, "dtype": "float32"}) is None


def test_an_entry_under_the_name_of_another_key_is_thrown_away(cache: CompiledCache, tmp_path: Path) -> None:
    cache.put(KEY, ENTRY)
    (path,) = (tmp_path / "cache").iterdir()
    path.rename(path.with_name(f"{OTHER}.json"))
    assert cache.get(OTHER, CONTRACT) is None


def test_a_folder_in_the_place_of_an_entry_is_no_entry(cache: CompiledCache, tmp_path: Path) -> None:
    (tmp_path / "cache" / f"{KEY}.json").mkdir(parents=True)
    assert cache.get(KEY, CONTRACT) is None


@pytest.mark.parametrize(
    "case",
    [
        CompiledCase(contract=CONTRACT, kernels=(FACTS,), error="no such name"),
        CompiledCase(contract=CONTRACT, kernels=()),
    ],
)
def test_what_did_not_compile_is_not_kept(cache: CompiledCache, tmp_path: Path, case: CompiledCase) -> None:
    cache.put(KEY, Entry(case=case, versions=ENTRY.versions))
    assert cache.get(KEY, CONTRACT) is None
    assert list(tmp_path.iterdir()) == []


def test_nothing_half_written_stays_when_writing_fails(
    cache: CompiledCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put(KEY, ENTRY)
    monkeypatch.setattr("pathlib.Path.replace", _no_space)
    with pytest.raises(OSError, match="no space"):
        cache.put(OTHER, ENTRY)
    assert [path.stem for path in (tmp_path / "cache").iterdir()] == [KEY]


def _no_space(*_: object) -> None:
    raise OSError("no space")


def test_the_oldest_beyond_the_bound_are_dropped(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path, most=3)
    for number in range(5):
        cache.put(f"{number:064d}", ENTRY)
        os.utime(tmp_path / f"{number:064d}.json", (1000 - number, 1000 - number))
    cache.drop_oldest()
    assert sorted(int(path.stem) for path in tmp_path.iterdir()) == [0, 1, 2]
