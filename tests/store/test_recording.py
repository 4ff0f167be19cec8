"""The store: what is written is read back, and what is spoilt is refused with its reason."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.records import GateError
from perfgate.store.reading import recording_from_json
from perfgate.store.recording import read_recording, write_recording
from recorded import document, recording

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CASES = ("k1_sq4096", "tiny512")


def _refused(tmp_path: Path, text: str | bytes) -> GateError:
    path = tmp_path / "bad.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(GateError) as caught:
        read_recording(path)
    assert str(path) in caught.value.text
    assert ", expected " in caught.value.text
    assert caught.value.text.endswith(".")
    return caught.value


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "matmul.json"
    state = {"sm_clock_mhz": 1980, "throttle_reasons": []}
    written = recording(range(3), other="A2", cases=CASES, state=state, source=str(path))
    write_recording(path, written)
    assert read_recording(path) == written


def test_the_same_recording_gives_the_same_bytes_and_leaves_nothing_else(tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        write_recording(tmp_path / name, recording(range(2), cases=CASES), metrics={"tiny512": {"tflops": 1.0}})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "b.json"]


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "matmul.json"
    write_recording(path, recording(range(2), cases=CASES))
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_recording(path, recording(range(3), cases=CASES), machine_info={"load": float("nan")})
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["matmul.json"]


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(GateError):
        write_recording(tmp_path / "matmul.json", recording(range(2), cases=()))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(importlib.util.find_spec("pytest_benchmark") is None, reason="needs pytest-benchmark")
def test_pytest_benchmark_compare_reads_the_file(tmp_path: Path) -> None:
    path = tmp_path / "matmul.json"
    write_recording(path, recording(range(3), cases=CASES))
    command = [sys.executable, "-c", "from pytest_benchmark.cli import main; main()", "compare", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "test_throughput[tiny512]" in done.stdout
    assert "ERROR" not in done.stderr


def test_a_file_of_the_bare_contract_is_read() -> None:
    bare = {
        "machine_info": {},
        "benchmarks": [
            {"stats": {}, "extra_info": {"perfgate": {"case": "x", "launches": [{"arms": {"kernel": [1e-3, 1]}}]}}}
        ],
    }
    found = recording_from_json(bare, source="x.json")
    assert found.samples["x"].launches[0].arms == {"kernel": (1e-3, 1.0)}
    assert (found.environment, found.settings, found.commit) == ({}, {}, "")


def test_keys_from_elsewhere_are_tolerated() -> None:
    spoilt = document(range(2), cases=CASES)
    spoilt["perfgate"]["author"] = "someone"
    spoilt["perfgate"]["environment"]["room"] = "cellar"
    spoilt["benchmarks"][0]["extra_info"]["perfgate"]["launches"][0]["seed"] = 7
    assert set(recording_from_json(spoilt, source="x.json").samples) == set(CASES)


@pytest.mark.parametrize("text", ["", "{", '{"benchmarks": [', "nonsense", "[" * 100_000])
def test_a_truncated_file_is_refused(tmp_path: Path, text: str) -> None:
    assert _refused(tmp_path, text).reason == "not-json"


def test_a_file_truncated_anywhere_is_refused(tmp_path: Path) -> None:
    whole = json.dumps(document(range(1), cases=CASES))
    for end in range(0, len(whole), 997):
        assert _refused(tmp_path, whole[:end]).reason == "not-json"


def test_a_file_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    assert _refused(tmp_path, b"\xff\xfe\x00").reason == "unreadable"
    with pytest.raises(GateError, match="does not exist") as caught:
        read_recording(tmp_path / "none.json")
    assert caught.value.reason == "no-file"
    with pytest.raises(GateError) as caught:
        read_recording(tmp_path)
    assert caught.value.reason == "unreadable"


def _ours(spoilt: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = spoilt["benchmarks"][0]["extra_info"]["perfgate"]
    return found


def _set(*keys: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    """Sets one place of the first benchmark's record."""

    def spoil(spoilt: dict[str, Any]) -> None:
        place: Any = _ours(spoilt)
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = to

    return spoil


def _arms(to: object) -> Callable[[dict[str, Any]], None]:
    return _set("launches", 0, "arms", to=to)


