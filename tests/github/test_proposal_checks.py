"""Records of a baseline job that are not what was asked for, or hold what no baseline holds, are refused."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.compare import renewal
from perfgate.github.proposal_checks import read_beside
from perfgate.github.proposal_files import collect
from perfgate.records import GateError
from perfgate.store.compiled import CompiledCase, write_compiled
from perfgate.store.recording import read_recording
from proposal_support import ANCHOR, CASES, COMPILED, REASON, TIMES, World, begin, facts, keep, ours, refused
from tests.store.test_compiled import FACTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = begin(tmp_path)
    made.update(scale={"sq2048": 1.05})
    return made


# What the files are of.


@pytest.mark.parametrize(
    ("name", "commit"),
    [(TIMES, ""), *((name, commit) for name in (TIMES, COMPILED) for commit in ("0" * 40, "unknown", "-dirty"))],
)
def test_a_file_of_another_commit_or_of_an_uncommitted_kernel_is_refused(name: str, commit: str, world: World) -> None:
    commit = f"{world.head}{commit}" if commit == "-dirty" else commit
    world.spoil(name, lambda document: document.get("perfgate", document).update(commit=commit))
    found = refused(world)
    assert found.reason == "other-commit"
    assert ("not as committed" in found.text) == commit.endswith("-dirty")


@pytest.mark.parametrize("name", [TIMES, COMPILED])
def test_a_file_with_another_reason_is_refused(name: str, world: World) -> None:
    world.spoil(name, lambda document: document.get("perfgate", document).update(reason=f"{REASON} "))
    assert refused(world).reason == "other-reason"


@pytest.mark.parametrize("environment", [{"gpu": "NVIDIA GeForce RTX 4090"}, {"code_path": "sm89"}, {"gpu": ""}])
def test_times_of_another_card_or_code_path_are_refused(environment: dict[str, str], world: World) -> None:
    world.spoil(TIMES, lambda document: document["perfgate"]["environment"].update(environment))
    assert refused(world).reason == "other-card"


def test_machine_code_of_another_target_or_compiler_is_refused(world: World) -> None:
    write_compiled(world.artifact / "sm_89/compiled-triton-3.6.0.json", facts(commit=world.head, reason=REASON))
    assert refused(world).reason == "other-compiler"
    (world.artifact / "sm_89/compiled-triton-3.6.0.json").unlink()
    world.spoil(COMPILED, lambda document: document.update(target="sm_90"))
    assert refused(world).reason == "other-target"


def test_a_chosen_part_of_the_cases_is_no_baseline(world: World) -> None:
    world.spoil(TIMES, lambda document: document["perfgate"].update(selected=list(CASES)))
    assert "selected cases alone" in refused(world).text


@pytest.mark.parametrize(
    "state", [{"correct": False}, {"throttle_reasons": ["hw_slowdown"]}, {"foreign_processes": 1}, {"unheld": 10**6}]
)
def test_times_that_an_update_would_have_refused_are_refused(state: dict[str, Any], world: World) -> None:
    world.spoil(TIMES, lambda document: ours(document)["launches"][0]["state"].update(state))
    assert refused(world).reason == "not-sound"


def test_machine_code_that_cannot_run_is_refused(world: World) -> None:
    large = CompiledCase(contract={}, kernels=(dataclasses.replace(FACTS, shared_bytes=10**6),))
    write_compiled(world.artifact / COMPILED, facts(commit=world.head, reason=REASON, cases={"k7": large}))
    assert refused(world).reason == "not-sound"


@pytest.mark.parametrize("name", [TIMES, ANCHOR, COMPILED])
def test_a_truncated_file_is_refused(name: str, world: World) -> None:
    (world.artifact / name).write_text('{"benchmarks": [', encoding="utf-8")
    with pytest.raises(GateError) as caught:
        collect(world.artifact, world.baselines, world.asked)
    assert caught.value.reason in {"not-json", "malformed-baseline"}


def _deep(document: dict[str, Any]) -> None:
    ours(document)["contract"]["shapes"] = [[[[[[1]]]]]]


STRANGE = [
    pytest.param(lambda d: ours(d)["contract"].update(flops="many"), "flops", id="flops-text"),
    pytest.param(lambda d: ours(d)["contract"].update(flops=-1), "flops", id="flops-negative"),
    pytest.param(lambda d: ours(d)["contract"].update(min_bytes=True), "min_bytes", id="bytes-truth"),
    pytest.param(lambda d: ours(d)["contract"].update(flops=10**400), "bearable size", id="flops-huge"),
    pytest.param(lambda d: ours(d)["config"].update(note="x" * 501), "at most 500", id="long"),
    pytest.param(lambda d: ours(d)["config"].update(note="a\nb"), "printable", id="line-break"),
    pytest.param(lambda d: ours(d)["config"].update(note="\u202eevil"), "printable", id="right-to-left"),
    pytest.param(lambda d: ours(d)["config"].update({"a\x1bb": 1}), "printable", id="key"),
    pytest.param(lambda d: ours(d)["config"].update(note=list(range(101))), "long", id="list"),
    pytest.param(_deep, "deep", id="deep"),
    pytest.param(lambda d: ours(d)["code"].update(kernel="x" * 501), "at most 500", id="code"),
    pytest.param(lambda d: d["perfgate"]["settings"].update(rounds=float("nan")), "bearable size", id="nan"),
    pytest.param(lambda d: d["perfgate"]["environment"].update(driver="\x07"), "printable", id="environment"),
    pytest.param(lambda d: d["perfgate"].update(recorded_at="\x07"), "printable", id="date"),
    pytest.param(lambda d: ours(d).update(case="k\u200b7"), "printable", id="case"),
    pytest.param(lambda d: ours(d)["launches"][0]["state"].update(sm_clock_mhz="fast"), "monitor", id="clock-text"),
    pytest.param(lambda d: ours(d)["launches"][0]["state"].update(sm_clock_mhz=[1]), "monitor", id="clock-list"),
    pytest.param(lambda d: ours(d)["launches"][0]["state"].update(not_told=3), "monitor", id="not-told"),
    pytest.param(lambda d: ours(d)["launches"][0]["state"].update(heat=float("inf")), "bearable", id="state-infinite"),
]


@pytest.mark.parametrize(("spoil", "words"), STRANGE)
def test_what_no_baseline_holds_is_refused(spoil: Callable[[dict[str, Any]], object], words: str, world: World) -> None:
    def change(document: dict[str, Any]) -> None:
        ours(document).setdefault("config", {})
        ours(document).setdefault("code", {})
        spoil(document)

    world.spoil(TIMES, change)
    found = refused(world)
    assert (found.reason, words in found.text) == ("malformed", True), found.text
    assert found.text.isprintable()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d["cases"][CASES[0]]["kernels"][0]["config"].update(note="a\nb"),
        lambda d: d["cases"][CASES[0]]["kernels"][0].update(registers=10**30),
        lambda d: d["cases"][CASES[0]]["kernels"][0].update(name="\u202e"),
        lambda d: d["cases"][CASES[0]]["contract"].update(note="x" * 501),
        lambda d: d.update(torch="\x1b[31m"),
        lambda d: d.update(recorded_at="\x1b[31m"),
        lambda d: d["cases"].update({"a\nb": d["cases"][CASES[0]]}),
    ],
)
def test_machine_code_with_strange_texts_or_numbers_is_refused(
    spoil: Callable[[dict[str, Any]], object], world: World
) -> None:
    world.spoil(COMPILED, spoil)
    assert refused(world).reason == "malformed"


def test_more_cases_than_a_suite_has_are_refused(world: World) -> None:
    kernel = json.loads((world.artifact / COMPILED).read_text(encoding="utf-8"))["cases"][CASES[0]]
    world.spoil(COMPILED, lambda document: document.update(cases={f"k{n}": kernel for n in range(1001)}))
    assert "at most 1000" in refused(world).text


# What goes with what.


def test_times_without_their_anchor_and_an_anchor_without_times_are_refused(world: World) -> None:
    anchor = (world.artifact / ANCHOR).read_bytes()
    (world.artifact / ANCHOR).unlink()
    assert refused(world).reason == "half-an-update"
    (world.artifact / ANCHOR).write_bytes(anchor)
    (world.artifact / TIMES).write_bytes((world.baselines / TIMES).read_bytes())
    assert refused(world).reason == "half-an-update"


@pytest.mark.parametrize(("kept", "missing"), [((TIMES, ANCHOR), COMPILED), ((COMPILED,), TIMES)])
def test_half_of_what_was_asked_for_is_refused_unless_it_was_asked_for_alone(
    world: World, kept: tuple[str, ...], missing: str
) -> None:
    for name in {TIMES, ANCHOR, COMPILED} - {*kept}:
        (world.artifact / name).write_bytes((world.baselines / name).read_bytes())
    error = refused(world)
    assert error.reason == "half-an-update"
    assert error.text.startswith(f"The update left no new {missing}, expected one, since it was asked for;")
    there, other = ("compiled", "throughput") if missing == TIMES else ("throughput", "compiled")
    alone = collect(world.artifact, world.baselines, dataclasses.replace(world.asked, only=there))
    assert set(alone.files) == {*kept}
    assert refused(dataclasses.replace(world, only=other)).reason == "half-an-update"


def test_an_anchor_that_starts_anew_with_times_that_stay_is_refused(world: World) -> None:
    for name in (TIMES, ANCHOR, COMPILED):
        (world.baselines / name).write_bytes((world.artifact / name).read_bytes())
    world.spoil(TIMES, lambda document: document.update(spelling="other"))
    keep(world.artifact / ANCHOR, read_recording(world.artifact / TIMES))
    assert refused(world).reason == "half-an-update"


def test_an_anchor_with_times_of_its_own_is_refused(world: World) -> None:
    world.spoil(ANCHOR, lambda document: ours(document)["launches"][0]["arms"]["kernel"].append(1.0))
    assert refused(world).reason == "other-anchor"


@pytest.mark.parametrize("change", [{"reason": "none"}, {"commit": "0" * 40}, {"recorded_at": "2020-01-01"}])
def test_an_anchor_that_says_something_else_of_itself_is_refused(change: dict[str, str], world: World) -> None:
    world.spoil(ANCHOR, lambda document: document["perfgate"].update(change))
    assert refused(world).reason == "other-anchor"


def test_an_anchor_that_lacks_a_case_is_refused(world: World) -> None:
    world.spoil(ANCHOR, lambda document: document["benchmarks"].pop())
    assert refused(world).reason == "other-anchor"


def test_the_first_baseline_is_its_own_anchor_and_no_other(tmp_path: Path) -> None:
    world = begin(tmp_path, first=True)
    new = world.update()
    assert set(collect(world.artifact, world.baselines, world.asked).files) == {TIMES, ANCHOR, COMPILED}
    keep(world.artifact / ANCHOR, dataclasses.replace(new, reason="another"))
    assert refused(world).reason == "other-anchor"


def test_the_samples_are_those_of_the_times(world: World) -> None:
    times = read_recording(world.artifact / TIMES)
    beside = read_beside(world.samples, times)
    assert beside is not None
    assert renewal.alone(beside).samples == times.samples
    assert all(samples.is_anchored for samples in beside.samples.values())
    assert read_beside(world.artifact, times) is None


@pytest.mark.parametrize("what", ["samples", "commit", "environment"])
def test_samples_of_another_measurement_are_refused(what: str, world: World) -> None:
    times = read_recording(world.artifact / TIMES)
    other = {
        "samples": {
            "samples": {**times.samples, CASES[0]: dataclasses.replace(times.samples[CASES[0]], config={"a": 1})}
        },
        "commit": {"commit": "0" * 40},
        "environment": {"environment": {**times.environment, "driver": "1"}},
    }[what]
    with pytest.raises(GateError) as caught:
        read_beside(world.samples, dataclasses.replace(times, **other))  # type: ignore[arg-type]
    assert caught.value.reason == "other-measurement"


def test_samples_that_are_a_link_are_refused(world: World) -> None:
    path = world.samples / "current.json"
    path.rename(path.with_name("real.json"))
    path.symlink_to(path.with_name("real.json"))
    times = read_recording(world.artifact / TIMES)
    with pytest.raises(GateError) as caught:
        read_beside(world.samples, times)
    assert caught.value.reason == "not-a-file"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(GateError):
        read_beside(world.samples, times)
