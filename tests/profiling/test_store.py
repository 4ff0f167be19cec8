"""Counters as files: what is written is read back, a brief's two forms are read, and what is neither is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from counters_support import CARD, counted, counters_store
from perfgate.profiling.metrics import L2_HIT_RATE
from perfgate.profiling.store import Profile, counters_from_text, read_store, write_store
from perfgate.records import GateError

if TYPE_CHECKING:
    from pathlib import Path

METRICS = {"launch__grid_size": 65536, "lts__t_sector_hit_rate.pct": 99.22}
PROFILE = {"case": "k7", "metrics": METRICS}
STORE = {
    "schema": 1,
    "card": "nvidia-geforce-rtx-4090",
    "recorded_at": "2026-11-25T10:00:00+00:00",
    "cases": {"k7": {"kernels": [{"name": "matmul_kernel", "metrics": METRICS}, {"name": "add", "metrics": METRICS}]}},
}
GONE: Any = object()
WRITTEN = counters_store(k7=counted(code="c0de"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "counters.json"


def read(document: Any) -> Any:
    text = document if isinstance(document, str) else json.dumps(document)
    return counters_from_text(text, "k7", source="c.json")


def test_a_store_is_read_back_and_a_brief_reads_it_too(path: Path) -> None:
    assert read_store(path) is None
    write_store(path, WRITTEN)
    found = read_store(path)
    assert found == WRITTEN
    assert found.folder == CARD
    of_brief = read(path.read_text(encoding="utf-8"))
    assert (of_brief.card, of_brief.kernels[0].metrics[L2_HIT_RATE]) == (CARD, 99.22)


def test_counters_that_could_not_be_read_back_are_not_written(path: Path) -> None:
    with pytest.raises(GateError):
        write_store(path, structs.replace(WRITTEN, cases={"k7": structs.replace(counted(), calls=0)}))
    assert not path.exists()


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("schema", 2, "has schema 2"),
        ("schema", GONE, "has schema None"),
        ("environment", {"gpu": 1}, "at environment"),
        ("cases k7 calls", 0, "calls: expected"),
        ("cases k7 commit", GONE, "field `commit`"),
        ("cases k7 kernels", [], "kernels: expected"),
        ("cases k7 kernels 0 grid", [1, 1], "grid: expected"),
        (f"cases k7 kernels 0 spread {L2_HIT_RATE}", GONE, f"hopper_kernel lacks {L2_HIT_RATE}"),
        (f"cases k7 kernels 0 spread {L2_HIT_RATE}", -1, "spread[...]: expected"),
        (f"cases k7 kernels 0 metrics {L2_HIT_RATE}", GONE, f"hopper_kernel lacks {L2_HIT_RATE}"),
    ],
)
def test_a_store_that_is_not_as_the_schema_says_is_refused_in_one_line(
    path: Path, place: str, value: object, says: str
) -> None:
    write_store(path, WRITTEN)
    document = where = json.loads(path.read_text(encoding="utf-8"))
    *way, last = place.split()
    for step in way:
        where = where[int(step) if step.isdigit() else step]
    where[last] = value
    if value is GONE:
        del where[last]
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(GateError) as caught:
        read_store(path, source="c.json")
    assert caught.value.reason == ("other-schema" if place == "schema" else "bad-counters")
    assert caught.value.text.startswith("c.json ")
    assert says in caught.value.text
    assert "\n" not in caught.value.text


def test_a_file_of_one_profile_is_read() -> None:
    found = read(PROFILE)
    assert (found.kernels, found.card, found.source) == ((Profile(name="", metrics=METRICS),), "", "c.json")
    found = read({**PROFILE, "source": "somebody", "card": "NVIDIA GeForce RTX 4090"})
    assert (found.source, found.card) == ("somebody", "nvidia-geforce-rtx-4090")


def test_of_a_store_every_kernel_is_read_and_what_a_later_writer_adds_does_not_matter() -> None:
    found = read({**STORE, "versions": {"ncu": "2026.3"}})
    assert [kernel.name for kernel in found.kernels] == ["matmul_kernel", "add"]
    assert (found.card, found.source) == (STORE["card"], f"c.json, recorded {STORE['recorded_at']}")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("{", "bad-counters"),
        ([], "bad-counters"),
        ({"case": "k7"}, "bad-counters"),
        ({**PROFILE, "metric": 1}, "bad-counters"),
        ({**PROFILE, "case": "k9"}, "other-case"),
        ({**PROFILE, "metrics": {}}, "bad-counters"),
        ({**PROFILE, "metrics": {"x": True}}, "bad-counters"),
        ({**STORE, "schema": True}, "other-schema"),
        ({key: value for key, value in STORE.items() if key != "schema"}, "other-schema"),
        ({**STORE, "cases": {"k9": {}}}, "other-case"),
        ({**STORE, "cases": {"k7": {"kernels": []}}}, "bad-counters"),
        ({**STORE, "cases": {"k7": {"kernels": [{"metrics": METRICS}]}}}, "bad-counters"),
    ],
)
def test_what_is_neither_is_refused_with_one_sentence(document: Any, reason: str) -> None:
    with pytest.raises(GateError) as caught:
        read(document)
    assert caught.value.reason == reason
    assert caught.value.text.startswith("c.json ")
