"""What of a baseline job's artifact is taken; and that everything else is refused, with one sentence and a reason."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from facts_support import FACTS
from perfgate.compare import drift
from perfgate.github import proposal
from perfgate.github.proposal import collect, read_beside
from perfgate.records import GateError, Recording
from perfgate.store.compiled import CompiledCase, read_compiled, write_compiled
from perfgate.store.recording import read_recording
from proposal_support import ANCHOR, CARD, CASES, COMPILED, REASON, TIMES, World, begin, facts, keep, ours, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = (TIMES, ANCHOR, COMPILED)
BESIDE = "sm_89/compiled-triton-3.8.0.json"


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = begin(tmp_path)
    made.update(scale={"sq2048": 1.05})
    return made


def _stays(world: World, *names: str) -> None:
    """These files of the artifact are the checkout's."""
    for name in names:
        (world.artifact / name).write_bytes((world.baselines / name).read_bytes())


# What is taken.


def test_the_files_of_an_update_are_taken_as_the_update_wrote_them(world: World) -> None:
    write_compiled(world.artifact / BESIDE, facts(commit=world.head, reason=REASON))
    found = collect(world.artifact, world.baselines, world.asked)
    assert found.files == {name: (world.artifact / name).read_bytes() for name in (*NAMES, BESIDE)}
    assert found.after.times == read_recording(world.artifact / TIMES)
    assert found.before.times == read_recording(world.baselines / TIMES)
    assert found.after.compiled == {name: read_compiled(world.artifact / name) for name in (BESIDE, COMPILED)}
    assert found.unread == ()


def test_a_file_that_stays_is_not_proposed(world: World) -> None:
    _stays(world, TIMES, ANCHOR)
    found = collect(world.artifact, world.baselines, dataclasses.replace(world.asked, only="compiled"))
    assert (list(found.files), found.after.times) == ([COMPILED], None)
    world.update()  # as fast as before: the anchor stays
    assert set(collect(world.artifact, world.baselines, world.asked).files) == {TIMES, COMPILED}


def test_keys_that_no_format_names_do_not_travel(world: World) -> None:
    clean = (world.artifact / TIMES).read_bytes()

    def add(document: dict[str, Any]) -> None:
        document["machine_info"] = {"host": "cellar"}
        document["perfgate"]["author"] = "someone"
        ours(document)["note"] = "hidden"
        ours(document)["metrics"] = {"tflops": 1e9}

    world.spoil(TIMES, add)
    assert (world.artifact / TIMES).read_bytes() != clean
    assert collect(world.artifact, world.baselines, world.asked).files[TIMES] == clean


def test_a_broken_file_of_the_checkout_is_replaced_and_named(world: World) -> None:
    for name in (TIMES, COMPILED):
        (world.baselines / name).write_text("{", encoding="utf-8")
    found = collect(world.artifact, world.baselines, world.asked)
    assert (found.before.times, found.before.compiled, set(found.unread)) == (None, {}, {TIMES, COMPILED})


def test_the_first_baseline_is_its_own_anchor_and_no_other(tmp_path: Path) -> None:
    world = begin(tmp_path, first=True)
    new = world.update()
    assert set(collect(world.artifact, world.baselines, world.asked).files) == {*NAMES}
    keep(world.artifact / ANCHOR, dataclasses.replace(new, reason="another"))
    assert refused(world).reason == "other-anchor"


def test_an_artifact_that_is_as_the_checkout_or_differs_in_spelling_has_nothing_to_propose(tmp_path: Path) -> None:
    world = begin(tmp_path)
    assert refused(world).reason == "nothing-to-propose"
    world.update()
    for name in NAMES:
        (world.baselines / name).write_bytes((world.artifact / name).read_bytes())
    world.spoil(TIMES, lambda document: document.update(extra=1))
    assert refused(world).reason == "nothing-to-propose"


# What lies in the folder.


@pytest.mark.parametrize(
    "name",
    [
        *("extra.json", "README.md", "nvidia-geforce-rtx-4090/matmul.json", f"{CARD}/calibration-quick.md", ".hidden"),
        *(f"{CARD}/sub/matmul.json", f"{CARD}/matmul.json.bak", "sm_90/compiled.json", "SM_89/compiled.json"),
        *("sm_89/compiled-triton-3.8.json", "sm_89/compiled-triton-3.8.0.json.md", "sm_89/sub/compiled.json"),
    ],
)
def test_any_other_file_that_is_not_the_checkouts_is_refused_by_name(name: str, world: World) -> None:
    (world.artifact / name).parent.mkdir(exist_ok=True)
    (world.artifact / name).write_text("x" if name != "README.md" else "What they ARE.\n", encoding="utf-8")
    found = refused(world)
    assert (found.reason, found.text.startswith(f"{name} of the artifact")) == ("not-a-baseline", True)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a\n::warning::b", "a?::warning::b of the artifact"), ("x" * 250, f"{'x' * 160}…, expected ")],
)
def test_a_name_is_shown_plain_and_cut(name: str, shown: str, world: World) -> None:
    (world.artifact / name).write_text("x", encoding="utf-8")
    assert refused(world).text.startswith(shown)


