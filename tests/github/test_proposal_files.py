"""What of a baseline job's artifact is taken, and that everything else is refused with one sentence."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.github import proposal_checks, proposal_files
from perfgate.github.proposal_files import collect
from perfgate.records import GateError
from perfgate.store.compiled import read_compiled, write_compiled
from perfgate.store.recording import read_recording
from proposal_support import ANCHOR, CARD, COMPILED, REASON, TIMES, World, begin, facts, ours, refused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = begin(tmp_path)
    made.update(scale={"sq2048": 1.05})
    return made


# What is taken.


def test_the_files_of_an_update_are_taken_as_the_update_wrote_them(world: World) -> None:
    found = collect(world.artifact, world.baselines, world.asked)
    assert found.files == {name: (world.artifact / name).read_bytes() for name in (TIMES, ANCHOR, COMPILED)}
    assert found.after.times == read_recording(world.artifact / TIMES)
    assert found.before.times == read_recording(world.baselines / TIMES)
    assert found.after.compiled == {COMPILED: read_compiled(world.artifact / COMPILED)}
    assert found.unread == ()


def test_a_file_that_stays_is_not_proposed(world: World) -> None:
    for name in (TIMES, ANCHOR):
        (world.artifact / name).write_bytes((world.baselines / name).read_bytes())
    found = collect(world.artifact, world.baselines, dataclasses.replace(world.asked, only="compiled"))
    assert list(found.files) == [COMPILED]
    assert found.after.times is None


def test_machine_code_of_another_triton_may_come_beside_the_main_file(world: World) -> None:
    write_compiled(world.artifact / "sm_89/compiled-triton-3.8.0.json", facts(commit=world.head, reason=REASON))
    assert "sm_89/compiled-triton-3.8.0.json" in collect(world.artifact, world.baselines, world.asked).files


def test_an_anchor_that_stays_as_it_was_goes_with_new_times(tmp_path: Path) -> None:
    world = begin(tmp_path)
    world.update()
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
    assert (found.before.times, found.before.compiled) == (None, {})
    assert set(found.unread) == {TIMES, COMPILED}


# What lies in the folder.


def test_an_artifact_that_is_as_the_checkout_has_nothing_to_propose(tmp_path: Path) -> None:
    world = begin(tmp_path)
    assert refused(world).reason == "nothing-to-propose"


def test_an_artifact_that_differs_in_spelling_alone_has_nothing_to_propose(tmp_path: Path) -> None:
    world = begin(tmp_path)
    world.update()
    world.checkout.git("checkout", "--quiet", "-b", "done")
    for name in (TIMES, ANCHOR, COMPILED):
        (world.baselines / name).write_bytes((world.artifact / name).read_bytes())
    world.spoil(TIMES, lambda document: document.update(extra=1))
    assert refused(world).reason == "nothing-to-propose"


@pytest.mark.parametrize(
    "name",
    [
        "extra.json",
        "README.md",
        "nvidia-geforce-rtx-4090/matmul.json",
        f"{CARD}/calibration-quick.md",
        f"{CARD}/sub/matmul.json",
        f"{CARD}/matmul.json.bak",
        "sm_90/compiled.json",
        "sm_89/compiled-triton-3.8.json",
        "sm_89/compiled-triton-3.8.0.json.md",
        "sm_89/sub/compiled.json",
        "SM_89/compiled.json",
        ".hidden",
    ],
)
def test_any_other_file_that_is_not_the_checkouts_is_refused_by_name(name: str, world: World) -> None:
    (world.artifact / name).parent.mkdir(exist_ok=True)
    (world.artifact / name).write_text("x", encoding="utf-8")
    found = refused(world)
    assert found.reason == "not-a-baseline"
    assert found.text.startswith(f"{name} of the artifact")


def test_a_file_of_equal_size_and_other_content_is_refused(world: World) -> None:
    (world.artifact / "README.md").write_text("What they ARE.\n", encoding="utf-8")
    assert refused(world).reason == "not-a-baseline"


def test_a_name_with_control_characters_is_shown_plain(world: World) -> None:
    (world.artifact / "a\n::warning::b").write_text("x", encoding="utf-8")
    assert refused(world).text.startswith("a?::warning::b of the artifact")


def test_a_long_name_is_cut_in_the_sentence(world: World) -> None:
    (world.artifact / ("x" * 250)).write_text("x", encoding="utf-8")
    assert f"{'x' * 160}…, expected " in refused(world).text


@pytest.mark.parametrize("name", [TIMES, "README.md", "elsewhere"])
def test_a_link_is_refused_even_to_the_checkouts_own_file(name: str, world: World) -> None:
    (world.artifact / name).unlink(missing_ok=True)
    (world.artifact / name).symlink_to(world.baselines / "README.md")
    assert refused(world).reason == "not-a-file"


def test_a_link_to_a_folder_and_a_pipe_are_refused(world: World) -> None:
    (world.artifact / "folder").symlink_to(world.baselines, target_is_directory=True)
    assert refused(world).reason == "not-a-file"
    (world.artifact / "folder").unlink()
    os.mkfifo(world.artifact / "pipe")
    assert refused(world).reason == "not-a-file"


def test_a_folder_that_is_not_there_or_full_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateError, match="is no folder") as caught:
        collect(world.artifact / "none", world.baselines, world.asked)
    assert caught.value.reason == "no-artifact"
    monkeypatch.setattr(proposal_files, "MOST_ENTRIES", 5)
    assert refused(world).reason == "too-many-files"


@pytest.mark.parametrize("name", [TIMES, ANCHOR, COMPILED])
def test_a_file_too_large_is_not_read(name: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {other: (world.artifact / other).stat().st_size for other in (TIMES, ANCHOR, COMPILED)}
    monkeypatch.setattr(proposal_checks, "MOST_BYTES", max(sizes.values()))
    with (world.artifact / name).open("ab") as file:
        file.write(b"{" * max(sizes.values()))
    assert refused(world).reason == "too-large"