SPOILT = [
    pytest.param(lambda d: d.pop("benchmarks"), "malformed", "no list of benchmarks", id="no-benchmarks"),
    pytest.param(lambda d: d.update(benchmarks={}), "malformed", "no list of benchmarks", id="benchmarks-object"),
    pytest.param(lambda d: d.update(benchmarks=[]), "zero-cases", "no case at all", id="zero-cases"),
    pytest.param(lambda d: d["benchmarks"].append(d["benchmarks"][0]), "duplicate-case", "twice", id="duplicate"),
    pytest.param(lambda d: d.update(perfgate=[]), "malformed", "a list as perfgate", id="perfgate-list"),
    pytest.param(lambda d: d["perfgate"].update(schema=2), "other-schema", "schema 2", id="schema-2"),
    pytest.param(lambda d: d["perfgate"].update(schema="1"), "other-schema", "schema '1'", id="schema-text"),
    pytest.param(lambda d: d["perfgate"].update(schema=True), "other-schema", "schema True", id="schema-bool"),
    pytest.param(lambda d: d["perfgate"].update(schema=None), "other-schema", "schema None", id="schema-null"),
    pytest.param(lambda d: d["perfgate"].update(environment=3), "malformed", "perfgate.environment", id="environment"),
    pytest.param(lambda d: d["perfgate"]["environment"].update(gpu=7), "malformed", "environment.gpu", id="gpu-number"),
    pytest.param(lambda d: d["perfgate"].update(settings=[]), "malformed", "perfgate.settings", id="settings"),
    pytest.param(lambda d: d["perfgate"].update(reason=1), "malformed", "perfgate.reason", id="reason"),
    pytest.param(lambda d: d["benchmarks"][0].pop("extra_info"), "malformed", "nothing as", id="no-extra-info"),
    pytest.param(lambda d: d["benchmarks"].append(3), "malformed", "a int as benchmarks[2]", id="benchmark-number"),
    pytest.param(lambda d: d["benchmarks"][0]["extra_info"].clear(), "malformed", "perfgate", id="no-record"),
    pytest.param(lambda d: _ours(d).pop("case"), "malformed", "None as the case", id="no-case"),
    pytest.param(_set("case", to=""), "malformed", "'' as the case", id="empty-case"),
    pytest.param(_set("case", to=3), "malformed", "3 as the case", id="case-number"),
    pytest.param(lambda d: _ours(d).pop("launches"), "malformed", "no launches", id="no-launches"),
    pytest.param(_set("launches", to=[]), "malformed", "no launches", id="empty-launches"),
    pytest.param(_set("launches", to=[[]]), "malformed", "a list as launch 1", id="launch-list"),
    pytest.param(_set("launches", 0, to={}), "malformed", "nothing as the arms", id="no-arms"),
    pytest.param(_arms({}), "malformed", "no kernel arm", id="empty-arms"),
    pytest.param(_arms({"control": [1.0]}), "malformed", "no kernel arm", id="no-kernel"),
    pytest.param(_arms({"kernel": [1.0], "othr": [1.0]}), "malformed", "unknown arm 'othr'", id="unknown-arm"),
    pytest.param(_arms({"kernel": []}), "bad-seconds", "no samples", id="empty-samples"),
    pytest.param(_arms({"kernel": 1.0}), "bad-seconds", "no samples", id="samples-number"),
    pytest.param(_arms({"kernel": [1.0], "control": []}), "bad-seconds", "no samples", id="empty-control"),
    pytest.param(_arms({"kernel": [1.0], "other": [1.0]}), "malformed", "does not say what", id="other-unnamed"),
    pytest.param(_set("other", to={"kind": "ref", "name": "x"}), "malformed", "in 0 of 2", id="other-without-arm"),
    pytest.param(_set("other", to={"kind": "tag", "name": "x"}), "malformed", "'tag'", id="other-kind"),
    pytest.param(_set("other", to={"kind": "ref"}), "malformed", "None as the name", id="other-name"),
    pytest.param(_set("other", to="main"), "malformed", "a str as the other", id="other-text"),
    pytest.param(_set("contract", to=[]), "malformed", "the contract", id="contract"),
    pytest.param(_set("code", to="abc"), "malformed", "the code of k1_sq4096", id="code-text"),
    pytest.param(_set("code", to={"kernel": 3}), "malformed", "3 as the code of kernel", id="code-number"),
    pytest.param(_set("code", to={"kernel": ""}), "malformed", "'' as the code of kernel", id="code-empty"),
    pytest.param(_set("code", to={"kernl": "abc"}), "malformed", "code of 'kernl'", id="code-arm"),
    *(
        pytest.param(
            lambda d, bad=bad: d["perfgate"].update(selected=bad),
            "malformed",
            "perfgate.selected",
            id=f"selected-{bad}",
        )
        for bad in ("tiny512", [], [3], [""], ["tiny512", "tiny512"], None, {"tiny512": 1})
    ),
    pytest.param(_set("launches", 0, "state", to={"correct": 0}), "malformed", "0 as correct", id="correct-number"),
    pytest.param(
        _set("launches", 0, "state", to={"throttle_reasons": "none"}),
        "malformed",
        "throttle_reasons",
        id="reasons-text",
    ),
    *(
        pytest.param(_set("launches", 0, "state", to={key: "99"}), "malformed", f"'99' as {key}", id=key)
        for key in ("foreign_processes", "foreign_utilization_percent", "unheld")
    ),
    *(
        pytest.param(_arms({"kernel": [1.0, bad]}), "bad-seconds", "seconds above zero", id=f"seconds-{str(bad)[:8]}")
        for bad in (float("nan"), float("inf"), 0, 0.0, -1e-3, True, "1e-3", None, [1.0], 10**400, 5e-324)
    ),
]


@pytest.mark.parametrize(("spoil", "reason", "words"), SPOILT)
def test_a_spoilt_file_is_refused_with_its_reason(
    tmp_path: Path, spoil: Callable[[dict[str, Any]], None], reason: str, words: str
) -> None:
    spoilt = document(range(2), cases=CASES)
    recording_from_json(spoilt, source="whole")
    spoil(spoilt)
    error = _refused(tmp_path, json.dumps(spoilt))  # json.dumps writes NaN, as other writers do
    assert (error.reason, words in error.text) == (reason, True), error.text


@pytest.mark.parametrize("document", [[], None, 3, "x"])
def test_a_file_that_is_not_an_object_is_refused(tmp_path: Path, document: object) -> None:
    assert _refused(tmp_path, json.dumps(document)).reason == "malformed"
