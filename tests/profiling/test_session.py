"""The command that reads counters, from end to end with a stand-in for ncu and for the card, and what it refuses.

Its whole output is in ``tests/golden/expected/counters.txt``.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from counters_support import (
    CALL,
    CARD,
    ENVIRONMENT,
    MATMUL,
    RECORD,
    Ncu,
    on_the_path,
    profile,
    project_with_a_card,
    stored,
    with_counters,
)
from perfgate.cli.counters import main
from perfgate.profiling import ncu as profiler
from perfgate.profiling.metrics import DURATION, L2_HIT_RATE

if TYPE_CHECKING:
    from pathlib import Path

Said = pytest.CaptureFixture[str]


@pytest.fixture
def ncu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ncu:
    """The stand-in, first on the path, in a project with a card that is not there."""
    return on_the_path(project_with_a_card(tmp_path, monkeypatch), monkeypatch)


def test_what_is_stored_is_the_median_of_all_calls_and_run_twice_nothing_is_flagged(ncu: Ncu, capsys: Said) -> None:
    ncu.play(fills=True)  # between the kernels, which are nobody's
    assert profile() == 0
    assert not (ncu.project / "baselines").exists()
    assert profile(*RECORD) == 0
    kernels = stored(ncu.project)["cases"]["k7_small_k"]["kernels"]
    assert kernels[2]["metrics"][DURATION] == pytest.approx(2.29e-3)
    assert kernels[2]["spread"][L2_HIT_RATE] == pytest.approx(0.002 * 99.22, abs=0.011)
    ncu.play(noise=0.0013)
    assert profile() == 0
    assert "the same machine code; nothing moved beyond its noise" in capsys.readouterr().out
    asked = ncu.asked()[0]
    assert asked[:4] == ["--clock-control", "none", "--profile-from-start", "off"]
    assert sorted(asked[asked.index("--metrics") + 1].split(",")) == sorted(MATMUL)


def test_what_moved_is_left_for_the_page_and_a_kernel_whose_time_stayed_is_not_told(ncu: Ncu, capsys: Said) -> None:
    assert profile(*RECORD) == 0
    capsys.readouterr()
    calls = with_counters(L2_hit_rate=99.84, active_warps=61.0, time=1.98e6)
    ncu.play(noise=0.0002, calls={"kernel": calls, "other": CALL}, code={"kernel": "newer", "other": "old"})
    assert profile() == 0
    said = capsys.readouterr().out
    assert "k7_small_k: 2.303 ms → 1.993 ms under ncu (-13.46 %), other machine code" in said
    assert not any(word in said for word in ("instructions", "guideline", "  prepare_kernel"))
    document = json.loads((ncu.project / ".perfgate/counters-moved.json").read_text(encoding="utf-8"))
    row = {"name": "hopper_kernel: L2 hit rate", "before": "99.22 %", "after": "99.84 %", "moved": True}
    assert row in document["counters"]["k7_small_k"]
    (sentence,) = document["moved_with_it"]["k7_small_k"]
    assert sentence.startswith("counters of hopper_kernel: L2 hit rate 99.22 → 99.84 %, active warps")


def test_another_kernel_file_is_profiled_beside_this_one_and_nothing_is_stored(ncu: Ncu, capsys: Said) -> None:
    other = shutil.copy(ncu.project / "kernels/matmul.py", ncu.project / "raster.py")
    ncu.play(calls={"kernel": CALL, "other": with_counters(DRAM_share=40.0, time=3e6)})
    assert profile("--against", "raster.py") == 0
    said = capsys.readouterr().out
    assert "2 processes of 3 calls each side" in said
    assert "time 3.000 ms → 2.290 ms" in said
    assert "1 compared with raster.py, 1 moved" in said
    assert (ncu.project / ".perfgate/counters-other.json").is_file()
    assert not (ncu.project / "baselines").exists()
    sides = json.loads((ncu.project / ".perfgate/counters/plan-1.json").read_text(encoding="utf-8"))["sides"]
    assert sides["other"]["kernel"] == str(other)
    assert sides["other"]["cache"] != sides["kernel"]["cache"]


def test_a_file_of_counters_is_compared_with_and_only_this_code_is_profiled(ncu: Ncu, capsys: Said) -> None:
    assert profile() == 0
    kept = ncu.project / "then.json"
    shutil.copy(ncu.project / ".perfgate/counters.json", kept)
    assert profile("--against", "then.json") == 0
    assert "1 compared with then.json, 0 moved" in capsys.readouterr().out
    kept.write_text(kept.read_text(encoding="utf-8").replace('"NVIDIA H100 80GB HBM3"', '"NVIDIA L4"'))
    assert profile("--against", "then.json") == 2
    assert "INVALID other-card: then.json has counters of nvidia-l4, expected those of" in capsys.readouterr().err
    assert profile("--against", "missing.json") == 2


def test_recording_one_case_leaves_the_others_as_they_were_if_their_versions_are_these(
    ncu: Ncu, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["--case", "k1_square", *RECORD]) == 0
    then = stored(ncu.project)["cases"]
    assert profile(*RECORD) == 0
    found = stored(ncu.project)["cases"]
    assert (found.keys(), found["k1_square"]) == ({"k1_square", "k7_small_k"}, then["k1_square"])
    monkeypatch.setitem(ENVIRONMENT, "driver", "590")
    assert profile(*RECORD) == 2
    assert "INVALID other-environment: " in capsys.readouterr().err
    assert stored(ncu.project)["environment"]["driver"] == "580"


@pytest.mark.parametrize(
    ("why", "says"),
    [
        ("ERR_NVGPUCTRPERM - no permission", "the driver lets only root read counters"),
        ("Profiling is not supported on device 0.", "this ncu does not know the card"),
        ("no ncu", "there is no ncu on the path"),
        ("no card", "there is no CUDA card (no NVIDIA driver)"),
    ],
)
def test_where_nothing_can_be_counted_it_is_one_line_and_the_gate_goes_on_unless_it_was_to_record(
    ncu: Ncu, capsys: Said, monkeypatch: pytest.MonkeyPatch, why: str, says: str
) -> None:
    ncu.play(messages=[f"==ERROR== {why}"], table=False, exit=1)
    if why == "no ncu":
        monkeypatch.setenv("PATH", str(ncu.project))
        monkeypatch.setattr(profiler, "_USUAL_PLACES", ())
    if why == "no card":
        monkeypatch.setitem(ENVIRONMENT, "gpu", "")
        monkeypatch.setitem(ENVIRONMENT, "why", "no NVIDIA driver")
    assert profile() == 0
    out, err = capsys.readouterr()
    last = out.splitlines()[-1]
    assert last.startswith(f"counters: NOT read: {says}")
    assert last.endswith("Counters explain times and judge nothing, so the gate goes on.")
    assert not err
    assert profile(*RECORD) == 2
    assert not (ncu.project / "baselines").exists()


def test_ncu_is_found_where_its_packages_put_it_and_the_newest_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in ("12.9", "13.0", "9.1"):
        folder = tmp_path / f"cuda-{version}/bin"
        folder.mkdir(parents=True)
        (folder / "program").touch(0o755)
    monkeypatch.setattr(profiler, "_USUAL_PLACES", (f"{tmp_path}/cuda*/bin/program",))
    assert profiler.find_ncu() == str(tmp_path / "cuda-13.0/bin/program")


LOST = ["==ERROR== The application returned an error code (11)."]
LATE = {"kernel": [*CALL, ["late_kernel", {**MATMUL, L2_HIT_RATE: float("nan")}]]}
WRONG = {"error": {"reason": "wrong-result", "text": "k7 is wrong."}}


@pytest.mark.parametrize(
    ("played", "reason", "says"),
    [
        ({"messages": ["==ERROR== Something else."], "table": False}, "ncu-failed", "Something else"),
        ({"results": False, "exit": 139, "messages": LOST}, "no-counters", "left no results (exit code 139"),
        (
            {"more": -1},
            "counters-disagree",
            "in 3 calls of k7_small_k, expected prepare_kernel, prepare_kernel, hopper",
        ),
        ({"more": 1}, "counters-disagree", "1 launches beyond those of the cases"),
        ({"edited": True}, "counters-disagree", "launched other code in process 2"),
        ({"error": WRONG, "exit": 2}, "wrong-result", "k7 is wrong."),
        ({"calls": LATE}, "bad-counters", "late_kernel"),
    ],
)
def test_what_went_wrong_is_exit_2_and_one_line(
    ncu: Ncu, capsys: Said, played: dict[str, Any], reason: str, says: str
) -> None:
    ncu.play(**played)
    assert profile() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"INVALID {reason}: ")
    assert says in line


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--reason x", "bad-usage"),
        ("--record --reason x --against main", "bad-usage"),
        ("--case edge_odd", "bad-usage"),
        ("--processes 0", "bad-usage"),
        ("--against neither", "no-other-side"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_profiled(ncu: Ncu, capsys: Said, words: str, reason: str) -> None:
    assert profile(*words.split()) == 2
    assert capsys.readouterr().err.startswith(f"INVALID {reason}: ")
    with pytest.raises(FileNotFoundError):
        ncu.asked()


def test_stored_counters_that_are_broken_are_refused_and_recording_mends_them(ncu: Ncu, capsys: Said) -> None:
    path = ncu.project / f"baselines/{CARD}/counters.json"
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    assert profile() == 2
    assert capsys.readouterr().err.startswith(f"INVALID bad-counters: baselines/{CARD}/counters.json is not valid JSON")
    assert profile(*RECORD) == 0
    assert stored(ncu.project)["cases"].keys() == {"k7_small_k"}