@pytest.mark.parametrize("name", [TIMES, "README.md", "elsewhere", "folder", "pipe"])
def test_a_link_even_to_the_checkouts_own_file_and_what_is_no_file_are_refused(name: str, world: World) -> None:
    (world.artifact / name).unlink(missing_ok=True)
    if name == "pipe":
        os.mkfifo(world.artifact / name)
    else:
        (world.artifact / name).symlink_to(world.baselines / ("" if name == "folder" else "README.md"))
    assert refused(world).reason == "not-a-file"


def test_a_folder_that_is_not_there_or_full_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateError, match="is no folder") as caught:
        collect(world.artifact / "none", world.baselines, world.asked)
    assert caught.value.reason == "no-artifact"
    monkeypatch.setattr(proposal, "MOST_ENTRIES", 5)
    assert refused(world).reason == "too-many-files"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_truncated_or_too_large_is_refused(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = (world.artifact / name).read_bytes()
    (world.artifact / name).write_text('{"benchmarks": [', encoding="utf-8")
    assert refused(world).reason in {"not-json", "malformed-baseline"}
    (world.artifact / name).write_bytes(whole)
    most = max((world.artifact / other).stat().st_size for other in NAMES)
    monkeypatch.setattr(proposal, "MOST_BYTES", most)
    (world.artifact / name).write_bytes(whole + b"{" * most)
    assert refused(world).reason == "too-large"


# What the files are of, and whether they are sound. What their formats allow is for their readers (tests/store).


def _origin(**changes: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document.get("perfgate", document).update(changes)


def _state(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: ours(document)["launches"][0]["state"].update(changes)


def _environment(**changes: str) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["perfgate"]["environment"].update(changes)


REFUSED: list[tuple[str, Callable[[dict[str, Any]], object], str, str]] = [
    *((name, _origin(commit="0" * 40), "other-commit", "recorded of commit 0000") for name in (TIMES, COMPILED)),
    *((name, _origin(commit="unknown"), "other-commit", "commit unknown") for name in (TIMES, COMPILED)),
    (TIMES, _origin(commit=""), "other-commit", "commit unknown"),
    *((name, _origin(reason=f"{REASON} "), "other-reason", repr(REASON)) for name in (TIMES, COMPILED)),
    (TIMES, _environment(gpu="NVIDIA GeForce RTX 4090"), "other-card", "recorded on nvidia-geforce-rtx-4090"),
    (TIMES, _environment(code_path="sm89"), "other-card", CARD),
    (TIMES, _environment(gpu=""), "other-card", "recorded on no card"),
    (COMPILED, _origin(target="sm_90"), "other-target", "is of sm_90, expected sm_89"),
    (TIMES, lambda d: d["perfgate"].update(selected=list(CASES)), "malformed", "selected cases alone"),
    (TIMES, _state(correct=False), "not-sound", "a wrong result"),
    (TIMES, _state(throttle_reasons=["hw_slowdown"]), "not-sound", ""),
    (TIMES, _state(foreign_processes=1), "not-sound", ""),
    (TIMES, _state(unheld=10**6), "not-sound", ""),
    (TIMES, _state(sm_clock_mhz="fast"), "malformed", ""),
    (TIMES, lambda d: ours(d)["contract"].update(flops="many"), "malformed", "flops"),
    (TIMES, lambda d: ours(d).update(case="k\u202e7"), "malformed", ""),
    (COMPILED, lambda d: d["cases"][CASES[0]]["kernels"][0].update(name="\u202e"), "malformed-baseline", ""),
    (COMPILED, lambda d: d["cases"][CASES[0]]["contract"].update(note="x" * 501), "malformed-baseline", ""),
    (ANCHOR, lambda d: ours(d)["launches"][0]["arms"]["kernel"].append(1.0), "other-anchor", ""),
    (ANCHOR, _origin(reason="none"), "other-anchor", "neither the new matmul.json nor the anchor before"),
    (ANCHOR, _origin(commit="0" * 40), "other-anchor", ""),
    (ANCHOR, _origin(recorded_at="2020-01-01"), "other-anchor", ""),
    (ANCHOR, lambda d: d["benchmarks"].pop(), "other-anchor", ""),
]


@pytest.mark.parametrize(("name", "spoil", "reason", "said"), REFUSED)
def test_a_file_that_is_not_what_was_asked_for_is_refused(
    name: str, spoil: Callable[[dict[str, Any]], object], reason: str, said: str, world: World
) -> None:
    world.spoil(name, spoil)
    found = refused(world)
    assert (found.reason, said in found.text, found.text.isprintable()) == (reason, True, True), found.text


@pytest.mark.parametrize("name", [TIMES, COMPILED])
def test_a_file_of_an_uncommitted_kernel_is_refused(name: str, world: World) -> None:
    world.spoil(name, _origin(commit=f"{world.head}-dirty"))
    found = refused(world)
    assert (found.reason, "with a kernel that was not as committed" in found.text) == ("other-commit", True)


def test_machine_code_of_another_compiler_or_that_cannot_run_is_refused(world: World) -> None:
    write_compiled(world.artifact / BESIDE.replace("3.8", "3.6"), facts(commit=world.head, reason=REASON))
    assert refused(world).reason == "other-compiler"
    (world.artifact / BESIDE.replace("3.8", "3.6")).unlink()
    large = CompiledCase(contract={}, kernels=(structs.replace(FACTS, shared_bytes=10**6),))
    write_compiled(world.artifact / COMPILED, facts(commit=world.head, reason=REASON, cases={"k7": large}))
    assert refused(world).reason == "not-sound"


# What goes with what.


def test_times_without_their_anchor_and_an_anchor_without_times_are_refused(world: World) -> None:
    anchor = (world.artifact / ANCHOR).read_bytes()
    (world.artifact / ANCHOR).unlink()
    assert refused(world).reason == "half-an-update"
    (world.artifact / ANCHOR).write_bytes(anchor)
    _stays(world, TIMES)
    assert refused(world).reason == "half-an-update"


@pytest.mark.parametrize(("kept", "missing"), [((TIMES, ANCHOR), COMPILED), ((COMPILED,), TIMES)])
def test_half_of_what_was_asked_for_is_refused_unless_it_was_asked_for_alone(
    world: World, kept: tuple[str, ...], missing: str
) -> None:
    _stays(world, *({*NAMES} - {*kept}))
    error = refused(world)
    assert error.reason == "half-an-update"
    assert error.text.startswith(f"The update left no new {missing}, expected one, since it was asked for;")
    there, other = ("compiled", "throughput") if missing == TIMES else ("throughput", "compiled")
    alone = collect(world.artifact, world.baselines, dataclasses.replace(world.asked, only=there))
    assert set(alone.files) == {*kept}
    assert refused(dataclasses.replace(world, only=other)).reason == "half-an-update"


def test_an_anchor_that_starts_anew_with_times_that_stay_is_refused(world: World) -> None:
    for name in NAMES:
        (world.baselines / name).write_bytes((world.artifact / name).read_bytes())
    world.spoil(TIMES, lambda document: document.update(spelling="other"))
    keep(world.artifact / ANCHOR, read_recording(world.artifact / TIMES))
    assert refused(world).reason == "half-an-update"


def test_the_samples_are_those_of_the_times(world: World) -> None:
    times = read_recording(world.artifact / TIMES)
    beside = read_beside(world.samples, times)
    assert beside is not None
    assert drift.alone(beside).samples == times.samples
    assert all(samples.is_anchored for samples in beside.samples.values())
    assert read_beside(world.artifact, times) is None


def _other(times: Recording) -> list[Recording]:
    moved = dataclasses.replace(times.samples[CASES[0]], config={"a": 1})
    return [
        dataclasses.replace(times, samples={**times.samples, CASES[0]: moved}),
        dataclasses.replace(times, commit="0" * 40),
        dataclasses.replace(times, environment={**times.environment, "driver": "1"}),
    ]


def test_samples_of_another_measurement_or_that_are_a_link_are_refused(world: World) -> None:
    times, path = read_recording(world.artifact / TIMES), world.samples / "current.json"
    reasons = []
    for other in _other(times):
        with pytest.raises(GateError) as caught:
            read_beside(world.samples, other)
        reasons.append(caught.value.reason)
    path.rename(path.with_name("real.json"))
    for target in ("real.json", "nowhere"):
        path.symlink_to(path.with_name(target))
        with pytest.raises(GateError) as caught:
            read_beside(world.samples, times)
        reasons.append(caught.value.reason)
        path.unlink()
    assert reasons == [*["other-measurement"] * 3, *["not-a-file"] * 2]
