"""``python -m studies NAME``: one way in, what every study refuses in one line, and what they share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from perfgate.harness import machine
from perfgate.measurement import session
from perfgate.records import GateError
from studies import shared
from studies.__main__ import STUDIES, main

ROOT = Path(__file__).parents[2]
RECORDED = "tests/data/h100-launches.json.gz"


@pytest.fixture(autouse=True)
def no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project, on a machine without a card."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(machine, "look", lambda: {"gpu": "", "why": "hidden", "uuid": ""})
    monkeypatch.setattr(session, "look_at_machine", lambda _: {"gpu": "", "why": "hidden", "uuid": ""})


@pytest.mark.parametrize("study", STUDIES)
def test_each_study_has_a_help_that_needs_no_torch(study: str) -> None:
    code = "import sys; from studies.__main__ import main\ntry: main(sys.argv[1:])\nfinally: print(sorted({'torch', 'triton'} & {*sys.modules}))"
    words = [sys.executable, "-c", code, study, "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"usage: python -m studies {study}")
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "bad-usage: the following arguments are required: study; see python -m studies --help."),
        ("nothing", "bad-usage: argument study: invalid choice: 'nothing'"),
        ("table --launches 0", "bad-usage: --launches is 0; expected 1 or more."),
        ("table --compile-timeout 0", "bad-usage: --compile-timeout is 0; expected more than 0 seconds."),
        ("table --paths native,ada", "bad-usage: --paths has 'ada'; expected native or an architecture such as sm89"),
        ("table --without kernel", "bad-usage: argument --without: invalid choice: 'kernel'"),
        ("table -m slow", "bad-usage: argument -m: invalid choice: 'slow'"),
        ("table --cases k1_square", "bad-usage: unrecognized arguments: --cases k1_square"),
        ("table --case edge_odd", "unknown-case: There is no case 'edge_odd' in the table; known are"),
        ("table --from nothing.json", "no-file: nothing.json does not exist, expected a table's recording"),
        ("table", "no-card: The table needs a CUDA card and there is none (hidden)."),
        ("accuracy --draws 1", "bad-usage: --draws is 1; expected 2 or more"),
        ("accuracy --size 8", "bad-usage: --size is 8; expected 16 or more"),
        ("accuracy --size many", "bad-usage: argument --size: invalid int value: 'many'"),
        ("accuracy --output pyproject.toml", "bad-usage: --output is pyproject.toml, which is no folder"),
        ("host-cost --calls 19", "bad-usage: --calls is 19; expected 20 or more."),
        ("host-cost", "no-card: Host cost needs a CUDA card and there is none (hidden)."),
        ("cost-model --count 0", "bad-usage: --count is 0"),
        ("cost-model --launches -1", "bad-usage: --launches is -1"),
        ("cost-model --case k99", "bad-usage: k99 is not studied"),
        ("cost-model --paths sm89,rtx", "bad-usage: --paths has 'rtx'; expected sm89 or native."),
        ("cost-model --from nowhere.json", "unreadable: nowhere.json is no study"),
        (f"gates {RECORDED} --runs 1", "bad-usage: --runs is 1; expected 2 or more"),
        (f"gates {RECORDED} --run 5", "bad-usage: unrecognized arguments"),
        ("gates nowhere.json", "no-file: nowhere.json does not exist"),
        ("gates --output pyproject.toml", "bad-usage: --output is pyproject.toml, which is no folder"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_2(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"INVALID {said}")
    assert error.count("\n") == 1


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(GateError, match="name another folder") as refused:
        shared.keep(tmp_path / "file", {"page.md": "text"})
    assert refused.value.reason == "unwritable"


def test_the_code_path_is_part_of_the_command_that_repeats_a_study() -> None:
    assert shared.again("table", ["--case", "k1 x"]) == "nox -s study -- table --case 'k1 x'"
    assert shared.again("accuracy", [], code_path="sm89") == "TRITON_OVERRIDE_ARCH=sm89 nox -s study -- accuracy"


def test_a_process_lowers_for_its_code_path_whatever_the_environment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_OVERRIDE_ARCH", "sm75")
    assert shared.environment("sm89", ADDED="1")["TRITON_OVERRIDE_ARCH"] == "sm89"
    assert "TRITON_OVERRIDE_ARCH" not in shared.environment("native")
