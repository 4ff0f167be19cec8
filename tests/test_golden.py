"""Whole outputs: what every command says and writes is what its golden file holds; what moved is seen as a diff.

The scenarios are data (``tests/golden/scenarios.py``); ``python -m tests.golden.update [NAME …]`` writes the files anew.
Those marked ``apart`` compile and run the kernel: they need the torch and Triton that the stored machine code is of, and
are left out, by name, where those are not installed. The others need neither, so that
``pytest --noconftest tests/test_golden.py`` runs on a machine without torch.
"""

from __future__ import annotations

import difflib
import gzip
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.golden.playing import EXPECTED, INPUTS, play
from tests.golden.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.golden.playing import Scenario

ROOT = Path(__file__).parents[1]
PINNED = json.loads((INPUTS / "baselines/sm_89/compiled.json").read_text(encoding="utf-8"))


def _lacks() -> str:
    """What of the pinned compilers is not here."""
    for name in ("torch", "triton"):
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            found = "not installed"
        if found != PINNED[name]:
            return f"{name} is {found}; the golden machine code is of {PINNED[name]}"
    return ""


needs_torch = pytest.mark.skipif(bool(_lacks()), reason=_lacks())


@pytest.mark.parametrize(
    "scenario", [pytest.param(one, id=one.name, marks=[needs_torch] if one.apart else []) for one in SCENARIOS]
)
def test_what_a_command_says_and_writes_is_as_it_was(
    scenario: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{scenario.name}.txt"
    found = play(scenario, tmp_path.resolve(), tree=ROOT, patched=monkeypatch)
    expected = (EXPECTED / name).read_text(encoding="utf-8")
    changed = difflib.unified_diff(
        expected.splitlines(), found.splitlines(), f"expected/{name}", "now", lineterm="", n=2
    )
    assert found == expected, "\n".join(["", *changed, "", f"python -m tests.golden.update {scenario.name}"])


def test_every_golden_file_has_its_scenario() -> None:
    assert {path.stem for path in EXPECTED.iterdir()} == {one.name for one in SCENARIOS}


BASELINES = ROOT / "baselines"


def _times(path: Path, copy: Path) -> None:
    from perfgate.compare.roofline import recording_metrics
    from perfgate.hardware.gpus import card
    from perfgate.store.recording import read_recording, write_recording

    found = read_recording(path)
    numbers = recording_metrics(found, card(found.environment["gpu"]))
    write_recording(copy, found, metrics={case: one.to_json() for case, one in numbers.items()})


def _compiled(path: Path, copy: Path) -> None:
    from perfgate.store.compiled import read_compiled, write_compiled

    found = read_compiled(path)
    assert found is not None
    write_compiled(copy, found)


def _counters(path: Path, copy: Path) -> None:
    from perfgate.profiling.store import read_store, write_store

    found = read_store(path)
    assert found is not None
    write_store(copy, found)


def _calibration(path: Path, copy: Path) -> None:
    from perfgate.calibration.processes import keep
    from perfgate.calibration.resampling import read_recorded

    keep(copy, read_recorded(path))


AGAIN: dict[str, Callable[[Path, Path], None]] = {
    "matmul": _times,
    "anchor": _times,
    "compiled": _compiled,
    "counters": _counters,
    "calibration": _calibration,
}
"""By how the name of a stored file begins, how the project reads it and writes it again; those of studies it does not."""
STORED = sorted(path for path in BASELINES.rglob("*.json*") if path.name.split(".")[0].split("-")[0] in AGAIN)
_STATISTIC = re.compile(r' *"[a-z0-9_]+": ([-\d.e]+),?')


def _lines(path: Path) -> list[str]:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(BASELINES))) for path in STORED])
def test_a_stored_file_that_is_read_and_written_again_is_the_same(path: Path, tmp_path: Path) -> None:
    """Byte for byte, but for the last digits of statistics, which newer Pythons add up more exactly."""
    copy = tmp_path / path.name
    AGAIN[path.name.split(".")[0].split("-")[0]](path, copy)
    for before, after in zip(_lines(path), _lines(copy), strict=True):
        if before != after:
            old, new = _STATISTIC.fullmatch(before), _STATISTIC.fullmatch(after)
            assert old, before
            assert new, after
            assert before.partition(":")[0] == after.partition(":")[0]
            assert float(new[1]) == pytest.approx(float(old[1]), rel=1e-12)
