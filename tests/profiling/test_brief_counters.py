"""Counters of a case from a file: two forms are read, and what is neither is refused with a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from perfgate.profiling.brief_counters import Profile, counters_from_text
from perfgate.records import GateError

METRICS = {"launch__grid_size": 65536, "lts__t_sector_hit_rate.pct": 99.22}
PROFILE = {"case": "k7", "metrics": METRICS}
STORE = {
    "schema": 1,
    "card": "nvidia-geforce-rtx-4090",
    "recorded_at": "2026-11-25T10:00:00+00:00",
    "cases": {"k7": {"kernels": [{"name": "matmul_kernel", "metrics": METRICS}, {"name": "add", "metrics": METRICS}]}},
}


def read(document: Any, case: str = "k7") -> Any:
    return counters_from_text(json.dumps(document), case, source="c.json")


def test_a_file_of_one_profile_is_read() -> None:
    found = read(PROFILE)
    assert found.kernels == (Profile(name="", metrics=METRICS),)
    assert (found.card, found.source) == ("", "c.json")
    assert read({**PROFILE, "source": "somebody", "card": "NVIDIA GeForce RTX 4090"}).source == "somebody"
    assert read({**PROFILE, "card": "NVIDIA GeForce RTX 4090"}).card == "nvidia-geforce-rtx-4090"


def test_a_store_is_read_with_every_kernel_and_what_a_later_writer_adds_does_not_matter() -> None:
    found = read({**STORE, "versions": {"ncu": "2026.3"}})
    assert [kernel.name for kernel in found.kernels] == ["matmul_kernel", "add"]
    assert found.card == "nvidia-geforce-rtx-4090"
    assert "recorded 2026-11-25" in found.source


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "bad-counters"),
        ({}, "bad-counters"),
        ({"case": "k7"}, "bad-counters"),
        ({**PROFILE, "metric": 1}, "bad-counters"),
        ({**PROFILE, "case": "k9"}, "other-case"),
        ({**PROFILE, "case": 7}, "other-case"),
        ({**PROFILE, "metrics": {}}, "bad-counters"),
        ({**PROFILE, "metrics": {"x": "1"}}, "bad-counters"),
        ({**PROFILE, "metrics": {"x": True}}, "bad-counters"),
        ({**PROFILE, "metrics": [1]}, "bad-counters"),
        ({**PROFILE, "source": 1}, "bad-counters"),
        ({**STORE, "schema": 2}, "other-schema"),
        ({**STORE, "schema": True}, "other-schema"),
        ({key: value for key, value in STORE.items() if key != "schema"}, "other-schema"),
        ({**STORE, "cases": []}, "bad-counters"),
        ({**STORE, "cases": {"k9": {}}}, "other-case"),
        ({**STORE, "cases": {"k7": []}}, "bad-counters"),
        ({**STORE, "cases": {"k7": {"kernels": []}}}, "bad-counters"),
        ({**STORE, "cases": {"k7": {"kernels": [{"metrics": METRICS}]}}}, "bad-counters"),
        ({**STORE, "cases": {"k7": {"kernels": [{"name": "a", "metrics": None}]}}}, "bad-counters"),
        ({key: value for key, value in STORE.items() if key != "recorded_at"}, "bad-counters"),
    ],
)
def test_what_is_neither_is_refused_with_one_sentence(document: Any, reason: str) -> None:
    with pytest.raises(GateError) as caught:
        read(document)
    assert caught.value.reason == reason
    assert caught.value.text.startswith("c.json ")
    assert caught.value.text.endswith(".")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"case": "k7", "metrics": {"x": NaN}}',
        '{"case": "k7", "case": "k7", "metrics": {"x": 1}}',
        "[" * 100000,
    ],
)
def test_text_that_is_not_whole_json_is_refused(text: str) -> None:
    with pytest.raises(GateError) as caught:
        counters_from_text(text, "k7", source="c.json")
    assert caught.value.reason == "bad-counters"


def test_a_number_beyond_every_float_is_refused() -> None:
    with pytest.raises(GateError):
        counters_from_text('{"case": "k7", "metrics": {"x": 1e999}}', "k7", source="c.json")
