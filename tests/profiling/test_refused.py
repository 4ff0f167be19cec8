"""Counters that cannot be read or are not what they should be: one line, with the remedy."""

from __future__ import annotations

import json
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
)
from perfgate.profiling import profile as counters_profile
from perfgate.report.brief_stages import L2_HIT_RATE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a card that is not there."""
    return project_with_a_card(tmp_path, monkeypatch)


@pytest.fixture
def ncu(project: Path, monkeypatch: pytest.MonkeyPatch) -> Ncu:
    """The stand-in, first on the path."""
    return on_the_path(project, monkeypatch)


@pytest.mark.parametrize(
    ("played", "says"),
    [
        (
            {"messages": ["==ERROR== ERR_NVGPUCTRPERM - The user does not have permission"], "table": False, "exit": 1},
            "counters: NOT read: the driver lets only root read counters",
        ),
        (
            {"messages": ["==ERROR== Profiling is not supported on device 0."], "table": False},
            "counters: NOT read: this ncu does not know the card",
        ),
    ],
)
def test_what_cannot_be_counted_here_is_one_line_and_the_gate_goes_on(
    ncu: Ncu, capsys: pytest.CaptureFixture[str], played: dict[str, Any], says: str
) -> None:
    ncu.play(**played)
    assert profile() == 0
    out, err = capsys.readouterr()
    last = out.splitlines()[-1]
    assert last.startswith(says)
    assert last.endswith("Counters explain times and judge nothing, so the gate goes on.")
    assert not err
    assert profile(*RECORD) == 2
    assert not (ncu.project / "baselines").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_without_ncu_or_without_a_card_it_is_one_line_too(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(project))
    monkeypatch.setattr(counters_profile, "_USUAL_PLACES", ())
    assert profile() == 0
    assert capsys.readouterr().out.startswith("counters: NOT read: there is no ncu on the path")
    monkeypatch.setitem(ENVIRONMENT, "gpu", "")
    monkeypatch.setitem(ENVIRONMENT, "why", "no NVIDIA driver")
    assert profile() == 0
    assert capsys.readouterr().out.startswith("counters: NOT read: there is no CUDA card (no NVIDIA driver)")


def test_ncu_is_found_where_its_packages_put_it_and_the_newest_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for version in ("12.9", "13.0", "9.1"):
        folder = tmp_path / f"cuda-{version}/bin"
        folder.mkdir(parents=True)
        (folder / "program").touch(0o755)
    monkeypatch.setattr(counters_profile, "_USUAL_PLACES", (f"{tmp_path}/cuda*/bin/program",))
    assert counters_profile.find_ncu() == str(tmp_path / "cuda-13.0/bin/program")


@pytest.mark.parametrize(
    ("played", "reason"),
    [
        ({"messages": ["==ERROR== Failed to find metric regex:^dram"], "table": False}, "no-such-counter"),
        ({"messages": ["==ERROR== Something else."], "table": False}, "ncu-failed"),
        ({"messages": ["==WARNING== No kernels were profiled."], "table": False}, "no-counters"),
        (
            {"results": False, "exit": 139, "messages": ["==ERROR== The application returned an error code (11)."]},
            "no-counters",
        ),
        ({"more": -1}, "counters-disagree"),
        ({"more": 1}, "counters-disagree"),
        ({"edited": True}, "counters-disagree"),
        ({"error": {"error": {"reason": "wrong-result", "text": "k7 is wrong."}}, "exit": 2}, "wrong-result"),
        ({"calls": {"kernel": [*CALL, ["late_kernel", {**MATMUL, L2_HIT_RATE: float("nan")}]]}}, "bad-counters"),
    ],
)
def test_what_went_wrong_is_exit_2_and_one_line(
    ncu: Ncu, capsys: pytest.CaptureFixture[str], played: dict[str, Any], reason: str
) -> None:
    ncu.play(**played)
    assert profile() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"INVALID {reason}: ")


def test_a_launch_that_ncu_did_not_see_is_named(ncu: Ncu, capsys: pytest.CaptureFixture[str]) -> None:
    ncu.play(more=-1)
    assert profile() == 2
    said = capsys.readouterr().err
    assert "ncu saw prepare_kernel, prepare_kernel, hopper_kernel, prepare_kernel" in said
    assert "in 3 calls of k7_small_k, expected prepare_kernel, prepare_kernel, hopper_kernel in each" in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--record",), "no-reason"),
        (("--reason", "x"), "bad-usage"),
        (("--record", "--reason", "x", "--against", "main"), "bad-usage"),
        (("--case", "edge_odd"), "bad-usage"),
        (("--calls", "1"), "bad-usage"),
        (("--processes", "0"), "bad-usage"),
        (("--bogus",), "bad-usage"),
        (("--against", "neither"), "no-other-side"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_profiled(
    ncu: Ncu, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    assert profile(*words) == 2
    assert capsys.readouterr().err.startswith(f"INVALID {reason}: ")
    with pytest.raises(FileNotFoundError):
        ncu.asked()


def test_stored_counters_that_are_broken_are_refused_and_recording_mends_them(
    ncu: Ncu, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ncu.project / f"baselines/{CARD}/counters.json"
    path.parent.mkdir(parents=True)
    path.write_text("{", encoding="utf-8")
    assert profile() == 2
    assert capsys.readouterr().err.startswith(f"INVALID bad-counters: baselines/{CARD}/counters.json is not whole JSON")
    assert profile(*RECORD) == 0
    assert stored(ncu.project)["cases"].keys() == {"k7_small_k"}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda d: d.update(schema=2), "has schema 2"),
        (lambda d: d.update(cases=[]), "holds no object of cases"),
        (lambda d: d.update(environment={"gpu": 1}), "has no usable environment"),
        (lambda d: d.pop("reason"), "has None as reason"),
        (lambda d: d["cases"]["k7_small_k"].update(calls=0), "has 0 as calls"),
        (lambda d: d["cases"]["k7_small_k"].update(code=None), "has None as code"),
        (lambda d: d["cases"]["k7_small_k"].update(kernels=[]), "has no kernels of k7_small_k"),
        (lambda d: _kernel(d).update(grid=[1, 1]), "has [1, 1] as a grid"),
        (lambda d: _kernel(d).pop("spread"), "has no spread for each of its metrics"),
        (lambda d: _kernel(d)["spread"].pop(L2_HIT_RATE), "has no spread for each of its metrics"),
        (lambda d: _kernel(d)["spread"].update({L2_HIT_RATE: -1}), f"has -1 as the spread of {L2_HIT_RATE}"),
        (lambda d: _kernel(d)["metrics"].update({L2_HIT_RATE: "x"}), f"has 'x' as {L2_HIT_RATE}"),
        (lambda d: [_kernel(d)[key].pop(L2_HIT_RATE) for key in ("metrics", "spread")], f"lacks {L2_HIT_RATE}"),
    ],
)
def test_a_store_that_is_not_as_the_schema_says_is_refused_in_one_line(
    ncu: Ncu, capsys: pytest.CaptureFixture[str], spoil: Any, says: str
) -> None:
    assert profile(*RECORD) == 0
    document = stored(ncu.project)
    spoil(document)
    path = ncu.project / f"baselines/{CARD}/counters.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert profile() == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def _kernel(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["cases"]["k7_small_k"]["kernels"][0]
    return found
