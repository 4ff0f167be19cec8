"""``python -m perfgate compiled``: exit codes, sides and formats, with a stand-in for the compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from building_support import World
from facts_support import BASELINE
from perfgate.cli import main
from perfgate.codegen import sides, toolchains
from perfgate.gate import pipeline, update
from perfgate.measurement.session import Request, Session
from perfgate.store.compiled import write_compiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from perfgate.codegen.build import Built
    from perfgate.config import Settings
    from perfgate.store.compiled import KernelFacts

STORED = "baselines/sm_89/compiled.json"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    root = tmp_path / "project"
    monkeypatch.syspath_prepend(str(root))
    for name in ("settings_of_suite", "suite_parts", "suite_parts.helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    made = World(root, monkeypatch)
    _store(made, made.build())
    monkeypatch.chdir(root)
    return made


def _store(world: World, built: Built, change: Callable[[KernelFacts], KernelFacts] = lambda facts: facts) -> None:
    cases = {
        name: structs.replace(case, kernels=tuple(map(change, case.kernels))) for name, case in built.cases.items()
    }
    write_compiled(world.root / STORED, replace(BASELINE, versions=built.versions, cases=cases))


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_code_as_it_is_stored_passes_and_a_block_that_an_sm_lost_is_exit_1_with_what_moved(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compiled"]) == 0
    said = _said(capsys)
    assert said.startswith("compiled: the kernel for sm_89: 0 cases compiled, 3 from the cache (")
    assert said.endswith("3 kernels of the same machine code 3 SAME: same-code compiled: 3 SAME; pass, exit 0")
    world.asked()
    lost = {"registers": 2, "blocks_per_sm": 8, "code_hash": "a" * 64}
    _store(world, world.build(), lambda facts: structs.replace(facts, **lost))
    assert main(["compiled", "--no-cache"]) == 1
    assert len(world.asked()) == 3
    said = _said(capsys)
    assert "one, two, three: matmul same but for the names of registers; 8 → 4 blocks an SM: registers 2 → 6" in said
    assert "SLOWER: one: 8 → 4 blocks an SM" in said


@pytest.mark.parametrize("words", [["--case", "two"], ["-m", "quick"], ["--case", "two", "--case", "one"]])
@pytest.mark.usefixtures("world")
def test_a_selection_is_partial_on_purpose(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["compiled", *words]) == 0
    assert f"partial: {words.count('--case') or 1} of 3 cases, as selected" in _said(capsys)


def test_a_case_that_the_baseline_lacks_is_exit_2_and_one_that_it_alone_has_too(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    _store(world, world.build("one"))
    assert main(["compiled"]) == 2
    assert "two: is not in the compiled baseline" in _said(capsys)
    path = world.root / STORED
    path.write_text(path.read_text(encoding="utf-8").replace('"one": {', '"gone": {'), encoding="utf-8")
    assert main(["compiled"]) == 2
    assert "gone: was not compiled" in _said(capsys)
    path.unlink()
    assert main(["compiled"]) == 2
    assert "no-baseline" in _said(capsys)


def test_a_kernel_that_does_not_compile_is_exit_1(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.write("kernels/matmul.py", "broken = True\n")
    assert main(["compiled"]) == 1
    assert "INVALID does-not-compile: two: does not compile for sm_89: matmul: no such name." in _said(capsys)


def test_another_kernel_file_and_another_ref_are_compiled_too_and_compared_with(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    other = world.write("other/matmul.py", "xyz = 1\n")
    assert main(["compiled", "--against", str(other)]) == 0
    assert "one, two, three: matmul registers 8 → 6" in _said(capsys)
    who = ("-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false")
    for words in (["init", "-q"], ["add", "kernels"], [*who, "commit", "-q", "-m", "m"]):
        subprocess.run(["git", *words], cwd=world.root, check=True)  # noqa: S607 - git by name
    world.write("kernels/matmul.py", "x = 12345\n")
    assert main(["compiled", "--against", "HEAD"]) == 0
    assert "registers 6 → 10" in _said(capsys)
    assert main(["compiled", "--against", "nowhere"]) == 2
    assert "no-other-side" in _said(capsys)


def test_where_the_other_side_does_not_compile_there_is_nothing_to_compare_with(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    other = world.write("other/matmul.py", "broken = 1\n")
    assert main(["compiled", "--against", str(other)]) == 2
    said = _said(capsys)
    assert "INVALID no-other-side: two: nothing to compare with on the side of file" in said
    assert "it does not compile (matmul: no such name); name another side." in said
    assert "1 INVALID, 2 SAME" in said
    world.write("kernels/matmul.py", "broken = 12\n")  # which is told first: it is today's code that is wrong
    assert main(["compiled", "--against", str(other)]) == 1
    assert "INVALID does-not-compile: two: does not compile" in _said(capsys)


@pytest.mark.parametrize(("version", "before"), [("8.0.0", "8.0.0 → 9.0.0"), ("10.0.0", "9.0.0 → 10.0.0")])
def test_of_two_tritons_the_older_is_before_whichever_is_installed(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, version: str, before: str
) -> None:
    folder = world.triton("other", version)
    world.write("tritons/other/sitecustomize.py", "import os\nos.environ['OTHER_TRITON'] = '1'\n")
    place = world.root / "triton_place.py"
    installed = place.read_text(encoding="utf-8")
    place.write_text(
        f"import os\n{installed}if os.environ.get('OTHER_TRITON'):\n    PLACE = {str(folder / 'triton')!r}\n",
        encoding="utf-8",
    )
    compiler = world.root / "stand_in.py"
    text = compiler.read_text(encoding="utf-8")
    text = text.replace("facts(len(text))", "facts(99 if os.environ.get('OTHER_TRITON') else 77)")
    compiler.write_text(text, encoding="utf-8")
    monkeypatch.setattr(toolchains, "at_hand", lambda *_: folder)
    monkeypatch.setattr(sides, "triton_version", lambda: "9.0.0")

    assert main(["compiled", "--triton", version, "--no-cache"]) == 0

    said = _said(capsys)
    assert f"compiled: Triton {before} (installed: 9.0.0), the same kernel" in said
    assert f"matmul registers {'99 → 77' if version == '8.0.0' else '77 → 99'}" in said


@pytest.mark.usefixtures("world")
def test_json_is_the_report_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compiled", "--format", "json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert (document["exit"], [verdict["reason"] for verdict in document["verdicts"]]) == (0, ["same-code"] * 3)
    assert "3 from the cache" in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--case", "four"], "There is no case 'four'; known are one, two, three."),
        (["--case", "two", "-m", "quick"], "No case was chosen"),
        (["-m", "slow"], "invalid choice: 'slow'"),
        (["--against", "a", "--triton", "3.6.0"], "--against and --triton were given, expected one"),
        (["--triton", "newest"], "--triton 'newest' is no version"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_usage_is_exit_2_in_one_sentence(
    world: World, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["compiled", *words]) == 2
    out, err = capsys.readouterr()
    assert says in " ".join((out + err).split())
    assert world.root


def _session(world: World, *, cached: bool) -> Session:
    request = Request(cached=cached)
    ids = ("one", "two", "three")
    return Session(
        settings=world.settings, request=request, environment={}, output=world.root / "out", checked=ids, timed=ids
    )


@pytest.mark.parametrize(
    ("option", "says"),
    [("", "0 cases compiled, 3 from the cache"), ("--no-cache", "3 cases compiled, 0 from the cache")],
)
def test_a_run_and_an_update_say_how_much_came_from_the_cache_and_can_do_without(
    world: World, capsys: pytest.CaptureFixture[str], option: str, says: str
) -> None:
    cached = not option
    session = _session(world, cached=cached)
    stage = pipeline.compiled(session, ("one", "two", "three"))
    assert says in stage.spent
    assert stage.done == "3 cases for sm_89"

    baseline = update._compile(session, update.Update(reason="r", launches=1, commit="c", cached=cached))  # noqa: SLF001 - the part that needs no card
    assert f"update-baselines: machine code for sm_89: {says}" in capsys.readouterr().out
    assert len(baseline.cases) == 3


def test_both_commands_are_told_to_do_without_the_cache(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []

    def taken(_: Settings, request: Request | update.Update) -> int:
        told.append(request.cached)
        return 0

    monkeypatch.setattr(pipeline, "run", taken)
    monkeypatch.setattr(update, "run", taken)
    for words in (["run"], ["run", "--no-cache"], ["update-baselines"], ["update-baselines", "--no-cache"]):
        assert main(words) == 0
    assert told == [True, False, True, False]
    assert world.root
