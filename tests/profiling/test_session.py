"""The command that reads counters, from end to end with a stand-in for ncu and for the card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

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
from perfgate.profiling import session
from perfgate.profiling.brief_counters import counters_from_text
from perfgate.profiling.metrics import DURATION
from perfgate.report.brief_stages import L2_HIT_RATE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a card that is not there."""
    return project_with_a_card(tmp_path, monkeypatch)


@pytest.fixture
def ncu(project: Path, monkeypatch: pytest.MonkeyPatch) -> Ncu:
    """The stand-in, first on the path."""
    return on_the_path(project, monkeypatch)


def test_the_first_profile_is_shown_and_stored_only_when_that_is_asked_for(
    ncu: Ncu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile() == 0
    said = capsys.readouterr().out
    assert "k7_small_k: 2.303 ms under ncu, median of 6 calls" in said
    assert "    L2 hit rate 99.22 %" in said
    assert "1 with nothing stored to compare with (nox -s counters -- --record" in said
    assert not (ncu.project / "baselines").exists()
    assert profile(*RECORD) == 0
    found = stored(ncu.project)
    assert (found["schema"], found["card"], found["reason"]) == (1, "NVIDIA H100 80GB HBM3", "first")
    kernels = found["cases"]["k7_small_k"]["kernels"]
    assert [one["name"] for one in kernels] == ["prepare_kernel", "prepare_kernel", "hopper_kernel"]
    assert kernels[2]["metrics"][DURATION] == pytest.approx(2.29e-3)
    assert kernels[2]["spread"][L2_HIT_RATE] == pytest.approx(0.002 * 99.22, abs=0.011)
    assert found["environment"]["ncu"] == "2025.3.1.0"


def test_what_is_stored_is_what_a_brief_reads(ncu: Ncu) -> None:
    assert profile(*RECORD) == 0
    text = (ncu.project / f"baselines/{CARD}/counters.json").read_text(encoding="utf-8")
    found = counters_from_text(text, "k7_small_k", source="counters.json")
    assert found.card == CARD
    assert found.kernels[2].metrics[L2_HIT_RATE] == pytest.approx(99.22)


def test_ncu_is_asked_for_every_counter_and_leaves_the_clocks_alone(ncu: Ncu) -> None:
    assert profile() == 0
    first, second = ncu.asked()
    assert first[:4] == ["--clock-control", "none", "--profile-from-start", "off"]
    names = first[first.index("--metrics") + 1].split(",")
    assert sorted(names) == sorted(MATMUL)
    assert len(names) <= 10
    assert (first[-4:-2], len(first)) == (["-m", "perfgate.profiling.worker"], len(second))


def test_run_twice_nothing_is_flagged(ncu: Ncu, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile(*RECORD) == 0
    ncu.play(noise=0.0013)
    assert profile() == 0
    said = capsys.readouterr().out
    assert "under ncu (+0.00 %), the same machine code; nothing moved beyond its noise" in said
    assert f"1 compared with baselines/{CARD}/counters.json, 0 moved" in said


def test_with_another_raster_order_the_hit_rate_and_the_share_of_the_memory_are_named(
    ncu: Ncu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile(*RECORD) == 0
    capsys.readouterr()
    calls = with_counters(L2_hit_rate=99.84, DRAM_reads=16.8e6, DRAM_share=66.1, time=1.98e6)
    ncu.play(noise=0.0002, calls={"kernel": calls, "other": CALL}, code={"kernel": "newer", "other": "old"})
    assert profile() == 0
    said = capsys.readouterr().out
    assert "k7_small_k: 2.303 ms → 1.993 ms under ncu (-13.46 %), other machine code" in said
    assert "  hopper_kernel: time 2.290 ms → 1.980 ms\n    L2 hit rate 99.22 → 99.84 % (noise ±" in said
    assert "    DRAM reads 75.5 → 16.8 MB (noise ±" in said
    assert "    DRAM share 58.40 → 66.10 % (noise ±" in said
    assert "instructions" not in said
    assert "  prepare_kernel" not in said
    document = json.loads((ncu.project / ".perfgate/counters-moved.json").read_text(encoding="utf-8"))
    assert {"name": "hopper_kernel: L2 hit rate", "before": "99.22 %", "after": "99.84 %", "moved": True} in document[
        "counters"
    ]["k7_small_k"]
    (sentence,) = document["moved_with_it"]["k7_small_k"]
    assert sentence.startswith("counters of hopper_kernel: L2 hit rate 99.22 → 99.84 %, DRAM reads")


def test_another_kernel_file_is_profiled_beside_this_one_and_nothing_is_stored(
    ncu: Ncu, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ncu.project / "raster.py"
    shutil.copy(ncu.project / "kernels/matmul.py", other)
    ncu.play(calls={"kernel": CALL, "other": with_counters(DRAM_share=40.0, time=3e6)})
    assert profile("--against", "raster.py") == 0
    said = capsys.readouterr().out
    assert "2 processes of 3 calls each side" in said
    assert "time 3.000 ms → 2.290 ms" in said
    assert "1 compared with raster.py, 1 moved" in said
    assert (ncu.project / ".perfgate/counters-other.json").is_file()
    assert not (ncu.project / "baselines").exists()
    plan = json.loads((ncu.project / ".perfgate/counters/plan-1.json").read_text(encoding="utf-8"))
    assert plan["sides"]["other"]["kernel"] == str(other)
    assert plan["sides"]["other"]["cache"] != plan["sides"]["kernel"]["cache"]


def test_a_file_of_counters_is_compared_with_and_only_this_code_is_profiled(
    ncu: Ncu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile() == 0
    kept = shutil.copy(ncu.project / ".perfgate/counters.json", ncu.project / "then.json")
    assert profile("--against", "then.json") == 0
    assert "1 compared with then.json, 0 moved" in capsys.readouterr().out
    text = Path(kept).read_text(encoding="utf-8").replace('"NVIDIA H100 80GB HBM3"', '"NVIDIA L4"')
    Path(kept).write_text(text, encoding="utf-8")
    assert profile("--against", "then.json") == 2
    assert "INVALID other-card: then.json has counters of nvidia-l4, expected those of" in capsys.readouterr().err
    assert profile("--against", "missing.json") == 2


def test_a_fill_between_the_kernels_is_nobodys(ncu: Ncu) -> None:
    ncu.play(fills=True)
    assert profile(*RECORD) == 0
    assert len(stored(ncu.project)["cases"]["k7_small_k"]["kernels"]) == 3


def test_recording_one_case_leaves_the_others_as_they_were(
    ncu: Ncu, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert session.main(["--case", "k1_square", *RECORD]) == 0
    then = stored(ncu.project)["cases"]["k1_square"]
    assert profile(*RECORD) == 0
    assert stored(ncu.project)["cases"].keys() == {"k1_square", "k7_small_k"}
    assert stored(ncu.project)["cases"]["k1_square"] == then
    monkeypatch.setitem(ENVIRONMENT, "driver", "590")
    assert profile(*RECORD) == 2
    assert "INVALID other-environment: " in capsys.readouterr().err
    assert stored(ncu.project)["environment"]["driver"] == "580"


def test_the_guideline_of_active_warps_comes_with_what_is_known_of_it(
    ncu: Ncu, capsys: pytest.CaptureFixture[str]
) -> None:
    assert profile() == 0
    said = capsys.readouterr().out
    assert "active warps at or below 50 %: k7_small_k 21.00 % (hopper_kernel). The guideline is over 50 %" in said
    assert "24.35 % with 95.83 %. The order of the tiles looks like the lever there; no controlled comparison." in said
    ncu.play(calls={"kernel": with_counters(active_warps=61.0)})
    assert profile() == 0
    assert "guideline" not in capsys.readouterr().out
