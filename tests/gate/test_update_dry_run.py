"""``update-baselines --dry-run``: what a pull request would hold, and the baselines as they were; on a played card."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from perfgate.cli import main
from perfgate.config import read_settings
from perfgate.gate import update
from perfgate.measurement.session import Session
from perfgate.store.compiled import read_compiled
from perfgate.store.recording import read_recording
from perfgate.store.run import StageResult
from proposal_support import ANCHOR, CARD, COMPILED, REASON, TIMES, World, begin

if TYPE_CHECKING:
    from pathlib import Path

    from perfgate.config import Settings
    from perfgate.measurement.session import Request


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A card that has just measured what `World.update` holds."""
    made = begin(tmp_path)
    made.update(scale={"sq2048": 1.03})
    output = made.root / ".perfgate"
    output.mkdir()
    (made.root / ".git/info/exclude").write_text("/.perfgate/\n", encoding="utf-8")
    (output / "current.json").write_bytes((made.samples / "current.json").read_bytes())
    new, anchor = (read_recording(made.artifact / name) for name in (TIMES, ANCHOR))

    def session(settings: Settings, request: Request) -> Session:
        environment = {"gpu": "NVIDIA H100 80GB HBM3", "why": "", "uuid": "GPU-1", "code_path": "native"}
        return Session(settings=settings, request=request, environment=environment, output=output, checked=(), timed=())

    monkeypatch.setattr(update, "open_session", session)
    monkeypatch.setattr("perfgate.measurement.gpu_lock.hold", lambda _: nullcontext())
    monkeypatch.setattr("perfgate.gate.pipeline.start_checks", lambda *_: None)
    monkeypatch.setattr("perfgate.gate.pipeline.correctness", lambda *_: (StageResult(name="correctness"), ()))
    monkeypatch.setattr(update, "_compile", lambda *_: read_compiled(made.artifact / COMPILED))
    monkeypatch.setattr(update, "_measure", lambda *_: (new, anchor))
    monkeypatch.chdir(made.root)
    return made


def _update(*more: str) -> int:
    return main(["update-baselines", "--reason", REASON, *more])


def test_a_dry_run_leaves_the_baselines_alone_and_writes_branch_and_body(world: World, tmp_path: Path) -> None:
    assert _update("--dry-run", str(tmp_path / "out")) == 0
    assert world.checkout.git("status", "--porcelain") == ""
    assert "sq2048" in (tmp_path / "out/body.md").read_text(encoding="utf-8")
    branch = tmp_path / "out/branch/baselines"
    found = {str(path.relative_to(branch)) for path in branch.rglob("*") if path.is_file()}
    assert found == {TIMES, ANCHOR, COMPILED}
    assert read_recording(branch / TIMES).reason == REASON
    (update.copied(read_settings(world.root)) / "left.json").write_text("{}", encoding="utf-8")
    assert _update("--dry-run", str(tmp_path / "another")) == 0  # it holds nothing of the first


def test_without_it_the_baselines_themselves_are_written(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert _update() == 0
    assert read_recording(world.baselines / TIMES).reason == REASON
    compiled = read_compiled(world.baselines / COMPILED)
    assert compiled is not None
    assert compiled.reason == REASON
    assert f"wrote baselines/{TIMES}" in capsys.readouterr().out
    assert not update.copied(read_settings(world.root)).exists()


def test_a_folder_that_is_taken_is_refused_before_anything_is_measured(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(update, "open_session", pytest.fail)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("x", encoding="utf-8")
    assert _update("--dry-run", str(tmp_path / "out")) == 2
    assert "is not empty" in capsys.readouterr().err
    assert world.checkout.git("status", "--porcelain") == ""


def test_machine_code_alone_is_proposed_under_the_targets_name(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "_measure", pytest.fail)
    assert _update("--dry-run", str(tmp_path / "out"), "--only", "compiled") == 0
    assert (tmp_path / "out/branch/baselines" / COMPILED).is_file()
    assert not (tmp_path / "out/branch/baselines" / CARD).exists()
    assert "sm-89" in (tmp_path / "out/pull-request.json").read_text(encoding="utf-8")
    assert world.checkout.git("status", "--porcelain") == ""


def test_a_runner_without_its_card_stores_nothing_where_one_is_required(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without = {"gpu": "", "why": "no driver", "uuid": "", "code_path": "native"}
    known: dict[str, Any] = {"environment": without, "output": world.root, "checked": (), "timed": ()}
    monkeypatch.setattr(
        update, "open_session", lambda settings, request: Session(settings=settings, request=request, **known)
    )
    monkeypatch.setattr(update, "_measure", pytest.fail)
    assert _update("--require-gpu") == 2
    assert capsys.readouterr().err.startswith("INVALID no-card: There is no CUDA card (no driver), expected one:")
    assert world.checkout.git("status", "--porcelain") == ""
    assert _update() == 0  # a laptop may still store the machine code


def test_a_dry_run_without_a_card_proposes_the_machine_code_alone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(update, "run", lambda *_: "")
    copy = update.copied(read_settings(world.root))
    shutil.copytree(world.baselines, copy)
    (copy / COMPILED).write_bytes((world.artifact / COMPILED).read_bytes())
    assert _update("--dry-run", str(tmp_path / "out")) == 0
    assert (tmp_path / "out/branch/baselines" / COMPILED).is_file()
