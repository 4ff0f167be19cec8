"""Recordings as files: what is written is read back, byte for byte the same; what is spoilt is in ``test_schemas``."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfgate.records import GateError, Launch, Recording, Samples
from perfgate.store.recording import read_recording, recording_from_json, recording_to_json, render, write_recording
from recorded import changed, document, recording

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = ("k1_sq4096", "tiny512")
SECONDS = st.floats(1e-12, 1e6, exclude_max=True)
TEXT = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)
PLAIN = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e15, 1e15) | TEXT
OPEN = st.dictionaries(TEXT, PLAIN | st.lists(PLAIN, max_size=3) | st.dictionaries(TEXT, PLAIN, max_size=3), max_size=4)


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    """Any recording that may be stored."""
    samples = {}
    for case in draw(st.lists(TEXT, min_size=1, max_size=3, unique=True)):
        arms = draw(st.sampled_from([("kernel",), ("kernel", "control"), ("kernel", "control", "other")]))
        launches = tuple(
            Launch(
                arms={arm: tuple(draw(st.lists(SECONDS, min_size=1, max_size=4))) for arm in arms},
                state=draw(st.sampled_from([{}, {"sm_clock_mhz": 1980, "throttle_reasons": ["x"], "load": 0.5}])),
            )
            for _ in range(draw(st.integers(1, 3)))
        )
        other = {"kind": "ref", "name": draw(TEXT)} if "other" in arms else None
        samples[case] = Samples(case=case, launches=launches, other=other, config=draw(OPEN), code={"kernel": "5ab1e"})
    environment, run = (draw(st.dictionaries(TEXT, TEXT, max_size=3)) for _ in range(2))
    return Recording(
        samples=samples, environment=environment, settings=draw(OPEN), reason=draw(TEXT), run=run, source="x"
    )


@given(recordings())
def test_whatever_may_be_stored_is_read_back_and_rendered_again_to_the_same_bytes(written: Recording) -> None:
    text = render(recording_to_json(written))
    found = recording_from_json(json.loads(text), source="x")
    assert found == written
    assert render(recording_to_json(found)) == text


@given(st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)))
def test_what_is_rendered_is_the_same_json(value: Any) -> None:
    assert json.loads(render(value)) == value


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("baselines/*/[ma][an]*.json")), ids=str)
def test_a_stored_file_is_read_and_rendered_to_itself(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert read_recording(path).source == str(path)
    assert render(json.loads(text)) + "\n" == text


def test_the_same_recording_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    for name in ("new/a.json", "new/b.json"):
        written = recording(range(2), cases=CASES, source=str(tmp_path / name))
        digest = write_recording(tmp_path / name, written, metrics={"tiny512": {"tflops": 1.0}})
        assert (read_recording(tmp_path / name), len(digest)) == (written, 64)
    assert (tmp_path / "new/a.json").read_bytes() == (tmp_path / "new/b.json").read_bytes()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.json", "b.json"]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "matmul.json"
    write_recording(path, recording(range(2), cases=CASES))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_recording(path, recording(range(3), cases=CASES), machine_info={"load": float("nan")})
    for unfit in (
        recording(range(2), cases=()),
        recording(range(2), cases=CASES, environment={"gpu": "\x1b[31m"}),
        recording(range(2), cases=CASES, state={"sm_clock_mhz": -1}),
        changed(recording(range(2), cases=CASES), contract={"flops": 10**400}),
    ):
        with pytest.raises(GateError):
            write_recording(path, unfit)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["matmul.json"]


@pytest.mark.skipif(importlib.util.find_spec("pytest_benchmark") is None, reason="needs pytest-benchmark")
def test_pytest_benchmark_compare_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "matmul.json"
    write_recording(path, recording(range(3), cases=CASES))
    command = [sys.executable, "-c", "from pytest_benchmark.cli import main; main()", "compare", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test_throughput[tiny512]" in done.stdout
    assert "ERROR" not in done.stderr


def test_a_file_of_the_bare_contract_is_read_and_keys_from_elsewhere_are_tolerated() -> None:
    ours = {"case": "x", "launches": [{"arms": {"kernel": [1e-3, 1]}, "seed": 7}], "author": "someone"}
    bare = {"machine_info": {}, "benchmarks": [{"stats": {}, "extra_info": {"perfgate": ours, "more": 1}}], "more": 2}
    found = recording_from_json(bare, source="x.json")
    assert found.samples["x"].launches[0].arms == {"kernel": (1e-3, 1.0)}
    assert (found.environment, found.settings, found.commit) == ({}, {}, "")


def test_a_file_without_selection_code_or_run_names_none() -> None:
    text = json.dumps(recording_to_json(recording([0], cases=CASES)))
    assert not [name for name in ("selected", "code", "run") if f'"{name}"' in text]


def _ours(spoilt: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spoilt["benchmarks"][0]["extra_info"]["perfgate"]
    return found


def _arms(arms: object) -> Callable[[dict[str, Any]], None]:
    return lambda spoilt: _ours(spoilt)["launches"][0].update(arms=arms)


@pytest.mark.parametrize(
    ("spoil", "reason", "said"),
    [
        (lambda d: d.update(benchmarks=[]), "zero-cases", "no case at all"),
        (lambda d: d["benchmarks"].append(d["benchmarks"][0]), "duplicate-case", "the case k1_sq4096 twice"),
        (_arms({"control": [1.0]}), "malformed", "no kernel arm"),
        (_arms({"kernel": [1.0], "othr": [1.0]}), "malformed", "'othr'"),
        (_arms({"kernel": [1.0], "other": [1.0]}), "malformed", "not said what it is"),
        (lambda d: _ours(d).update(other={"kind": "ref", "name": "x"}), "malformed", "in 0 of 2 launches"),
        (lambda d: d["perfgate"].update(selected=["tiny512"] * 2), "malformed", "twice in selected"),
        *(
            (_arms({"kernel": [1.0], "control": times}), "bad-seconds", "arms")
            for times in ([], 1.0, [0], [0.0], [-1e-3], [True], ["1e-3"], [None], [[1.0]], [1e7], [5e-324])
        ),
    ],
)
def test_what_no_type_says_has_its_own_sentence(spoil: Callable[[Any], object], reason: str, said: str) -> None:
    spoilt = document(range(2), cases=CASES)
    spoil(spoilt)
    with pytest.raises(GateError) as caught:
        recording_from_json(spoilt, source="x.json")
    assert (caught.value.reason, said in caught.value.text) == (reason, True), caught.value.text
    assert caught.value.text.startswith("x.json ")


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "bad.json", json.dumps(document(range(1), cases=CASES))
    for end in range(0, len(whole), 997):
        path.write_text(whole[:end], encoding="utf-8")
        with pytest.raises(GateError) as caught:
            read_recording(path)
        assert caught.value.reason == "not-json"
